"""The exceptions: what each means for the exit code, and for the other requests."""

from __future__ import annotations

import pytest

from tap_klaviyo import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError(["a", "b"]), 2),
        (errors.CatalogError("a"), 2),
        (errors.StateError("a"), 2),
        (errors.OutputError("a"), 1),
        (errors.SyncError("a"), 1),
        (errors.AuthError("a", 401), 1),
        (errors.UnavailableError("a"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_user_is_exit_code_2_and_any_other_1(error: errors.TapError, code: int) -> None:
    assert error.exit_code == code


def test_all_problems_of_a_configuration_are_in_its_message() -> None:
    error = errors.ConfigError(["api_key is missing.", "start_date is missing."])
    assert str(error) == "api_key is missing. start_date is missing."
    assert error.problems == ("api_key is missing.", "start_date is missing.")


def test_an_answer_keeps_its_status_and_a_pipe_why_it_broke() -> None:
    assert errors.RequestError("a", 404).status == 404
    assert errors.UnavailableError("a").status is None
    assert errors.OutputError("a", is_closed_pipe=True).is_closed_pipe
    assert not errors.OutputError("a").is_closed_pipe
