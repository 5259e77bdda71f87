"""
What counting costs: calls, and write units by AWS's rule, of the items as they are written.

Source: docs, "Read/write capacity mode" and "Item sizes and formats". A transaction takes two units for each kilobyte
of an item that is begun, written or only checked; an index one for each of what it takes over.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import count
from math import ceil

import pytest

from billing import dynamodb, standing
from billing.periods import DAY
from billing.plans import Metric

KILOBYTE = 1024
NAMES = count()
METRICS = {how: Metric("many", enforcement="soft", aggregation=how) for how in ("sum", "max", "last", "unique")}
METRICS |= {"hard": Metric("much"), "peak": Metric("much", aggregation="max")}
METRICS |= {"held": Metric("much", kind="held", reset="never"), "rows": Metric("many", enforcement="soft", shards=4)}


@pytest.fixture
def pro(sell, buy):
    anchor = int(time.time()) - 27 * DAY
    return buy(sell(limits={"much": 10**15, "many": None}, metrics=METRICS), anchor=anchor)


@pytest.fixture
def tell(use):
    def post(metric, *said, days=0):
        events = []
        for what in said:
            key = f"order-{next(NAMES):012}-0123456789abcdef"
            event = {"metric_id": metric, "idempotency_key": key, "timestamp": ago(days)}
            events.append(event | ({"value": what, "quantity": 1} if isinstance(what, str) else {"quantity": what}))
        assert {answer["status"] for answer in use(*events).json["events"]} == {"recorded"}

    return post


@pytest.fixture
def written(aws):
    """The transactions since, as they were asked for."""
    asked = []

    def hear(params, **_):
        asked.append(json.loads(params["body"])["TransactItems"])

    dynamodb.db().meta.events.register("before-call.dynamodb.TransactWriteItems", hear)
    return asked


def ago(days):
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def size(item):
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())


def size_of(value):
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return ceil(len(content.strip("-0") or "0") / 2) + 1 + content.startswith("-")
        case "M":
            return 3 + sum(1 + len(name.encode()) + size_of(each) for name, each in content.items())
        case "L":
            return 3 + sum(1 + size_of(each) for each in content)
    return 1


def units(transactions):
    """Once they are made."""
    total = 0
    for write in (write for each in transactions for write in each):
        ((kind, wanted),) = write.items()
        key = wanted.get("Key") or {name: wanted["Item"][name] for name in ("pk", "sk")}
        item = dynamodb.db().get_item(TableName=wanted["TableName"], Key=key)["Item"]
        begun = ceil(size(item) / KILOBYTE)
        total += 2 * begun + (begun if "series" in item and kind == "Put" else 0)
    return total


def test_sizes_are_those_of_the_documentation():
    assert size({"pk": {"S": "abc"}, "n": {"N": "123"}, "t": {"BOOL": True}, "l": {"L": []}}) == 5 + 4 + 2 + 4
    assert size({"é": {"N": "-1200"}, "m": {"M": {"a": {"S": "x"}}}}) == 2 + 3 + 1 + 3 + 1 + 1 + 1


@pytest.mark.parametrize("metric", ["sum", "hard", "max", "peak", "last", "rows"])
def test_an_event_alone_takes_five_units(pro, tell, written, metric):
    for _ in range(12):  # whichever shard it is
        tell(metric, 3)
    written.clear()
    tell(metric, 2)

    assert units(written) <= 5


def test_where_a_period_is_longer_than_a_month_its_days_are_an_item_more(pro, tell, written):
    tell("held", 3)
    written.clear()
    tell("held", 2)

    assert units(written) == 7


def test_of_different_ones_each_has_its_item(pro, tell, written):
    tell("unique", "bob")
    written.clear()
    tell("unique", "cyd")

    assert units(written) == 7


@pytest.mark.parametrize("metric", ["sum", "hard", "max", "peak", "last", "held", "rows", "unique"])
@pytest.mark.parametrize("many", [25, 98])
def test_together_an_event_takes_little_more_than_three(pro, tell, written, metric, many):
    what = "bob" if metric == "unique" else 3
    for _ in range(12 if metric == "rows" else 1):
        tell(metric, what)
    written.clear()
    tell(metric, *[what] * many)

    assert units(written) / many <= 3.2


@pytest.mark.parametrize(
    ("metric", "warm"),
    [
        ("sum", ["TransactWriteItems"]),
        ("hard", ["TransactWriteItems"]),
        ("held", ["TransactWriteItems"]),
        ("rows", ["TransactWriteItems"]),
        ("max", ["GetItem", "TransactWriteItems"]),
        ("last", ["GetItem", "TransactWriteItems"]),
        ("unique", ["BatchGetItem", "GetItem", "TransactWriteItems"]),
    ],
)
def test_what_is_added_up_takes_one_call_and_what_is_compared_a_read_before(pro, tell, moments, metric, warm):
    what, heard = "bob" if metric == "unique" else 3, []
    for _ in range(12 if metric == "rows" else 1):
        tell(metric, what)
    moments.append(lambda moment: heard.append(moment[7:]) if moment.startswith("before") else None)
    tell(metric, what, what, what)
    assert heard == warm

    heard.clear()
    standing._known.clear()
    tell(metric, what)
    assert heard == ["GetItem", *warm]


def test_what_is_too_much_takes_one_call_more_however_many_there_are(sell, buy, use, moments):
    buy(sell(limits={"few": 5}, metrics={"hard": Metric("few")}))
    use({"metric_id": "hard", "idempotency_key": "k", "quantity": 5})
    heard = []
    moments.append(lambda moment: heard.append(moment[7:]) if moment.startswith("before") else None)
    answers = use(*({"metric_id": "hard", "idempotency_key": f"{n}"} for n in range(30))).json["events"]

    assert {answer["status"] for answer in answers} == {"over_limit"}
    assert heard == ["TransactWriteItems", "BatchGetItem"]


@pytest.mark.parametrize(("metric", "most"), [("sum", 31), ("hard", 31), ("max", 31), ("unique", 31), ("last", 30)])
def test_a_total_of_so_many_days_of_millions_is_under_a_kilobyte(pro, tell, metric, most):
    for days in range(27):
        tell(metric, f"v{days}" if metric == "unique" else 1_234_567, days=days)
    (item,) = (
        item
        for item in dynamodb.db().scan(TableName="Usage")["Items"]
        if item["pk"]["S"] == "T#ada" and item["sk"]["S"].startswith((f"{metric}#", f"{metric}~"))
    )
    days = [name for name in item if name[0] == "n" and name != "n"]
    full = item | {name: {"N": "12345"} for name in days}
    spare = most - len(days)
    whole = size(full) + spare * sum(len(name) + size_of(full[name]) for name in full if name[1:] == days[0][1:])

    assert whole < KILOBYTE
