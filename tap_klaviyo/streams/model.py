"""What one row of the table of streams says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from tap_klaviyo.klaviyo.endpoints import Endpoint
from tap_klaviyo.records.projection import Finish, Projection, Related, Source

INCREMENTAL = "INCREMENTAL"
FULL_TABLE = "FULL_TABLE"


@dataclass(frozen=True)
class TimeRange:
    """A time attribute that the endpoint filters by, so that a stream can be read from a bookmark and cut into slices.

    `ordered` says that the endpoint sorts by it, so that a bookmark may move with each page.
    """

    field: str
    after: Literal["greater-or-equal", "greater-than"] = "greater-or-equal"
    before: Literal["less-than", "less-or-equal"] | None = "less-than"
    ordered: bool = True


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
    """One query for each row of another stream, whose id fills `{key}` in the path or in the filter."""

    stream: str
    key: str
    filter: str | None = None


@dataclass(frozen=True)
class Metrics:
    """One query for each metric of these names, newest first, in Klaviyo's spelling."""

    names: tuple[str, ...]


Split = Whole | Filters | Parent | Metrics


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One row of the table: all that is known of a stream but its fields, which are in the schema file.

    Args:
        name: the stream's name, which is its id in catalogs and states too.
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
    """

    name: str
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

    @property
    def replication_method(self) -> str:
        """INCREMENTAL for a stream with a replication key, else FULL_TABLE."""
        return INCREMENTAL if self.replication_key else FULL_TABLE

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics that feed the stream; none if no metric does."""
        return self.split.names if isinstance(self.split, Metrics) else ()

    @property
    def automatic(self) -> frozenset[str]:
        """The fields that are always emitted: the key and the replication key."""
        return frozenset(self.key) | ({self.replication_key} if self.replication_key else frozenset())

    @property
    def schema(self) -> dict[str, Any]:
        """The stream's JSON schema, every field of it."""
        return load_schema(self.schema_name or self.name)

    def project(self, emitted: Mapping[str, Any]) -> Projection:
        """Return how the stream's pages become records that fit a schema, which has the selected fields only."""
        return Projection(
            Source(
                name=self.schema_name or self.name,
                schema=self.schema,
                emitted=emitted,
                related=self.related,
                finish=self.finish,
                # Events are by far the most rows, so their speed counts.
                keeps_text=not self.metric_names,
            )
        )


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return one of the schema files; treat it as frozen."""
    folder = resources.files("tap_klaviyo").joinpath("streams").joinpath("schemas")
    schema: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))
    return schema
