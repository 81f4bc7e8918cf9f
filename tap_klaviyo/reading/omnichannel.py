"""Campaigns that only revision 2026-10-15 lists: their pages to batches of rows in the older, flat shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tap_klaviyo.klaviyo.endpoints import CAMPAIGN_MESSAGES, OMNICHANNEL_CAMPAIGNS
from tap_klaviyo.klaviyo.filters import filter_all, filter_from
from tap_klaviyo.klaviyo.jsonapi import PageDecoder, parse_page
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.resources import Resource, plain_resource, related_ids
from tap_klaviyo.reading.batch import Batch
from tap_klaviyo.reading.cursor import FullTable, changes_of
from tap_klaviyo.reading.prefetch import Fetch, Fetched
from tap_klaviyo.records.build import build_records
from tap_klaviyo.records.findings import Findings
from tap_klaviyo.singer.messages import encode_records
from tap_klaviyo.streams.omnichannel import Omnichannel, flat_page

# The name of the query in `Batch.query`.
QUERY = "omnichannel"
# Messages per request. Their ids have 26 characters, so the URL stays within two kilobytes.
_AT_ONCE = 50
_CONDITIONS = ("equals(archived,false)", "equals(archived,true)")
_PARTS = ("campaign-audiences", "campaign-messages", "tags")
_NOTHING = Batch(b"", 0, 0, query=QUERY)


@dataclass(frozen=True)
class _Listed:
    """A campaign as the list shows it, without the content of its messages."""

    campaign: Resource
    audiences: Sequence[Resource]
    message_ids: Sequence[str]
    tags: Sequence[Resource]
    tag_ids: Sequence[str]


def omnichannel_fetches(table: FullTable, known: frozenset[str] = frozenset()) -> list[Fetch[Batch]]:
    """Return the fetches of all campaigns, archived ones too, except those with a known id."""
    return [partial(_start_listing, table, known, "id", condition) for condition in _CONDITIONS]


def changed_omnichannel_fetches(table: FullTable) -> list[Fetch[Batch]]:
    """Return the fetches of the campaigns that changed since `table.since`, without the changes in `table.seen`."""
    field = table.changed_by or ""
    conditions = [filter_all(each, filter_from(field, table.since)) or "" for each in _CONDITIONS]
    return [partial(_start_listing, table, frozenset(), field, condition) for condition in conditions]


def _start_listing(table: FullTable, known: frozenset[str], sort: str, condition: str) -> Fetched[Batch]:
    parameters = {"sort": sort, "include": ",".join(_PARTS), "filter": condition}
    decoder = PageDecoder(plain_resource(_PARTS))
    return _read_campaign_page(table, known, Pages(table.client, OMNICHANNEL_CAMPAIGNS, parameters, decoder))


def _read_campaign_page(table: FullTable, known: frozenset[str], pages: Pages) -> Fetched[Batch]:
    """Read the next page of campaigns. The fetches after it read the messages of the unknown ones."""
    with pages.next() as answer:
        changes = changes_of(answer.page.data, table)
        known |= {id for id, moment in changes.items() if (id, moment) in table.seen}
        listed = [
            each for each in _list_campaigns(answer.page.data, answer.page.included) if each.campaign.id not in known
        ]
    then: list[Fetch[Batch]] = [partial(_build_campaigns, table, part) for part in _part_campaigns(listed)]
    then += [] if pages.ended else [partial(_read_campaign_page, table, known, pages)]
    noticed = replace(_NOTHING, changes=frozenset(changes.items()))
    return Fetched(noticed, 0, then, answer.attempts, answer.queued)


def _list_campaigns(campaigns: Sequence[Resource], included: Sequence[Resource]) -> Iterator[_Listed]:
    came = {(each.type, each.id): each for each in included}
    ids = [related_ids(campaigns, name) for name in _PARTS]
    for campaign, audiences, messages, tags in zip(campaigns, *ids, strict=True):
        yield _Listed(
            campaign,
            [came["campaign-audience", id] for id in audiences if ("campaign-audience", id) in came],
            messages,
            [came["tag", id] for id in tags if ("tag", id) in came],
            tags,
        )


def _part_campaigns(listed: Sequence[_Listed]) -> Iterator[Sequence[_Listed]]:
    """Yield the campaigns in parts with few enough messages for one request."""
    part: list[_Listed] = []
    count = 0
    for each in listed:
        if part and count + len(each.message_ids) > _AT_ONCE:
            yield part
            part, count = [], 0
        part.append(each)
        count += len(each.message_ids)
    if part:
        yield part


def _build_campaigns(table: FullTable, listed: Sequence[_Listed]) -> Fetched[Batch]:
    """Read the messages of campaigns with their contents, and make rows of them."""
    messages: dict[str, Resource] = {}
    variations: dict[str, Sequence[Resource]] = {}
    if ids := [id for each in listed for id in each.message_ids]:
        _read_messages(table, ids, messages, variations)
    whole = [
        Omnichannel(
            each.campaign,
            each.audiences,
            [messages[id] for id in each.message_ids if id in messages],
            variations,
            each.tags,
            each.message_ids,
            each.tag_ids,
        )
        for each in listed
    ]
    findings = Findings()
    page = parse_page(flat_page(whole), table.projection.decoder)
    records = build_records(page, table.projection, findings)
    lines = encode_records(table.stream.name, records, table.version)
    batch = Batch(lines, len(lines), len(records), findings=findings, query=QUERY)
    return Fetched(batch, batch.size)


def _read_messages(
    table: FullTable, ids: Sequence[str], messages: dict[str, Resource], variations: dict[str, Sequence[Resource]]
) -> None:
    wanted = ",".join(f'"{id}"' for id in ids)
    parameters: Mapping[str, str] = {
        "sort": "id",
        "include": "campaign-variations",
        "filter": f"any(id,[{wanted}])",
    }
    decoder = PageDecoder(plain_resource(("campaign-variations",)))
    # The campaigns name these messages, so an answer without any is not taken at its word.
    pages = Pages(table.client, CAMPAIGN_MESSAGES, parameters, decoder, has_items=True)
    while not pages.ended:
        with pages.next() as answer:
            data, came = answer.page.data, {each.id: each for each in answer.page.included}
            for message, found in zip(data, related_ids(data, "campaign-variations"), strict=True):
                messages[message.id] = message
                variations[message.id] = [came[id] for id in found if id in came]
