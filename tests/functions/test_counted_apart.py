"""Totals are apart by what they are of: whose plan it is, over which spans, how they add up, from when on."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from billing import closing, customer_table, dynamodb, standing, usage_table
from billing.customers import Customer
from billing.periods import DAY, Period, period_of
from billing.plans import Metric, Plan
from billing.rating import Rate
from billing.theirs import Theirs

NAMES = count()
SERVICE, ADMIN = {"scope": "billing/service"}, {"scope": "billing/admin"}
FREE = {"calls": Metric("max_calls", enforcement="soft")}
PAID = {"calls": Metric("max_calls", enforcement="soft", price=Rate("unit", unit_amount="2"))}


@pytest.fixture
def have(sell, buy):
    """Ada has one metric, `rows`, with a limit, in the period that began ten days ago."""
    anchor = int(time.time()) - 10 * DAY

    def put(metric, limit=10, **said):
        return buy(sell(limits={"few": limit}, metrics={"rows": metric}), anchor=anchor, **said)

    return put


@pytest.fixture
def tell(use):
    def post(*said, metric="rows", days=(), **request):
        events = [event(what, metric, *days[n : n + 1]) for n, what in enumerate(said)]
        return use(*events, **request).json["events"]

    return post


@pytest.fixture
def correct(api):
    def post(corrects, quantity=None):
        body = {"customer_id": "ada", "idempotency_key": f"c{next(NAMES)}", "corrects": corrects, "reason": "wrong"}
        body |= {} if quantity is None else {"quantity": quantity}
        return api("POST", "/usage/corrections", body, customer="eve", claims=ADMIN)

    return post


def event(what, metric="rows", days=0, key=None):
    at = datetime.fromtimestamp(time.time() - days * DAY, UTC).isoformat()
    said = {"metric_id": metric, "idempotency_key": key or f"k{next(NAMES)}", "timestamp": at}
    return said | ({"value": what, "quantity": 1} if isinstance(what, str) else {"quantity": what})


def statuses(answers):
    return [answer["status"] for answer in answers]


def counted():
    """Quantities of all live events on record, by themselves."""
    items = map(dynamodb.decode, dynamodb.db().scan(TableName="Usage")["Items"])
    return sum(
        item["quantity"]
        for item in items
        if item["pk"].startswith("E#") and "corrected_by" not in item and "void" not in item
    )


def test_a_hard_limit_holds_for_what_an_earlier_plan_has_counted_in_shards(have, tell):
    have(Metric("few", enforcement="soft", shards=4))
    for _ in range(10):
        assert statuses(tell(1)) == ["recorded"]
    have(Metric("few"))
    for _ in range(10):
        tell(1)
    assert counted() == 10


def test_a_check_knows_what_an_earlier_plan_has_counted_in_shards(have, tell, api):
    have(Metric("few", enforcement="soft", shards=4))
    for _ in range(10):
        tell(1)
    have(Metric("few"))
    told = api("POST", "/usage/check", {"customer_id": "ada", "metric_id": "rows"}, claims=SERVICE).json
    assert (told["used"], told["allowed"]) == (10, False)


def test_what_is_held_and_was_counted_in_shards_can_be_given_back(have, tell):
    have(Metric("few", enforcement="soft", shards=4, reset="never"))
    for _ in range(8):
        tell(1)
    have(Metric("few", kind="held", reset="never"))
    assert statuses(tell(-8)) == ["recorded"]


def test_a_hard_limit_holds_when_an_event_of_another_aggregation_is_voided(have, tell, correct):
    have(Metric("few", aggregation="max"))
    (peak,) = tell(8)
    have(Metric("few"))
    assert statuses(tell(1)) == statuses(tell(1)) == ["recorded"]
    assert correct(peak["idempotency_key"]).status == 200
    tell(9)
    assert counted() <= 10


def test_nobody_is_locked_out_by_a_sum_where_values_are_told_apart_now(have, tell):
    have(Metric("few", enforcement="soft"))
    tell(500)
    have(Metric("few", aggregation="unique"))
    assert statuses(tell("bob")) == ["recorded"]


def test_a_peak_is_no_sum_of_what_an_earlier_plan_added_up(have, tell, used):
    have(Metric("few", enforcement="soft"))
    tell(60, 40)
    have(Metric("few", enforcement="soft", aggregation="max"))
    tell(5)
    assert used("rows")["used"] in (5, 60)


@pytest.mark.parametrize("both", ["a year and a month", "a day and a month"])
def test_a_customer_without_access_gets_it_back_when_both_its_plans_count_from_the_same_instant(
    sell, buy, use, monkeypatch, both
):
    month = period_of(int(time.time()), 0, "month").start
    if both == "a day and a month":  # on the first of any month
        monkeypatch.setattr(time, "time", lambda: float(month + DAY // 2))
        sell("free", limits={"few": 5}, metrics={"rows": Metric("few", reset="month")})
        plan = sell(limits={"few": None}, metrics={"rows": Metric("few", enforcement="soft", reset="day")})
    else:
        sell("free", limits={"few": 5}, metrics={"rows": Metric("few")})
        metrics = {"rows": Metric("few", enforcement="soft")}
        plan = sell(limits={"few": None}, metrics=metrics, billing_interval="year")
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    buy(plan, anchor=month, status="unpaid")
    buy(plan, anchor=month, status="active")
    assert standing.afresh("ada", int(time.time())).plan.slug == "pro"


@pytest.fixture
def cancelled_and_billed(sell, buy, tell, monkeypatch):
    """Ada's priced plan, whose periods begin with the month, has ended today, and is billed; she has the free plan."""

    def put(enforcement):
        now, month = int(time.time()), period_of(int(time.time()), 0, "month")
        sell("free", limits={"few": 10}, metrics={"rows": Metric("few", enforcement=enforcement)})
        monkeypatch.setenv("DEFAULT_PLAN", "free")
        priced = Metric("few", enforcement="soft", price=Rate("unit", unit_amount="5"))
        plan = sell(limits={"few": None}, metrics={"rows": priced})
        said = {"anchor": month.start, "current_period_start": month.start, "current_period_end": month.end}
        buy(plan, **said)
        tell(7)
        buy(plan, **said, status="canceled", ended_at=now)
        about = {"ends": now, "subscription": "sub_1", "plan": "pro", "version": plan.version}
        seen = usage_table.shards("ada", "rows", month, 1)
        assert not dynamodb.transact(usage_table.closes("ada", "rows", month, seen, 0, about))
        asked = customer_table.closed("ada", "sub_1", month.start)
        assert asked
        dynamodb.transact([customer_table.closes("ada", asked)])
        standing._known.clear()
        return month.start

    return put


def later(seconds=2):
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


def test_the_free_plan_is_open_though_a_cancelled_subscription_began_with_the_month(cancelled_and_billed, use):
    cancelled_and_billed("hard")
    (answer,) = use(event(1) | {"timestamp": later()}).json["events"]
    assert (answer["status"], answer.get("reason")) == ("recorded", None)


def test_what_is_used_for_free_is_never_billed_to_the_subscription_that_was_cancelled(cancelled_and_billed, use):
    start = cancelled_and_billed("soft")
    assert statuses(use(event(100) | {"timestamp": later()}).json["events"]) == ["recorded"]
    assert customer_table.closed("ada", "sub_1", start) is None  # else the hundred are charged at five cents


@pytest.fixture
def by_the_calendar(sell, buy, use, monkeypatch):
    """A free plan by default; and one that bills by the calendar: its periods begin on the first, 00:00 UTC."""
    sell("free", limits={"max_calls": None}, metrics=FREE)
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    paid = sell("paid", limits={"max_calls": None}, metrics=PAID)
    now = int(time.time())
    month = period_of(now, 0, "month")
    began = max(month.start + 1, now - DAY)

    def bought(**said):
        own = {"created": began, "anchor": month.end, "current_period_start": began, "current_period_end": month.end}
        buy(paid, **own | said)
        standing._known.clear()

    def call(key, quantity):
        (answer,) = use({"metric_id": "calls", "quantity": quantity, "idempotency_key": key}).json["events"]
        return answer

    return month, bought, call


def test_what_was_free_by_the_default_plan_is_not_in_what_the_subscription_bills(by_the_calendar):
    month, bought, call = by_the_calendar
    assert call("before", 500)["status"] == "recorded"  # allowed by the free plan
    began = int(time.time())
    bought(created=began, current_period_start=began)
    assert call("after", 1)["status"] == "recorded"
    assert usage_table.with_days("ada", "calls", Period(began, month.end)).used == 1


def test_what_is_free_by_the_default_plan_after_a_subscription_has_ended_is_not_billed_by_that(by_the_calendar):
    _, bought, call = by_the_calendar
    bought()
    now = int(time.time())
    call("paid", 5)
    bought(status="canceled", ended_at=now - 1)
    (asked,) = customer_table.closings("ada")
    (priced,) = closing.priced(asked.plans)
    closing._state("ada", asked, priced, now)
    waits = customer_table.closed("ada", "sub_1", asked.start)
    assert waits
    dynamodb.transact([customer_table.closes("ada", waits)])
    assert call("free", 500)["status"] == "recorded"
    assert customer_table.closing(2**40, None)[0] == []  # nothing of the subscription is to be billed again


def test_a_hard_limit_of_the_default_plan_lets_in_whoever_has_just_left_a_subscription(by_the_calendar, sell):
    _, bought, call = by_the_calendar
    sell("free", limits={"max_calls": 100}, metrics={"calls": Metric("max_calls")})
    bought()
    now = int(time.time())
    call("paid", 5)
    bought(status="canceled", ended_at=now - 1)
    (asked,) = customer_table.closings("ada")
    (priced,) = closing.priced(asked.plans)
    closing._state("ada", asked, priced, now)
    answer = call("free", 1)
    assert (answer["status"], answer.get("reason")) == ("recorded", None)


def test_periods_that_end_apart_are_closed_apart():
    """A trial up to the end of the period begins in the middle of it: one put on record is not covered by the next."""
    start, now = 1_767_225_600, 1_768_000_000
    end = period_of(start, start, "month").end
    plan = Plan("paid", 1, "Paid", "month", "usd", 1000, price="price_1", metrics=PAID)
    paid = Theirs("sub_1", "cus_1", "si_1", "price_1", 1, "usd", "active", start, start, start, end, interval="month")
    trial = {"status": "trialing", "anchor": end, "current_period_start": now, "trial_ends_at": end}
    after = {"anchor": end, "current_period_start": end, "current_period_end": period_of(end, end, "month").end}
    ours, closed = Customer("ada", start, start), []
    for at, said in ((start, {}), (now, trial), (end, after | {"trial_ends_at": end})):
        revision = ours.absorb(replace(paid, **said), plan, at)
        ours = revision.customer
        closed += revision.closings
    assert [(each.end, each.free) for each in closed] == [(now, False), (end, True)]
    assert len({(each.subscription, each.start) for each in closed}) == 2
