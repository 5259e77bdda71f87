"""What was used in any span of time, exact to the second: against the events themselves."""

from datetime import UTC, datetime
from itertools import count
from random import Random

import pytest

from billing import dynamodb, history, usage_table
from billing.periods import DAY, day_of, start_of
from billing.plans import Metric

HOWS = ("sum", "max", "last", "unique")
METRICS = {how: Metric("many", enforcement="soft", aggregation=how) for how in HOWS}
METRICS |= {"held": Metric("many", enforcement="soft", kind="held", reset="never")}
METRICS |= {"daily": Metric("many", enforcement="soft", reset="day", aggregation="last")}
METRICS |= {"rows": Metric("many", enforcement="soft", shards=4)}
NAMES = count()


@pytest.fixture
def have(sell, buy, clock):
    """Ada's periods begin at noon, 40 days ago and since; answers that noon. Now is the evening of a day."""
    clock.stop()
    evening = start_of(day_of(int(clock.stopped))) + 20 * 3600
    clock.ahead = evening - clock.stopped
    noon = start_of(day_of(evening)) - 9 * DAY + DAY // 2

    def put(**content):
        buy(sell(limits={"many": None}, metrics=METRICS, **content), anchor=noon)
        return noon

    return put


@pytest.fixture
def ask(api):
    def get(metric, start, end):
        return api("GET", f"/usage?metric={metric}&start={rfc3339(start)}&end={rfc3339(end)}")

    return get


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(history, "PAUSES", (0.0, 0.0))


@pytest.fixture
def tell(use):
    """Events of one metric, as (instant, quantity or value), in one request."""

    def post(metric, *said):
        events = []
        for at, what in said:
            event = {"metric_id": metric, "idempotency_key": f"k{next(NAMES)}", "timestamp": rfc3339(at)}
            events.append(event | ({"value": what, "quantity": 1} if isinstance(what, str) else {"quantity": what}))
        answers = use(*events).json["events"]
        assert {answer["status"] for answer in answers} == {"recorded"}, answers
        return [event["idempotency_key"] for event in events]

    return post


def rfc3339(at):
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def come_to(how, said):
    match how:
        case "max":
            return max((what for _, what in said), default=0)
        case "last" | "daily":
            return max(said)[1] if said else 0
        case "unique":
            return len({what for _, what in said})
    return sum(what for _, what in said)


def reckoned(how, said, start, end):
    """By hand, from the events: what is used, and by day."""
    within = [(at, what) for at, what in said if start <= at < end]
    days = {}
    for at, what in within:
        days.setdefault(day_of(at), []).append((at, what))
    used = come_to(how, [each for each in said if each[0] < end] if how == "held" else within)
    return used, [(day, len(each), come_to(how, each)) for day, each in sorted(days.items())]


def told(answer):
    assert answer.status == 200, answer.json
    how = answer.json["aggregation"]
    return answer.json["used"], [(day["date"], day["n"], day[how]) for day in answer.json["days"]]


def lives(how, noon, seed):
    """Events over two periods, many of them around the days' ends and the noon that one period ends at."""
    random, said, level = Random(seed), {}, 0
    edges = [noon, *(start_of(day_of(noon)) + n * DAY for n in (-9, -1, 0, 1, 2, 8))]
    while len(said) < 40:
        edge = random.choice(edges)
        at = edge + random.choice([-1, 0, 1, random.randrange(-20_000, 20_000)])
        said[at] = random.randrange(1, 10)
    ordered = sorted(said.items())
    if how == "unique":
        return [(at, "abcdef"[what % 6]) for at, what in ordered]
    if how == "held":
        for place, (at, what) in enumerate(ordered):
            ordered[place] = at, -what if what % 2 and level >= what else what
            level += ordered[place][1]
    return ordered


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("interval", ["month", "year"])
def test_any_span_is_what_its_events_come_to(have, tell, ask, metric, interval):
    noon = have(billing_interval=interval)
    said = lives(metric, noon, seed=f"{metric}{interval}")
    for begin in range(0, len(said), 8):
        tell(metric, *said[begin : begin + 8])

    random, day = Random(7), start_of(day_of(noon))
    instants = [at + more for at, _ in said for more in (0, 1)] + [day + n * DAY for n in range(-10, 9)] + [noon]
    spans = [sorted(random.sample(instants, 2)) for _ in range(20)]
    spans += [(noon - 60, noon + 60), (day, day + DAY), (day + 3600, day + 7200), (day - 30 * DAY, day + 30 * DAY)]
    for start, end in spans:
        if start < end:
            assert told(ask(metric, start, end)) == reckoned(metric, said, start, end), (start, end)


def test_a_second_at_an_edge_is_in_or_out(have, tell, ask):
    noon = have()
    tell("sum", (noon, 1), (noon + 1, 2), (noon + 2, 4))

    assert [told(ask("sum", noon + begin, noon + end))[0] for begin, end in ((0, 1), (1, 2), (0, 3), (3, 9))] == [
        *(1, 2, 7, 0)
    ]


def test_what_was_corrected_is_told_as_it_is_now(have, tell, ask, api):
    noon = have()
    keys = tell("max", (noon + 1, 9), (noon + 2, 5), (noon + DAY, 3))
    for n, (key, what) in enumerate(((keys[0], {}), (keys[1], {"quantity": 4}))):
        body = {"customer_id": "ada", "idempotency_key": f"c{n}", "corrects": key, "reason": "r"} | what
        assert api("POST", "/usage/corrections", body, claims={"scope": "billing/admin"}).status == 200

    assert told(ask("max", noon, noon + 60)) == (4, [(day_of(noon), 1, 4)])
    assert told(ask("max", noon, noon + 2 * DAY))[0] == 4


def hidden(key):
    """The index does not have this event yet; answers what brings it."""

    def answer(parsed, **_):
        parsed["Items"] = [each for each in parsed.get("Items", []) if each.get("key", {}).get("S") != key]

    events = dynamodb.db().meta.events
    events.register("after-call.dynamodb.Query", answer)
    return lambda: events.unregister("after-call.dynamodb.Query", answer)


def test_it_waits_for_what_the_index_has_not_yet(have, tell, ask, monkeypatch):
    noon = have()
    *_, late = tell("sum", (noon, 1), (noon + 1, 2))
    show, pauses = hidden(late), []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            show()

    monkeypatch.setattr(history.time, "sleep", sleep)
    assert told(ask("sum", noon - 60, noon + 60))[0] == 3
    assert pauses == sorted(pauses) and sum(pauses) < 2


def test_if_it_does_not_come_nothing_is_told_rather_than_something_wrong(have, tell, ask, impatient):
    noon = have()
    *_, late = tell("sum", (noon, 1), (noon + 1, 2))
    hidden(late)
    refused = ask("sum", noon - 60, noon + 60)

    assert (refused.status, refused.json["code"]) == (503, "contended") and refused.headers["retry-after"]
    day = start_of(day_of(noon))
    assert told(ask("sum", day, day + DAY))[0] == 3  # whole days are told by the totals


def test_what_the_index_has_of_before_a_correction_is_not_told(have, tell, ask, api, impatient):
    noon = have()
    (wrong,) = tell("sum", (noon, 5))
    body = {"customer_id": "ada", "idempotency_key": "c", "corrects": wrong, "reason": "r"}
    assert api("POST", "/usage/corrections", body, claims={"scope": "billing/admin"}).status == 200
    (new,) = tell("sum", (noon + 1, 2))

    def late(parsed, **_):
        for item in parsed.get("Items", []):
            item.pop("corrected_by", None)
        parsed["Items"] = [each for each in parsed.get("Items", []) if each.get("key", {}).get("S") != new]

    dynamodb.db().meta.events.register("after-call.dynamodb.Query", late)
    assert ask("sum", noon - 60, noon + 60).status == 503


def test_too_many_events_to_be_read_are_refused(have, tell, ask, monkeypatch):
    noon = have()
    monkeypatch.setattr(history, "MOST", 2)
    tell("sum", *((noon + n, 1) for n in range(3)))
    tell("unique", *((noon + n, "bob") for n in range(3)))
    day = start_of(day_of(noon))

    for refused in (ask("sum", noon, noon + 60), ask("unique", day, day + DAY)):
        assert (refused.status, refused.json["code"]) == (422, "range_too_large")
    assert told(ask("sum", day, day + DAY))[0] == 3
    assert ask("sum", day + DAY + 60, day + DAY + 90).status == 200  # of that day there is nothing to be read


def test_more_events_than_a_page_are_all_read(have, tell, ask, monkeypatch):
    noon = have()
    monkeypatch.setattr(usage_table, "PAGE", 3)
    tell("sum", *((noon + n, 1) for n in range(10)))

    assert told(ask("sum", noon + 1, noon + 9))[0] == 8


def forgotten():
    """The events are no longer kept."""
    for item in map(dynamodb.decode, dynamodb.db().scan(TableName="Usage")["Items"]):
        if item["pk"].startswith("E#"):
            dynamodb.db().delete_item(TableName="Usage", Key=dynamodb.encode({"pk": item["pk"], "sk": item["sk"]}))


def test_a_day_of_which_nothing_is_left_needs_no_events(have, tell, ask, api, clock):
    noon = have()
    (wrong,) = tell("sum", (noon, 5))
    body = {"customer_id": "ada", "idempotency_key": "c", "corrects": wrong, "reason": "r"}
    assert api("POST", "/usage/corrections", body, claims={"scope": "billing/admin"}).status == 200
    clock.pass_by(days=401)
    forgotten()

    assert told(ask("sum", noon - 60, noon + 60)) == (0, [])


@pytest.mark.parametrize("metric", ["sum", "unique"])
def test_days_whose_events_are_gone_are_told_whole_or_not_at_all(have, tell, ask, clock, metric):
    noon = have()
    tell(metric, (noon, "bob" if metric == "unique" else 3))
    clock.pass_by(days=401)
    forgotten()
    day = start_of(day_of(noon))

    refused = ask(metric, noon - 60, noon + 60)
    assert (refused.status, refused.json["code"]) == (422, "range_too_large")
    whole = ask(metric, day, day + DAY)
    assert whole.status == 422 if metric == "unique" else told(whole) == (3, [(day_of(noon), 1, 3)])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        *(("start=2026-11-23T00:00:00Z", "end"), ("end=2026-11-23T00:00:00Z", "start")),
        *(("start=2026-11-23&end=2026-11-24", "start"), ("start=2026-11-23T00:00:00Z&end=x", "end")),
        ("start=2026-11-23T00:00:00Z&end=2026-11-23T00:00:00Z", "end"),
        ("start=2026-11-24T00:00:00Z&end=2026-11-23T00:00:00Z", "end"),
        ("start=0001-01-01T00:00:01%2B23:59&end=2026-11-23T00:00:00Z", "start"),
        ("start=2026-11-23T00:00:00Z&end=9999-12-31T23:59:59-23:59", "end"),
        ("start=2026-11-23T00:00:00Z&end=2026-11-24T00:00:00Z&by=day", "by"),
    ],
)
def test_a_span_that_is_none_is_refused(have, api, asked, field):
    have()
    refused = api("GET", f"/usage?metric=sum&{asked}")

    assert (refused.status, refused.json["code"], refused.json["fields"][0]["field"]) == (400, "malformed", field)


def test_spans_of_all_time_and_of_the_future_are_spans(have, tell, ask):
    noon = have()
    tell("sum", (noon, 3))

    assert told(ask("sum", 1, 253_402_300_799))[0] == 3
    assert told(ask("sum", noon + 1000 * DAY, noon + 1001 * DAY)) == (0, [])
    assert told(ask("held", noon, noon + 60)) == (0, [])


def test_what_counts_in_the_next_period_is_of_the_time_it_counts_at(sell, buy, use, ask, clock):
    clock.stop()
    plan = sell(limits={"many": None}, metrics={"sum": Metric("many", enforcement="soft", late="next_period")})
    buy(plan)
    now = int(clock.stopped)
    late = rfc3339(now - 60 * DAY)
    use({"metric_id": "sum", "idempotency_key": "k", "timestamp": late, "quantity": 3})

    assert told(ask("sum", now - 1, now + 1))[0] == 3
    assert told(ask("sum", now - 61 * DAY, now - 59 * DAY))[0] == 0
