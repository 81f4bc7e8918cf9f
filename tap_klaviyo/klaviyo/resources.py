"""JSON:API resources as types, with the attributes left as bytes or decoded to a given type."""

from __future__ import annotations

from typing import Annotated, cast

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


class Relationships(Struct, rename="kebab", gc=False):
    """The relationships that records are made by, of all kinds of resources."""

    profile: Relationship | None = None
    attributions: Relationship | None = None
    tags: Relationship | None = None
    campaign_messages: Relationship | None = None
    template: Relationship | None = None
    image: Relationship | None = None
    event: Relationship | None = None
    attributed_event: Relationship | None = None
    campaign: Relationship | None = None
    campaign_message: Relationship | None = None
    flow: Relationship | None = None
    flow_message: Relationship | None = None
    flow_message_variation: Relationship | None = None


class Identified(Struct, gc=False):
    """What resources of all types have."""

    id: Id
    relationships: Relationships | None = None

    def one(self, name: str) -> str | None:
        """Return the id that a to-one relationship points at."""
        found = self.ids(name)
        return found[0] if found else None

    def ids(self, name: str) -> list[str]:
        """Return the ids that a relationship points at, to one or to many."""
        data = getattr(getattr(self.relationships, name, None), "data", None)
        if isinstance(data, list):
            return [each.id for each in data]
        return [data.id] if data else []


class Resource(Identified, gc=False):
    """One resource of `data` or `included`, of any type."""

    type: str = ""
    attributes: Raw = Raw(b"{}")


def typed_resource(attributes: type[Struct], kind: str | None = None) -> type[Resource]:
    """Return the type of resources whose attributes are decoded straight to a Struct, of one JSON:API type or any."""
    fields = [("attributes", attributes, msgspec.field(default_factory=attributes))]
    return cast(
        type[Resource],
        msgspec.defstruct(
            "TypedResource",
            fields,
            bases=(Identified,),
            namespace={"type": kind or ""},
            tag_field="type" if kind else None,
            tag=kind,
            gc=False,
        ),
    )
