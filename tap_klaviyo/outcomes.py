"""How the streams of a run ended: which are incomplete, which may lack a row, and what that means for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tap_klaviyo.errors import ApiError, AuthError, OfflineError, PlanError, ScopeError, UnavailableError
from tap_klaviyo.log import logger
from tap_klaviyo.reading.plan import Plan
from tap_klaviyo.reading.prefetch import Failure
from tap_klaviyo.reading.tally import Tally

# Errors of one stream that are logged: each of many parents can have one.
_MOST_PROBLEMS = 20


class Outcomes:
    """How the streams of one run ended; what ends one stream ends no other."""

    def __init__(self) -> None:
        """Begin before the first stream."""
        self.failed: list[str] = []
        self._scopes_named: set[str] = set()
        # The streams that were not read to their end, and those of which a row may have been missed.
        self._incomplete: set[str] = set()
        self._uncertain: set[str] = set()
        # By stream: digests of what decides which rows of other streams belong to its rows, by id.
        self._definitions: dict[str, Mapping[str, str]] = {}

    def read_alone(self, plan: Plan, tally: Tally, read: Callable[[Plan, Tally], None]) -> None:
        """Read a stream, so that what Klaviyo refuses ends this stream and no other.

        Raises:
            AuthError, OfflineError: nothing else can be read either.
        """
        try:
            read(plan, tally)
        except (AuthError, OfflineError):
            raise
        except PlanError as problem:
            self._uncertain.add(plan.stream.name)
            logger.warning("%s: skipped, since this account does not have it. %s", plan.stream.name, problem)
        except ScopeError as problem:
            tally.lacks_scope = True
            self._name_scope(problem)
        except ApiError as problem:
            tally.problems.append(f"{problem} The other streams continue.")

    def _name_scope(self, problem: ScopeError) -> None:
        """Log a missing scope once, however many streams need it; the run's last line names these."""
        if str(problem) not in self._scopes_named:
            self._scopes_named.add(str(problem))
            logger.error("%s Streams that need it are skipped; the others continue.", problem)

    def has_parents(self, plan: Plan, tally: Tally) -> bool:
        """Return whether the rows that a stream is read for are known; if not, something of it may be missing."""
        parent = plan.stream.parent
        if parent is None:
            return True
        problems = len(tally.problems)
        if parent.stream in self._incomplete:
            tally.problems.append(f"It is read for each row of {parent.stream}, which could not be read completely.")
        elif tally.parents_gone and not tally.parents:
            tally.problems.append(
                f"Klaviyo answers 404 for every row of {parent.stream}, so whether it has rows is unknown."
            )
        if parent.stream in self._uncertain:
            self._uncertain.add(plan.stream.name)
        return len(tally.problems) == problems

    def parents_of(self, plan: Plan) -> Mapping[str, str]:
        """Return digests of the definitions of the parents that a stream's rows belong to, by id."""
        return self._definitions.get(plan.stream.parent.stream, {}) if plan.stream.parent else {}

    def settle(self, plan: Plan, tally: Tally, is_certain: bool) -> None:
        """Keep what a stream's rows mean for the streams that are read for them."""
        self._definitions[plan.stream.name] = tally.definitions
        if not is_certain:
            self._uncertain.add(plan.stream.name)

    def is_certain(self, plan: Plan, tally: Tally) -> bool:
        """Return whether every row of a stream was read, so that the target may remove the others."""
        return not tally.problems and not tally.denied and plan.stream.name not in self._uncertain

    def report(self, plan: Plan, tally: Tally) -> None:
        """Log what a stream's reading showed, once, and note it if something is missing."""
        name = plan.stream.name
        if summary := tally.findings.summary():
            logger.warning("%s: %s.", name, summary)
        for sentence in tally.left_over:
            logger.info("%s: %s", name, sentence)
        for metric in sorted(tally.denied):
            tally.problems.append(
                f"Klaviyo lists the metric {metric}, but says that it does not exist. Once Klaviyo serves it, its "
                "events are read from start_date."
            )
        if self.note_problems(plan, tally):
            self.failed.append(name)

    def note_problems(self, plan: Plan, tally: Tally) -> bool:
        """Log what kept a stream from being read to its end, and return whether something did."""
        for problem in tally.problems[:_MOST_PROBLEMS]:
            logger.error("%s: %s", plan.stream.name, problem)
        if left := len(tally.problems[_MOST_PROBLEMS:]):
            logger.error("%s: %d more errors like these.", plan.stream.name, left)
        is_incomplete = bool(tally.problems) or tally.lacks_scope
        if is_incomplete:
            self._incomplete.add(plan.stream.name)
        return is_incomplete


def judge_failure(problem: BaseException) -> Failure:
    """Return what the error of one request means for the others."""
    if isinstance(problem, AuthError | OfflineError):
        return Failure.FATAL
    return Failure.PASSING if isinstance(problem, UnavailableError) else Failure.LASTING
