"""What a customer may do now, how much of it, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from billing.customers import Customer
from billing.periods import Period
from billing.plans import Metric, Plan
from billing.usage import Event, Slot, Total, Unfit, counted, month_in, remaining, span, timely


class Tariff(NamedTuple):
    """A plan, and where its periods are counted from."""

    plan: Plan
    anchor: int
    interval: str


class Measure(NamedTuple):
    """A metric as it applies to a customer."""

    id: str
    metric: Metric
    tariff: Tariff

    @property
    def limit(self) -> int | None:
        return self.tariff.plan.limit_of(self.metric)

    @property
    def hard(self) -> bool:
        return self.metric.enforcement == "hard"

    def period(self, at: int) -> Period:
        return counted(self.metric.reset, at, self.tariff.anchor, self.tariff.interval)


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What governs a customer at an instant: its subscription while that gives access, else the default plan.

    `lapsed` is a subscription that gives no access and has not ended: nothing of it is allowed, but what is only
    watched (soft, observe) goes on being counted, since it happened.
    """

    customer: str
    reason: str  # the status of the subscription, as far as it decides; grace; no_subscription
    terms: str  # named by totals: whoever counts must know those on record
    moves: int  # the customer's own part of the terms
    tariff: Tariff | None = None
    lapsed: Tariff | None = None

    @property
    def plan(self) -> Plan | None:
        return self.tariff.plan if self.tariff else None

    @property
    def access(self) -> bool:
        """Whether anything is in force: a subscription, or the default plan in its place."""
        return self.tariff is not None

    def measure(self, id: str) -> Measure | None:
        for tariff in (self.tariff, self.lapsed):
            if tariff and id in tariff.plan.metrics:
                return Measure(id, tariff.plan.metrics[id], tariff)
        return None

    def measures(self) -> list[Measure]:
        tariff = self.tariff
        return [Measure(id, metric, tariff) for id, metric in tariff.plan.metrics.items()] if tariff else []

    def slot(self, event: Event, at: int) -> Slot:
        """Where an event is counted; Unfit if nowhere. A hard limit holds now, so it takes only what is of now."""
        timely(event, at)
        measure = self.measure(event.metric)
        if not measure:
            if self.access:
                raise Unfit("unknown_metric", "metric_id", "no such metric in the plan")
            raise Unfit("no_access", "customer_id", f"no plan is in force: {self.reason}")
        if measure.hard and measure.tariff == self.lapsed:
            raise Unfit("no_access", "customer_id", f"the subscription gives no access: {self.reason}")
        period = measure.period(event.at)
        if measure.hard and period != measure.period(at):
            raise Unfit("not_this_period", "timestamp", "a metric with a hard limit takes only the current period")
        month = month_in(period, event.at)
        return Slot(self.customer, event.metric, period, month, measure.hard, measure.limit, self.terms)

    def open_totals(self, at: int) -> Iterator[tuple[str, Period]]:
        """All that may be counted into now, by metric and period."""
        for tariff in filter(None, (self.tariff, self.lapsed)):
            for id in tariff.plan.metrics:
                measure = Measure(id, tariff.plan.metrics[id], tariff)
                if tariff == self.tariff or not measure.hard:
                    yield id, measure.period(at)


def standing_of(customer: Customer, bought: Plan | None, default: Plan | None, at: int) -> Standing:
    """`bought`: the version of the plan that its subscription has. The default plan counts by calendar months, UTC."""
    subscription, terms, reason, lapsed = customer.subscription, customer.terms, "no_subscription", None
    if subscription:
        access, reason = subscription.access(bought, at)
        paid = Tariff(bought, subscription.theirs.anchor, bought.billing_interval) if bought else None
        if access:
            return Standing(customer.id, reason, str(terms), terms, paid)
        lapsed = None if subscription.theirs.ended else paid
    if not default:
        return Standing(customer.id, reason, f"{terms}:-:0", terms, None, lapsed)
    by_default = f"{terms}:{default.slug}:{default.version}"
    return Standing(customer.id, reason, by_default, terms, Tariff(default, 0, "month"), lapsed)


def allowance(measure: Measure, total: Total, at: int) -> dict:
    """How much is left of a metric. A soft limit is told, and stops nobody."""
    limit, used = measure.limit, total.used
    within = limit is None or used < limit
    return {
        "limit": limit,
        "used": used,
        "remaining": remaining(limit, used),
        "enforcement": measure.metric.enforcement,
        "allowed": within or not measure.hard,
        "reason": "unlimited" if limit is None else "within_limit" if within else "limit_reached",
        "period_end": span(measure.period(at))["period_end"],
    }


def feature(standing: Standing, name: str) -> dict:
    """
    A flag of the plan, or one of its limits that nothing is counted against: `used` is null then, and the product
    compares. A limit of null is none; one that the plan does not have is 0.
    """
    answer = {"feature": name, "allowed": False, "limit": 0, "used": 0, "remaining": 0}
    plan = standing.plan
    if not plan:
        return answer | {"reason": standing.reason}
    if name in plan.features:
        return answer | {"allowed": True, "reason": "in_plan", "limit": None, "remaining": None}
    if name in plan.limits:
        limit = plan.limits[name]
        reason = "unlimited" if limit is None else "within_limit" if limit else "limit_reached"
        return answer | {"allowed": limit != 0, "reason": reason, "limit": limit, "used": None, "remaining": None}
    return answer | {"reason": "not_in_plan"}


def metered(standing: Standing, name: str) -> Measure | None:
    """What is counted under that name, or against the limit of that name."""
    measures = standing.measures()
    exact = [measure for measure in measures if measure.id == name]
    return next(iter(exact or [measure for measure in measures if measure.metric.limit == name]), None)
