"""How a wish becomes a fact, here and at Stripe, once: hold, apply, settle; and recover, by looking."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from billing import customer_table, gateway, log, plan_table, records, steps
from billing.api import Request
from billing.checkouts import Session
from billing.customers import Customer, Profile, Revision
from billing.errors import (
    BillingError,
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
from billing.holds import Change, Draft, Settled, Wish, digest
from billing.steps import Said
from billing.theirs import STATUSES, Theirs


def carry_out(
    request: Request,
    decide: Callable[[Customer], Wish | None],
    draft: Callable[[Customer, Wish, str], Draft],
    stands: Callable[[Customer], dict] | None = None,
) -> dict:
    """
    Carry out a wish once; answers what its customer may see.

    `decide` answers the wish, None if it is true already, or refuses; `draft` its steps, under the mark of the hold.
    Both are asked again if the record moves before the hold. `stands` answers what a wish that is true already has led
    to: unless said, the subscription. Of two wishes at once the later is turned away before
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
            wish = _decided(ours, decide, at)
            if held and held.wish == wish and held.basis == ours.basis():
                revision = ours.take(at, named, request.fingerprint)
            elif held:
                give_way(ours, held, at)
                continue
            elif wish:
                id = named or digest(ours.id, ours.created_at, ours.version, wish)
                mark = digest(id, ours.created_at, ours.version)
                revision = ours.hold(_change(id, mark, request, wish, draft(ours, wish, mark), ours.basis()), at)
            else:
                return _true_already(ours, request, stands)
            return _finish(records.commit(ours, revision).customer, request)
        except Stale:
            continue
    raise Stale("the customer keeps moving")


def _decided(ours: Customer, decide: Callable[[Customer], Wish | None], at: int) -> Wish | None:
    """A wish that is refused lets no dead hold stand."""
    try:
        return decide(ours)
    except BillingError:
        if ours.pending:
            give_way(ours, ours.pending, at)
        raise


def caught_up(request: Request) -> Customer:
    """The customer as Stripe has it now, to answer a question about it; a change in flight has to land first."""
    for _ in range(records.TRIES):
        ours = customer_table.find(request.customer, request.at)
        if ours.pending and not ours.overdue(request.at):
            raise ChangeInFlight("another change is waiting for Stripe")
        try:
            return recover(ours, request.at)
        except Stale:
            continue
    raise Stale("the customer keeps moving")


def recover(ours: Customer, at: int) -> Customer:
    """
    Find out what has become at Stripe of a hold whose maker is dead, and of all else, before anything is decided.

    A hold that is found is settled, and what follows it is done. One that is not may be sent again by its own wish,
    under the same keys, as long as Stripe surely remembers them; to another wish it gives way. Stale if the record
    moves meanwhile.
    """
    ours = _closed(ours, at)
    held = ours.pending
    said = steps.look(held) if held else None
    if held and said and held.draft.follow:
        said = _followed(ours, held, said, at)
    if held and not said and held.expired(at):
        ours = give_way(ours, held, at)
    found = said is not None
    said = said or _current(ours)
    if not said:
        return ours
    after = records.commit(ours, settling(ours, said, at, done=found)).customer
    if ours.lives() and not after.lives():
        return recover(after, at)  # another one may live beside it
    lost = after.subscription.lost() if after.subscription and not after.pending else None
    if lost:
        _insist(steps.restore, after, lost, at)
        return recover(records.commit(after, after.restored(at)).customer, at)
    return after


def give_way(ours: Customer, held: Change, at: int) -> Customer:
    """
    A hold of which nothing has come: what it had put aside is put back, and it is released. Stale, and nothing is
    touched, if it is no longer this one: someone has taken it up, settled or released it.
    """
    current = customer_table.find(ours.id, at)
    if not current.holds(held):
        raise Stale("someone else is at this change")
    _insist(steps.restore, current, held, at)
    return records.update(current, lambda current: current.release(held, at), at)


def _insist(act: Callable[[Change], None], ours: Customer, change: Change, at: int) -> None:
    """What follows a change, or restores what stood before it, is tried until it is done: each time under new keys."""
    try:
        act(change)
    except Failed:
        records.update(ours, lambda current: current.doubt(change, at), at)
        raise


def _closed(ours: Customer, at: int) -> Customer:
    """A page that was open, and is so no longer: what was bought there is on record from now on."""
    session = gateway.session(ours.checkout.id) if ours.checkout else None
    if not session or not session.over:
        return ours
    bought = gateway.subscription(session.subscription) if session.subscription else None
    revision = (settling(ours, bought, at) if bought else Revision(ours)).closing(at)
    return records.commit(ours, revision).customer


def _current(ours: Customer) -> Theirs | None:
    """The customer's subscription as Stripe has it; if ours has ended, or there is none, whatever lives there."""
    if ours.subscription and not ours.subscription.theirs.ended:
        return gateway.subscription(ours.subscription.theirs.id)
    if not ours.stripe_id:
        return None
    living = [theirs for theirs in gateway.subscriptions(ours.stripe_id) if not theirs.ended]
    return next((theirs for theirs in living if theirs.fills_slot), next(iter(living), None))


def settling(ours: Customer, said: Said, at: int, done: bool = False) -> Revision:
    """What our record becomes by what Stripe said. `done`: the held change is known to be, and all that follows it."""
    if isinstance(said, Theirs):
        plan, coming = plan_table.by_price(said.price), said.awaited or said.scheduled
        known = ours.subscription and ours.subscription.theirs.id == said.id
        aside = None if known else customer_table.aside(ours.id, said.id)
        next_plan = plan_table.by_price(coming.price) if coming and coming.price else None
        ours = _telling(ours) if done else ours
        revision = ours.absorb(said, plan, at, aside, next_plan, done)
        about = {"subscription": said.id, "status": said.status, "price": said.price}
        if said.status not in STATUSES:
            log.alarmed("unknown_status", **about)
        if plan is None and not said.ended:
            log.alarmed("unknown_plan", **about)
        if said.fills_slot and any(each.theirs.id == said.id for each in revision.aside):
            log.alarmed("second_subscription", **about)
        return revision.abandoning(said.id, at) if said.ended else revision
    held = ours.pending
    if not held or said.change != held.mark:
        return Revision(ours)
    if isinstance(said, Session):
        return ours.opened(said, plan_table.priced(held.wish.terms["price"]), at)
    return ours.profiled(Profile(**held.wish.terms), at)


def _telling(ours: Customer) -> Customer:
    """What was to be given back is told as what has been: Stripe may have refused some of it."""
    held = ours.pending
    if not held or not held.draft.follow or "given_back" not in held.draft.told:
        return ours
    given_back = held.draft.told["given_back"] | gateway.given_back(held)
    draft = replace(held.draft, told=held.draft.told | {"given_back": given_back})
    return replace(ours, pending=replace(held, draft=draft))


def _join(ours: Customer, held: Change, wish: Wish | None, request: Request) -> dict:
    """The same wish is held, by someone who may be at work. Whoever comes too late to have ended in time only looks."""
    at, id = request.at, _named(request)
    said = steps.look(held) if held.wish == wish and not held.draft.follow else None
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
    """Send the steps, then look: the answer to a key may be an old one. Then what follows them, and look again."""
    try:
        steps.take(change)
    except (PaymentDeclined, Rejected, NotFound, Conflict, Failed) as failure:
        said = steps.look(change)  # it may have happened all the same
        if said:
            return _followed(ours, change, said, at)
        if isinstance(failure, Failed) and not isinstance(failure, KeySpent) and not change.failures:
            records.update(ours, lambda current: current.doubt(change, at), at)
        else:
            with suppress(Stale):  # whoever had joined has released it
                give_way(ours, change, at)
        raise
    said = steps.look(change)
    if not said:
        raise Unavailable("Stripe took the change and does not show it yet")
    return _followed(ours, change, said, at)


def _followed(ours: Customer, change: Change, said: Said, at: int) -> Said:
    """What Stripe says when all that follows a change is done."""
    if not change.draft.follow:
        return said
    _insist(steps.follow, ours, change, at)
    return steps.look(change) or said


def _settle(ours: Customer, held: Change, said: Said, at: int) -> tuple[Customer, Settled | None]:
    """
    Record what Stripe said of the held change. If the record has moved, a webhook may have done so, or settled it:
    then what Stripe says now, unless that is settled.
    """
    for _ in range(records.TRIES):
        revision = settling(ours, said, at, done=True)
        try:
            return records.commit(ours, revision).customer, revision.settled
        except Stale:
            ours = customer_table.find(ours.id, at)
            looked = steps.look(held) if ours.holds(held) else None
            if not looked:  # what was said before may be older than the record
                return ours, None
            said = looked
    raise Stale("the customer keeps moving")


def _told(ours: Customer, settled: Settled | None, held: Change) -> dict:
    """What the caller of a change is told: what was settled, by us or by someone else, with what confirms a payment."""
    told = settled or customer_table.settled(ours.id, held.id)
    if not told:
        raise Unavailable("the outcome is not known yet")
    return _payable(told.answer, ours)


def _again(told: Settled, request: Request) -> dict:
    if told.fingerprint != request.fingerprint:
        raise KeyReused("this Idempotency-Key has been used for another change")
    return _payable(told.answer)


def _true_already(ours: Customer, request: Request, stands: Callable[[Customer], dict] | None) -> dict:
    """Nothing to do; and a key of the caller's is taken."""
    at, id = request.at, _named(request)
    answer = stands(ours) if stands else _subscription(ours, at)
    if id:
        records.commit(ours, ours.answered(id, request.fingerprint, answer, at))
    return _payable(answer, ours)


def _subscription(ours: Customer, at: int) -> dict:
    subscription = ours.live()
    return subscription.public(plan_table.by_price(subscription.theirs.price), at)


def _payable(answer: dict, ours: Customer | None = None) -> dict:
    """With what the client confirms a payment with; it is on no record, so it may have to be asked for again."""
    theirs = ours.subscription.theirs if ours and ours.subscription else None
    secret = theirs.client_secret if theirs and theirs.id == answer["id"] else None
    if not secret and (answer.get("status") == "incomplete" or answer.get("pending_change")):
        secret = gateway.subscription(answer["id"]).client_secret
    return answer | {"payment": {"client_secret": secret}} if secret else answer


def _change(id: str, mark: str, request: Request, wish: Wish, draft: Draft, basis: str) -> Change:
    return Change(
        id=id,
        mark=mark,
        fingerprint=request.fingerprint,
        wish=wish,
        draft=draft,
        held_at=request.at,
        sent_at=request.at,
        basis=basis,
    )


def _named(request: Request) -> str | None:
    return digest(request.customer, request.key) if request.key else None
