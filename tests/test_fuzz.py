"""Input of any shape: config, catalog, state, answers. Each gives a result or one of the tap's errors."""

from __future__ import annotations

import copy
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tap_klaviyo import config
from tap_klaviyo.config import SETTINGS
from tap_klaviyo.errors import ApiError, CatalogError, ConfigError, StateError, TapError
from tap_klaviyo.files import read_config, read_json
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.jsonapi import MalformedError, parse_page, read_errors
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.retries import Retries
from tap_klaviyo.sandbox import Account, Sandbox
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.given_state import read_state
from tap_klaviyo.singer.messages import Writer
from tap_klaviyo.singer.other_taps import adopt_bookmarks
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.singer.selection import Selection, read_catalog
from tap_klaviyo.singer.state import bookmark_of, start_of
from tap_klaviyo.streams.table import STREAMS
from tap_klaviyo.sync import Sync
from tests.canned import Answer, answering
from tests.chaos.harness import PatientTime

KEY = "pk_0123456789abcdef0123456789abcdef01"
GOOD: dict[str, Any] = {"api_key": KEY, "start_date": "2026-01-01T00:00:00Z", "base_url": "https://a.klaviyo.com"}
NAMES = [name for setting in SETTINGS for name in (setting.name, *setting.aliases)]
NOW = 1_795_392_000

# The code of a test alone determines its examples, so that a failure is repeatable.
bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

odd_texts = st.sampled_from(
    [
        *("", "null", "\x00", "\ud800", "é\u2028", "pk_", KEY, "0001-01-01", "9999-12-31T23:59:59-14:00", "2026-02-30"),
        *("2026-11-01T01:30:00", "12/31/2026", "99/99/9999", "2026-01-01T00:00+99:99", "1e999", "-1", "Infinity"),
        *("http://127.0.0.1", "https://[::1", f"https://{KEY}@a.klaviyo.com", "https://a:b", "http://127.0.0.1:99999"),
    ]
)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([10**18, 10**19, 10**400, -(10**400), 2**63, 1e308]))
leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20), odd_texts)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | odd_texts, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place in a JSON value as its container and its key or index."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


@st.composite
def mutations(draw: st.DrawFn, original: Any) -> Any:
    """Draw the original with something else, or nothing, in a few places."""
    changed = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        if draw(st.booleans()) and isinstance(container, dict):
            del container[key]
        else:
            container[key] = draw(values)
    return changed


def writer() -> tuple[Writer, io.BytesIO]:
    out = io.BytesIO()
    return Writer(cast(BinaryIO, out)), out


def is_json_lines(written: bytes) -> bool:
    """Return whether it is lines of strict JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return all(isinstance(json.loads(line, parse_constant=refuse), dict) for line in written.splitlines())


def finite(value: Any) -> bool:
    """Return whether all numbers in a value are such as JSON has."""
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(finite, inner))


@bounded
@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), values, max_size=6).map(
        lambda drawn: {**GOOD, **drawn}
    )
)
def test_any_config(given_values: dict[str, Any]) -> None:
    config.odd_settings(given_values)
    checked = checked_or_refused(given_values)
    shown = (
        repr(replace(checked, user_agent=""))
        if isinstance(checked, config.Config)
        else f"{checked} {checked!r} {checked.problems}"
    )
    assert KEY not in shown
    if isinstance(checked, config.Config):
        assert checked.base_url.startswith(("https://", "http://127.", "http://[::1]", "http://localhost"))
        assert 1 <= checked.max_concurrency <= 128


def checked_or_refused(given_values: dict[str, Any]) -> config.Config | ConfigError:
    try:
        return config.check_settings(given_values)
    except ConfigError as problem:
        return problem


@bounded
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000))
def test_any_file(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "any.json")
        path.write_bytes(content)
        for error in (CatalogError, StateError):
            with suppress(error):
                assert finite(read_json(str(path), "catalog", error))
        with suppress(ConfigError):
            read_config([str(path)], config.setting_names())


CATALOG = {"streams": [entry for entry in discover_catalog()["streams"] if entry["stream"] in ("open", "campaigns")]}


@bounded
@given(values | mutations(CATALOG))
def test_any_catalog(catalog: Any) -> None:
    try:
        selections = read_catalog(catalog)
    except CatalogError:
        return
    for selection in selections:
        stream = selection.stream
        assert stream.automatic <= selection.fields.keys() <= stream.schema["properties"].keys()
        assert selection.schema["properties"].keys() == selection.fields.keys()
        to, out = writer()
        to.schema(stream.name, selection.schema, stream.key, stream.replication_key)
        assert out.getvalue().endswith(b"}\n")


STATE = {
    "bookmarks": {"open": {"timestamp": "2026-01-01T00:00:00Z"}, "OpenId": {"since": 1_790_000_000}, "events": {}},
    "currently_syncing": "open",
}


@bounded
@given(values | mutations(STATE))
def test_any_state(state: Any) -> None:
    try:
        adopted = adopt_bookmarks(read_state(state), {"open": ["OpenId"]})
        marks = [bookmark_of(adopted, stream) for stream in STREAMS if stream.replication_key]
    except StateError:
        return
    to, out = writer()
    to.state(adopted)
    start_date = config.check_settings(GOOD).start_date
    assert all(start_of(mark, start_date, 86_400, NOW) <= NOW for mark in marks)
    assert not finite(adopted) or is_json_lines(out.getvalue())


@bounded
@given(st.binary(max_size=80) | values.map(lambda value: json.dumps(value).encode()))
def test_any_body(body: bytes) -> None:
    assert "\n" not in read_errors(body).detail
    with suppress(MalformedError):
        parse_page(body)


@dataclass
class Recorded:
    """What a sandbox answers to the first requests of each endpoint: the answers to be spoilt."""

    pages: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, sandbox: Sandbox) -> Recorded:
        """Record one page of each endpoint, of a few resources, without a next page."""
        found = cls()
        checked = config.check_settings(sandbox.config)
        Sync(Client(checked), checked, writer()[0]).run([*ALL, *OTHERS], {})
        for exchange in sandbox.exchanges:
            path = exchange.url.removeprefix(sandbox.url).partition("?")[0]
            page = json.loads(exchange.body)
            if page.get("data") and path not in found.pages:
                metrics = [each for each in page["data"] if each.get("attributes", {}).get("name") == "Opened Email"]
                page["data"] = metrics or page["data"][:3]
                page["included"] = page.get("included", [])[:4]
                page["links"]["next"] = None
                found.pages[path] = page
        return found


ALL = read_catalog(discover_catalog())
SOME = [each for each in ALL if each.stream.name in ("open", "lists", "campaigns", "global_exclusions")]
OTHERS = read_catalog(
    select_by_names(discover_catalog(), "events,profiles,list_members,flow_actions,flow_messages,form_versions")
)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    with Sandbox(Account.build(events=300, campaigns=10, suppressed=4), limits=False, record=True) as sandbox:
        return Recorded.of(sandbox)


def sync(origin: str, selections: Sequence[Selection] = SOME) -> bytes:
    """Run the tap on an origin's answers, and return its output; it ends well or with one of its errors."""
    to, out = writer()
    checked = config.check_settings({**GOOD, "base_url": origin, "max_concurrency": 1})
    clock = PatientTime(NOW).clock()
    client = Client(checked, clock, Retries(total=0.0))
    with suppress(TapError):
        Sync(client, checked, to, clock).run(selections, {})
    return out.getvalue()


@pytest.mark.parametrize("path", ["/api/metrics", "/api/events", "/api/lists", "/api/campaigns", "/api/profiles"])
def test_any_answer(recorded: Recorded, path: str) -> None:
    answers = {each: Answer(json.dumps(page).encode()) for each, page in recorded.pages.items()}

    @settings(bounded, max_examples=120)
    @given(values | mutations(recorded.pages[path]))
    def spoil(page: Any) -> None:
        try:
            body = json.dumps(page, allow_nan=False).encode()
        except ValueError:
            body = repr(page).encode("utf-8", "surrogatepass")
        answers[path] = Answer(body)
        assert is_json_lines(sync(origin))

    with answering(lambda url: answers[url.partition("?")[0]]) as origin:
        spoil()


KINDS = (
    "/api/events",
    "/api/profiles",
    "/api/lists",
    "/api/lists/ID/profiles",
    "/api/flows",
    "/api/flow-actions/ID/flow-messages",
    "/api/forms",
    "/api/forms/ID/form-versions",
)


@pytest.mark.parametrize("path", KINDS)
def test_any_answer_of_the_whole_account(recorded: Recorded, path: str) -> None:
    """Whatever a page holds, its own rows and those that are read for them come out as lines, or the run says why."""
    by_kind = {re.sub(r"/(lists|flows|flow-actions|forms)/[^/]+/", r"/\1/ID/", each): each for each in recorded.pages}
    pages = {kind: recorded.pages[each] for kind, each in by_kind.items()}
    answers = {kind: Answer(json.dumps(page).encode()) for kind, page in pages.items()}

    def answer(url: str) -> Answer:
        kind = re.sub(r"/(lists|flows|flow-actions|forms)/[^/]+/", r"/\1/ID/", url.partition("?")[0])
        return answers.get(kind, Answer(b"{}", 404))

    @settings(bounded, max_examples=60)
    @given(values | mutations(pages[path]))
    def spoil(page: Any) -> None:
        try:
            body = json.dumps(page, allow_nan=False).encode()
        except ValueError:
            body = repr(page).encode("utf-8", "surrogatepass")
        answers[path] = Answer(body)
        assert is_json_lines(sync(origin, OTHERS))

    with answering(answer) as origin:
        spoil()


refusals = st.binary(max_size=40) | values.map(lambda errors: json.dumps({"errors": errors}).encode())


def test_any_refusal() -> None:
    answers = list[Answer]()

    @settings(bounded, max_examples=120)
    @given(
        st.integers(400, 599), st.binary(max_size=40) | values.map(lambda value: json.dumps({"errors": value}).encode())
    )
    def refuse(status: int, body: bytes) -> None:
        answers.append(Answer(body, status))
        with pytest.raises(ApiError) as refusal, Pages(client, STREAMS[-1].endpoint, {}).next():
            pass
        assert KEY not in f"{refusal.value} {refusal.value!r}"
        assert "\n" not in str(refusal.value)

    with answering(lambda _: answers[-1]) as origin:
        client = Client(
            config.check_settings({**GOOD, "base_url": origin}), PatientTime(NOW).clock(), Retries(total=0.0)
        )
        refuse()
