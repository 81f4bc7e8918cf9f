"""The English of documents, help, messages, docstrings and comments: counted, so that it stays plain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.plain_english import Text, read_texts

# Odd constructions in a thousand words. Well-written projects have 0.3 to 0.8.
MOST = 1.0
MOST_IN_A_DOCUMENT = 1.0
MOST_IN_CODE = 3.0
# In a file with fewer words, one or two odd constructions say nothing.
FEW_WORDS = 300


def rate(texts: Sequence[Text]) -> float:
    return 1000 * sum(len(text.odd()) for text in texts) / sum(text.words for text in texts)


def test_texts_of_the_repository_are_plain() -> None:
    texts = read_texts()
    assert rate(texts) <= MOST, "\n".join(odd for text in texts for odd in text.odd())


def _most(text: Text) -> float:
    return MOST_IN_A_DOCUMENT if text.file.endswith(".md") else MOST_IN_CODE


def test_each_file_is_plain() -> None:
    long = [text for text in read_texts() if text.words >= FEW_WORDS]
    # A single one in a short file is not a habit.
    odd = [text for text in long if rate([text]) > _most(text) and len(text.odd()) > 1]
    assert [each for text in odd for each in text.odd()] == []


def test_what_users_read_is_among_the_texts() -> None:
    files = {text.file: " ".join(text.paragraphs) for text in read_texts()}
    assert {"README.md", "CHANGELOG.md", "docs/targets.md", "examples/meltano/README.md", "scripts/demo"} < set(files)
    assert "print the catalog; needs no network" in files["tap_klaviyo/arguments.py"]
    assert "The next run resumes from the last STATE" in files["tap_klaviyo/commands.py"]
    assert "Maximum number of parallel requests." in files["tap_klaviyo/config.py"]
    assert "The exit code of a program that wrote to a pipe" in files["tap_klaviyo/commands.py"]
    assert "Identifier of the event" in files["tap_klaviyo/streams/schemas/event.json"]


@pytest.mark.parametrize(
    "sentence",
    [
        "The catalog is none.",
        "It is tried so many times, at the most.",
        "Requests under way are told.",
        "It keeps what has come of its own.",
        "A setting, where it is given, stands.",
    ],
)
def test_odd_constructions_are_found(sentence: str) -> None:
    assert Text("x", (sentence,)).odd()


@pytest.mark.parametrize(
    "sentence", ["There is no state, so all streams are read.", "What is it? It is no longer used.", "Run it again."]
)
def test_ordinary_sentences_are_not(sentence: str) -> None:
    assert not Text("x", (sentence,)).odd()
