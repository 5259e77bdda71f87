import time

import pytest

from billing import dynamodb, webhook_table
from billing.webhooks import WebhookEvent

pytestmark = pytest.mark.usefixtures("aws")
NOW = int(time.time())


def event(id="evt_1", created=NOW, type="invoice.paid"):
    return WebhookEvent(id, type, created, None, "cus_1", None, False, None)


def told(outcome, since=0, most=9, **asked):
    rows, more = webhook_table.unfinished(outcome, since, most, **asked)
    return [row.event.id for row in rows], more


@pytest.mark.parametrize("outcome", ["done", "ignored"])
def test_what_is_finished_is_finished_for_good(outcome):
    webhook_table.deferred(event(), "busy")
    assert dynamodb.transact([webhook_table.mark(event(), outcome)]) == []

    assert [refused.place for refused in dynamodb.transact([webhook_table.mark(event(), "done")])] == [0]
    assert (webhook_table.failed(event(), "late"), webhook_table.bury(event(), "late")) == (None, False)
    row = webhook_table.find("evt_1")
    assert (row.outcome, row.error) == (outcome, None) and webhook_table.finished(event())
    assert told("retrying") == told("failed") == ([], False)


def test_the_fifth_failure_is_the_last():
    assert [webhook_table.failed(event(), str(n)) for n in range(5)] == [1, 2, 3, 4, None]
    assert (told("failed"), told("retrying")) == ((["evt_1"], False), ([], False))
    assert webhook_table.find("evt_1").error == "4" and not webhook_table.finished(event())


def test_of_two_who_replay_a_failed_event_one_does():
    webhook_table.bury(event(), "lost")
    row = webhook_table.find("evt_1")

    assert [webhook_table.replays(row) for _ in range(2)] == [True, False]
    again = webhook_table.find("evt_1")
    assert (again.outcome, again.attempts, again.replays, again.failed_at) == ("failed", 0, 1, row.failed_at)
    assert dynamodb.transact([webhook_table.mark(event(), "done")]) == []
    assert not webhook_table.replays(again)


def test_what_failed_is_listed_the_newest_first_by_kind_and_page():
    for n, created in enumerate((NOW, NOW - 50, NOW - 50, NOW - 900)):
        webhook_table.bury(event(f"evt_{n}", created, "invoice.paid" if n % 2 else "invoice.voided"), "lost")
    webhook_table.deferred(event("evt_x"), "busy")

    (first, second, third, last), more = told("failed")
    assert (first, {second, third}, last, more) == ("evt_0", {"evt_1", "evt_2"}, "evt_3", False)
    assert told("failed", NOW - 60)[0] == [first, second, third]
    assert told("failed", most=2) == ([first, second], True)
    assert told("failed", after=(NOW - 50, second))[0] == [third, last]
    assert told("failed", type="invoice.paid")[0] == ["evt_1", "evt_3"]
    assert webhook_table.known(["evt_0", "evt_9", "evt_x"]) == {"evt_0", "evt_x"}
