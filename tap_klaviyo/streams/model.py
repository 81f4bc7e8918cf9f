"""What one row of the table of streams says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.klaviyo.filters import After, Before
from tap_klaviyo.klaviyo.resources import Resource
from tap_klaviyo.records.projection import Finish, Projection, Related, Source

INCREMENTAL = "INCREMENTAL"
FULL_TABLE = "FULL_TABLE"
CORE = "core"
# A stream that the user names in a setting is wanted.
METRIC_STREAMS = "metric_streams"
DEFAULT_GROUPS = frozenset({CORE, METRIC_STREAMS})
# The integration that Klaviyo's own metrics belong to.
KLAVIYO = "Klaviyo"


@dataclass(frozen=True)
class TimeRange:
    """A time attribute that the endpoint filters by, so that a stream can be read from a bookmark and cut into slices.

    Args:
        field: what the filter calls it.
        after: the operator for the start of a range.
        before: the operator for its end.
        ordered: whether rows come in its order over the whole stream, so that a bookmark may move with each page.
        fixed: whether the time of a row never changes. A full read is cut into slices only by such a time: by another,
            a row that changes meanwhile moves out of the slices that are still to be read.
    """

    field: str
    after: After = "greater-or-equal"
    before: Before = "less-than"
    ordered: bool = True
    fixed: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the operators find just the rows of a range: its start belongs to it, and its end does not."""
        return self.after == "greater-or-equal" and self.before == "less-than"


# How a stream is divided into queries: exactly one of the following.
@dataclass(frozen=True)
class Whole:
    """One query."""


@dataclass(frozen=True)
class Filters:
    """One query for each filter; its values are constants of all rows that the filter finds.

    Rows can move from one query to another while they are read. `changed_by` is the field that says when a row last
    changed, so that what changed during the run can be asked for again; None if no row can move.
    """

    each: Mapping[str, Mapping[str, Any]]
    changed_by: str | None = None


@dataclass(frozen=True)
class Parent:
    """One query for each row of another stream, whose id fills `{key}` in the path or in the filter.

    Args:
        stream: the other stream.
        key: the name for the parent's id, which is also the column that holds it.
        filter: the filter of each query, if the endpoint takes the parent's id there.
        only: returns whether a parent can have rows, so that others cost no request.
        included: the parent's relationship to the rows, if they can come with the parent. A separate request is sent
            only for a parent whose rows Klaviyo did not include in full.
    """

    stream: str
    key: str
    filter: str | None = None
    only: Callable[[Resource], bool] | None = None
    included: Related | None = None


@dataclass(frozen=True)
class Metrics:
    """One query for each metric of these names, in any case, that belongs to an integration.

    Args:
        names: newest first, in Klaviyo's spelling.
        integration: its name or key, in any case; None for metrics of all integrations.
    """

    names: tuple[str, ...]
    integration: str | None = KLAVIYO


@dataclass(frozen=True)
class AllMetrics:
    """One query for the events of all metrics; each event names its own."""


@dataclass(frozen=True)
class Report:
    """One POST for each period: a calendar month, or up to 60 days of a series by day.

    Args:
        about: the stream of what the figures are about, which the same scope can read.
        groups: what the figures are grouped by.
        is_series: whether it has a row for each day; else for each calendar month.
        has_conversions: whether some figures are about a metric that counts as a conversion, which is part of the key.
            Just these reports have pages, and a choice of groups.
        begins: the first day that has figures, by its ISO date; None if Klaviyo names none.
    """

    about: str
    groups: tuple[str, ...]
    is_series: bool = False
    has_conversions: bool = False
    begins: str | None = None


@dataclass(frozen=True)
class DailyCounts:
    """One POST for each metric and year: counts of its events by day."""


@dataclass(frozen=True)
class Sizes:
    """One POST for all segments, and one request for each list: how many members they have today."""


Split = Whole | Filters | Parent | Metrics | AllMetrics | Report | DailyCounts | Sizes


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One row of the table: all that is known of a stream but its fields, which are in the schema file.

    Args:
        name: the stream's name, which is its id in catalogs and states too.
        group: what it is listed under, and selected by; the streams of "core" are selected by default.
        endpoint: where Klaviyo has it.
        schema_name: the schema file, without its ending; by default the stream's name.
        key: the fields that identify a row.
        replication_key: the field that bookmarks follow; None for a stream that is always read in full.
        range: the time attribute that the endpoint filters by.
        split: how the stream is divided into queries.
        related: the fields that are made of related resources.
        derived: fields that are worked out, each with the attributes that it is worked out from.
        off: fields that are not selected by default.
        finish: completes the records of a page, for what only this stream needs.
        id_field: the field that holds the resource's id.
        omnichannel_from: the first revision in which the endpoint lists omnichannel campaigns; None for other streams.
    """

    name: str
    group: str = CORE
    endpoint: Endpoint
    schema_name: str = ""
    key: tuple[str, ...] = ("id",)
    replication_key: str | None = None
    range: TimeRange | None = None
    split: Split = Whole()
    related: tuple[Related, ...] = ()
    derived: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    off: frozenset[str] = frozenset()
    finish: Finish | None = None
    id_field: str = "id"
    omnichannel_from: str | None = None

    @property
    def replication_method(self) -> str:
        """INCREMENTAL for a stream with a replication key, else FULL_TABLE."""
        return INCREMENTAL if self.replication_key else FULL_TABLE

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics that feed the stream; none if no metric does."""
        return self.split.names if isinstance(self.split, Metrics) else ()

    @property
    def has_events(self) -> bool:
        """Whether its rows are events."""
        return isinstance(self.split, Metrics | AllMetrics)

    @property
    def parent(self) -> Parent | None:
        """What the stream is read for, if that is each row of another stream."""
        return self.split if isinstance(self.split, Parent) else None

    @property
    def automatic(self) -> frozenset[str]:
        """The fields that are always emitted: the key and the replication key."""
        return frozenset(self.key) | ({self.replication_key} if self.replication_key else frozenset())

    @property
    def schema(self) -> dict[str, Any]:
        """The stream's JSON schema, every field of it."""
        return load_schema(self.schema_name or self.name)

    def project(self, emitted: Mapping[str, Any], riders: tuple[Related, ...] = ()) -> Projection:
        """Return how the stream's pages become records that fit a schema, which has the selected fields only.

        `riders` are relationships whose resources come with the pages for another stream.
        """
        return Projection(
            Source(
                name=self.schema_name or self.name,
                schema=self.schema,
                emitted=emitted,
                related=self.related,
                finish=self.finish,
                id_field=self.id_field,
                riders=riders,
                # By far the most rows are those of streams with a time range, so their speed counts.
                keeps_text=self.range is None,
            )
        )


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return one of the schema files; treat it as frozen."""
    folder = resources.files("tap_klaviyo").joinpath("streams").joinpath("schemas")
    schema: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))
    return schema
