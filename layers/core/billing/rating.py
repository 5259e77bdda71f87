"""What usage costs."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from math import ceil, floor

from billing.currencies import chargeable

AMOUNT = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?$"  # as Stripe's unit_amount_decimal: up to 12 decimals
MOST_TIERS = 50


@dataclass(frozen=True, slots=True)
class Tier:
    up_to: int | None  # the last unit that it is for, counted from the first that is not included; None: no last one
    unit_amount: str = "0"  # of each unit
    flat_amount: str = "0"  # once, when a unit falls in it


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """`amount` is what it comes to, exact: quantity * unit_amount + flat_amount. Decimals in minor units."""

    quantity: int  # of what unit_amount is the price of: units, or packages
    unit_amount: str
    flat_amount: str
    amount: str


@dataclass(frozen=True, slots=True)
class Charge:
    quantity: int
    included: int  # units of it that cost nothing
    amount_cents: int  # the lines' sum, rounded
    lines: list[ChargeLine] = field(default_factory=list)

    def public(self) -> dict:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rate:
    """
    How usage is priced. Amounts are decimals, as strings, in minor units of the plan's currency: "0.15" of usd is 0.15
    cents. One that makes no sense cannot be made: ValueError.
    """

    model: str  # unit; package: so much for each that is begun; graduated, volume: by tiers
    included: int = 0  # units that cost nothing; they come off first
    unit_amount: str | None = None  # of a unit, or of a package
    package_size: int | None = None  # units
    tiers: list[Tier] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.model not in ("unit", "package", "graduated", "volume"):
            raise ValueError(f"{self.model} is no model of a rate")
        tiered, packaged = self.model in ("graduated", "volume"), self.model == "package"
        if tiered == (self.unit_amount is not None):
            raise ValueError(f"{self.model}: unit_amount is {'said by the tiers' if tiered else 'missing'}")
        if packaged == (self.package_size is None):
            raise ValueError(f"{self.model}: package_size is {'missing' if packaged else 'of packages alone'}")
        if tiered != bool(self.tiers):
            raise ValueError(f"{self.model}: tiers are {'missing' if tiered else 'of graduated and volume alone'}")
        amounts = [amount for tier in self.tiers for amount in (tier.unit_amount, tier.flat_amount)]
        for amount in amounts if tiered else [self.unit_amount or ""]:
            if not re.fullmatch(AMOUNT, amount):
                raise ValueError(f"{amount} is no decimal amount")
        borders = [tier.up_to for tier in self.tiers]
        if borders and borders[-1] is not None:
            raise ValueError("the last tier has no end: its up_to is null")
        ends = [end for end in borders[:-1] if end is not None]
        if len(ends) < len(borders) - 1 or ends != sorted(set(ends)):
            raise ValueError("each tier ends after the one before it, and only the last has no end")

    def charge(self, quantity: int, currency: str) -> Charge:
        """
        What so many units of a period cost: the exact sum, rounded once, half up, to what can be charged in the
        currency. Nothing that costs was used: it costs nothing, and no flat amount either. ValueError below 0.

        Source: Stripe's docs, Pricing models; but there the first tier's flat amount is paid even for no unit.
        """
        if quantity < 0:
            raise ValueError(f"{quantity} units cannot be used")
        included = min(quantity, self.included)
        lines = self._lines(quantity - included)
        exact, step = sum((Fraction(line.amount) for line in lines), Fraction(0)), chargeable(currency)
        return Charge(quantity, included, floor(exact / step + Fraction(1, 2)) * step, lines)

    def _lines(self, units: int) -> list[ChargeLine]:
        if not units:
            return []
        if self.model == "graduated":
            return self._graduated(units)
        if self.model == "volume":
            tier = next(tier for tier in self.tiers if tier.up_to is None or units <= tier.up_to)
            return [_line(units, tier.unit_amount, tier.flat_amount)]
        return [_line(ceil(Fraction(units, self.package_size or 1)), self.unit_amount or "0")]

    def _graduated(self, units: int) -> list[ChargeLine]:
        lines, below = [], 0
        for tier in self.tiers:
            reached = units if tier.up_to is None else min(units, tier.up_to)
            lines.append(_line(reached - below, tier.unit_amount, tier.flat_amount))
            if reached == units:
                break
            below = reached
        return lines


def _line(quantity: int, unit_amount: str, flat_amount: str = "0") -> ChargeLine:
    amount = quantity * Fraction(unit_amount) + Fraction(flat_amount)
    return ChargeLine(quantity, unit_amount, flat_amount, _decimal(amount))


def _decimal(amount: Fraction) -> str:
    """All its decimals: no more than twelve, as many as an amount of a rate has."""
    whole, rest = divmod(int(amount * 10**12), 10**12)
    return f"{whole}.{rest:012}".rstrip("0").rstrip(".")
