"""Putting a customer's next version on record, with everything that belongs to the same transaction."""

from collections.abc import Callable, Sequence

from billing import customer_table, dynamodb, standing
from billing.customers import Customer, Revision
from billing.errors import Stale

TRIES = 5


def commit(before: Customer, revision: Revision, marks: Sequence[dict] = ()) -> list[int]:
    """
    Write a revision and the marks of the events that led to it: all or nothing. Totals of usage that name the old
    terms move along.

    Stale if the customer has moved since `before`. Answers the places of the marks that stood already; then nothing
    was written.
    """
    writes = [*customer_table.writes(revision), *standing.moved(before, revision.customer)]
    if not writes and not marks:
        return []
    refused = [refusal.place - len(writes) for refusal in dynamodb.transact([*writes, *marks])]
    if any(place < 0 for place in refused):
        raise Stale("the customer has moved")
    return refused


def update(customer: Customer, step: Callable[[Customer], Revision], at: int) -> Customer:
    """Take a step from the customer in hand; if the record has moved, from the record, again."""
    for _ in range(TRIES):
        revision = step(customer)
        try:
            commit(customer, revision)
            return revision.customer
        except Stale:
            customer = customer_table.find(customer.id, at)
    raise Stale("the customer keeps moving")
