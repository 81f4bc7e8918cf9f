"""The tap's requests, the sandbox's answers and the schemas agree with Klaviyo's own OpenAPI document."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tap_klaviyo.sandbox import ENDPOINTS, Account, Endpoint, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.streams.model import load_schema
from tests.openapi.document import fit
from tests.running import sync

Exchange = dict[str, Any]
Violation = dict[str, Any]

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT.parent / "shared" / "klaviyo-openapi" / "stable.json"
# The beta's document describes what revision 2026-10-15 made stable.
BETA = DOCUMENT.with_name("beta-2026-07-15.pre.json")
PYTHON = Path(os.environ.get("TAP_KLAVIYO_OPENAPI_PYTHON", ROOT / ".venv-openapi" / "bin" / "python"))
PATHS = ("/api/campaigns", "/api/events", "/api/lists", "/api/metrics", "/api/profiles")
METRIC = 'equals(metric_id,"XXXXXX")'

pytestmark = pytest.mark.skipif(
    not DOCUMENT.exists(), reason="Klaviyo's OpenAPI document is not at ../shared/klaviyo-openapi/stable.json"
)
needs_validator = pytest.mark.skipif(
    not PYTHON.exists(), reason="the environment of openapi-core is not there: scripts/test makes it, .venv-openapi"
)


def violations(exchanges: list[Exchange], document: Path = DOCUMENT) -> list[Violation]:
    """Return what the document forbids in the exchanges."""
    completed = subprocess.run(
        [PYTHON, "-m", "tests.openapi.validate", document],
        cwd=ROOT,
        input="\n".join(map(json.dumps, exchanges)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[Violation] = json.loads(completed.stdout)
    return found


def catalog_with(selected: bool) -> dict[str, Any]:
    """Return the catalog with all streams selected, and every field or only the automatic ones."""
    catalog = discover_catalog()
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = selected or not entry["breadcrumb"]
    return catalog


def exchanges_of(sandbox: Sandbox) -> list[Exchange]:
    """Return the recorded exchanges as the validator reads them."""
    return [
        {
            "method": each.method,
            "url": each.url,
            "request_headers": dict(each.request_headers),
            "status": each.status,
            "response_headers": dict(each.response_headers),
            "body": each.body.decode(),
            "request_body": each.request_body.decode(),
        }
        for each in sandbox.exchanges
    ]


@pytest.fixture(scope="module")
def exchanges() -> list[Exchange]:
    """Return what the tap and the sandbox say to each other in two syncs: with all fields, and with few."""
    with Sandbox(Account.build(events=3000, seed=7, gone=False), record=True, limits=False, largest_page=40) as sandbox:
        for selected in (True, False):
            assert sync(sandbox, catalog=catalog_with(selected)).error is None
        return exchanges_of(sandbox)


@needs_validator
@pytest.mark.parametrize(("revision", "document"), [("2026-07-15", DOCUMENT), ("2026-10-15", BETA)])
def test_the_tap_asks_and_the_sandbox_answers_as_klaviyo_documents(
    exchanges: list[Exchange], revision: str, document: Path
) -> None:
    own = few_of_each([each for each in exchanges if each["request_headers"]["revision"] == revision])
    assert {each["status"] for each in own} == {200}
    found = violations(own, document)
    assert [each for each in found if not is_expected(own[each["exchange"]], each["problem"])] == []


def few_of_each(exchanges: list[Exchange], most: int = 2) -> list[Exchange]:
    """Return some of the exchanges that are alike: at one path, with parameters of the same names."""
    counts: Counter[str] = Counter()
    kept = []
    for each in exchanges:
        path, _, query = each["url"].partition("?")
        segments = [part for part in urlsplit(path).path.split("/") if part.islower()]
        kind = f"{segments} {sorted(part.split('=')[0] for part in query.split('&'))}"
        counts[kind] += 1
        kept += [each] if counts[kind] <= most else []
    return kept


def is_expected(exchange: Exchange, problem: str) -> bool:
    """Return whether a problem shows a gap of the document: tags of campaigns, and what sparse fieldsets leave out."""
    sparse = "fields%5B" in exchange["url"] and problem.endswith("is a required property")
    return sparse or "'tags'" in problem or "type: 'tag' is not one of" in problem


@needs_validator
def test_the_tap_reads_further_pages_of_the_core_streams(exchanges: list[Exchange]) -> None:
    asked = {(urlsplit(exchange["url"]).path, "cursor" in exchange["url"]) for exchange in exchanges}
    assert {(path, further) for path in PATHS for further in (False, True)} <= asked


@needs_validator
@pytest.mark.parametrize(("revision", "document"), [("2026-07-15", DOCUMENT), ("2026-10-15", BETA)])
def test_every_collection_of_the_sandbox_looks_as_klaviyo_documents(revision: str, document: Path) -> None:
    account = Account.build(events=60, seed=7)
    with Sandbox(account, record=True, limits=False) as sandbox, requests.Session() as session:
        session.headers.update({"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": revision})
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" and endpoint.revision == revision:
                for path in paths_of(account, endpoint):
                    session.get(f"{sandbox.url}{path}", params=everything(endpoint))
        exchanges = exchanges_of(sandbox)
    assert [exchange["body"] for exchange in exchanges if exchange["status"] != 200] == []
    assert violations(exchanges, document) == []


@needs_validator
def test_reports_and_counts_look_as_klaviyo_documents() -> None:
    account = Account.build(events=600, seed=7)
    order = next(each.id for each in account.metrics if each.kind.name == "Placed Order")
    month = {"start": "2026-08-01T00:00:00+00:00", "end": "2026-09-01T00:00:00+00:00"}
    statistics = {"campaign": "open_rate", "flow": "open_rate", "form": "submit_rate", "segment": "total_members"}
    bounds = ["greater-or-equal(datetime,2026-08-01T00:00:00)", "less-than(datetime,2026-09-01T00:00:00)"]
    counts = {"metric_id": order, "measurements": ["count", "sum_value", "unique"], "filter": bounds, "by": ["$flow"]}
    with Sandbox(account, record=True, limits=False) as sandbox, requests.Session() as session:
        session.headers.update({"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"})
        session.headers["Content-Type"] = "application/vnd.api+json"
        for endpoint in ENDPOINTS:
            if endpoint.method == "POST":
                kind = endpoint.type.split("-")[0]
                asked = counts if kind == "metric" else {"statistics": [statistics[kind]], "timeframe": month}
                asked = asked | ({"interval": "daily"} if "series" in endpoint.type else {})
                asked = asked | ({"conversion_metric_id": order} if kind in ("campaign", "flow") else {})
                body = {"data": {"type": endpoint.type, "attributes": asked}}
                session.post(f"{sandbox.url}{endpoint.path}", data=json.dumps(body))
        exchanges = exchanges_of(sandbox)
    assert [exchange["body"] for exchange in exchanges if exchange["status"] != 200] == []
    assert len(exchanges) == 8
    assert violations(exchanges) == []


def paths_of(account: Account, endpoint: Endpoint) -> list[str]:
    """Return the path of a collection, or those of the children of its first parents."""
    if "{id}" not in endpoint.path:
        return [endpoint.path]
    parents = dict.fromkeys(
        each["parent_id"] for each in account.collection(endpoint.path, account.now, revision=endpoint.revision)
    )
    return [endpoint.path.replace("{id}", parent) for parent in list(parents)[:6]]


def everything(endpoint: Endpoint) -> dict[str, str]:
    """Return the parameters that ask for all that an endpoint has."""
    required = {"messages.channel": 'equals(messages.channel,"email")', "coupon.id": 'any(coupon.id,["coupon_2"])'}
    # The beta's document does not include tags, and shows messages of flows and templates in another shape.
    unlike = (
        {"flow-message", "tags", "template", "template-universal-content"} if endpoint.revision > "2026-08" else set()
    )
    include = set(endpoint.include) - unlike
    parameters = {
        "filter": required[endpoint.required_filter[0]] if endpoint.required_filter else "",
        "include": ",".join(sorted(include)),
        f"additional-fields[{endpoint.type}]": ",".join(endpoint.additional),
        "page[size]": str(min(20, endpoint.sizes[1])) if endpoint.sizes else "",
    }
    return {name: value for name, value in parameters.items() if value}


REFUSED: Mapping[str, str] = {
    "/api/events?page[size]=1001": "request",
    "/api/events?page[size]=0": "request",
    "/api/events?include=list": "request",
    "/api/events?sort=uuid": "request",
    "/api/events?fields[profile]=nothing": "request",
    "/api/events?color=blue": "request",
    f"/api/events?filter=and({METRIC},contains(datetime,2026-01-01))": "request",
    '/api/events?filter=less-than(datetime,"2026-01-01")': "request",
    "/api/events?filter=less-than(datetime,2099-01-01)": "",
    f"/api/events?filter={METRIC}": "",
    "/api/events?page[cursor]=garbage": "",
    "/api/metrics?page[size]=10": "request",
    "/api/lists?page[size]=11": "request",
    "/api/campaigns": "request",
    "/api/profiles?filter=greater-or-equal(created,2026-01-01)": "request",
}


@needs_validator
def test_what_the_document_forbids_the_sandbox_refuses_in_klaviyos_words() -> None:
    with Sandbox(Account.build(events=50, seed=7), record=True) as sandbox, requests.Session() as session:
        session.headers.update({"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": "2026-07-15"})
        statuses = {path: session.get(f"{sandbox.url}{path}").status_code for path in REFUSED}
        found = violations(exchanges_of(sandbox))
    assert statuses == dict.fromkeys(REFUSED, 400)
    parts = [[each["part"] for each in found if each["exchange"] == number] for number in range(len(REFUSED))]
    assert {path: "".join(sorted(set(each))) for path, each in zip(REFUSED, parts, strict=True)} == REFUSED


@needs_validator
def test_the_sandbox_refuses_keys_revisions_and_haste_as_klaviyo_documents() -> None:
    account = Account.build(events=50, seed=7)
    scopes = ("events:read", "lists:read")
    with Sandbox(account, record=True, scopes=scopes, clock=lambda: 0.0) as sandbox:
        key, revision = f"Klaviyo-API-Key {sandbox.api_key}", "2026-07-15"
        asked = [
            ("lists", {"revision": revision}),
            ("lists", {"revision": revision, "Authorization": "Klaviyo-API-Key pk_of_another_account"}),
            ("metrics", {"revision": revision, "Authorization": key}),
            ("lists", {"revision": "2099-01-01", "Authorization": key}),
            ("lists", {"Authorization": key}),
            *[("lists", {"revision": revision, "Authorization": key})] * 80,
        ]
        statuses = [requests.get(f"{sandbox.url}/api/{path}", headers=each).status_code for path, each in asked]
        found = violations(exchanges_of(sandbox))
    assert statuses[:5] == [401, 401, 403, 404, 400]
    assert set(statuses[5:]) == {200, 429}
    assert [each for each in found if each["part"] == "response"] == []


def with_url(old: str, new: str) -> Callable[[Exchange], Exchange]:
    return lambda exchange: {**exchange, "url": exchange["url"].replace(old, new)}


def with_body(old: str, new: str) -> Callable[[Exchange], Exchange]:
    return lambda exchange: {**exchange, "body": exchange["body"].replace(old, new, 1)}


DOCTORED: Mapping[str, tuple[str, Callable[[Exchange], Exchange]]] = {
    "an unknown parameter": ("request", with_url("?", "?color=blue&")),
    "a larger page": ("request", with_url("=1000", "=1001")),
    "an unknown include": ("request", with_url("include=profile", "include=person")),
    "an unknown operator": ("request", with_url("greater-or-equal", "at-least")),
    "an unknown field in the filter": ("request", with_url("metric_id", "metric")),
    "no key": ("request", lambda exchange: {**exchange, "request_headers": {"revision": "2026-07-15"}}),
    "another path": ("request", with_url("/api/events", "/api/event")),
    "a missing id": ("response", with_body('"id":', '"key":')),
    "another type of resource": ("response", with_body('"type":"event"', '"type":"metric"')),
    "an unknown attribute": ("response", with_body('"uuid":', '"guid":')),
    "text for a number": ("response", with_body('"timestamp":', '"timestamp":"soon","x":')),
    "no time zone": ("response", with_body('+00:00"', '"')),
    "an unknown attribute of a profile": ("response", with_body('"email":', '"mail":')),
    "a cut body": ("response", lambda exchange: {**exchange, "body": exchange["body"][:-5]}),
    "another media type": ("response", lambda exchange: {**exchange, "response_headers": {"Content-Type": "a/b"}}),
    "another status": ("response", lambda exchange: {**exchange, "status": 302}),
}


@needs_validator
def test_a_doctored_exchange_is_found(exchanges: list[Exchange]) -> None:
    asked = ("/api/events?", "=1000", "metric_id", "include=profile")
    pages = [each for each in exchanges if all(part in each["url"] for part in asked) and '"email":' in each["body"]]
    events = min(pages, key=lambda each: len(each["body"]))
    doctored = [doctor(events) for _, doctor in DOCTORED.values()]
    assert [name for name, each in zip(DOCTORED, doctored, strict=True) if each == events] == []
    found = violations([events, *doctored])
    parts = [{each["part"] for each in found if each["exchange"] == number} for number in range(len(DOCTORED) + 1)]
    assert parts[0] == set()
    assert dict(zip(DOCTORED, parts[1:], strict=True)) == {name: {part} for name, (part, _) in DOCTORED.items()}


# The tap's schema and the field of it that holds the resource's attributes -> the component that describes them.
DESCRIBED: Mapping[tuple[str, str], str] = {
    ("event", ""): "EventResponseObjectResource",
    ("event", "profile"): "ProfileResponseObjectResource",
    ("event", "metric"): "MetricResponseObjectResource",
    ("list", ""): "ListListResponseObjectResource",
    ("list", "tags"): "TagResponseObjectResource",
    ("campaign", ""): "CampaignResponseObjectResource",
    ("campaign", "tags"): "TagResponseObjectResource",
    ("campaign", "campaign_messages"): "CampaignMessageResponseObjectResource",
    ("global_exclusion", ""): "GetProfileResponsePluralConversationsCollectionCompoundDocument",
}


@pytest.fixture(scope="module")
def components() -> dict[str, Any]:
    """Return the schemas of Klaviyo's document that the tap's endpoints answer by."""
    schemas: dict[str, Any] = fit(json.loads(DOCUMENT.read_text("utf-8")), PATHS)["components"]["schemas"]
    return schemas


@pytest.mark.parametrize(("schema", "field"), DESCRIBED)
def test_the_schemas_have_every_attribute_that_klaviyo_documents(
    schema: str, field: str, components: dict[str, Any]
) -> None:
    own = load_schema(schema)
    own = own["properties"][field]["items"] if field else own
    described = components[DESCRIBED[schema, field]]
    described = described["properties"].get("data", {}).get("items", described)
    documented = set(names(described["properties"]["attributes"], components))
    assert documented
    assert {name for name in documented if not covers(own, name)} == set()


def names(schema: dict[str, Any], components: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every attribute, those within others and within the items of arrays too."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[1]]
    for each in (*schema.get("anyOf", ()), *filter(None, [schema.get("items")])):
        yield from names(each, components)
    for name, each in schema.get("properties", {}).items():
        yield (name,)
        yield from ((name, *inner) for inner in names(each, components))


def covers(schema: dict[str, Any], path: tuple[str, ...]) -> bool:
    """Return whether a schema has an attribute, by name or within an object that takes any."""
    inner = schema.get("items", schema)
    if not path or ("properties" not in inner and "object" in inner["type"]):
        return True
    return path[0] in inner.get("properties", {}) and covers(inner["properties"][path[0]], path[1:])
