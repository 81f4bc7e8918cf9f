"""The current collections of an account, after changes and deletions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tap_klaviyo.sandbox.canvas_table import with_base
from tap_klaviyo.sandbox.endpoints import OMNICHANNEL, STABLE
from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.shop import Shop, changed_item
from tap_klaviyo.sandbox.shop_table import gone_parent

Changes = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True)
class Holdings:
    """All resources of an account except events and profiles.

    Attributes:
        own: the resources that the account stores itself, such as lists.
        shop: the other collections of the stable revision.
        canvas: the collections that revision 2026-10-15 added or changed.
        changes: by id of a resource of the shop or canvas, the attributes that changed, None if it was deleted.
        gone_list: a listed list whose members return 404; None if every parent works.
    """

    own: Mapping[str, Sequence[Item]]
    shop: Shop
    canvas: Shop
    changes: Changes
    gone_list: str | None

    def items_of(self, resource_type: str, revision: str = STABLE) -> Sequence[Item]:
        """Return all resources of a type in order of their ids. Events and profiles are not included."""
        key = resource_type, self._shop_of(resource_type, revision).revision
        if key not in self._items:
            self._items[key] = tuple(self._current_items(*key))
        return self._items[key]

    @cached_property
    def _items(self) -> dict[tuple[str, str], Sequence[Item]]:
        return {}

    def _shop_of(self, resource_type: str, revision: str) -> Shop:
        return self.canvas if revision == OMNICHANNEL and resource_type in self.canvas.table else self.shop

    def _current_items(self, resource_type: str, revision: str) -> Iterable[Item]:
        if revision == STABLE and resource_type in self.own:
            return self.own[resource_type]
        if resource_type in ("event", "profile"):
            return ()
        items = [
            changed_item(item, self.changes.get(item.id) or {})
            for item in self._shop_of(resource_type, revision).items(resource_type)
            if self.changes.get(item.id, {}) is not None
        ]
        return items if revision == STABLE else self._with_campaigns(items)

    def _with_campaigns(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield canvas resources updated from the current campaigns, skipping deleted ones."""
        kept = {item.id: item for item in self.own["campaign"]}
        deleted = {item.id for item in self.canvas.neighbours.campaigns} - kept.keys()
        for item in items:
            if item.id in kept:
                yield with_base(item, kept[item.id])
            elif item.id not in deleted and item.hidden.get("campaign.id") not in deleted:
                yield item

    def children(self, resource_type: str, parent_type: str, revision: str = STABLE) -> Mapping[str, Sequence[Item]]:
        """Return the resources of a type, grouped by parent id."""
        key = resource_type, parent_type, revision
        if key not in self._children:
            found: dict[str, list[Item]] = {}
            for item in self.items_of(resource_type, revision):
                found.setdefault(item.hidden[f"{parent_type}.id"], []).append(item)
            self._children[key] = found
        return self._children[key]

    @cached_property
    def _children(self) -> dict[tuple[str, str, str], dict[str, list[Item]]]:
        return {}

    def item(self, resource_type: str, resource_id: str, revision: str = STABLE) -> Item | None:
        """Return a resource by its id, or None."""
        key = resource_type, revision
        if key not in self._by_id:
            self._by_id[key] = {item.id: item for item in self.items_of(resource_type, revision)}
        return self._by_id[key].get(resource_id)

    @cached_property
    def _by_id(self) -> dict[tuple[str, str], dict[str, Item]]:
        return {}

    def is_gone(self, resource_type: str, resource_id: str, revision: str = STABLE) -> bool:
        """Return whether a listed parent's children return 404."""
        if self.gone_list is None:
            return False
        if resource_type == "list":
            return resource_id == self.gone_list
        return resource_id == gone_parent(self._shop_of(resource_type, revision), resource_type)
