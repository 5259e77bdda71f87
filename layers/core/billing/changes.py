"""How a wish becomes a fact, here and at Stripe, once: hold, apply, settle; and recover, by looking."""

from collections.abc import Callable
from dataclasses import dataclass

from billing import customer_table, gateway, plan_table, records
from billing.api import Request, logger
from billing.customers import Customer, Profile, Revision
from billing.errors import (
    ChangeInFlight,
    Conflict,
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

    `decide` answers the wish, None if it is true already, or refuses; `draft` its steps, under the mark of the hold.
    Both are asked again if the record moves before the hold. Of two wishes at once the later is turned away before
    Stripe hears of it, unless it is the same: then it joins. Whoever dies on the way leaves a hold, and the next
    caller finds out at Stripe how far it had come.
    """
    at = request.at
    for _ in range(records.TRIES):
        ours, named = customer_table.find(request.customer, at), _named(request)
        if named and (told := customer_table.settled(ours.id, named)):
            return _again(told, request)
        held = ours.pending
        if held and held.id == named and held.fingerprint != request.fingerprint:
            raise KeyReused("this Idempotency-Key has been used for another change")
        try:
            if held and not held.overdue(at):
                return _join(ours, held, decide(ours), request)
            ours = recover(ours, at)
            if held and not ours.pending:
                continue  # it is settled, or gone: whoever asked for it is told so
            wish = decide(ours)
            if held and held.wish == wish:
                revision = ours.take(at)
            elif wish:
                id = named or digest(ours.id, ours.created_at, ours.version, wish)
                mark = digest(id, ours.created_at, ours.version)
                revision = ours.hold(_change(id, mark, request, wish, draft(ours, wish, mark)), at)
            else:
                return _true_already(ours, request)
            records.commit(ours, revision)
            return _finish(revision.customer, request)
        except Stale:
            continue
    raise Stale("the customer keeps moving")


def recover(ours: Customer, at: int) -> Customer:
    """
    Find out what has become at Stripe of a hold whose maker is dead, and of all else, before anything is decided.

    A hold that is found is settled. One that is not may be sent again by its own wish, under the same keys, as long
    as Stripe surely remembers them; another wish replaces it. Stale if the record moves meanwhile.
    """
    held = ours.pending
    said = gateway.look(held) if held else None
    if held and not said and held.expired(at):
        ours = records.update(ours, lambda current: current.release(held, at), at)
    said = said or _current(ours)
    if not said:
        return ours
    revision = settling(ours, said, at)
    records.commit(ours, revision)
    return revision.customer


def _current(ours: Customer) -> Theirs | None:
    """The customer's subscription as Stripe has it; if ours has ended, or there is none, whatever lives there."""
    if ours.subscription and not ours.subscription.theirs.ended:
        return gateway.subscription(ours.subscription.theirs.id)
    if not ours.stripe_id:
        return None
    living = [theirs for theirs in gateway.subscriptions(ours.stripe_id) if not theirs.ended]
    return next((theirs for theirs in living if theirs.fills_slot), next(iter(living), None))


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
    return ours.profiled(Profile(**held.wish.terms), at) if held and said.change == held.mark else Revision(ours)


def _join(ours: Customer, held: Change, wish: Wish | None, request: Request) -> dict:
    """The same wish is held, by someone who may be at work. Whoever comes too late to have ended in time only looks."""
    at, id = request.at, _named(request)
    said = gateway.look(held) if held.wish == wish else None
    if not said and (held.wish != wish or not held.joinable(at)):
        raise ChangeInFlight("another change is waiting for Stripe")
    told = _told(*_settle(ours, held, said, at), held) if said else _finish(ours, request)
    if id and id != held.id:  # this caller has a key of its own, and it is taken now
        answer = {name: value for name, value in told.items() if name != "payment"}
        records.update(ours, lambda current: current.answered(id, request.fingerprint, answer, at), at)
    return told


def _finish(ours: Customer, request: Request) -> dict:
    held = ours.pending
    assert held is not None
    return _told(*_settle(ours, held, _apply(ours, held, request.at), request.at), held)


def _apply(ours: Customer, change: Change, at: int) -> Said:
    """Send the steps, then look: the answer to a key may be an old one."""
    try:
        gateway.apply(change)
    except (PaymentDeclined, Rejected, NotFound, Conflict, Failed) as failure:
        said = gateway.look(change)  # it may have happened all the same
        if said:
            return said
        if isinstance(failure, Failed):
            hopeless = isinstance(failure, KeySpent)
            records.update(ours, lambda current: current.doubt(change, hopeless, at), at)
        else:
            records.update(ours, lambda current: current.release(change, at), at)
        raise
    said = gateway.look(change)
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
    """Nothing to do; a dead hold gives way, and a key of the caller's is taken."""
    at, subscription, held, id = request.at, ours.live(), ours.pending, _named(request)
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


def _change(id: str, mark: str, request: Request, wish: Wish, draft: Draft) -> Change:
    return Change(
        id=id,
        mark=mark,
        fingerprint=request.fingerprint,
        wish=wish,
        steps=draft.steps,
        held_at=request.at,
        sent_at=request.at,
        proration=draft.proration,
        billed=draft.billed,
    )


def _named(request: Request) -> str | None:
    return digest(request.customer, request.key) if request.key else None
