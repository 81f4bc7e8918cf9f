"""The command as a person meets it: output, messages, exit codes. Each test starts a process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo import __version__
from tap_klaviyo.sandbox import SCOPES, Account, Fault, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.streams.table import STREAMS
from tests.running import last_line

ROOT = Path(__file__).parent.parent
PUBLIC, WRONG = "AbC123", "pk_ffffffffffffffffffffffffffffffff"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def config(sandbox: Sandbox, tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(sandbox.config))
    path.chmod(0o600)
    return path


def tap(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with TAP_KLAVIYO_* variables, and return what it said."""
    command = [sys.executable, "-m", "tap_klaviyo", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=60, check=False
    )


def assert_sentence(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check the exit code, and that the last line is CRITICAL, a sentence, and the only thing to read."""
    last = last_line(ended.stderr)
    assert ended.returncode == code, ended.stderr
    assert last.startswith("CRITICAL "), ended.stderr
    assert last.endswith((".", "?")), last
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in last


def test_version_and_help() -> None:
    assert tap("--version").stdout == f"tap-klaviyo {__version__}\n"
    assert "--discover" in tap("--help").stdout


@pytest.mark.parametrize(
    "arguments",
    [["--config", "sample_config.json", "--discover"], ["-d"], ["-c", "sample_config.json", "-d"]],
)
def test_discovery_needs_no_network_and_prints_only_the_catalog(arguments: list[str]) -> None:
    ended = tap(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == discover_catalog()


def test_a_sync_with_catalog_and_state(config: Path, tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text(json.dumps(discover_catalog()))
    first = tap("--config", config, "--properties", tmp_path / "catalog.json")
    messages = [json.loads(line) for line in first.stdout.splitlines()]
    assert first.returncode == 0, first.stderr
    assert messages[-1]["type"] == "STATE"
    assert 'METRIC: {"type": "counter", "metric": "record_count"' in first.stderr
    assert "http_request_duration" not in first.stderr
    (tmp_path / "state.json").write_text(json.dumps(messages[-1]["value"]))
    second = tap("-v", "-c", config, "-p", tmp_path / "catalog.json", "-s", tmp_path / "state.json")
    assert second.returncode == 0, second.stderr
    assert 'METRIC: {"type": "timer", "metric": "http_request_duration"' in second.stderr
    last = json.loads(second.stdout.splitlines()[-1])
    assert last["value"]["bookmarks"] == messages[-1]["value"]["bookmarks"]


def test_the_sandbox_uses_the_settings_of_a_config_but_for_its_access(tmp_path: Path) -> None:
    values = {"client_id": "app", "base_url": "https://gateway.example", "start_date": "2026-13-01", "auth_token": "1"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    ended = tap("--sandbox", "10", "-c", tmp_path / "config.json", "--select", "lists")
    assert_sentence(ended, 2, "start_date must be a date")
    assert "--sandbox does not use these settings: auth_token, client_id, base_url." in ended.stderr


def test_discovery_names_settings_that_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"metric_stream": ["Placed Order"]}')
    ended = tap("--discover", "-c", tmp_path / "config.json", "--select", "lists")
    assert ended.returncode == 0
    assert '"metric_stream" is not a setting; did you mean "metric_streams"?' in ended.stderr


def test_verifying_days_that_are_empty_text_is_refused(config: Path) -> None:
    assert_sentence(tap("-c", config, "--verify", "", "--select", "open"), 2, "--verify takes a day")


def test_settings_from_the_environment(sandbox: Sandbox) -> None:
    variables = {f"TAP_KLAVIYO_{name.upper()}": value for name, value in sandbox.config.items()}
    assert tap("--config", "ENV", cwd=ROOT, **variables).returncode == 0


def test_the_sandbox_needs_no_config() -> None:
    ended = tap("--sandbox", "100")
    assert ended.returncode == 0, ended.stderr
    assert '"type":"RECORD"' in ended.stdout


def test_settings_from_a_file_of_the_environment(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = [f"TAP_KLAVIYO_{name.upper()}={value}" for name, value in sandbox.config.items()]
    (tmp_path / ".env").write_text("\n".join(lines))
    ended = tap("-c", "ENV", "--select", "lists", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert ended.returncode == 0, ended.stderr
    assert '"stream":"lists"' in ended.stdout


def test_about_for_people_and_programs() -> None:
    people, programs = tap("--about").stdout, json.loads(tap("--about", "--format", "json").stdout)
    assert programs["version"] == __version__
    assert [each["name"] for each in programs["settings"] if each["required"]] == ["api_key", "start_date"]
    assert len(programs["streams"]) == len(STREAMS)
    assert all(name in people for name in (*programs["streams"], *(each["name"] for each in programs["settings"])))


def test_the_test_names_each_scope(config: Path) -> None:
    ended = tap("-c", config, "--test")
    assert (ended.returncode, ended.stderr) == (0, "")
    events = "(receive, click, open and 15 more)"
    assert ended.stdout.splitlines() == [
        "Account: Example (AbC123)",
        f"ok     metrics:read {events}",
        f"ok     events:read {events}",
        "ok     lists:read (lists)",
        "ok     campaigns:read (campaigns)",
        "ok     profiles:read (global_exclusions)",
        "All checks passed.",
    ]
    lists = tap("-c", config, "--test", "--select", "lists").stdout
    assert lists == "Account: Example (AbC123)\nok     lists:read (lists)\nAll checks passed.\n"


def test_the_test_asks_for_what_a_sync_asks_for(tmp_path: Path) -> None:
    """A key may lack only the scope of an included resource."""
    path = tmp_path / "config.json"
    with Sandbox(Account.build(events=100), limits=False) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        assert tap("-c", path, "--test", "--select", "campaigns,open").returncode == 0
        asked = {request.path: request.query for request in sandbox.requests}
    assert asked["/api/campaigns"]["include"] == "campaign-messages,tags"
    assert asked["/api/events"]["include"] == "profile"


@pytest.mark.slow
def test_the_test_ends_within_half_a_minute_whatever_the_network_does(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        base_url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        path.write_text(json.dumps({"api_key": "pk_1", "start_date": "2026-01-01", "base_url": base_url}))
        began = time.monotonic()
        ended = tap("-c", path, "--test", "--select", "lists,open", TAP_KLAVIYO_REQUEST_TIMEOUT="300")
    assert ended.returncode == 1
    assert time.monotonic() - began < 30
    assert "no complete answer" in ended.stdout or "no answer in time" in ended.stdout


def test_the_test_names_a_missing_scope_and_a_wrong_key(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with Sandbox(Account.build(events=100), limits=False, scopes=set(SCOPES) - {"campaigns:read"}) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        lacking = tap("-c", path, "--test")
        wrong = tap("-c", path, "-c", "ENV", "--test", TAP_KLAVIYO_API_KEY=WRONG)
    assert_sentence(lacking, 1, "1 check failed")
    assert "FAILS  campaigns:read (campaigns)  Klaviyo answers 403" in lacking.stdout
    assert_sentence(wrong, 1, "1 check failed")
    assert wrong.stdout.startswith("FAILS  the credentials (all streams)  Klaviyo answers 401")


def test_the_test_works_without_the_scope_for_the_accounts_name(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with Sandbox(Account.build(events=100), limits=False, scopes={"lists:read"}) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        ended = tap("-c", path, "--test", "--select", "lists")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Account: unknown, because the key lacks the scope accounts:read (optional).\n")


@pytest.mark.parametrize("mode", [["--test"], []])
def test_the_samples_key_is_recognised_without_a_request(mode: list[str]) -> None:
    ended = tap("-c", "sample_config.json", *mode)
    assert_sentence(ended, 2, "api_key is still the sample's", "Settings > API keys")
    assert "GET" not in ended.stderr


def test_a_missing_scope_is_one_line_however_many_streams_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with Sandbox(Account.build(events=100), limits=False, scopes=set(SCOPES) - {"events:read"}) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        ended = tap("-c", path)
    assert_sentence(ended, 1, "Incomplete streams: receive, click, open")
    about = [line for line in ended.stderr.splitlines() if "events:read" in line]
    assert len(about) == 1, ended.stderr
    assert about[0].endswith("Streams that need it are skipped; the others continue.")
    assert ended.stderr.count(" ERROR ") == 1


@pytest.mark.slow
def test_an_unreachable_klaviyo_is_one_sentence_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    path.write_text(json.dumps({"api_key": "pk_1", "start_date": "2026-01-01", "base_url": f"http://127.0.0.1:{port}"}))
    for mode, selected in ((["--test"], ["--select", "lists,open,campaigns"]), ([], [])):
        ended = tap("-c", path, *mode, *selected)
        assert ended.returncode == 1
        assert (ended.stdout + ended.stderr).count("Check the network and the proxy of this machine") == 1


def test_a_selection_in_words(config: Path) -> None:
    ended = tap("-c", config, "-q", "--select", "lists.name, open.profile.email")
    assert (ended.returncode, ended.stderr) == (0, "")
    records = [json.loads(line) for line in ended.stdout.splitlines() if '"type":"RECORD"' in line]
    assert {frozenset(each["record"]) for each in records if each["stream"] == "lists"} == {frozenset({"id", "name"})}
    profiles = [each["record"]["profile"] for each in records if each["stream"] == "open"]
    assert {frozenset(each) for profile in profiles for each in profile} <= {frozenset({"email"}), frozenset()}
    assert {each["stream"] for each in records} == {"lists", "open"}


def test_discovery_with_a_selection_prints_a_catalog_that_means_it(config: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.json"
    catalog.write_text(tap("--discover", "--select", "lists").stdout)
    by_catalog, in_words = tap("-c", config, "-p", catalog), tap("-c", config, "--select", "lists")
    assert by_catalog.stdout.count('"RECORD"') == in_words.stdout.count('"RECORD"') == 25


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("opne", 'unknown stream "opne"; did you mean "open"?'),
        ("open.profile.mail", 'unknown field "mail" in open.profile; did you mean "email"?'),
        ("", "--select names no stream"),
        (" , ", "--select names no stream"),
    ],
)
def test_a_selection_that_names_nothing_known(config: Path, names: str, sentence: str) -> None:
    assert_sentence(tap("-c", config, "--select", names), 2, sentence)


def test_lines_that_meltano_takes_apart(config: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "logging.yml"
    wanted.write_text("formatters:\n  structured:\n    (): singer_sdk.logging.StructuredFormatter\n")
    ended = tap("-c", config, "--select", "lists", SINGER_SDK_LOG_CONFIG=str(wanted))
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {line["level"] for line in lines} == {"info"}
    assert {"pid", "logger_name", "ts", "thread_name", "app_name", "message"} <= lines[0].keys()
    metrics = [line["metric_info"] for line in lines if "metric_info" in line]
    assert {"record_count"} == {each["metric"] for each in metrics}


def test_nothing_selected_is_a_warning_with_the_fix(config: Path, tmp_path: Path) -> None:
    (tmp_path / "catalog.json").write_text('{"streams": [{"tap_stream_id": "nothing"}]}')
    ended = tap("-c", config, "-p", tmp_path / "catalog.json")
    assert ended.returncode == 0
    assert 'WARNING Ignored a stream of the catalog that this tap does not have: "nothing".' in ended.stderr
    assert 'set "selected": true' in ended.stderr


@pytest.mark.parametrize("arguments", [["--discover"], ["--sandbox", "1000"]])
def test_a_reader_that_goes_away_is_one_sentence(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "tap_klaviyo", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert last_line(said) == "CRITICAL The target closed the pipe; see its own messages."
    assert "Traceback" not in said


def test_wrong_usage_is_exit_code_2() -> None:
    ended = tap("--select", "open", "-p", ROOT / "catalog.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith("tap-klaviyo: error: --select and --catalog exclude each other")


def test_an_argument_without_effect_is_a_warning() -> None:
    ended = tap("--discover", "--state", "x")
    assert (ended.returncode, last_line(ended.stderr)) == (0, "WARNING --discover does not use --state.")
    assert json.loads(ended.stdout) == discover_catalog()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["api_key is missing.", "start_date is missing."]),
        ({"api_key": PUBLIC, "start_date": "2026-01-01"}, ["private", "not the six-character public one"]),
        ({"api_key": WRONG, "start_date": "2999-01-01"}, ["start_date", "up to today"]),
        ({"api_key": WRONG, "start_date": "2026-02-31"}, ["start_date", '"2026-02-31"']),
    ],
)
def test_wrong_settings(tmp_path: Path, values: dict[str, str], words: list[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    assert_sentence(tap("-c", path), 2, *words)


def test_no_config_at_all() -> None:
    assert_sentence(tap(), 2, "api_key", "--config", "--sandbox")


def test_a_missing_config_file() -> None:
    assert_sentence(tap("-c", "nowhere.json"), 2, "nowhere.json", "No such file")


@pytest.mark.parametrize("option", ["--config", "--catalog", "--state"])
def test_a_file_that_is_not_json_is_refused_with_line_and_column(config: Path, tmp_path: Path, option: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text('{\n  "a": 1,\n}')
    assert_sentence(tap("-c", config, option, path), 2, "broken.json is not JSON", "line ", ", column ")


@pytest.mark.parametrize(("option", "what"), [("--catalog", "Invalid catalog"), ("--state", "Invalid state")])
def test_a_file_that_is_something_else(config: Path, tmp_path: Path, option: str, what: str) -> None:
    path = tmp_path / "other.json"
    path.write_text("[]")
    assert_sentence(tap("-c", config, option, path), 2, what)


def test_a_state_file_of_several_lines_is_explained(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    path.write_text('{"bookmarks": {}}\n{"bookmarks": {}}\n')
    assert_sentence(tap("-c", config, "-s", path), 2, "line 2, column 1", "keep only the last line")


def test_a_wrong_key(config: Path) -> None:
    ended = tap("-c", config, "-c", "ENV", TAP_KLAVIYO_API_KEY=WRONG)
    assert_sentence(ended, 1, "401", "api_key")
    assert WRONG not in ended.stderr + ended.stdout


def test_a_key_that_is_revoked_midway_ends_the_run(tmp_path: Path) -> None:
    path, revoked = tmp_path / "config.json", {"/api/lists": Fault("status", code=401)}
    with Sandbox(Account.build(events=100), limits=False, faults=lambda each: revoked.get(each.path)) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        ended = tap("-c", path, "--select", "lists,campaigns")
    assert_sentence(ended, 1, "401", "api_key")
    assert "campaigns" not in ended.stdout


def test_a_missing_scope(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with Sandbox(Account.build(events=100), limits=False, scopes=set(SCOPES) - {"campaigns:read"}) as sandbox:
        path.write_text(json.dumps(sandbox.config))
        ended = tap("-c", path)
    assert_sentence(ended, 1, "campaigns")
    assert "campaigns:read" in ended.stderr
    assert '"stream":"global_exclusions"' in ended.stdout


def test_an_unexpected_error_comes_with_its_traceback(config: Path, tmp_path: Path) -> None:
    # A module that cannot be imported simulates an unexpected error.
    (tmp_path / "pendulum.py").write_text(f"raise ZeroDivisionError('{WRONG}')")
    ended = tap("-c", config, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr
    assert WRONG not in ended.stderr
    assert last_line(ended.stderr).startswith("CRITICAL ")


@pytest.mark.parametrize("text", ["", "\n", "null"])
def test_an_empty_state_file_counts_as_no_state_with_a_warning(config: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    ended = tap("-c", config, "-s", tmp_path / "state.json", "--select", "lists")
    assert ended.returncode == 0
    assert "state.json is empty; reading all streams from start_date" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/stdin")
def test_a_state_can_come_through_a_pipe(config: Path) -> None:
    command = [sys.executable, "-m", "tap_klaviyo", "-c", str(config), "--state", "/dev/stdin", "--select", "open"]
    state = '{"bookmarks": {"open": {"timestamp": "2020-01-01T00:00:00Z"}, "theirs": {}}}'
    ended = subprocess.run(command, input=state, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "belong to no stream: theirs." in ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["value"]["bookmarks"].keys() == {"open", "theirs"}


def test_a_config_that_others_can_read_is_reported_once(config: Path) -> None:
    config.chmod(0o644)
    ended = tap("-c", config, "--select", "lists")
    assert ended.stderr.count("Other users can read") == 1


def test_an_unknown_variable_of_the_environment_is_reported(sandbox: Sandbox) -> None:
    variables: dict[str, Any] = {f"TAP_KLAVIYO_{name.upper()}": value for name, value in sandbox.config.items()}
    variables["TAP_KLAVIYO_STARTDATE"] = "2026-01-01"
    ended = tap("-c", "ENV", "--select", "lists", **variables)
    assert ended.returncode == 0
    assert '"startdate" is not a setting; did you mean "start_date"?' in ended.stderr


@pytest.mark.parametrize(("text", "words"), [(b"\xff\xfe", "not UTF-8"), (None, "cannot be read")])
def test_a_dotenv_that_cannot_be_read_is_an_error(tmp_path: Path, text: bytes | None, words: str) -> None:
    path = tmp_path / ".env"
    path.write_bytes(text) if text else path.mkdir()
    ended = tap("-c", "ENV", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert_sentence(ended, 2, ".env", words)


@pytest.mark.parametrize("option", ["--catalog", "--state"])
def test_a_duplicate_name_is_an_error(config: Path, tmp_path: Path, option: str) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"bookmarks": {}, "streams": [1], "streams": []}')
    assert_sentence(tap("-c", config, option, path), 2, 'has "streams" twice')


def test_without_its_extra_the_sandbox_says_how_to_get_it() -> None:
    program = "import sys; sys.modules['aiohttp'] = None; from tap_klaviyo import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", program, "--sandbox"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert_sentence(ended, 2, "--sandbox needs the package aiohttp", "'.[sandbox]'")
