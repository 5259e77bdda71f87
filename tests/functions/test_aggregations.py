"""The ways of adding up, from the request to what is told: totals, days, limits; what is held; shards; long periods."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from billing import dynamodb, metering, plan_table, standing, usage_table
from billing.periods import DAY
from billing.plans import Metric

HOWS = ("sum", "max", "last", "unique")
METRICS = {how: Metric("few", enforcement="soft", aggregation=how) for how in HOWS}
METRICS |= {f"hard_{how}": replace(metric, enforcement="hard") for how, metric in METRICS.items()}
HELD = {"projects": Metric("few", kind="held", reset="never")}
SHARDED = {"rows": Metric("few", enforcement="soft", shards=4)}
NAMES = count()


@pytest.fixture
def have(sell, buy):
    """Ada has these metrics, and five of each; as often as it is called, in one and the same period."""
    anchor = int(time.time()) - 10 * DAY

    def put(metrics=METRICS, few=5, **content):
        return buy(sell(limits={"few": few}, metrics=metrics, **content), anchor=anchor)

    return put


@pytest.fixture
def tell(use):
    """Events of one metric by quantity or value, each so many days ago; answers what is said of them."""

    def post(metric, *said, days=(), **request):
        return use(*(event(metric, what, *days[n : n + 1]) for n, what in enumerate(said)), **request).json["events"]

    return post


@pytest.fixture
def calls(moments):
    heard = []
    moments.append(lambda moment: heard.append(moment[7:]) if moment.startswith("before") else None)
    return heard


def event(metric, what, days=None, key=None):
    said = {"metric_id": metric, "idempotency_key": key or f"k{next(NAMES)}"}
    said |= {"value": what, "quantity": 1} if isinstance(what, str) else {"quantity": what}
    return said | ({} if days is None else {"timestamp": ago(days)})


def ago(days):
    return datetime.fromtimestamp(time.time() - days * DAY, UTC).isoformat()


def told(answers):
    return "".join(answer["status"][0] for answer in answers)


def passed(answers):
    return [answer["over_limit"] for answer in answers]


def totals():
    found = dynamodb.db().scan(TableName=os.environ["USAGE_TABLE"])["Items"]
    return {item["sk"]: item for each in found if (item := dynamodb.decode(each))["pk"] == "T#ada"}


@pytest.mark.parametrize(
    ("how", "said", "days", "in_all", "by_day"),
    [
        ("sum", (3, 4, 2), (2, 0, 2), 9, [(2, 5), (1, 4)]),
        ("max", (3, 4, 9, 0), (2, 0, 2, 0), 9, [(2, 9), (2, 4)]),
        ("last", (3, 4, 2), (0, 2, 4), 3, [(1, 2), (1, 4), (1, 3)]),
        ("unique", ("bob", "cyd", "bob", "bob"), (2, 2, 2, 0), 2, [(3, 2), (1, 1)]),
    ],
)
@pytest.mark.parametrize("interval", ["month", "year"])
def test_what_events_come_to_is_told_in_all_and_by_day(have, tell, used, how, said, days, in_all, by_day, interval):
    have(billing_interval=interval)
    both = [told(tell(how, said[0], days=days[:1])), told(tell(how, *said[1:], days=days[1:]))]

    assert "".join(both) == "r" * len(said)
    answer = used(how)
    assert (answer["aggregation"], answer["used"], answer["remaining"]) == (how, in_all, max(0, 5 - in_all))
    assert [(day["n"], day[how]) for day in answer["days"]] == by_day
    assert len(totals()) == (1 if interval == "month" else 1 + len({day["date"][:7] for day in answer["days"]}))


@pytest.mark.parametrize(
    ("how", "said", "flags"),
    [
        ("sum", (3, 2, 1), [False, False, True]),
        ("max", (5, 6, 4), [False, True, False]),
        ("last", (5, 6, 4), [False, True, False]),
        ("unique", ("a", "b", "c", "d", "e", "a", "f", "b"), [False] * 6 + [True, False]),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["in one request", "one by one"])
def test_what_passes_a_soft_limit_is_told_and_told_again(have, use, how, said, flags, apart):
    have()
    events = [event(how, what) for what in said]
    requests = [[each] for each in events] if apart else [events]
    first = [answer for request in requests for answer in use(*request).json["events"]]

    assert (told(first), passed(first)) == ("r" * len(said), flags)
    assert use(*events).json["events"] == [answer | {"duplicate": True} for answer in first]


def test_what_is_only_observed_passes_no_limit(have, tell, used):
    have({"rows": Metric("few", enforcement="observe")})

    assert passed(tell("rows", 3, 9)) == [False, False] == [*passed(tell("rows", 1)), False]
    assert (used("rows")["used"], used("rows")["enforcement"]) == (13, "observe")


@pytest.mark.parametrize(
    ("how", "said", "expected", "in_all"),
    [
        ("sum", (3, 3, 2, 1), "roro", 5),
        ("max", (4, 6, 5, 0), "rorr", 5),
        ("last", (4, 6, 5, 0), "rorr", 0),
        ("unique", ("a", "b", "c", "d", "a", "e", "f", "b"), "rrrrrror", 5),
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["in one request", "one by one"])
def test_a_hard_limit_takes_what_fits(have, tell, used, how, said, expected, in_all, apart):
    have()
    seconds = [-n / DAY for n in range(len(said))]
    if apart:
        answers = [tell(f"hard_{how}", what, days=[at])[0] for what, at in zip(said, seconds, strict=True)]
    else:
        answers = tell(f"hard_{how}", *said, days=seconds)

    assert told(answers) == expected
    refused = next(answer for answer in answers if answer["status"] == "over_limit")
    assert refused["limit"] == 5 and refused["used"] <= 5
    assert (used(f"hard_{how}")["used"], used(f"hard_{how}")["remaining"]) == (in_all, 5 - in_all)


def test_what_is_used_is_told_with_what_is_too_much(have, tell):
    have()

    for how, said, in_all in (("sum", (3, 1, 2), 4), ("max", (3, 2, 6), 3), ("unique", ("a", "b", "a", *"cdef"), 5)):
        assert tell(f"hard_{how}", *said)[-1]["used"] == in_all


def test_two_who_raise_a_maximum_at_once_leave_the_higher(have, tell, used, moments):
    have()
    tell("max", 3)
    moments.once("before TransactWriteItems", lambda: tell("max", 9))

    assert told(tell("max", 7)) == "r"
    assert (used("max")["used"], used("max")["days"][0]["n"]) == (9, 3)


def test_two_who_tell_the_same_value_at_once_are_one_and_the_limit_holds(have, tell, used, moments):
    have(few=2)
    tell("hard_unique", "a")
    moments.once("before TransactWriteItems", lambda: tell("hard_unique", "b"))

    assert told(tell("hard_unique", "b", "c")) == "ro"
    assert (used("hard_unique")["used"], used("hard_unique")["days"][0]["n"]) == (2, 3)


@pytest.mark.parametrize(
    ("metric", "said", "field"),
    [
        ("unique", {"quantity": 1}, "value"),
        ("unique", {"quantity": 2, "value": "bob"}, "quantity"),
        ("unique", {"quantity": 1, "value": "é"}, "value"),
        ("sum", {"quantity": 1, "value": "bob"}, "value"),
        ("sum", {"quantity": 0}, "quantity"),
        ("max", {"quantity": -1}, "quantity"),
    ],
)
def test_an_event_says_just_what_its_metric_counts(have, use, metric, said, field):
    have()
    bad, good = use({"metric_id": metric, "idempotency_key": "k"} | said, event("sum", 1)).json["events"]

    assert (bad["status"], bad["field"], good["status"]) == ("rejected", field, "recorded")


def test_a_value_needs_no_quantity(have, api, used):
    have()
    said = {"customer_id": "ada", "metric_id": "unique", "idempotency_key": "k", "value": "bob"}
    answer = api("POST", "/usage", {"events": [said]}, claims={"scope": "billing/service"}).json["events"][0]

    assert (answer["status"], answer["quantity"], answer["value"]) == ("recorded", 1, "bob")
    assert used("unique")["used"] == 1


def test_what_is_held_goes_up_and_down_and_never_below_zero(have, tell, used):
    have(HELD)

    answers = tell("projects", 3, -4, -2, 4, 1, -1)
    assert [answer["status"][:3] for answer in answers] == ["rec", "rej", "rec", "rec", "ove", "rec"]
    assert (answers[1]["reason"], answers[4]["used"]) == ("below_zero", 4)
    assert (used("projects")["used"], used("projects")["remaining"]) == (4, 1)


def test_what_is_held_is_never_above_its_limit_or_below_zero_while_others_move_it(have, tell, used, moments):
    have(HELD)
    tell("projects", 3)
    moments.once("before TransactWriteItems", lambda: tell("projects", 2))
    assert told(tell("projects", 2, -1)) == "or"  # in this order there is no room for the two
    assert used("projects")["used"] == 4

    moments.once("before TransactWriteItems", lambda: tell("projects", -3))
    assert told(tell("projects", -2)) == "r" and used("projects")["used"] == 1


def test_above_a_limit_that_was_lowered_it_may_still_be_given_back(have, tell, used):
    have(HELD)
    tell("projects", 5)
    have(HELD, few=2)

    assert told(tell("projects", 1, -1, 1, -3, 1, 1)) == "ororro"
    assert (used("projects")["used"], used("projects")["remaining"]) == (2, 0)


def test_what_is_held_can_be_given_back_when_the_subscription_gives_no_access(have, tell, used, buy, sell):
    have(HELD)
    tell("projects", 3)
    plan = sell(limits={"few": 5}, metrics=HELD)
    buy(plan, status="unpaid")

    (more,), (less,) = tell("projects", 1), tell("projects", -1)
    assert (more["status"], more["reason"], less["status"]) == ("rejected", "no_access", "recorded")
    buy(plan)
    assert used("projects")["used"] == 2


@pytest.fixture
def lots(monkeypatch):
    """The shards that requests choose, one after the other."""
    chosen = count()
    monkeypatch.setattr(metering, "randrange", lambda most: next(chosen) % most)


def test_shards_add_up_and_are_read_at_once(have, tell, used, calls, lots):
    have(SHARDED, few=None)
    for quantity in (1, 2, 4, 8, 16):
        tell("rows", quantity, days=[quantity % 3])
    calls.clear()
    answer = used("rows")

    assert calls == ["GetItem", "Query"]
    assert (answer["used"], sum(day["sum"] for day in answer["days"]), len(answer["days"])) == (31, 31, 2)
    assert sorted(total["used"] for total in totals().values()) == [2, 4, 8, 17]


def test_a_soft_limit_is_of_all_shards_together(have, tell, lots):
    have(SHARDED)

    assert [passed(tell("rows", 2))[0] for _ in range(4)] == [False, False, True, True]


def test_fewer_shards_in_the_next_version_lose_nothing(have, tell, used, lots):
    have(SHARDED, few=None)
    for quantity in (1, 2, 4, 8):
        tell("rows", quantity)
    have({"rows": replace(SHARDED["rows"], shards=1)}, few=None)
    tell("rows", 16)

    assert used("rows")["used"] == 31
    period = standing.of("ada", int(time.time())).measures()[0].period(int(time.time()))
    assert [shard.used for shard in usage_table.shards("ada", "rows", period, 1)] == [17, 2, 4, 8]  # all are billed


def test_without_a_limit_a_shard_is_counted_in_with_one_call(have, tell, calls, lots):
    have(SHARDED, few=None)
    for _ in range(4):
        tell("rows", 1)
    calls.clear()
    tell("rows", 1)

    assert calls == ["TransactWriteItems"]


@pytest.mark.parametrize("said", [(3, 2), (3, 3), (6,)], ids=repr)
def test_all_or_nothing_counts_all_that_fits_together_or_none_of_it(have, api, used, said):
    have()
    events = [event("hard_sum", quantity, key=f"{n}") | {"customer_id": "ada"} for n, quantity in enumerate(said)]

    def post():
        body = {"events": events, "all_or_nothing": True}
        return api("POST", "/usage", body, claims={"scope": "billing/service"}).json["events"]

    fits = sum(said) <= 5
    assert told(post()) == told(post()) == ("r" if fits else "o") * len(said)
    assert used("hard_sum")["used"] == (sum(said) if fits else 0)


def test_all_or_nothing_looks_at_what_is_new_only_and_at_each_limit_by_itself(have, api, tell, used):
    have()
    old = event("hard_sum", 3, key="old") | {"customer_id": "ada"}

    def post(*events):
        body = {"events": [each | {"customer_id": "ada"} for each in events], "all_or_nothing": True}
        return api("POST", "/usage", body, claims={"scope": "billing/service"}).json["events"]

    post(old)
    answers = post(old, event("hard_sum", 2), event("hard_max", 9), event("hard_max", 1), event("sum", 9))
    assert (told(answers), answers[0]["duplicate"]) == ("rroor", True)
    assert [used(metric)["used"] for metric in ("hard_sum", "hard_max", "sum")] == [5, 0, 9]


def test_more_than_goes_at_once_cannot_be_all_or_nothing(have, api):
    have(few=10**6)
    events = [event("hard_unique", f"v{n}") | {"customer_id": "ada"} for n in range(60)]
    body = {"events": events, "all_or_nothing": True}
    answers = api("POST", "/usage", body, claims={"scope": "billing/service"}).json["events"]

    assert {(answer["status"], answer["reason"]) for answer in answers} == {("rejected", "too_many_together")}


@pytest.fixture
def at_once(api):
    def post(*events):
        body = {"events": [each | {"customer_id": "ada"} for each in events], "all_or_nothing": True}
        return api("POST", "/usage", body, claims={"scope": "billing/service"}).json["events"]

    return post


def test_what_is_of_several_months_of_a_long_period_cannot_be_all_or_nothing(have, at_once, used):
    have(HELD)
    this, last = event("projects", 2, 0), event("projects", 2, 40)
    answers = at_once(this, last)
    assert [answer["reason"] for answer in answers] == ["too_many_together"] * 2
    assert used("projects")["used"] == 0

    at_once(last)
    at_once(this, event("projects", 1, 0))
    assert used("projects")["used"] == 5
    again = at_once(this, last, event("projects", -1, 0))
    assert [answer.get("duplicate") for answer in again] == [True, True, None]
    assert again[2]["reason"] == "too_many_together"


def test_of_all_or_nothing_no_second_body_of_a_key_is_counted_alone(have, at_once, used):
    have()
    first, second = event("hard_sum", 4, key="b"), event("hard_sum", 1, key="b")
    assert told(at_once(event("hard_sum", 3), first, second)) == "ooc"
    assert used("hard_sum")["used"] == 0

    at_once(second)
    assert told(at_once(first, second)) == "cr" and used("hard_sum")["used"] == 1


def test_what_there_is_enough_of_is_not_said_to_be_below_zero(have, at_once, used):
    have(HELD)
    at_once(event("projects", 3))
    assert told(at_once(event("projects", -1), event("projects", 100))) == "oo"
    first, second = at_once(event("projects", -1), event("projects", -3))
    assert (first["status"], second["reason"], used("projects")["used"]) == ("over_limit", "below_zero", 3)


def test_a_hundred_values_take_more_than_one_transaction(have, tell, used):
    have()

    assert told(tell("unique", *(f"v{n}" for n in range(100)))) == "r" * 100
    assert (used("unique")["used"], used("unique")["days"][0]["n"]) == (100, 100)


@pytest.mark.parametrize("how", HOWS)
def test_the_current_period_is_one_read(have, tell, used, calls, how):
    have(few=None)  # else there is one more, of its alerts
    tell(how, "bob" if how == "unique" else 1)
    calls.clear()
    used(how)

    assert calls == ["GetItem", "Query"]  # the customer, the total with its days


def test_an_older_version_of_the_default_plan_never_takes_a_peak_back(sell, monkeypatch, tell, used):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    metrics = {"peak": Metric("few", aggregation="max")}
    sell("free", limits={"few": 100}, metrics=metrics)
    tell("peak", 2)
    before = plan_table._catalogue
    sell("free", limits={"few": 5}, metrics=metrics)
    tell("peak", 3)
    plan_table._catalogue = before

    assert told(tell("peak", 10)) == "o" and used("peak")["used"] == 3
