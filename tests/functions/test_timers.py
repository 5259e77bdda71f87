"""What is to be done later gets its schedule: from the stream, or from the sweep."""

import json
import os
from datetime import UTC, datetime

import pytest

import set_timer
from billing import dynamodb, scheduler, timer_table
from billing.timers import Timer
from tests.functions.test_sweep import counts  # noqa: F401

DUE = 2_000_000_000


def record(item, sequence="1"):
    about = {"SequenceNumber": sequence, "Keys": dynamodb.encode({"pk": item["pk"], "sk": item["sk"]})}
    return {"eventName": "INSERT", "dynamodb": about | {"NewImage": dynamodb.encode(item)}}


@pytest.fixture
def row(aws):
    """A timer on record."""

    def put(due=DUE, **timer):
        timer = Timer(**{"kind": "dunning", "subject": "in_1", "step": "1"} | timer, due=due)
        (write,) = timer_table.writes("ada", [], {timer.name: timer}, 0)
        dynamodb.transact([write])
        return dynamodb.get("Subscriptions", pk="customer#ada", sk=f"timer#{timer.name}")

    return put


@pytest.fixture
def arrange(context):
    return lambda *records: set_timer.handler({"Records": list(records)}, context)["batchItemFailures"]


def made(schedules):
    return [
        (each["ScheduleExpression"], each["Target"]["Arn"], json.loads(each["Target"]["Input"]))
        for each in schedules().values()
    ]


def test_a_timer_on_record_gets_one_schedule_however_often_the_stream_tells_of_it(row, arrange, schedules, clock):
    told = record(row())
    assert arrange(told) == arrange(told, told) == []

    at = datetime.fromtimestamp(DUE + scheduler.SOON, UTC)
    about = {"customer": "ada", "kind": "dunning", "subject": "in_1", "step": "1"}
    assert made(schedules) == [(f"at({at:%Y-%m-%dT%H:%M:%S})", os.environ["DUNNING_FUNCTION"], about)]


def test_one_that_is_due_already_is_arranged_for_the_next_minute(row, arrange, schedules, clock):
    clock.stop()
    assert arrange(record(row(due=1000, kind="trial", subject="sub_1", step="1000"))) == []
    at = datetime.fromtimestamp(int(clock.now()) + scheduler.SOON, UTC)
    ((expression, function, _),) = made(schedules)
    assert (expression, function) == (f"at({at:%Y-%m-%dT%H:%M:%S})", os.environ["REMIND_FUNCTION"])


def test_one_that_waits_no_longer_gets_none(row, arrange, schedules, clock):
    timer = Timer("dunning", "in_1", "1", DUE)
    row()
    dynamodb.transact(timer_table.writes("ada", [timer.name], {}, 0))
    gone = dynamodb.get("Subscriptions", pk="customer#ada", sk="timer#dunning#in_1#1")
    assert arrange(record(gone)) == [] and made(schedules) == []


def test_one_that_cannot_be_read_keeps_no_other_from_its_schedule(row, arrange, schedules, clock):
    broken = row() | {"sk": "timer#what"}
    assert arrange(record(broken), record(row(subject="in_2"), "2")) == [{"itemIdentifier": "1"}]
    assert len(made(schedules)) == 1


def test_the_sweep_arranges_what_is_late(row, swept, schedules, clock, counts):  # noqa: F811
    row(due=int(clock.now()) - 7200)
    row(due=int(clock.now()) + 7200, subject="in_2")
    swept()
    ((_, function, about),) = made(schedules)
    assert (function, about["subject"]) == (os.environ["DUNNING_FUNCTION"], "in_1")
    assert counts()["OldTimers"] == 1
