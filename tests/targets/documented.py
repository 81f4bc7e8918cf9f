"""The column types that docs/targets.md lists."""

from __future__ import annotations

from pathlib import Path

from tests.targets.expected import FULL_TABLES

_DOCUMENT = Path(__file__).parents[2] / "docs" / "targets.md"


def documented_types(stream: str, target: str) -> dict[str, str]:
    """Return the columns of a stream's table in a target, with their types."""
    heading = f"### {stream}" if stream in FULL_TABLES else "### Event streams"
    section = _DOCUMENT.read_text("utf-8").split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    place = table[0].index(target)
    return {row[0]: row[place] for row in table[2:]}
