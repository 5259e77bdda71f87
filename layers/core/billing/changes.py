"""How a wish becomes a fact, here and at Stripe, once: hold, apply, settle; and recover, by looking."""

from collections.abc import Callable
from dataclasses import dataclass

from billing import customer_table, gateway, plan_table, records
from billing.api import Request, logger
from billing.customers import Customer, Profile, Revision
from billing.errors import (
    ChangeInFlight,
    Failed,
    KeyReused,
    KeySpent,
    NotFound,
    PaymentDeclined,
    Rejected,
    Stale,
    Unavailable,
)
from billing.gateway import Said
from billing.holds import Change, Settled, Step, Wish, digest
from billing.proration import Proration
from billing.subscriptions import STATUSES, Theirs


@dataclass(frozen=True, slots=True)
class Draft:
    """What a wish takes: steps with every parameter that goes to Stripe, and what they cost."""

    steps: list[Step]
    proration: Proration | None = None
    billed: str | None = None


def carry_out(
    request: Request,
    decide: Callable[[Customer], Wish | None],
    draft: Callable[[Customer, Wish, str], Draft],
) -> dict:
    """
    Carry out a wish once; answers what its customer may see.

    `decide` answers the wish, None if it is true already, or refuses; `draft` its steps under a change's id. Neither
    changes anything: both are asked again if the record moves before the hold. Of two wishes at once the later is
    turned away before Stripe hears of it, unless it is the same: then it joins. Whoever dies on the way leaves a
    hold, and the next caller finds out at Stripe how far it had come.
    """
    at = request.at
    for _ in range(records.TRIES):
        ours = recover(customer_table.find(request.customer, at), at)
        named = _named(request)
        if named and (told := customer_table.settled(ours.id, named)):
            return _again(told, request)
        held, wish = ours.pending, decide(ours)
        if held and held.id == named and held.fingerprint != request.fingerprint:
            raise KeyReused("this Idempotency-Key has been used for another change")
        try:
            if held and held.wish == wish:
                return _join(ours, held, request)
            if held and not held.overdue(at):
                raise ChangeInFlight("another change is waiting for Stripe")
            if not wish:
                return _true_already(ours, request)
            id = named or digest(ours.id, ours.version, wish)
            revision = ours.hold(_change(id, request, wish, draft(ours, wish, id)), at)
            records.commit(ours, revision)
        except Stale:
            continue
        return _finish(revision.customer, at)
    raise Stale("the customer keeps moving")


def recover(ours: Customer, at: int) -> Customer:
    """
    Find out what became of a hold whose maker is dead, before anything is decided.

    Found at Stripe: settled. Not found: its own wish may be sent again under the same keys as long as Stripe surely
    remembers them, and another wish replaces it.
    """
    held = ours.pending
    if not held or not held.overdue(at):
        return ours
    if said := gateway.look(held):
        return _settle(ours, held, said, at)[0]
    return records.update(ours, lambda current: current.release(held, at), at) if held.expired(at) else ours


def settling(ours: Customer, said: Said, at: int) -> Revision:
    """What our record becomes by what Stripe said."""
    if isinstance(said, Theirs):
        plan = plan_table.by_price(said.price)
        known = ours.subscription and ours.subscription.theirs.id == said.id
        revision = ours.absorb(said, plan, at, None if known else customer_table.aside(ours.id, said.id))
        strange = {"unknown_status": said.status not in STATUSES, "unknown_plan": plan is None}
        strange["second_subscription"] = said.fills_slot and any(each.theirs.id == said.id for each in revision.aside)
        for what in (what for what, is_so in strange.items() if is_so):
            logger.error(what, subscription=said.id, status=said.status, price=said.price)
        return revision
    held = ours.pending
    return ours.profiled(Profile(**held.wish.terms), at) if held and said.change == held.id else Revision(ours)


def _join(ours: Customer, held: Change, request: Request) -> dict:
    """The same wish is held already: by someone at work, or by a dead one that has just been looked for."""
    at, id = request.at, _named(request)
    said = None if held.overdue(at) else gateway.look(held)
    told = _told(*_settle(ours, held, said, at), held) if said else _finish(ours, at)
    if id and id != held.id:  # this caller has a key of its own, and it is taken now
        answer = {name: value for name, value in told.items() if name != "payment"}
        records.update(ours, lambda current: current.answered(id, request.fingerprint, answer, at), at)
    return told


def _finish(ours: Customer, at: int) -> dict:
    held = ours.pending
    assert held is not None
    return _told(*_settle(ours, held, _apply(ours, held, at), at), held)


def _apply(ours: Customer, change: Change, at: int) -> Said:
    try:
        said = gateway.apply(change)
    except (PaymentDeclined, Rejected, NotFound):  # a clear no: nothing has happened
        records.update(ours, lambda current: current.release(change, at), at)
        raise
    except Failed as failure:  # it may have happened all the same: look
        said = gateway.look(change)
        if not said:
            hopeless = isinstance(failure, KeySpent)
            records.update(ours, lambda current: current.doubt(change, hopeless, at), at)
            raise
    if not said:
        raise Unavailable("Stripe took the change and does not show it yet")
    return said


def _settle(ours: Customer, held: Change, said: Said, at: int) -> tuple[Customer, Settled | None]:
    """
    Record what Stripe said of the held change. If the record has moved, a webhook may have done so, or settled it:
    then what Stripe says now, unless that is settled.
    """
    for _ in range(records.TRIES):
        revision = settling(ours, said, at)
        try:
            records.commit(ours, revision)
            return revision.customer, revision.settled
        except Stale:
            ours = customer_table.find(ours.id, at)
            looked = gateway.look(held) if ours.holds(held) else None
            if not looked:  # what was said before may be older than the record
                return ours, None
            said = looked
    raise Stale("the customer keeps moving")


def _told(ours: Customer, settled: Settled | None, held: Change) -> dict:
    """What the caller of a change is told: what was settled, by us or by someone else, with what confirms a payment."""
    told = settled or customer_table.settled(ours.id, held.id)
    if not told:
        raise Unavailable("the outcome is not known yet")
    secret = ours.subscription.theirs.client_secret if ours.subscription else None
    return _payable(told.answer, secret)


def _again(told: Settled, request: Request) -> dict:
    if told.fingerprint != request.fingerprint:
        raise KeyReused("this Idempotency-Key has been used for another change")
    return _payable(told.answer, None)


def _true_already(ours: Customer, request: Request) -> dict:
    """Nothing to do; what may have been paid meanwhile is asked for, a dead hold gives way, a caller's key is taken."""
    at = request.at
    if ours.live().theirs.unpaid:
        revision = settling(ours, gateway.subscription(ours.live().theirs.id), at)
        records.commit(ours, revision)
        ours = revision.customer
    subscription, held, id = ours.live(), ours.pending, _named(request)
    answer = subscription.public(plan_table.by_price(subscription.theirs.price), at)
    if held:
        ours = records.update(ours, lambda current: current.release(held, at), at)
    if id:
        records.commit(ours, ours.answered(id, request.fingerprint, answer, at))
    return _payable(answer, subscription.theirs.client_secret)


def _payable(answer: dict, secret: str | None) -> dict:
    """With what the client confirms a payment with; it is on no record, so it is asked for again."""
    if not secret and (answer.get("status") == "incomplete" or answer.get("pending_change")):
        secret = gateway.subscription(answer["id"]).client_secret
    return answer | {"payment": {"client_secret": secret}} if secret else answer


def _change(id: str, request: Request, wish: Wish, draft: Draft) -> Change:
    return Change(
        id=id,
        fingerprint=request.fingerprint,
        wish=wish,
        steps=draft.steps,
        held_at=request.at,
        proration=draft.proration,
        billed=draft.billed,
    )


def _named(request: Request) -> str | None:
    return digest(request.customer, request.key) if request.key else None
