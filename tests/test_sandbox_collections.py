"""Every collection of the sandbox: its pages, parameters, limits, children, and the ledger that tests compare with."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests

from tap_klaviyo.sandbox import ENDPOINTS, Account, Endpoint, Request, Sandbox

ROOT = Path(__file__).parents[1]
DOCUMENTS = ROOT.parent / "shared" / "klaviyo-openapi"
ACCOUNT = Account.build(events=800, seed=11, suppressed=80)
STABLE, OMNICHANNEL = "2026-07-15", "2026-10-15"
COLLECTIONS = [each for each in ENDPOINTS if each.method == "GET" and not each.single and each.type != "event"]
# Klaviyo leaves these out of a collection unless the filter names them, or requires a filter.
FILTERS: Mapping[tuple[str, str], Sequence[str]] = {
    ("/api/campaigns", STABLE): [
        f'equals(messages.channel,"{channel}"),equals(archived,{archived})'
        for channel in ("email", "sms", "mobile_push")
        for archived in ("true", "false")
    ],
    ("/api/campaigns", OMNICHANNEL): ["equals(archived,true)", "equals(archived,false)"],
    ("/api/coupon-codes", STABLE): [f'equals(coupon.id,"coupon_{number}")' for number in range(6)],
    ("/api/flows", STABLE): ["equals(archived,true)", "equals(archived,false)"],
    ("/api/images", STABLE): ["equals(hidden,true)", "equals(hidden,false)"],
}
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(ACCOUNT, limits=False) as running:
        yield running


def get(sandbox: Sandbox, path: str, /, revision: str = STABLE, **query: str) -> requests.Response:
    headers = {"Authorization": f"Klaviyo-API-Key {sandbox.api_key}", "revision": revision}
    url = path if path.startswith("http") else sandbox.url + path
    return requests.get(url, params=query, headers=headers, timeout=5)


def pages(sandbox: Sandbox, path: str, /, revision: str = STABLE, **query: str) -> Iterator[Resource]:
    response = get(sandbox, path, revision, **query)
    while True:
        assert response.status_code == 200, response.text
        page = response.json()
        yield page
        if page["links"]["next"] is None:
            return
        response = get(sandbox, page["links"]["next"], revision)


def walk(sandbox: Sandbox, path: str, /, revision: str = STABLE, **query: str) -> list[Resource]:
    return [each for page in pages(sandbox, path, revision, **query) for each in page["data"]]


def error(response: requests.Response) -> tuple[int, str, str]:
    found = response.json()["errors"][0]
    return response.status_code, found["code"], found["detail"]


@cache
def ledger(path: str, revision: str = STABLE) -> list[Resource]:
    return ACCOUNT.collection(path, ACCOUNT.now, revision=revision)


def ledger_of(endpoint: Endpoint) -> list[Resource]:
    return ledger(endpoint.path, endpoint.revision)


def template_of(endpoint: Endpoint) -> str:
    return endpoint.path if endpoint.revision == STABLE else f"{endpoint.path} in {endpoint.revision}"


def filters_of(endpoint: Endpoint) -> Sequence[str]:
    """Return the filters that give all of a collection between them."""
    return FILTERS.get((endpoint.path, endpoint.revision), [""])


def filtered(endpoint: Endpoint) -> dict[str, str]:
    """Return the parameter that an endpoint has to be asked with, if there is one."""
    return {"filter": filters_of(endpoint)[0]} if filters_of(endpoint) != [""] else {}


def paths_of(endpoint: Endpoint) -> list[str]:
    """Return the path of a collection, or that of each parent's children."""
    if "{id}" not in endpoint.path:
        return [endpoint.path]
    parents = dict.fromkeys(each["parent_id"] for each in ledger_of(endpoint))
    return [endpoint.path.replace("{id}", each) for each in parents]


def keys(resources: Sequence[Resource]) -> Counter[tuple[str, str]]:
    return Counter((each["type"], each["id"]) for each in resources)


# Pages


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=template_of)
@pytest.mark.parametrize("smallest", [False, True])
def test_walking_a_collection_gives_its_ledger(sandbox: Sandbox, endpoint: Endpoint, smallest: bool) -> None:
    expected = ledger_of(endpoint)
    size = "7" if smallest and endpoint.sizes and endpoint.sizes[1] >= 7 else ""
    sizes = {"page[size]": size} if size else {}
    found: list[Resource] = []
    # The small pages of a few parents show as much as those of all.
    paths = paths_of(endpoint)[: 3 if smallest else None]
    for path in paths:
        for text in filters_of(endpoint):
            query = {"filter": text} if text else {}
            found += walk(sandbox, path, endpoint.revision, **query, **sizes)
    wanted = [
        each
        for each in expected
        if "parent_id" not in each or endpoint.path.replace("{id}", each["parent_id"]) in paths
    ]
    assert expected
    assert keys(found) == keys(wanted)


@pytest.mark.parametrize(
    ("endpoint", "sort"),
    [(endpoint, sort) for endpoint in COLLECTIONS for sort in endpoint.sort],
    ids=lambda each: each if isinstance(each, str) else template_of(each),
)
def test_each_sort_gives_everything_in_both_directions(sandbox: Sandbox, endpoint: Endpoint, sort: str) -> None:
    path = paths_of(endpoint)[0]
    query = filtered(endpoint)
    size = {"page[size]": str(endpoint.sizes[1] // 2 or 1)} if endpoint.sizes else {}
    ascending = [each["id"] for each in walk(sandbox, path, endpoint.revision, sort=sort, **query, **size)]
    assert [
        each["id"] for each in walk(sandbox, path, endpoint.revision, sort=f"-{sort}", **query, **size)
    ] == ascending[::-1]
    assert Counter(ascending) == Counter(each["id"] for each in walk(sandbox, path, endpoint.revision, **query, **size))


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=template_of)
def test_parameters_are_strict(sandbox: Sandbox, endpoint: Endpoint) -> None:
    path = paths_of(endpoint)[0]
    query = filtered(endpoint)
    assert get(sandbox, path, endpoint.revision, **query).status_code == 200
    for name, value in (("color", "blue"), ("include", "weather"), ("sort", "mood"), ("fields[car]", "id")):
        status, code, detail = error(get(sandbox, path, endpoint.revision, **query, **{name: value}))
        assert (status, code) == (400, "invalid"), detail
    if not endpoint.cursor:
        cursor = error(get(sandbox, path, endpoint.revision, **query, **{"page[cursor]": "bmV4dDo6aWQ6OmE="}))
        assert "'page[cursor]' is not an allowed parameter" in cursor[2]
    largest = endpoint.sizes[1] if endpoint.sizes else 0
    status, code, _ = error(get(sandbox, path, endpoint.revision, **query, **{"page[size]": str(largest + 1)}))
    assert (status, code) == (400, "invalid")


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=template_of)
def test_each_endpoint_has_its_own_limits_and_scopes(endpoint: Endpoint) -> None:
    path = paths_of(endpoint)[0]
    query = filtered(endpoint)
    scopes = {scope for each in ENDPOINTS for scope in each.scopes}
    with Sandbox(ACCOUNT, clock=lambda: 60.0) as sandbox:
        answers = [
            get(sandbox, path, endpoint.revision, **query)
            for _ in range(endpoint.limit.burst + 1 if endpoint.limit.burst < 20 else 1)
        ]
    limit = endpoint.limit
    assert answers[0].headers["RateLimit-Limit"] == f"{limit.burst}, {limit.burst};w=1, {limit.steady};w=60"
    assert len(answers) == 1 or answers[-1].status_code == 429
    for scope in endpoint.scopes:
        with Sandbox(ACCOUNT, scopes=scopes - {scope}) as sandbox:
            assert get(sandbox, path, endpoint.revision, **query).status_code == 403


# What resources hold


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=template_of)
def test_a_page_has_what_the_ledger_has(sandbox: Sandbox, endpoint: Endpoint) -> None:
    path = paths_of(endpoint)[0]
    query = filtered(endpoint)
    if endpoint.include:
        query["include"] = ",".join(endpoint.include)
    if endpoint.additional:
        query[f"additional-fields[{endpoint.type}]"] = ",".join(endpoint.additional)
    expected = {
        (each.get("parent_id"), each["id"]): each
        for each in ACCOUNT.collection(endpoint.path, ACCOUNT.now, sandbox.url, endpoint.revision)
    }
    parent = next(iter(expected))[0]
    page = get(sandbox, path, endpoint.revision, **query).json()
    included = {(each["type"], each["id"]): each for each in page.get("included", ())}
    for resource in page["data"]:
        whole = expected[parent, resource["id"]]
        assert resource.items() <= whole.items()
        for name in endpoint.include:
            for each in whole.get(name.replace("-", "_"), ()):
                assert included[each["type"], each["id"]] == each
    assert "included" in page if endpoint.include else "included" not in page


@pytest.mark.parametrize("endpoint", COLLECTIONS, ids=template_of)
def test_a_sparse_fieldset_leaves_only_what_it_names(sandbox: Sandbox, endpoint: Endpoint) -> None:
    query = filtered(endpoint)
    names = {name for name in endpoint.fields.get(endpoint.type, ()) if "." not in name and name != "id"}
    for name in sorted(names - set(endpoint.additional)):
        page = get(
            sandbox, paths_of(endpoint)[0], endpoint.revision, **query, **{f"fields[{endpoint.type}]": name}
        ).json()
        assert {attribute for each in page["data"] for attribute in each["attributes"]} <= {name}


@pytest.mark.parametrize(
    ("path", "nullable", "required"),
    [
        ("/api/catalog-items", {"title", "price", "images", "custom_metadata", "published"}, {"external_id"}),
        ("/api/flows", {"name", "trigger_type", "created"}, {"archived"}),
        ("/api/reviews", {"rating", "content", "status", "public_reply"}, {"verified", "images", "created"}),
        ("/api/segments", {"name", "definition", "updated"}, {"is_active"}),
        ("/api/images", set(), {"name", "size", "updated_at"}),
        ("/api/templates", {"text", "amp", "created"}, {"name", "html"}),
    ],
)
def test_what_may_be_null_is_null_in_some_resources_only(path: str, nullable: set[str], required: set[str]) -> None:
    for name in nullable | required:
        values = [each["attributes"][name] for each in ledger(path)]
        assert (None in values) == (name in nullable), name
        assert any(value is not None for value in values), name


def test_unknown_attributes_come_if_they_are_asked_for() -> None:
    odd = Account.build(events=60, seed=11, unknown_attributes=True)
    assert any("mood" in each["attributes"] for each in odd.collection("/api/flows", odd.now))
    assert not any("mood" in each["attributes"] for each in ledger("/api/flows"))


def test_the_data_join() -> None:
    def ids(path: str) -> set[str]:
        return {each["id"] for each in ledger(path)}

    def targets(path: str, name: str) -> set[str]:
        related = [each.get("relationships", {}).get(name, {}) for each in ledger(path)]
        data = [each.get("data") for each in related]
        several = [each if isinstance(each, list) else [each] for each in data if each]
        return {each["id"] for group in several for each in group}

    profiles = ids("/api/profiles")
    assert {each["id"] for path in ("lists", "segments") for each in ledger(f"/api/{path}/{{id}}/profiles")} <= profiles
    assert targets("/api/push-tokens", "profile") <= profiles
    assert targets("/api/flows", "flow-actions") == ids("/api/flows/{id}/flow-actions")
    assert targets("/api/flow-actions/{id}/flow-messages", "flow-action") <= ids("/api/flows/{id}/flow-actions")
    assert targets("/api/forms", "form-versions") >= ids("/api/forms/{id}/form-versions")
    assert targets("/api/coupon-codes", "coupon") <= ids("/api/coupons")
    assert targets("/api/catalog-items", "variants") == ids("/api/catalog-variants")
    assert ids("/api/catalog-categories/{id}/relationships/items") <= ids("/api/catalog-items")
    assert targets("/api/custom-metrics", "metrics") <= ids("/api/metrics")
    assert targets("/api/mapped-metrics", "metric") <= ids("/api/metrics")
    assert targets("/api/tags", "tag-group") <= ids("/api/tag-groups")
    assert targets("/api/reviews", "item") <= ids("/api/catalog-items")


def test_events_name_a_flow_and_a_form_that_exist() -> None:
    events = ACCOUNT.resources("receive", ACCOUNT.now) + ACCOUNT.resources("consented_to_receive", ACCOUNT.now)
    properties = [event["attributes"]["event_properties"] or {} for event in events]
    flows = {each["id"] for each in ledger("/api/flows")}
    forms = {each["id"] for each in ledger("/api/forms")}
    assert {each["$flow"] for each in properties if "$flow" in each} <= flows
    assert {each["form_id"] for each in properties if "form_id" in each} <= forms


# Parts that come only on request, and missing ones


@pytest.mark.parametrize(("path", "flag"), [("/api/flows", "archived"), ("/api/images", "hidden")])
def test_archived_and_hidden_resources_come_only_if_the_filter_names_them(
    sandbox: Sandbox, path: str, flag: str
) -> None:
    usual = walk(sandbox, path)
    assert usual
    assert not any(each["attributes"][flag] for each in usual)
    assert all(each["attributes"][flag] for each in walk(sandbox, path, filter=f"equals({flag},true)"))


@pytest.mark.parametrize(
    ("path", "attribute"), [("/api/templates", "definition"), ("/api/metrics/{id}/metric-properties", "sample_values")]
)
def test_some_attributes_come_only_on_request(sandbox: Sandbox, path: str, attribute: str) -> None:
    endpoint = next(each for each in COLLECTIONS if each.path == path)
    query = {f"additional-fields[{endpoint.type}]": attribute}
    for with_it, asked in ((False, {}), (True, query)):
        page = get(sandbox, paths_of(endpoint)[0], **asked).json()["data"]
        assert {attribute in each["attributes"] for each in page} == {with_it}


def test_some_relationships_name_their_resources_only_if_these_are_included(sandbox: Sandbox) -> None:
    def named(path: str, relationship: str, **query: str) -> set[bool]:
        return {"data" in each["relationships"][relationship] for each in get(sandbox, path, **query).json()["data"]}

    assert named("/api/flows", "flow-actions") == {False}
    assert named("/api/flows", "flow-actions", include="flow-actions") == {True}
    assert named("/api/catalog-items", "variants") == {False}
    assert named("/api/catalog-variants", "item") == {False}
    assert named("/api/forms", "form-versions") == {True}
    codes = {"filter": 'equals(coupon.id,"coupon_2")'}
    assert named("/api/coupon-codes", "profile", **codes) == {False}
    assert named("/api/coupon-codes", "coupon", **codes) == {True}


def test_a_relationship_to_nothing_is_null() -> None:
    messages = ledger("/api/flow-actions/{id}/flow-messages")
    templates = [each["relationships"]["template"]["data"] for each in messages]
    assert None in templates
    known = {each["id"] for each in ledger("/api/templates")}
    assert {each["id"] for each in templates if each} <= known


def test_numbers_are_sorted_as_numbers(sandbox: Sandbox) -> None:
    found = walk(sandbox, "/api/images", sort="size", **{"page[size]": "7"})
    sizes = [each["attributes"]["size"] for each in found]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3


def test_an_include_is_cut_short(sandbox: Sandbox) -> None:
    flows = list(pages(sandbox, "/api/flows", include="flow-actions"))
    named = [
        each["id"] for page in flows for flow in page["data"] for each in flow["relationships"]["flow-actions"]["data"]
    ]
    included = [each["id"] for page in flows for each in page["included"]]
    assert len(set(included)) == len(included) < len(named)
    assert set(included) < set(named)


@pytest.mark.parametrize("endpoint", [each for each in COLLECTIONS if "{id}" in each.path], ids=template_of)
def test_one_parent_of_each_kind_is_listed_though_its_children_are_gone(sandbox: Sandbox, endpoint: Endpoint) -> None:
    path, revision = endpoint.path, endpoint.revision
    parents = {
        "/api/flow-actions": "/api/flows/{id}/flow-actions",
        "/api/catalog-categories": "/api/catalog-categories",
    }
    listed = path.split("/{id}")[0]
    ids = [each["id"] for each in ledger(parents.get(listed, listed), revision)]
    answers = {each: get(sandbox, path.replace("{id}", each), revision) for each in ids}
    gone = [each for each, answer in answers.items() if answer.status_code == 404]
    assert len(gone) == 1
    assert error(answers[gone[0]])[2].endswith(f"with id {gone[0]} does not exist.")
    unknown = "99" if listed == "/api/flow-actions" else "NOPE01"
    assert error(get(sandbox, path.replace("{id}", unknown), revision))[:2] == (404, "not_found")


def test_without_gone_parents_all_children_are_there() -> None:
    account = Account.build(events=60, seed=11, gone=False)
    with Sandbox(account, limits=False) as sandbox:
        for each in account.collection("/api/forms", account.now):
            assert get(sandbox, f"/api/forms/{each['id']}/form-versions").status_code == 200


def test_ids_of_flow_actions_are_digits(sandbox: Sandbox) -> None:
    assert error(get(sandbox, "/api/flow-actions/NOPE/flow-messages")) == (
        400,
        "invalid",
        "Flow Action ID must be a digit",
    )


def test_flows_refuse_a_sort_beside_a_date_filter_and_a_bound_in_the_future(sandbox: Sandbox) -> None:
    query = {"filter": "greater-than(updated,2026-01-01T00:00:00Z)"}
    assert get(sandbox, "/api/flows", sort="-updated", **query).status_code == 200
    assert "sort field must also match" in error(get(sandbox, "/api/flows", sort="id", **query))[2]
    late = error(get(sandbox, "/api/flows", filter="less-than(updated,2030-01-01T00:00:00Z)"))
    assert late[2] == "End date may not be in the future"


def test_coupon_codes_require_a_filter(sandbox: Sandbox) -> None:
    assert "'coupon.id' or 'profile.id'" in error(get(sandbox, "/api/coupon-codes"))[2]
    both = 'any(coupon.id,["coupon_1","coupon_2"])'
    assert {each["id"].split("-")[0] for each in walk(sandbox, "/api/coupon-codes", filter=both)} == {
        "coupon_1",
        "coupon_2",
    }


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('starts-with(name,"do")', {"do not send"}),
        ('ends-with(name,"ut")', {"ümlaut"}),
        ('contains(name,"o")', {"popular", "do not send"}),
        ('equals(name,"autumn")', {"autumn"}),
        ('equals(name,"Autumn")', set()),
    ],
)
def test_filters_compare_texts(sandbox: Sandbox, condition: str, found: set[str]) -> None:
    assert {each["attributes"]["name"] for each in walk(sandbox, "/api/tags", filter=condition)} == found


def test_a_count_of_members_comes_only_on_request(sandbox: Sandbox) -> None:
    for each in ledger("/api/lists")[:6]:
        path = f"/api/lists/{each['id']}"
        assert "profile_count" not in get(sandbox, path).json()["data"]["attributes"]
        counted = get(sandbox, path, **{"additional-fields[list]": "profile_count"}).json()["data"]
        assert counted["attributes"]["profile_count"] == len(walk(sandbox, f"{path}/profiles"))


# Revisions, and what a plan lacks


def test_a_revision_lacks_later_additions(sandbox: Sandbox) -> None:
    new = {each.path for each in COLLECTIONS if each.revision == OMNICHANNEL} - {"/api/campaigns"}
    for path in new:
        detail = "Revision date requested is before the earliest available, use a date after 2026-10-15"
        assert error(get(sandbox, path.replace("{id}", "x"))) == (404, "not_found", detail)
        assert get(sandbox, path.replace("{id}", "x"), "2026-07-15.pre").status_code in (200, 404)
    assert get(sandbox, "/api/billing-usage", "2026-07-15.pre").status_code == 200


def test_each_revision_has_its_own_campaigns(sandbox: Sandbox) -> None:
    channel = 'equals(messages.channel,"email")'
    refusal = error(get(sandbox, "/api/campaigns", OMNICHANNEL, filter=channel))
    assert refusal == (400, "invalid", "'messages.channel' is not a filterable field for the resource 'campaign'.")
    flat = {each["id"]: each["attributes"] for each in ledger("/api/campaigns")}
    omnichannel = {each["id"]: each["attributes"] for each in ledger("/api/campaigns", OMNICHANNEL)}
    assert flat.keys() < omnichannel.keys()
    for campaign_id, attributes in flat.items():
        definition = omnichannel[campaign_id]["definition"]
        assert (definition["name"], definition["archived"]) == (attributes["name"], attributes["archived"])
    assert get(sandbox, "/api/flows", OMNICHANNEL).json()["data"] == get(sandbox, "/api/flows").json()["data"]


def test_campaigns_of_the_canvas_have_several_channels_and_join(sandbox: Sandbox) -> None:
    campaigns = {each["id"]: each for each in ledger("/api/campaigns", OMNICHANNEL)}
    messages = {each["id"]: each for each in ledger("/api/campaign-messages", OMNICHANNEL)}
    variations = ledger("/api/campaign-messages/{id}/campaign-variations", OMNICHANNEL)
    channels: dict[str, set[str]] = {}
    for each in variations:
        message = messages[each["relationships"]["campaign-message"]["data"]["id"]]
        campaign = message["relationships"]["campaign"]["data"]["id"]
        assert message["id"] in {each["id"] for each in campaigns[campaign]["campaign_messages"]}
        channels.setdefault(campaign, set()).add(each["attributes"]["definition"]["details"]["channel"])
    assert {len(each) for each in channels.values()} >= {1, 2, 3}
    listed = {each["id"] for each in ledger("/api/campaigns")}
    assert {"whatsapp"} in [found for campaign, found in channels.items() if campaign not in listed]
    assert not any("whatsapp" in channels.get(campaign, ()) for campaign in listed)
    groups = {each["id"] for path in ("/api/lists", "/api/segments") for each in ledger(path)}
    audiences = ledger("/api/campaigns/{id}/campaign-audiences", OMNICHANNEL)
    assert {each for one in audiences for each in one["attributes"]["definition"]["included"] or ()} <= groups


def test_the_messages_that_events_name_exist(sandbox: Sandbox) -> None:
    events = ACCOUNT.resources("receive", ACCOUNT.now) + ACCOUNT.resources("received_sms", ACCOUNT.now)
    properties = [event["attributes"]["event_properties"] or {} for event in events]
    messages = {each["id"] for each in ledger("/api/campaign-messages", OMNICHANNEL)}
    assert {each["$message"] for each in properties if "$message" in each} <= messages


def test_a_campaign_that_is_deleted_or_archived_is_so_in_both_revisions() -> None:
    first, second = (each["id"] for each in ledger("/api/campaigns")[:2])
    account = ACCOUNT.without(campaign_ids=[first]).with_archived([second], ACCOUNT.now)
    campaigns = {each["id"]: each for each in account.collection("/api/campaigns", account.now, revision=OMNICHANNEL)}
    assert first not in campaigns
    assert campaigns[second]["attributes"]["definition"]["archived"] is True
    messages = account.collection("/api/campaign-messages", account.now, revision=OMNICHANNEL)
    assert first not in {each["relationships"]["campaign"]["data"]["id"] for each in messages}
    assert len(messages) < len(ledger("/api/campaign-messages", OMNICHANNEL))


@pytest.mark.parametrize(
    ("lacks", "path", "words"),
    [
        ("webhooks", "/api/webhooks", "You must have Advanced KDP enabled to use this endpoint."),
        ("push-tokens", "/api/push-tokens", "Company is not able to process push tokens"),
        ("custom-objects", "/api/object-types", "Entitlement to create object type not found"),
    ],
)
def test_what_a_plan_lacks_is_refused_in_klaviyos_words(lacks: str, path: str, words: str) -> None:
    with Sandbox(Account.build(events=60, seed=11, lacks=(lacks,)), limits=False) as sandbox:
        assert error(get(sandbox, path)) == (403, "permission_denied", words)
        assert get(sandbox, "/api/tags").status_code == 200


# Profiles and members over time


@pytest.mark.parametrize("order", [{}, {"sort": "updated"}, {"sort": "-updated"}])
def test_the_bounds_on_updated_are_strict(sandbox: Sandbox, order: dict[str, str]) -> None:
    everyone = walk(sandbox, "/api/profiles", sort="updated", **{"page[size]": "100"})
    moments = [each["attributes"]["updated"] for each in everyone if each["attributes"]["updated"]]
    assert len(moments) < len(everyone), "null"
    middle = moments[len(moments) // 2]
    for operator, expected in (
        ("greater-than", [each for each in moments if each > middle]),
        ("less-than", [each for each in moments if each < middle]),
    ):
        query = {**order, "filter": f"{operator}(updated,{middle})", "page[size]": "100"}
        found = [each["attributes"]["updated"] for each in walk(sandbox, "/api/profiles", **query)]
        assert sorted(found) == expected
        assert not order or found == (expected[::-1] if "-" in order["sort"] else expected)
    assert len([each for each in moments if each > "2026-06"]) > 10


def test_members_are_found_by_the_time_at_which_they_joined(sandbox: Sandbox) -> None:
    group, _ = Counter(each["parent_id"] for each in ledger("/api/lists/{id}/profiles")).most_common(1)[0]
    path = f"/api/lists/{group}/profiles"
    moments = [each["attributes"]["joined_group_at"] for each in walk(sandbox, path)]
    assert moments == sorted(moments)
    middle = moments[len(moments) // 2]
    for operator, expected in (
        ("greater-or-equal", [each for each in moments if each >= middle]),
        ("greater-than", [each for each in moments if each > middle]),
        ("less-or-equal", [each for each in moments if each <= middle]),
        ("less-than", [each for each in moments if each < middle]),
    ):
        found = walk(sandbox, path, filter=f"{operator}(joined_group_at,{middle})", **{"page[size]": "7"})
        assert [each["attributes"]["joined_group_at"] for each in found] == expected
    text = f"and(greater-than(joined_group_at,{moments[3]}),less-than(joined_group_at,{moments[9]}))"
    assert [each["attributes"]["joined_group_at"] for each in walk(sandbox, path, filter=text)] == moments[4:9]


def test_profiles_are_updated_while_time_passes() -> None:
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        before = walk(sandbox, "/api/profiles", sort="updated", **{"page[size]": "100"})
        sandbox.advance(7 * 86_400)
        first = next(each["id"] for each in before if each["attributes"]["updated"])
        sandbox.account = ACCOUNT.with_updated([first], sandbox.now)
        after = walk(sandbox, "/api/profiles", sort="updated", **{"page[size]": "100"})
    assert len(after) > len(before)
    assert after[-1]["id"] == first
    assert keys(after) == keys(sandbox.account.collection("/api/profiles", sandbox.now))


def test_members_join_and_leave() -> None:
    sizes = Counter(each["parent_id"] for each in ledger("/api/lists/{id}/profiles"))
    group, _ = sizes.most_common(1)[0]
    path = f"/api/lists/{group}/profiles"
    with Sandbox(ACCOUNT, limits=False) as sandbox:
        before = walk(sandbox, path, sort="joined_group_at")
        first, second = before[0]["id"], before[1]["id"]
        sandbox.account = ACCOUNT.with_joined(group, [first], ACCOUNT.now).with_left(group, [second])
        after = walk(sandbox, path, sort="joined_group_at")
        middle = before[len(before) // 2]["attributes"]["joined_group_at"]
        text = f"greater-or-equal(joined_group_at,{middle})"
        late = walk(sandbox, path, filter=text, **{"fields[profile]": "joined_group_at"})
    assert [each["id"] for each in after] == [each["id"] for each in before[2:]] + [first]
    assert {tuple(each["attributes"]) for each in late} == {("joined_group_at",)}
    assert all(each["attributes"]["joined_group_at"] >= middle for each in late)
    assert len(late) > len(before) // 3


def test_profiles_and_events_are_deleted() -> None:
    account = Account.build(events=200, seed=2)
    suppressed = account.resources("global_exclusions", account.now)[0]["id"]
    member = account.collection("/api/lists/{id}/profiles", account.now)[0]
    event = next(each for each in account.resources("open", account.now) if each["profile"])
    gone = {suppressed, member["id"], event["profile"]["id"]}
    with Sandbox(account.without_profiles(gone), limits=False) as sandbox:
        left = [item["id"] for page in pages(sandbox, "/api/profiles") for item in page["data"]]
        members = f"/api/lists/{member['parent_id']}/profiles"
        assert not gone & {*left, *(item["id"] for page in pages(sandbox, members) for item in page["data"])}
        assert left == [each["id"] for each in sandbox.account.collection("/api/profiles", account.now)]
        assert len(left) == len(account.collection("/api/profiles", account.now)) - len(gone)
        assert len(sandbox.account.ledger(account.now)["global_exclusions"]) < len(account.suppressions)
        kept = next(each for each in sandbox.account.resources("open", account.now) if each["id"] == event["id"])
        assert kept["profile"] is None
        assert kept["relationships"] == event["relationships"]
        sandbox.account = account.without_events([event["id"]])
        events = [item["id"] for page in pages(sandbox, "/api/events") for item in page["data"]]
        assert event["id"] not in events
        assert event["id"] not in sandbox.account.ledger(account.now)["open"]
        assert len(events) > 100


def test_nobody_is_missed_while_profiles_are_updated_and_members_join() -> None:
    group, _ = Counter(each["parent_id"] for each in ledger("/api/lists/{id}/profiles")).most_common(1)[0]
    everyone = [each["id"] for each in ledger("/api/profiles") if each["attributes"]["updated"]]
    members = [each["id"] for each in ledger("/api/lists/{id}/profiles") if each["parent_id"] == group]
    changing: dict[str, str] = {}
    with Sandbox(ACCOUNT, limits=False) as sandbox:

        def change(request: Request) -> None:
            """Update a profile and let it join again before each request."""
            sandbox.advance(1)
            moved = everyone[request.index * 7 % len(everyone)]
            account = sandbox.account.with_updated([moved], sandbox.now)
            if moved in members:
                account = account.with_joined(group, [moved], sandbox.now)
            changing[moved] = request.path
            sandbox.account = account

        sandbox.faults = change
        seen = {each["id"] for each in walk(sandbox, "/api/profiles", sort="updated", **{"page[size]": "9"})}
        joined = {each["id"] for each in walk(sandbox, f"/api/lists/{group}/profiles", **{"page[size]": "9"})}
    assert seen >= set(everyone)
    assert joined >= set(members)
    assert len(changing) > 10


def test_pages_by_id_lose_nothing_while_resources_are_deleted_and_changed() -> None:
    flows = [each["id"] for each in ledger("/api/flows") if not each["attributes"]["archived"]]
    with Sandbox(ACCOUNT, limits=False) as sandbox:

        def change(request: Request) -> None:
            """Delete a flow and rename another before each request."""
            account = sandbox.account.with_deleted([flows[request.index * 5]])
            sandbox.account = account.with_changed(flows[request.index * 5 + 2], name=f"Renamed {request.index}")

        sandbox.faults = change
        seen = [each["id"] for each in walk(sandbox, "/api/flows", sort="id", **{"page[size]": "6"})]
        left = {each["id"] for each in sandbox.account.collection("/api/flows", sandbox.now)}
    assert set(flows) & left <= set(seen) < set(flows)
    assert len(seen) == len(set(seen))


def test_resources_change_and_are_deleted() -> None:
    first, second, *rest = [each["id"] for each in ledger("/api/forms")]
    account = ACCOUNT.with_changed(first, name="Other", updated_at="2026-11-23T00:00:00+00:00").with_deleted([second])
    forms = account.collection("/api/forms", account.now)
    assert [each["id"] for each in forms] == [first, *rest]
    assert forms[0]["attributes"]["name"] == "Other"


def test_the_collections_cost_nothing_until_they_are_asked_for() -> None:
    assert Account.build(events=60, seed=11).shop.made == set()


@pytest.mark.skipif(not DOCUMENTS.exists(), reason="Klaviyo's OpenAPI documents are not in ../shared/klaviyo-openapi")
def test_the_contract_is_what_the_documents_give() -> None:
    command = [sys.executable, "scripts/make_sandbox_contract.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
