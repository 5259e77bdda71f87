"""What a customer may do now, how much of it, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from billing.customers import Customer
from billing.periods import Period
from billing.plans import MOST_METRICS, Metric, Plan
from billing.usage import (
    FOREVER,
    WATERMARK,
    Event,
    Slot,
    Total,
    Unfit,
    counted,
    month_in,
    remaining,
    span,
    timely,
)

NOTHING: Mapping = {}


class Earlier(Exception):
    """An event of a time that what is in force says nothing of: periods that have ended must be known to place it."""


class Tariff(NamedTuple):
    """A plan, where its periods are counted from, and what of it is otherwise for this customer."""

    plan: Plan
    anchor: int
    interval: str
    since: int = 0  # it says nothing of periods before
    limits: Mapping[str, int | None] = NOTHING  # in place of the plan's
    free: bool = False  # the default plan's, which is billed to nobody
    split: frozenset[str] = frozenset()  # metrics that a plan before it in the period had in shards


class Ended(NamedTuple):
    """A period that is over: its usage is billed by this plan."""

    plan: Plan
    period: Period
    due: int = FOREVER  # when it is billed; what comes later is an adjustment

    def covers(self, event: Event, at: int) -> bool:
        """On a test clock it is over before its end: once it is due, what happens since then is of the next."""
        metric = self.plan.metrics.get(event.metric)
        if not metric or metric.reset != "period" or not self.period.start <= event.at < self.period.end:
            return False
        return at < self.due or event.at < self.due - WATERMARK


class Measure(NamedTuple):
    """A metric as it applies to a customer."""

    id: str
    metric: Metric
    tariff: Tariff

    @property
    def limit(self) -> int | None:
        limit = self.metric.limit
        return self.tariff.limits[limit] if limit in self.tariff.limits else self.tariff.plan.limit_of(self.metric)

    @property
    def hard(self) -> bool:
        return self.metric.enforcement == "hard"

    @property
    def counter(self) -> str:
        return self.metric.counter(self.id, self.tariff.free)

    @property
    def shards(self) -> int:
        """That may be there: a plan before may have had more."""
        return MOST_METRICS if self.id in self.tariff.split else self.metric.shards

    def fits(self, used: int, quantity: int) -> bool:
        """Whether so much more is within the limit. A peak or a level uses nothing up: it is compared by itself."""
        limit, adds_up = self.limit, self.metric.aggregation in ("sum", "unique")
        return limit is None or (used + quantity if adds_up else quantity) <= limit

    def crossed(self, used: int) -> list[int]:
        """Its alerts, in percent of the limit, that so much comes to; of no limit, or none at all, nothing does."""
        limit = self.limit
        return [percent for percent in self.metric.alerts if limit and used * 100 >= percent * limit]

    def period(self, at: int) -> Period:
        """One that the subscription, or its anchor, began in the middle of is cut there."""
        whole, since = counted(self.metric.reset, at, self.tariff.anchor, self.tariff.interval), self.tariff.since
        if self.metric.reset != "period" or self.tariff.free or not whole.start < since < whole.end:
            return whole
        return Period(whole.start, since) if at < since else Period(since, whole.end)

    def suits(self, event: Event) -> None:
        """Unfit, if the metric has no use for such a quantity or value."""
        if (event.value is None) == (self.metric.aggregation == "unique"):
            what = "which one is told by its value" if event.value is None else "only unique ones have values"
            raise Unfit("malformed", "value", what)
        if self.metric.aggregation == "unique":
            fits, wanted = event.quantity == 1, "1, for what is counted is the value"
        elif self.metric.kind == "held":
            fits, wanted = event.quantity != 0, "not 0"
        elif self.metric.aggregation == "sum":
            fits, wanted = event.quantity >= 1, "1 or more"
        else:
            fits, wanted = event.quantity >= 0, "0 or more"
        if not fits:
            raise Unfit("bad_quantity", "quantity", wanted)


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
    ending: Ended | None = None  # the last period that has ended, of what is billed
    dunning: Mapping | None = None  # what its owner is told of what is owed

    @property
    def plan(self) -> Plan | None:
        return self.tariff.plan if self.tariff else None

    @property
    def access(self) -> bool:
        """Whether anything is in force: a subscription, or the default plan in its place."""
        return self.tariff is not None

    @property
    def limits(self) -> dict[str, int | None]:
        return {**self.tariff.plan.limits, **self.tariff.limits} if self.tariff else {}

    def measure(self, id: str) -> Measure | None:
        for tariff in (self.tariff, self.lapsed):
            if tariff and id in tariff.plan.metrics:
                return Measure(id, tariff.plan.metrics[id], tariff)
        return None

    def measures(self) -> list[Measure]:
        tariff = self.tariff
        return [Measure(id, metric, tariff) for id, metric in tariff.plan.metrics.items()] if tariff else []

    def slot(
        self,
        event: Event,
        at: int,
        lot: int = 0,
        ended: Sequence[Ended] | None = None,
        closed: Mapping[tuple[str, Period], int] = NOTHING,
    ) -> tuple[Slot, Event]:
        """
        Where an event is counted, and as what; Unfit if nowhere. A hard limit holds now: it takes only what is of now.

        `lot` chooses one of the shards. `ended` are the periods that are over (Earlier: they are needed); `closed`
        tells how many statements some of them were found to have. What comes too late follows the metric's policy.
        """
        timely(event, at)
        measure, period = self._place(event, at, ended)
        measure.suits(event)
        metric = measure.metric
        if measure.hard and measure.tariff == self.lapsed and event.quantity > 0:
            raise Unfit("no_access", "customer_id", f"the subscription gives no access: {self.reason}")
        if measure.hard and period != measure.period(at):
            raise Unfit("not_this_period", "timestamp", "a metric with a hard limit takes only the current period")
        statements = closed.get((event.metric, period), 0)
        if measure.hard and statements:
            raise Unfit("period_closed", "timestamp", "its period is billed")
        late = statements > 0 or (period.end <= at - WATERMARK and metric.reset == "period")
        if late and metric.late == "reject":
            raise Unfit("too_late", "timestamp", "its period is billed")
        if late and metric.late == "next_period" and event.happened is None:
            return self.slot(replace(event, at=at, happened=event.at), at, lot, ended, closed)
        slot = Slot(
            self.customer,
            event.metric,
            period,
            month_in(measure.period(event.at), event.at),
            measure.hard,
            None if metric.enforcement == "observe" else measure.limit,
            self.terms,
            metric.aggregation,
            metric.kind == "held",
            0 if late else lot % metric.shards,  # the others may not have been there when it was closed
            measure.shards,
            statements,
            measure.counter,
        )
        return slot, event

    def _place(self, event: Event, at: int, ended: Sequence[Ended] | None) -> tuple[Measure, Period]:
        """What an event is measured by, and the period it is of."""
        if self.ending and self.ending.covers(event, at):
            return self._as_it_was(self.ending, event)
        measure = self.measure(event.metric)
        if not measure or (measure.metric.reset == "period" and event.at < measure.tariff.since):
            if ended is None:
                raise Earlier
            for period in ended:
                if period.covers(event, at):
                    return self._as_it_was(period, event)
        measure = self._measure(event.metric)
        return measure, measure.period(event.at)

    def _as_it_was(self, ended: Ended, event: Event) -> tuple[Measure, Period]:
        limits = next((tariff.limits for tariff in (self.tariff, self.lapsed) if tariff), NOTHING)
        tariff = Tariff(ended.plan, ended.period.start, ended.plan.billing_interval, limits=limits)
        return Measure(event.metric, ended.plan.metrics[event.metric], tariff), ended.period

    def _measure(self, id: str) -> Measure:
        measure = self.measure(id)
        if measure:
            return measure
        if self.access:
            raise Unfit("unknown_metric", "metric_id", "no such metric in the plan")
        raise Unfit("no_access", "customer_id", f"no plan is in force: {self.reason}")

    def open_totals(self, at: int) -> Iterator[tuple[str, int, int]]:
        """All that may be counted into now, by their name, start and shard."""
        for tariff in filter(None, (self.tariff, self.lapsed)):
            for id, metric in tariff.plan.metrics.items():
                measure = Measure(id, metric, tariff)
                if tariff == self.tariff or not measure.hard or metric.kind == "held":
                    for shard in range(metric.shards):
                        yield measure.counter, measure.period(at).start, shard


def standing_of(
    customer: Customer,
    bought: Plan | None,
    default: Plan | None,
    at: int,
    ending: Ended | None = None,
    had: Sequence[Plan] = (),
) -> Standing:
    """
    `bought`: the version of the plan that its subscription has, `had` those before it in the period. The default plan
    counts by calendar months, UTC.
    """
    subscription, terms, reason, lapsed = customer.subscription, customer.terms, "no_subscription", None
    limits, over, owed = customer.limits, 0, customer.dunning(bought)
    if subscription:
        access, reason = subscription.access(bought, at)
        anchor, since = subscription.theirs.anchor, subscription.anchored_at
        split = frozenset(id for plan in had for id, metric in plan.metrics.items() if metric.shards > 1)
        paid = Tariff(bought, anchor, bought.billing_interval, since, limits, split=split) if bought else None
        if access:
            return Standing(customer.id, reason, str(terms), terms, paid, ending=ending, dunning=owed)
        lapsed, over = (None, subscription.metered_from or 0) if subscription.theirs.ended else (paid, 0)
    if not default:
        return Standing(customer.id, reason, f"{terms}:-:0", terms, None, lapsed, ending, owed)
    by_default = f"{terms}:{default.slug}:{default.version}"
    free = Tariff(default, 0, "month", over, limits, free=True)
    return Standing(customer.id, reason, by_default, terms, free, lapsed, ending, owed)


def allowance(measure: Measure, total: Total, at: int) -> dict:
    """How much is left of a metric. A soft limit is told, and stops nobody."""
    limit, used = measure.limit, total.used
    within = measure.fits(used, 1)
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
    if name in standing.limits:
        limit = standing.limits[name]
        reason = "unlimited" if limit is None else "within_limit" if limit else "limit_reached"
        return answer | {"allowed": limit != 0, "reason": reason, "limit": limit, "used": None, "remaining": None}
    return answer | {"reason": "not_in_plan"}


def metered(standing: Standing, name: str) -> Measure | None:
    """What is counted under that name, or against the limit of that name."""
    measures = standing.measures()
    exact = [measure for measure in measures if measure.id == name]
    return next(iter(exact or [measure for measure in measures if measure.metric.limit == name]), None)
