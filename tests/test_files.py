"""Files and variables that users write: the settings in them, and the sentences about those that cannot be read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tap_klaviyo.config import setting_names
from tap_klaviyo.errors import CatalogError, ConfigError, StateError
from tap_klaviyo.files import exposed_files, read_config, read_json, read_text

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions are those of POSIX")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory, without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TAP_KLAVIYO_")]:
        monkeypatch.delenv(name)
    return tmp_path


def read(path: Path, text: str | bytes) -> object:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_json(str(path), "catalog", CatalogError)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, "b": [null]}', {"a": 1, "b": [None]}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": 1, "a": 1}', {"a": 1}),
        ('{"a": {"c": 1}, "b": {"c": 2}}', {"a": {"c": 1}, "b": {"c": 2}}),
    ],
    ids=["plain", "with a byte order mark", "one value twice", "one name in two objects"],
)
def test_json_is_read(folder: Path, text: str, value: object) -> None:
    assert read(folder / "catalog.json", text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,}', "is not JSON: .* at line 1, column"),
        (
            '{"a": 1}\n{"a": 2}\n',
            "is not JSON: Extra data at line 2, column 1. It holds more than one value; keep only the last line",
        ),
        ('{"a": {"b": 1, "b": 2}}', 'has "b" twice in the same object; remove one of them'),
        ('{"a": NaN}', "holds NaN, which is not JSON"),
        ('{"a": -Infinity}', "holds -Infinity, which is not JSON"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        ("[" * 100_000, "is not valid JSON, or is nested too deeply"),
    ],
)
def test_a_wrong_file_is_named_in_a_sentence(folder: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(CatalogError, match=rf"^The catalog file .*catalog\.json {words}.*\.$"):
        read(folder / "catalog.json", text)


def test_a_file_that_is_missing_is_a_sentence(folder: Path) -> None:
    with pytest.raises(CatalogError, match=r"^The catalog file none\.json cannot be read: No such file"):
        read_json("none.json", "catalog", CatalogError)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("[]", "an array"), ('"pk_1"', "a string"), ("true", "true or false"), ("null", "null"), ("5", "a number")],
)
def test_a_config_that_is_not_an_object_is_refused(folder: Path, text: str, kind: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"^The config file config\.json holds {kind}, not a JSON object"):
        read_config(["config.json"], setting_names())


@pytest.mark.parametrize(
    ("text", "kind"), [('{"streams": []}', "catalog"), ('{"bookmarks": {}, "currently_syncing": null}', "state")]
)
def test_another_file_is_not_a_config(folder: Path, text: str, kind: str) -> None:
    (folder / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"^The config file other\.json is a {kind}\. Pass it with --{kind}\.$"):
        read_config(["other.json"], setting_names())


def test_the_last_of_several_files_counts(folder: Path) -> None:
    (folder / "one.json").write_text('{"start_date": "2026-01-01", "page_size": 1}')
    (folder / "two.json").write_text('{"start_date": "2026-02-02"}')
    assert read_config(["one.json", "two.json"], ()) == {"start_date": "2026-02-02", "page_size": 1}
    assert read_config(["two.json", "one.json"], ()) == {"start_date": "2026-01-01", "page_size": 1}


def test_the_environment_counts_more_than_the_file_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("TAP_KLAVIYO_API_KEY=pk_file\nTAP_KLAVIYO_START_DATE=2026-01-01\nOTHER=1\nOTHER_X\n")
    monkeypatch.setenv("TAP_KLAVIYO_API_KEY", "pk_environment")
    monkeypatch.setenv("TAP_KLAVIYO__LOG_LEVEL", "info")
    monkeypatch.setenv("TAP_KLAVIYO_MISSPELT", "1")
    assert read_config(["ENV"], setting_names()) == {
        "api_key": "pk_environment",
        "start_date": "2026-01-01",
        "misspelt": "1",
    }


def test_without_a_file_of_the_environment_there_is_only_the_environment(folder: Path) -> None:
    assert read_config(["ENV"], setting_names()) == {}


def test_a_file_of_the_environment_that_is_not_text_is_a_sentence(folder: Path) -> None:
    (folder / ".env").write_bytes(b"TAP_KLAVIYO_API_KEY=\xff\n")
    with pytest.raises(ConfigError, match=r"^The file \.env is not UTF-8 text\.$"):
        read_config(["ENV"], setting_names())


@pytest.mark.parametrize(("text", "read"), [(b"", ""), (b"\xef\xbb\xbf", ""), (b" \r\n", " \n"), (b"{}", "{}")])
def test_text_is_read_without_a_byte_order_mark(folder: Path, text: bytes, read: str) -> None:
    (folder / "state.json").write_bytes(text)
    assert read_text("state.json", "state", StateError) == read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TAP_KLAVIYO_LOOKBACK_DAYS", "has TAP_KLAVIYO_LOOKBACK_DAYS without a value"),
        ("TAP_KLAVIYO_END_DATE=1\nTAP_KLAVIYO_end_date=2", "TAP_KLAVIYO_END_DATE is set twice"),
        ("TAP_KLAVIYO_API_KEY=pk_1\nexport TAP_KLAVIYO_API_KEY='pk_2'", r"sets TAP_KLAVIYO_API_KEY twice, [^_]+\.$"),
        ("TAP_KLAVIYO_X=1\nTAP_KLAVIYO_X", "sets TAP_KLAVIYO_X twice"),
    ],
    ids=["none", "two cases", "two", "two, one without a value"],
)
def test_a_variable_without_a_value_or_with_two_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / ".env").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(["ENV"], setting_names())


def test_a_variable_may_come_twice_with_one_value_and_others_in_any_way(folder: Path) -> None:
    (folder / ".env").write_text("TAP_KLAVIYO_END_DATE=1\nTAP_KLAVIYO_END_DATE='1'\nOTHER=1\nOTHER=2\n# a comment\n\n")
    assert read_config(["ENV"], setting_names()) == {"end_date": "1"}


def test_a_variable_may_be_in_another_case_and_overrides_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_bytes(b"\xef\xbb\xbfTAP_KLAVIYO_lookback_days=1\nTAP_KLAVIYO_end_date=2026-01-01")
    monkeypatch.setenv("TAP_KLAVIYO_LOOKBACK_DAYS", "2")
    assert read_config(["ENV"], setting_names()) == {"lookback_days": "2", "end_date": "2026-01-01"}


@POSIX
@pytest.mark.parametrize(("mode", "exposed"), [(0o600, False), (0o640, True), (0o604, True), (0o700, False)])
def test_files_that_other_users_can_read_are_known(folder: Path, mode: int, exposed: bool) -> None:
    for name in ("config.json", ".env"):
        (folder / name).write_text("{}")
        (folder / name).chmod(mode)
    assert exposed_files(["config.json", "ENV", "none.json"]) == (
        [Path("config.json"), Path(".env")] if exposed else []
    )
