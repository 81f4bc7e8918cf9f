"""Settings: accepted values, and the messages about others."""

import json
from pathlib import Path

import pytest

from tap_klaviyo import config
from tap_klaviyo.errors import ConfigError
from tap_klaviyo.files import read_config
from tap_klaviyo.times import format_time, parse_time

GOOD = {"api_key": "pk_0123456789", "start_date": "2026-01-31"}


def problems(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        config.check_settings({**GOOD, **values})
    return str(caught.value)


def test_defaults_of_the_design() -> None:
    settings = config.check_settings(GOOD)
    assert (settings.lookback_days, settings.request_timeout, settings.max_concurrency) == (7, 300, 16)
    assert (settings.activate_version, settings.end_date) == (True, None)
    assert (settings.base_url, settings.api_revision) == ("https://a.klaviyo.com", "2026-07-15")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "01/31/2026",
        "1/31/2026",
        "2026-01-31T00:00:00Z",
        "2026-01-31 00:00:00",
        "2026-01-31T00:00:00.000000Z",
        "2026-01-31T02:00:00+02:00",
    ],
)
def test_dates_are_utc_in_every_spelling(text: str) -> None:
    assert format_time(parse_time(text)) == "2026-01-31T00:00:00Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "P1D", "2026-13-01", "31/31/2026", "2026", 5, None, "2026-01-31T99:00"]
)
def test_text_that_is_not_a_date_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a date such as"):
        parse_time(text)


def test_a_key_is_taken_under_either_name_and_shown_nowhere() -> None:
    settings = config.check_settings({"auth_token": " pk_secret\n", "start_date": "2026-01-31"})
    assert settings.api_key == "pk_secret"
    assert "secret" not in repr(settings)


def test_values_may_be_text_as_meltano_sends_them() -> None:
    settings = config.check_settings(
        {**GOOD, "max_concurrency": "4", "lookback_days": "0.5", "activate_version": "false"}
    )
    assert (settings.max_concurrency, settings.lookback_days, settings.activate_version) == (4, 0.5, False)


def test_null_and_empty_mean_the_default() -> None:
    assert config.check_settings({**GOOD, "max_concurrency": None, "user_agent": ""}) == config.check_settings(GOOD)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        config.check_settings({"start_date": "soon", "max_concurrency": 0, "base_url": "http://klaviyo.example"})
    told = caught.value.problems
    assert len(told) == 4
    assert [each.split()[0] for each in told] == ["api_key", "start_date", "max_concurrency", "base_url"]


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("api_key", "AbC123", "not the six-character public one"),
        ("api_key", "pk_1\npk_2", "one word"),
        ("start_date", "2999-01-01", "start_date must be a date up to today"),
        ("start_date", "tomorrow", 'not "tomorrow"'),
        ("end_date", "2026-01-30", "end_date must come after start_date"),
        ("lookback_days", -1, "a number from 0"),
        ("lookback_days", True, "a number from 0"),
        ("request_timeout", "nan", "a number from 1"),
        ("max_concurrency", 1.5, "a whole number"),
        ("activate_version", "perhaps", "true or false"),
        ("base_url", "https://user:word@a.klaviyo.com", "an origin"),
        ("base_url", "https://a.klaviyo.com/api", "an origin"),
        ("base_url", "http://127.0.0.1.example.com", "http only on loopback"),
        ("base_url", "https://[x", "an origin"),
        ("api_revision", "latest", "a revision date"),
        ("user_agent", "a\r\nb", "printable ASCII"),
    ],
)
def test_wrong_values_are_explained(setting: str, value: object, sentence: str) -> None:
    assert sentence in problems(**{setting: value})


def test_a_missing_setting_says_where_to_put_it_with_an_example() -> None:
    with pytest.raises(ConfigError) as caught:
        config.check_settings({})
    assert caught.value.problems == (
        'api_key is missing. Add "api_key": "pk_..." to the config, or pass --config ENV and set TAP_KLAVIYO_API_KEY. '
        "Create a private key in Klaviyo under Settings > API keys.",
        'start_date is missing. Add "start_date": "2026-01-01" to the config, or pass --config ENV and set '
        "TAP_KLAVIYO_START_DATE.",
    )
    assert all(each.example for each in config.SETTINGS if each.required)


def test_a_wrong_key_is_not_repeated() -> None:
    assert "AbC123" not in problems(api_key="AbC123")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8010", "http://localhost:1", "http://[::1]:8010", "https://a.klaviyo.com/"]
)
def test_http_is_accepted_on_loopback_only(url: str) -> None:
    assert config.check_settings({**GOOD, "base_url": url}).base_url == url.rstrip("/")


@pytest.mark.parametrize("key", ["AbC123", "two words", 5, "", "pk_0123456789"])
def test_a_key_that_is_refused_or_good_has_no_warning(key: object) -> None:
    assert config.odd_settings({"api_key": key}) == []


def test_a_misspelt_setting_is_named_with_the_nearest() -> None:
    assert config.odd_settings({"startdate": 1, "zzz": 2, "auth_token": "pk_3"}) == [
        '"startdate" is not a setting; did you mean "start_date"?',
        '"zzz" is not a setting.',
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_an_unreadable_file_is_explained(tmp_path: Path, text: bytes, sentence: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=sentence):
        read_config([str(path)], config.setting_names())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json cannot be read: No such file"):
        read_config([str(tmp_path / "nowhere.json")], config.setting_names())


def test_later_files_and_the_environment_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "config.json"
    first.write_text(json.dumps({"start_date": "2026-01-01", "api_key": "pk_file"}), encoding="utf-8-sig")
    monkeypatch.setenv("TAP_KLAVIYO_API_KEY", "pk_environment")
    assert read_config([str(first), "ENV"], config.setting_names()) == {
        "start_date": "2026-01-01",
        "api_key": "pk_environment",
    }


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("api_key", value) for value in (["pk_1"], True, 7, {"pk": 1})),
        *(("user_agent", value) for value in (["x"], [], True, 7)),
        *(("max_concurrency", value) for value in (True, "1_6", "\uff11", [16], 1e400, "nan")),
        *(("lookback_days", value) for value in (True, "seven", [7], [], "inf")),
        *(("activate_version", value) for value in ("maybe", 2, [True])),
        *(("api_revision", value) for value in (["2026-07-15"], "2026-99-99", 20260715, "2026-07-15.\u65e5")),
        *(
            ("base_url", value)
            for value in (
                "https://a.klaviyo.com#x",
                "https://a.klaviyo.com:0",
                "https://:pw@a.klaviyo.com",
                ["https://a.klaviyo.com"],
                "https://a.klaviyo.com/api",
                "https://a..klaviyo.com",
                "https://.",
                f"https://{'a' * 64}.com",
                f"https://{'a.' * 127}com",
            )
        ),
        *(("start_date", value) for value in (True, 20260101, ["2026-01-01"], "2026-01-01junk")),
    ],
)
def test_no_wrong_value_is_accepted(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        config.check_settings({"api_key": "pk_1", "start_date": "2026-01-01", setting: value})


def test_the_samples_key_is_refused_where_the_real_klaviyo_would_get_it() -> None:
    values = {"api_key": config.SAMPLE_KEY, "start_date": "2026-01-01"}
    with pytest.raises(ConfigError, match="still the sample's"):
        config.check_settings(values)
    elsewhere = config.check_settings({**values, "base_url": "http://127.0.0.1:1"})
    assert elsewhere.api_key == config.SAMPLE_KEY


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"api_key": "pk_1", "auth_token": "pk_2"}, "auth_token has another value and is ignored"),
        ({"LOOKBACK_DAYS": 3}, 'did you mean "lookback_days"'),
        ({"api_key": "0123456789"}, "does not begin with pk_"),
    ],
)
def test_odd_settings_are_named(values: dict[str, object], words: str) -> None:
    (sentence,) = config.odd_settings(values)
    assert words in sentence
    assert "0123456789" not in sentence


def test_the_same_key_under_both_names_is_not_odd() -> None:
    assert config.odd_settings({"api_key": "pk_1", "auth_token": "pk_1"}) == []
