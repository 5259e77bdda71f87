"""What usage costs."""

from __future__ import annotations

from dataclasses import dataclass, field

AMOUNT = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?$"  # as Stripe's unit_amount_decimal: up to 12 decimals
MOST_TIERS = 50


@dataclass(frozen=True, slots=True)
class Tier:
    up_to: int | None  # the last unit that it is for, counted from the first that is not included; None: no last one
    unit_amount: str = "0"  # of each unit
    flat_amount: str = "0"  # once, when a unit falls in it


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
        tiered, packaged = self.model in ("graduated", "volume"), self.model == "package"
        if tiered == (self.unit_amount is not None):
            raise ValueError(f"{self.model}: unit_amount is {'said by the tiers' if tiered else 'missing'}")
        if packaged == (self.package_size is None):
            raise ValueError(f"{self.model}: package_size is {'missing' if packaged else 'of packages alone'}")
        if tiered != bool(self.tiers):
            raise ValueError(f"{self.model}: tiers are {'missing' if tiered else 'of graduated and volume alone'}")
        borders = [tier.up_to for tier in self.tiers]
        if borders and borders[-1] is not None:
            raise ValueError("the last tier has no end: its up_to is null")
        ends = [end for end in borders[:-1] if end is not None]
        if len(ends) < len(borders) - 1 or ends != sorted(set(ends)):
            raise ValueError("each tier ends after the one before it, and only the last has no end")
