"""What we sell: immutable versions of plans, and what each of them allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from billing.errors import SeatsOutOfRange
from billing.periods import MONTHS
from billing.rating import Rate

SLUG = r"^[a-z0-9][a-z0-9_-]{0,62}$"  # of a plan, and of what it names: features, limits, metrics
MOST_SEATS = 1_000_000
APART = ("version", "price", "product")  # from what a plan offers
MOST_METRICS = 15  # of a plan, by their shards: a change of terms moves two plans' totals in a hundred writes at once


def counter_of(id: str, span: str = "period", aggregation: str = "sum") -> str:
    """`span`: period of a subscription, free (the default plan's), month, day, never. No metric's name has a tilde."""
    return "~".join([id, *([span] if span != "period" else []), *([aggregation] if aggregation != "sum" else [])])


@dataclass(frozen=True, slots=True)
class Metric:
    """
    Something that is counted. `limit` is a name in the plan's limits. One that makes no sense cannot be made:
    ValueError.
    """

    limit: str
    enforcement: str = "hard"  # hard: never passed; soft: passed, and said; observe: only counted
    aggregation: str = "sum"  # of the quantities; max, last of them; unique: how many values there are
    kind: str = "consumed"  # held: it goes down again
    reset: str = "period"  # when it begins anew: period, month, day, never
    late: str = "adjust"  # what becomes of an event of a period that is billed: adjust, next_period, reject
    shards: int = 1  # items that a total is split over, for more writes a second than one takes
    alerts: list[int] = field(default_factory=lambda: [50, 80, 100])  # percent of the limit
    unavailable: str = "deny"  # what may be used while nobody can tell: deny, allow
    price: Rate | None = None  # of what is used in a period; None: it costs nothing

    def counter(self, id: str, free: bool = False) -> str:
        """What its totals are called: what is added up otherwise, or over other spans, is counted apart."""
        return counter_of(id, "free" if free and self.reset == "period" else self.reset, self.aggregation)

    def __post_init__(self) -> None:
        summed = self.aggregation == "sum"
        if self.kind == "held" and not (summed and self.reset == "never" and self.shards == 1 and not self.price):
            raise ValueError("what is held is a sum that is never reset, in one shard, without a price")
        if self.shards > 1 and not (summed and self.enforcement != "hard"):
            raise ValueError("shards are of sums that are soft or observed: a hard limit needs one total")
        if self.price and self.reset != "period":
            raise ValueError("what has a price is reset with the period that it is billed for")
        if self.alerts != sorted(set(self.alerts)):
            raise ValueError("alerts ascend, each said once")


@dataclass(frozen=True, slots=True)
class Plan:
    """
    One version of a plan; it never changes once it has a price. Money in minor units of `currency`.

    A limit of None is unlimited; one that is absent is 0, so that nothing opens by mistake.
    """

    slug: str
    version: int
    name: str
    billing_interval: str  # month, year
    currency: str
    base_price_cents: int
    price_per_seat_cents: int = 0
    included_seats: int = 1
    max_seats: int | None = 0
    trial_days: int = 0
    grace_days: int = 0  # of access after a renewal could not be paid
    trial_without_card: str = "cancel"  # what its end does then: cancel, pause
    second_trial: str = "end"  # one that comes to light when it has begun: end (it is charged now), cancel
    upgrades: str = "now"  # when they take effect unless said: now, period_end
    downgrades: str = "period_end"
    unused_time: str = "none"  # what cancelling now gives back of it unless said: none, credit, refund
    access_while_paused: bool = False
    access_while_unpaid: bool = False
    access_while_incomplete: bool = False
    dunning_days: list[int] = field(default_factory=lambda: [0, 3, 5, 7, 14])  # after the first failure of an invoice
    dunning_ends: str = "end_access"  # what the last of them does: end_access, cancel, free_plan
    dunning_plan: str | None = None  # the free plan
    features: list[str] = field(default_factory=list)
    limits: dict[str, int | None] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    price: str | None = None  # Stripe's price_...; None while the version is a draft
    product: str | None = None  # Stripe's, that the price is of

    def tiers(self) -> list[dict]:
        """
        The base price up to the included seats, then so much a seat: as Stripe's graduated tiers.

        Source: Stripe's docs, Pricing models. A flat amount counts even for no seat.
        """
        beyond = {"up_to": "inf", "unit_amount": self.price_per_seat_cents}
        if not self.included_seats:
            return [beyond | {"flat_amount": self.base_price_cents}]
        return [{"up_to": self.included_seats, "flat_amount": self.base_price_cents, "unit_amount": 0}, beyond]

    def total(self, seats: int) -> int:
        """What a whole period of so many seats costs: the graduated total of the tiers."""
        return self.base_price_cents + self.price_per_seat_cents * max(0, seats - self.included_seats)

    def trial(self) -> dict:
        """As Stripe takes it, at a creation (docs: Configure trial offers)."""
        ends = {"end_behavior": {"missing_payment_method": self.trial_without_card}}
        return {"trial_period_days": self.trial_days, "trial_settings": ends}

    def seat(self, seats: int) -> None:
        if self.max_seats is not None and seats > self.max_seats:
            raise SeatsOutOfRange(f"{self.name} allows at most {self.max_seats} seats")

    def becomes(self, seats: int, other: Plan, others: int) -> str:
        """
        When a move to so many seats of another plan takes effect, as this plan has it: now, period_end.

        Down is a shorter interval, or a lower price for the same one (docs: Customer portal, downgrades).
        """
        months = MONTHS[other.billing_interval] - MONTHS[self.billing_interval]
        down = months < 0 or (months == 0 and other.total(others) < self.total(seats))
        return self.downgrades if down else self.upgrades

    @property
    def bills_usage(self) -> bool:
        return any(metric.price for metric in self.metrics.values())

    def limit_of(self, metric: Metric) -> int | None:
        return self.limits.get(metric.limit, 0)

    def offers(self, other: Plan) -> bool:
        """Whether the other version sells the same: it may then stand for this one."""
        return self.content() == other.content()

    def content(self) -> dict:
        """All that is sold, without the number of the version and what Stripe has for it."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in APART}

    def public(self) -> dict:
        return self.content() | {
            "version": self.version,
            "metrics": {id: asdict(metric) for id, metric in self.metrics.items()},
        }
