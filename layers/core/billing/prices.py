"""A price that Stripe had before us: whether a plan can stand for it, and what that plan must cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from billing.errors import PriceDiffers, PriceUnfit
from billing.periods import MONTHS
from billing.plans import Plan

PRICE = r"^[A-Za-z0-9_.:-]{1,200}$"  # what was a plan at Stripe before there were prices may have a name of its own


@dataclass(frozen=True, slots=True)
class Tier:
    up_to: int | None  # the last seat that it is for; None: no last one
    flat: Decimal = Decimal(0)  # once it is reached
    unit: Decimal = Decimal(0)  # of each seat in it


@dataclass(frozen=True, slots=True)
class TheirPrice:
    """What Stripe says of a price. Amounts in minor units of `currency`; Stripe has up to 12 decimals of one."""

    id: str
    active: bool  # it, and its product
    currency: str
    interval: str | None  # day, week, month, year; None: it is paid once
    interval_count: int = 1
    usage: str = "licensed"  # metered
    unit: Decimal | None = None  # None: it has tiers, or the customer chooses
    tiers: Sequence[Tier] = ()
    mode: str | None = None  # of the tiers: graduated, volume
    packaged: bool = False  # the quantity is divided before it is priced
    custom: bool = False  # the customer chooses the amount
    product: str = ""
    others: Sequence[str] = ()  # currencies that it has an amount of its own in

    def total(self, seats: int) -> Decimal:
        """
        What a whole period of so many seats costs.

        Source: Stripe's docs, Pricing models (graduated): every tier that is reached is paid, the first one always.
        """
        if not self.tiers:
            return (self.unit or Decimal(0)) * seats
        total, below = Decimal(0), 0
        for tier in self.tiers:
            if below and seats <= below:
                break
            upper = seats if tier.up_to is None else min(seats, tier.up_to)
            total += tier.flat + tier.unit * (upper - below)
            below = upper
        return total

    def amounts(self) -> list[Decimal]:
        return (
            [each for tier in self.tiers for each in (tier.flat, tier.unit)] if self.tiers else [self.unit or Decimal()]
        )

    def bends(self) -> set[int]:
        """Where its total may stop to grow as it did."""
        return {0, *(tier.up_to for tier in self.tiers if tier.up_to is not None)}


class Cost(NamedTuple):
    """What a plan must say to cost the same for every number of seats from one on."""

    base_price_cents: int
    price_per_seat_cents: int
    included_seats: int


REASONS = {
    "one_time": "it is paid once",
    "metered": "it is billed by usage",
    "interval": "plans are billed by the month or the year",
    "interval_count": "plans are billed every month or every year, not every few",
    "custom_amount": "the customer chooses the amount",
    "package": "the quantity is divided before it is priced",
    "volume": "with volume tiers all seats cost what the last one does",
    "decimals": "plans cost whole minor units",
    "tiers": "plans have one base price for the included seats, and one price for each seat beyond",
}


def unfit(price: TheirPrice) -> str | None:
    """Why no plan can stand for it, one of REASONS; None: one can."""
    if price.interval is None:
        return "one_time"
    if price.usage != "licensed":
        return "metered"
    if price.interval not in MONTHS:
        return "interval"
    if price.interval_count != 1:
        return "interval_count"
    if price.custom or (price.unit is None and not price.tiers):
        return "custom_amount"
    if price.packaged:
        return "package"
    if price.tiers and price.mode != "graduated":
        return "volume"
    if any(amount != int(amount) for amount in price.amounts()):
        return "decimals"
    return None if _candidate(price) else "tiers"


def cost(price: TheirPrice) -> Cost:
    """PriceUnfit if no plan can cost the same."""
    found = None if (reason := unfit(price)) else _candidate(price)
    if not found:
        raise PriceUnfit(f"{reason}: {REASONS[reason or 'tiers']}")
    return found


def agree(price: TheirPrice, plan: Plan, on_sale: bool) -> None:
    """
    Whether the plan may stand for the price: PriceUnfit if none may, PriceDiffers if this one says something else.

    An archived price is of those who have it: Stripe lets nobody buy it. One that costs something of its own in another
    currency is, too: Checkout would charge a customer from there that (docs: Manual currency prices).
    """
    cost(price)
    if on_sale and not price.active:
        raise PriceUnfit(
            "inactive: it or its product is archived, and Stripe lets nobody buy it; with `on_sale: false` it is of "
            "those who have it"
        )
    if on_sale and price.others:
        raise PriceUnfit(
            f"currencies: it has amounts in {', '.join(price.others)}, too, and Checkout would charge those; with "
            "`on_sale: false` it is of those who have it"
        )
    if price.currency != plan.currency:
        raise PriceDiffers(f"the price is in {price.currency}, the plan in {plan.currency}")
    if price.interval != plan.billing_interval:
        raise PriceDiffers(f"the price is of a {price.interval}, the plan of a {plan.billing_interval}")
    if seats := differs(price, plan):
        theirs, ours = price.total(seats), plan.total(seats)
        raise PriceDiffers(f"{seats} seats cost {theirs} by the price and {ours} by the plan")


def differs(price: TheirPrice, plan: Plan) -> int | None:
    """
    A number of seats that does not cost the same; None: there is none.

    Between two bends both totals are straight lines, and those are the same if they are in two places.
    """
    bends = price.bends() | {plan.included_seats}
    places = sorted({bend + step for bend in bends for step in (0, 1, 2)} - {0})
    return next((seats for seats in places if price.total(seats) != plan.total(seats)), None)


def _candidate(price: TheirPrice) -> Cost | None:
    """
    What one seat costs is the base; how the total grows in the end is the price of a seat; and where a line of that
    slope leaves the base is the last seat that is included. Whether it is so in between is tried out.
    """
    base, far = int(price.total(1)), max(price.bends()) + 1
    seat = int(price.total(far + 1) - price.total(far))
    included = 1
    if seat:
        grown = int(price.total(far)) - base
        if grown % seat:
            return None
        included = far - grown // seat
    found = Cost(base, seat, included)
    shown = Plan("", 0, "", "", "", *found)
    return found if included >= 1 and min(base, seat) >= 0 and differs(price, shown) is None else None
