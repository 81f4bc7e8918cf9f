"""Print how many rows each stream has in a file of Singer messages."""

from __future__ import annotations

import json
import sys
from collections import Counter


def main(path: str) -> None:
    """Read the file and print the table."""
    rows: Counter[str] = Counter()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if message["type"] in ("SCHEMA", "RECORD"):
                rows[message["stream"]] += message["type"] == "RECORD"
    width = max(map(len, rows), default=6)
    print(f"{'stream':{width}}  {'rows':>9}")
    for stream, count in rows.items():
        print(f"{stream:{width}}  {count:>9,}")
    print(f"{'in all':{width}}  {rows.total():>9,}\nThe messages are in {path}.")


if __name__ == "__main__":
    main(sys.argv[1])
