"""JSON:API resources as types, with the attributes left as bytes or decoded to a given type.

A type has only the relationships that it was made with. The decoder skips all others, and asking for one raises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, cast

import msgspec
from msgspec import Meta, Raw, Struct

# An id is what a row is known by, so an empty text is not one.
Id = Annotated[str, Meta(min_length=1)]


class Identifier(Struct, gc=False):
    """A resource's id, as relationships name it."""

    id: Id


class Relationship(Struct, gc=False):
    """The resources that a relationship points at; None where the API gives only links."""

    data: Identifier | list[Identifier] | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of these resources."""
        if isinstance(self.data, list):
            return [each.id for each in self.data]
        return [self.data.id] if self.data else []


@dataclass(frozen=True)
class Declared:
    """The relationships that a type of resources was made with.

    Args:
        fields: their names on the Struct, by their names in JSON:API.
        struct: what a resource's "relationships" are decoded as; None without any.
    """

    fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    struct: type[Struct] | None = None


class Identified(Struct, gc=False):
    """What resources of all types have."""

    id: Id
    declared: ClassVar[Declared] = Declared()


class Resource(Identified, gc=False):
    """One resource of `data` or `included`, of any type."""

    type: str = ""
    attributes: Raw = Raw(b"{}")


class UndeclaredRelationshipError(LookupError):
    """Resources are asked for a relationship that their type was not made with."""


def plain_resource(relationships: Collection[str], kind: str | None = None) -> type[Resource]:
    """Return the type of resources that keep any attributes as bytes, with these relationships.

    Args:
        relationships: their names, as JSON:API has them.
        kind: the JSON:API type of the resources; None for any.
    """
    if kind is None:
        return _resource_type(Resource, [], relationships, {})
    attributes = [("attributes", Raw, Raw(b"{}"))]
    return _resource_type(Identified, attributes, relationships, {"type": kind}, tag_field="type", tag=kind)


def typed_resource(
    attributes: type[Struct], kind: str | None = None, relationships: Collection[str] = ()
) -> type[Resource]:
    """Return a type of resources whose attributes are decoded straight to a Struct.

    Args:
        attributes: the Struct.
        kind: the JSON:API type of the resources; None for any.
        relationships: the names of the relationships that are decoded, as JSON:API has them.
    """
    fields = [("attributes", attributes, msgspec.field(default_factory=attributes))]
    tag = {"tag_field": "type", "tag": kind} if kind else {}
    return _resource_type(Identified, fields, relationships, {"type": kind or ""}, **tag)


def _resource_type(
    base: type[Identified],
    fields: list[tuple[str, Any, Any]],
    relationships: Collection[str],
    namespace: dict[str, Any],
    **options: Any,
) -> type[Resource]:
    declared = _declare_relationships(relationships)
    if declared.struct:
        fields = [*fields, ("relationships", declared.struct | None, None)]
    namespace = {**namespace, "declared": declared}
    made = msgspec.defstruct("Resource", fields, bases=(base,), namespace=namespace, gc=False, **options)
    return cast(type[Resource], made)


def _declare_relationships(relationships: Collection[str]) -> Declared:
    if not relationships:
        return Declared()
    names = {name: name.replace("-", "_") for name in sorted(relationships)}
    parts = [(each, Relationship | None, msgspec.field(default=None, name=name)) for name, each in names.items()]
    return Declared(MappingProxyType(names), msgspec.defstruct("Relationships", parts, gc=False))


def related_ids(resources: Sequence[Resource], relationship: str) -> list[Sequence[str]]:
    """Return the ids that a relationship of each of the resources points at, to one or to many.

    Args:
        resources: of types that were made with the relationship.
        relationship: its name, as JSON:API has it.

    Raises:
        UndeclaredRelationshipError: a type was made without it, so it was not decoded.
    """
    for kind in {type(each) for each in resources}:
        if relationship not in kind.declared.fields:
            raise UndeclaredRelationshipError(
                f'The relationship "{relationship}" is not declared; name it in `related` in the row of the stream.'
            )
    if not resources:
        return []
    name = resources[0].declared.fields[relationship]
    id_of, ids_of = attrgetter(f"relationships.{name}.data.id"), attrgetter(f"relationships.{name}.ids")
    found: list[Sequence[str]] = []
    for resource in resources:
        try:
            found.append((id_of(resource),))
        except AttributeError:  # it points at none, or at many
            found.append(_ids_of(ids_of, resource))
    return found


def _ids_of(ids_of: attrgetter[list[str]], resource: Resource) -> Sequence[str]:
    try:
        return ids_of(resource)
    except AttributeError:  # there are no relationships, or not this one
        return ()
