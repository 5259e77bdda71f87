"""Events that come after their period: until half an hour later they are of it; then as their metric says."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from billing import customer_table, dynamodb, standing, usage_table
from billing.periods import DAY, Period, period_of
from billing.plans import Metric
from billing.rating import Rate
from billing.usage import WATERMARK

HOUR = 3600
RATE = Rate("unit", unit_amount="1")
POLICIES = ("adjust", "next_period", "reject")
METRICS = {late: Metric("many", enforcement="soft", late=late, price=RATE) for late in POLICIES}
METRICS |= {
    "monthly": Metric("many", enforcement="soft", late="reject", reset="month"),
    "peak": Metric("many", enforcement="soft", aggregation="max", price=RATE),
    "hard": Metric("few", price=RATE),
    "free": Metric("many", enforcement="soft", late="reject"),
}
NAMES = count()


@pytest.fixture
def plan(sell):
    return sell(limits={"few": 5, "many": None}, metrics=METRICS)


@pytest.fixture
def renewed(plan, buy):
    """Ada's subscription was renewed so many seconds ago; answers the period before."""

    def renew(ago):
        end = int(time.time()) - ago
        before, after = period_of(end - 1, end, "month"), period_of(end, end, "month")
        buy(plan, anchor=end, current_period_start=before.start, current_period_end=end)
        buy(plan, anchor=end, current_period_start=end, current_period_end=after.end)
        assert customer_table.find("ada", 0).ending.end == end
        return before

    return renew


@pytest.fixture
def tell(use):
    """One event of a metric at an instant."""

    def post(metric, at=None, key=None, quantity=1, **said):
        event = {"metric_id": metric, "idempotency_key": key or f"k{next(NAMES)}", "quantity": quantity} | said
        if at is not None:
            event["timestamp"] = datetime.fromtimestamp(at, UTC).isoformat()
        answers = use(event).json
        return answers["events"][0] if "events" in answers else answers

    return post


def counted(metric, start):
    item = dynamodb.get("Usage", pk="T#ada", sk=f"{METRICS.get(metric, Metric('many')).counter(metric)}#{start:012}")
    return item["used"] if item else 0


def closed(metric, period, number=0, version=1):
    """Its total is stated as it stands, as the closing of the period does it."""
    about = {"ends": period.end, "subscription": "sub_1", "plan": "pro", "version": version}
    counter = METRICS.get(metric, Metric("many")).counter(metric)
    seen = usage_table.shards("ada", counter, period, 1)
    assert not dynamodb.transact(usage_table.closes("ada", counter, period, seen, number, about))


def asked(period):
    """How often it has been asked for that the period is billed; 0: it waits for nothing."""
    item = dynamodb.get("Subscriptions", pk="customer#ada", sk=f"closing#sub_1#{period.start:012}")
    return item["times"] if item.get("waits") else 0


def billed(period, *metrics):
    """All of these are closed, and nothing waits."""
    for metric in metrics:
        closed(metric, period)
    found = customer_table.closed("ada", "sub_1", period.start)
    assert found
    dynamodb.transact([customer_table.closes("ada", found)])
    assert asked(period) == 0


@pytest.mark.parametrize("metric", [*POLICIES, "peak", "free"])
def test_until_half_an_hour_later_an_event_is_of_its_period_whatever_the_policy(renewed, tell, metric):
    before = renewed(WATERMARK - 60)
    answer = tell(metric, before.end - 1, quantity=3)

    assert answer["status"] == "recorded" and "happened_at" not in answer
    assert (counted(metric, before.start), counted(metric, before.end)) == (3, 0)
    assert tell(metric, before.end)["status"] == "recorded" and counted(metric, before.end) == 1


@pytest.mark.parametrize("found_closed", [False, True], ids=["by the clock", "found closed"])
def test_adjusted_it_counts_in_its_period_which_is_to_be_billed_again(renewed, tell, found_closed):
    before = renewed(2 * HOUR)
    tell("adjust", before.end - 5, quantity=2)
    if found_closed:
        billed(before, "adjust")
    answer = tell("adjust", before.end - 1, quantity=3)

    assert answer["status"] == "recorded" and "happened_at" not in answer
    assert (counted("adjust", before.start), counted("adjust", before.end)) == (5, 0)
    event = usage_table.recorded("ada", answer["idempotency_key"])
    assert (event.statement, asked(before)) == ((1, 2) if found_closed else (0, 1))


def test_adjusted_again_after_the_next_statement_it_is_of_the_one_after(renewed, tell):
    before = renewed(2 * HOUR)
    billed(before, "adjust", "peak")
    first = tell("adjust", before.end - 1, quantity=3)["idempotency_key"]
    closed("adjust", before, 1)
    second = tell("adjust", before.end - 1, quantity=4)["idempotency_key"]

    assert [usage_table.recorded("ada", key).statement for key in (first, second)] == [1, 2]
    assert counted("adjust", before.start) == 7
    assert tell("peak", before.end - 9, quantity=6)["status"] == tell("peak", before.end - 8, quantity=4)["status"]
    assert counted("peak", before.start) == 6


@pytest.mark.parametrize("found_closed", [False, True], ids=["by the clock", "found closed"])
def test_it_counts_in_the_next_period_with_when_it_happened(renewed, tell, used, found_closed):
    before = renewed(2 * HOUR)
    if found_closed:
        billed(before, "next_period")
    told = tell("next_period", before.end - 1, key="late", quantity=3)

    assert (told["status"], told["happened_at"]) == ("recorded", rfc3339(before.end - 1))
    assert abs(datetime.fromisoformat(told["timestamp"]).timestamp() - time.time()) < 60
    assert (counted("next_period", before.start), used("next_period")["used"]) == (0, 3)


def test_a_retry_much_later_is_told_the_same(renewed, tell, clock):
    before = renewed(2 * HOUR)
    told = tell("next_period", before.end - 1, key="late", quantity=3)
    for days in (0, 1, 40, 300):
        clock.pass_by(days=days)
        assert tell("next_period", before.end - 1, key="late", quantity=3) == told | {"duplicate": True}
    assert tell("next_period", before.end - 1, key="late", quantity=4)["status"] == "conflict"
    assert counted("next_period", before.end) == 3


@pytest.mark.parametrize("found_closed", [False, True], ids=["by the clock", "found closed"])
def test_it_is_refused(renewed, tell, found_closed):
    before = renewed(2 * HOUR)
    early = tell("reject", before.end + 1, key="early")
    if found_closed:
        billed(before, "reject")
    told = tell("reject", before.end - 1)

    assert (told["status"], told["reason"], told["field"]) == ("rejected", "too_late", "timestamp")
    assert (counted("reject", before.start), counted("reject", before.end)) == (0, 1)
    assert tell("reject", before.end + 1, key="early") == early | {"duplicate": True}


def test_what_was_counted_in_time_is_told_when_it_would_be_too_late(renewed, tell, clock):
    before = renewed(WATERMARK - 60)
    first = tell("reject", before.end - 1, key="k")
    clock.pass_by(hours=1)

    assert tell("reject", before.end - 1, key="k") == first | {"duplicate": True}
    assert tell("reject", before.end - 1)["reason"] == "too_late"


def test_the_watermark_is_a_matter_of_the_second(renewed, tell, clock):
    clock.stop()
    before = renewed(WATERMARK - 60)
    clock.ahead = before.end + WATERMARK - 1 - clock.stopped
    assert tell("reject", before.end - 1)["status"] == "recorded"
    clock.ahead += 1
    assert tell("reject", before.end - 1)["reason"] == "too_late"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_total_that_is_found_closed_before_its_time_is_as_late_as_one_by_the_clock(renewed, tell, policy):
    before = renewed(WATERMARK - 600)
    billed(before, policy)
    told = tell(policy, before.end - 1)

    status = "rejected" if policy == "reject" else "recorded"
    assert (told["status"], "happened_at" in told) == (status, policy == "next_period")
    assert (counted(policy, before.start), asked(before)) == ((1, 2) if policy == "adjust" else (0, 0))


def test_what_is_closed_between_read_and_write_follows_the_policy(renewed, tell, moments):
    before = renewed(WATERMARK - 600)
    for policy in POLICIES:
        tell(policy, before.end - 5)
        moments.once("before TransactWriteItems", lambda policy=policy: closed(policy, before))
    told = {policy: tell(policy, before.end - 1)["status"] for policy in POLICIES}

    assert told == {"adjust": "recorded", "next_period": "recorded", "reject": "rejected"}
    assert {policy: counted(policy, before.start) for policy in POLICIES} == {
        "adjust": 2,
        "next_period": 1,
        "reject": 1,
    }


def test_what_is_closed_again_between_read_and_write_is_of_the_statement_after(renewed, tell, moments):
    before = renewed(2 * HOUR)
    tell("adjust", before.end - 5)
    billed(before, "adjust")
    tell("adjust", before.end - 4)
    moments.once("before TransactWriteItems", lambda: closed("adjust", before, 1))
    key = tell("adjust", before.end - 3)["idempotency_key"]

    assert (usage_table.recorded("ada", key).statement, counted("adjust", before.start)) == (2, 3)


def test_a_calendar_month_is_never_too_late(plan, buy, tell):
    buy(plan)
    then = period_of(int(time.time()), 0, "month").start - DAY

    assert tell("monthly", then)["status"] == "recorded"
    assert counted("monthly", period_of(then, 0, "month").start) == 1


def test_a_hard_limit_takes_nothing_late(renewed, tell):
    before = renewed(60)

    assert tell("hard", before.end - 1)["reason"] == "not_this_period"


def test_the_future_is_five_minutes_at_most(plan, buy, tell, clock):
    clock.stop()
    buy(plan)
    now = int(clock.stopped)

    assert tell("adjust", now + 300)["status"] == "recorded"
    told = tell("adjust", now + 301)
    assert told["code"] == "malformed" and told["fields"][0]["field"] == "events.0.timestamp"


@pytest.mark.parametrize("how", ["the anchor moves", "cancelled", "cancelled, a default plan stands in"])
@pytest.mark.parametrize("passed", [60, 3 * HOUR], ids=["just now", "later, and not closed yet"])
def test_a_period_cut_short_takes_what_happened_in_it(plan, sell, buy, tell, monkeypatch, how, passed):
    if "default" in how:
        sell("free", limits={"many": None}, metrics=METRICS)
        monkeypatch.setenv("DEFAULT_PLAN", "free")
    cut = int(time.time()) - passed
    anchor = cut - 9 * DAY
    whole = period_of(cut, anchor, "month")
    own = {"current_period_start": whole.start, "current_period_end": whole.end}
    buy(plan, anchor=anchor, **own)
    tell("adjust", cut - DAY)
    if how == "the anchor moves":
        after = period_of(cut, cut, "month")
        buy(plan, anchor=cut, current_period_start=cut, current_period_end=after.end)
        assert tell("adjust", cut + 1)["status"] == "recorded" and counted("adjust", cut) == 1
    else:
        buy(plan, anchor=anchor, status="canceled", ended_at=cut, **own)

    assert tell("adjust", cut - 1)["status"] == "recorded"
    assert tell("peak", cut - 1, quantity=7)["status"] == "recorded"
    assert (counted("adjust", whole.start), counted("peak", whole.start)) == (2, 7)
    expected = "recorded" if passed == 60 else "rejected"
    assert tell("reject", cut - 1)["status"] == expected


@pytest.mark.parametrize("how", ["the anchor moves", "cancelled"])
def test_what_was_cut_short_and_is_billed_takes_adjustments_for_good(plan, buy, tell, how, clock):
    cut = int(time.time()) - 60
    anchor = cut - 9 * DAY
    whole = period_of(cut, anchor, "month")
    own = {"current_period_start": whole.start, "current_period_end": whole.end}
    buy(plan, anchor=anchor, **own)
    after = period_of(cut, cut, "month")
    new = {"anchor": cut, "current_period_start": cut, "current_period_end": after.end}
    buy(plan, **(new if how == "the anchor moves" else own | {"status": "canceled", "ended_at": cut, "anchor": anchor}))
    billed(Period(whole.start, cut), "adjust")
    if how == "the anchor moves":
        following = period_of(after.end, cut, "month")
        buy(plan, anchor=cut, current_period_start=after.end, current_period_end=following.end)
        assert customer_table.find("ada", 0).ending.start == cut  # the one before is no longer known by it
    clock.pass_by(days=20)

    key = tell("adjust", cut - 1, quantity=3)["idempotency_key"]
    assert (counted("adjust", whole.start), usage_table.recorded("ada", key).statement) == (3, 1)


def test_a_year_cut_short_keeps_its_days_where_they_are(sell, buy, tell):
    plan = sell(limits={"many": None}, metrics={"peak": METRICS["peak"]}, billing_interval="year")
    cut = int(time.time()) - 60
    anchor = cut - 9 * DAY
    whole = period_of(cut, anchor, "year")
    own = {"anchor": anchor, "current_period_start": whole.start, "current_period_end": whole.end, "interval": "year"}
    buy(plan, **own)
    tell("peak", cut - 2, quantity=5)
    buy(plan, status="canceled", ended_at=cut, **own)
    tell("peak", cut - 1, quantity=3)

    total = usage_table.with_days("ada", "peak~max", whole)
    assert [(each.n, each.value) for each in total.days.values()] == [(2, 5)] and total.used == 5


def test_more_shards_in_the_next_version_count_nothing_where_it_was_not_closed(sell, buy, tell):
    one = Metric("many", enforcement="soft", price=RATE)
    end = int(time.time()) - 2 * HOUR
    last = period_of(end - 1, end, "month")
    before = period_of(last.start - 1, end, "month")
    own = {"limits": {"many": None}, "metrics": {"rows": one}}
    buy(sell(**own), anchor=end, current_period_start=before.start, current_period_end=before.end)
    many = sell(limits={"many": None}, metrics={"rows": replace(one, shards=10)})
    for start in (before.end, last.end):
        buy(many, anchor=end, current_period_start=start, current_period_end=period_of(start, end, "month").end)
    billed(before, "rows")
    keys = [tell("rows", before.end - 1)["idempotency_key"] for _ in range(4)]

    assert {usage_table.recorded("ada", key).statement for key in keys} == {1}
    assert counted("rows", before.start) == 4


def test_a_warm_function_that_remembers_the_period_before_counts_right(plan, buy, tell):
    cut = int(time.time()) - 60
    anchor = cut - 9 * DAY
    whole = period_of(cut, anchor, "month")
    buy(plan, anchor=anchor, current_period_start=whole.start, current_period_end=whole.end)
    tell("adjust", cut - DAY)
    stale = standing._known.copy()
    after = period_of(cut, cut, "month")
    buy(plan, anchor=cut, current_period_start=cut, current_period_end=after.end)
    standing._known.update(stale)

    tell("adjust", cut + 1)
    standing._known.update(stale)
    tell("peak", cut + 1, quantity=2)  # there was no total of it yet
    assert (counted("adjust", whole.start), counted("adjust", cut), counted("peak", cut)) == (1, 1, 2)


def rfc3339(at):
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
