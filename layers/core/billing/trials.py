"""One trial for a customer, and for a card: the same card has the same fingerprint at all customers of the account."""

from typing import NamedTuple

from billing import customer_table, gateway
from billing.customers import Customer, TheirCustomer
from billing.plans import Plan


class Trial(NamedTuple):
    granted: bool
    card: str | None  # fingerprint of the card that has its one trial by this


def first(ours: Customer, plan: Plan, payment_method: str | None, theirs: TheirCustomer) -> Trial:
    """Whether a customer who subscribes has a trial, by what is known of the card it will pay with."""
    if not plan.trial_days or ours.trialed:
        return Trial(False, None)
    card = gateway.card(payment_method) if payment_method else theirs.fingerprint
    had = customer_table.trialed(card) if card else None
    return Trial(False, None) if had not in (None, ours.id) else Trial(True, card)
