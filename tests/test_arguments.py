"""The arguments of the command: what they are, and which exclude each other. Nothing here starts a process."""

from __future__ import annotations

import argparse
import logging

import pytest

from tap_klaviyo.arguments import argument_parser, contradictions_in, is_sync, log_level_of, unused_arguments
from tap_klaviyo.cli import main


def parse(line: str) -> argparse.Namespace:
    return argument_parser().parse_args(line.split())


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("", "config", []),
        ("-c a.json --config b.json", "config", ["a.json", "b.json"]),
        ("-p a.json", "catalog", "a.json"),
        ("--catalog a.json", "catalog", "a.json"),
        ("--properties a.json", "catalog", "a.json"),
        ("-s a.json", "state", "a.json"),
        ("", "sandbox", None),
        ("--sandbox", "sandbox", 2000),
        ("--sandbox 0", "sandbox", 0),
        ("", "verify", None),
        ("--verify", "verify", "all"),
        ("--verify all", "verify", "all"),
        ("--verify 2026-11-03", "verify", "2026-11-03"),
    ],
)
def test_what_an_argument_means(line: str, name: str, value: object) -> None:
    assert getattr(parse(line), name) == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--test --discover", "not allowed with argument"),
        ("--about --metrics", "not allowed with argument"),
        ("--verify --test", "not allowed with argument"),
        ("-q -v", "not allowed with argument"),
        ("--sandbox many", "invalid int value: 'many'"),
        ("--about --format yaml", "invalid choice: 'yaml'"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
        ("--select open --catalog a.json", "--select and --catalog exclude each other"),
        ("--select open --select lists", "--select: may be given only once"),
        ("-p a.json --catalog b.json", "may be given only once"),
        ("-s a.json --state b.json", "may be given only once"),
        ("--sandbox 0 --sandbox", "may be given only once"),
        ("--verify --verify 2026-11-03", "may be given only once"),
        ("--format json --format json", "may be given only once"),
        ("--sandbox -5", "of 0 or more"),
        ("--discover --format json", "--format is for --about, --metrics and --verify only"),
        ("--test --format json --sandbox -1", "--verify only. --sandbox takes a number"),
    ],
)
def test_wrong_usage_is_one_error_with_all_that_is_wrong(
    capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--select= --catalog a.json", "exclude each other"),
        ("--format json", "--format is for"),
        ("--verify --format markdown", "--verify cannot print Markdown"),
        ("--metrics --select=", "--metrics lists"),
        ("--metrics --format markdown", "--metrics cannot print Markdown"),
        ("--metrics --catalog a.json", "--metrics lists"),
        ("--metrics --state a.json", "--metrics lists"),
        ("--discover --sandbox", "--sandbox needs a command that asks Klaviyo"),
        ("--about --sandbox", "--sandbox needs a command that asks Klaviyo"),
        ("--config=", "the name of a file"),
        ("--catalog=", "the name of a file"),
        ("--state=", "the name of a file"),
    ],
)
def test_arguments_that_exclude_each_other(line: str, words: str) -> None:
    (sentence,) = contradictions_in(parse(line))
    assert words in sentence


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-c a.json -p b.json -s c.json",
        "-c a.json --select open -s c.json",
        "--about --format markdown",
        "--metrics -c a.json --format json",
        "--verify -c a.json --select open -s c.json --format json",
        "--sandbox 0",
        "--test --sandbox",
        "--metrics --sandbox",
        "--verify --sandbox",
        "--discover --select open",
    ],
)
def test_arguments_that_go_together(line: str) -> None:
    assert contradictions_in(parse(line)) == unused_arguments(parse(line)) == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--about -c a.json", "--about does not use --config."),
        ("--about --select= -s b.json", "--about does not use --select or --state."),
        ("--discover -c a.json -s b.json", "--discover does not use --state."),
        ("--discover -p b.json", "--discover does not use --catalog."),
        ("--test -c a.json -s b.json", "--test does not use --state."),
    ],
)
def test_arguments_without_effect_are_named(line: str, sentence: str) -> None:
    assert unused_arguments(parse(line)) == [sentence]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", True), ("--select open", True), ("--verify", False), ("--test", False), ("--metrics", False), ("-d", False)],
)
def test_only_a_sync_resumes_from_a_state(line: str, expected: bool) -> None:
    assert is_sync(parse(line)) is expected


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("", logging.INFO),
        ("--verify", logging.INFO),
        ("-q", logging.WARNING),
        ("--test", logging.WARNING),
        ("--metrics", logging.WARNING),
        ("-v", logging.DEBUG),
        ("-v --test", logging.DEBUG),
    ],
)
def test_the_level_of_the_log(line: str, level: int) -> None:
    assert log_level_of(parse(line)) == level


def test_the_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = argument_parser().format_help()
    assert max(map(len, text.splitlines())) < 80
    assert "--state state.json \\\n    | target-jsonl" in text
