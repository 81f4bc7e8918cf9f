"""The profiles of an account: a profile is a number, and that number determines everything about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tap_klaviyo.sandbox.templates import compile_template, restrict_fields, text_slot, time_stamp, value_slot

REASONS = ("USER_SUPPRESSED", "HARD_BOUNCE", "UNSUBSCRIBE", "INVALID_EMAIL", "SPAM_COMPLAINT")
_BORN = 1_556_668_800
_NAMES = [name.encode() for name in ("Ada", "José", "Zoë", "李", "O'Hara", "Ann-Marie", "Мария", "Bo")]
_DOMAINS = (b"shop.example", b"mail.example", b"xn--bcher-kva.example")

_LOCATION: Mapping[str, Any] = {
    "address1": text_slot("number") + " Main Street",
    "address2": None,
    "city": "Boston",
    "country": "United States",
    "latitude": 42.36,
    "longitude": -71.0589,
    "region": "MA",
    "zip": "02110",
    "timezone": "America/New_York",
    "ip": "203.0.113.7",
}
_USUAL: Mapping[str, Any] = {
    "email": text_slot("email"),
    "phone_number": text_slot("phone"),
    "external_id": "crm-" + text_slot("number"),
    "first_name": text_slot("name"),
    "last_name": "Nº " + text_slot("number"),
    "organization": "Example & Sons",
    "locale": "en-US",
    "title": "Engineer",
    "image": "https://images.example/" + text_slot("number") + ".png",
    "created": text_slot("created"),
    "updated": text_slot("updated"),
    "last_event_date": text_slot("updated"),
    "location": _LOCATION,
    "properties": {
        "$source": -6,
        "Shoe size": 42.5,
        "vip": True,
        "tags": ["a", "b"],
        "note": text_slot("name") + " 👟",
    },
}
_NO_ATTRIBUTES = dict.fromkeys(_USUAL)
VARIANTS: tuple[Mapping[str, Any], ...] = (
    _USUAL,
    {**_USUAL, "phone_number": None, "organization": None, "title": None, "image": None},
    {**_USUAL, "location": {**_LOCATION, "latitude": "42.36", "longitude": "-71.0589", "city": "Köln"}},
    {
        **_USUAL,
        "updated": text_slot("precise"),
        "last_event_date": text_slot("precise"),
        "properties": {"a\0b": "c\0d", "literal": "\\u0000", "account": 36893488147419103232, "deep": [[1, [2.5]]]},
    },
    {**_USUAL, "properties": {}, "location": {**dict.fromkeys(_LOCATION), "country": "Perú"}, "external_id": None},
    # Only a phone number.
    {
        **_NO_ATTRIBUTES,
        "created": text_slot("created"),
        "location": dict.fromkeys(_LOCATION),
        "phone_number": text_slot("phone"),
    },
)
_PRECISE = 3
_WITHOUT_EMAIL = len(VARIANTS) - 1
_LINKED = ("lists", "segments", "push-tokens")


@dataclass(frozen=True)
class Suppressed:
    """The suppressions of a profile: `reasons` and `lists`, each with its timestamp as the API writes it."""

    reasons: tuple[tuple[str, str], ...]
    lists: tuple[tuple[str, str, str], ...] = ()


def is_deleted(profile: int) -> bool:
    """Return whether a profile was deleted; events still name it."""
    return profile % 40 == 13


def profile_id(profile: int) -> bytes:
    """Return a profile's id, ascending with its number."""
    return b"01M1PA%08XZ%011X" % (profile, profile * 0x9E3779B97F & 0xFFFFFFFFFFF)


def number_of(profile: bytes) -> int | None:
    """Return the number of the profile with an id, None if no profile can have that id."""
    try:
        number = int(profile[6:14], 16)
    except ValueError:
        return None
    return number if profile_id(number) == profile else None


def email_of(profile: int) -> bytes:
    """Return a profile's e-mail address; all are different."""
    domain = _DOMAINS[profile % 3]
    return b"Person+%d@%b" % (profile, domain) if profile % 11 == 5 else b"person%d@%b" % (profile, domain)


def has_email(profile: int) -> bool:
    """Return whether a profile has an e-mail address."""
    return profile % len(VARIANTS) != _WITHOUT_EMAIL


def profile_template(variant: int, origin: str, fields: Collection[str] | None, extra: Collection[str] = ()) -> bytes:
    """Return the template of a profile; `extra` names attributes that only some requests ask for.

    A sparse fieldset drops the relationships.
    """
    own = f"{origin}/api/profiles/{text_slot('id')}"
    requested = {name: value_slot(name) for name in extra}
    resource: dict[str, Any] = {
        "type": "profile",
        "id": text_slot("id"),
        "attributes": {**restrict_fields(VARIANTS[variant], fields), **restrict_fields(requested, fields)},
        "links": {"self": f"{own}/"},
    }
    if fields is None:
        resource["relationships"] = {
            name: {"links": {"self": f"{own}/relationships/{name}/", "related": f"{own}/{name}/"}} for name in _LINKED
        }
    return compile_template(resource)


def usual_moments(profile: int) -> tuple[int, int]:
    """Return when a profile was created and last updated (epoch seconds), unless its account overrides it."""
    created = _BORN + profile * 61 % 150_000_000
    return created, created + 40_000_000


def updated_micro(profile: int, second: int) -> int:
    """Return the microsecond (since 1970) of the `updated` that a profile shows; 0 if that is null."""
    if profile % len(VARIANTS) == _WITHOUT_EMAIL:
        return 0
    return second * 1_000_000 + (_fraction_of(profile) if profile % len(VARIANTS) == _PRECISE else 0)


def moment_text(profile: int, second: int) -> str:
    """Return the time of a profile's last update (epoch seconds) as the API writes it."""
    moment = time_stamp(second).decode()
    return f"{moment[:19]}.{_fraction_of(profile):06}{moment[19:]}" if profile % len(VARIANTS) == _PRECISE else moment


def _fraction_of(profile: int) -> int:
    return profile * 7919 % 1_000_000


def template_arguments(profile: int, created: int, updated_at: int) -> dict[bytes, bytes]:
    """Return the values for a profile's template."""
    number = b"%d" % profile
    updated = time_stamp(updated_at)
    filled = {
        b"id": profile_id(profile),
        b"number": number,
        b"email": email_of(profile),
        b"phone": b"+1555%07d" % (profile % 10_000_000),
        b"name": _NAMES[profile % 8],
        b"created": time_stamp(created),
        b"updated": updated,
    }
    if profile % len(VARIANTS) == _PRECISE:
        filled[b"precise"] = moment_text(profile, updated_at).encode()
    return filled


def build_suppressions(
    random: Random, count: int, population: int, now: int, lists: list[str]
) -> dict[int, Suppressed]:
    """Return the suppressed profiles by number: with one to three reasons, some also for a single list."""
    able = (number for number in range(population) if has_email(number) and not is_deleted(number))
    return {
        number: _make_suppressed(random, place, now, lists) for place, number in zip(range(count), able, strict=False)
    }


def _make_suppressed(random: Random, place: int, now: int, lists: list[str]) -> Suppressed:
    main = REASONS[place % 10 if place % 10 < len(REASONS) else 0]
    others = [reason for reason in REASONS if reason != main]
    extra = {3: 1, 8: 2}.get(place % 12, 0)
    reasons = tuple(
        (reason, _suppression_time(random, reason, now)) for reason in [main, *random.sample(others, extra)]
    )
    of_lists = (
        [(random.choice(lists), "UNSUBSCRIBE", _suppression_time(random, "", now))] if lists and place % 9 == 2 else []
    )
    return Suppressed(reasons, tuple(of_lists))


def _suppression_time(random: Random, reason: str, now: int) -> str:
    moment = time_stamp(now - random.randint(3600, 100_000_000)).decode()
    # Hard bounces were seen with microseconds, the others without.
    return f"{moment[:19]}.{random.randrange(10**6):06}{moment[19:]}" if reason == "HARD_BOUNCE" else moment


def subscriptions_of(profile: int, suppressed: Suppressed | None) -> dict[str, Any]:
    """Return the attribute for additional-fields[profile]=subscriptions."""
    barred = suppressed is not None
    at = time_stamp(_BORN + profile * 977).decode()
    return {
        "email": {
            "marketing": {
                "can_receive_email_marketing": not barred,
                "consent": "UNSUBSCRIBED" if barred else "SUBSCRIBED",
                "consent_timestamp": at,
                "last_updated": at,
                "method": "API",
                "method_detail": "",
                "custom_method_detail": None,
                "double_optin": profile % 2 == 0,
                "suppression": [] if suppressed is None else [_name_reason(*each) for each in suppressed.reasons],
                "list_suppressions": [] if suppressed is None else [_of_list(*each) for each in suppressed.lists],
            },
            "open_tracking": _consent_object("SUBSCRIBED", True),
        },
        "sms": {
            "marketing": {"can_receive_sms_marketing": False, **_never_subscribed()},
            "transactional": {"can_receive_sms_transactional": False, **_never_subscribed()},
        },
        "mobile_push": {
            "marketing": {"can_receive_push_marketing": False, "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None}
        },
        "whatsapp": {
            name: {**_consent_object("NEVER_SUBSCRIBED", False), "phone_number": None}
            for name in ("marketing", "transactional", "conversational")
        },
    }


def predictive_analytics(profile: int) -> dict[str, Any]:
    """Return the attribute for additional-fields[profile]=predictive_analytics."""
    return {
        "historic_clv": profile * 1.5,
        "predicted_clv": profile * 0.25,
        "total_clv": profile * 1.75,
        "historic_number_of_orders": profile % 9,
        "predicted_number_of_orders": 0.43,
        "average_days_between_orders": 189 if profile % 2 else None,
        "average_order_value": 93.87,
        "churn_probability": 0.89,
        "expected_date_of_next_order": time_stamp(_BORN + profile * 86_400).decode(),
        "ranked_channel_affinity": ["sms", "email", "push"][: profile % 4],
    }


def profiles_from(population: int, start: int = 0) -> Iterator[int]:
    """Yield the profiles that exist, ascending from a number."""
    return (number for number in range(start, population) if not is_deleted(number))


def _name_reason(reason: str, timestamp: str) -> dict[str, str]:
    return {"reason": reason, "timestamp": timestamp}


def _of_list(list_id: str, reason: str, timestamp: str) -> dict[str, str]:
    return {"list_id": list_id, "reason": reason, "timestamp": timestamp}


def _consent_object(consent: str, can_receive: bool) -> dict[str, Any]:
    unknown = ("consent_timestamp", "last_updated", "created_timestamp", "metadata", "valid_until")
    return {"consent": consent, "can_receive": can_receive, **dict.fromkeys(unknown)}


def _never_subscribed() -> dict[str, Any]:
    unknown = ("consent_timestamp", "method", "method_detail", "last_updated")
    return {"consent": "NEVER_SUBSCRIBED", **dict.fromkeys(unknown)}
