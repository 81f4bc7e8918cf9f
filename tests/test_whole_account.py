"""The streams beyond the core: every one has just the rows that the sandbox's ledger has, however it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tap_klaviyo.sandbox import Account, Fault, Request, Sandbox, error_status, fail_first
from tap_klaviyo.singer.catalog import discover_catalog
from tap_klaviyo.singer.select_option import select_by_names
from tap_klaviyo.streams.model import CORE, Metrics, Stream
from tap_klaviyo.streams.table import BY_NAME, STREAMS
from tap_klaviyo.times import DAY, format_time, parse_time
from tests.expected import expected_keys
from tests.running import Run, all_events, catalog_of, sync
from tests.validity import validator_of

# The groups with tests in other files.
OTHERS = (CORE, "reports")
COLLECTIONS = [stream for stream in STREAMS if stream.group not in OTHERS and stream.schema_name != "event"]
MEMBERS = ("list_members", "segment_members")
# Klaviyo never says who a coupon code is assigned to, and was never seen to send sample values; the others happen to
# be null in the one row that an account has.
NEVER_FILLED = {
    ("coupon_codes", "profile_id"),
    ("metric_properties", "sample_values"),
    ("accounts", "industry"),
    ("tracking_settings", "utm_campaign"),
    ("campaign_variations", "translation_id"),
}


@pytest.fixture(scope="module")
def account() -> Account:
    return Account.build(events=2000, seed=3)


@pytest.fixture
def sandbox(account: Account) -> Iterator[Sandbox]:
    with Sandbox(account, limits=False) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def whole(account: Account) -> Run:
    """Return a run over all streams beyond the core, every field selected."""
    names = [stream.name for stream in STREAMS if stream.group not in OTHERS]
    catalog = catalog_of(*names)
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            each["metadata"] = {**each["metadata"], "selected": True}
    with Sandbox(account, limits=False) as sandbox:
        return sync(sandbox, catalog=catalog)


def keys_of(run: Run, stream: Stream) -> list[tuple[str, ...]]:
    return sorted(tuple(record[name] for name in stream.key) for record in run.records(stream.name))


@pytest.mark.parametrize("stream", COLLECTIONS, ids=lambda stream: stream.name)
def test_a_stream_has_just_the_ledgers_rows(account: Account, whole: Run, stream: Stream) -> None:
    assert whole.error is None
    found = keys_of(whole, stream)
    assert found == expected_keys(account, stream, account.now, account.start)
    assert found


def test_events_has_the_events_of_every_metric(account: Account, whole: Run) -> None:
    records = whole.records("events")
    assert [each["id"] for each in records] == all_events(account, account.now, account.start)
    names = {metric.id: metric.kind.name for metric in account.metrics if metric.kind.listed}
    assert len({each["metric_id"] for each in records}) > 20
    for record in records:
        assert record["metric_name"] == names.get(record["metric_id"])
        (metric,) = record["metric"]
        assert (metric["id"], metric.get("name")) == (record["metric_id"], record["metric_name"])


@pytest.mark.parametrize(
    "stream",
    [each for each in STREAMS if each.group not in OTHERS and each.metric_names],
    ids=lambda stream: stream.name,
)
def test_an_event_stream_has_the_events_of_its_metrics(account: Account, whole: Run, stream: Stream) -> None:
    names = {name.casefold() for name in stream.metric_names}
    native = [each for each in account.metrics if (each.kind.integration or {}).get("key", "").casefold() == "klaviyo"]
    metrics = {each.id for each in native if each.kind.name.casefold() in names}
    expected = [each["id"] for each in whole.records("events") if each["metric_id"] in metrics]
    assert [each["id"] for each in whole.records(stream.name)] == expected
    assert bool(expected) == bool(metrics)


@pytest.mark.parametrize(
    "stream", [each for each in STREAMS if each.group not in OTHERS], ids=lambda stream: stream.name
)
def test_records_fit_the_schema_and_fill_every_column(whole: Run, stream: Stream) -> None:
    validate = validator_of(whole.of("SCHEMA", stream.name)[0]["schema"])
    records = whole.records(stream.name)
    for record in records:
        validate(record)
    if isinstance(stream.split, Metrics):
        return
    filled = {name for record in records for name, value in record.items() if value is not None}
    never = {name for row, name in NEVER_FILLED if row == stream.name}
    assert filled | never == set(stream.schema["properties"])


def test_only_the_selected_fields_of_all_events_are_emitted(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("events", fields=("datetime",)))
    assert {frozenset(record) for record in run.records("events")} == {frozenset({"id", "timestamp", "datetime"})}


def test_full_tables_end_in_the_activation_of_their_version(whole: Run) -> None:
    full = {stream.name for stream in COLLECTIONS if not stream.replication_key}
    assert {each["stream"] for each in whole.of("ACTIVATE_VERSION")} == full


def test_a_child_is_read_though_its_parent_is_not_selected(account: Account, sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("flow_messages"))
    assert list(run.keys()) == ["flow_messages"]
    assert keys_of(run, BY_NAME["flow_messages"]) == expected_keys(account, BY_NAME["flow_messages"], account.now)


def test_a_parent_is_read_once_for_itself_and_its_children(sandbox: Sandbox) -> None:
    sync(sandbox, catalog=catalog_of("list_members", "lists", "flow_messages", "flows", "flow_actions"))
    parents = [each.url for each in sandbox.requests if each.path in ("/api/lists", "/api/flows")]
    # What changed during the run is asked for again, by the time of the change.
    once = [url for url in parents if "updated" not in url]
    assert len(once) == len(set(once)) > 4
    cut_short = [each for each in sandbox.requests if each.path.endswith("/flow-actions")]
    assert len({each.path for each in cut_short}) == 1


def test_only_actions_that_send_are_asked_for_messages(account: Account, sandbox: Sandbox) -> None:
    sync(sandbox, catalog=catalog_of("flow_messages"))
    actions = account.collection("/api/flows/{id}/flow-actions", account.now)
    definitions = {each["id"]: each["attributes"]["definition"] for each in actions}
    # An action that does not say what it does may send something.
    sending = {id for id, each in definitions.items() if each is None or each["type"].startswith("send-")}
    asked = [each.path.split("/")[3] for each in sandbox.requests if each.path.endswith("/flow-messages")]
    assert sorted(asked) == sorted(sending)
    assert len(sending) < len(actions)


def test_members_are_asked_for_their_time_alone(sandbox: Sandbox) -> None:
    sync(sandbox, catalog=catalog_of(*MEMBERS))
    queries = [each.query for each in sandbox.requests if each.path.endswith("/profiles")]
    assert queries
    assert {each["fields[profile]"] for each in queries} == {"joined_group_at"}
    assert not any("additional-fields[profile]" in each for each in queries)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_second_run_reads_new_members_and_new_groups_in_full(sandbox: Sandbox, name: str) -> None:
    stream = BY_NAME[name]
    first = sync(sandbox, catalog=catalog_of(name))
    account = sandbox.account
    settled = first.state["bookmarks"][name]["parents"]
    by_group: dict[str, list[str]] = {}
    for group, profile in expected_keys(account, stream, sandbox.now):
        if group in settled:
            by_group.setdefault(group, []).append(profile)
    assert len(by_group) > 3
    big = max(by_group, key=lambda group: len(by_group[group]))
    other = next(group for group in by_group if group != big)
    state = {"bookmarks": {name: dict(first.state["bookmarks"][name])}}
    state["bookmarks"][name]["parents"] = {
        group: digest for group, digest in state["bookmarks"][name]["parents"].items() if group != other
    }
    joined = next(profile for profile in by_group[other] if profile not in by_group[big])
    sandbox.account = account.with_joined(big, [joined], int(sandbox.now) + 5)
    sandbox.advance(3600)
    second = sync(sandbox, state, catalog_of(name), lookback_days=0)
    found = keys_of(second, stream)
    assert (big, joined) in found
    assert {key for key in found if key[0] == other} == {(other, profile) for profile in by_group[other]}
    assert len([key for key in found if key[0] == big]) < len(by_group[big]) / 2
    assert second.state["bookmarks"][name]["parents"] == first.state["bookmarks"][name]["parents"]


@pytest.mark.parametrize("streams", [("list_members",), ("lists", "list_members")])
@pytest.mark.parametrize("versions", [True, False])
def test_the_bookmark_covers_the_groups_however_they_are_read(
    sandbox: Sandbox, streams: tuple[str, ...], versions: bool
) -> None:
    first = sync(sandbox, catalog=catalog_of(*streams), activate_version=versions)
    second = sync(sandbox, first.state, catalog_of(*streams), activate_version=versions, lookback_days=0)
    assert len(second.records("list_members")) < len(first.records("list_members")) / 10


def test_members_of_a_segment_whose_definition_changed_are_read_again(sandbox: Sandbox) -> None:
    first = sync(sandbox, catalog=catalog_of("segment_members"))
    settled = first.state["bookmarks"]["segment_members"]["parents"]
    keys = [key for key in keys_of(first, BY_NAME["segment_members"]) if key[0] in settled]
    changed = keys[0][0]
    sandbox.account = sandbox.account.with_changed(changed, definition={"condition_groups": [{"conditions": []}]})
    second = sync(sandbox, first.state, catalog_of("segment_members"), lookback_days=0)
    assert {key for key in keys if key[0] == changed} <= set(keys_of(second, BY_NAME["segment_members"]))
    third = sync(sandbox, second.state, catalog_of("segment_members"), lookback_days=0)
    assert len(third.records("segment_members")) < len(second.records("segment_members"))


def test_members_of_a_segment_that_klaviyo_still_works_out_are_read_in_full_each_time(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("segments", "segment_members"))
    settled = {each["id"] for each in run.records("segments") if not each["is_processing"]}
    assert len(settled) < len(run.records("segments"))
    found = {each["segment_id"] for each in run.records("segment_members")}
    assert run.state["bookmarks"]["segment_members"]["parents"].keys() == settled & found
    again = sync(sandbox, run.state, catalog_of("segment_members"), lookback_days=0)
    unsettled = [key for key in keys_of(run, BY_NAME["segment_members"]) if key[0] not in settled]
    assert unsettled
    assert [key for key in keys_of(again, BY_NAME["segment_members"]) if key[0] not in settled] == unsettled


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_the_lookback_are_read_again(sandbox: Sandbox, name: str) -> None:
    first = sync(sandbox, catalog=catalog_of(name))
    mark = parse_time(first.state["bookmarks"][name]["joined_group_at"])
    settled = first.state["bookmarks"][name]["parents"]
    again = sync(sandbox, first.state, catalog_of(name), lookback_days=90)
    expected = [
        each["joined_group_at"]
        for each in first.records(name)
        if each[BY_NAME[name].key[0]] in settled and parse_time(each["joined_group_at"]) >= mark - 90 * DAY
    ]
    found = [each["joined_group_at"] for each in again.records(name) if each[BY_NAME[name].key[0]] in settled]
    assert sorted(found) == sorted(expected)
    assert len(expected) > 1


def test_the_bookmark_of_members_moves_at_the_end(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("list_members"))
    newest = max(each["joined_group_at"] for each in run.records("list_members"))
    assert run.state["bookmarks"]["list_members"]["joined_group_at"] == format_time(parse_time(newest))

    def fail(request: Request) -> Fault | None:
        members = [each for each in sandbox.requests if each.path.endswith("/profiles")]
        return error_status(403) if request.path.endswith("/profiles") and len(members) > 10 else None

    sandbox.requests.clear()
    sandbox.faults = fail
    broken = sync(sandbox, catalog=catalog_of("list_members"))
    assert broken.error
    assert broken.records("list_members")
    assert "list_members" not in broken.state["bookmarks"]


def test_profiles_follow_their_update(sandbox: Sandbox) -> None:
    stream = BY_NAME["profiles"]
    first = sync(sandbox, catalog=catalog_of("profiles"))
    mark = parse_time(first.state["bookmarks"]["profiles"]["updated"])
    assert mark == max(parse_time(each["updated"]) for each in first.records("profiles"))
    changed = first.records("profiles")[0]["id"]
    sandbox.account = sandbox.account.with_updated([changed], int(sandbox.now) + 60)
    sandbox.advance(DAY)
    second = sync(sandbox, first.state, catalog_of("profiles"), lookback_days=1)
    assert keys_of(second, stream) == expected_keys(sandbox.account, stream, sandbox.now - 5, mark - DAY)
    assert (changed,) in keys_of(second, stream)


@pytest.mark.parametrize("name", ["profiles", "list_members", "events", "images", "templates", "reviews"])
def test_a_full_run_of_an_incremental_stream_activates_a_version(sandbox: Sandbox, name: str) -> None:
    catalog = catalog_of(name)
    root = catalog["streams"][0]["metadata"][0]
    root["metadata"] = {**root["metadata"], "replication-method": "FULL_TABLE"}
    incremental = sync(sandbox, catalog=catalog_of(name))
    run = sync(sandbox, incremental.state, catalog)
    assert keys_of(run, BY_NAME[name]) == keys_of(incremental, BY_NAME[name])
    (activation,) = run.of("ACTIVATE_VERSION")
    assert {each["version"] for each in run.of("RECORD")} == {activation["version"]}


@pytest.mark.parametrize("name", ["profiles", "images", "templates"])
def test_a_full_run_of_a_stream_with_a_time_range_keeps_to_the_dates(sandbox: Sandbox, name: str) -> None:
    catalog, stream = catalog_of(name), BY_NAME[name]
    root = catalog["streams"][0]["metadata"][0]
    root["metadata"] = {**root["metadata"], "replication-method": "FULL_TABLE"}
    whole = sync(sandbox, catalog=catalog).records(name)
    key = stream.replication_key or ""
    times = sorted(parse_time(each[key]) for each in whole)
    start, end = times[len(times) // 4], times[3 * len(times) // 4]
    run = sync(sandbox, catalog=catalog, start_date=format_time(start), end_date=format_time(end))
    assert {each[key] for each in run.records(name)} == {
        each[key] for each in whole if start <= parse_time(each[key]) < end
    }
    assert run.of("ACTIVATE_VERSION") == []


@pytest.mark.parametrize("name", ["profiles", "list_members", "events"])
def test_a_full_run_has_just_what_is_left_of_an_incremental_stream(sandbox: Sandbox, name: str) -> None:
    catalog = catalog_of(name)
    root = catalog["streams"][0]["metadata"][0]
    root["metadata"] = {**root["metadata"], "replication-method": "FULL_TABLE"}
    before = sync(sandbox, catalog=catalog_of(name))
    keys = keys_of(before, BY_NAME[name])
    account = sandbox.account.without_profiles([key[-1] for key in keys[::5]] if name != "events" else [])
    sandbox.account = account.without_events([key[0] for key in keys[::5]] if name == "events" else [])
    after = keys_of(sync(sandbox, before.state, catalog), BY_NAME[name])
    gone = set(keys) - set(after)
    assert {key[-1] for key in gone} == {key[-1] for key in keys[::5]}
    assert set(after) < set(keys)


@pytest.mark.parametrize("name", ["profiles", "segment_members"])
def test_predictive_analytics_are_asked_for_only_if_selected(sandbox: Sandbox, name: str) -> None:
    sync(sandbox, catalog=catalog_of(name))
    assert not any("predictive_analytics" in each.url for each in sandbox.requests)
    sync(sandbox, catalog=select_by_names(discover_catalog(), "profiles.predictive_analytics"))
    assert any("predictive_analytics" in each.url for each in sandbox.requests)


@pytest.mark.parametrize("lacks", ["webhooks", "push-tokens", "custom-objects"])
def test_what_the_plan_lacks_is_skipped_in_klaviyos_words(lacks: str, caplog: pytest.LogCaptureFixture) -> None:
    names = {"webhooks": ["webhooks"], "push-tokens": ["push_tokens"], "custom-objects": ["object_records"]}[lacks]
    with Sandbox(Account.build(events=0, lacks=(lacks,)), limits=False) as sandbox:
        run = sync(sandbox, catalog=catalog_of(*names, "tags"))
    assert run.error is None
    assert run.records("tags")
    assert [each["stream"] for each in run.of("ACTIVATE_VERSION")] == ["tags"]
    assert "skipped, since this account does not have it. Klaviyo answers 403" in caplog.text
    assert "needs the scope" not in caplog.text


def test_campaigns_that_only_the_newer_revision_lists_are_rows_like_the_others(sandbox: Sandbox) -> None:
    run = sync(sandbox, catalog=catalog_of("campaigns"))
    stable = {item.id for item in sandbox.account.campaigns}
    canvas = [each for each in run.records("campaigns") if each["id"] not in stable]
    assert len(canvas) > 5
    assert len(run.records("campaigns")) == len(canvas) + len(stable)
    validate = validator_of(run.of("SCHEMA", "campaigns")[0]["schema"])
    for each in canvas:
        validate(each)
    assert {each["channel"] for each in canvas} >= {"whatsapp", "omnichannel", None}
    assert {each["archived"] for each in canvas} == {True, False}
    assert any(each["status"] in ("Sent", "Draft", "Scheduled", "Sending", "Cancelled") for each in canvas)
    whole = {each["id"]: each for each in sandbox.account.collection("/api/campaigns", 0, revision="2026-10-15")}
    for each in canvas:
        assert each["name"] == whole[each["id"]]["attributes"]["definition"].get("name")
        assert len(each["campaign_messages"]) == len(whole[each["id"]]["campaign_messages"])
        assert [tag["name"] for tag in each["tags"]] == [tag["attributes"]["name"] for tag in whole[each["id"]]["tags"]]


@pytest.mark.parametrize("times", [1, 9])
def test_a_message_that_a_campaign_names_leaves_its_id_if_it_does_not_come(sandbox: Sandbox, times: int) -> None:
    whole = sync(sandbox, catalog=catalog_of("campaigns")).records("campaigns")
    # The run before asked for each page once.
    sandbox.faults = fail_first(1 + times, Fault("empty_page"), "/api/campaign-messages")
    run = sync(sandbox, catalog=catalog_of("campaigns"))
    assert run.error is None
    ids = {each["id"]: [message["id"] for message in each["campaign_messages"]] for each in run.records("campaigns")}
    assert ids == {each["id"]: [message["id"] for message in each["campaign_messages"]] for each in whole}
    statuses = {each["id"]: each["status"] for each in run.records("campaigns")}
    assert (statuses == {each["id"]: each["status"] for each in whole}) is (times == 1)


def test_with_the_newer_revision_campaigns_are_read_from_it_alone(sandbox: Sandbox) -> None:
    """It refuses the filter for a channel, and says of no campaign which channel it had."""
    older = sync(sandbox, catalog=catalog_of("campaigns"))
    sandbox.requests.clear()
    run = sync(sandbox, catalog=catalog_of("campaigns"), api_revision="2026-10-15")
    assert run.error is None
    assert sorted(run.keys()["campaigns"]) == sorted(older.keys()["campaigns"])
    assert not any("messages.channel" in each.url for each in sandbox.requests)
    assert {each.headers["revision"] for each in sandbox.requests} == {"2026-10-15"}
    assert {each["channel"] for each in run.records("campaigns")} <= {
        "email", "sms", "mobile_push", "whatsapp", "omnichannel", None
    }  # fmt: skip
    assert run.of("ACTIVATE_VERSION", "campaigns")


def test_a_campaign_archived_while_the_newer_revision_is_read_is_not_lost(sandbox: Sandbox) -> None:
    moving = next(item.id for item in sandbox.account.campaigns if item.attributes["archived"])

    def move(request: Request) -> Fault | None:
        condition = request.query.get("filter", "")
        if "archived,true" in condition and "updated_at" not in condition:
            sandbox.account = sandbox.account.with_archived([moving], sandbox.now, archived=False)
        return None

    sandbox.faults = move
    run = sync(sandbox, catalog=catalog_of("campaigns"), api_revision="2026-10-15", max_concurrency=1)
    # If the query for archived ones is sent first, the other one finds it, and it comes again as a change.
    assert set(run.keys()["campaigns"]) == set(sandbox.account.ledger(sandbox.now)["campaigns"])
    assert run.of("ACTIVATE_VERSION", "campaigns")


def test_a_campaign_that_changes_again_while_changes_are_read_is_written_in_its_newest_form(sandbox: Sandbox) -> None:
    stable = {item.id for item in sandbox.account.campaigns}
    newer = sandbox.account.collection("/api/campaigns", 0, revision="2026-10-15")
    moving = next(each for each in newer if each["id"] not in stable and each["attributes"]["definition"]["archived"])
    rounds: list[str] = []

    def rename(name: str, moment: float) -> None:
        definition = {**moving["attributes"]["definition"], "name": name, "archived": False}
        updated = format_time(int(moment)).replace("Z", "+00:00")
        sandbox.account = sandbox.account.with_changed(moving["id"], definition=definition, updated_at=updated)

    def change(request: Request) -> Fault | None:
        condition = request.query.get("filter", "")
        if "updated_at" in condition:
            rounds.append(condition)
        elif "archived,true" in condition:
            rename("Once", sandbox.now)
        elif len(rounds) in (1, 2) and request.path == "/api/campaign-messages":
            # The change was listed, and its messages are read now.
            rename("Twice", sandbox.now + 1)
        return None

    sandbox.faults = change
    run = sync(sandbox, catalog=catalog_of("campaigns"), api_revision="2026-10-15", max_concurrency=1)
    names = [each["name"] for each in run.records("campaigns") if each["id"] == moving["id"]]
    assert names[-2:] == ["Once", "Twice"]


@pytest.mark.parametrize("largest_page", [None, 7])
def test_the_messages_of_campaigns_are_asked_for_in_parts_and_read_whole(
    account: Account, largest_page: int | None
) -> None:
    with Sandbox(account, limits=False, largest_page=largest_page) as sandbox:
        run = sync(sandbox, catalog=catalog_of("campaigns"), api_revision="2026-10-15")
        asked = [each.query["filter"] for each in sandbox.requests if each.path == "/api/campaign-messages"]
    assert max(condition.count('"') // 2 for condition in asked) <= 50
    whole = {each["id"]: each for each in account.collection("/api/campaigns", 0, revision="2026-10-15")}
    assert sorted(run.keys()["campaigns"]) == sorted(whole)
    for each in run.records("campaigns"):
        assert len(each["campaign_messages"]) == len(whole[each["id"]]["campaign_messages"])


def test_an_odd_value_of_a_newer_campaign_is_named(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    stable = {item.id for item in sandbox.account.campaigns}
    newer = sandbox.account.collection("/api/campaigns", 0, revision="2026-10-15")
    odd = next(each for each in newer if each["id"] not in stable)
    definition = {**odd["attributes"]["definition"], "name": 7}
    sandbox.account = sandbox.account.with_changed(odd["id"], definition=definition)
    caplog.set_level("WARNING")
    run = sync(sandbox, catalog=catalog_of("campaigns"))
    assert {each["name"] for each in run.records("campaigns") if each["id"] == odd["id"]} == {"7"}
    assert any("campaigns: " in each.message and "name" in each.message for each in caplog.records)


def test_without_the_newer_revision_campaigns_are_those_of_the_older(sandbox: Sandbox) -> None:
    def refuse(request: Request) -> Fault | None:
        return error_status(404) if request.headers["revision"] == "2026-10-15" else None

    sandbox.faults = refuse
    run = sync(sandbox, catalog=catalog_of("campaigns"))
    assert run.error is None
    assert sorted(run.keys()["campaigns"]) == sorted(item.id for item in sandbox.account.campaigns)


def test_children_are_incomplete_if_their_parent_is(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(400) if request.path == "/api/flows" else None
    run = sync(sandbox, catalog=catalog_of("flow_actions", "flow_messages", "tags"))
    assert "Incomplete streams: flow_actions, flow_messages" in str(run.error)
    assert [each["stream"] for each in run.of("ACTIVATE_VERSION")] == ["tags"]


@pytest.mark.parametrize("status", [400, 403])
def test_children_are_incomplete_if_the_parent_of_their_parent_is(sandbox: Sandbox, status: int) -> None:
    """Some flows are read, so their messages are; those of the other flows must not be removed."""
    sandbox.faults = lambda request: (
        error_status(status) if request.path == "/api/flows" and "archived,true" in request.query["filter"] else None
    )
    run = sync(sandbox, catalog=catalog_of("flow_messages"))
    assert run.records("flow_messages")
    assert "Incomplete streams: flow_messages" in str(run.error)
    assert run.of("ACTIVATE_VERSION") == []


@pytest.mark.parametrize("method", ["INCREMENTAL", "FULL_TABLE"])
@pytest.mark.parametrize("page", [1, 2])
def test_a_parent_that_goes_while_its_rows_are_read_ends_no_other_and_is_read_in_full_if_it_returns(
    account: Account, method: str, page: int
) -> None:
    catalog = catalog_of("list_members")
    (root,) = (each for each in catalog["streams"][0]["metadata"] if not each["breadcrumb"])
    root["metadata"]["replication-method"] = method
    with Sandbox(account, limits=False, largest_page=5) as sandbox:
        whole = sync(sandbox, catalog=catalog)
        rows = Counter(each["list_id"] for each in whole.records("list_members"))
        going = rows.most_common(1)[0][0]

        def go_away(request: Request) -> Fault | None:
            is_later = "page[cursor]" in request.query
            return error_status(404) if going in request.path and is_later == (page > 1) else None

        sandbox.faults = go_away
        run = sync(sandbox, catalog=catalog)
        assert run.error is None
        left = Counter(each["list_id"] for each in run.records("list_members"))
        assert {**left, going: 0} == {**rows, going: 0}
        sandbox.faults = None
        then = sync(sandbox, run.state, catalog)
    assert Counter(each["list_id"] for each in then.records("list_members"))[going] == rows[going]


def test_the_bookmark_of_children_stays_if_not_all_their_parents_are_known(account: Account) -> None:
    """The members of lists on the first page are read; a bookmark would say that those of all lists were."""
    with Sandbox(account, limits=False, largest_page=5) as sandbox:
        sandbox.faults = lambda request: (
            error_status(404) if request.path == "/api/lists" and "page[cursor]" in request.query else None
        )
        run = sync(sandbox, catalog=catalog_of("list_members"))
    assert run.error is not None
    assert run.records("list_members")
    assert run.state["bookmarks"] == {}


@pytest.mark.parametrize("page", [1, 2])
@pytest.mark.parametrize(
    ("stream", "method"),
    [("list_members", "INCREMENTAL"), ("list_members", "FULL_TABLE"), ("coupon_codes", "FULL_TABLE")],
)
def test_a_parent_whose_rows_klaviyo_refuses_costs_no_other(
    account: Account, stream: str, method: str, page: int
) -> None:
    catalog, key = catalog_of(stream), BY_NAME[stream].key[0] if stream == "list_members" else "coupon_id"
    (root,) = (each for each in catalog["streams"][0]["metadata"] if not each["breadcrumb"])
    root["metadata"]["replication-method"] = method
    with Sandbox(account, limits=False, largest_page=5) as sandbox:
        rows = Counter(each[key] for each in sync(sandbox, catalog=catalog).records(stream))
        odd = rows.most_common(1)[0][0]

        def refuse(request: Request) -> Fault | None:
            is_its_own = odd in request.path or f'"{odd}"' in request.query.get("filter", "")
            return error_status(400) if is_its_own and ("page[cursor]" in request.query) == (page > 1) else None

        sandbox.faults = refuse
        run = sync(sandbox, catalog=catalog)
        assert f"Incomplete streams: {stream}" in str(run.error)
        left = Counter(each[key] for each in run.records(stream))
        assert {**left, odd: 0} == {**rows, odd: 0}
        assert run.of("ACTIVATE_VERSION") == []
        sandbox.faults = None
        then = sync(sandbox, run.state, catalog)
    assert then.error is None
    read_again = Counter(each[key] for each in then.records(stream))
    assert read_again[odd] == rows[odd]
    assert (read_again == rows) is (method == "FULL_TABLE")


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_a_group_that_seemed_empty_are_read_in_full_by_the_next_run(sandbox: Sandbox, name: str) -> None:
    key = BY_NAME[name].key[0]
    rows = Counter(each[key] for each in sync(sandbox, catalog=catalog_of(name)).records(name))
    odd = rows.most_common(1)[0][0]
    sandbox.faults = lambda request: Fault("empty_page") if odd in request.path else None
    first = sync(sandbox, catalog=catalog_of(name))
    assert first.error is None
    sandbox.faults = None
    second = sync(sandbox, first.state, catalog_of(name))
    assert Counter(each[key] for each in second.records(name))[odd] == rows[odd]
    sandbox.faults = lambda request: Fault("empty_page") if odd in request.path else None
    third = sync(sandbox, second.state, catalog_of(name))
    assert third.state["bookmarks"][name]["parents"].get(odd) == second.state["bookmarks"][name]["parents"].get(odd)


def test_a_list_whose_size_klaviyo_refuses_costs_no_other(sandbox: Sandbox) -> None:
    whole = {each["id"] for each in sync(sandbox, catalog=catalog_of("list_sizes")).records("list_sizes")}
    odd = sandbox.account.lists[0].id
    sandbox.faults = lambda request: error_status(400) if request.path == f"/api/lists/{odd}" else None
    run = sync(sandbox, catalog=catalog_of("list_sizes"))
    assert run.error is not None
    assert {each["id"] for each in run.records("list_sizes")} == whole - {odd}
    sandbox.faults = None
    assert odd in {each["id"] for each in sync(sandbox, run.state, catalog_of("list_sizes")).records("list_sizes")}


def test_parents_that_have_all_gone_prove_nothing(sandbox: Sandbox) -> None:
    sandbox.faults = lambda request: error_status(404) if request.path.endswith("/form-versions") else None
    run = sync(sandbox, catalog=catalog_of("form_versions"))
    assert "form_versions" in str(run.error)
    assert not run.of("ACTIVATE_VERSION")
