"""PUT /plans/{slug}: sell this under that name from now on; whoever bought an older version keeps it."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from billing import catalogue
from billing.api import Request, endpoint
from billing.plans import MOST_METRICS, MOST_SEATS, SLUG, Metric, Plan, chargeable
from billing.prices import PRICE

Name = Annotated[str, Field(pattern=SLUG)]
Cents = Annotated[int, Field(ge=0, le=10**12)]
Effective = Literal["now", "period_end"]
Count = Annotated[int, Field(ge=0, le=10**15)]


class Counted(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    limit: Name | None = None  # max_<metric> unless said
    enforcement: Literal["hard", "soft", "observe"] = "hard"
    aggregation: Literal["sum"] = "sum"
    kind: Literal["consumed"] = "consumed"
    reset: Literal["period", "month", "day", "never"] = "period"


class Offer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
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

    def plan(self, slug: str) -> Plan:
        """What is sold under that name by this, with all that was not said."""
        said: dict[str, Any] = self.model_dump(exclude={"on_sale"})
        said["price"] = said.pop("stripe_price")
        for id, metric in said["metrics"].items():
            said["metrics"][id] = Metric(**metric | {"limit": metric["limit"] or f"max_{id}"})
        return Plan(slug, 0, **said)


@endpoint(body=Offer, of_customer=False)
def handler(request: Request, offer: Offer) -> dict:
    """The next version, unless it is what is sold already; of a price that Stripe has, or with one of its own."""
    return catalogue.sell(offer.plan(request.path["slug"]), request, offer.on_sale).public()
