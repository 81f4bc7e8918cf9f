"""The profiles of an account over time: when each was updated, and when it joined its lists and segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from tap_klaviyo.sandbox import population
from tap_klaviyo.sandbox.rankings import Ranking

_DAY = 86_400
# How far members' joins reach into the past, and into the future.
_JOINED_BEFORE, _JOINED_AFTER = 500 * _DAY, 10 * _DAY
# How long after the account's `now` the last newcomers appear.
_ARRIVING = 14 * _DAY


@dataclass(frozen=True)
class People:
    """The profiles of one account.

    Attributes:
        salt: makes the members of two accounts differ.
        start: where the account's events begin, in epoch seconds.
        now: when the account was made, in epoch seconds.
        population: how many profiles events can name.
        newcomers: how many more there are. They become visible when they are updated, between `start` and two weeks
            after `now`.
        updates: by profile, the epoch second of its last update, if that is not the usual one.
        joins: by list or segment and profile, the epoch second at which it joined, None if it left.
        deleted: profiles that were deleted besides the usual ones. Events still name them.
    """

    salt: int
    start: int
    now: int
    population: int
    newcomers: int
    updates: Mapping[int, int] = field(default_factory=dict)
    joins: Mapping[str, Mapping[int, int | None]] = field(default_factory=dict)
    deleted: frozenset[int] = frozenset()

    def is_deleted(self, profile: int) -> bool:
        """Return whether a profile was deleted."""
        return population.is_deleted(profile) or profile in self.deleted

    def moments(self, profile: int) -> tuple[int, int]:
        """Return when a profile was created and last updated, in epoch seconds."""
        created, updated = population.usual_moments(profile)
        if profile >= self.population:
            # The updates are spread over the time, but not in the order of the profiles.
            place = (profile - self.population) * 0x9E3779B1 % max(1, self.newcomers)
            updated = self.start + (self.now + _ARRIVING - self.start) * place // max(1, self.newcomers)
            created = updated - place % 30 * _DAY
        return created, self.updates.get(profile, updated)

    def existing(self, now: float, first: int = 0) -> Iterator[int]:
        """Yield the profiles that the API shows at a time (epoch seconds), ascending from a number."""
        return (each for each in self._kept(first) if each < self.population or self.moments(each)[1] <= now)

    def _kept(self, first: int = 0) -> Iterator[int]:
        """Yield the profiles that are not deleted, ascending from a number."""
        everyone = population.profiles_from(self.population + self.newcomers, first)
        return (each for each in everyone if each not in self.deleted) if self.deleted else everyone

    @cached_property
    def by_update(self) -> Ranking:
        """All profiles, by the time of their last update."""
        return Ranking({each: population.updated_micro(each, self.moments(each)[1]) for each in self._kept()})

    def members(self, group_id: str) -> Ranking:
        """Return the members of a list or segment, by the time at which they joined."""
        if group_id not in self._members:
            joined: dict[int, int | None] = {**self._usual_members(group_id), **self.joins.get(group_id, {})}
            there = {number: second for number, second in joined.items() if number not in self.deleted}
            micros = {number: second * 1_000_000 for number, second in there.items() if second is not None}
            self._members[group_id] = Ranking(micros)
        return self._members[group_id]

    @cached_property
    def _members(self) -> dict[str, Ranking]:
        return {}

    def _usual_members(self, group_id: str) -> dict[int, int]:
        random = Random(f"{self.salt} {group_id}")
        everyone = self.population + self.newcomers
        # Some groups have no members, some a few, some more than a page, and one in six has everybody.
        size = random.choice((0, 3, 130, everyone // 10, everyone // 3, everyone))
        joined = {}
        for number in random.sample(range(everyone), min(size, everyone)):
            second = random.randrange(self.now - _JOINED_BEFORE, self.now + _JOINED_AFTER)
            if not population.is_deleted(number):
                # Nobody joins before the API shows the profile.
                joined[number] = max(second, self.moments(number)[1]) if number >= self.population else second
        return joined
