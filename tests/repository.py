"""The files of the repository, from git or, in an unpacked source distribution, from the folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What tests and tools leave in the folder, beside hidden folders.
_LEFT = {"__pycache__", "build", "dist", "output"}


def repository_files() -> list[str]:
    """Return the paths of all files, except those that git ignores."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [name for name in listed.splitlines() if (ROOT / name).is_file()]
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if not _is_left(path))


def _is_left(path: Path) -> bool:
    folders = path.parts[:-1]
    return any(name in _LEFT or name.endswith(".egg-info") or name.startswith(".") for name in folders)
