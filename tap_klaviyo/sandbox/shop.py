"""The collections of an account besides events, profiles, lists and campaigns, made when they are first asked for.

A row of the table in shop_table.py says how each type of resource is made. Attributes follow from contract.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from tap_klaviyo.sandbox.endpoints import STABLE, TYPES
from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.values import make_attributes

MakeId = Callable[[Random, int], str]
Wire = Callable[["Shop", Random], Iterator[Item]]
# What a relationship is set to that Klaviyo leaves out.
ABSENT = "absent"


@dataclass(frozen=True)
class Row:
    """A type of resource.

    Attributes:
        count: how many there are, for an account of usual size; 0 if they follow from their parents.
        make_id: an id of a resource, by its number.
        wire: makes the resources and joins them to others; None if they are joined to nothing.
        first_ids: ids of the first resources, because other data name them.
    """

    count: int
    make_id: MakeId
    wire: Wire | None = None
    first_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Neighbours:
    """What the collections point at.

    Attributes:
        metrics: ids of metrics.
        revenue_metric: the id of the metric that counts orders.
        tags: the tags of the account.
        profiles: ids of profiles.
        lists: ids of lists.
        campaigns: the campaigns of the stable revision.
        messages: their messages.
        ids: returns the ids of another collection of the stable revision.
    """

    metrics: Sequence[str]
    revenue_metric: str
    tags: Sequence[Item]
    profiles: Sequence[str]
    lists: Sequence[str]
    campaigns: Sequence[Item]
    messages: Sequence[Item]
    ids: Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Shop:
    """The collections of one account.

    Attributes:
        seed: the same seed gives the same collections.
        now: epoch seconds; all resources are older.
        table: a row for each type.
        scale: multiplies the counts of the table.
        unknown_attributes: whether some resources have attributes that no document knows.
        neighbours: what the collections point at.
        revision: whose shape the resources have.
    """

    seed: int
    now: int
    table: Mapping[str, Row]
    scale: int
    unknown_attributes: bool
    neighbours: Neighbours = field(compare=False)
    revision: str = STABLE
    _made: dict[str, Sequence[Item]] = field(default_factory=dict, compare=False)

    def items(self, resource_type: str) -> Sequence[Item]:
        """Return all resources of a type, by id."""
        if resource_type not in self._made:
            wire = self.table[resource_type].wire
            random = self.random(resource_type)
            found = self.plain(resource_type, random) if wire is None else wire(self, random)
            self._made[resource_type] = tuple(sorted(found, key=lambda item: item.id))
        return self._made[resource_type]

    @property
    def made(self) -> set[str]:
        """The types that were asked for so far."""
        return set(self._made)

    def random(self, name: str) -> Random:
        """Return the random numbers for a name; each call starts the same sequence."""
        return Random(f"{self.seed} {name}")

    def plain(self, resource_type: str, random: Random, count: int | None = None) -> Iterator[Item]:
        """Yield resources of a type that are not joined to others yet."""
        row = self.table[resource_type]
        total = row.count * self.scale if count is None else count
        for number in range(total):
            first = row.first_ids[number] if number < len(row.first_ids) else ""
            yield self.item(resource_type, number, first or row.make_id(random, number), random)

    def item(self, resource_type: str, number: int, item_id: str, random: Random) -> Item:
        """Return one resource with generated attributes, and relationships that have links only."""
        described = TYPES[self.revision][resource_type]
        attributes = make_attributes(described, self.revision, number, self.now, random)
        if self.unknown_attributes and number % 4 == 2:
            attributes["mood"] = random.choice((None, "calm", {"score": 1.5}, [1, 2]))
        return Item(resource_type, item_id, attributes, dict.fromkeys(described.relationships))

    def ids(self, resource_type: str) -> list[str]:
        """Return the ids of a type."""
        return [item.id for item in self.items(resource_type)]


def changed_item(item: Item, attributes: Mapping[str, Any] | None = None, /, **related: Any) -> Item:
    """Return a resource with other attributes and relationships; `_` in a relationship's name means `-`.

    Filters find the ids of a relationship under its name with `.id`.
    """
    targets = {**item.related, **{name.replace("_", "-"): each for name, each in related.items()}}
    targets = {name: each for name, each in targets.items() if each != ABSENT}
    hidden = {f"{name}.id": each for name, each in targets.items() if each is not None}
    return replace(
        item,
        attributes={**item.attributes, **(attributes or {})},
        related=targets,
        hidden={**item.hidden, **hidden},
    )
