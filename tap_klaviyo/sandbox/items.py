"""Resources as values, and how the API writes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tap_klaviyo.sandbox.endpoints import STABLE, TYPES, collection_name
from tap_klaviyo.sandbox.templates import restrict_fields

# Relationships that name their resources only where these are included. Recorded for those of lists, campaigns, flows,
# catalog items and push tokens; assumed for the others.
_ONLY_INCLUDED = frozenset(
    {
        *("campaign-audiences", "conversations", "current-schema", "draft-schema", "events", "flow-actions"),
        *("flow-triggers", "metrics", "push-tokens", "tags", "variants", "webhook-topics"),
    }
)
# Relationships of one type that have links only, or name their resource only where it is included.
_UNNAMED = frozenset(
    {("catalog-category", "items"), ("catalog-variant", "item"), ("coupon-code", "profile"), ("push-token", "profile")}
)


@dataclass(frozen=True)
class Item:
    """A resource: its attributes, and by relationship the ids it points at (one, several, or None for links alone).

    A relationship to one resource is "" if it names none. `hidden` holds what filters and sorts know of the resource
    besides its attributes.
    """

    type: str
    id: str
    attributes: Mapping[str, Any]
    related: Mapping[str, str | tuple[str, ...] | None] = field(default_factory=dict)
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return what a filter or a sort calls by a name, such as `id` or `messages.channel`; None if unknown."""
        if name in ("id", "ids"):
            return self.id
        if name in self.hidden:
            return self.hidden[name]
        found: Any = self.attributes
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


def render_item(
    item: Item,
    origin: str,
    include: Collection[str],
    fields: Collection[str] | None,
    left_out: Collection[str] = (),
    revision: str = STABLE,
) -> dict[str, Any]:
    """Return a resource as the API gives it; a sparse fieldset drops the relationships.

    Args:
        item: the resource.
        origin: what links begin with.
        include: the relationships whose resources come along.
        fields: the sparse fieldset, None for all attributes.
        left_out: attributes that come only on request, and were not requested.
        revision: of the API.
    """
    own = f"{origin}/api/{collection_name(item.type)}/{item.id}"
    attributes = {name: value for name, value in item.attributes.items() if name not in left_out}
    described = TYPES[revision][item.type]
    resource: dict[str, Any] = {"type": item.type, "id": item.id}
    if described.attributes.get("properties"):
        resource["attributes"] = restrict_fields(attributes, fields)
    if fields is None and item.related:
        types = described.relationships
        resource["relationships"] = {
            name: _render_relationship(own, name, types[name].type, target, _is_named(item.type, name, include))
            for name, target in item.related.items()
        }
    return {**resource, "links": {"self": f"{own}/"}}


def _is_named(resource_type: str, name: str, include: Collection[str]) -> bool:
    return name in include or not (name in _ONLY_INCLUDED or (resource_type, name) in _UNNAMED)


def _render_relationship(
    own: str, name: str, kind: str, target: str | tuple[str, ...] | None, named: bool
) -> dict[str, Any]:
    links = {"links": {"self": f"{own}/relationships/{name}/", "related": f"{own}/{name}/"}}
    if target is None or not named:
        return links
    if isinstance(target, str):
        return {"data": {"type": kind, "id": target} if target else None, **links}
    return {"data": [{"type": kind, "id": each} for each in target], **links}
