"""What the comparison of a stream with Klaviyo's counts shows, in words; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tap_klaviyo.reading.comparison import Counted, Difference, compare_counts, unread_metrics
from tap_klaviyo.reading.hours import counts_within
from tap_klaviyo.reading.tally import Tally
from tap_klaviyo.times import format_time

# Days that a warning names; --verify lists them all.
_MOST_DAYS = 5
_MORE = (
    "Klaviyo may count events that it no longer returns, such as those of deleted profiles, or events that arrived "
    "after their page was read: these come with the next run."
)
_FEWER = (
    "Klaviyo's counts can be minutes behind its events, and may leave out those of deleted profiles: all that Klaviyo "
    "returned was written."
)


def differences_of(tally: Tally) -> list[Difference]:
    """Return the days of a stream of which Klaviyo counts more or fewer events than were read."""
    return compare_counts(tally.read, tally.counted, tally.bookmark_limit)


def totals_line(tally: Tally) -> str:
    """Return how many records a stream has, and how many Klaviyo counts where there are counts."""
    records = f"{tally.rows:,} record{'' if tally.rows == 1 else 's'}"
    if not tally.counted:
        return f"{records}."
    total, compared = sum(each.total for each in tally.counted), _read_within(tally, tally.counted)
    where = "" if compared == tally.rows else f" for {compared:,} of them"
    return f"{records}; Klaviyo counts {total:,}{where}."


def _read_within(tally: Tally, counted: Sequence[Counted]) -> int:
    return sum(sum(counts_within(tally.read.get(each.metric, {}), each.start, each.end).values()) for each in counted)


def difference_line(differences: Sequence[Difference], names: Mapping[str, str]) -> str:
    """Return which days differ, how, and what may cause it.

    Args:
        differences: at least one.
        names: of the metrics, by id.
    """
    shown = "; ".join(describe_difference(each, names) for each in differences[:_MOST_DAYS])
    left = len(differences) - _MOST_DAYS
    more = f"; and {left:,} more day{'' if left == 1 else 's'}" if left > 0 else ""
    causes = [_MORE] if any(each.counted > each.read for each in differences) else []
    causes += [_FEWER] if any(each.counted < each.read for each in differences) else []
    return f"Klaviyo's counts differ. {shown}{more}. {' '.join(causes)} See docs/completeness.md."


def describe_difference(difference: Difference, names: Mapping[str, str]) -> str:
    """Return a day that differs, with its metric and both numbers."""
    metric = describe_metric(difference.metric, names)
    day = format_time(difference.start)[:10]
    return f"{day}, {metric}: {difference.read:,} read, {difference.counted:,} counted"


def unread_lines(tally: Tally, names: Mapping[str, str]) -> dict[str, str]:
    """Return by id the metrics of which Klaviyo counts events but returned none, with a sentence about each."""
    return {
        metric: (
            f"Klaviyo counts {count:,} event{'' if count == 1 else 's'} of {describe_metric(metric, names)}, but "
            "returned none. The next run reads them from start_date. If it finds none either, report this to Klaviyo's "
            "support."
        )
        for metric, count in _unread_counts(tally).items()
    }


def _unread_counts(tally: Tally) -> dict[str, int]:
    recounted = {metric: each.unread(tally.read.get(metric, {})) for metric, each in tally.recounted.items()}
    known = {metric for metric, each in tally.recounted.items() if each.known}
    counted = unread_metrics(tally.read, [each for each in tally.counted if each.metric not in known])
    # Of a metric that Klaviyo denies, another sentence says so.
    return {metric: count for metric, count in {**recounted, **counted}.items() if count and metric not in tally.denied}


def describe_metric(metric: str, names: Mapping[str, str]) -> str:
    """Return a metric's name and id, or the id alone."""
    return f"{names[metric]} ({metric})" if names.get(metric) else metric
