"""The account, read before the streams: its metrics, and Klaviyo's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from tap_klaviyo.errors import ApiError, AuthError, OfflineError
from tap_klaviyo.klaviyo.client import Client
from tap_klaviyo.klaviyo.endpoints import METRICS
from tap_klaviyo.klaviyo.pages import Pages
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.streams.events import metric_name, metrics_of
from tap_klaviyo.streams.model import Stream

# Klaviyo's servers differ by seconds: one that is behind refuses a filter for a time that it has not reached, and an
# event of the last seconds may not be visible everywhere yet. The next run reads them.
CLOCK_MARGIN = 5


@dataclass(frozen=True)
class Account:
    """The metrics that feed each stream, by the stream's name, and the time of the run's start.

    Args:
        metrics: the metrics of the streams that are fed by some.
        now: when the run began by Klaviyo's clock, less the margin, in epoch seconds: no bookmark passes it.
        problem: why the metrics could not be read, if they could not.
        all_metrics: all metrics of the account.
    """

    metrics: Mapping[str, Sequence[Resource]]
    now: int
    problem: ApiError | None = None
    all_metrics: Sequence[Resource] = ()

    @property
    def metric_ids(self) -> Mapping[str, Sequence[str]]:
        """The ids of the metrics that feed each stream, by the stream's name."""
        return {name: [metric.id for metric in metrics] for name, metrics in self.metrics.items()}

    @property
    def listed_ids(self) -> Set[str] | None:
        """The ids of all metrics; None if they were not listed."""
        return {metric.id for metric in self.all_metrics} if self.all_metrics and not self.problem else None

    @property
    def metric_names(self) -> Mapping[str, str]:
        """The names of all metrics, by id."""
        return {metric.id: metric_name(metric) for metric in self.all_metrics}


def read_account(client: Client, streams: Sequence[Stream], wall: Callable[[], float]) -> Account:
    """Request the metrics; the response also has Klaviyo's time.

    Args:
        client: asks Klaviyo.
        streams: the selected ones.
        wall: the host's clock, for an answer without a date.

    Raises:
        AuthError: Klaviyo does not accept the key.
        OfflineError: this machine cannot reach Klaviyo.
    """
    if not streams:
        return Account({}, int(wall()))
    found: list[Resource] = []
    pages, problem = Pages(client, METRICS, {}), None
    try:
        while not pages.ended:
            with pages.next() as answer:
                found += answer.page.data
    except (AuthError, OfflineError):
        raise
    except ApiError as error:
        problem = error
    now = int(client.server_time or wall()) - CLOCK_MARGIN
    return Account({stream.name: metrics_of(stream.split, found) for stream in streams}, now, problem, found)
