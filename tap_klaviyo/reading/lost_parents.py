"""What an error of one parent's page means: it ends no other parent."""

from __future__ import annotations

from dataclasses import replace

from tap_klaviyo.errors import ApiError, GoneError
from tap_klaviyo.reading.batch import NO_ROWS, Batch
from tap_klaviyo.reading.query import Query


def without_parent(query: Query, problem: ApiError) -> Batch:
    """Return the batch of a parent whose rows Klaviyo denies.

    A parent can be deleted (404) before its first page, and between two of its pages.

    Raises:
        ApiError: the query has no parent.
    """
    if not query.parent:
        raise problem
    if isinstance(problem, GoneError):
        return replace(NO_ROWS, parents_gone=query.parent_ids)
    (key, id), *_ = query.parent.items()
    return replace(NO_ROWS, problem=skipped_sentence(problem, key, id), parents_refused=query.parent_ids)


def skipped_sentence(problem: ApiError, kind: str, id: str) -> str:
    """Return the message for a parent whose rows are skipped."""
    return f"{problem} Skipped for the {kind} {id}; the others are read."
