"""Decoding pages in a test in the way that odd ones are decoded."""

from __future__ import annotations

from tap_klaviyo.klaviyo.jsonapi import PageDecoder
from tap_klaviyo.klaviyo.resources import plain_resource
from tap_klaviyo.records.projection import Projection


def plain_decoder(projection: Projection) -> PageDecoder:
    """Return a decoder that leaves all attributes as bytes, with the relationships that a projection asks for."""
    inner = {each.relationship for related in projection.related for each in related.related}
    return PageDecoder(plain_resource(projection.relationships), plain_resource(inner))
