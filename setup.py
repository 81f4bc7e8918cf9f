"""The package: what it is called, what it needs, what it installs."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# The repository's public address, once it has one.
REPOSITORY = ""
SANDBOX_SERVER = "aiohttp>=3.10"


def version() -> str:
    """Return the package's version without importing it: what it needs may not be installed yet."""
    text = (HERE / "tap_klaviyo" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('tap_klaviyo/__init__.py has no line __version__ = "…".')
    return found[1]


def long_description() -> str:
    """Return the README with links that work outside the repository: absolute ones, or else only their text."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        if target.startswith("https://"):
            return match[0]
        return f"[{text}]({REPOSITORY}/blob/v{version()}/{target})" if REPOSITORY else text

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, (HERE / "README.md").read_text("utf-8"))


setup(
    name="tap-klaviyo",
    version=version(),
    description="A Singer tap for Klaviyo: events, profiles, lists, campaigns and the rest of the account.",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="the tap-klaviyo developers",
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords=["singer", "tap", "klaviyo", "etl", "elt", "meltano"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["tap_klaviyo", "tap_klaviyo.*"]),
    package_data={"tap_klaviyo": ["py.typed", "streams/schemas/*.json", "sandbox/contract.json"]},
    install_requires=[
        "backoff>=2.2.1",
        "msgspec>=0.19",
        "pendulum>=3.0",
        "python-dotenv>=1.0",
        "requests>=2.32",
        "rich>=13.7",
        "singer-python>=6.1",
        # The first version whose read1 bounds what it decompresses: a body of a few KB can hold gigabytes.
        "urllib3>=2.6",
    ],
    extras_require={
        # The server of the built-in sandbox; a sync of an account does without it.
        "sandbox": [SANDBOX_SERVER],
        "dev": [
            SANDBOX_SERVER,
            "fastjsonschema>=2.20",
            "hypothesis>=6.100",
            "mypy>=1.11",
            "pytest>=8.2",
            "pytest-cov>=7.0",
            "pytest-xdist>=3.6",
            # The formatter's style may change with each minor version.
            "ruff~=0.17.0",
            "setuptools>=77",
            "types-requests>=2.32",
        ],
    },
    entry_points={"console_scripts": ["tap-klaviyo = tap_klaviyo:main"]},
)
