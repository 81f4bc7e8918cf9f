"""The example project works with the real Meltano: it installs, lists, tests its config, runs, and goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft4Validator

from tap_klaviyo.about import CAPABILITIES
from tap_klaviyo.config import SETTINGS
from tap_klaviyo.sandbox import SCOPES, Account, Fault, Request, Sandbox
from tap_klaviyo.streams.model import CORE, Stream
from tap_klaviyo.streams.table import STREAMS
from tests.targets.expected import FULL_TABLES, key_of
from tests.targets.hub import EXTRACTOR
from tests.targets.postgres import HOST, USER, Postgres
from tests.targets.programs import Json, output_of, program
from tests.targets.warehouses import DUCKDB

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "meltano"
DAY = 86_400.0
# Meltano's own schema is within its package.
_VALIDATE = """
import json, sys, yaml
from importlib.resources import files
from jsonschema import Draft202012Validator
schema = json.loads(files("meltano.schemas").joinpath("meltano.schema.json").read_text())
errors = Draft202012Validator(schema).iter_errors(yaml.safe_load(open(sys.argv[1])))
print(json.dumps([each.message for each in errors]))
"""
_YAML = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"


@dataclass(frozen=True)
class Project:
    """A copy of the example, with a separate state and output folder for one test."""

    root: Path
    name: str = ""

    @property
    def output(self) -> Path:
        return self.root / "output" / self.name

    def meltano(self, *arguments: str, config: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start Meltano with the tap's config in its environment."""
        settings = {f"TAP_KLAVIYO_{name.upper()}": value for name, value in (config or {}).items()}
        return subprocess.Popen(
            [program("meltano", "meltano"), *arguments],
            cwd=self.root,
            env={**os.environ, **settings, "TARGET_JSONL_DESTINATION_PATH": str(self.output), "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def done(self, *arguments: str, config: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run Meltano to its end, and return its exit code and what it said."""
        with self.meltano(*arguments, config=config) as process:
            said, _ = process.communicate(timeout=180)
        return process.returncode, said

    @property
    def run(self) -> tuple[str, ...]:
        """The arguments of a run with a state of this test's own."""
        return ("run", "--state-id-suffix", self.name, "tap-klaviyo", "target-jsonl")

    def bookmarks(self) -> dict[str, str]:
        """Return the bookmarks in the state that Meltano keeps, by stream."""
        name = f"dev:tap-klaviyo-to-target-jsonl:{self.name}"
        kept = output_of(program("meltano", "meltano"), "state", "get", name, folder=self.root)
        bookmarks = json.loads(kept)["singer_state"]["bookmarks"]
        return {stream: bookmark["timestamp"] for stream, bookmark in bookmarks.items()}

    def rows(self, sandbox: Sandbox, once: bool = False) -> dict[str, list[str]]:
        """Return the keys in the output, by stream; each key once, if so asked."""
        found = {stream: self.keys(stream) for stream in sorted_ledger(sandbox)}
        return {stream: sorted(set(keys) if once else keys) for stream, keys in found.items()}

    def keys(self, stream: str) -> list[str]:
        """Return the keys of a stream in the output, as often as they are there."""
        return [record[key_of(stream)] for record in self.records(stream)]

    def records(self, stream: str) -> list[Json]:
        """Return the records of a stream in the output."""
        return [json.loads(line) for line in (self.output / f"{stream}.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("meltano") / "project"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".meltano", "output"))
    definition = root / "meltano.yml"
    definition.write_text(definition.read_text("utf-8").replace("pip_url: ../..", f"pip_url: {ROOT}"), "utf-8")
    project = Project(root)
    code, said = project.done("install")
    assert code == 0, said
    return project


@pytest.fixture
def project(installed: Project, request: pytest.FixtureRequest) -> Project:
    return Project(installed.root, re.sub(r"\W+", "-", request.node.name))


def sorted_ledger(sandbox: Sandbox) -> dict[str, list[str]]:
    """Return the keys that the target has to hold by now, by stream."""
    return {stream: sorted(keys) for stream, keys in sandbox.account.ledger(sandbox.now).items()}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Account.build(events=2000), limits=False) as sandbox:
        yield sandbox


def test_select_lists_every_field(project: Project) -> None:
    code, said = project.done("select", "--list", "--all", "tap-klaviyo")
    listed = {name: kind for kind, name in re.findall(r"\[(\w+) *\] (\w+\.\w+)$", said, re.MULTILINE)}
    assert code == 0, said
    assert listed == {
        f"{stream.name}.{field}": chosen_by_default(stream, field)
        for stream in STREAMS
        for field in stream.schema["properties"]
    }


def chosen_by_default(stream: Stream, field: str) -> str:
    """Return what Meltano calls a field with the definition's `select`, which has the core streams only."""
    if stream.group != CORE or field in stream.off:
        return "excluded"
    return "automatic" if field in stream.automatic else "selected"


@pytest.mark.parametrize(
    ("patterns", "is_there"),
    [
        (["open.*", "!open.profile.email"], {"email": False, "first_name": True}),
        (["open.*", "!*.profile.email"], {"email": False, "first_name": True}),
        (["open.id", "open.profile.email"], {"email": True, "first_name": False}),
    ],
)
def test_patterns_reach_the_fields_of_a_profile(
    project: Project,
    sandbox: Sandbox,
    patterns: list[str],
    is_there: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAP_KLAVIYO__SELECT", json.dumps(patterns))
    code, said = project.done("select", "--list", "--all", "tap-klaviyo")
    listed = {name: kind for kind, name in re.findall(r"\[(\w+) *\] open\.profile\.(\w+)$", said, re.MULTILINE)}
    assert (code, {name: listed[name] == "selected" for name in is_there}) == (0, is_there), said
    code, said = project.done(*project.run, config=sandbox.config)
    profiles = [profile for record in project.records("open") for profile in record["profile"]]
    assert (code, len(profiles) > 100) == (0, True), said
    assert {name: any(name in each for each in profiles) for name in is_there} == is_there


def test_config_test_passes_with_the_right_key(project: Project, sandbox: Sandbox) -> None:
    code, said = project.done("config", "test", "tap-klaviyo", config=sandbox.config)
    assert (code, "Plugin configuration is valid" in said) == (0, True), said


def test_config_test_with_a_wrong_key_shows_the_taps_sentence(project: Project, sandbox: Sandbox) -> None:
    config = {**sandbox.config, "api_key": "pk_wrong_0123456789"}
    code, said = project.done("config", "test", "tap-klaviyo", config=config)
    assert code == 1
    assert "Check that api_key is a private key of this account" in said
    assert "pk_wrong_0123456789" not in said


def test_second_run_resumes_from_the_first_ones_state(project: Project, sandbox: Sandbox) -> None:
    assert project.done(*project.run, config=sandbox.config)[0] == 0
    assert project.rows(sandbox) == sorted_ledger(sandbox)
    first = project.bookmarks()

    sandbox.advance(7 * DAY)
    assert project.done(*project.run, config=sandbox.config)[0] == 0
    assert project.rows(sandbox, once=True) == sorted_ledger(sandbox)
    assert len(project.keys("receive")) < 1.2 * len(set(project.keys("receive")))
    assert first["receive"] < project.bookmarks()["receive"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_is_completed_by_the_next(project: Project, sandbox: Sandbox, number: signal.Signals) -> None:
    assert project.done(*project.run, config=sandbox.config)[0] == 0
    before = project.bookmarks()
    sandbox.advance(7 * DAY)
    reached = threading.Event()

    def stalled_campaigns(request: Request) -> Fault | None:
        if request.path != "/api/campaigns":
            return None
        reached.set()
        return Fault("stall", seconds=60)

    sandbox.faults = stalled_campaigns
    with project.meltano(*project.run, config=sandbox.config) as process:
        assert reached.wait(60)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert process.returncode != 0, said
    assert all(before[stream] <= bookmark for stream, bookmark in project.bookmarks().items())

    sandbox.faults = None
    assert project.done(*project.run, config=sandbox.config)[0] == 0
    assert project.rows(sandbox, once=True) == sorted_ledger(sandbox)


def test_loader_for_postgres_takes_rows_and_an_emptied_table(
    project: Project, sandbox: Sandbox, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.create("meltano")
    where = {"HOST": HOST, "PORT": str(postgres.port), "USER": USER, "PASSWORD": "none", "DATABASE": "meltano"}
    for name, value in where.items():
        monkeypatch.setenv(f"TARGET_POSTGRES_{name}", value)
    run = ("run", "tap-klaviyo", "target-postgres")
    assert project.done(*run, config=sandbox.config)[0] == 0
    sandbox.account = sandbox.account.without(list_ids=sandbox.account.ledger(sandbox.now)["lists"])
    # An empty answer removes no row until a second run finds it empty too.
    for _ in range(2):
        assert project.done(*run, config=sandbox.config)[0] == 0
    kept = postgres.rows("meltano", "SELECT count(*) AS lists FROM klaviyo.lists WHERE _sdc_deleted_at IS NULL")
    events = postgres.rows("meltano", "SELECT id FROM klaviyo.receive")
    assert kept == [{"lists": 0}]
    assert sorted(row["id"] for row in events) == sorted_ledger(sandbox)["receive"]


def test_run_that_could_not_read_a_stream_keeps_the_state_of_the_others(project: Project) -> None:
    with Sandbox(Account.build(events=2000), limits=False, scopes=SCOPES - {"campaigns:read"}) as sandbox:
        code, said = project.done(*project.run, config=sandbox.config)
        timelines = {stream for stream in sorted_ledger(sandbox) if stream not in FULL_TABLES}
    assert code == 1
    assert re.search(r"\[error +\] .*campaigns:read", said), said
    assert project.bookmarks().keys() == timelines


def test_definitions_have_the_taps_settings() -> None:
    hub = _yaml(EXAMPLE / "hub.yml")
    settings = [
        {
            "name": each["name"],
            "aliases": tuple(each.get("aliases", ())),
            "description": each["description"],
            "default": each.get("value"),
            "secret": each.get("sensitive", False),
        }
        for each in hub["settings"]
    ]
    assert settings == [{name: getattr(each, name) for name in settings[0]} for each in SETTINGS]
    assert tuple(hub["capabilities"]) == CAPABILITIES
    assert hub["settings_group_validation"] == [
        ["api_key", "start_date"],
        ["client_id", "client_secret", "refresh_token", "start_date"],
    ]
    plugin = _yaml(EXAMPLE / "meltano.yml")["plugins"]["extractors"][0]
    addition = _yaml(EXAMPLE / "tap-klaviyo.yml")
    (variant,) = addition.pop("variants")
    assert plugin == {name: hub[name] for name in plugin} | {"pip_url": "../.."}
    assert addition == {name: hub[name] for name in addition}
    assert variant == {name: hub[name] for name in variant}


def test_definitions_fit_the_schemas_of_meltano_and_of_its_hub() -> None:
    assert [each.message for each in Draft4Validator(EXTRACTOR).iter_errors(_yaml(EXAMPLE / "hub.yml"))] == []
    assert output_of(program("meltano", "python"), "-c", _VALIDATE, EXAMPLE / "meltano.yml") == "[]\n"


def test_tap_added_to_another_project_keeps_the_selection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output_of(program("meltano", "meltano"), "init", "other", folder=tmp_path)
    project = Project(tmp_path / "other")
    add = ("add", "--from-ref", str(EXAMPLE / "tap-klaviyo.yml"), "tap-klaviyo")
    monkeypatch.delenv("TAP_KLAVIYO_PIP_URL", raising=False)
    code, said = project.done(*add)
    assert code != 0, "Without TAP_KLAVIYO_PIP_URL nothing may be installed, least of all a namesake."
    monkeypatch.setenv("TAP_KLAVIYO_PIP_URL", str(ROOT))
    code, said = project.done("install")
    assert code == 0, said
    code, said = project.done("select", "--list", "--all", "tap-klaviyo")
    assert code == 0, said
    assert re.search(r"\[excluded *\] open\.attributions$", said, re.MULTILINE), said
    assert re.search(r"\[selected *\] open\.profile$", said, re.MULTILINE), said


def test_loader_for_duckdb_takes_rows(project: Project, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.root / f"{project.name}.duckdb"
    monkeypatch.setenv("TARGET_DUCKDB_PATH", str(path))
    code, said = project.done("run", "tap-klaviyo", "target-duckdb", config=sandbox.config)
    assert code == 0, said
    query = "SELECT to_json(found) FROM (SELECT id FROM klaviyo.receive) found"
    lines = output_of(program("target-duckdb", "python"), "-c", DUCKDB, path, query).splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted_ledger(sandbox)["receive"]


def _yaml(path: Path) -> Json:
    value: Json = json.loads(output_of(program("meltano", "python"), "-c", _YAML, path))
    return value
