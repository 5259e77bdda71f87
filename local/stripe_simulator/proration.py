"""What a price costs, and what a part of a period costs. Exact: fractions, then one rounding per line."""

from fractions import Fraction
from math import ceil
from typing import Any


def rounded(exact: Fraction) -> int:
    """The nearest integer, ties toward minus infinity: the only rule that fits all recorded invoices of Stripe."""
    return ceil(exact - Fraction(1, 2))


def share(total: int, start: int, end: int, at: int) -> int:
    """The part of a total for [start, end) that falls on [at, end)."""
    return part(total, start, end, at, end)


def part(total: int, start: int, end: int, since: int, until: int) -> int:
    """The part of a total for [start, end) that falls on [since, until)."""
    return rounded(Fraction(total * (until - since), end - start))


def total(price: dict[str, Any], quantity: int) -> int:
    """The full amount of a period. The first flat tier is billed even at quantity 0."""
    if price["billing_scheme"] == "per_unit":
        return price["unit_amount"] * quantity
    return (
        _volume(price["tiers"], quantity) if price["tiers_mode"] == "volume" else _graduated(price["tiers"], quantity)
    )


def _graduated(tiers: list[dict[str, Any]], quantity: int) -> int:
    amount = below = 0
    for place, tier in enumerate(tiers):
        if place and quantity <= below:
            break
        upper = quantity if tier["up_to"] is None else min(quantity, tier["up_to"])
        amount += (tier["flat_amount"] or 0) + (tier["unit_amount"] or 0) * (upper - below)
        below = upper if tier["up_to"] is None else tier["up_to"]
    return amount


def _volume(tiers: list[dict[str, Any]], quantity: int) -> int:
    tier = next(tier for tier in tiers if tier["up_to"] is None or quantity <= tier["up_to"])
    return (tier["flat_amount"] or 0) + (tier["unit_amount"] or 0) * quantity
