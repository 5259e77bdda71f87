"""What the tests of several actions do at Stripe, past us; and how one dies."""

import json
from dataclasses import asdict
from pathlib import Path

from billing import dynamodb, sync
from billing.webhooks import WebhookEvent, envelope


class Death(BaseException):
    """No handler of ours may catch it."""


def ask(stripe, method, path, **params):
    """What the simulator answers to a call that must not fail."""
    status, answer = stripe.handle(method, path, params)
    assert status == 200, answer
    return answer


def pays_with(stripe, subscription, card):
    """From now on; answers the payment method."""
    theirs = stripe.subscriptions[subscription]["customer"]
    method = ask(stripe, "POST", f"/v1/payment_methods/{card}/attach", customer=theirs)
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", default_payment_method=method["id"])
    return method["id"]


def hear(stripe, subscription, clock, id="evt_1", type="customer.subscription.updated"):
    """Stripe tells us that something of the subscription has changed."""
    theirs = stripe.subscriptions[subscription]
    told = WebhookEvent(id, type, 0, theirs["id"], theirs["customer"], theirs["id"], False, None)
    sync.refresh([told], int(clock.now()))


def attached(stripe):
    """Schedules that are to do something, or stand in the way."""
    return [each for each in stripe.subscription_schedules.values() if each["status"] == "active"]


def balance(stripe, subscription):
    return stripe.customers[stripe.subscriptions[subscription]["customer"]]["balance"]


def waiting(stripe):
    """Amounts for the next invoice."""
    return [each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None]


def batch(events):
    """As the queue delivers them."""
    (sample,) = json.loads(Path("events/sqs.json").read_text())["Records"]
    bodies = [json.dumps(asdict(envelope(event))) for event in events]
    return {"Records": [sample | {"messageId": f"m{n}", "body": body} for n, body in enumerate(bodies)]}


def row(id):
    """Outcome, attempts and error as they stand in the table."""
    found = dynamodb.get("WebhookEvents", id=id) or {}
    return [found[name] for name in ("outcome", "attempts", "error") if name in found]


def sample(type, **ids):
    """The sample event of a type, told of others than the sample's own: `cus="cus_x"` is in the place of cus_1."""
    text = Path(f"events/stripe/{type}.json").read_text()
    for kind, id in ids.items():
        text = text.replace(f'"{kind}_1"', f'"{id}"')
    return json.loads(text) | {"id": f"evt_{type}"}
