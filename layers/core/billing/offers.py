"""The door that a plan comes in by: what PUT /plans/{slug} takes, and what it does not."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from billing.currencies import chargeable
from billing.errors import Malformed
from billing.plans import MOST_METRICS, MOST_SEATS, SLUG, Metric, Plan
from billing.prices import PRICE
from billing.rating import AMOUNT, MOST_TIERS, Rate, Tier


def _shortest(amount: str) -> str:
    """The same amount is written in one way, so that the same offer is the same version: 0.150 is 0.15."""
    return f"{Decimal(amount):f}".rstrip("0").rstrip(".") if "." in amount else amount


Name = Annotated[str, Field(pattern=SLUG)]
Cents = Annotated[int, Field(ge=0, le=10**12)]
Amount = Annotated[str, Field(pattern=AMOUNT), AfterValidator(_shortest)]
Effective = Literal["now", "period_end"]
Count = Annotated[int, Field(ge=0, le=10**15)]
Units = Annotated[int, Field(ge=1, le=10**15)]
Days = Annotated[int, Field(ge=0, le=90)]
Percent = Annotated[int, Field(ge=1, le=1000)]


class Document(BaseModel):
    """Written by people: all that is wrong with it is told at once, each by its place (bodies.Body tells the first)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def read(cls, given: bytes) -> Self:
        """Malformed, with the fields that are wrong."""
        try:
            return cls.model_validate_json(given)
        except ValidationError as wrong:
            faults = [(".".join(map(str, each["loc"])) or "body", each["msg"]) for each in wrong.errors()]
            raise Malformed.of(faults) from wrong

    def said(self) -> str:
        """The same for the same, however it was written."""
        return self.model_dump_json()


class Step(Document):
    up_to: Units | None
    unit_amount: Amount = "0"
    flat_amount: Amount = "0"


class Priced(Document):
    model: Literal["unit", "package", "graduated", "volume"]
    included: Count = 0
    unit_amount: Amount | None = None
    package_size: Units | None = None
    tiers: Annotated[list[Step], Field(max_length=MOST_TIERS)] = []

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.rate()
        return self

    def rate(self) -> Rate:
        said: dict[str, Any] = self.model_dump(exclude={"tiers"})
        return Rate(**said, tiers=[Tier(**step.model_dump()) for step in self.tiers])


class Counted(Document):
    limit: Name | None = None  # max_<metric> unless said
    enforcement: Literal["hard", "soft", "observe"] = "hard"
    aggregation: Literal["sum", "max", "last", "unique"] = "sum"
    kind: Literal["consumed", "held"] = "consumed"
    reset: Literal["period", "month", "day", "never"] = "period"
    late: Literal["adjust", "next_period", "reject"] = "adjust"
    shards: Annotated[int, Field(ge=1, le=MOST_METRICS)] = 1
    alerts: Annotated[list[Percent], Field(max_length=10)] = [50, 80, 100]
    unavailable: Literal["deny", "allow"] = "deny"
    price: Priced | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        self.metric("")
        return self

    def metric(self, id: str) -> Metric:
        said: dict[str, Any] = self.model_dump(exclude={"limit", "price"})
        return Metric(self.limit or f"max_{id}", **said, price=self.price.rate() if self.price else None)


class Offer(Document):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    billing_interval: Literal["month", "year"]
    currency: Annotated[str, Field(pattern=r"^[a-z]{3}$")]
    base_price_cents: Cents
    price_per_seat_cents: Cents = 0
    included_seats: Annotated[int, Field(ge=0, le=MOST_SEATS)] = 1
    max_seats: Annotated[int, Field(ge=1, le=MOST_SEATS)] | None = None
    trial_days: Annotated[int, Field(ge=0, le=730)] = 0
    grace_days: Annotated[int, Field(ge=0, le=90)] = 7
    trial_without_card: Literal["cancel", "pause"] = "cancel"
    second_trial: Literal["end", "cancel"] = "end"
    upgrades: Effective = "now"
    downgrades: Effective = "period_end"
    unused_time: Literal["none", "credit", "refund"] = "none"
    access_while_paused: bool = False
    access_while_unpaid: bool = False
    access_while_incomplete: bool = False
    dunning_days: Annotated[list[Days], Field(min_length=1, max_length=12)] = [0, 3, 5, 7, 14]
    dunning_ends: Literal["end_access", "cancel", "free_plan"] = "end_access"
    dunning_plan: Name | None = None
    features: Annotated[list[Name], Field(max_length=200)] = []
    limits: Annotated[dict[Name, Count | None], Field(max_length=100, validate_default=True)] = {}
    metrics: Annotated[dict[Name, Counted], Field(max_length=MOST_METRICS)] = {}
    stripe_price: Annotated[str, Field(pattern=PRICE)] | None = None
    on_sale: bool = True

    @field_validator("base_price_cents", "price_per_seat_cents")
    @classmethod
    def _can_be_charged(cls, cents: int, read: ValidationInfo) -> int:
        step = chargeable(read.data.get("currency", ""))  # absent: it could not be read, and is named itself
        if cents % step:
            raise ValueError(f"in this currency Stripe charges multiples of {step}")
        return cents

    @field_validator("limits")
    @classmethod
    def _with_storage(cls, limits: dict) -> dict:
        return {"max_storage_mb": 5120} | limits

    @model_validator(mode="after")
    def _seats_fit(self) -> Self:
        if self.max_seats is not None and self.included_seats > self.max_seats:
            raise ValueError("more seats are included than the plan allows")
        return self

    @model_validator(mode="after")
    def _dunning_fits(self) -> Self:
        if self.dunning_days != sorted(set(self.dunning_days)):
            raise ValueError("the days of dunning ascend, each said once")
        if (self.dunning_plan is not None) != (self.dunning_ends == "free_plan"):
            raise ValueError("dunning_plan names the plan that free_plan ends with, and only that")
        return self

    @model_validator(mode="after")
    def _totals_fit(self) -> Self:
        if sum(counted.shards for counted in self.metrics.values()) > MOST_METRICS:
            raise ValueError(f"a plan counts in at most {MOST_METRICS} totals: the shards of all its metrics")
        return self

    def plan(self, slug: str) -> Plan:
        """What is sold under that name by this, with all that was not said."""
        said: dict[str, Any] = self.model_dump(exclude={"on_sale", "metrics"})
        said["price"] = said.pop("stripe_price")
        return Plan(slug, 0, **said, metrics={id: counted.metric(id) for id, counted in self.metrics.items()})
