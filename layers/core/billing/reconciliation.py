"""Comparing all that is on record with all that Stripe has, and making it equal by the procedures of the webhooks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from billing import (
    changes,
    collecting,
    customer_table,
    dynamodb,
    errors,
    gateway,
    listings,
    log,
    run_table,
    sync,
    trials,
)
from billing.customer_table import Kept
from billing.customers import Customer, Revision, TheirCustomer
from billing.errors import ChangeInFlight, Failed, NotFound, Stale, Unavailable, Unreadable
from billing.invoices import Invoice
from billing.runs import DONE, Drift, Run, customer_drift, invoice_drift, subscription_drift
from billing.subscriptions import Subscription
from billing.theirs import Theirs

SLICE = 12  # seconds of work. A worker that Stripe has kept beyond its 25 is killed: what is on record stands
WARM = 60  # seconds: what Stripe has just made news of is on its way to us, and is judged another time
NEWS = 5  # pages of it, the newest: at a hundred events a second those are on their way for no longer
PATIENT = 2  # slices that may end at one object because Stripe does not answer
PAGE = 100
SCANNED = 1000  # items, of which most are of no interest


@dataclass(frozen=True)
class Page:
    """Of what Stripe has, or we have: what is needed to judge each of it."""

    run: Run
    at: int
    items: Sequence
    after: Any
    owners: dict[str, str]  # customers of Stripe's that are ours
    customers: dict[str, Customer | Unreadable]

    def owner(self, stripe_id: str) -> Customer | None:
        """Unreadable: it is ours, and its record is not as we know them."""
        return _readable(self.customers.get(self.owners.get(stripe_id, "")))

    @cached_property
    def warm(self) -> set[str | None]:
        """Customers of Stripe's that it has just made news of."""
        found, after = listings.events(self.at - WARM, None)
        for _ in range(NEWS - 1):
            more, after = listings.events(self.at - WARM, after) if after else ([], None)
            found += more
        return {event.customer for event in found}

    @cached_property
    def stirred(self) -> set[str]:
        """Customers of ours that the run has repaired: what that leads to is news, too, and puts off nothing."""
        return {drift.customer for drift in _findings(self.run) if drift.repaired}


def work(run: Run, at: int) -> Run:
    """
    Carry a run on for a while: page by page, what Stripe has, then what is on record and was not among it.

    What it has come to is on record after each page. Stripe being busy or out of reach ends the slice, and is no
    finding. Stale: someone else carries it on.
    """
    deadline, waits = time.monotonic() + SLICE, None
    while run.stage != DONE and not waits and time.monotonic() < deadline:
        try:
            for further in _through(_page(run, at)):
                run = further
                if time.monotonic() >= deadline:
                    break
        except Unavailable as busy:
            run, waits = replace(run, stuck=run.stuck + 1), busy.code
            log.warning("reconciliation_waits", run=run.id, stage=run.stage, code=waits)
        if run.stage == DONE:
            run = _finished(run, at)
        run = run_table.save(run, at)
    return run


def _page(run: Run, at: int) -> Page:
    try:
        items, after = LISTS[run.stage](run)
    except NotFound:
        if run.after is None:
            raise
        return _page(replace(run, after=None), at)  # what it was to begin after has been deleted
    theirs = {name for each in items if (name := _stripe_customer(each))} if run.stage != "ours" else set()
    owners = customer_table.owners(theirs)
    return Page(run, at, items, after, owners, customer_table.several(sorted(set(owners.values()))))


def _through(page: Page) -> Iterator[Run]:
    """
    The run after each object of the page, and at last where the next page begins. Whatever goes wrong with one object
    is a finding, and the others go on; that Stripe does not answer, only if it does so slice after slice.
    """
    run = page.run
    for each in page.items:
        try:
            outcome = JUDGES[type(each)](page, each)
        except Exception as failure:
            silent = isinstance(failure, Unavailable) and not isinstance(failure, Failed)
            if silent and run.stuck < PATIENT:
                raise
            outcome = _not_judged(page, each, getattr(failure, "code", type(failure).__name__))
        run = run.past(each.key if isinstance(each, Kept) else each.id, outcome)
        yield run
    yield run.turns(page.after)


def _finished(run: Run, at: int) -> Run:
    """What was found is counted from the record: whoever died has left a page that was begun twice."""
    found = _findings(run)
    counts = {"found": len(found), "repaired": sum(drift.repaired for drift in found)}
    if not run.dry_run:
        log.counted("ReconcileRan", run=run.id, compared=run.compared, under_way=run.under_way, **counts)
    return replace(run, finished_at=at, **counts)


def _findings(run: Run) -> list[Drift]:
    found, after = run_table.findings(run.id, PAGE)
    while after:
        more, after = run_table.findings(run.id, PAGE, after)
        found += more
    return found


def _subscription(page: Page, theirs: Theirs) -> str:
    ours = page.owner(theirs.customer)
    return _compared(page, ours, theirs) if ours else "foreign"


def _compared(page: Page, ours: Customer, theirs: Theirs) -> str:
    if ours.pending and not ours.overdue(page.at):
        return "under_way"
    if changes.settling(ours, theirs, page.at).moved:
        return _subscription_judged(page, ours.id, theirs)
    return _same(page, ours, theirs)


def _same(page: Page, ours: Customer, theirs: Theirs) -> str:
    """Whoever recorded what Stripe says may have died before what it leads to: that is owed as long as it lives."""
    main = ours.subscription is not None and ours.subscription.theirs.id == theirs.id
    if not page.run.dry_run and (ours.overdue(page.at) or (main and not theirs.ended)):
        _follow_up(page, ours)
    if not theirs.ended:
        customer_table.see(customer_table.key_of(ours.id, aside=None if main else theirs.id), page.run.id)
    return "same"


def _subscription_judged(page: Page, customer: str, theirs: Theirs) -> str:
    """By what Stripe says now: what a list says is a moment old."""

    def step(ours: Customer) -> Revision:
        return trials.claiming(changes.settling(ours, gateway.subscription(theirs.id), page.at), page.at)

    def tell(before: Customer, revision: Revision | None) -> Drift:
        return subscription_drift(
            theirs.id, before.id, _theirs(before, theirs.id), revision and _told(revision, theirs.id)
        )

    return _judged(page, customer, theirs.customer, step, tell)


def _theirs(ours: Customer, id: str) -> Theirs | None:
    known = ours.subscription if ours.subscription and ours.subscription.theirs.id == id else None
    known = known or customer_table.aside(ours.id, id)
    return known and known.theirs


def _told(revision: Revision, id: str) -> Theirs | None:
    told = [each.theirs for each in (revision.customer.subscription, *revision.aside) if each]
    return next((theirs for theirs in told if theirs.id == id), None)


def _customer(page: Page, theirs: TheirCustomer) -> str:
    """One that is on record with no live subscription is seen; one with, by that. Others are ours if they say so."""
    ours = page.owner(theirs.id)
    if ours and not ours.lives():
        customer_table.see(customer_table.key_of(ours.id), page.run.id)
    if ours or not theirs.names:
        return "same" if ours else "foreign"
    named = _readable(customer_table.several([theirs.names]).get(theirs.names))
    living = any(each.fills_slot for each in gateway.subscriptions(theirs.id))
    if named and not living and named.was_to_be(theirs):
        return "under_way" if named.registering(page.at) else _registration_judged(page, named.id, theirs.id)
    if not living:
        return "foreign"  # of another use of the account, or a stray one that nothing hangs on
    return _found(page, replace(customer_drift(theirs.id, theirs.names, "missing_here"), why_not="not_linked"))


def _registration_judged(page: Page, customer: str, stripe_id: str) -> str:
    """Whoever made it at Stripe died before it was on record."""

    def step(ours: Customer) -> Revision:
        return Revision(ours) if ours.stripe_id else ours.registered(stripe_id, page.at)

    def tell(before: Customer, _) -> Drift:
        return customer_drift(stripe_id, before.id, "missing_here")

    return _judged(page, customer, stripe_id, step, tell)


def _invoice(page: Page, theirs: Invoice) -> str:
    ours = page.owner(theirs.customer)
    if not ours:
        return "foreign"
    if customer_table.invoice(ours.id, theirs.place) == theirs:
        customer_table.see(customer_table.key_of(ours.id, invoice=theirs.place), page.run.id)
        return "same"
    return _invoice_judged(page, ours.id, theirs)


def _invoice_judged(page: Page, customer: str, known: Invoice) -> str:
    def step(ours: Customer) -> Revision:
        said = gateway.invoice(known.id)
        return collecting.billing(Revision(ours), [said], page.at)

    def tell(before: Customer, revision: Revision | None) -> Drift:
        kept = customer_table.invoice(before.id, known.place)
        said = (revision.invoices[0].after if revision.invoices else kept) if revision else None
        return invoice_drift(known.id, before.id, kept, said)

    return _judged(page, customer, known.customer, step, tell)


def _kept(page: Page, kept: Kept) -> str:
    """On record, and not among what Stripe has listed: it is asked for by its name."""
    what = kept.what
    if isinstance(what, Unreadable):
        raise what
    if isinstance(what, Invoice):
        return _invoice_judged(page, kept.customer, what)
    if isinstance(what, Subscription):
        return _subscription_judged(page, kept.customer, what.theirs)
    if what.pending and not what.overdue(page.at):
        return "under_way"
    if what.lives():
        return _subscription_judged(page, kept.customer, what.live().theirs)
    if not what.stripe_id:
        return "same"
    return _deleted_judged(page, what.id, what.stripe_id)


def _deleted_judged(page: Page, customer: str, stripe_id: str) -> str:
    def step(ours: Customer) -> Revision:
        gone = ours.stripe_id == stripe_id and gateway.customer(stripe_id).deleted
        return sync.deregistered(ours, stripe_id, page.at) if gone else Revision(ours)

    def tell(before: Customer, _) -> Drift:
        return customer_drift(stripe_id, before.id, "missing_there")

    return _judged(page, customer, stripe_id, step, tell)


def _judged(
    page: Page,
    customer: str,
    stripe_id: str,
    step: Callable[[Customer], Revision],
    tell: Callable[[Customer, Revision | None], Drift],
) -> str:
    """
    Take the step that a webhook would; if it moves the record there is drift. The repair and the finding are one
    transaction.
    """
    run, at, told = page.run, page.at, []

    def marks(before: Customer, revision: Revision) -> list[dict]:
        drifts = [replace(tell(before, revision), repaired=True)] if revision.moved else []
        told[:] = [drift.following(run_table.found(run, drift.object)) for drift in drifts]
        return [run_table.finding(run, drift, at) for drift in told]

    if stripe_id in page.warm and customer not in page.stirred:
        return "under_way"
    ours = customer_table.find(customer, at)
    try:
        if run.dry_run:
            revision = step(ours)
            return _found(page, tell(ours, revision)) if revision.moved else "same"
        after = sync.record(customer, step, marks, at)
    except (Stale, ChangeInFlight):
        return "under_way"
    except NotFound:
        return _found(page, replace(tell(ours, None), why_not="not_found"))
    if not told:
        return "same"
    page.stirred.add(customer)
    _log(run, told[0])
    _follow_up(page, after)
    return "repaired"


def _follow_up(page: Page, ours: Customer) -> None:
    try:
        sync.follow_up(ours, page.at)
    except Exception as failure:  # the next event, or the next night; and the others are not to wait
        log.alarmed("follow_up_unfinished", run=page.run.id, stripe_customer=ours.stripe_id, code=errors.named(failure))


def _found(page: Page, drift: Drift) -> str:
    """Not repaired: it is only looked at, or for a reason. What this run has repaired is told as that."""
    if dynamodb.transact([run_table.finding(page.run, drift, page.at)]):
        return "under_way"
    _log(page.run, drift)
    return "found"


def _log(run: Run, drift: Drift) -> None:
    keys = {"run": run.id, "object": drift.object, "classes": drift.classes, "why_not": drift.why_not}
    log.counted("DriftFound", **keys)
    if not run.dry_run:
        log.counted("DriftRepaired" if drift.repaired else "DriftUnrepaired", **keys)


def _not_judged(page: Page, each: Any, why: str) -> str:
    about = each.what if isinstance(each, Kept) else each
    customer = each.customer if isinstance(each, Kept) else page.owners.get(_stripe_customer(each))
    customer = customer or getattr(about, "names", None)
    if not customer:
        return "foreign"
    if isinstance(about, Customer) and about.lives():
        about = about.live()
    id = about.theirs.id if isinstance(about, Subscription) else about.id
    return _found(page, Drift(id, customer, ["other"], why_not=why))


def _unreadable(page: Page, rotten: Unreadable) -> str:
    raise rotten


def _readable(found: Customer | Unreadable | None) -> Customer | None:
    if isinstance(found, Unreadable):
        raise found
    return found


def _stripe_customer(each: Theirs | TheirCustomer | Invoice | Unreadable) -> str:
    return each.id if isinstance(each, TheirCustomer) else each.customer


LISTS: dict[str, Callable[[Run], tuple[Sequence, Any]]] = {
    "subscriptions": lambda run: listings.subscriptions(run.after),
    "customers": lambda run: listings.customers(run.after),
    "invoices": lambda run: listings.open_invoices(run.after),
    "ours": lambda run: customer_table.unseen(run.id, run.after, SCANNED),
}
JUDGES: dict[type, Callable[[Page, Any], str]] = {
    Theirs: _subscription,
    TheirCustomer: _customer,
    Invoice: _invoice,
    Kept: _kept,
    Unreadable: _unreadable,
}
