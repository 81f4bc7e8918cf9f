"""Pages of events."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from tap_klaviyo.sandbox import cursors, filters, population
from tap_klaviyo.sandbox.account import Account
from tap_klaviyo.sandbox.filters import Condition
from tap_klaviyo.sandbox.query import Query
from tap_klaviyo.sandbox.refusals import invalid_parameter
from tap_klaviyo.sandbox.rendering import Renderer, View
from tap_klaviyo.sandbox.traffic import Page, next_url


class EventPages:
    """Answers queries for the events of one account."""

    def __init__(self, account: Account, renderer: Renderer) -> None:
        """Answer for an account."""
        self._account = account
        self._renderer = renderer

    def page(self, url: str, asked: Query, size: int, now: float, repeat: bool) -> Page:
        """Return a page of events; the arguments are those of `ItemPages.page`."""
        found = list(islice(self._visible(asked, now, repeat), size + 1))
        numbers = found[:size]
        following = None
        if len(found) > size:
            timeline, last = self._account.timeline, numbers[-1]
            cursor = cursors.of_event(timeline.seconds[last], timeline.id(last).decode())
            following = next_url(url, cursor)
        fields = asked.fields.get
        view = View(asked.include, fields("event"), fields("profile"), fields("metric"))
        data, included = self._renderer.page(numbers, view)
        return Page(url, tuple(data), tuple(included) if asked.include else None, following)

    def _visible(self, asked: Query, now: float, repeat: bool) -> Iterator[int]:
        """Yield the events that a query finds, in its order, from the cursor on."""
        timeline = self._account.timeline
        if any(each.field in ("datetime", "timestamp") and float(each.values[0]) > now for each in asked.conditions):
            raise invalid_parameter("A datetime in the filter cannot be in the future.", "filter")
        numbers = self._asked_events(asked.conditions)
        first, last = (
            bisect_left(numbers, bound, key=timeline.seconds.__getitem__)
            for bound in filters.time_bounds(asked.conditions)
        )
        if asked.cursor is not None:
            at = cursors.event_of_cursor(asked.cursor)
            if asked.descending:
                last = min(last, (bisect_right if repeat else bisect_left)(numbers, at, key=self._keyset))
            else:
                first = max(first, (bisect_left if repeat else bisect_right)(numbers, at, key=self._keyset))
        places = range(last - 1, first - 1, -1) if asked.descending else range(first, last)
        named = [each for each in asked.conditions if each.field in ("profile", "profile_id", "metric")]
        for number in map(numbers.__getitem__, places):
            if timeline.is_visible(number, now) and (not named or self._has_all(number, named)):
                yield number

    def _keyset(self, number: int) -> tuple[int, str]:
        timeline = self._account.timeline
        return timeline.seconds[number], timeline.id(number).decode()

    def _asked_events(self, conditions: Sequence[Condition]) -> Sequence[int]:
        """Return the events of the metrics that a filter names, or all."""
        account = self._account
        named = [condition.values for condition in conditions if condition.field == "metric_id"]
        if not named:
            return range(len(account.timeline.seconds))
        ids = list(dict.fromkeys(str(each) for values in named for each in values))
        unknown = [each for each in ids if each not in account.metric_places]
        if unknown:
            raise invalid_parameter(f"Metric IDs {unknown} do not exist.", "filter")
        wanted = set(ids).intersection(*map(set, named))
        return account.events_of([account.metric_places[each] for each in wanted])

    def _has_all(self, number: int, conditions: Sequence[Condition]) -> bool:
        return all(self._has(number, condition) for condition in conditions)

    def _has(self, number: int, condition: Condition) -> bool:
        if condition.field == "metric":
            return self._account.metrics[self._account.timeline.metrics[number]].kind.listed
        profile = self._account.profile_of(number)
        if condition.field == "profile":
            return profile is not None and not self._account.people.is_deleted(profile)
        return profile is not None and population.profile_id(profile).decode() in condition.values
