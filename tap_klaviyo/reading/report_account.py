"""What reports need to know of the account: its time zone, and the metric that counts as a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from tap_klaviyo.errors import ApiError, AuthError, RequestError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import ACCOUNTS, MAPPED_METRICS, Endpoint
from tap_klaviyo.klaviyo.json_values import decode_object, decode_text
from tap_klaviyo.klaviyo.jsonapi import PageDecoder
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.resources import Resource, plain_resource, related_ids
from tap_klaviyo.log import logger
from tap_klaviyo.reading.account import Account
from tap_klaviyo.streams.events import integration_name, metric_name
from tap_klaviyo.streams.model import DailyCounts, Report, Sizes, Stream

_REVENUE = "revenue"
_USUAL_METRIC = "Placed Order"


@dataclass(frozen=True)
class ReportAccount:
    """The account as reports see it.

    Args:
        zone: its time zone; None if it is not known, or if no stream needs it.
        conversion_metric: the id of the metric that counts as a conversion; None like `zone`.
        zone_problem: why the time zone is not known.
        metric_problem: why the metric is not known.
    """

    zone: ZoneInfo | None = None
    conversion_metric: str | None = None
    zone_problem: ApiError | None = None
    metric_problem: ApiError | None = None


def read_report_account(
    client: Client, account: Account, streams: Sequence[Stream], wanted: str | None
) -> ReportAccount:
    """Request what the reports among the streams need.

    Args:
        client: asks Klaviyo.
        account: has the metrics.
        streams: the selected ones.
        wanted: the name or id of the metric that counts as a conversion; None for the account's usual one.

    Raises:
        AuthError: Klaviyo does not accept the key.
    """
    splits = [stream.split for stream in streams]
    found = ReportAccount()
    if any(isinstance(each, Report | DailyCounts | Sizes) for each in splits):
        try:
            found = ReportAccount(_read_zone(client))
        except AuthError:
            raise
        except ApiError as problem:
            found = ReportAccount(zone_problem=problem)
    if found.zone and any(isinstance(each, Report) and each.has_conversions for each in splits):
        try:
            return ReportAccount(found.zone, _conversion_metric(client, account, wanted))
        except AuthError:
            raise
        except ApiError as problem:
            return ReportAccount(found.zone, metric_problem=problem)
    return found


def _read_zone(client: Client) -> ZoneInfo:
    resources = _read_all(client, ACCOUNTS, PageDecoder())
    name = next((_text_attribute(each, "timezone") for each in resources), None)
    try:
        return ZoneInfo(name or "")
    except (ValueError, OSError, LookupError):
        raise RequestError(
            f"Reports are by days of the account, but {name!r} is not a time zone. Check the time zone in Klaviyo "
            "under Settings > Account."
        ) from None


def _conversion_metric(client: Client, account: Account, wanted: str | None) -> str:
    """Return the id of the metric that counts as a conversion.

    Raises:
        ApiError: the metric is not known.
    """
    if account.problem:
        raise account.problem
    if wanted is not None:
        return _metric_of(account, wanted, f"The setting conversion_metric is {wanted!r}, but")
    mapped = _mapped_metric(client)
    if mapped:
        return mapped
    return _metric_of(account, _USUAL_METRIC, "The account maps no metric to revenue, and")


def _metric_of(account: Account, wanted: str, reason: str) -> str:
    """Return the id of the metric of a name or id."""
    if any(metric.id == wanted for metric in account.all_metrics):
        return wanted
    named = [metric for metric in account.all_metrics if metric_name(metric).casefold() == wanted.casefold()]
    if len(named) == 1:
        return named[0].id
    if named:
        raise RequestError(
            f"{reason} {len(named)} metrics are named {wanted}; set conversion_metric to the id of one of them: "
            f"{', '.join(map(_metric_label, named))}."
        )
    raise RequestError(
        f"{reason} the account has no metric with the name or id {wanted}. Set conversion_metric to the name or id of "
        "one; --metrics lists them all."
    )


def _metric_label(metric: Resource) -> str:
    return f"{metric.id} ({integration_name(metric) or 'no integration'})"


def _mapped_metric(client: Client) -> str | None:
    """Return the id of the metric that the account maps to revenue, None if it maps none, or a custom one."""
    decoder = PageDecoder(plain_resource(["metric"]))
    try:
        mappings = _read_all(client, MAPPED_METRICS, decoder)
    except AuthError:
        raise
    except ApiError as problem:
        logger.warning("The metric that the account maps to revenue is not known; using %s. %s", _USUAL_METRIC, problem)
        return None
    for mapping, ids in zip(mappings, related_ids(mappings, "metric"), strict=True):
        if mapping.id == _REVENUE and ids:
            return ids[0]
    return None


def _read_all(client: Client, endpoint: Endpoint, decoder: PageDecoder) -> list[Resource]:
    pages, found = Pages(client, endpoint, {}, decoder), list[Resource]()
    while not pages.ended:
        with pages.next() as answer:
            found += answer.page.data
    return found


def _text_attribute(resource: Resource, name: str) -> str | None:
    return decode_text((decode_object(resource.attributes) or {}).get(name))
