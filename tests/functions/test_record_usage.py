import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import customer_table, dynamodb, metering, plan_table, standing, usage_table
from billing.holds import digest
from billing.plans import Metric


class Death(BaseException):
    """No handler of ours may catch it."""


def die():
    raise Death


def ago(**time):
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


def statuses(answer):
    return [event["status"] for event in answer.json["events"]]


def items(begins):
    return [
        item
        for found in dynamodb.db().scan(TableName=os.environ["USAGE_TABLE"])["Items"]
        if (item := dynamodb.decode(found))["pk"].startswith(begins)
    ]


@pytest.fixture
def pro(sell, buy):
    """Ada has ten API calls (hard) and five exports (soft) a month."""
    plan = sell()
    buy(plan)
    return plan


@pytest.fixture
def calls(moments):
    """The calls of DynamoDB since, without those before the answer."""
    heard = []
    moments.append(lambda moment: heard.append(moment[7:]) if moment.startswith("before") else None)
    return heard


def test_the_same_usage_key_twice_counts_once(use, used, pro):
    first, again = (use({"quantity": 4, "idempotency_key": "k"}) for _ in range(2))

    (one,), (two,) = first.json["events"], again.json["events"]
    assert (first.status, one["status"], one["duplicate"]) == (200, "recorded", False)
    assert two == one | {"duplicate": True}
    assert (used()["used"], used()["remaining"], len(items("E#"))) == (4, 6, 1)


def test_a_retry_that_comes_much_later_is_told_the_time_of_the_first(use, used, pro, monkeypatch):
    (first,) = use({"idempotency_key": "k"}).json["events"]
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 40 * 86_400)
    (again,) = use({"idempotency_key": "k"}).json["events"]

    assert again == first | {"duplicate": True}
    assert (used()["used"], len(items("E#"))) == (0, 1)  # of the period after


def test_another_body_with_the_same_key_is_a_conflict_and_counts_nothing(use, used, pro):
    use({"quantity": 4, "idempotency_key": "k"})

    for other in ({"quantity": 5}, {"metric_id": "exports"}, {"timestamp": ago(minutes=1)}, {"metadata": {"a": "b"}}):
        (answer,) = use({"quantity": 4, "idempotency_key": "k"} | other).json["events"]
        assert (answer["status"], answer["field"]) == ("conflict", "idempotency_key")
    assert (used()["used"], used("exports")["used"]) == (4, 0)


def test_copies_in_one_request_are_one_event_and_another_body_under_its_key_a_conflict(use, used, pro):
    event = {"quantity": 2, "idempotency_key": "k"}
    answer = use(event, event | {"quantity": 3}, event, {"idempotency_key": "other"})

    assert statuses(answer) == ["recorded", "conflict", "recorded", "recorded"]
    assert [each.get("duplicate") for each in answer.json["events"]] == [False, None, True, False]
    assert used()["used"] == 3


def test_of_two_bodies_under_one_key_the_one_on_record_is_the_right_one_whatever_the_order(use, used, pro):
    use({"quantity": 3, "idempotency_key": "k"})
    answer = use({"quantity": 2, "idempotency_key": "k"}, {"quantity": 3, "idempotency_key": "k"})

    assert statuses(answer) == ["conflict", "recorded"] and answer.json["events"][1]["duplicate"] is True
    assert used()["used"] == 3


def test_the_same_key_of_two_customers_is_two_keys(use, used, pro, buy):
    buy(pro, "bob")
    answer = use({"idempotency_key": "k"}, {"idempotency_key": "k", "customer_id": "bob", "quantity": 2})

    assert statuses(answer) == ["recorded", "recorded"]
    assert (used()["used"], used(customer="bob")["used"]) == (1, 2)


def test_a_hard_limit_is_never_passed_and_what_fits_is_counted_in_order(use, used, pro):
    events = [{"quantity": n, "idempotency_key": str(n)} for n in (4, 7, 5, 2, 1)]
    answer = use(*events)

    assert statuses(answer) == ["recorded", "over_limit", "recorded", "over_limit", "recorded"]
    assert (answer.json["events"][1]["limit"], answer.json["events"][1]["used"]) == (10, 10)
    assert statuses(use(*events)) == statuses(answer)
    assert (used()["used"], used()["remaining"], len(items("E#"))) == (10, 0, 3)


def test_a_duplicate_is_a_duplicate_even_when_nothing_is_left(use, pro):
    use({"quantity": 10, "idempotency_key": "all"})
    answer = use({"quantity": 1, "idempotency_key": "more"}, {"quantity": 10, "idempotency_key": "all"})

    assert statuses(answer) == ["over_limit", "recorded"] and answer.json["events"][1]["duplicate"] is True


def test_what_is_counted_already_is_told_so_even_if_the_store_names_only_the_full_total(use, used, pro):
    """DynamoDB need not report every condition that failed: here it keeps the event's own to itself."""
    use({"quantity": 10, "idempotency_key": "k"})

    def only_the_total(parsed, **_):
        for reason in parsed.get("CancellationReasons", [])[:1]:
            reason.clear()
            reason["Code"] = "None"

    dynamodb.db().meta.events.register("after-call.dynamodb.TransactWriteItems", only_the_total)
    (again,), (other,) = (use({"quantity": 10, "idempotency_key": key}).json["events"] for key in ("k", "l"))

    assert (again["status"], again["duplicate"]) == ("recorded", True)
    assert (other["status"], other["used"], used()["used"]) == ("over_limit", 10, 10)


def test_what_is_counted_already_takes_no_room_from_what_is_new_even_then(use, used, pro):
    use({"quantity": 2, "idempotency_key": "k"})

    def only_the_total(parsed, **_):
        for reason in parsed.get("CancellationReasons", [])[:-1]:
            reason.clear()
            reason["Code"] = "None"

    dynamodb.db().meta.events.register("after-call.dynamodb.TransactWriteItems", only_the_total)
    answer = use({"quantity": 2, "idempotency_key": "k"}, {"quantity": 8, "idempotency_key": "l"})

    assert [each["duplicate"] for each in answer.json["events"]] == [True, False]
    assert (statuses(answer), used()["used"]) == (["recorded", "recorded"], 10)


def test_a_period_that_is_closed_takes_no_more(use, used, pro):
    use({"quantity": 4, "idempotency_key": "k"})
    (total,) = items("T#ada")
    dynamodb.transact([dynamodb.put("Usage", total | {"closed": 1})])
    (late,), (again,) = (use({"quantity": 4, "idempotency_key": key}).json["events"] for key in ("l", "k"))

    assert (late["status"], late["reason"], again["status"]) == ("rejected", "period_closed", "recorded")
    assert (used()["used"], len(items("E#"))) == (4, 1)


def test_a_soft_limit_is_told_and_stops_nobody(use, used, api, pro):
    use({"metric_id": "exports", "quantity": 7, "idempotency_key": "k"})

    assert (used("exports")["used"], used("exports")["remaining"]) == (7, 0)
    answer = api("GET", "/entitlements/exports").json
    assert (answer["allowed"], answer["reason"]) == (True, "limit_reached")


def test_an_unlimited_metric_has_no_limit_and_an_absent_one_is_zero(use, used, sell, buy):
    metrics = {"api_calls": Metric("max_api_calls"), "robots": Metric("max_robots")}
    buy(sell(limits={"max_api_calls": None}, metrics=metrics))
    huge = {"quantity": 10**12, "idempotency_key": "huge"}

    assert statuses(use(huge, {"metric_id": "robots", "idempotency_key": "r"})) == ["recorded", "over_limit"]
    assert (used()["used"], used()["limit"], used()["remaining"]) == (10**12, None, None)


def test_one_bad_event_never_fails_its_neighbours(use, used, pro):
    bad = {
        "quantity": [{"quantity": 0}, {"quantity": 1.5}, {"quantity": "1"}, {"quantity": 10**30}, {"quantity": True}],
        "metric_id": [{"metric_id": "robots"}, {"metric_id": ""}],
        "idempotency_key": [{"idempotency_key": "x" * 256}, {"idempotency_key": "é"}, {"idempotency_key": None}],
        "timestamp": [
            {"timestamp": then}
            for then in ("1970-01-01T00:00:00Z", "2026-11-23T12:00:00", ago(minutes=-6), ago(days=40))
        ],
        "metadata": [{"metadata": {"a": 1}}, {"metadata": {"a": "x" * 3000}}],
        "colour": [{"colour": "red"}],
        "": [7, None, [], "event"],
    }
    events = [
        {"idempotency_key": f"{name}{n}"} | each if isinstance(each, dict) else each
        for name, cases in bad.items()
        for n, each in enumerate(cases)
    ]
    answer = use({"idempotency_key": "first"}, *events, {"idempotency_key": "last"})

    assert (answer.status, statuses(answer)) == (200, ["recorded", *["rejected"] * len(events), "recorded"])
    fields = [event["field"] for event in answer.json["events"][1:-1]]
    assert fields == [name for name, cases in bad.items() for _ in cases]
    assert all(event["reason"] and event["detail"] for event in answer.json["events"][1:-1])
    assert (used()["used"], len(items("E#"))) == (2, 2)


def test_a_request_of_which_no_event_can_be_read_is_refused_by_its_fields(use, used, pro):
    old, huge = {"timestamp": "1970-01-01T00:00:00Z", "idempotency_key": "a"}, {"quantity": 10**30}
    answer = use(old, huge | {"idempotency_key": "b"}, 7)

    assert (answer.status, answer.json["code"]) == (400, "malformed")
    assert [each["field"] for each in answer.json["fields"]] == ["events.0.timestamp", "events.1.quantity", "events.2"]
    assert (used()["used"], items("E#")) == (0, [])
    assert use({"metric_id": "robots", "idempotency_key": "c"}).status == 200  # read, and refused by the plan


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "[]", "{}", '{"events": []}', '{"events": {}}', '{"events": [{}], "x": 1}'),
        *(json.dumps({"events": [{}] * 101}), '{"events": ' + "[" * 10**5, "x" * (257 * 1024)),
    ],
    ids=lambda text: text[:30],
)
def test_a_broken_envelope_is_refused_whole(api, pro, text):
    answer = api("POST", "/usage", text=text, claims={"scope": "billing/service"})

    assert (answer.status, answer.json["code"], bool(answer.json["fields"])) == (400, "malformed", True)
    assert items("E#") == []


def test_a_customer_without_any_plan_uses_nothing(use, aws):
    (answer,) = use({"idempotency_key": "k"}).json["events"]

    assert (answer["status"], answer["reason"]) == ("rejected", "no_access")
    assert items("") == []


def test_a_customer_on_no_record_uses_the_default_plan_by_calendar_months(use, used, sell, monkeypatch):
    sell("free", limits={"max_api_calls": 3})
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    answer = use(*({"quantity": 2, "idempotency_key": str(n)} for n in range(2)))

    assert statuses(answer) == ["recorded", "over_limit"]
    assert (used()["used"], used()["period_start"][8:]) == (2, "01T00:00:00Z")


def test_a_hundred_events_are_counted_together_and_their_days_add_up(use, used, pro):
    days = [(n, ago(hours=n % 12)) for n in range(100)]
    answer = use(*({"metric_id": "exports", "idempotency_key": str(n), "timestamp": then} for n, then in days))
    told = used("exports")

    assert Counter(statuses(answer)) == {"recorded": 100}
    assert told["used"] == sum(day["sum"] for day in told["days"]) == sum(day["n"] for day in told["days"]) == 100
    assert {day["date"] for day in told["days"]} == {then[:10] for _, then in days}
    stored = items("E#")
    assert {item["series"] for item in stored} == {f"ada#exports#{then[:10]}" for _, then in days}
    assert all(item["moment"] == f"{item['at']:012}#{item['pk'][2:]}" for item in stored)


def test_the_days_of_a_year_stand_beside_its_total(use, used, sell, buy):
    now = int(time.time())
    buy(sell(billing_interval="year"), anchor=now - 200 * 86_400)
    then = [ago(days=n) for n in (0, 45, 100)]
    answer = use(
        *({"metric_id": "exports", "idempotency_key": t, "timestamp": t} for t in then),
        {"metric_id": "api_calls", "idempotency_key": "hard", "quantity": 9},
        {"metric_id": "api_calls", "idempotency_key": "over", "quantity": 2},
    )

    assert statuses(answer) == [*["recorded"] * 4, "over_limit"]
    assert [day["date"] for day in used("exports")["days"]] == sorted(t[:10] for t in then)
    assert (used("exports")["used"], used()["used"], used()["days"][0]["sum"]) == (3, 9, 9)


def test_what_is_never_reset_is_counted_over_all_time(use, used, sell, buy):
    metrics = {"api_calls": Metric("max_api_calls", reset="never"), "exports": Metric("max_exports", reset="day")}
    buy(sell(metrics=metrics))
    use({"idempotency_key": "k"}, {"metric_id": "exports", "idempotency_key": "e"})

    assert (used()["used"], used()["period_start"], used()["period_end"]) == (1, None, None)
    assert used()["days"] == [{"date": ago()[:10], "n": 1, "sum": 1}] == used("exports")["days"]


def test_a_total_and_an_event_stay_under_a_kilobyte(use, sell, buy):
    buy(sell(limits={"max_api_calls": 10**15}), anchor=int(time.time()) - 86_400 * 5)
    use(*({"quantity": 10**12, "idempotency_key": f"{n}" * 32} for n in range(9)))
    use(*({"metric_id": "exports", "idempotency_key": f"d{n}", "timestamp": ago(days=n)} for n in range(40)))

    sizes = [len(json.dumps(item, separators=(",", ""))) for item in items("")]
    assert max(sizes) < 1000


def test_a_warm_event_costs_one_call_and_a_cold_one_two(use, pro, calls):
    use({"idempotency_key": "first"})
    calls.clear()

    use({"idempotency_key": "warm"})
    assert calls == ["TransactWriteItems"]
    standing._known.clear()
    calls.clear()
    use({"idempotency_key": "cold"})
    assert calls == ["GetItem", "TransactWriteItems"]


def test_a_change_of_plan_is_known_to_whoever_has_forgotten_to_ask(use, used, sell, buy, pro):
    use({"quantity": 5, "idempotency_key": "a"})
    buy(sell(limits={"max_api_calls": 6}))

    assert statuses(use({"quantity": 5, "idempotency_key": "b"}, {"idempotency_key": "c"})) == [
        "over_limit",
        "recorded",
    ]
    buy(sell(limits={"max_api_calls": 20}))
    assert statuses(use({"quantity": 14, "idempotency_key": "d"})) == ["recorded"]
    assert used()["used"] == 20


@pytest.mark.parametrize("warm", [True, False], ids=["the total stands", "the first of its period"])
def test_a_limit_lowered_between_read_and_write_holds(use, used, sell, buy, pro, moments, warm):
    if warm:
        use({"quantity": 5, "idempotency_key": "a"})
    lower = sell(limits={"max_api_calls": 6})
    standing._known.clear()
    moments.once("before TransactWriteItems", lambda: buy(lower))

    answer = use({"quantity": 9 - 4 * warm, "idempotency_key": "b"})
    assert (statuses(answer), answer.json["events"][0]["limit"]) == (["over_limit"], 6)
    assert used()["used"] == 5 * warm


def test_access_that_ends_between_read_and_write_holds_and_what_was_counted_is_still_told(use, used, buy, pro, moments):
    use({"idempotency_key": "a"})
    moments.once("before TransactWriteItems", lambda: buy(pro, status="unpaid"))

    answer = use({"idempotency_key": "b"}, {"idempotency_key": "a"})
    assert statuses(answer) == ["rejected", "recorded"]
    assert (answer.json["events"][0]["reason"], answer.json["events"][1]["duplicate"]) == ("no_access", True)
    assert used()["used"] == 1


def test_who_has_just_subscribed_is_not_turned_away_for_what_is_remembered(use, pro, buy, sell):
    assert statuses(use({"customer_id": "bob", "idempotency_key": "a"})) == ["rejected"]
    buy(pro, "bob")
    assert statuses(use({"customer_id": "bob", "idempotency_key": "a"})) == ["recorded"]


def test_another_version_of_the_default_plan_takes_over_its_totals_and_never_gives_them_back(
    use, used, sell, monkeypatch
):
    sell("free", limits={"max_api_calls": 3})
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    use({"quantity": 2, "idempotency_key": "a"})
    before = plan_table._catalogue
    sell("free", limits={"max_api_calls": 5})
    assert statuses(use({"quantity": 3, "idempotency_key": "b"})) == ["recorded"]
    sell("free", limits={"max_api_calls": 9})
    use({"quantity": 1, "idempotency_key": "c"})
    plan_table._catalogue = before  # a Lambda that has slept through both

    assert statuses(use({"quantity": 3, "idempotency_key": "d"})) == ["recorded"]
    assert used()["used"] == 9


def test_an_older_version_of_the_default_plan_never_takes_a_total_back(use, used, sell, monkeypatch):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", limits={"max_api_calls": 100})
    use({"quantity": 2, "idempotency_key": "a"})
    before = plan_table._catalogue
    sell("free", limits={"max_api_calls": 5})
    use({"idempotency_key": "b"})
    plan_table._catalogue = before

    assert statuses(use({"quantity": 10, "idempotency_key": "c"})) == ["over_limit"]
    assert used()["used"] == 3


def test_nothing_is_too_much_on_the_ground_of_what_is_only_remembered(use, sell, monkeypatch):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", limits={"max_api_calls": 1})
    assert statuses(use({"quantity": 2, "idempotency_key": "a"})) == ["over_limit"]
    before = plan_table._catalogue
    sell("free", limits={"max_api_calls": 5})
    plan_table._catalogue = before

    assert statuses(use({"quantity": 2, "idempotency_key": "a"})) == ["recorded"]


def test_the_first_event_of_a_period_is_counted_only_on_terms_that_are_on_record(use, used, sell, buy, monkeypatch):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    monthly = {"api_calls": Metric("max_api_calls", reset="month")}
    sell("free", limits={"max_api_calls": 100}, metrics=monthly)
    standing.of("ada", int(time.time()))
    catalogue, known = plan_table._catalogue, standing._known.copy()
    sell("free", metrics={})
    buy(sell(limits={"max_api_calls": 3}, metrics=monthly))  # no total of the default plan is open, so none is shut
    plan_table._catalogue = catalogue
    standing._known.update(known)

    assert statuses(use({"quantity": 50, "idempotency_key": "a"}, {"idempotency_key": "b"})) == [
        "over_limit",
        "recorded",
    ]
    assert used()["used"] == 1


def test_what_was_counted_in_its_time_is_still_told_when_it_could_no_longer_be_counted(
    use, used, buy, pro, sell, monkeypatch
):
    event = {"idempotency_key": "a", "timestamp": ago(minutes=1)}
    (first,) = use(event).json["events"]
    buy(sell(metrics={}))
    assert use(event).json["events"] == [first | {"duplicate": True}]
    buy(pro, status="unpaid")
    assert use(event).json["events"] == [first | {"duplicate": True}]
    assert statuses(use(event | {"quantity": 2}, {"idempotency_key": "b"})) == ["conflict", "rejected"]
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 390 * 86_400)
    assert use(event).json["events"] == [first | {"duplicate": True}]


def test_the_default_plans_totals_are_shut_when_the_customer_subscribes(use, used, sell, buy, monkeypatch):
    free = Metric("max_api_calls", reset="month")
    sell("free", limits={"max_api_calls": 100}, metrics={"api_calls": free})
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    use({"quantity": 2, "idempotency_key": "a"})
    pro = sell(limits={"max_api_calls": 4}, metrics={"api_calls": free})
    moments_of_a_stale_lambda = standing._known.copy()
    buy(pro)
    standing._known.update(moments_of_a_stale_lambda)

    assert statuses(use({"quantity": 3, "idempotency_key": "b"}, {"quantity": 2, "idempotency_key": "c"})) == [
        "over_limit",
        "recorded",
    ]
    assert used()["used"] == 4


def test_a_metric_that_becomes_hard_is_shut_for_whoever_still_takes_it_for_soft(use, used, sell, buy, pro):
    use({"metric_id": "exports", "quantity": 5, "idempotency_key": "a"})
    stale = standing._known.copy()
    hard = Metric("max_exports")
    buy(sell(metrics={"api_calls": hard, "exports": hard}))
    standing._known.update(stale)

    assert statuses(use({"metric_id": "exports", "idempotency_key": "b"})) == ["over_limit"]
    assert used("exports")["used"] == 5


def test_when_a_pause_is_over_events_are_counted_also_before_stripe_has_told_of_it(use, used, buy, pro, clock):
    export = {"metric_id": "exports"}
    buy(pro, collection_paused=True, resumes_at=int(time.time()) + 100)
    assert statuses(use(export | {"idempotency_key": "a"})) == ["recorded"]  # it happened
    clock.pass_by(seconds=200)

    assert statuses(use(export | {"idempotency_key": "b"})) == ["recorded"]
    assert used("exports")["used"] == 2


@pytest.mark.parametrize("remembered", [False, True], ids=["read", "read again"])
def test_a_customer_whose_record_cannot_be_read_keeps_no_others_from_being_counted(
    use, used, buy, pro, remembered, caplog
):
    if remembered:
        now = int(time.time())
        buy(pro, "bob")
        period = standing.of("bob", now).measure("api_calls").period(now)
        dynamodb.transact([usage_table.on_terms("bob", "api_calls", period.start, 0, "9")])
    key = {"pk": "customer#bob", "sk": "customer"}
    read = dynamodb.get(customer_table.TABLE, **key) or key | {"id": "bob"}
    dynamodb.transact([dynamodb.put(customer_table.TABLE, read | {"of_another_version": True})])
    bobs = [{"customer_id": "bob", "idempotency_key": key} for key in "ab"]
    answer = use(*bobs, {"idempotency_key": "a"})

    assert (answer.status, statuses(answer)) == (503, ["undecided", "undecided", "recorded"])
    assert used()["used"] == 1
    assert [line.customer for line in caplog.records if line.message == "unreadable"] == [digest("bob")]


@pytest.mark.parametrize("moment", range(6))
def test_death_at_any_moment_and_a_retry_count_once(use, used, pro, moments, moment):
    events = [{"quantity": 2, "idempotency_key": "a"}, {"quantity": 3, "idempotency_key": "b"}]
    events.append({"metric_id": "exports", "idempotency_key": "c"})
    standing._known.clear()
    passed = iter(range(moment))
    moments.append(lambda _: next(passed, None) is None and die())
    with pytest.raises(Death):
        use(*events)
    moments.clear()

    assert statuses(use(*events)) == ["recorded"] * 3
    assert (used()["used"], used("exports")["used"], len(items("E#"))) == (5, 1, 3)


def conflicts(times, of=""):
    """DynamoDB's answer when another transaction is on the same items, so many times; answers what ends it."""
    left = iter(range(times))
    reasons = [{"Code": "TransactionConflict", "Message": "busy"}, {"Code": "None"}]
    refusal = {"Error": {"Code": "TransactionCanceledException", "Message": "busy"}, "CancellationReasons": reasons}
    refusal["ResponseMetadata"] = {"HTTPStatusCode": 400}

    def answer(model, params, **_):
        if model.name == "TransactWriteItems" and f"T#{of}" in str(params["body"]) and next(left, None) is not None:
            return SimpleNamespace(status_code=400), refusal

    events = dynamodb.db().meta.events
    events.register("before-call.dynamodb", answer)
    return lambda: events.unregister("before-call.dynamodb", answer)


def test_what_stands_in_the_way_for_a_moment_is_tried_again(use, used, pro):
    conflicts(3)

    assert statuses(use({"idempotency_key": "k"})) == ["recorded"]
    assert used()["used"] == 1


def test_what_goes_on_standing_in_the_way_is_tried_again_as_long_as_there_is_time(use, used, pro, monkeypatch):
    monkeypatch.setattr(dynamodb.time, "sleep", lambda _: None)
    conflicts(3 * dynamodb.TRIES + 1)

    assert statuses(use({"idempotency_key": "k"})) == ["recorded"]
    assert used()["used"] == 1


def test_what_stands_in_the_way_for_too_long_is_undecided_and_may_be_sent_again(use, used, pro, buy, monkeypatch):
    monkeypatch.setattr(dynamodb.time, "sleep", lambda _: None)
    monkeypatch.setattr(metering, "PATIENCE", 1)
    buy(pro, "bob")
    events = ({"idempotency_key": "k"}, {"customer_id": "bob", "idempotency_key": "k"}, {"quantity": 0})
    lift = conflicts(10**6, of="ada")
    answer = use(*events)
    lift()

    assert (answer.status, answer.json["code"], statuses(answer)) == (
        503,
        "undecided",
        ["undecided", "recorded", "rejected"],
    )
    assert answer.headers["retry-after"]
    again = use(*events)
    assert (again.status, statuses(again)) == (200, ["recorded", "recorded", "rejected"])
    assert (used()["used"], used(customer="bob")["used"]) == (1, 1)


def test_an_answer_is_given_in_time(use, pro, monkeypatch):
    monkeypatch.setattr(metering, "PATIENCE", -1)
    answer = use({"idempotency_key": "k"})

    assert (answer.status, statuses(answer), items("E#")) == (503, ["undecided"], [])


KEYS = st.sampled_from("abcde")
EVENTS = st.builds(
    lambda key, quantity, metric: {"idempotency_key": key, "quantity": quantity, "metric_id": metric},
    KEYS,
    st.integers(1, 6),
    st.sampled_from(["api_calls", "exports"]),
)
CUSTOMERS = count()
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=6), min_size=1, max_size=4)


@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_any_split_into_requests_counts_each_key_once_and_its_answers_are_stable(use, used, buy, pro, batches):
    customer = f"c{next(CUSTOMERS)}"
    buy(pro, customer)
    events = [[event | {"customer_id": customer} for event in batch] for batch in batches]
    first: dict[str, dict] = {}
    for batch in [*events, *events]:  # and once more, all of it
        for event, answer in zip(batch, use(*batch).json["events"], strict=True):
            body, stood = (event["metric_id"], event["quantity"]), first.get(event["idempotency_key"])
            if stood:
                same = stood["body"] == body
                assert answer["status"] == ("recorded" if same else "conflict")
                assert not same or answer == stood["answer"] | {"duplicate": True}
            elif answer["status"] == "recorded":
                assert answer["duplicate"] is False
                first[event["idempotency_key"]] = {"body": body, "answer": answer}
            else:
                assert answer["status"] == "over_limit" and event["metric_id"] == "api_calls"

    sums = Counter()
    for stood in first.values():
        sums[stood["body"][0]] += stood["body"][1]
    assert (used(customer=customer)["used"], used("exports", customer)["used"]) == (sums["api_calls"], sums["exports"])
    assert sums["api_calls"] <= 10


def test_terms_on_record_are_those_of_the_customer_after_every_change(use, buy, pro, sell):
    use({"idempotency_key": "k"}, {"metric_id": "exports", "idempotency_key": "e"})
    customer = buy(sell(limits={}))

    assert {total["terms"] for total in items("T#")} == {str(customer.terms)}
    assert customer_table.find("ada", 0).terms == customer.terms == 2
