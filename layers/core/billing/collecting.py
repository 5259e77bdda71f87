"""
Dunning, carried out: what Stripe says of an invoice opens a case, moves it, or closes it; its steps are taken when they
are due, each once; and a new payment method is tried at once.
"""

from collections.abc import Sequence
from dataclasses import replace

from billing import changes, customer_table, dunning, gateway, pricing, records, standing, subscribing
from billing.api import Request, counted, logger
from billing.customers import Customer, Revision
from billing.dunning import Case
from billing.errors import Stale
from billing.holds import Draft, Step, Wish
from billing.invoices import Billing, Invoice

DAYS = [0, 3, 5, 7, 14]  # of what is in no catalogue of ours
NEVER_PAID = ("incomplete", "incomplete_expired")  # statuses of a subscription that its first invoice may leave behind


def billing(revision: Revision, said: Sequence[Invoice], at: int) -> Revision:
    """The same, with what Stripe says of invoices, as far as it is news, and what that makes of their cases."""
    ours = revision.customer
    pairs = [Billing(customer_table.invoice(ours.id, each.place), each) for each in said]
    cases = list(ours.cases)
    for invoice in said:
        known = ours.case(invoice.id)
        if not known and (new := _opened(ours, invoice)):
            cases.append(new)
        cases = [each.following(invoice) if each.invoice == invoice.id else each for each in cases]
        cases = [left for each in cases if (left := each.superseded(invoice))]
    revision = revision.billing(tuple(pair for pair in pairs if pair.before != pair.after), at)
    return revision.dunning(cases, at)


def _opened(ours: Customer, invoice: Invoice) -> Case | None:
    """
    One of an invoice that has failed: not the first of a subscription that has never been paid, which Stripe gives up
    by itself, nor what a change waits for. What was given up before anybody told us of its failure stands, too.
    """
    if invoice.status not in ("open", "uncollectible") or not invoice.attempt_count or not invoice.amount_due_cents:
        return None
    bought = ours.subscription if ours.subscription and ours.subscription.theirs.id == invoice.subscription else None
    if bought and bought.theirs.awaited and bought.theirs.awaited.invoice == invoice.id:
        return None
    if invoice.reason == "subscription_create" and (not bought or bought.theirs.status in NEVER_PAID):
        return None
    if customer_table.case_closed(ours.id, invoice.id):
        return None
    known = gateway.payment_methods(invoice.customer)
    return dunning.opened(invoice, standing.bought(ours) if bought else None, known, DAYS)


def take_step(customer: str, invoice: str, step: int, at: int) -> None:
    """
    What a case says on a day of its schedule; the last step ends the access, or the subscription. The invoice is looked
    at first: what has been paid, voided or given up is asked for no longer.

    A step that has been taken, or is not the next, is nothing to do. That the last one is under way is on record before
    Stripe hears of it, so whoever comes after one who died does the rest.
    """
    for _ in range(records.TRIES):
        ours = customer_table.find(customer, at)
        case = ours.case(invoice)
        if not case or case.outcome or case.taken != step:
            logger.info("step_not_due", invoice=invoice, step=step)
            return
        try:
            revision = billing(Revision(ours), [gateway.invoice(invoice)], at)
            case = revision.customer.case(invoice)
            if case and not case.outcome and case.last and case.ends != "end_access":
                if not case.ending:
                    ours = records.commit(ours, _with(revision, replace(case, ending=True), at)).customer
                ours = _end(ours, case, at)
                if ours.lives() and ours.live().theirs.id == case.subscription:
                    continue  # it has been paid meanwhile
                revision, case = Revision(ours), ours.case(invoice)
            if case and not case.outcome:
                revision = _with(revision, case.step(), at)
            records.commit(ours, revision)
        except Stale:
            continue
        counted("DunningSteps", invoice=invoice, step=step, outcome=case.outcome if case else None)
        return
    raise Stale("the customer keeps moving")


def _with(revision: Revision, case: Case, at: int) -> Revision:
    cases = [case if each.invoice == case.invoice else each for each in revision.customer.cases]
    return revision.dunning(cases, at)


def _end(ours: Customer, case: Case, at: int) -> Customer:
    """The subscription is cancelled; for the free plan the debt is void, and that is subscribed to."""
    request = Request(ours.id, key=None, fingerprint="", path={}, query={}, at=at)
    free = case.ends == "free_plan"

    def decide(ours: Customer) -> Wish | None:
        if not ours.lives() or ours.live().theirs.id != case.subscription:
            return None
        owed = gateway.invoice(case.invoice).status in ("open", "void")
        return ours.live().cancel(immediately=True, unused_time="none") if owed else None

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        drafted = pricing.cancellation(ours, wish, mark)
        return replace(drafted, steps=[Step("void_invoice", case.invoice), *drafted.steps]) if free else drafted

    changes.carry_out(request, decide, draft, stands=Customer.public)
    ended = customer_table.find(ours.id, at)
    if free and case.free_plan and not ended.lives():
        subscribing.subscribe(request, case.free_plan)
        return customer_table.find(ours.id, at)
    return ended


def waits(ours: Customer) -> bool:
    """Whether a new payment method would be tried."""
    return any(case.outcome is None for case in ours.cases)


def retry(ours: Customer, at: int) -> None:
    """
    What waits for its payment is tried once with each payment method that has come since it failed, the newest first.
    Whoever dies between the attempt and the record of it asks for the same again, under the same key.
    """
    if not ours.stripe_id or not waits(ours):
        return
    methods = gateway.payment_methods(ours.stripe_id)
    for case in ours.cases:
        new = [each for each in methods if each not in case.known]
        if case.outcome or not new:
            continue
        mine = ours.lives() and ours.live().theirs.id == case.subscription
        gateway.retry(case.invoice, new[0], case.subscription if mine else None)
        said = gateway.invoice(case.invoice)
        counted("DunningRetries", invoice=case.invoice, status=said.status)

        def tried(current: Customer, case=case, new=new, said=said) -> Revision:
            revision = billing(Revision(current), [said], at)
            known = revision.customer.case(case.invoice)
            return _with(revision, replace(known, known=[*known.known, *new]), at) if known else revision

        ours = records.update(ours, tried, at)
