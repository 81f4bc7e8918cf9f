"""THE TABLE of the shop's collections: the number of resources of each type, their ids, and how they are joined.

A flow message belongs to an action that sends, a coupon code to a coupon, a review to a catalog item.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from uuid import UUID

from tap_klaviyo.sandbox.items import Item
from tap_klaviyo.sandbox.metrics import BASE58
from tap_klaviyo.sandbox.shop import ABSENT, MakeId, Row, Shop, changed_item

# The ids that the properties of events name.
NAMED_FLOW, NAMED_FORM, NAMED_GROUP = "XyZ123", "AbC123", "Y6nRLr"
# The most resources that a page includes of one kind; those of flows with more actions are cut short.
MOST_INCLUDED = 50
SENDING_ACTIONS = frozenset(
    {"send-email", "send-mobile-push", "send-sms", "send-webhook", "send-internal-alert", "send-whatsapp"}
)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PROPERTIES = ("$value", "Items", "Größe der Schuhe", "$event_id", "nested.key")


def make_short_id(random: Random, number: int) -> str:
    """Return an id of six characters."""
    return "".join(random.choices(BASE58, k=6))


def _digits_id(random: Random, number: int) -> str:
    return str(90_000_000 + number * 977)


def make_ulid(random: Random, number: int) -> str:
    """Return an id like those of Klaviyo's newer resources."""
    return "01J" + "".join(random.choices(_CROCKFORD, k=23))


def _uuid_id(random: Random, number: int) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def _catalog_id(prefix: str) -> MakeId:
    return lambda random, number: f"$custom:::$default:::{prefix}-{number}"


def _coupon_id(random: Random, number: int) -> str:
    return f"coupon_{number}"


def _hex_id(random: Random, number: int) -> str:
    return f"{random.getrandbits(128):032x}"


def some_ids(random: Random, ids: Sequence[str], most: int) -> tuple[str, ...]:
    """Return a few of the ids, `most` or fewer."""
    return tuple(random.sample(list(ids), min(len(ids), random.randint(0, most))))


def _make_tags(shop: Shop, random: Random) -> Iterator[Item]:
    groups = shop.ids("tag-group")
    for number, tag in enumerate(shop.neighbours.tags):
        yield changed_item(tag, tag_group=groups[number % len(groups)])


def _tag_groups(shop: Shop, random: Random) -> Iterator[Item]:
    for number, group in enumerate(shop.plain("tag-group", random)):
        yield changed_item(group, {"default": number == 0}, tags=None)


def _make_segments(shop: Shop, random: Random) -> Iterator[Item]:
    tags = [tag.id for tag in shop.neighbours.tags]
    flows = shop.ids("flow")
    for number, segment in enumerate(shop.plain("segment", random)):
        yield changed_item(
            segment, tags=some_ids(random, tags, 3), flow_triggers=tuple(flows[number : number + 1][number % 3 :])
        )


def _make_flows(shop: Shop, random: Random) -> Iterator[Item]:
    tags = [tag.id for tag in shop.neighbours.tags]
    actions: dict[str, list[str]] = {}
    for action in shop.items("flow-action"):
        actions.setdefault(str(action.related["flow"]), []).append(action.id)
    for number, flow in enumerate(_bare_flows(shop)):
        state = {"archived": number % 5 == 4, "status": ("live", "draft", "manual", None)[number % 4]}
        own = tuple(actions.get(flow.id, ()))
        yield changed_item(flow, state, tags=some_ids(random, tags, 3), flow_actions=own)


def _bare_flows(shop: Shop) -> Iterator[Item]:
    # Flows and their actions name each other; both are made from these flows, which do not name actions yet.
    return shop.plain("flow", shop.random("flow"))


def _flow_actions(shop: Shop, random: Random) -> Iterator[Item]:
    number = 0
    for place, flow in enumerate(_bare_flows(shop)):
        # One flow has more actions than a page includes, one has none.
        for _ in range(MOST_INCLUDED + 12 if place == 5 else 0 if place == 6 else 1 + place % 5):
            action = shop.item("flow-action", number, _digits_id(random, number), random)
            definition = action.attributes["definition"]
            if definition is not None:
                definition = {**definition, "id": action.id}
            yield changed_item(action, {"definition": definition}, flow=flow.id)
            number += 1


def is_sending(action: Item) -> bool:
    """Return whether a flow action sends messages."""
    definition = action.attributes["definition"]
    return definition is not None and definition["type"] in SENDING_ACTIONS


def _flow_messages(shop: Shop, random: Random) -> Iterator[Item]:
    templates = shop.ids("template")
    number = 0
    for action in filter(is_sending, shop.items("flow-action")):
        for _ in range(1 + number % 3 // 2):
            message = shop.item("flow-message", number, make_short_id(random, number), random)
            template = templates[number % len(templates)] if number % 4 else ""
            yield changed_item(message, flow_action=action.id, template=template)
            number += 1


def _make_forms(shop: Shop, random: Random) -> Iterator[Item]:
    versions: dict[str, list[str]] = {}
    for version in shop.items("form-version"):
        versions.setdefault(str(version.related["form"]), []).append(version.id)
    for form in _bare_forms(shop):
        yield changed_item(form, form_versions=tuple(versions.get(form.id, ())))


def _bare_forms(shop: Shop) -> Iterator[Item]:
    return shop.plain("form", shop.random("form"))


def _form_versions(shop: Shop, random: Random) -> Iterator[Item]:
    number = 0
    for place, form in enumerate(_bare_forms(shop)):
        for _ in range(place % 4):
            yield changed_item(shop.item("form-version", number, _digits_id(random, number), random), form=form.id)
            number += 1


def _catalog_items(shop: Shop, random: Random) -> Iterator[Item]:
    variants: dict[str, list[str]] = {}
    for variant in shop.items("catalog-variant"):
        variants.setdefault(str(variant.related["item"]), []).append(variant.id)
    for item in _bare_catalog_items(shop):
        external = {"external_id": item.id.rsplit(":::", 1)[1]}
        categories = tuple(
            each.id for each in shop.items("catalog-category") if item.id in (each.related["items"] or ())
        )
        made = changed_item(item, external, variants=tuple(variants.get(item.id, ())))
        yield replace(made, hidden={**made.hidden, "category.id": categories})


def _bare_catalog_items(shop: Shop) -> Iterator[Item]:
    return shop.plain("catalog-item", shop.random("catalog-item"))


def _catalog_variants(shop: Shop, random: Random) -> Iterator[Item]:
    number = 0
    for place, item in enumerate(_bare_catalog_items(shop)):
        for _ in range(place % 4):
            variant = shop.item("catalog-variant", number, _catalog_id("VARIANT")(random, number), random)
            yield changed_item(variant, {"external_id": variant.id.rsplit(":::", 1)[1]}, item=item.id)
            number += 1


def _catalog_categories(shop: Shop, random: Random) -> Iterator[Item]:
    items = [item.id for item in _bare_catalog_items(shop)]
    for number, category in enumerate(shop.plain("catalog-category", random)):
        # The first category has all items, the second has none.
        members = items if number == 0 else random.sample(items, 0 if number == 1 else len(items) // (number + 1))
        external = {"external_id": category.id.rsplit(":::", 1)[1]}
        made = changed_item(category, external, items=tuple(sorted(members)))
        yield replace(made, hidden={"created": category.attributes["updated"], "item.id": made.related["items"]})


def _make_coupons(shop: Shop, random: Random) -> Iterator[Item]:
    for coupon in shop.plain("coupon", random):
        yield changed_item(coupon, {"external_id": coupon.id})


def _coupon_codes(shop: Shop, random: Random) -> Iterator[Item]:
    profiles = shop.neighbours.profiles
    number = 0
    for place, coupon in enumerate(shop.items("coupon")):
        for _ in range((0, 3, 130)[place % 3]):
            code = "".join(random.choices(BASE58, k=10))
            made = shop.item("coupon-code", number, f"{coupon.id}-{code}", random)
            yield changed_item(made, {"unique_code": code}, coupon=coupon.id, profile=random.choice(profiles))
            number += 1


def _custom_metrics(shop: Shop, random: Random) -> Iterator[Item]:
    metrics = shop.neighbours.metrics
    for number, custom in enumerate(shop.plain("custom-metric", random)):
        own = tuple(random.sample(list(metrics), 1 + number % 3))
        groups = [{"metric_id": each, "metric_filters": None, "value_property": "$value"} for each in own]
        definition = {"aggregation_method": ("count", "value")[number % 2], "metric_groups": groups}
        yield changed_item(custom, {"definition": definition}, metrics=own)


def _mapped_metrics(shop: Shop, random: Random) -> Iterator[Item]:
    names = (
        *("added_to_cart", "cancelled_sales", "ordered_product", "refunded_sales", "revenue"),
        *("started_checkout", "viewed_product"),
    )
    metrics, custom = shop.neighbours.metrics, shop.ids("custom-metric")
    for number, name in enumerate(names):
        made = shop.item("mapped-metric", number, name, random)
        # A mapping names a metric, or a custom metric, or nothing.
        if name == "revenue":
            yield changed_item(made, metric=shop.neighbours.revenue_metric, custom_metric=ABSENT)
        elif number % 3 == 0:
            yield changed_item(made, metric=metrics[number % len(metrics)], custom_metric=ABSENT)
        elif number % 3 == 1:
            yield changed_item(made, metric=ABSENT, custom_metric=custom[number % len(custom)])
        else:
            yield changed_item(made, metric=ABSENT, custom_metric=ABSENT)


def _metric_properties(shop: Shop, random: Random) -> Iterator[Item]:
    for place, metric in enumerate(shop.neighbours.metrics):
        for name in _PROPERTIES[: place % 6]:
            encoded = base64.b64encode(f"{metric}.{name}".encode()).decode()
            made = shop.item("metric-property", place, encoded, random)
            described = {"label": name, "property": name, "inferred_type": ("string", "number", "list")[place % 3]}
            yield changed_item(made, {**described, "sample_values": None}, metric=metric)


def _object_types(shop: Shop, random: Random) -> Iterator[Item]:
    schemas = shop.ids("object-schema")
    for number, made in enumerate(shop.plain("object-type", random)):
        yield changed_item(made, current_schema=schemas[number], draft_schema=ABSENT if number % 2 else schemas[number])


def _object_schemas(shop: Shop, random: Random) -> Iterator[Item]:
    return shop.plain("object-schema", random, shop.table["object-type"].count * shop.scale)


def _object_records(shop: Shop, random: Random) -> Iterator[Item]:
    for place, parent in enumerate(shop.ids("object-type")):
        for number in range((130, 0, 7, 1)[place % 4]):
            made = shop.item("object-record", number, f"{parent}:::{number:04}", random)
            yield replace(made, hidden={"object-type.id": parent})


def _push_tokens(shop: Shop, random: Random) -> Iterator[Item]:
    profiles = shop.neighbours.profiles
    for token in shop.plain("push-token", random):
        yield changed_item(token, profile=random.choice(profiles))


def _make_reviews(shop: Shop, random: Random) -> Iterator[Item]:
    items = shop.ids("catalog-item")
    for number, review in enumerate(shop.plain("review", random)):
        made = changed_item(review, item=items[number % len(items)] if number % 5 else ABSENT)
        status = (review.attributes["status"] or {}).get("value")
        yield replace(made, hidden={**made.hidden, "status": ("all", status) if status else "all"})


def _make_webhooks(shop: Shop, random: Random) -> Iterator[Item]:
    topics = shop.ids("webhook-topic")
    for number, webhook in enumerate(shop.plain("webhook", random)):
        yield changed_item(webhook, webhook_topics=tuple(topics[: number * 2]))


def _webhook_topics(shop: Shop, random: Random) -> Iterator[Item]:
    for topic in shop.plain("webhook-topic", random):
        yield replace(topic, id=f"event:klaviyo.{topic.id[:8]}")


THE_TABLE: Mapping[str, Row] = {
    "catalog-category": Row(8, _catalog_id("CAT"), _catalog_categories),
    "catalog-item": Row(130, _catalog_id("ITEM"), _catalog_items),
    "catalog-variant": Row(0, _catalog_id("VARIANT"), _catalog_variants),
    "coupon": Row(6, _coupon_id, _make_coupons),
    "coupon-code": Row(0, _coupon_id, _coupon_codes),
    "custom-metric": Row(6, make_ulid, _custom_metrics),
    "data-source": Row(3, make_ulid),
    "flow": Row(60, make_short_id, _make_flows, (NAMED_FLOW,)),
    "flow-action": Row(0, _digits_id, _flow_actions),
    "flow-message": Row(0, make_short_id, _flow_messages),
    "form": Row(24, make_short_id, _make_forms, (NAMED_FORM,)),
    "form-version": Row(0, _digits_id, _form_versions),
    "image": Row(130, _digits_id),
    "mapped-metric": Row(7, make_short_id, _mapped_metrics),
    "metric-property": Row(0, _hex_id, _metric_properties),
    "object-record": Row(0, make_ulid, _object_records),
    "object-schema": Row(0, make_ulid, _object_schemas),
    "object-type": Row(4, make_ulid, _object_types),
    "push-token": Row(45, _hex_id, _push_tokens),
    "review": Row(60, _digits_id, _make_reviews),
    "segment": Row(23, make_short_id, _make_segments, (NAMED_GROUP,)),
    "tag": Row(0, _uuid_id, _make_tags),
    "tag-group": Row(3, _uuid_id, _tag_groups),
    "template": Row(31, make_short_id),
    "template-universal-content": Row(22, make_ulid),
    "tracking-setting": Row(1, make_short_id, first_ids=("AbC123",)),
    "web-feed": Row(7, make_ulid),
    "webhook": Row(3, make_ulid, _make_webhooks),
    "webhook-topic": Row(6, _hex_id, _webhook_topics),
}


def gone_parent(shop: Shop, resource_type: str) -> str:
    """Return the id of the parent of a type that is listed although its children answer 404."""
    match resource_type:
        case "metric":
            return shop.neighbours.metrics[-1]
        case "flow":
            # Flows bring their actions along, so that the loss of others would depend on how they are read.
            return next(flow.id for flow in shop.items("flow") if not flow.related["flow-actions"])
        case "flow-action":
            return [action.id for action in shop.items("flow-action") if is_sending(action)][-1]
        case _:
            return shop.ids(resource_type)[-1]
