"""Unexpected contents of pages, counted and reported in one line per stream."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# The place of a value: the names of its resource, and of the fields that lead to it.
Path = tuple[str, ...]

# A deep structure can have thousands of attributes. The line names the most frequent ones, and counts the rest.
_MOST_NAMES = 20
_LONGEST_LIST = 280
_LONGEST_NAME = 80


@dataclass
class Findings:
    """Unexpected contents of a page or a stream.

    Args:
        unknown: ignored attributes that the schemas do not define, by place, such as ("profile", "mood").
        changed: values that were changed to fit the schema, by place.
        set_aside: items without a key, by the type of the item.
    """

    unknown: Counter[Path] = field(default_factory=Counter)
    changed: Counter[Path] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)

    def add(self, other: Findings) -> None:
        """Add the findings of another page or stream."""
        self.unknown.update(other.unknown)
        self.changed.update(other.changed)
        self.set_aside.update(other.set_aside)

    def summary(self) -> str:
        """Return the findings in one line of about 1,000 characters or less; without findings, an empty string."""
        parts = (
            ("ignored attributes that the schema does not define", _name_paths(self.unknown)),
            ("changed values that do not fit the schema", _name_paths(self.changed)),
            ("left out items without a key", self.set_aside),
        )
        return "; ".join(f"{what}: {_list_counts(counts)}" for what, counts in parts if counts)


def _name_paths(counts: Counter[Path]) -> Counter[str]:
    return Counter({".".join(path): count for path, count in counts.items()})


def _list_counts(counts: Counter[str]) -> str:
    """Return the most frequent names with their counts, then the number of the others."""
    shown: list[str] = []
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        text = f"{_shorten_name(name)} ({count:,})"
        if len(shown) == _MOST_NAMES or sum(map(len, shown)) + len(text) > _LONGEST_LIST:
            break
        shown.append(text)
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _shorten_name(name: str) -> str:
    """Return a name from Klaviyo on one line, cut to fit a log."""
    line = " ".join(name.split())
    return line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"
