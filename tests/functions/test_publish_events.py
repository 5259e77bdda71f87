"""What has happened is published: all of it, in sequence, at least once, whatever dies or refuses on the way."""

import json
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.awsrequest import AWSResponse

import publish_events
import sweep
from billing import bus, dynamodb, outbox
from billing.domain_events import DomainEvent, Happened
from billing.errors import Unavailable
from tests.events_page import EXAMPLES
from tests.functions.at_stripe import Death

DAY = 86_400
(SAMPLE,) = json.loads(Path("events/dynamodb.json").read_text())["Records"]
SERVICE = {"claims": {"scope": "billing/service"}}
AT = int(time.time())


@pytest.fixture
def happen(aws):
    """So many events of a customer are on record."""
    told = {}

    def write(number=1, customer="ada", type="access.changed", at=AT):
        happened = [Happened(type, EXAMPLES[type]["data"])] * number
        for write in outbox.writes(customer, told.get(customer, 0), happened, at):
            dynamodb.transact([write])
        told[customer] = told.get(customer, 0) + number

    return write


@pytest.fixture
def published(aws, monkeypatch):
    """
    The bus: what it has taken, by customer and sequence, in its order. `refuse(code, *sequences)`: those are refused;
    `calls`: how many events each call had; `whole`: why any call is refused.
    """
    taken, entries, calls, refused, whole = [], [], [], {}, []

    def put(model, params, **_):
        if model.name != "PutEvents":
            return None
        if whole:
            return AWSResponse("", 400, {}, None), {
                "Error": {"Code": whole[0]},
                "ResponseMetadata": {"HTTPStatusCode": 400},
            }
        said = params["body"]
        asked = json.loads(said)["Entries"]
        calls.append(len(asked))
        answers = []
        for each in asked:
            detail = json.loads(each["Detail"])
            code = refused.get((detail["customer"], detail["sequence"]))
            answers.append({"ErrorCode": code, "ErrorMessage": "no"} if code else {"EventId": "e"})
            if not code:
                taken.append((detail["customer"], detail["sequence"]))
                entries.append(each)
        content = {"FailedEntryCount": sum("ErrorCode" in each for each in answers), "Entries": answers}
        return AWSResponse("", 200, {}, None), content

    bus.events().meta.events.register_last("before-call", put)

    def refuse(code, *sequences, customer="ada"):
        refused.update({(customer, sequence): code for sequence in sequences})

    return SimpleNamespace(taken=taken, entries=entries, calls=calls, refuse=refuse, forgive=refused.clear, whole=whole)


NUMBER = count(4421584500000000017450439091)


def record(customer, sequence):
    keys = dynamodb.encode({"pk": f"customer#{customer}", "sk": f"event#{sequence:012}"})
    told = SAMPLE["dynamodb"] | {"Keys": keys, "SequenceNumber": str(next(NUMBER))}
    return SAMPLE | {"eventName": "INSERT", "dynamodb": told}


@pytest.fixture
def wake(context):
    """A batch of the stream, by customer and sequence; answers the places of those that are to come again."""

    def handle(*about):
        records = [record(customer, sequence) for customer, sequence in about]
        failed = publish_events.handler({"Records": records}, context)["batchItemFailures"]
        sequences = [each["dynamodb"]["SequenceNumber"] for each in records]
        return [sequences.index(each["itemIdentifier"]) for each in failed]

    return handle


def waiting():
    return sorted(outbox.waiting(AT + DAY, None)[0])


def rows(customer="ada"):
    return dynamodb.query("Subscriptions", f"customer#{customer}", "event#")


def ada(*sequences):
    return [("ada", sequence) for sequence in sequences]


def test_all_that_waits_is_published_in_sequence_whichever_wakes_us(happen, published, wake):
    happen(23)
    assert wake(("ada", 17)) == []
    assert (published.taken, published.calls) == (ada(*range(1, 24)), [10, 10, 3])
    assert waiting() == []


def test_an_event_on_the_bus_says_all_of_it(happen, published, wake, monkeypatch):
    monkeypatch.setenv("MAILS", "usage_threshold,trial_ending")
    happen(type="subscription.trial_ending")
    wake(("ada", 1))
    (entry,) = published.entries

    assert json.loads(entry["Detail"]) == {
        "id": "ada:1",
        "customer": "ada",
        "sequence": 1,
        "type": "subscription.trial_ending",
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT)),
        "data": EXAMPLES["subscription.trial_ending"]["data"],
        "mail": "trial_ending",
    }
    assert (entry["EventBusName"], entry["Source"]) == ("tollgate-events", "tollgate")
    assert (entry["DetailType"], int(entry["Time"])) == ("subscription.trial_ending", AT)


def test_what_is_published_waits_no_longer_and_is_kept_for_ninety_days(happen, published, wake):
    happen()
    assert rows()[0]["waits"] == "event"
    wake(("ada", 1))
    (row,) = rows()
    assert not row.keys() & {"waits", "since"}
    assert AT <= row["published_at"] <= time.time() and row["expires"] == row["published_at"] + 90 * DAY


def test_waking_twice_late_or_for_nothing_publishes_nothing_again(happen, published, wake):
    happen(3)
    wake(*ada(1, 2, 3))
    before = rows()
    assert wake(*ada(1), ("bob", 1)) == [] and wake(*ada(3, 2, 1)) == []
    assert (published.taken, published.calls, rows()) == (ada(1, 2, 3), [3], before)


def test_what_nobody_was_woken_for_is_published_with_the_next_or_by_the_sweep(happen, published, wake, context):
    happen(2)
    happen()
    wake(("ada", 3))
    assert published.taken == ada(1, 2, 3)
    happen(1, "bob")
    assert publish_events.handler({"customer": "bob"}, context) == {}
    assert (published.taken[3:], waiting()) == ([("bob", 1)], [])


def test_the_sweep_arranges_what_is_late_and_counts_what_is_old(
    happen, published, schedules, stripe, clock, context, caplog
):
    happen(2)
    happen(1, "bob")
    clock.pass_by(seconds=200)
    happen(1, "eve", at=int(clock.now()))
    sweep.handler({}, context)
    arranged = [json.loads(each["Target"]["Input"]) for name, each in schedules().items() if name.startswith("publish")]
    assert sorted(each["customer"] for each in arranged) == ["ada", "bob"]
    clock.pass_by(hours=1)
    sweep.handler({}, context)
    assert [vars(line)["OldEvents"] for line in caplog.records if line.msg == "OldEvents"] == [0, 4]

    for each in arranged:
        publish_events.handler(each, context)
    assert sorted(published.taken) == [*ada(1, 2), ("bob", 1)] and waiting() == [("eve", 1)]


def test_of_many_that_wait_none_is_passed_over(happen, published, wake, monkeypatch):
    monkeypatch.setattr(outbox, "PAGE", 4)
    happen(9)
    wake(("ada", 9))
    happen(8)
    wake(("ada", 17))
    assert published.taken == ada(*range(1, 18))


def test_where_the_bus_refuses_one_only_those_before_are_marked_and_none_behind_goes_ahead(happen, published, wake):
    happen(14)
    published.refuse("InternalFailure", 5)
    assert wake(("ada", 1), ("ada", 2)) == [0]
    assert waiting() == ada(*range(5, 15)) and published.calls == [10]
    published.forgive()
    assert wake(("ada", 1), ("ada", 2)) == [] and waiting() == []
    assert published.taken == ada(1, 2, 3, 4, 6, 7, 8, 9, 10, *range(5, 15))  # those behind it come twice


def test_one_customer_whose_event_is_refused_for_good_keeps_no_other(happen, published, wake, caplog, context):
    happen(3)
    happen(2, "bob")
    published.refuse("MalformedDetail", 2)
    assert wake(("ada", 1), ("bob", 1), ("ada", 2)) == []
    assert waiting() == ada(2, 3) and published.taken == [*ada(1, 3), ("bob", 1), ("bob", 2)]
    (alarm,) = [vars(line) for line in caplog.records if line.msg == "event_refused"]
    assert (alarm["Anomalies"], alarm["code"], alarm["sequence"]) == (1, "MalformedDetail", 2)
    assert "ada" not in repr(alarm)

    published.forgive()
    publish_events.handler({"customer": "ada"}, context)
    assert published.taken[4:] == ada(2, 3) and waiting() == []


@pytest.mark.parametrize(("code", "again"), [("ResourceNotFoundException", []), ("ThrottlingException", [0])])
def test_a_call_that_is_refused_as_a_whole_comes_again_or_is_the_operators(
    happen, published, wake, caplog, code, again
):
    happen()
    published.whole.append(code)
    assert wake(("ada", 1)) == again and waiting() == ada(1)
    assert ("event_refused" in [line.msg for line in caplog.records]) == (not again)


def test_a_record_that_cannot_be_read_keeps_no_other_customer(happen, published, wake, caplog):
    happen()
    happen(1, "bob")
    (row,) = rows()
    dynamodb.transact([dynamodb.put("Subscriptions", {name: row[name] for name in row.keys() - {"data"}})])
    assert wake(("ada", 1), ("bob", 1)) == []
    assert published.taken == [("bob", 1)] and "unpublished" in [line.msg for line in caplog.records]


@pytest.mark.parametrize("moment", ["before Query", "before PutEvents", "before UpdateItem"])
def test_while_the_bus_or_the_store_is_away_all_that_is_left_comes_again(happen, published, wake, moments, moment):
    happen(2)
    happen(1, "bob")
    happen(1, "eve")

    def away():
        raise Unavailable("away")

    wake(("ada", 1))
    happen(1, "bob")
    moments.once(moment, away)
    assert wake(("ada", 2), ("bob", 1), ("eve", 1)) == ([0] if moment == "before Query" else [1])
    assert wake(("ada", 2), ("bob", 1), ("eve", 1)) == [] and waiting() == []


def test_when_time_runs_out_what_is_left_comes_again(happen, published, wake, context):
    happen()
    context.get_remaining_time_in_millis = lambda: 5_000
    assert wake(("ada", 1)) == [0] and published.taken == []
    with pytest.raises(Unavailable):
        publish_events.handler({"customer": "ada"}, context)


def test_death_at_any_call_loses_nothing_and_what_it_had_not_marked_comes_twice(happen, published, wake, moments):
    happen(12)
    for place in count():
        passed = iter(range(place))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            wake(("ada", 1))
            break
        except Death:
            died = True
        finally:
            moments.remove(die)
        left, everything = [sequence for _, sequence in waiting()], 12 + 3 * place
        assert died and left == list(range(everything + 1 - len(left), everything + 1))
        assert set(ada(*range(1, everything + 1))) - set(waiting()) <= set(published.taken)
        happen(3)
    told = [sequence for _, sequence in published.taken]
    first = sorted(set(told), key=told.index)
    assert place > 8 and first == list(range(1, 13 + 3 * place)) and waiting() == []


def test_two_publishers_at_once_leave_nothing_and_no_gap(happen, published, wake, moments):
    happen(5)

    def other():
        happen(2)
        wake(("ada", 1))

    moments.once("before PutEvents", other)
    assert wake(("ada", 1)) == []
    assert published.taken == ada(*range(1, 8), *range(1, 6)) and waiting() == []
    marked = {row["sequence"]: row["published_at"] for row in rows()}
    assert set(marked) == set(range(1, 8))


def test_what_is_too_much_for_one_call_goes_in_several(aws):
    told = [DomainEvent("ada", sequence, "t", {"x": "y" * 100_000}, AT) for sequence in range(1, 6)]
    large = DomainEvent("ada", 6, "t", {"x": "y" * 300_000}, AT)
    assert [[each.sequence for each in batch] for batch in bus.batches([*told, large])] == [[1, 2], [3, 4], [5], [6]]
    assert list(bus.batches([])) == []


def test_moto_takes_what_we_send(happen, wake):
    """The real call, as far as there is one here."""
    happen(2)
    assert wake(("ada", 1)) == [] and waiting() == []


def test_whoever_has_missed_some_reads_them_in_sequence(api, happen, published, wake):
    happen(7)
    wake(("ada", 1))
    happen(2)
    first = api("GET", "/customers/ada/events?limit=4", **SERVICE).json
    then = api("GET", f"/customers/ada/events?after={first['next']}&limit=4", **SERVICE).json
    last = api("GET", f"/customers/ada/events?after={then['next']}&limit=4", **SERVICE).json

    assert [[each["sequence"] for each in page["events"]] for page in (first, then, last)] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9],
    ]
    assert (first["next"], then["next"], last["next"]) == (4, 8, None)
    assert first["events"][0] == json.loads(published.entries[0]["Detail"])
    assert api("GET", "/customers/ada/events?after=9", **SERVICE).json == {"events": [], "next": None}
    assert api("GET", "/customers/eve/events", **SERVICE).json == {"events": [], "next": None}


def test_those_that_are_gone_after_ninety_days_stop_nobody(api, happen):
    happen(5)
    for row in rows()[:3]:
        dynamodb.db().delete_item(TableName="Subscriptions", Key=dynamodb.encode({"pk": row["pk"], "sk": row["sk"]}))
    told = api("GET", "/customers/ada/events?limit=1", **SERVICE).json
    assert ([each["sequence"] for each in told["events"]], told["next"]) == ([4], 4)


@pytest.mark.parametrize(
    "asked", ["after=x", "after=-1", "after=1.5", "after=" + "9" * 13, "limit=0", "limit=101", "x=1"]
)
def test_a_bad_cursor_is_told(api, asked):
    answer = api("GET", f"/customers/ada/events?{asked}", **SERVICE)
    assert (answer.status, answer.json["code"]) == (400, "malformed")
    assert answer.json["fields"][0]["field"] == asked.partition("=")[0]
