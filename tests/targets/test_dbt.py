"""The dbt project builds on loaded tables, and its views have the account's rows; the commands of its README work."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.times import parse_time
from tests.running import all_events
from tests.targets import warehouses
from tests.targets.postgres import HOST, USER
from tests.targets.programs import TAP, Json, program, sync
from tests.targets.warehouses import Server, Warehouse

PROJECT = Path(__file__).parents[2] / "examples" / "dbt"
README = (PROJECT / "README.md").read_text("utf-8")
COMMANDS = [
    re.sub(r"^ {3}", "", block, flags=re.MULTILINE) for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
]
SELECT = COMMANDS[0].split("--select '")[1].split("'")[0]
VIEWS = ("event", "person", "campaign", "flow", "metric")
# What the packages read, besides _fivetran_synced and columns that are null in revisions of Klaviyo's API of today.
COLUMNS: Mapping[str, str] = {
    "event": "_variation campaign_id datetime flow_id flow_message_id id metric_id person_id property_attribution "
    "property_value timestamp type uuid",
    "person": "address_1 address_2 city country created email first_name id last_event_date last_name latitude "
    "longitude organization phone_number region timezone title updated zip",
    "campaign": "archived campaign_type created email_template_id from_email from_name id name scheduled send_time "
    "sent_at status status_label subject updated",
    "flow": "archived created id name status trigger_type updated",
    "metric": "created id integration_category integration_id integration_name name updated",
}


@dataclass(frozen=True)
class Built:
    """The views of an account, built after a first run and read after a second, which loads deletions too."""

    account: Account
    now: float
    views: Mapping[str, list[Json]]

    def resources(self, *streams: str) -> dict[str, Json]:
        """Return the resources of the sandbox's ledger by id."""
        return {each["id"]: each for stream in streams for each in self.account.resources(stream, self.now)}

    def collection(self, path: str) -> dict[str, Json]:
        """Return the attributes of the resources of a collection by id."""
        return {each["id"]: each["attributes"] for each in self.account.collection(path, self.now)}

    def rows(self, view: str) -> dict[str, Json]:
        return {row["id"]: row for row in self.views[view]}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((warehouses.duckdb, {"add_metadata_columns": True}), id="target-duckdb"),
        pytest.param((warehouses.pipelinewise, {}), id="pipelinewise-target-postgres"),
        pytest.param((warehouses.meltanolabs, {}), id="meltanolabs-target-postgres"),
    ],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    make: Callable[..., Warehouse]
    settings: dict[str, Any]
    make, settings = request.param
    folder = tmp_path_factory.mktemp("dbt")
    warehouse = make(folder, lambda: request.getfixturevalue("postgres"), **settings)
    assert warehouse.query is not None
    with Sandbox(Account.build(events=1500), limits=False) as sandbox:
        state = sync(folder, sandbox.config, warehouse.command, select=SELECT)
        dbt(folder, "build", **environment(folder, lambda: request.getfixturevalue("postgres")))
        if warehouse.deleted != "kept":
            campaigns = sandbox.account.ledger(sandbox.now)["campaigns"]
            sandbox.account = sandbox.account.without(campaign_ids=campaigns[::7])
        sandbox.advance(86_400)
        sync(folder, sandbox.config, warehouse.command, state, select=SELECT)
        views = {view: warehouse.query(f"SELECT * FROM klaviyo_sources.{view}") for view in VIEWS}
        return Built(sandbox.account, sandbox.now, views)


def environment(folder: Path, server: Server) -> dict[str, str]:
    """Return the variables that the project's profile reads, for the target whose config is in a folder."""
    config = json.loads((folder / "target.json").read_text("utf-8"))
    if "path" in config:
        return {"KLAVIYO_DUCKDB": config["path"], "DBT_TARGET": "duckdb"}
    postgres = server()
    assert postgres is not None
    return {
        "KLAVIYO_POSTGRES_HOST": HOST,
        "KLAVIYO_POSTGRES_PORT": str(postgres.port),
        "KLAVIYO_POSTGRES_USER": USER,
        "KLAVIYO_POSTGRES_DATABASE": config.get("database") or config["dbname"],
        "DBT_TARGET": "postgres",
    }


def dbt(folder: Path, command: str, **variables: str) -> None:
    """Run dbt on the project, with its own output in a folder."""
    ended = subprocess.run(
        [program("dbt", "dbt"), command, "--project-dir", PROJECT, "--profiles-dir", PROJECT],
        env={**os.environ, **written_to(folder), **variables},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]


def written_to(folder: Path) -> dict[str, str]:
    """Return the variables that keep dbt's files out of the project, and dbt from calling home."""
    return {
        "DBT_TARGET_PATH": str(folder / "target"),
        "DBT_LOG_PATH": str(folder / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def test_each_view_has_the_accounts_rows(built: Built) -> None:
    ledger = {
        "event": all_events(built.account, built.now, built.account.start),
        "person": persons(built),
        "campaign": built.account.ledger(built.now)["campaigns"],
        "flow": built.collection("/api/flows"),
        "metric": built.collection("/api/metrics"),
    }
    for view, ids in ledger.items():
        assert sorted(row["id"] for row in built.views[view]) == sorted(ids), view
    assert min(map(len, built.views.values())) > 50


def persons(built: Built) -> Iterable[str]:
    """Return the profiles that were updated since the start, which is what the tap reads."""
    profiles = built.collection("/api/profiles").items()
    return [id for id, each in profiles if each["updated"] and parse_time(each["updated"]) >= built.account.start]


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_has_the_columns_that_the_packages_read(built: Built, view: str) -> None:
    rows = built.views[view]
    assert sorted(rows[0]) == sorted([*COLUMNS[view].split(), "_fivetran_synced"])
    assert all(row["_fivetran_synced"] for row in rows)
    filled = {name for row in rows for name, value in row.items() if value is not None}
    assert set(rows[0]) - filled <= {"address_2"}


def test_an_event_names_its_message_or_what_it_is_attributed_to(built: Built) -> None:
    rows, kinds = built.rows("event"), set()
    # Only the newer revision lists the messages of all campaigns.
    messages = built.account.collection("/api/campaign-messages", built.now, revision="2026-10-15")
    owners = {each["id"]: each["relationships"]["campaign"]["data"]["id"] for each in messages}
    for id, event in built.resources("receive", "open", "sent_sms", "subscribe_list").items():
        row, properties = rows[id], event["attributes"]["event_properties"] or {}
        attributed = {
            name: each["data"]["id"]
            for attribution in event["attributions"][:1]
            for name, each in attribution["relationships"].items()
            if each.get("data")
        }
        message, flow = properties.get("$message"), properties.get("$flow")
        if message is None:
            names = ("campaign", "flow", "flow-message")
            expected: tuple[Any, ...] = tuple(attributed.get(name) for name in names)
        else:
            expected = (None, flow, message) if flow else (owners.get(message, message), None, None)
        assert (row["campaign_id"], row["flow_id"], row["flow_message_id"]) == expected
        assert row["_variation"] == (properties.get("$variation") or attributed.get("flow-message-variation"))
        assert row["property_value"] == (str(properties["$value"]) if "$value" in properties else None)
        found = json.loads(row["property_attribution"] or "{}")
        assert found.get("attributed_event_id") == attributed.get("attributed-event")
        profile = event["profile"] or event["relationships"].get("profile", {}).get("data")
        assert row["person_id"] == (profile and profile["id"])
        assert row["type"] == event["metric"]["attributes"]["name"]
        assert row["timestamp"] == row["datetime"]
        assert spelled(row["datetime"]) == event["attributes"]["datetime"][:19]
        kinds.add((message is None, flow is None, bool(attributed)))
    assert len(kinds) > 4


def spelled(moment: str) -> str:
    return moment.replace(" ", "T")[:19]


def test_a_campaign_has_the_subject_and_sender_of_its_first_message(built: Built) -> None:
    rows = built.rows("campaign")
    for id, campaign in built.resources("campaigns").items():
        definition = campaign["campaign_messages"][0]["attributes"]["definition"] or {}
        content = definition.get("content") or {}
        expected = tuple(content.get(name) for name in ("subject", "from_email", "from_label"))
        assert (rows[id]["subject"], rows[id]["from_email"], rows[id]["from_name"]) == expected
        assert rows[id]["status_label"] == campaign["attributes"]["status"]
    assert any(len(each["campaign_messages"]) > 1 for each in built.resources("campaigns").values())


def test_a_metric_has_its_integration(built: Built) -> None:
    rows, categories = built.rows("metric"), set()
    for id, metric in built.collection("/api/metrics").items():
        integration = metric["integration"] or {"id": None, "name": None, "category": None}
        category = integration["category"]
        category = category["category"] if isinstance(category, dict) else category
        row = rows[id]
        found = (row["integration_id"], row["integration_name"], row["integration_category"])
        assert found == (integration["id"], integration["name"], category)
        categories.add(category)
    assert {None, "Internal", "Advertising"} < categories


def test_a_person_has_a_place(built: Built) -> None:
    rows = built.rows("person")
    for id, profile in built.collection("/api/profiles").items():
        if id in rows:
            location, row = profile["location"] or {}, rows[id]
            assert (row["city"], row["address_1"]) == (location.get("city"), location.get("address1"))
            assert row["latitude"] == (float(location["latitude"]) if location.get("latitude") else None)


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    for name, tried in ((".venv-duckdb", "target-duckdb"), (".venv-dbt", "dbt")):
        (tmp_path / name).symlink_to(program(tried, "python").parents[1])
    (tmp_path / "examples").symlink_to(PROJECT.parent)
    with Sandbox(Account.build(events=300), limits=False) as sandbox:
        (tmp_path / "config.json").write_text(json.dumps(sandbox.config))
        made = [
            line for block in COMMANDS for line in block.splitlines() if not re.search(r"-m venv|pip install", line)
        ]
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(made)],
            cwd=tmp_path,
            env={**os.environ, **written_to(tmp_path), "PATH": f"{TAP.parent}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert re.search(r"\| Received Email +\| +\d+ \|", ended.stdout)


def test_the_readme_installs_the_tested_versions() -> None:
    folder = Path(__file__).parent / "requirements"
    tried = {line for name in ("dbt", "target-duckdb") for line in (folder / f"{name}.txt").read_text().splitlines()}
    installed = {each.strip("'") for line in re.findall(r"pip install (.+)", README) for each in line.split()}
    assert installed <= tried
