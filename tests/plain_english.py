"""The text that people read in this repository, and the odd constructions that its English avoids."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.repository import ROOT, repository_files

# Each of these is correct English. Native writers use them rarely; in numbers, they read as if translated.
ODD = {
    "is no, is none (but: there is no, is no longer)": r"(?<!there )\b(?:is|are|was|were) (?:no|none)\b(?! longer)",
    "is no more": r"\bno more\b(?=[.,;:)]|$)",
    "so many": r"\bso many\b",
    "at most, at the most": r"\bat (?:the )?most\b",
    "tells, told": r"\b(?:tells?|told)\b",
    "anew": r"\banew\b",
    "in vain": r"\bin vain\b",
    "by turns": r"\bby turns\b",
    "but for": r"\bbut for\b",
    "what is, what comes": r"\bwhat (?:is|are|was|were|has|have|had|comes?|came|lies|follows)\b(?![^.]*\?)",
    "whoever": r"\bwho(?:ever)? (?:comes|has)\b",
    "where, for if or when": r",\s+where\b",
    "the one that": r"\b(?:the ones? that|that which)\b",
    "stands": r"\b(?:stands?|stood)\b",
    "of its own": r"\bof (?:its|their|our) own\b",
    "gives back": r"\b(?:giv(?:es?|en|ing)|gave) back\b",
    "comes to pass": r"\b(?:com(?:es?|ing)|came) to pass\b",
    "its time has come": r"\btime has come\b|\bcomes? of age\b",
    "goes on from": r"\b(?:go(?:es|ing|ne)?|went) on (?:from|with|as|at|when|without|behind|in)\b",
    "sees to it": r"\bsees? to\b",
    "for good": r"\bfor good\b",
    "nobody": r"\bnobody\b",
    "say, for for example": r"[,(] say[,.)]",
    "to be spared": r"\bspared\b",
    "under way": r"\bunder way\b",
    "has come": r"\b(?:has|have|had) come\b",
    "lies": r"\blies\b",
    "thereof": r"\b(?:thereof|therein|withal|whereof|thereby)\b",
}
_ODD = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in ODD.items()}
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
# A string of fewer words is a name or a value, not text.
_LEAST_WORDS = 3
# Generated from the files that are counted, or not ours.
_EXCLUDED = {"catalog.json", "LICENSE", "tests/plain_english.py", "tests/test_plain_english.py"}


@dataclass(frozen=True)
class Text:
    """The text that people read in one file, in paragraphs: its prose, or its comments and strings."""

    file: str
    paragraphs: tuple[str, ...]

    @property
    def words(self) -> int:
        """The number of words."""
        return sum(len(_WORD.findall(each)) for each in self.paragraphs)

    def odd(self) -> list[str]:
        """Return each odd construction with its surroundings."""
        return [
            f"{self.file}: {name}: …{paragraph[max(found.start() - 40, 0) : found.end() + 30]}…"
            for paragraph in self.paragraphs
            for name, pattern in _ODD.items()
            for found in pattern.finditer(paragraph)
        ]


@cache
def read_texts() -> tuple[Text, ...]:
    """Return the text of each tracked file: documents, Python, scripts, schemas, and the examples' definitions."""
    files = (name for name in repository_files() if name not in _EXCLUDED)
    texts = (Text(name, tuple(" ".join(each.split()) for each in _paragraphs(ROOT / name))) for name in files)
    return tuple(text for text in texts if text.words)


def _paragraphs(path: Path) -> Iterator[str]:
    if path.suffix == ".md":
        yield from _markdown(path.read_text("utf-8")).split("\n\n")
    elif path.suffix == ".py":
        yield from _python(path.read_text("utf-8"))
    elif path.suffix == ".json" and path.parent.name == "schemas":
        yield from _descriptions(json.loads(path.read_text("utf-8")))
    elif path.suffix in (".sh", ".yml") or path.parent.name in ("scripts", ".ci"):
        yield from re.findall(r"^\s*#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)


def _markdown(text: str) -> str:
    """Return the prose: without code and addresses."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", text))


def _python(source: str) -> Iterator[str]:
    """Yield blocks of comments, docstrings, names of tests, and strings that are sentences, such as messages."""
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line = token.start[0]
            comments[line] = f"{comments.pop(line - 1, '')} {token.string.lstrip('# ')}"
    yield from comments.values()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name.replace("_", " ")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (each for each in node.value.split("\n\n") if len(_WORD.findall(each)) >= _LEAST_WORDS)


def _descriptions(value: Any) -> Iterator[str]:
    for name, each in value.items() if isinstance(value, dict) else ():
        if name == "description" and isinstance(each, str):
            yield each
        else:
            yield from _descriptions(each)
