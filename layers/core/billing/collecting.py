"""
Dunning, carried out: what Stripe says of an invoice opens a case, moves it, or closes it; its steps are taken when they
are due, each once; and a new payment method is tried at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from billing import changes, customer_table, dunning, gateway, log, plan_table, pricing, records, subscribing
from billing.api import Request
from billing.customers import Customer, Revision
from billing.dunning import Case
from billing.errors import Stale
from billing.holds import Draft, Step, Wish
from billing.invoices import Billing, Invoice
from billing.subscriptions import Subscription

DAYS = [0, 3, 5, 7, 14]  # of what is in no catalogue of ours
TRIED = (None, "access_ended")  # outcomes of a case whose invoice a new payment method is tried on
NONE: Mapping[str, str] = {}


def billing(revision: Revision, said: Sequence[Invoice], at: int) -> Revision:
    """The same, with what Stripe says of invoices, as far as it is news, and what that makes of their cases."""
    ours = revision.customer
    pairs = [Billing(customer_table.invoice(ours.id, each.place), each) for each in said]
    cases = list(ours.cases)
    for invoice in said:
        known = ours.case(invoice.id)
        if not known and (new := _opened(revision, invoice, at)):
            cases.append(new)
        cases = [each.following(invoice) if each.invoice == invoice.id else each for each in cases]
        cases = [left for each in cases if (left := each.superseded(invoice))]
    revision = revision.billing(tuple(pair for pair in pairs if pair.news), at)
    return revision.dunning(cases, at)


def _opened(revision: Revision, invoice: Invoice, at: int) -> Case | None:
    """
    One of an invoice that Stripe collects, and that has failed: not the first of a subscription that has never been
    paid, which Stripe gives up by itself; nor what a change waits for; nor of a subscription that has ended. What was
    given up before anybody told us of its failure stands, too.
    """
    ours, failed = revision.customer, invoice.status == "open" and invoice.problem is not None
    given_up = invoice.status == "uncollectible" and invoice.attempt_count > 0
    if not (failed or given_up) or not invoice.automatic or not invoice.remaining_cents:
        return None
    of = _bought(ours, invoice.subscription)
    if invoice.reason in dunning.PERIODIC:
        if not of or of.theirs.ended or (invoice.reason == "subscription_create" and of.theirs.status == "incomplete"):
            return None
        if of.theirs.awaited and of.theirs.awaited.invoice == invoice.id:
            return None
    closed = any(case.invoice == invoice.id for case in revision.closed)
    if closed or customer_table.case_closed(ours.id, invoice.id):
        return None
    plan = plan_table.by_price(of.theirs.price) if of else None
    return dunning.opened(invoice, plan, _ways(invoice.customer, of), DAYS, at)


def _bought(ours: Customer, id: str | None) -> Subscription | None:
    """The customer's one, or another that stands aside."""
    if not id:
        return None
    bought = ours.subscription
    return bought if bought and bought.theirs.id == id else customer_table.aside(ours.id, id)


def _ways(stripe_id: str, of: Subscription | None) -> list[str]:
    """What a customer could pay with now, and what would be taken: `default:` before its id."""
    taken = {of.theirs.payment_method if of else None, gateway.customer(stripe_id).payment_method} - {None}
    return [*gateway.payment_methods(stripe_id), *(f"default:{each}" for each in sorted(filter(None, taken)))]


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
            log.info("step_not_due", invoice=invoice, step=step)
            return
        try:
            said = gateway.invoice(invoice)
            if said.status == "open" and said.problem is None:  # a bank is at it; the sweep comes again
                log.info("payment_under_way", invoice=invoice, step=step)
                return
            revision = billing(Revision(ours), [said], at)
            case = revision.customer.case(invoice)
            if case and not case.outcome and case.last and case.ends != "end_access":
                if case.free_plan:
                    plan_table.on_sale(case.free_plan)  # nobody is cancelled for what is not to be had
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
        log.counted("DunningSteps", invoice=invoice, step=step, outcome=case.outcome if case else None)
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
        owed = gateway.invoice(case.invoice).status in (("open", "void") if free else ("open",))
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
    return any(case.outcome in TRIED for case in ours.cases)


def retry(ours: Customer, at: int, renewed: Mapping[str, str] = NONE) -> None:
    """
    What waits for its payment is tried with each payment method that has come since it failed, or has become the
    default, once each, the newest first; `renewed` are those that the bank has renewed, by the event that said so.
    Whoever dies between an attempt and the record of it asks for the same again, under the same key.
    """
    theirs = ours.stripe_id
    if not theirs or not waits(ours):
        return
    given_up = [case for case in ours.cases if case.outcome == "access_ended"]
    newest = max(given_up, key=lambda case: case.created, default=None)  # months that gave nothing are not charged
    for case in [case for case in ours.cases if case.outcome is None or case == newest]:
        of = _bought(ours, case.subscription)
        ways = [*_ways(theirs, of), *(f"{method}:{event}" for method, event in renewed.items())]
        new = [way for way in ways if way not in case.known]
        if not new:
            continue
        mine = case.subscription if of and not of.theirs.ended else None
        methods = {way.removeprefix("default:").partition(":")[0]: way for way in new}
        paid = any(gateway.retry(case.invoice, method, mine, way) for method, way in methods.items())
        log.counted("DunningRetries", invoice=case.invoice, paid=paid)
        tried = [*new, *(f"default:{method}" for method in methods)]  # it may become the default only now
        ours = records.update(ours, partial(_tried, invoice=case.invoice, tried=tried, at=at), at)
        if paid:
            ours = changes.recover(ours, at)


def _tried(ours: Customer, invoice: str, tried: list[str], at: int) -> Revision:
    revision = billing(Revision(ours), [gateway.invoice(invoice)], at)
    case = revision.customer.case(invoice)
    return _with(revision, replace(case, known=sorted({*case.known, *tried})), at) if case else revision
