"""What was recorded wrongly is voided or amended, once, with who and why; the total is as if it had been right."""

import time
from collections import defaultdict
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import correcting, customer_table, dynamodb, history, standing, tallies, usage_table
from billing.periods import DAY, Period
from billing.plans import Metric
from billing.usage import Event
from tests.functions.at_stripe import Death

HOWS = ("sum", "max", "last", "unique")
METRICS = {how: Metric("many", enforcement="soft", aggregation=how) for how in HOWS}
METRICS |= {f"hard_{how}": Metric("few", aggregation=how) for how in HOWS}
METRICS |= {"projects": Metric("few", kind="held", reset="never")}
LIMITS = {"few": 5, "many": None}
NAMES = count()


@pytest.fixture
def have(sell, buy):
    anchor = int(time.time()) - 10 * DAY

    def put(customer="ada", limits=LIMITS, metrics=METRICS, **content):
        plan = sell(limits=limits, metrics=metrics, **content)
        return buy(plan, customer, anchor=anchor)

    return put


@pytest.fixture
def tell(use):
    """One event by quantity or value, so many hours ago; answers its key."""

    def post(metric, what, hours=0.0, key=None, **said):
        event = {"metric_id": metric, "idempotency_key": key or f"k{next(NAMES)}", "timestamp": ago(hours)} | said
        event |= {"value": what, "quantity": 1} if isinstance(what, str) else {"quantity": what}
        (answer,) = use(event).json["events"]
        assert answer["status"] == "recorded", answer
        return event["idempotency_key"]

    return post


@pytest.fixture
def correct(api):
    def post(corrects, what=None, key=None, reason="told twice", customer="ada", actor="eve", **said):
        body = {"customer_id": customer, "idempotency_key": key or f"c{next(NAMES)}", "corrects": corrects}
        body |= {"reason": reason} | said
        if what is not None:
            body["value" if isinstance(what, str) else "quantity"] = what
        return api("POST", "/usage/corrections", body, customer=actor, claims={"scope": "billing/admin"})

    return post


@pytest.fixture
def close(aws):
    """A statement has been made of a metric's period; answers that, and the key of what asks for the next."""

    def put(metric):
        period = standing.of("ada", int(time.time())).measure(metric).period(int(time.time()))
        counter = METRICS[metric].counter(metric)
        seen = usage_table.shards("ada", counter, period, 1)
        about = {"ends": period.end, "subscription": "sub_1", "plan": "pro", "version": 1}
        dynamodb.transact(usage_table.closes("ada", counter, period, seen, 0, about))
        closing = {"pk": "customer#ada", "sk": f"closing#sub_1#{period.start:012}"}
        dynamodb.transact([dynamodb.put("Subscriptions", closing | {"times": 1})])
        return period, closing

    return put


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(correcting, "PAUSES", (0.0, 0.0))


def ago(hours):
    return datetime.fromtimestamp(time.time() - hours * 3600, UTC).isoformat()


def on_record(key, customer="ada"):
    return usage_table.recorded(customer, key)


def everything():
    """All that is on record of usage."""
    found = dynamodb.db().scan(TableName="Usage")["Items"]
    return sorted(map(str, map(dynamodb.decode, found)))


def see(change):
    """What the index answers is seen as `change` has it."""

    def answer(parsed, **_):
        items = parsed.get("Items", [])
        if any("series" in item for item in items):
            parsed["Items"] = change(items)

    events = dynamodb.db().meta.events
    events.register("after-call.dynamodb.Query", answer)
    return lambda: events.unregister("after-call.dynamodb.Query", answer)


@pytest.mark.parametrize(
    ("how", "said", "wrong", "right", "voided", "amended"),
    [
        ("sum", (3, 4), 4, 1, 3, 4),
        ("max", (3, 9), 9, 4, 3, 4),
        ("max", (9, 3), 3, 4, 9, 9),
        ("last", (3, 9), 9, 4, 3, 4),
        ("last", (9, 3), 3, 4, 9, 4),
        ("unique", ("bob", "cyd"), "cyd", "bob", 1, 1),
        ("unique", ("bob", "bob"), "bob", "cyd", 1, 2),
    ],
)
@pytest.mark.parametrize("interval", ["month", "year"])
def test_the_total_is_as_if_it_had_been_recorded_right(
    have, tell, correct, used, how, said, wrong, right, voided, amended, interval
):
    have(billing_interval=interval)
    tell(how, said[0], 2)
    corrected = tell(how, said[1], 1)
    assert said[1] == wrong
    answer = correct(corrected, right, key="c1")
    assert (answer.status, answer.json["status"], used(how)["used"]) == (200, "amended", amended)
    assert sum(day["n"] for day in used(how)["days"]) == 2

    answer = correct("c1")
    assert (answer.status, answer.json["status"], used(how)["used"]) == (200, "voided", voided)
    assert sum(day["n"] for day in used(how)["days"]) == 1


def test_what_was_recorded_stays_on_record_with_what_took_its_place_who_did_it_and_why(have, tell, correct):
    have()
    key = tell("sum", 4, 1, metadata={"order": "7"})
    told = correct(key, 3, key="c1", reason="one was a test", actor="eve").json
    correct("c1", key="c2", reason="all were", actor="mallory")

    first, second, third = (on_record(each) for each in (key, "c1", "c2"))
    assert (first.event.quantity, first.corrected_by, first.live) == (4, "c1", False)
    assert (second.event.quantity, second.event.at, second.event.metadata) == (3, first.event.at, {"order": "7"})
    assert (second.corrects, second.reason, second.actor) == (key, "one was a test", "eve")
    assert (second.corrected_by, second.live) == ("c2", False)
    assert (third.void, third.corrects, third.reason, third.actor) == (True, "c1", "all were", "mallory")
    assert told == {
        "customer_id": "ada",
        "metric_id": "sum",
        "idempotency_key": "c1",
        "corrects": key,
        "status": "amended",
        "duplicate": False,
        "quantity": 3,
        "reason": "one was a test",
    }


def test_twice_the_same_correction_is_made_once_whoever_sends_it_again(have, tell, correct, used):
    have()
    tell("sum", 2)
    voided, amended = tell("sum", 4), tell("sum", 7)
    first = correct(voided, key="c1").json, correct(amended, 1, key="c2").json
    before = everything()
    again = correct(voided, key="c1", actor="mallory").json, correct(amended, 1, key="c2").json

    assert again == tuple(answer | {"duplicate": True} for answer in first)
    assert (used("sum")["used"], everything()) == (3, before)


def test_a_key_means_one_thing(have, tell, correct, use):
    have()
    one, other = tell("sum", 4), tell("sum", 5)
    correct(one, 2, key="c1")
    before = everything()

    for refused in (
        correct(one, 3, key="c1"),
        correct(one, key="c1"),
        correct(other, 2, key="c1"),
        correct(one, 2, key="c1", reason="another"),
        correct(one, 2, key=other),
        correct("nothing", key=other),
    ):
        assert (refused.status, refused.json["code"]) == (409, "idempotency_key_reused")
    (answer,) = use({"metric_id": "sum", "quantity": 2, "idempotency_key": "c1"}).json["events"]
    assert (answer["status"], everything()) == ("conflict", before)


def test_what_is_corrected_already_is_corrected_by_correcting_the_correction(have, tell, correct):
    have()
    key = tell("sum", 4)
    correct(key, 2, key="c1")
    refused = correct(key, 3)

    assert (refused.status, refused.json["code"], "c1" in refused.json["detail"]) == (409, "already_corrected", True)
    assert correct("c1", 3).status == 200


def test_of_a_void_there_is_nothing_to_correct(have, tell, correct):
    have()
    correct(tell("sum", 4), key="c1")
    before = everything()

    for refused in (correct("c1"), correct("c1", 4)):
        assert (refused.status, refused.json["code"]) == (422, "not_correctable")
    assert everything() == before


def test_what_is_another_customers_or_nobodys_is_not_found(have, tell, correct):
    have()
    have("bob")
    key = tell("sum", 4)
    before = everything()

    for refused in (correct(key, customer="bob"), correct("nothing")):
        assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert everything() == before


@pytest.mark.parametrize(
    ("metric", "said", "right"),
    [
        *(("sum", 3, 0), ("sum", 3, -1), ("max", 3, -1), ("projects", 3, 0), ("sum", 3, "bob")),
        *(("unique", "bob", 2), ("unique", "bob", 0)),
    ],
)
def test_nothing_is_amended_to_what_the_metric_would_not_take(have, tell, correct, metric, said, right):
    have()
    key = tell(metric, said)
    before = everything()
    refused = correct(key, right)

    assert (refused.status, refused.json["code"], everything()) == (422, "not_correctable", before)


@pytest.mark.parametrize(
    "said", [{"reason": ""}, {"reason": "x" * 501}, {"quantity": 1.5}, {"corrects": ""}, {"colour": "red"}], ids=repr
)
def test_a_correction_that_is_not_understood_is_refused(have, api, said):
    have()
    body = {"customer_id": "ada", "idempotency_key": "c1", "corrects": "k", "reason": "r"} | said
    refused = api("POST", "/usage/corrections", body, claims={"scope": "billing/admin"})

    assert (refused.status, refused.json["code"], refused.json["fields"][0]["field"]) == (400, "malformed", *said)


def test_a_correction_has_a_key_of_its_own(have, tell, correct):
    have()
    key = tell("sum", 4)

    assert correct(key, key=key).status == 400


@pytest.mark.parametrize(
    ("metric", "said", "too_much", "enough"),
    [
        ("hard_sum", (3, 1), 3, 2),
        ("hard_max", (3, 1), 6, 5),
        ("hard_last", (3, 1), 6, 5),
        ("hard_unique", (*"abcde", "e"), "f", "d"),
        ("projects", (3, 1), 3, 2),
    ],
)
def test_a_hard_limit_holds_for_corrections_too(have, tell, correct, used, metric, said, too_much, enough):
    have()
    keys = [tell(metric, what, -n / 3600) for n, what in enumerate(said)]
    before = everything()
    refused = correct(keys[-1], too_much)

    assert (refused.status, refused.json["code"], everything()) == (422, "over_limit", before)
    assert correct(keys[-1], enough).status == 200 and used(metric)["used"] <= 5


def test_a_limit_lowered_while_a_correction_is_made_holds(have, tell, correct, used, moments):
    have()
    key = tell("hard_max", 3)
    moments.once("before TransactWriteItems", lambda: have(limits={"few": 4, "many": None}))

    assert (correct(key, 5).json["code"], used("hard_max")["used"]) == ("over_limit", 3)


@pytest.mark.parametrize("billed", [False, True], ids=["open", "billed"])
@pytest.mark.parametrize("how", HOWS)
def test_a_limit_that_is_set_while_a_correction_is_made_holds(
    have, tell, correct, api, used, moments, close, how, billed
):
    have(limits={"few": None, "many": None})
    metric, (first, wrong, right) = f"hard_{how}", ("bob", "bob", "cyd") if how == "unique" else (1, 1, 50)
    tell(metric, first, 1)
    key = tell(metric, wrong)
    if billed:
        close(metric)
    before = used(metric)["used"]

    def limit():
        body = {"limits": {"few": 1}}
        assert (
            api("PUT", "/customers/ada/limits", body, customer="eve", claims={"scope": "billing/admin"}).status == 200
        )

    moments.once("before TransactWriteItems", limit)

    assert correct(key, right).json["code"] == "over_limit"
    assert used(metric)["used"] == before


def test_above_a_limit_that_was_lowered_it_may_become_less(have, tell, correct, used):
    have()
    keys = {metric: tell(metric, 5) for metric in ("hard_sum", "hard_max", "hard_last")}
    have(limits={"few": 2, "many": None})

    for metric, key in keys.items():
        assert correct(key, 4).status == 200 and used(metric)["used"] == 4


def test_what_is_held_is_corrected_neither_below_zero_nor_above_its_limit(have, tell, correct, used):
    have()
    taken, given = tell("projects", 4), tell("projects", -3)
    before = everything()
    assert correct(taken).json["code"] == correct(taken, 2).json["code"] == "not_correctable"
    tell("projects", 4)
    assert correct(given).json["code"] == correct(given, 1).json["code"] == "over_limit"
    assert used("projects")["used"] == 5 and len(everything()) == len(before) + 1

    assert correct(given, -1).json["code"] == "over_limit"
    assert correct(given, -4).status == 200 and used("projects")["used"] == 4


@pytest.mark.parametrize("metric", ["max", "last"])
def test_nothing_is_done_while_the_index_has_not_all_events_of_the_day(have, tell, correct, used, impatient, metric):
    have()
    keys = [tell(metric, quantity, -quantity / 3600) for quantity in (1, 2, 9)]
    before = everything()
    shown = see(lambda items: [item for item in items if item["key"]["S"] != keys[1]])
    refused = correct(keys[2])

    assert (refused.status, refused.json["code"], everything()) == (503, "contended", before)
    shown()
    assert correct(keys[2]).status == 200 and used(metric)["used"] == 2


def test_nothing_is_done_while_the_index_has_what_is_corrected_in_place_of_what_is_new(
    have, tell, correct, used, impatient
):
    have()
    wrong, highest = tell("max", 7), tell("max", 9)
    correct(wrong)
    new = tell("max", 2)

    def late(items):
        for item in items:
            item.pop("corrected_by", None)
        return [item for item in items if item["key"]["S"] != new]

    shown = see(late)
    assert correct(highest).status == 503
    shown()
    assert correct(highest).status == 200 and used("max")["used"] == 2


def test_an_event_that_comes_meanwhile_is_not_lost(have, tell, correct, used, moments):
    have()
    tell("max", 2)
    highest = tell("max", 9)
    moments.once("before TransactWriteItems", lambda: tell("max", 5))

    assert correct(highest).status == 200
    assert (used("max")["used"], used("max")["days"][-1]["n"]) == (5, 2)


@pytest.mark.parametrize("how", ["max", "last"])
@pytest.mark.parametrize("wrong", [0, 1], ids=["what is used", "what is not"])
def test_a_correction_gets_through_while_the_metric_is_busy(have, tell, correct, used, moments, impatient, how, wrong):
    have()
    said = [(9, 48), (7, 72)] if how == "max" else [(9, 2), (7, 72)]
    keys = [tell(how, quantity, hours) for quantity, hours in said]
    tell(how, 1, 100)
    others = []

    def busy(moment):
        if moment == "before TransactWriteItems" and not others:
            others.append(1)
            tell(how, 1, 100)
            others.clear()

    moments.append(busy)
    assert correct(keys[wrong], 2).status == 200
    moments.clear()
    assert used(how)["used"] == {("max", 0): 7, ("max", 1): 9, ("last", 0): 2, ("last", 1): 9}[how, wrong]


@pytest.mark.parametrize("how", ["max", "last"])
def test_a_day_whose_other_events_have_expired_is_not_worked_out_anew(have, tell, correct, impatient, clock, how):
    have()
    gone, wrong = tell(how, 3), tell(how, 9)
    key = {"pk": f"E#{on_record(gone).event.id}", "sk": "event"}
    dynamodb.db().delete_item(TableName=usage_table.TABLE, Key=dynamodb.encode(key))
    assert correct(wrong).json["code"] == "contended"  # it is to be seen in a moment
    clock.pass_by(seconds=402 * DAY)
    before = everything()

    assert (correct(wrong).json["code"], everything()) == ("not_correctable", before)


def test_who_repeats_what_was_voided_or_amended_is_told_that_it_counts_no_more(have, use, correct):
    have()
    events = [{"metric_id": "sum", "quantity": 4 + n, "idempotency_key": f"job-{n}"} for n in range(3)]
    first = use(*events).json["events"]
    correct("job-0", key="c1")
    correct("job-1", 2, key="c2")

    again = [answer | {"duplicate": True} for answer in first]
    assert use(*events).json["events"] == [
        again[0] | {"corrected_by": "c1"},
        again[1] | {"corrected_by": "c2"},
        again[2],
    ]


def test_of_two_corrections_at_once_one_is_made(have, tell, correct, used, moments):
    have()
    key = tell("sum", 4)
    moments.once("before TransactWriteItems", lambda: correct(key, 3, key="c1"))

    assert correct(key, 2, key="c2").json["code"] == "already_corrected"
    assert used("sum")["used"] == 3

    moments.once("before TransactWriteItems", lambda: correct("c1", 2, key="c3"))
    assert correct("c1", 2, key="c3").json["duplicate"] is True and used("sum")["used"] == 2


def test_a_metric_that_is_no_longer_in_the_plan_is_voided_and_not_amended(have, tell, correct):
    have()
    key = tell("sum", 4)
    have(metrics={})

    assert correct(key, 2).json["code"] == "not_correctable"
    assert correct(key).status == 200


def test_a_value_that_is_told_again_after_a_correction_of_all_time_is_still_one(have, tell, correct, used):
    have(metrics={"users": Metric("many", enforcement="soft", aggregation="unique", reset="never")})
    tell("users", "bob")
    correct(tell("users", "bob"))
    (value,) = (
        item
        for found in dynamodb.db().scan(TableName="Usage")["Items"]
        if (item := dynamodb.decode(found))["pk"] == "V#ada"
    )

    assert value["expires"] > time.time() + 100 * 365 * DAY
    tell("users", "bob")
    assert used("users")["used"] == 1


@pytest.mark.parametrize("how", HOWS)
def test_in_a_period_that_is_billed_it_is_of_the_next_statement_which_is_asked_for(have, tell, correct, close, how):
    have()
    said = ("bob", "cyd") if how == "unique" else (3, 9)
    voided, amended = tell(how, said[0]), tell(how, said[1])
    period, closing = close(how)

    assert correct(voided, key="c1").status == 200
    assert correct(amended, "dan" if how == "unique" else 4, key="c2").status == 200
    asked = dynamodb.get("Subscriptions", **closing)
    assert (asked["waits"], asked["times"]) == (customer_table.CLOSE, 3)
    assert [each.lived(number) for each in map(on_record, (voided, amended, "c2")) for number in (0, 1)] == [
        *(True, False, True, False, False, True)
    ]
    total = usage_table.total("ada", METRICS[how].counter(how), period)
    assert (total.used, total.n, total.closed) == (1 if how == "unique" else 4, 1, 1)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("voids", [True, False], ids=["void", "amend"])
def test_death_at_any_moment_of_a_correction_and_a_retry_leave_it_done_once(
    have, tell, correct, used, moments, how, voids
):
    have()
    first, wrong, right = ("bob", "cyd", "dan") if how == "unique" else (3, 9, 4)
    tell(how, first, 1)
    moment = 0
    while True:
        key, correction = tell(how, wrong), f"c{next(NAMES)}"
        passed, dead = iter(range(moment)), []

        def die(_, passed=passed, dead=dead):
            if next(passed, None) is None:
                dead.append(True)
                raise Death

        moments.append(die)
        try:
            correct(key, None if voids else right, key=correction)
        except Death:
            pass
        moments.clear()
        answer = correct(key, None if voids else right, key=correction)
        assert answer.status == 200 and (dead or answer.json["duplicate"])
        if not voids:
            assert used(how)["used"] == {"sum": 7, "max": 4, "last": 4, "unique": 2}[how]
            correct(correction)
        assert used(how)["used"] == (1 if how == "unique" else 3)
        assert sum(day["n"] for day in used(how)["days"]) == 1
        if not dead:
            break
        moment += 1
    assert moment >= 8


WHAT = st.tuples(st.integers(0, 9), st.sampled_from(["bob", "cyd", "dan"]))
STEP = st.tuples(st.sampled_from(["record", "record", "void", "amend"]), st.sampled_from(HOWS), WHAT)
STEPS = st.lists(st.tuples(STEP, st.integers(0, 60), st.integers(0, 50)), min_size=3, max_size=14)


@settings(derandomize=True, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_is_recorded_voided_and_amended_the_total_is_that_of_the_clean_history(have, use, correct, steps):
    customer = f"p{next(NAMES)}"
    have(customer)
    clean: dict[str, dict[str, Event]] = defaultdict(dict)
    for (act, how, (quantity, value)), hours, place in steps:
        key, live = f"k{next(NAMES)}", clean[how]
        quantity += how == "sum"
        said = {"quantity": 1, "value": value} if how == "unique" else {"quantity": quantity}
        if act == "record":
            event = {"customer_id": customer, "metric_id": how, "idempotency_key": key, "timestamp": ago(hours)} | said
            assert use(event).json["events"][0]["status"] == "recorded"
            at = on_record(key, customer).event.at
        elif live:
            wrong = sorted(live)[place % len(live)]
            what = None if act == "void" else value if how == "unique" else quantity
            assert correct(wrong, what, key=key, customer=customer).status == 200
            at = live.pop(wrong).at
        else:
            continue
        if act != "void":
            live[key] = Event(customer, how, key, said["quantity"], at, True, "", {}, said.get("value"))

    for how in HOWS:
        uses = [event.use for event in clean[how].values()]
        expected = tallies.tally(how, uses)
        now = int(time.time())
        period = standing.of(customer, now).measure(how).period(now)
        total = usage_table.total(customer, METRICS[how].counter(how), period)
        days = {day: (each.n, each.value) for day, each in total.days.items() if each.n}
        assert (total.used, total.n, total.digest) == (expected.used, expected.n, expected.digest)
        assert days == {day: (each.n, each.value) for day, each in expected.days.items()}
        cut = now - now % 3600 - 30 * 3600
        late = [use for use in uses if use.at >= cut]
        told = history.over(customer, how, how, False, Period(cut, now + 3600), now)
        assert (told.used, told.n) == (tallies.tally(how, late).used, len(late))
