"""Putting a customer's next version on record, with everything that belongs to the same transaction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from billing import customer_table, domain_events, dynamodb, outbox, standing, timer_table, timers
from billing.customers import Customer, Revision
from billing.errors import Stale

TRIES = 5


class Committed(NamedTuple):
    """The customer as it is on record; not `refused`: those marks stood already, and nothing was written."""

    customer: Customer
    refused: list[int]


def commit(before: Customer, revision: Revision, marks: Sequence[dict] = ()) -> Committed:
    """
    Write a revision and the marks of the events that led to it: all or nothing. What has happened by it is told along
    with it (domain events, mails), what is to be done of it later is on record (timers), and totals of usage that name
    the old terms move along.

    Stale if the customer has moved since `before`.
    """
    customer, writes = revision.customer, []
    if revision.moved:
        at = customer.updated_at
        plan = standing.bought(customer)
        if customer.subscription:
            customer = replace(customer, access=list(customer.subscription.access(plan, at)))
        happened = domain_events.between(before, replace(revision, customer=customer), plan, at)
        waiting = timers.of(customer, plan)
        customer = replace(customer, told=before.told + len(happened), timers=sorted(waiting))
        writes += customer_table.writes(replace(revision, customer=customer))
        writes += outbox.writes(customer.id, before.told, happened, at)
        writes += timer_table.writes(customer.id, before.timers, waiting, at)
        writes += standing.moved(before, customer)
    if not writes and not marks:
        return Committed(customer, [])
    refused = [refusal.place - len(writes) for refusal in dynamodb.transact([*writes, *marks])]
    if any(place < 0 for place in refused):
        raise Stale("the customer has moved")
    return Committed(customer, refused)


def update(customer: Customer, step: Callable[[Customer], Revision], at: int) -> Customer:
    """Take a step from the customer in hand; if the record has moved, from the record, again."""
    for _ in range(TRIES):
        try:
            return commit(customer, step(customer)).customer
        except Stale:
            customer = customer_table.find(customer.id, at)
    raise Stale("the customer keeps moving")


def tell(id: str, happened: Sequence[domain_events.Happened], marks: Sequence[dict], at: int) -> bool:
    """
    What does not change the customer is told along with marks that may stand already: then it has been told. Answers
    whether it had not.
    """
    for _ in range(TRIES):
        customer = customer_table.find(id, at)
        revision = Revision(customer).telling(max(at, customer.updated_at), *happened)
        try:
            return not commit(customer, revision, marks).refused
        except Stale:
            continue
    raise Stale("the customer keeps moving")
