"""The calls on subscription schedules, and what a schedule does by itself when a phase begins."""

from typing import Any

from local.stripe_simulator import changes, discounts, invoices, payments, schedules, subscribing, subscriptions
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import Refused, absent, invalid
from local.stripe_simulator.forms import SPAN, Shape, choice, flag, free, inside, merged, need, text, whole
from local.stripe_simulator.periods import boundary
from local.stripe_simulator.routes import route

PATH, KIND = "/v1/subscription_schedules", "subscription_schedule"
NO_DISCOUNT: Record = {"coupon": None, "discount": None, "promotion_code": None}
BEHAVIORS = choice("always_invoice", "create_prorations", "none")
PHASE: dict[str, Shape] = {
    "automatic_tax": {"enabled": flag},
    "billing_cycle_anchor": choice("automatic", "phase_start"),
    "collection_method": choice("charge_automatically"),
    "default_payment_method": text,
    "description": text,
    "discounts": discounts.SHAPE,
    "duration": {"interval": choice("day", "month", "week", "year"), "interval_count": whole},
    "end_date": whole,
    "items": [{"metadata": free, "price": text, "quantity": whole}],
    "metadata": free,
    "proration_behavior": BEHAVIORS,
    "start_date": whole,
    "trial_end": whole,
}
PLAIN = ("billing_cycle_anchor", "collection_method", "description", "metadata")
UPDATE: dict[str, Shape] = {
    "end_behavior": choice("cancel", "release"),
    "metadata": free,
    "phases": [PHASE],
    "proration_behavior": BEHAVIORS,
}


@route("POST", PATH, KIND, {"from_subscription": text})
def create(account: Account, params: dict[str, Any]) -> Record:
    """Its one phase is the subscription as it is, until the end of the period."""
    subscription = account.get("subscription", need(params, "from_subscription"), "from_subscription", 400)
    subscriptions.need_flexible(subscription)
    if subscription["schedule"]:
        raise invalid(
            f"You cannot migrate a subscription that is already attached to a schedule: `{subscription['schedule']}`.",
            "from_subscription",
        )
    if subscription["status"] not in ("active", "past_due", "trialing", "unpaid"):
        raise invalid(
            f"You cannot migrate a subscription that is {subscription['status']} to a schedule.", "from_subscription"
        )
    if subscription["cancel_at"] or subscription["pending_update"]:
        raise invalid(
            "The simulator schedules no subscription that will be cancelled or has a pending update.",
            "from_subscription",
        )
    now, items = account.now(subscription), subscriptions.items(subscription)
    first = schedules.phase(
        max(one["current_period_start"] for one in items),
        subscriptions.next_end(subscription),
        subscription["currency"],
        [schedules.item(one["price"], one["quantity"], dict(one["metadata"])) for one in items],
        discounts=[NO_DISCOUNT | {"discount": id} for id in subscription["discounts"]],
        trial_end=subscription["trial_end"] if subscription["status"] == "trialing" else None,
    )
    schedule = account.add(schedules.record(subscription["customer"], subscription, now, [first]))
    schedule["current_phase"] = _span(first)
    account.emit("subscription_schedule.created", schedule)
    with account.changing(subscription):
        subscription["schedule"] = schedule["id"]
    schedules.follow(account, schedule)
    return schedule


@route("GET", PATH + "/{schedule}", KIND)
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get(KIND, id, "schedule")


MOMENTS = ("canceled_at", "completed_at", "released_at")
FILTERS: dict[str, Shape] = {"customer": text, "scheduled": flag, **dict.fromkeys(MOMENTS, SPAN)}


@route("GET", PATH, KIND, FILTERS, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    def fits(schedule: Record) -> bool:
        timely = all(schedule[name] and inside(schedule[name], params[name]) for name in MOMENTS if name in params)
        return timely and params.get("scheduled") in (None, schedule["status"] == "not_started")

    customer = params.get("customer")
    return page(PATH, account.of(KIND, customer) if customer else account.all(KIND), params, fits)


@route("POST", PATH + "/{schedule}", KIND, UPDATE)
def update(account: Account, id: str, params: dict[str, Any]) -> Record:
    """A change of the phase that runs changes the subscription at once, as `proration_behavior` says."""
    schedule = _live(account, id)
    phases = _phases(account, schedule, params["phases"]) if "phases" in params else None
    with account.changing(schedule):
        schedule["metadata"] = merged(schedule["metadata"], params.get("metadata", {}))
        schedule["end_behavior"] = params.get("end_behavior", schedule["end_behavior"])
        if phases:
            started = schedule["current_phase"]["start_date"]
            schedule["phases"] = [one for one in schedule["phases"] if one["start_date"] < started] + phases
            schedule["current_phase"] = _span(phases[0])
    if phases:
        subscription = account.tables["subscription"][schedule["subscription"]]
        subscribing.change(account, subscription, {"discounts": _discounts(account, subscription, phases[0])})
        _enter(account, schedule, phases[0], params.get("proration_behavior", "create_prorations"))
        schedules.follow(account, schedule)
    return schedule


@route("POST", PATH + "/{schedule}/release", KIND)
def release(account: Account, id: str, params: dict[str, Any]) -> Record:
    schedule = _live(account, id)
    schedules.release(account, schedule)
    return schedule


@route("POST", PATH + "/{schedule}/cancel", KIND, {"invoice_now": flag, "prorate": flag})
def cancel(account: Account, id: str, params: dict[str, Any]) -> Record:
    """With its subscription."""
    schedule = _live(account, id)
    subscribing.cancel(account, schedule["subscription"], params)
    return schedule


def _live(account: Account, id: str) -> Record:
    schedule = account.get(KIND, id, "schedule")
    if schedule["status"] not in schedules.LIVE:
        raise invalid(
            f"You cannot change a subscription schedule that is currently in the `{schedule['status']}` status."
        )
    return schedule


def _span(phase: Record) -> Record:
    return {"end_date": phase["end_date"], "start_date": phase["start_date"]}


# Phases


def _phases(account: Account, schedule: Record, said: list[dict[str, Any]]) -> list[Record]:
    """The phase that runs and those after it, refusing what cannot be. Phases that are over may be left out."""
    running = schedule["current_phase"]
    wishes = [wish for wish in said if wish.get("end_date", running["start_date"] + 1) > running["start_date"]]
    if not wishes:
        raise absent("phases")
    if need(wishes[0], "start_date") != running["start_date"]:
        raise invalid("You can not modify the start date of the current phase.", "phases[0][start_date]")
    phases: list[Record] = []
    for place, wish in enumerate(wishes):
        start = phases[-1]["end_date"] if phases else running["start_date"]
        if wish.get("start_date", start) != start:
            raise invalid("A phase must start when the one before it ends.", f"phases[{place}][start_date]")
        phases.append(_phase(account, schedule, wish, start, f"phases[{place}]"))
        if place:
            _refuse_another_interval(account, phases[-2], phases[-1], f"phases[{place}]")
    if phases[0]["end_date"] <= account.now(schedule):
        raise invalid("The end of the current phase must be in the future.", "phases[0][end_date]")
    return phases


def _phase(account: Account, schedule: Record, wish: dict[str, Any], start: int, name: str) -> Record:
    subscription = account.tables["subscription"][schedule["subscription"]]
    items = [
        _item(account, subscription, one, f"{name}[items][{place}]") for place, one in enumerate(need(wish, "items"))
    ]
    running = start == schedule["current_phase"]["start_date"]
    on_trial = subscription["trial_end"] if running and subscription["status"] == "trialing" else None
    if wish.get("trial_end") != on_trial:
        raise invalid(
            "The simulator moves no trial by a schedule: repeat it in the phase that runs.", f"{name}[trial_end]"
        )
    fields = {name: wish[name] for name in PLAIN if name in wish}
    said = wish.get("discounts") or []
    if said:
        customer = account.tables["customer"][schedule["customer"]]
        discounts.wished(account, customer, subscription, said, subscription["currency"])
        fields["discounts"] = [NO_DISCOUNT | one for one in said]
    if "automatic_tax" in wish:
        fields["automatic_tax"] = {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            **wish["automatic_tax"],
        }
    if wish.get("default_payment_method"):
        customer = account.tables["customer"][schedule["customer"]]
        fields["default_payment_method"] = payments.owned(account, customer, wish["default_payment_method"])["id"]
    return schedules.phase(
        start,
        _end(wish, start, name),
        subscription["currency"],
        items,
        proration_behavior=wish.get("proration_behavior", "create_prorations"),
        trial_end=on_trial,
        **fields,
    )


def _end(wish: dict[str, Any], start: int, name: str) -> int:
    if ("end_date" in wish) == ("duration" in wish):
        raise invalid("A phase has either an `end_date` or a `duration`.", f"{name}[end_date]")
    if "end_date" in wish:
        end = wish["end_date"]
    else:
        duration = wish["duration"]
        end = boundary(start, need(duration, "interval"), duration.get("interval_count", 1), 1)
    if end <= start:
        raise invalid("A phase must end after it starts.", f"{name}[end_date]")
    return end


def _item(account: Account, subscription: Record, wish: dict[str, Any], name: str) -> Record:
    price = account.get("price", need(wish, "price"), f"{name}[price]", 400)
    held = {one["price"]["id"] for one in subscriptions.items(subscription)}
    if not price["recurring"]:
        raise invalid("This field only accepts prices with `type=recurring`.", f"{name}[price]")
    if not price["active"] and price["id"] not in held:
        raise invalid(f"The price specified is inactive: {price['id']}.", f"{name}[price]")
    if price["currency"] != subscription["currency"]:
        raise invalid("The price must be in the currency of the subscription.", f"{name}[price]")
    quantity = wish.get("quantity", 1)
    if quantity < 0:
        raise invalid("This value must be greater than or equal to 0.", f"{name}[quantity]")
    return schedules.item(price, quantity, wish.get("metadata") or {})


def _refuse_another_interval(account: Account, before: Record, after: Record, name: str) -> None:
    """A flexible subscription never resets its anchor by itself."""

    def intervals(phase: Record) -> set[tuple[str, int]]:
        terms = [account.tables["price"][one["price"]]["recurring"] for one in phase["items"]]
        return {(one["interval"], one["interval_count"]) for one in terms}

    if after["billing_cycle_anchor"] != "phase_start" and intervals(after) - intervals(before):
        raise invalid(
            "A phase with another billing interval needs `billing_cycle_anchor=phase_start`.",
            f"{name}[billing_cycle_anchor]",
        )


# By itself


def advance(account: Account, schedule: Record) -> None:
    """At the end of a phase the next one begins; after the last the subscription is released, or cancelled."""
    now = account.now(schedule)
    while schedule["status"] == "active" and schedule["current_phase"]["end_date"] <= now:
        start = schedule["current_phase"]["end_date"]
        following = next((one for one in schedule["phases"] if one["start_date"] == start), None)
        if following:
            with account.changing(schedule):
                schedule["current_phase"] = _span(following)
            _begin(account, schedule, following)
            schedules.follow(account, schedule)
        elif schedule["end_behavior"] == "cancel":
            schedules.complete(account, schedule)
            ending = account.tables["subscription"][schedule["subscription"]]
            subscriptions.end(account, ending, "canceled")
            invoices.last_by_date(account, ending)
        else:
            schedules.release(account, schedule)


def _begin(account: Account, schedule: Record, phase: Record) -> None:
    subscription = account.tables["subscription"][schedule["subscription"]]
    settings: Record = {name: phase[name] for name in ("default_payment_method", "description") if phase[name]}
    settings |= {"discounts": _discounts(account, subscription, phase), "metadata": phase["metadata"]}
    if phase["automatic_tax"]:
        settings["automatic_tax"] = {"enabled": phase["automatic_tax"]["enabled"]}
    subscribing.change(account, subscription, settings)
    if subscriptions.next_end(subscription) > account.now(subscription):
        _enter(account, schedule, phase, phase["proration_behavior"])
        return
    with account.changing(subscription):  # nothing of the old period is left to credit: the renewal bills the new items
        subscription["items"]["data"] = _renewing(account, subscription, phase)
        if phase["billing_cycle_anchor"] == "phase_start":
            subscription["billing_cycle_anchor"] = phase["start_date"]
    subscriptions.follow(account, subscription)


def _enter(account: Account, schedule: Record, phase: Record, behavior: str) -> None:
    """Within a period, a phase is a change like any other: what already is as it says stays."""
    subscription = account.tables["subscription"][schedule["subscription"]]
    pairs = _pairs(subscription, phase)
    wishes: list[Record] = []
    for one, wish in pairs:
        if not wish:
            wishes.append({"id": one["id"], "deleted": True})
        elif not one or (one["price"]["id"], one["quantity"]) != (wish["price"], wish["quantity"]):
            known = {"id": one["id"]} if one else {}
            wishes.append(known | {name: wish[name] for name in ("metadata", "price", "quantity")})
    resets = phase["billing_cycle_anchor"] == "phase_start" and phase["start_date"] == account.now(subscription)
    if wishes or resets:
        anchor = {"billing_cycle_anchor": {"type": "now"}} if resets else {}
        subscribing.change(account, subscription, {"items": wishes, "proration_behavior": behavior} | anchor)


def _discounts(account: Account, subscription: Record, phase: Record) -> list[dict[str, str]] | str:
    """Those that can still be redeemed, or are still held; of none, what clears them."""
    customer, kept = account.tables["customer"][subscription["customer"]], []
    for one in phase["discounts"]:
        said = {name: id for name, id in one.items() if id}
        try:
            discounts.wished(account, customer, subscription, [said], subscription["currency"])
        except Refused:
            continue
        kept.append(said)
    return kept or ""


def foresee(account: Account, subscription: Record, proposal: changes.Proposal, turn: int) -> bool:
    """Put into a proposal what the schedule will do when the period ends. Says whether the subscription ends then."""
    schedule = account.tables["subscription_schedule"].get(subscription["schedule"] or "")
    if not schedule or schedule["status"] != "active" or schedule["current_phase"]["end_date"] > turn:
        return False
    phase = next((one for one in schedule["phases"] if one["start_date"] == turn), None)
    if not phase:
        return schedule["end_behavior"] == "cancel"
    customer, said = account.tables["customer"][subscription["customer"]], _discounts(account, subscription, phase)
    proposal.items = _renewing(account, subscription, phase)
    proposal.anchor = turn if phase["billing_cycle_anchor"] == "phase_start" else proposal.anchor
    proposal.discounts = discounts.wished(account, customer, subscription, said, subscription["currency"])
    return False


def _renewing(account: Account, subscription: Record, phase: Record) -> list[Record]:
    """The items of a phase, on the periods that have just ended."""
    start, items = phase["start_date"], []
    for one, wish in _pairs(subscription, phase):
        if not wish:
            continue
        price = account.tables["price"][wish["price"]]
        one = one or subscriptions.item(subscription["id"], price, 1, start, (start, start))
        plan = subscriptions.plan(price)
        metadata = merged(one["metadata"], wish["metadata"])
        items.append(one | {"metadata": metadata, "plan": plan, "price": price, "quantity": wish["quantity"]})
    return items


def _pairs(subscription: Record, phase: Record) -> list[tuple[Record, Record]]:
    """Each item with what the phase makes of it: the same price first, then by position. What has no other is {}."""
    left, wishes, pairs = list(subscriptions.items(subscription)), list(phase["items"]), []
    for wish in list(wishes):
        same = next((one for one in left if one["price"]["id"] == wish["price"]), None)
        if same:
            pairs.append((same, wish))
            left.remove(same)
            wishes.remove(wish)
    while left or wishes:
        pairs.append((left.pop(0) if left else {}, wishes.pop(0) if wishes else {}))
    return pairs
