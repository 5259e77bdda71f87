"""Failed events are tried again, all of them, and a run may die at any moment."""

import pytest

from billing import customer_table, webhook_table
from billing.webhooks import WebhookEvent
from local.redrive import redrive
from local.tollgate import Answer, Refused, Tollgate

ADMIN = {"scope": "billing/admin"}


@pytest.fixture
def tool():
    return "local.redrive"


@pytest.fixture
def rotten():
    """So many events have failed; they are about nobody. The newest first."""

    def make(many, type="customer.subscription.updated"):
        for number in range(many):
            about = (f"sub_{number}", f"cus_{number}", f"sub_{number}")
            event = WebhookEvent(f"evt_{number:04}", type, 1_795_000_000 + number, *about, False, None)
            for _ in range(webhook_table.MOST_FAILURES):
                webhook_table.failed(event, "it is rotten")
        return [f"evt_{number:04}" for number in reversed(range(many))]

    return make


@pytest.fixture
def failed(api):
    return lambda: {each["id"] for each in api("GET", "/webhook-events", claims=ADMIN).json["events"]}


def quantity():
    return customer_table.find("ada", 0).subscription.theirs.quantity


def test_what_has_failed_has_its_effect(tollgate, subscribed, seats, fails, drain, failed, told):
    event = seats(subscribed["id"], 9)
    id, customer = fails(event), event["data"]["object"]["customer"]

    assert redrive(tollgate, say=told.append) == 0
    assert told.text() == (
        f"{id} customer.subscription.updated {subscribed['id']} {customer} replayed had failed with it is rotten"
        " replayed 1, left alone 0, refused 0"
    )
    assert drain() == []
    assert (quantity(), failed()) == (9, set())


def test_where_nothing_has_failed_nothing_is_asked_for(tollgate, aws, asked, told):
    assert redrive(tollgate, say=told.append) == 0
    assert (told.text(), asked) == ("replayed 0, left alone 0, refused 0", ["GET /webhook-events?status=failed"])


def test_page_by_page_each_is_replayed_once_though_those_before_are_done_by_then(
    send, rotten, received, drain, told, failed
):
    ids, paged = rotten(60), []

    def handled(method, path, body, key):
        if method == "GET" and paged:
            assert drain() == []
        paged.append(path)
        return send(method, path, body, key)

    assert redrive(Tollgate(handled), say=told.append) == 0
    assert [line.split()[0] for line in told[:-1]] == ids
    assert drain() == []
    assert failed() == set() and {webhook_table.find(id).outcome for id in ids} == {"ignored"}


def test_only_those_of_a_type_or_since_a_time(tollgate, stripe, subscribed, seats, fails, told):
    event = seats(subscribed["id"], 9)
    fails(event)

    assert redrive(tollgate, type="invoice.paid", say=told.append) == 0
    assert redrive(tollgate, since="2999-01-01T00:00:00+01:00", say=told.append) == 0
    assert told.text() == " ".join(["replayed 0, left alone 0, refused 0"] * 2)
    assert redrive(tollgate, type=event["type"], since="2026-01-01T00:00:00+01:00", say=told.append) == 0
    assert "replayed 1" in told.text()


@pytest.mark.parametrize("moment", range(1, 14))
def test_a_run_that_dies_is_run_again_and_nothing_is_lost_or_doubled(
    send, stripe, subscribed, seats, fails, drain, failed, told, moment
):
    ids = [fails(seats(subscribed["id"], number)) for number in (6, 7, 8, 9, 11, 12)]
    left = moment

    def dying(*request):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        answer = send(*request)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt  # the answer is lost
        return answer

    with pytest.raises(KeyboardInterrupt):
        redrive(Tollgate(dying), say=told.append)
    version = customer_table.find("ada", 0).version
    assert redrive(Tollgate(send), say=told.append) == 0
    assert drain() == []
    assert (failed(), quantity()) == (set(), 12)
    assert {webhook_table.find(id).outcome for id in ids} == {"done"}
    assert customer_table.find("ada", 0).version == version + 1  # one effect: all of it is one fetch


def test_what_was_done_meanwhile_is_left_alone(send, stripe, subscribed, seats, fails, drain, told):
    id = fails(seats(subscribed["id"], 9))

    def late(method, path, body, key):
        if method == "POST":
            send(method, path, body, key)  # another operator
            assert drain() == []
        return send(method, path, body, key)

    assert redrive(Tollgate(late), say=told.append) == 0
    assert told[0].split()[0] == id and told[0].split()[-3:] == ["left", "alone", "done"]


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_told_to_come_again_waits_as_long_as_that(send, rotten, waited, told, status):
    rotten(2)
    busy = [Answer(status, {"code": "busy"}, 7.0), Answer(status, {"message": "Too Many Requests"}, None)]

    def often(*request):
        return busy.pop() if busy and request[0] == "POST" else send(*request)

    assert redrive(Tollgate(often, waited.append), say=told.append) == 0
    assert waited == [1, 7] and told[-1] == "replayed 2, left alone 0, refused 0"


def test_one_that_is_refused_is_told_apart_and_the_others_go_on(send, rotten, told):
    ids = rotten(3)

    def refusing(method, path, body, key):
        refused = method == "POST" and ids[1] in path
        return Answer(404, {"code": "not_found", "detail": "gone"}) if refused else send(method, path, body, key)

    assert redrive(Tollgate(refusing), say=told.append) == 1
    assert told[1].endswith("refused  not_found: gone") and told[-1] == "replayed 2, left alone 0, refused 1"


def test_a_token_that_ends_ends_the_run(send, rotten, told):
    rotten(3)

    def expiring(method, *request):
        return Answer(401, {"message": "Unauthorized"}) if method == "POST" else send(method, *request)

    with pytest.raises(Refused, match="401"):
        redrive(Tollgate(expiring), say=told.append)


def test_the_command_exits_with_what_came_of_it_and_never_tells_the_token(command, rotten):
    rotten(1)
    done = command()
    assert (done.returncode, done.stderr) == (0, "") and "replayed 1" in done.stdout

    for wrong in (command(token=""), command(token="wr0ng"), command("--status", "done"), command("--since", "x")):
        assert wrong.returncode == 1 and wrong.stderr
        assert "wr0ng" not in wrong.stdout + wrong.stderr and "s3cret" not in wrong.stdout + wrong.stderr
