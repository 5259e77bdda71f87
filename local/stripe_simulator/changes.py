"""What a change of items, anchor or trial would do to a subscription and would cost; applying it, or holding it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from local.stripe_simulator import discounts, invoices, proration, subscriptions
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record, shown
from local.stripe_simulator.errors import invalid, missing
from local.stripe_simulator.forms import Shape, choice, either, flag, free, merged, need, text, whole
from local.stripe_simulator.subscriptions import Debit

ITEM: dict[str, Shape] = {"id": text, "price": text, "quantity": whole, "metadata": free, "deleted": flag}
TRIAL_END = either(lambda value, name: "now" if value == "now" else whole(value, name), whole)
SHAPE: dict[str, Shape] = {
    "billing_cycle_anchor": {"type": choice("now", "unchanged")},
    "items": [ITEM],
    "proration_behavior": choice("always_invoice", "create_prorations", "none"),
    "proration_date": whole,
    "trial_end": TRIAL_END,
}


@dataclass
class Proposal:
    """A change, worked out and not made. `lines` are what it costs; `bills_now`: they are invoiced at once."""

    items: list[Record]
    anchor: int
    trial_end: int | None
    lines: list[Record]
    debits: dict[str, list[Debit]]
    discounts: list[str]
    bills_now: bool
    restarts: bool
    metadata: dict[str, str] = field(default_factory=dict)
    cancel_at_period_end: bool | None = None


def propose(account: Account, subscription: Record, said: dict[str, Any]) -> Proposal:
    """Work out a change, refusing what cannot be. Reads everything, changes nothing."""
    if any(name in said for name in ("billing_cycle_anchor", "items", "trial_end")):
        subscriptions.need_flexible(subscription)
    now, behavior = account.now(subscription), said.get("proration_behavior", "create_prorations")
    trial_end = said.get("trial_end", subscription["trial_end"])
    in_trial = subscription["status"] == "trialing"
    ends_trial = trial_end == "now" and in_trial
    restarts = ends_trial or said.get("billing_cycle_anchor", {}).get("type") == "now"
    if isinstance(said.get("trial_end"), int) and said["trial_end"] <= now:
        raise invalid("The trial end must be in the future.", "trial_end")
    if restarts and "proration_date" in said:
        raise invalid("`proration_date` cannot be passed when `billing_cycle_anchor=now`.", "proration_date")
    at = proration_date(subscription, said, now)
    if trial_end == "now":
        trial_end = now if in_trial else subscription["trial_end"]
    on_trial = bool(trial_end and trial_end > now)
    anchor = (
        now if restarts else trial_end if on_trial and "trial_end" in said else subscription["billing_cycle_anchor"]
    )
    assert anchor is not None
    before = {one["id"]: one for one in subscriptions.items(subscription)}
    book = account.books[subscription["id"]]
    after = _items(account, subscription, said.get("items", []), anchor, at, on_trial and trial_end)
    changed = [one for one in after if restarts or _differs(before.get(one["id"]), one)]
    gone = [one for one in before.values() if one["id"] not in {kept["id"] for kept in after}]
    customer = account.tables["customer"][subscription["customer"]]
    wished = discounts.wished(account, customer, subscription, said.get("discounts"), subscription["currency"])
    in_force = discounts.in_force(account, wished, now)
    fulls = {one["id"]: proration.total(one["price"], one["quantity"]) for one in after}
    nets = dict(zip(fulls, discounts.nets(account, in_force, list(fulls.values())), strict=True))
    named = [{"amount": 0, "discount": id} for id in in_force]

    lines, debits = [], {id: list(held) for id, held in book.debits.items() if id not in {one["id"] for one in gone}}
    for one in [*gone, *changed]:
        if behavior != "none":
            lines += credits(one, book.debits.get(one["id"], []), at)
    for one in changed:
        span = one["current_period_start"], one["current_period_end"]
        if on_trial:
            debits.pop(one["id"], None)
            lines += [invoices.item_line(one, 0, span, f"Free trial for {what(account, one)}")]
            continue
        if restarts:
            amount = proration.part(fulls[one["id"]], *subscriptions.period(one["price"], anchor, at), *span)
            line = invoices.item_line(one, amount, span, what(account, one))
            kept = []
        elif behavior == "none":
            continue
        else:
            words = f"Remaining time on {what(account, one)} after {_date(at)}"
            period, left = subscriptions.period(one["price"], anchor, at), (at, span[1])
            amount = proration.part(nets[one["id"]], *period, *left)
            line = invoices.item_line(one, amount, left, words, proration=True, discount_amounts=[*map(dict, named)])
            kept = uncredited(book.debits.get(one["id"], []), at)
        lines.append(line)
        debits[one["id"]] = [*kept, debit_of(account, one, line)]
    bills_now = restarts or (behavior == "always_invoice" and bool(lines))
    if on_trial and not bills_now:
        lines = []
    return Proposal(after, anchor, trial_end, lines, debits, wished, bills_now, restarts)


def of_lines(
    subscription: Record, items: list[Record], lines: list[Record], debits: dict[str, list[Debit]], behavior: str
) -> Proposal:
    """A change of nothing but periods, and what that costs."""
    anchor, held = subscription["billing_cycle_anchor"], list(subscription["discounts"])
    bills_now = behavior == "always_invoice" and bool(lines)
    return Proposal(items, anchor, subscription["trial_end"], lines, debits, held, bills_now, restarts=False)


def reach(account: Account, subscription: Record, date: int | None, behavior: str) -> Proposal:
    """Periods that go no further than the date to cancel at, and the whole way without one."""
    debits = {id: list(held) for id, held in account.books[subscription["id"]].debits.items()}
    items, lines, longer = [one | {} for one in subscriptions.items(subscription)], [], {}
    for one in items if subscription["status"] != "paused" else []:
        before, end = one["current_period_end"], subscriptions.whole(subscription, one)[1]
        one["current_period_end"] = min(end, date or end)
        if one["current_period_end"] > before:
            longer[one["id"]] = before
        if one["current_period_end"] < before and behavior != "none":
            held = debits.get(one["id"], [])
            lines += credits(one, held, one["current_period_end"])
            debits[one["id"]] = uncredited(held, one["current_period_end"])
    if behavior != "none" and subscription["status"] != "trialing":
        lines += _remaining(account, subscription, items, longer, debits)
    return of_lines(subscription, items, lines, debits, behavior)


def go_on(account: Account, subscription: Record, at: int, behavior: str) -> Proposal:
    """The periods as they would be, had it never been paused. What is left of them and is not paid is charged."""
    now, debits = account.now(subscription), {**account.books[subscription["id"]].debits}
    items = [one | {} for one in subscriptions.items(subscription)]
    for one in items:
        span = subscriptions.period(one["price"], subscription["billing_cycle_anchor"], now)
        if not span[0] <= at < span[1]:
            raise invalid("Cannot specify proration_date outside of current subscription period.", "proration_date")
        one["current_period_start"], one["current_period_end"] = subscriptions.cut(subscription, span)
    since = dict.fromkeys([one["id"] for one in items], at)
    lines = _remaining(account, subscription, items, since, debits) if behavior != "none" else []
    return of_lines(subscription, items, lines, debits, behavior)


def _remaining(
    account: Account,
    subscription: Record,
    items: list[Record],
    since: dict[str, int],
    debits: dict[str, list[Debit]],
) -> list[Record]:
    """What is left of the periods of these items from these moments on, and no debit covers; noted as debits."""
    in_force = discounts.in_force(account, subscription["discounts"], account.now(subscription))
    fulls = [proration.total(one["price"], one["quantity"]) for one in items]
    lines = []
    for one, net in zip(items, discounts.nets(account, in_force, fulls), strict=True):
        held = debits.get(one["id"], [])
        end: int = one["current_period_end"]
        start = max(since.get(one["id"], end), *(debit.until for debit in held), 0)
        if start < end:
            words = f"Remaining time on {what(account, one)} after {_date(start)}"
            amount = proration.part(net, *subscriptions.whole(subscription, one), start, end)
            named = [{"amount": 0, "discount": id} for id in in_force]
            line = invoices.item_line(one, amount, (start, end), words, proration=True, discount_amounts=named)
            lines.append(line)
            debits[one["id"]] = [*held, debit_of(account, one, line)]
    return lines


def proration_date(subscription: Record, said: dict[str, Any], now: int) -> int:
    at = said.get("proration_date")
    if at is None:
        return now
    if said.get("proration_behavior") == "none":
        raise invalid("You cannot set `proration_date` when `proration_behavior=none`.", "proration_date")
    start = max(one["current_period_start"] for one in subscriptions.items(subscription))
    if not start <= at < subscriptions.next_end(subscription):
        raise invalid("Cannot specify proration_date outside of current subscription period.", "proration_date")
    return at


def _items(
    account: Account,
    subscription: Record,
    said: list[dict[str, Any]],
    anchor: int,
    at: int,
    trial_end: int | bool | None,
) -> list[Record]:
    """The items as they would be. Of an item that is named nothing is inherited but what the call leaves out."""
    after = {one["id"]: one | {} for one in subscriptions.items(subscription)}
    now = account.now(subscription)
    for place, wish in enumerate(said):
        id = wish.get("id")
        if id and id not in after:
            raise missing("subscription_item", id, f"items[{place}][id]", 400)
        if id and wish.get("deleted"):
            del after[id]
            continue
        price = account.get("price", wish["price"], f"items[{place}][price]", 400) if wish.get("price") else None
        if not id:
            price = price or account.get("price", need(wish, "price"), "price", 400)
            added = subscriptions.item(subscription["id"], price, wish.get("quantity", 1), now, (at, at + 1))
            after[added["id"]] = added
            id = added["id"]
        one = after[id]
        if price:
            if not price["active"] and price["id"] != one["price"]["id"]:
                raise invalid(f"The price specified is inactive: {price['id']}.", f"items[{place}][price]")
            if not price["recurring"]:
                raise invalid("This field only accepts prices with `type=recurring`.", f"items[{place}][price]")
            if price["currency"] != subscription["currency"]:
                raise invalid("The price must be in the currency of the subscription.", f"items[{place}][price]")
            one.update(price=price, plan=subscriptions.plan(price), quantity=1)
        if "quantity" in wish:
            if wish["quantity"] < 0:
                raise invalid("This value must be greater than or equal to 0.", f"items[{place}][quantity]")
            one["quantity"] = wish["quantity"]
        one["metadata"] = merged(one["metadata"], wish.get("metadata", {}))
    if not after:
        raise invalid("A subscription must have at least one active price.", "items")
    for one in after.values():
        if trial_end:
            span = one["current_period_start"], int(trial_end)
        else:
            span = subscriptions.period(one["price"], anchor, at)
        one["current_period_start"], one["current_period_end"] = subscriptions.cut(subscription, span)
    return list(after.values())


def _differs(before: Record | None, after: Record) -> bool:
    names = ("quantity", "current_period_start", "current_period_end")
    same = (
        before and before["price"]["id"] == after["price"]["id"] and all(before[name] == after[name] for name in names)
    )
    return not same


def credits(item: Record, debits: list[Debit], at: int) -> list[Record]:
    """The unused part of what was debited: a line for each debit that covers time from that moment on."""
    return [
        invoices.item_line(
            item,
            proration.part(-debit.amount, debit.start, debit.end, since, debit.until),
            (since, debit.until),
            f"Unused time on {debit.name} after {_date(since)}",
            credited=debit.invoice and {"invoice": debit.invoice, "invoice_line_items": [debit.line]},
            price=debit.price,
            proration=True,
            quantity=debit.quantity,
        )
        for debit in debits
        for since in [max(at, debit.start)]
        if since < debit.until
    ]


def all_credits(account: Account, subscription: Record, at: int) -> list[Record]:
    subscriptions.need_flexible(subscription)
    held = account.books[subscription["id"]].debits
    return [line for one in subscriptions.items(subscription) for line in credits(one, held.get(one["id"], []), at)]


def uncredited(debits: list[Debit], at: int) -> list[Debit]:
    """What is left of them once all from that moment on is credited."""
    return [replace(debit, until=min(debit.until, at)) for debit in debits if debit.start < at]


def debit_of(account: Account, item: Record, line: Record) -> Debit:
    start, end = line["period"]["start"], line["period"]["end"]
    name = what(account, item)
    return Debit(line["amount"], start, end, end, name, item["price"], item["quantity"], line=line["id"])


def what(account: Account, item: Record) -> str:
    name = account.tables["product"][item["price"]["product"]]["name"]
    return name if item["quantity"] == 1 else f"{item['quantity']} × {name}"  # noqa: RUF001 (Stripe's own sign)


def _date(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y")


def full_lines(
    account: Account, subscription: Record, items: list[Record], debits: dict[str, list[Debit]]
) -> list[Record]:
    """The lines of a period of these items, noted as debits: of its part up to a cancellation. Free on trial."""
    lines = []
    for one in items:
        span = one["current_period_start"], one["current_period_end"]
        if subscription["status"] == "trialing":
            lines.append(invoices.item_line(one, 0, span, f"Free trial for {what(account, one)}"))
            continue
        amount = proration.total(one["price"], one["quantity"])
        if span[1] == subscription["cancel_at"]:
            amount = proration.part(amount, *subscriptions.whole(subscription, one), *span)
        line = invoices.item_line(one, amount, span, what(account, one))
        lines.append(line)
        debits[one["id"]] = [debit_of(account, one, line)]
    return lines


def note_invoice(debits: dict[str, list[Debit]], invoice: Record) -> None:
    """Remember what the lines of debits came to, and on which invoice, so that credits can point to them."""
    lines = {line["id"]: line for line in invoice["lines"]["data"]}
    for id, charged in debits.items():
        debits[id] = [
            replace(debit, invoice=invoice["id"], amount=discounts.net(lines[debit.line]))
            if debit.line in lines
            else debit
            for debit in charged
        ]


def forget(debits: dict[str, list[Debit]], invoice: Record) -> None:
    """What is on this invoice will never be paid."""
    for id, charged in debits.items():
        debits[id] = [debit for debit in charged if debit.invoice != invoice["id"]]


def apply(account: Account, subscription: Record, proposal: Proposal) -> None:
    """Make it so. The caller tells of it."""
    subscription["items"]["data"] = proposal.items
    subscription["billing_cycle_anchor"] = proposal.anchor
    if subscription["status"] == "trialing" and proposal.trial_end and proposal.trial_end <= account.now(subscription):
        subscription["status"] = "active"
        _warn_late(account, subscription)
    elif proposal.trial_end != subscription["trial_end"]:
        subscription.update(status="trialing", trial_start=subscription["trial_start"] or account.now(subscription))
    subscription["trial_end"] = proposal.trial_end
    subscription["metadata"] = merged(subscription["metadata"], proposal.metadata)
    if proposal.cancel_at_period_end is not None:
        schedule_end(account, subscription, proposal.cancel_at_period_end)
    elif subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = subscriptions.last_end(subscription)
    account.books[subscription["id"]].debits = proposal.debits
    discounts.put(account, subscription, proposal.discounts)
    subscriptions.follow(account, subscription)


def _warn_late(account: Account, subscription: Record) -> None:
    """A trial that is ended early is warned of as it ends, unless it was before."""
    book = account.books[subscription["id"]]
    if book.warned_of != subscription["trial_end"]:
        book.warned_of = subscription["trial_end"]
        account.emit("customer.subscription.trial_will_end", subscription)


def schedule_end(account: Account, subscription: Record, at_period_end: bool) -> None:
    now = account.now(subscription)
    subscription.update(
        cancel_at=subscriptions.last_end(subscription) if at_period_end else None,
        cancel_at_period_end=at_period_end,
        canceled_at=now if at_period_end else None,
    )
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if at_period_end else None


# Held until it is paid


def hold(account: Account, subscription: Record, proposal: Proposal, invoice: Record, anchor_said: bool) -> None:
    """Keep the change back until its invoice is paid, for 23 hours or until the period or trial ends."""
    book = account.books[subscription["id"]]
    book.held, book.held_invoice = proposal, invoice["id"]
    now = account.now(subscription)
    ends = [now + subscriptions.EXPIRY, subscriptions.next_end(subscription)]
    subscription["pending_update"] = {
        "billing_cycle_anchor": proposal.anchor if anchor_said else None,
        "cancel_at_period_end": proposal.cancel_at_period_end,
        "discount": None,
        "discounts": proposal.discounts if proposal.discounts != subscription["discounts"] else None,
        "expires_at": min(end for end in ends if end > now),
        "metadata": proposal.metadata or None,
        "subscription_items": [shown(one) for one in proposal.items],
        "trial_end": proposal.trial_end,
        "trial_from_plan": None,
    }
    account.look_at(subscription, subscription["pending_update"]["expires_at"])


def apply_held(account: Account, subscription: Record) -> None:
    book = account.books[subscription["id"]]
    proposal, book.held = book.held, None
    if subscription["pending_update"]["discounts"] is None:
        proposal.discounts = subscription["discounts"]  # as they are by now
    with account.changing(subscription):
        subscription["pending_update"] = None
        apply(account, subscription, proposal)
        discounts.spend(account, subscription, account.tables["invoice"][book.held_invoice])
    account.emit("customer.subscription.pending_update_applied", subscription)


def drop_held(account: Account, subscription: Record) -> None:
    """Its invoice was voided: the change never happens."""
    account.books[subscription["id"]].held = None
    with account.changing(subscription):
        subscription["pending_update"] = None
    account.emit("customer.subscription.pending_update_expired", subscription)


def resumed(account: Account, subscription: Record, status: str = "active") -> None:
    with account.changing(subscription):
        subscription["status"] = status
        subscription.pop("status_details", None)
        account.books[subscription["id"]].resumption = None
    account.emit("customer.subscription.resumed", subscription)
    subscriptions.follow(account, subscription)
