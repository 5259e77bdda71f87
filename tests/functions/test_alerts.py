"""Thresholds of a limit: each crossing is told once in a period, from what the usage table's stream brings."""

import json
import os
import random
import time
from itertools import count
from pathlib import Path

import pytest

import watch_usage
from billing import alert_table, dynamodb, standing
from billing.errors import Unavailable
from billing.periods import DAY
from billing.plans import Metric
from tests.conftest import forget

SEQUENCE = count(4421584500000000017450439091)
(SAMPLE,) = json.loads(Path("events/dynamodb.json").read_text())["Records"]


def items(begins):
    found = map(dynamodb.decode, dynamodb.db().scan(TableName=os.environ["USAGE_TABLE"])["Items"])
    return [item for item in found if item["pk"].startswith(begins)]


def record(item, at=None):
    """That an item of the table has become this, as the stream brings it; `SAMPLE` is one of AWS's."""
    told = {"Keys": {name: item[name] for name in ("pk", "sk")}, "NewImage": item}
    told = SAMPLE["dynamodb"] | {name: dynamodb.encode(image) for name, image in told.items()}
    told |= {"ApproximateCreationDateTime": at or time.time(), "SequenceNumber": str(next(SEQUENCE))}
    return SAMPLE | {"dynamodb": told}


@pytest.fixture
def stream(aws):
    """What the stream brings of everything in the table, as it is now."""
    return lambda at=None: [record(item, at) for item in items("")]


@pytest.fixture
def watch(context):
    """A batch reaches the function; answers the places of the records that are to come again."""

    def handle(records):
        failed = watch_usage.handler({"Records": records}, context)["batchItemFailures"]
        sequences = [each["dynamodb"]["SequenceNumber"] for each in records]
        return [sequences.index(each["itemIdentifier"]) for each in failed]

    return handle


@pytest.fixture
def told(caplog):
    """The crossings that were counted, metric and percent."""

    def read():
        counted = [vars(line) for line in caplog.records if line.msg == "ThresholdCrossed"]
        assert all(line["ThresholdCrossed"] == 1 and "ada" not in repr(line["_aws"]) for line in counted)
        assert all("customer" not in line for line in counted)
        return [(line["metric"], line["percent"]) for line in counted]

    return read


@pytest.fixture
def pro(sell, buy):
    """Ada has ten API calls (hard) and five exports (soft) a month."""
    plan = sell()
    buy(plan)
    return plan


@pytest.fixture
def override(api):
    def put(limits):
        answer = api("PUT", "/customers/ada/limits", {"limits": limits}, claims={"scope": "billing/admin"})
        assert answer.status == 200

    return put


def percents(told):
    return [alert["percent"] for alert in told["alerts"]]


def test_what_aws_sends_is_read(aws):
    seen = alert_table.seen(SAMPLE)
    assert seen == alert_table.Seen("ada", "api_calls", 1795348800, 8, "1", 1795435200)


def test_a_crossing_is_on_record_counted_and_shown(use, used, pro, stream, watch, told):
    use({"quantity": 4, "idempotency_key": "a"})
    assert watch(stream()) == [] and used()["alerts"] == []
    use({"quantity": 4, "idempotency_key": "b"})
    at = int(time.time())

    assert watch(stream(at)) == []
    assert told() == [("api_calls", 50), ("api_calls", 80)] and percents(used()) == [50, 80]
    assert used()["alerts"][0]["crossed_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    half, most = items("A#")
    (total,) = items("T#")
    start = int(total["sk"].split("#")[1])
    assert half == {
        "pk": "A#ada",
        "sk": f"api_calls#{start:012}#0050",
        "customer": "ada",
        "metric": "api_calls",
        "start": start,
        "end": half["end"],
        "percent": 50,
        "limit": 10,
        "used": 8,
        "crossed_at": at,
        "counter": "api_calls",
        "expires": half["end"] + 400 * DAY,
    }
    assert half["end"] > at and (most["percent"], most["used"]) == (80, 8)


def test_a_limit_that_is_reached_exactly_is_crossed_and_one_less_is_not(use, used, pro, stream, watch):
    use({"quantity": 9, "idempotency_key": "a"})
    watch(stream())
    assert percents(used()) == [50, 80]
    use({"quantity": 1, "idempotency_key": "b"})
    watch(stream())
    assert percents(used()) == [50, 80, 100]


def test_records_that_come_twice_late_and_in_any_order_tell_each_crossing_once(use, used, pro, stream, watch, told):
    records = []
    for n in range(10):
        use({"quantity": 1, "idempotency_key": str(n)})
        records += [each for each in stream() if each["dynamodb"]["Keys"]["pk"]["S"].startswith("T#")]
    dice = random.Random(5)
    for _ in range(4):
        watch(dice.sample(records, len(records)))
        forget()  # another worker

    assert sorted(told()) == [("api_calls", 50), ("api_calls", 80), ("api_calls", 100)]
    assert percents(used()) == [50, 80, 100]


def test_of_two_workers_at_once_one_tells(use, pro, stream, watch, told, moments):
    use({"quantity": 5, "idempotency_key": "a"})
    records = stream()

    def other():
        forget()
        watch(records)
        forget()

    moments.once("before PutItem", other)
    assert watch(records) == [] and told() == [("api_calls", 50)]


def test_what_is_told_is_not_asked_for_again_by_the_same_worker(use, pro, stream, watch, moments):
    use({"quantity": 8, "idempotency_key": "a"})
    watch(stream())
    heard = []
    moments.append(heard.append)

    assert watch(stream() * 10) == []
    assert [moment for moment in heard if moment != "before Scan" and moment != "after Scan"] == []


def test_a_record_that_was_lost_is_made_good_by_the_next_one(use, used, pro, stream, watch):
    use({"quantity": 9, "idempotency_key": "a"})  # and nobody sees it
    use({"metric_id": "exports", "quantity": 1, "idempotency_key": "b"}, {"quantity": 1, "idempotency_key": "c"})
    watch(stream())

    assert percents(used()) == [50, 80, 100]


@pytest.mark.parametrize("warm", [True, False])
def test_a_limit_that_is_lowered_crosses_too_also_for_whoever_remembers_the_old_one(
    use, used, pro, stream, watch, override, told, warm
):
    use({"quantity": 4, "idempotency_key": "a"})
    watch(stream())
    remembered = standing._known.copy()
    override({"max_api_calls": 5})
    standing._known.clear()
    if warm:
        standing._known.update(remembered)

    assert watch(stream()) == []
    assert told() == [("api_calls", 50), ("api_calls", 80)] and percents(used()) == [50, 80]
    assert items("A#")[0]["limit"] == 5


def test_another_version_of_the_default_plan_is_known_to_whoever_remembers_the_one_before(
    use, used, sell, stream, watch, monkeypatch
):
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    sell("free", limits={"max_api_calls": 100})
    use({"quantity": 4, "idempotency_key": "a"})
    watch(stream())
    before, known = standing.plan_table._catalogue, standing._known.copy()
    sell("free", limits={"max_api_calls": 10})
    use({"quantity": 4, "idempotency_key": "b"})
    forget()
    standing.plan_table._catalogue = before
    standing._known.update(known)

    watch(stream())
    assert percents(used()) == [50, 80]


def test_what_goes_down_and_up_again_tells_nothing_twice(use, used, sell, buy, stream, watch, told):
    seats = {"seats": Metric("max_seats", kind="held", reset="never")}
    buy(sell(metrics=seats, limits={"max_seats": 10}))
    for n, quantity in enumerate([5, -4, 5, -6, 7, -7, 10]):
        use({"metric_id": "seats", "quantity": quantity, "idempotency_key": str(n)})
        watch(stream())
        forget()

    assert told() == [("seats", 50), ("seats", 80), ("seats", 100)]
    assert percents(used("seats")) == [50, 80, 100] and "expires" not in items("A#")[0]


def test_the_next_period_tells_its_own(use, used, sell, buy, stream, watch, monkeypatch):
    buy(sell(metrics={"api_calls": Metric("max_api_calls", reset="day")}))
    use({"quantity": 5, "idempotency_key": "a"})
    watch(stream())
    assert percents(used()) == [50]
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + DAY)
    assert used()["alerts"] == []
    use({"quantity": 6, "idempotency_key": "b"})
    watch(stream())

    assert (percents(used()), len(items("A#"))) == ([50], 2)


def test_periods_that_are_over_are_not_told_but_a_record_is_of_its_own_time(use, sell, buy, stream, watch):
    buy(sell(metrics={"exports": Metric("max_exports", enforcement="soft", reset="day")}))
    use({"metric_id": "exports", "quantity": 5, "idempotency_key": "a"})
    now = int(time.time())

    watch(stream(now + DAY))  # a late event of yesterday
    assert items("A#") == []
    watch(stream(now))  # whenever it is seen to
    assert [item["percent"] for item in items("A#")] == [50, 80, 100]


def test_the_months_beside_a_yearly_total_are_none(use, used, sell, buy, stream, watch):
    plan = sell(billing_interval="year")
    buy(plan, anchor=int(time.time()) - 200 * DAY)
    use({"quantity": 5, "idempotency_key": "a"})

    assert any(item["sk"].count("#") == 2 for item in items("T#"))
    assert watch(stream()) == [] and percents(used()) == [50]


def test_shards_are_added_up_by_one_read_for_a_batch(use, used, sell, buy, stream, watch, moments):
    buy(sell(metrics={"exports": Metric("max_exports", enforcement="soft", shards=4)}, limits={"max_exports": 20}))
    for n in range(17):
        use({"metric_id": "exports", "quantity": 1, "idempotency_key": str(n)})
    assert len(items("T#")) > 1 and max(item["used"] for item in items("T#")) < 16
    standing.of("ada", int(time.time()))
    records = [each for each in stream() if each["dynamodb"]["Keys"]["pk"]["S"].startswith("T#")] * 3
    heard = []
    moments.append(heard.append)

    assert watch(records) == []
    told = ["before GetItem", "before TransactWriteItems"]  # each with its domain event
    assert [moment for moment in heard if moment.startswith("before")] == ["before Query", *told * 2]
    assert percents(used("exports")) == [50, 80] and {item["used"] for item in items("A#")} == {17}


@pytest.mark.parametrize(
    ("aggregation", "events"),
    [
        ("max", [{"quantity": 8}, {"quantity": 2}]),
        ("last", [{"quantity": 1}, {"quantity": 8}]),
        ("unique", [{"value": str(n % 8)} for n in range(12)]),
    ],
)
def test_a_level_crosses_however_it_is_added_up(use, used, sell, buy, stream, watch, aggregation, events):
    metric = Metric("max_api_calls", enforcement="soft", aggregation=aggregation)
    buy(sell(metrics={"api_calls": metric}))
    for n, event in enumerate(events):
        quantity = {} if "value" in event else {"quantity": event["quantity"]}
        use({"idempotency_key": str(n)} | event | quantity)
    watch(stream())

    assert (used()["used"], percents(used())) == (8, [50, 80])


def test_a_metric_has_the_alerts_it_names_and_a_soft_one_may_pass_more_than_all(use, used, sell, buy, stream, watch):
    buy(sell(metrics={"exports": Metric("max_exports", enforcement="soft", alerts=[1, 99, 250, 1000])}))
    use({"metric_id": "exports", "quantity": 13, "idempotency_key": "a"})
    watch(stream())

    assert percents(used("exports")) == [1, 99, 250]


@pytest.mark.parametrize("limits", [{"max_exports": None}, {"max_exports": 0}, {}], ids=["no limit", "0", "absent"])
def test_without_a_limit_there_is_no_alert_and_none_is_looked_for(use, api, sell, buy, stream, watch, moments, limits):
    buy(sell(limits=limits, metrics={"exports": Metric("max_exports", enforcement="observe")}))
    use({"metric_id": "exports", "quantity": 9, "idempotency_key": "a"})
    assert watch(stream()) == [] and items("A#") == []
    heard = []
    moments.append(heard.append)

    assert api("GET", "/usage?metric=exports").json["alerts"] == []
    assert heard.count("before Query") == 1  # the total


def test_what_is_no_metric_any_more_or_of_nobody_is_no_alert(use, sell, buy, stream, watch, pro):
    use({"quantity": 9, "idempotency_key": "a"})
    records = stream()
    buy(sell(metrics={}))
    forget()

    assert watch(records) == [] and items("A#") == []
    total, *_ = items("T#")
    assert watch([record(total | {"pk": "T#nobody"})]) == [] and items("A#") == []


def test_a_total_that_is_gone_and_other_items_are_passed_over(use, pro, stream, watch):
    use({"quantity": 9, "idempotency_key": "a"})
    records = stream()
    for each in records:
        if each["dynamodb"]["Keys"]["pk"]["S"].startswith("T#"):
            del each["dynamodb"]["NewImage"]

    assert watch(records) == [] and items("A#") == []


def test_a_poison_record_comes_again_alone_and_what_is_behind_it_is_told_at_once(use, used, pro, stream, watch, buy):
    buy(pro, "bob")
    use({"quantity": 8, "idempotency_key": "a"}, {"customer_id": "bob", "quantity": 5, "idempotency_key": "b"})
    totals = sorted(items("T#"), key=lambda item: item["pk"])
    broken = {name: value for name, value in totals[0].items() if name != "used"}

    assert watch([record(broken), record(totals[1])]) == [0]
    assert percents(used(customer="bob")) == [50] and used()["alerts"] == []
    assert watch([record(totals[0])]) == [] and percents(used()) == [50, 80]


def test_while_the_store_is_away_all_that_is_left_comes_again(use, used, pro, stream, watch, buy, moments):
    buy(pro, "bob")
    use({"quantity": 8, "idempotency_key": "a"}, {"customer_id": "bob", "quantity": 5, "idempotency_key": "b"})
    records = [record(item) for item in sorted(items("T#"), key=lambda item: item["pk"])]

    def away():
        raise Unavailable("the store did not answer")

    forget()
    moments.once("before TransactWriteItems", away)
    assert watch(records) == [0]  # Lambda takes that for: from there on
    assert used()["alerts"] == [] == used(customer="bob")["alerts"]
    assert watch(records) == [] and (percents(used()), percents(used(customer="bob"))) == ([50, 80], [50])


def test_an_answer_of_another_span_has_no_alerts(api, use, pro, stream, watch):
    use({"quantity": 8, "idempotency_key": "a"})
    watch(stream())
    assert (
        "alerts" not in api("GET", "/usage?metric=api_calls&start=2026-01-01T00:00:00Z&end=2026-02-01T00:00:00Z").json
    )


def test_alerts_are_of_a_customers_own_metric(use, used, pro, stream, watch, buy):
    buy(pro, "bob")
    use({"quantity": 8, "idempotency_key": "a"}, {"metric_id": "exports", "quantity": 3, "idempotency_key": "e"})
    watch(stream())

    assert (percents(used()), percents(used("exports")), used(customer="bob")["alerts"]) == ([50, 80], [50], [])
