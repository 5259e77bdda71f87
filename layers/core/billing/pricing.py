"""What a change costs, by Stripe's own preview: the authority on what it will charge (docs/proration.md)."""

from dataclasses import replace
from fractions import Fraction

from billing import customer_table, gateway, log, plan_table
from billing.customers import Customer
from billing.errors import NothingToChange, NothingUpcoming, QuoteStale, QuoteUsed, UnknownQuote
from billing.holds import Draft, Step, Wish, digest
from billing.plans import Plan
from billing.proration import Proration, discounted, prorate
from billing.quotes import LIFE, Quote, Reckoning
from billing.refunds import Due, give_back
from billing.theirs import Theirs


def move(
    ours: Customer, plan: Plan, quantity: int, effective: str | None, quote_id: str | None = None, at: int = 0
) -> Wish | None:
    """
    Where the customer wants to be, and when: by the policy of the plan it has, unless said, or by a quote of the same.

    A quote is only good for the customer it was given to, and only once.
    """
    held, given = ours.pending, None
    if quote_id:
        if held and held.draft.quote == quote_id and _asks(held.wish, plan, quantity, effective):
            return held.wish
        given = customer_table.quote(ours.id, quote_id)
        if not given:
            raise UnknownQuote("no such quote was given to this customer")
        if given.used:
            raise QuoteUsed("a quote is good for one change: ask for another")
        effective = effective or given.reckoned.effective
    subscription = ours.live()
    wish = subscription.change(plan_table.of(subscription), plan, quantity, effective)
    if not given or not wish or wish.action != "change":
        return wish
    quoted = {name: getattr(given.reckoned, name) for name in wish.terms}
    if quoted != wish.terms:
        raise QuoteStale("what was quoted is another change, or of an older version", quote(ours, wish, at))
    return Wish("change", wish.terms | {"quote": given.id})


def _asks(wish: Wish, plan: Plan, quantity: int, effective: str | None) -> bool:
    """Whether it is the same that is asked for."""
    asked = plan.price, quantity, effective or wish.terms["effective"]
    return asked == (wish.terms["price"], wish.terms["quantity"], wish.terms["effective"])


def quote(ours: Customer, wish: Wish | None, at: int) -> dict:
    """What a move would cost, promised: it is on record until it is too old."""
    if not wish or wish.action != "change":
        raise NothingToChange("it is so already")
    reckoned, subscription = _reckon(ours, wish, at, at), ours.live()
    valid_until = min(at + LIFE, max(at, subscription.theirs.current_period_end))
    id = digest(ours.id, ours.version, reckoned, at)
    given = Quote(id, at, valid_until, reckoned, _next_invoice(subscription.theirs, reckoned))
    customer_table.promise(ours.id, given)
    return given.public(plan_table.priced(reckoned.price).slug)


def change(ours: Customer, wish: Wish, mark: str, at: int) -> Draft:
    """
    The steps of a move to a price and a quantity of seats, or of staying where one is.

    What costs more is invoiced at once and granted when it is paid; what costs less is credited on the next invoice.
    Stripe makes only so many invoices of a subscription: beyond that, and while on trial, the next one takes it all.
    One that was quoted is made at the quote's instant, and only if it still costs the same.
    """
    subscription = ours.live()
    if wish.action == "withdraw":
        nothing = Proration(subscription.theirs.currency, at)
        return replace(subscription.withdraw_draft(), told={"proration": nothing.public(), "billed": None})
    given = customer_table.quote(ours.id, wish.terms["quote"]) if "quote" in wish.terms else None
    fresh = _reckon(ours, wish, given.asked_at if given else at, at)
    if given and not given.holds(fresh, at):
        raise QuoteStale("what was quoted holds no more", quote(ours, wish, at))
    told = {"proration": (given.reckoned if given else fresh).proration.public(), "billed": fresh.billed}
    used = given.id if given else None
    if fresh.effective == "period_end":
        plan = plan_table.priced(fresh.price)
        steps = subscription.schedule_steps(mark, plan, fresh.quantity, fresh.resets)
        return Draft(steps, restore=subscription.unschedule(), told=told, quote=used)
    collect = fresh.billed == "now"
    return Draft(
        subscription.change_steps(mark, fresh.repricing, collect),
        follow=[_honour(given, fresh, ours, mark)] if given and fresh.billed else [],
        restore=subscription.put_back(),
        told=told,
        invoices=collect,
        quote=used,
    )


def cancellation(ours: Customer, wish: Wish, mark: str) -> Draft:
    """
    There will be no next invoice: of a subscription that ends with its period, what earlier changes have left to be
    credited goes to the customer's balance.

    Of one that ends now it is netted with the rest of the period, of which is given back what the wish says. Stripe's
    own proration of a cancellation pays nobody (docs: Cancel subscriptions), so what is given back are credit notes on
    what has been paid, after the subscription has ended, and what was still to be charged is dropped. Where more is to
    be charged than is owed, that proration is right: it is charged less the rest of the period.
    """
    subscription = ours.live()
    theirs = subscription.theirs
    if not wish.terms["immediately"]:
        draft = Draft(subscription.cancel_steps(mark, False), restore=subscription.put_back())
        return _crediting(draft, theirs, mark)
    unused_time = wish.terms["unused_time"]
    ending = gateway.ending(theirs, unused=unused_time != "none" and theirs.status == "active")
    owed = ending.owed_cents
    due = give_back(owed, gateway.paid_for(theirs, ending.credits, owed), unused_time, mark)
    *before, cancel = subscription.cancel_steps(mark, True, invoice_now=owed < 0)
    if owed < 0 < ending.unused_cents:
        cancel = replace(cancel, params=cancel.params | {"prorate": True})
    told = {"given_back": due.public(unused_time, theirs.currency)}
    return Draft([*before, cancel], follow=due.steps, told=told)


def _crediting(draft: Draft, theirs: Theirs, mark: str) -> Draft:
    """With what waits, as far as it was paid: it waits no more then, should the subscription be resumed."""
    ending = gateway.ending(theirs, unused=False)
    paid = sum(each.cents for each in gateway.paid_for(theirs, ending.credits, ending.owed_cents))
    owed = min(ending.owed_cents, paid)
    if owed <= 0:
        return draft
    booked = {"amount": -owed, "currency": theirs.currency, "metadata": {"change_id": mark}}
    step = Step("credit_waiting", theirs.customer, booked | {"items": ending.waiting})
    told = {"given_back": Due(0, owed, [step]).public("none", theirs.currency)}
    return replace(draft, follow=[step], told=told)


def _reckon(ours: Customer, wish: Wish, instant: int, at: int) -> Reckoning:
    subscription, price, quantity = ours.live(), wish.terms["price"], wish.terms["quantity"]
    theirs, plan, effective = subscription.changeable(), plan_table.priced(price), wish.terms["effective"]
    trialing = theirs.status == "trialing"  # its first period begins when the trial ends, whatever its interval
    resets = not trialing and plan_table.of(subscription).billing_interval != plan.billing_interval
    if effective == "period_end":
        nothing = Proration(theirs.currency, theirs.current_period_end)
        return Reckoning(subscription.basis(), price, quantity, effective, resets, nothing, None, 0)
    repricing, earlier = subscription.repricing(price, quantity, instant, resets), gateway.waiting(theirs)
    proration, due = gateway.preview(theirs, instant, earlier, proration_behavior="always_invoice", **repricing)
    if not trialing:
        _compare(ours, proration, plan, quantity, resets)
    owed = proration.net_cents > 0 and not trialing
    if proration.credit_cents and gateway.given_up(theirs):
        resets = resets or owed
        repricing = subscription.unprorated(price, quantity, anew=resets)
        if not resets:
            nothing = Proration(theirs.currency, proration.effective_at, waiting=proration.waiting)
            return Reckoning(
                subscription.basis(), price, quantity, effective, resets, nothing, None, 0, repricing, list(earlier)
            )
        proration, due = gateway.preview(theirs, instant, earlier, **repricing)
    collect = resets or (owed and subscription.may_invoice(at))
    return Reckoning(
        subscription.basis(),
        price,
        quantity,
        effective,
        resets,
        proration,
        billed="now" if collect else "next_invoice",
        due_cents=due if collect else 0,
        repricing=repricing,
        earlier=list(earlier),
    )


def _next_invoice(theirs: Theirs, reckoned: Reckoning) -> int | None:
    """The total of the next renewal: a whole period after the change, and what waits for it. None: none is to come."""
    try:
        if reckoned.billed == "now":
            return gateway.recurring(theirs, reckoned.price, reckoned.quantity, reckoned.resets)
        if theirs.schedule or reckoned.resets:  # a preview of the subscription would show what the schedule brings
            waits = sum(gateway.waiting(theirs).values()) + reckoned.proration.net_cents
            return gateway.recurring(theirs, reckoned.price, reckoned.quantity, reckoned.resets) + waits
        items = [{"id": theirs.item, "price": reckoned.price, "quantity": reckoned.quantity}]
        now, later = {"proration_behavior": "create_prorations"}, {"proration_behavior": "none", "items": items}
        return gateway.upcoming(theirs, **reckoned.repricing | now if reckoned.billed else later)
    except NothingUpcoming:
        return None


def _honour(given: Quote, fresh: Reckoning, ours: Customer, mark: str) -> Step:
    """Where Stripe charges more than was quoted all the same, the rest is given back."""
    theirs, quoted, metadata = ours.live().theirs, given.reckoned.proration, {"change_id": mark}
    if fresh.billed == "now":
        params = {"total": quoted.total_cents, "before": theirs.latest_invoice}
        return Step("honour_invoice", theirs.id, params | {"metadata": metadata})
    params = {"net": quoted.net_cents, "at": fresh.proration.effective_at, "before": fresh.earlier}
    return Step("honour_items", theirs.id, params | {"metadata": metadata})


def _compare(ours: Customer, proration: Proration, plan: Plan, quantity: int, resets: bool) -> None:
    """
    Our own reckoning, to within a minor unit a line; Stripe's is what counts. A difference is on record: the discount
    or the price of the running period was another one, or one of us reckons otherwise than documented.
    """
    subscription = ours.live()
    theirs, sold = subscription.theirs, plan_table.of(subscription)
    old, new = Fraction(sold.total(theirs.quantity)), Fraction(plan.total(quantity))
    for discount in theirs.discounts:
        old, new = (discounted(total, discount.percent_off, discount.amount_off_cents) for total in (old, new))
    start, end = theirs.current_period_start, theirs.current_period_end
    estimate = prorate(old, new, start, end, min(max(proration.effective_at, start), end - 1))
    credit, charge = -estimate[0].amount_cents, new if resets else estimate[1].amount_cents
    differs = max(abs(credit - proration.credit_cents), abs(charge - proration.charge_cents))
    if differs > len(proration.lines):
        log.counted("ProrationDiffers", subscription=theirs.id, stripe=proration.net_cents, ours=int(charge - credit))
