"""What Stripe tells us, through API Gateway, the queue and IAM: verified, kept, and true in the end."""

import json
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from stripe import WebhookSignature

SAMPLE = json.loads(Path("events/stripe/invoice.paid.json").read_text())


@pytest.fixture
def post(stack, call):
    """post(event): as Stripe does. `secret`, `late` (seconds), `signed` (other bytes), `header` make it a forgery."""

    def send(event, secret=None, late=0, signed=None, header=None):
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        text = (body if signed is None else signed).decode()
        made = WebhookSignature.generate_signature_header(text, secret or stack.webhook_secret, int(time.time()) - late)
        signature = made if header is None else header
        return call("POST", "/webhooks/stripe", body=body, headers={"stripe-signature": signature} if signature else {})

    return send


@pytest.fixture
def row(stack, records):
    def find(event):
        rows = [each for each in records("WebhookEvents") if each["id"] == event]
        return [(each["outcome"], int(each["attempts"])) for each in rows]

    return find


def grow(stripe, person, seats):
    """In Stripe's dashboard."""
    subscription = stripe.subscriptions.retrieve(person.theirs()["id"])
    stripe.subscriptions.update(
        subscription.id, {"items": [{"id": subscription["items"].data[0].id, "quantity": seats}]}
    )


def event(**fields):
    """Of a customer who is not ours, in a group of its own."""
    now = time.time_ns()
    about = {"id": f"in_{now}", "object": "invoice", "customer": f"cus_{now}", "parent": None}
    return SAMPLE | {"id": f"evt_{now}", "created": now // 10**9, "data": {"object": about}} | fields


def test_what_is_signed_is_enqueued_and_handled(post, row, eventually):
    told = event()
    assert post(told).status == 200
    eventually(lambda: row(told["id"]), [("ignored", 0)])


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"secret": "whsec_other"}, id="forged"),
        pytest.param({"late": 301}, id="stale"),
        pytest.param({"late": -301}, id="future"),
        pytest.param({"header": ""}, id="missing"),
        pytest.param({"header": "t=1,v1=nonsense"}, id="nonsense"),
        pytest.param({"signed": json.dumps(SAMPLE).encode()}, id="of another event"),
    ],
)
def test_a_signature_that_is_not_stripes_of_now_is_refused_and_nothing_enqueued(post, nothing_happens, how):
    with nothing_happens():
        answer = post(event(), **how)
    assert (answer.status, answer.json["code"]) == (400, "forged")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_written_anew_is_no_longer_the_one_that_was_signed(post, row, nothing_happens, eventually):
    said = event()
    original = json.dumps(said, indent=2).encode()
    with nothing_happens():
        assert post(json.dumps(said).encode(), signed=original).status == 400
    assert post(original).status == 200
    eventually(lambda: row(said["id"]), [("ignored", 0)])


def test_an_event_of_the_live_mode_is_refused_here(post, nothing_happens):
    with nothing_happens():
        assert post(event(livemode=True)).status == 400


@contextmanager
def denied(stack, function, action):
    """The function's role may not, for as long as this lasts."""
    iam, resources = stack.client("iam"), stack.client("cloudformation")
    found = resources.describe_stack_resource(StackName=stack.stack_name, LogicalResourceId=f"{function}Role")
    role = found["StackResourceDetail"]["PhysicalResourceId"]
    deny = {"Effect": "Deny", "Action": action, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="denied")


def test_when_the_queue_refuses_stripe_hears_so_and_comes_again(stack, ada, stripe, post, settle, news, eventually):
    with denied(stack, "ReceiveWebhook", "sqs:SendMessage"):
        assert post(event()).status >= 500
        grow(stripe, ada, 7)
        [change] = news()
        assert change["pending_webhooks"] == 1
        assert ada.ours()["quantity"] == 5
    eventually(lambda: stack.simulator.events[change["id"]]["pending_webhooks"], 0)
    eventually(ada.ours, ada.theirs())
    assert ada.theirs()["quantity"] == 7


@pytest.mark.parametrize("fault", ["duplicate", "reorder", "delay"])
def test_twice_out_of_order_or_late_there_is_one_marker_and_the_record_is_stripes(
    stack, ada, stripe, settle, row, news, eventually, fault
):
    stack.simulator.fault(fault, type="customer.subscription.updated", seconds=0.5)
    for seats in (6, 9, 7):
        grow(stripe, ada, seats)
    eventually(ada.ours, ada.theirs())
    settle()
    assert (ada.ours(), ada.theirs()["quantity"]) == (ada.theirs(), 7)
    assert [row(each["id"]) for each in news()] == [[("done", 0)]] * 3


def test_an_event_delivered_again_later_has_no_second_effect(stack, ada, stripe, settle, news, row):
    grow(stripe, ada, 6)
    settle()
    [change], before = news(), ada.record
    stack.simulator.deliver(change["id"])
    settle()
    assert (ada.record, row(change["id"])) == (before, [("done", 0)])


def test_a_webhook_that_was_lost_is_made_good_when_it_is_sent_again(stack, ada, stripe, settle, row, news, eventually):
    stack.simulator.fault("drop", type="customer.subscription.updated")
    grow(stripe, ada, 6)
    settle()
    [lost] = news()
    assert (ada.ours()["quantity"], row(lost["id"])) == (5, [])
    stack.simulator.deliver(lost["id"])
    eventually(ada.ours, ada.theirs())
    assert (ada.ours()["quantity"], row(lost["id"])) == (6, [("done", 0)])


def test_an_old_event_brings_what_stripe_says_now(stack, ada, stripe, settle, news, eventually):
    stack.simulator.fault("drop", type="customer.subscription.updated", times=2)
    grow(stripe, ada, 6)
    grow(stripe, ada, 9)
    settle()
    old, _ = news()
    stack.simulator.deliver(old["id"])
    eventually(ada.ours, ada.theirs())
    assert ada.ours()["quantity"] == 9


@contextmanager
def visibility(stack, seconds):
    sqs, url = stack.client("sqs"), stack.outputs["WebhookQueue"]
    usual = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=usual)


def test_an_event_that_failed_once_is_counted_and_succeeds_on_retry(stack, ada, stripe, row, news, eventually):
    subscription = ada.theirs()["id"]
    # Once for the call, once for the retry of Stripe's library.
    stack.simulator.fault("failed", method="GET", path=f"/v1/subscriptions/{subscription}", times=2)
    with visibility(stack, 2):
        stripe.subscriptions.update(subscription, {"metadata": {"note": "a"}})
        [change] = news()
        eventually(lambda: row(change["id"]), [("retrying", 1)])
        eventually(lambda: row(change["id"]), [("done", 0)])
    eventually(ada.ours, ada.theirs())
