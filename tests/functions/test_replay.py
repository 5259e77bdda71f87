"""Failures are data: they can be listed, and tried again; trying what is done changes nothing."""

from random import Random

import pytest

from billing import customer_table, dynamodb, queue, webhook_table
from billing.webhooks import WebhookEvent, envelope
from tests.functions.at_stripe import ask

SEED = 20261124
ADMIN = {"scope": "billing/admin"}


def failing(n, type="customer.subscription.updated", outcome="failed", created=1_795_000_000):
    """The row of an event that has failed; it is about nobody."""
    event = WebhookEvent(f"evt_{n:04}", type, created + n, "sub_x", f"cus_{n}", "sub_x", False, None)
    times = webhook_table.MOST_FAILURES if outcome == "failed" else 2
    for _ in range(times):
        webhook_table.failed(event, "it is rotten")
    return event.id


@pytest.fixture
def listed(api):
    def read(**asked):
        seen, query = [], "&".join(f"{name}={value}" for name, value in asked.items())
        cursor = None
        while True:
            answer = api("GET", f"/webhook-events?{query}" + (f"&cursor={cursor}" if cursor else ""), claims=ADMIN)
            assert answer.status == 200, answer.json
            seen += answer.json["events"]
            cursor = answer.json["next"]
            if not cursor:
                return seen

    return read


@pytest.fixture
def replayed(api):
    return lambda id: api("POST", f"/webhook-events/{id}/replay", claims=ADMIN)


def test_what_has_failed_is_listed_the_newest_first_and_each_once(listed, stripe):
    ids = [failing(n) for n in range(120)]
    failing(500, outcome="retrying")

    assert [each["id"] for each in listed(status="failed")] == ids[::-1]
    assert [each["id"] for each in listed()] == ids[::-1]
    assert [each["id"] for each in listed(status="retrying")] == ["evt_0500"]


def test_it_says_why_and_names_ids_alone(listed, stripe):
    failing(1)
    assert listed() == [
        {
            "id": "evt_0001",
            "type": "customer.subscription.updated",
            "object_id": "sub_x",
            "customer": "cus_1",
            "subscription": "sub_x",
            "api_version": None,
            "created_at": "2026-11-18T11:06:41Z",
            "outcome": "failed",
            "attempts": 5,
            "replays": 0,
            "error": "it is rotten",
        }
    ]


def test_by_type_and_since_when(listed, stripe):
    for n in range(130):
        failing(n, type="invoice.paid" if n % 40 == 7 else "customer.updated")

    assert [each["id"] for each in listed(type="invoice.paid")] == ["evt_0127", "evt_0087", "evt_0047", "evt_0007"]
    assert [each["id"] for each in listed(type="invoice.paid", since="2026-11-18T11:08:07Z")] == [
        "evt_0127",
        "evt_0087",
    ]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "since=yesterday",
        "since=2026-11-18T11:08:07",
        "since=99999999999999999999",
        "cursor=x",
        "cursor=1.evt_1'",
        "page=2",
    ],
)
def test_rubbish_is_refused_with_the_name_of_the_field(api, stripe, query):
    answer = api("GET", f"/webhook-events?{query}", claims=ADMIN)
    assert (answer.status, answer.json["fields"][0]["field"]) == (400, query.partition("=")[0])


def test_a_replayed_event_has_its_effect(api, replayed, listed, drain, stripe, subscribed, clock):
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    known = set(stripe.events)
    ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", items={"0": {"id": item, "quantity": "9"}})
    told = next(each for id, each in stripe.events.items() if id not in known and "updated" in each["type"])
    for _ in range(5):
        webhook_table.failed(envelope(told), "out of order")

    answer = replayed(told["id"])
    assert (answer.status, answer.json["replayed"], answer.json["outcome"]) == (200, True, "failed")
    assert drain() == []
    assert customer_table.find("ada", 0).subscription.theirs.quantity == 9
    assert listed() == [] and webhook_table.find(told["id"]).outcome == "done"


def test_a_replay_that_fails_has_five_attempts_again_and_remembers_that_it_was_replayed(replayed, drain, stripe):
    id = failing(1)
    replayed(id)

    event = webhook_table.find(id).event
    assert [webhook_table.failed(event, "still") for _ in range(5)] == [1, 2, 3, 4, None]
    row = webhook_table.find(id)
    assert (row.outcome, row.attempts, row.replays, row.error) == ("failed", 5, 1, "still")


def test_a_second_replay_is_a_message_of_its_own(replayed, received, stripe):
    id = failing(1)
    replayed(id)
    replayed(id)

    found = [message["attributes"]["MessageDeduplicationId"] for message in received()["Records"]]
    assert found == [f"{id}#replay-1", f"{id}#replay-2"]


def test_who_dies_before_the_queue_has_it_leaves_it_failed(replayed, api, listed, stripe, monkeypatch):
    id = failing(1)
    monkeypatch.setenv("WEBHOOK_QUEUE", "https://sqs.eu-west-1.amazonaws.com/1/no-such-queue.fifo")
    with pytest.raises(Exception, match="NonExistentQueue"):
        replayed(id)

    assert [each["id"] for each in listed()] == [id]
    monkeypatch.undo()


def test_one_that_is_done_is_left_alone(replayed, drain, received, hear, stripe, subscribed):
    hear()
    id = next(iter(stripe.events))
    before = customer_table.find("ada", 0)

    answer = replayed(id)
    assert (answer.status, answer.json["replayed"]) == (200, False) and answer.json["outcome"] in ("done", "ignored")
    assert received()["Records"] == [] and customer_table.find("ada", 0) == before


def test_one_that_never_was_is_404(replayed, stripe):
    assert replayed("evt_never").status == 404


def test_replaying_a_thousand_events_twice_changes_nothing(api, hear, stripe, subscribed, drain, replayed):
    for n in range(6, 6 + 40):
        item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
        ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", items={"0": {"id": item, "quantity": str(n)}})
    hear()
    ids, random = list(stripe.events), Random(SEED)
    before, rows = customer_table.find("ada", 0), _rows()
    print("seed", SEED)

    for id in random.choices(ids, k=1000) * 2:
        assert not replayed(id).json["replayed"]
    for id in random.choices(ids, k=200):  # past the route, too: as a message that comes again
        queue.send(webhook_table.find(id).event, replay=random.randrange(1, 99))
    assert drain() == []
    assert (customer_table.find("ada", 0), _rows()) == (before, rows)


def _rows():
    items = dynamodb.scan("WebhookEvents", "id <> :none", 5000, none="").items
    return {item["id"]: item for item in items}


def test_of_two_who_replay_at_once_one_does(api, stripe, received, moments):
    id = failing(1)
    answers = []

    def replay():
        answers.append(api("POST", f"/webhook-events/{id}/replay", claims=ADMIN).json["replayed"])

    done = iter([True])

    def between(now):
        if now in ("before TransactWriteItems", "before UpdateItem") and next(done, False):
            replay()

    moments.append(between)
    replay()
    assert answers == [True, False] and webhook_table.find(id).replays == 1
    assert len(received()["Records"]) == 1
