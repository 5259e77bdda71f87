"""
The steps that a change takes at Stripe: how each is taken, once, and how one sees that it has been.

A step that is the last before there is no way back has a look; what follows it, and what restores what was before it,
looks for itself, so that taking it twice takes it once.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from billing import errors, gateway, log, translation
from billing.checkouts import Session
from billing.customers import TheirCustomer
from billing.gateway import ask, client, key
from billing.holds import Change, Step
from billing.theirs import Theirs

INHERITED = {"discounts", "automatic_tax", "default_payment_method", "collection_method"}  # by the next phase

Said = Theirs | TheirCustomer | Session


def take(change: Change) -> None:
    """Up to the one that makes the wish true, each under a key of its own: saying it twice makes it once."""
    for number, step in enumerate(change.draft.steps):
        _take(change, "", number, step)


def follow(change: Change) -> None:
    """
    What is owed once there is no way back. What Stripe refuses of it is for the operator: it would refuse it again,
    and the change itself stands.
    """
    _insist(change, "then", change.draft.follow)


def restore(change: Change) -> None:
    """What stood before a change that has come to nothing; likewise."""
    _insist(change, "back", change.draft.restore)


def look(change: Change) -> Said | None:
    """What Stripe says now if the step that makes the wish true has been taken; None if nothing shows it."""
    seen = CALLS[change.main.call].look
    try:
        return seen(change.main, change.mark) if seen else None
    except errors.NotFound:
        return None


def _insist(change: Change, part: str, steps: list[Step]) -> None:
    for number, step in enumerate(steps):
        try:
            _take(change, part, number, step)
        except (errors.StripeRefused, errors.NotFound, errors.PaymentDeclined) as refused:
            log.alarmed("follow_up_refused", change=change.id, call=step.call, target=step.target, reason=str(refused))


def _take(change: Change, part: str, number: int, step: Step) -> None:
    """Always in the same words: a record keeps no order of parameters, and a key holds those it came with."""
    step = replace(step, params=json.loads(json.dumps(step.params, sort_keys=True)))
    CALLS[step.call].make(step, gateway.key(change.key(part, number)))


class Call(NamedTuple):
    make: Callable[[Step, dict], object]
    look: Callable[[Step, str], Said | None] | None = None  # None: never the last step


def _create_subscription(step: Step, options: dict) -> None:
    ask(client().v1.subscriptions.create, step.params, options)


def _find_subscription(step: Step, mark: str) -> Theirs | None:
    return next((theirs for theirs in gateway.subscriptions(step.target) if theirs.shows(mark)), None)


def _create_checkout(step: Step, options: dict) -> None:
    ask(client().v1.checkout.sessions.create, step.params, options)


def _find_checkout(step: Step, mark: str) -> Session | None:
    return next((session for session in gateway.sessions(step.target) if session.change == mark), None)


def _expire_checkout(step: Step, options: dict) -> None:
    """Stale if it has been completed meanwhile: then a subscription lives that nothing was decided on."""
    status = gateway.session(step.target).status
    if status == "open":
        try:
            ask(client().v1.checkout.sessions.expire, step.target, {}, options)
            return
        except errors.StripeRefused:
            status = gateway.session(step.target).status
    if status != "expired":
        raise errors.Stale(f"the checkout is {status} meanwhile")


def _update_subscription(step: Step, options: dict) -> None:
    ask(client().v1.subscriptions.update, step.target, step.params, options)


def _see_subscription(step: Step, mark: str) -> Theirs | None:
    theirs = gateway.subscription(step.target)
    return theirs if theirs.shows(mark) else None


def _cancel_subscription(step: Step, options: dict) -> None:
    """A DELETE takes no key, and to cancel twice is an error: whoever is told so looks whether it is cancelled."""
    if gateway.subscription(step.target).ended:
        return
    try:
        ask(client().v1.subscriptions.cancel, step.target, step.params)
    except (errors.NotFound, errors.StripeRefused):
        if not gateway.subscription(step.target).ended:
            raise


def _see_cancelled(step: Step, mark: str) -> Theirs | None:
    theirs = gateway.subscription(step.target)
    return theirs if theirs.ended else None


def _void_invoice(step: Step, options: dict) -> None:
    """Stale if it has been paid meanwhile: then what was decided was decided on something else."""
    status = gateway.invoice(step.target).status
    if status == "open":
        try:
            ask(client().v1.invoices.void_invoice, step.target, step.params, options)
            return
        except errors.StripeRefused:
            status = gateway.invoice(step.target).status
    if status != "void":
        raise errors.Stale(f"the invoice is {status} meanwhile")


def _see_voided(step: Step, mark: str) -> Theirs | None:
    said = gateway.invoice(step.target)
    return gateway.subscription(said.subscription) if said.status == "void" and said.subscription else None


def _discard_draft(step: Step, options: dict) -> None:
    """
    What a pause has kept of a period that was given up is charged never: Stripe voids no draft, and deletes none of a
    subscription (docs: Delete a draft invoice), so it is finalized without being charged, then void. One that the
    customer's balance covers would be paid by that: it stays a draft, and the operator is told.
    """
    finalize, void = _keys(options, "finalize", "void")
    invoice = ask(client().v1.invoices.retrieve, step.target, {"expand": ["customer"]})
    if invoice.status == "draft":
        if invoice.total + min(0, invoice.customer.balance) <= 0:
            raise errors.StripeRefused("the draft of a pause stays one: the balance would pay it")
        invoice = ask(client().v1.invoices.finalize_invoice, step.target, {"auto_advance": False}, finalize)
    if invoice.status == "open":
        invoice = ask(client().v1.invoices.void_invoice, step.target, {}, void)
    if invoice.status != "void":
        raise errors.StripeRefused(f"the draft of a pause is {invoice.status}, and the period has begun anew")


def _put_on_file(step: Step, options: dict) -> None:
    """What the customer's charges are tried on from now on. To do it twice changes nothing."""
    attach, default = _keys(options, "attach", "default")
    method = ask(client().v1.payment_methods.attach, step.params["payment_method"], {"customer": step.target}, attach)
    on_file = {"invoice_settings": {"default_payment_method": method.id}}
    ask(client().v1.customers.update, step.target, on_file, default)


def _update_customer(step: Step, options: dict) -> None:
    ask(client().v1.customers.update, step.target, step.params, options)


def _see_customer(step: Step, mark: str) -> TheirCustomer | None:
    theirs = gateway.customer(step.target)
    return theirs if theirs.change == mark else None


def _set_tax_id(step: Step, options: dict) -> None:
    """The one tax id of a customer; the look comes first, for Stripe takes the same one twice."""
    known = ask(client().v1.customers.tax_ids.list, step.target).data
    others = [each for each in known if {"type": each.type, "value": each.value} != step.params]
    if step.params and len(others) == len(known):
        ask(client().v1.customers.tax_ids.create, step.target, step.params, options)
    for each in others:
        ask(client().v1.customers.tax_ids.delete, step.target, each.id)


def _release_schedule(step: Step, options: dict) -> None:
    """From then on the subscription may be changed. Stale if what was to come has come, or is something else by now."""
    theirs = gateway.subscription(step.target)
    schedule, have = theirs.schedule, step.params["have"]
    if [theirs.price, theirs.quantity] != have or (schedule and schedule.id != step.params["schedule"]):
        raise errors.Stale("the schedule is another one meanwhile, or has done its work")
    if schedule:
        ask(client().v1.subscription_schedules.release, schedule.id, {}, options)


def _see_released(step: Step, mark: str) -> Theirs | None:
    theirs = gateway.subscription(step.target)
    return theirs if theirs.released(step.params["have"]) else None


def _release_blank(step: Step, options: dict) -> None:
    """A schedule that was made and never told what is to come."""
    theirs = gateway.subscription(step.target)
    if theirs.schedule and not theirs.schedule.starts_at:
        ask(client().v1.subscription_schedules.release, theirs.schedule.id, {}, options)


def _schedule_change(step: Step, options: dict) -> None:
    """
    What is to come, in place of what was: a schedule of the subscription as it is, unless it has one, then its phases.

    What is left out of a phase is dropped (docs: Subscription schedules), so the current one is sent as it is.
    """
    made, phased = _keys(options, "schedule", "phases")
    attached = ask(client().v1.subscriptions.retrieve, step.target, {"expand": ["schedule"]})
    schedule = attached.schedule or ask(
        client().v1.subscription_schedules.create, {"from_subscription": step.target}, made
    )
    if translation.change_id(schedule.metadata) == step.params["metadata"]["change_id"]:
        return
    began, ends = schedule.current_phase.start_date, step.params["starts_at"]
    late = max(0, schedule.current_phase.end_date - ends) if ends <= began else 0  # its own period is over
    now = translation.phase(next(each for each in schedule.phases if each.start_date == began))
    plan = translation.theirs(attached).price
    coming = [_coming(phase, now, plan, late) for phase in step.params["phases"]]
    if late:
        log.alarmed("scheduled_change_late", subscription=step.target, seconds=late)
    phases = [now | {"start_date": began, "end_date": ends + late}, *coming]
    said = {"phases": phases, "end_behavior": step.params["end_behavior"], "proration_behavior": "none"}
    ask(client().v1.subscription_schedules.update, schedule.id, said | {"metadata": step.params["metadata"]}, phased)


def _coming(phase: dict, now: dict, plan: str, late: int) -> dict:
    """A phase that is put back is whole. In a new one stays what goes with a subscription: discounts, and add-ons."""
    inherited = {name: value for name, value in now.items() if name in INHERITED} | phase
    if "end_date" in phase:
        return inherited | {"end_date": phase["end_date"] + late}
    named = {item["price"] for item in phase["items"]} | {plan}
    return inherited | {"items": [*phase["items"], *(item for item in now["items"] if item["price"] not in named)]}


def _resume_subscription(step: Step, options: dict) -> None:
    """One that Stripe has paused begins anew; it gives access when the new period is paid."""
    theirs = gateway.subscription(step.target)
    if theirs.status == "paused" and not theirs.open_invoice:
        ask(client().v1.subscriptions.resume, step.target, step.params, options)


def _see_resumed(step: Step, mark: str) -> Theirs | None:
    theirs = gateway.subscription(step.target)
    return theirs if theirs.shows(mark) and (theirs.status != "paused" or theirs.open_invoice) else None


def _credit_note(step: Step, options: dict) -> None:
    """What is given back of an invoice, as money or as credit."""
    made = ask(lambda: list(client().v1.credit_notes.list({"invoice": step.target, "limit": 100}).auto_paging_iter()))
    if not _among(made, step):
        ask(client().v1.credit_notes.create, {"invoice": step.target} | step.params, options)


def _credit_waiting(step: Step, options: dict) -> None:
    """
    What waits to be credited goes to the customer's balance at once, and waits no longer: in this order, so that
    whoever dies between has lost nothing, and the next finds it booked. What an invoice has taken it has credited. The
    charges go first: Stripe collects what is left at the end of the period.
    """
    items = step.params["items"]
    if not gateway.booked(step.target, step.params["metadata"]["change_id"]):
        if any(gateway.invoiced(id) for id in items):
            raise errors.StripeRefused("what was to be credited is on an invoice meanwhile")
        said = {name: value for name, value in step.params.items() if name != "items"}
        ask(client().v1.customers.balance_transactions.create, step.target, said, options)
    for id in items:
        with suppress(errors.NotFound):
            ask(client().v1.invoice_items.delete, id)


def _honour_invoice(step: Step, options: dict) -> None:
    """
    The invoice of a change that says more than was quoted: the difference is credited on it, and the operator is told.

    It is the first of a change since the one that was the latest `before`; a renewal may have come since.
    """
    listed = {"subscription": step.target, "limit": 100}
    newest = ask(client().v1.invoices.list, listed).data
    since = list(takewhile(lambda each: each.id != step.params["before"], newest))
    made = [each for each in since if each.billing_reason == "subscription_update"]
    if not made or made[-1].total <= step.params["total"]:
        return
    invoice, metadata = made[-1], step.params["metadata"]
    excess = invoice.total - step.params["total"]
    log.alarmed("quote_exceeded", invoice=invoice.id, quoted=step.params["total"], excess=excess)
    note = {"amount": excess, "metadata": metadata} | ({"credit_amount": excess} if invoice.status == "paid" else {})
    _credit_note(Step("credit_note", invoice.id, note), options)


def _honour_items(step: Step, options: dict) -> None:
    """The same for the lines of a change that wait for the next invoice, or are on it by now: by their instant."""
    theirs, metadata = gateway.subscription(step.target), step.params["metadata"]
    items = ask(client().v1.invoice_items.list, {"customer": theirs.customer, "limit": 100}).data
    own = [each for each in items if each.id not in step.params["before"] and translation.of(each.parent) == theirs.id]
    excess = sum(each.amount for each in own if each.period.start == step.params["at"]) - step.params["net"]
    if excess <= 0 or _among(items, step):
        return
    log.alarmed("quote_exceeded", subscription=theirs.id, quoted=step.params["net"], excess=excess)
    item = {"customer": theirs.customer, "subscription": theirs.id, "currency": theirs.currency, "amount": -excess}
    ask(client().v1.invoice_items.create, item | {"metadata": metadata}, options)


CALLS = {
    "create_subscription": Call(_create_subscription, _find_subscription),
    "create_checkout": Call(_create_checkout, _find_checkout),
    "expire_checkout": Call(_expire_checkout),
    "update_subscription": Call(_update_subscription, _see_subscription),
    "cancel_subscription": Call(_cancel_subscription, _see_cancelled),
    "resume_subscription": Call(_resume_subscription, _see_resumed),
    "schedule_change": Call(_schedule_change, _see_subscription),
    "release_schedule": Call(_release_schedule, _see_released),
    "release_blank": Call(_release_blank),
    "void_invoice": Call(_void_invoice, _see_voided),
    "discard_draft": Call(_discard_draft),
    "put_on_file": Call(_put_on_file),
    "update_customer": Call(_update_customer, _see_customer),
    "set_tax_id": Call(_set_tax_id),
    "credit_note": Call(_credit_note),
    "credit_waiting": Call(_credit_waiting),
    "honour_invoice": Call(_honour_invoice),
    "honour_items": Call(_honour_items),
}


def _keys(options: dict, *calls: str) -> list[dict]:
    """A key for each call of a step."""
    return [key(f"{options['idempotency_key']}:{call}") for call in calls]


def _among(made: Iterable, step: Step) -> bool:
    mark = step.params["metadata"]["change_id"]
    return any(translation.change_id(each.metadata) == mark for each in made)
