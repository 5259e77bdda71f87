"""What the product's own URL is told: signed, until it has taken it; and what becomes of it if it does not."""

import json
import logging
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

import deliver_event
from billing import dynamodb, endpoint_table, product, queue, secrets
from billing.endpoints import AGAIN, FEWEST, PATIENCE
from billing.errors import Unavailable
from tests.functions.at_stripe import Death
from tests.rules.test_signatures import verifies

NEW, OLD = ("whsec_" + b64encode(bytes([n]) * 24).decode() for n in (1, 2))
ADMIN = {"claims": {"scope": "billing/admin"}}
DETAIL = {"id": "ada@example.com:7", "customer": "ada@example.com", "sequence": 7, "type": "invoice.paid"}
DETAIL |= {"at": "2026-11-23T12:00:00Z", "data": {"id": "in_1", "total_cents": 6000}, "mail": "invoice_ready"}


@pytest.fixture
def url(aws, monkeypatch):
    """The product's own: `answers` are given one after the other, the last one for ever; `heard` is what came."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append(SimpleNamespace(path=self.path, headers=dict(self.headers), body=body))
            status, headers, seconds = answers.pop(0) if len(answers) > 1 else answers[0]
            time.sleep(seconds)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_): ...

    heard: list = []
    answers: list = [(200, {}, 0)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("EVENT_URL", f"http://127.0.0.1:{server.server_port}/hook?token=s3cret")

    def answer(status, seconds=0.0, **headers):
        answers[:] = [(status, headers, seconds)]

    yield SimpleNamespace(heard=heard, answer=answer)
    server.shutdown()
    server.server_close()


@pytest.fixture
def clock(monkeypatch):
    """In the place of the world's own: only this function is asked for the time."""
    clock = SimpleNamespace(now=int(time.time()))
    monkeypatch.setattr(deliver_event, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


@pytest.fixture
def queues(url, clock, monkeypatch):
    for name in ("DELIVERY_QUEUE", "DEAD_DELIVERY_QUEUE"):
        made = queue.sqs().create_queue(QueueName=name.lower(), Attributes={"VisibilityTimeout": "0"})
        monkeypatch.setenv(name, made["QueueUrl"])
    secrets.manager().create_secret(Name="endpoint", SecretString=json.dumps({"secrets": [NEW, OLD]}))


@pytest.fixture
def deliver(queues, context, monkeypatch):
    """An event on the bus reaches the function, the nth time; answers when it comes again (seconds), if it does."""
    hidden = []
    monkeypatch.setattr(deliver_event, "random", lambda: 0.0)

    def hear(params, model, **_):
        if model.name == "ChangeMessageVisibility":
            hidden.append(params["VisibilityTimeout"])

    queue.sqs().meta.events.register("provide-client-params.sqs.ChangeMessageVisibility", hear)

    def handle(attempt=1, **detail):
        hidden.clear()
        message = {"messageId": "m", "receiptHandle": "r", "attributes": {"ApproximateReceiveCount": str(attempt)}}
        message["body"] = json.dumps({"source": "tollgate", "detail": DETAIL | detail})
        failed = deliver_event.handler({"Records": [message]}, context)["batchItemFailures"]
        assert bool(failed) == bool(hidden)
        return hidden[0] if failed else None

    return handle


@pytest.fixture
def dead(queues):
    """The types and sequences of what is with the dead letters."""

    def read():
        url = deliver_event.os.environ["DEAD_DELIVERY_QUEUE"]
        found = queue.sqs().receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return sorted(json.loads(each["Body"])["detail"]["sequence"] for each in found)

    return read


def record():
    items = map(dynamodb.decode, dynamodb.db().scan(TableName="Subscriptions")["Items"])
    return [{name: item[name] for name in item.keys() - {"pk", "sk"}} for item in items if item["pk"] == "endpoint"]


def test_it_is_told_as_standard_webhooks_has_it_and_knows_by_each_secret_that_it_was_us(deliver, url, clock, dead):
    assert deliver() is None
    (heard,) = url.heard
    headers = {name.lower(): value for name, value in heard.headers.items()}

    assert heard.path == "/hook?token=s3cret" and headers["content-type"] == "application/json"
    assert json.loads(heard.body) == {
        "type": "invoice.paid",
        "timestamp": "2026-11-23T12:00:00Z",
        "data": {"id": "in_1", "total_cents": 6000},
        "id": "ada@example.com:7",
        "customer": "ada@example.com",
        "sequence": 7,
    }
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("ada@example%2Ecom:7", str(clock.now))
    assert verifies(NEW, headers, heard.body) and verifies(OLD, headers, heard.body)
    assert (dead(), record()) == ([], [])


def test_the_next_attempt_has_the_same_id_and_another_time(deliver, url, clock):
    url.answer(500)
    deliver(1)
    clock.now += 5
    deliver(2)
    first, second = (each.headers for each in url.heard)

    assert first["webhook-id"] == second["webhook-id"] and url.heard[0].body == url.heard[1].body
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 5
    assert verifies(NEW, {name.lower(): each for name, each in second.items()}, url.heard[1].body)


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 404, 429, 500, 502, 503])
def test_what_is_not_taken_comes_again_and_nobody_is_followed(deliver, url, dead, status):
    url.answer(status, location="/elsewhere")
    assert deliver() == 5
    assert ([each.path for each in url.heard], dead()) == (["/hook?token=s3cret"], [])
    assert record()[0]["failures"] == 1


def test_any_2xx_takes_it(deliver, url):
    for status in (200, 201, 202, 204, 299):
        url.answer(status)
        assert deliver() is None


def test_who_does_not_answer_in_time_is_tried_again(deliver, url, monkeypatch):
    monkeypatch.setattr(product, "PATIENCE", 0.05)
    url.answer(200, seconds=0.3)
    assert deliver() == 5 and record()[0]["failures"] == 1


def test_who_is_not_there_is_tried_again(deliver, monkeypatch):
    monkeypatch.setenv("EVENT_URL", "http://127.0.0.1:9/")
    assert deliver() == 5 and record()[0]["failures"] == 1


def test_who_asks_for_time_is_given_it(deliver, url):
    url.answer(503, **{"retry-after": "3600"})
    assert deliver() == 3600
    url.answer(503, **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"})
    assert deliver() == 5


def test_after_eight_attempts_it_is_with_the_dead_letters(deliver, url, dead):
    url.answer(500)
    assert [deliver(attempt) for attempt in range(1, 9)] == [*AGAIN, None]
    assert dead() == [7] and record()[0]["failures"] == 8


def test_once_it_has_taken_something_its_failures_are_forgotten(deliver, url, clock, api):
    url.answer(500)
    deliver()
    told = api("GET", "/event-endpoint", **ADMIN).json
    assert (told["failures"], told["disabled_at"]) == (1, None) and told["failing_since"]
    clock.now += PATIENCE
    url.answer(200)
    deliver(2)
    url.answer(500)
    deliver()

    assert record() == [{"failing_since": clock.now, "failures": 1}]


def test_a_url_that_takes_all_it_is_told_costs_no_write(deliver, moments):
    written = []
    moments.append(lambda now: written.append(now) if "Update" in now or "Put" in now else None)
    for _ in range(3):
        deliver()
    assert written == []


def test_one_that_is_gone_is_told_nothing_more_until_it_is_enabled(deliver, url, dead, api, caplog):
    url.answer(410)
    assert deliver() is None and dead() == [7]
    assert deliver(sequence=8) is None and dead() == [7, 8]
    assert len(url.heard) == 1
    told = api("GET", "/event-endpoint", **ADMIN).json
    assert (told["reason"], bool(told["disabled_at"])) == ("gone", True) and told["url"].endswith("/hook")
    assert [line.msg for line in caplog.records].count("endpoint_disabled") == 1

    url.answer(200)
    assert api("POST", "/event-endpoint/enable", **ADMIN).json == told | {
        "reason": None,
        "disabled_at": None,
        "failing_since": None,
        "failures": 0,
    }
    assert deliver(sequence=9) is None and len(url.heard) == 2 and record() == [{}]


def test_nothing_but_failures_for_five_days_disable_it_and_the_operator_is_told(deliver, url, clock, dead, caplog):
    url.answer(500)
    for _ in range(FEWEST):
        assert deliver() == 5
    clock.now += PATIENCE
    assert deliver(sequence=8) is None and dead() == [8]
    assert record()[0]["reason"] == "failing"
    (alarm,) = [vars(line) for line in caplog.records if line.msg == "endpoint_disabled"]
    assert (alarm["Anomalies"], alarm["reason"]) == (1, "failing")


def test_another_url_begins_anew(deliver, url, monkeypatch):
    url.answer(410)
    deliver()
    monkeypatch.setenv("EVENT_URL", deliver_event.os.environ["EVENT_URL"].replace("hook", "other"))
    url.answer(200)
    assert deliver() is None and url.heard[-1].path == "/other?token=s3cret"


def test_one_that_takes_something_meanwhile_is_not_disabled(deliver, url, clock, moments, caplog):
    url.answer(500)
    for _ in range(FEWEST):
        deliver()
    clock.now += PATIENCE
    moments.once("before UpdateItem", lambda: endpoint_table.works(deliver_event.os.environ["EVENT_URL"]))
    deliver()

    assert record() == [{"failing_since": clock.now, "failures": 1}]
    assert "endpoint_disabled" not in [line.msg for line in caplog.records]


def test_our_own_secret_that_cannot_be_read_is_no_failure_of_the_url(deliver, url, caplog):
    secrets.manager().put_secret_value(SecretId="endpoint", SecretString=json.dumps({"secrets": "whsec_x"}))
    assert deliver() == 5
    assert (url.heard, record()) == ([], []) and "secret_unread" in [line.msg for line in caplog.records]


def test_while_the_store_is_away_it_comes_again(deliver, url, moments):
    def away():
        raise Unavailable("the store did not answer")

    moments.once("before GetItem", away)
    assert deliver() == 5 and url.heard == []


def test_whoever_dies_on_the_way_leaves_it_to_the_queue(deliver, url, moments, dead):
    url.answer(410)
    for place in range(4):
        passed = iter(range(place))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        with pytest.raises(Death):
            deliver()
        moments.remove(die)
    assert deliver() is None and dead() and record()[0]["reason"] == "gone"


def test_neither_the_query_nor_a_secret_is_in_the_log(deliver, url, caplog, monkeypatch):
    logging.getLogger("moto").setLevel(logging.WARNING)
    caplog.set_level(logging.DEBUG)
    for status in (200, 500, 410):
        url.answer(status)
        deliver()
    monkeypatch.setenv("EVENT_URL", "http://127.0.0.1:9/?token=s3cret")
    deliver()
    lines = [line for line in caplog.records if line.name.partition(".")[0] in ("tollgate", "urllib3", "root")]
    said = "".join(line.getMessage() + repr(vars(line)) for line in lines)
    assert "s3cret" not in said and NEW not in said and "ada@example" not in said
