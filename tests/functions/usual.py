"""
The usual path of every action, twice: what it finds, and then the call of it, first for Ada, then for Bob, or twice for
Ada where only a second call of hers is warm. `USUAL` has them by name: the function's, and after a comma what is
special.
"""

import importlib
import json
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from stripe import WebhookSignature

from billing import customer_table, dynamodb, mail_table, outbox, records, timer_table
from billing.domain_events import Happened
from tests.conftest import PRO, TEAM
from tests.events_page import EXAMPLES
from tests.functions.at_stripe import ask, batch
from tests.functions.later import HOUR, OWED, fire
from tests.functions.lives import PAGE, TRIAL
from tests.functions.metered import CALLS, SOLD
from tests.functions.test_event_endpoint import DETAIL
from tests.functions.test_mails import bounce

SERVICE, ADMIN = {"scope": "billing/service"}, {"scope": "billing/admin"}
ADA, BOB = BOTH = ("ada", "bob")
CARDS = {BOB: "pm_card_mastercard"}  # another than the others', for a card has one trial
CROWD = tuple(f"one-of-{n:02}" for n in range(10))
DAY = 24 * HOUR
METERED = SOLD | {"limits": {"max_calls": None}, "metrics": CALLS}
USUAL = {}


def usual(arrange):
    """`arrange(w)` makes what the action finds and answers the call of it, which is given the customer."""
    USUAL[arrange.__name__] = arrange
    return arrange


class World:
    """What there is already when somebody calls; Stripe's news of it have been heard, and ours are published."""

    def __init__(self, api, stripe, clock, context, hear, moments, demand):
        self.api, self.stripe, self.clock, self.context, self.hear = api, stripe, clock, context, hear
        self.moments, self.demand = moments, demand  # `demand`: of a fixture, by its name
        self.keys = count(1)
        self.sells(team=TEAM, pro=PRO)

    @property
    def now(self):
        return int(self.clock.now())

    def sells(self, **plans):
        for slug, plan in plans.items():
            assert self.api("PUT", f"/plans/{slug}", plan).status == 200

    def asks(self, *request, **said):
        answer = self.api(*request, **said)
        assert answer.status == 200, answer.json
        return answer.json

    def subscribe(self, *customers, plan="team", quantity=5):
        for customer in customers or BOTH:
            self.asks("POST", "/subscription", order(customer, plan, quantity), customer=customer)
        self.hears()

    def hears(self):
        """All that Stripe has told; and what has come of it is told as well."""
        assert not self.hear()
        for customer in BOTH:
            self.runs("publish_events", {"customer": customer})

    def record(self, customer):
        return customer_table.find(customer, self.now)

    def subscription(self, customer):
        return self.stripe.subscriptions[self.record(customer).subscription.theirs.id]

    def goes(self, seconds):
        self.clock.pass_by(seconds=seconds)
        self.stripe.tick()

    def ends(self):
        """Everybody's period, a minute ago."""
        self.goes(self.subscription(ADA)["items"]["data"][0]["current_period_end"] - self.now + 60)

    def tells(self, customer, type="access.changed"):
        """Something of ours is on record, to be published; answers its sequence."""
        assert records.tell(customer, [Happened(type, EXAMPLES[type]["data"])], [], self.now)
        return self.record(customer).told

    def event(self, metric="api_calls", **said):
        key = f"order-{next(self.keys):012}-0123456789abcdef"
        return {"customer_id": ADA, "metric_id": metric, "quantity": 3, "idempotency_key": key} | said

    def counts(self, number=1, **said):
        events = [self.event(**said) for _ in range(number)]
        answers = self.asks("POST", "/usage", {"events": events}, claims=SERVICE)["events"]
        assert {each["status"] for each in answers} == {"recorded"}
        return events[0]["idempotency_key"]

    def news(self, since=()):
        """Stripe's events that are handled and are not among those."""
        return [each for id, each in self.stripe.events.items() if id not in since and each["type"] in HANDLED]

    def changes(self, customer, number=1):
        """A change past us, told so many times: the events of it."""
        seen = set(self.stripe.events)
        subscription = self.subscription(customer)
        ask(self.stripe, "POST", f"/v1/subscriptions/{subscription['id']}", cancel_at_period_end="true")
        (event,) = self.news(seen)
        return [event | {"id": f"{event['id']}{n}"} for n in range(number)]

    def processes(self, events):
        assert self.runs("process_webhook", batch(events)) == {"batchItemFailures": []}

    def runs(self, function, event):
        return importlib.import_module(function).handler(event, self.context)


def order(customer, plan="team", quantity=5):
    return {"plan_slug": plan, "quantity": quantity, "payment_method": CARDS.get(customer, "pm_card_visa")}


HANDLED = importlib.import_module("process_webhook").HANDLED


# Plans


@usual
def list_plans(w):
    return lambda _: w.asks("GET", "/plans")


@usual
def get_plan(w):
    return lambda _: w.asks("GET", "/plans/team")


@usual
def put_plan(w):
    return lambda who: w.asks("PUT", f"/plans/for-{who}", TEAM, claims=ADMIN)


@usual
def retire_plan(w):
    w.sells(**dict.fromkeys(BOTH, TEAM))
    return lambda who: w.asks("DELETE", f"/plans/{who}", claims=ADMIN)


@usual
def find_plan(w):
    (price,) = [each["id"] for each in w.stripe.prices.values() if each["product"] == "tollgate_team"]
    return lambda _: w.asks("GET", f"/stripe-prices/{price}/plan", claims=ADMIN)


@usual
def list_subscribers(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/plans/team/versions/1/subscriptions", claims=ADMIN)


# Customers


@usual
def get_stripe_customer(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/customers/ada/stripe-customer", claims=ADMIN)


@usual
def link_customer(w):
    theirs = {who: ask(w.stripe, "POST", "/v1/customers", email=f"{who}@example.com")["id"] for who in BOTH}

    def link(who):
        w.asks("PUT", f"/customers/{who}/stripe-customer", {"stripe_customer": theirs[who]}, claims=ADMIN)

    return link


@usual
def update_customer(w):
    w.subscribe()
    return lambda who: w.asks("PUT", "/customer", {"email": f"{who}@example.com", "name": who}, customer=who)


@usual
def override_limits(w):
    w.subscribe()
    limits = {"limits": {"max_api_calls": 5000}}
    return lambda who: w.asks("PUT", f"/customers/{who}/limits", limits, claims=ADMIN)


# Subscriptions


@usual
def subscribe(w):
    return lambda who: w.asks("POST", "/subscription", order(who), customer=who)


@usual
def get_subscription(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/subscription")


@usual
def quote_change(w):
    w.subscribe(ADA)
    return lambda _: w.asks("POST", "/subscription/quote", {"quantity": 8})


@usual
def change_plan(w):
    w.subscribe()
    return lambda who: w.asks("PUT", "/subscription/plan", {"plan_slug": "pro"}, customer=who)


@usual
def change_seats(w):
    w.subscribe()
    return lambda who: w.asks("PUT", "/subscription/seats", {"quantity": 8}, customer=who)


@usual
def change_discount(w):
    w.subscribe()
    coupon = ask(w.stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")["id"]
    ask(w.stripe, "POST", "/v1/promotion_codes", promotion={"type": "coupon", "coupon": coupon}, code="HALF")
    return lambda who: w.asks("PUT", "/subscription/discount", {"promotion_code": "HALF"}, customer=who)


@usual
def withdraw_change(w):
    w.subscribe()
    for who in BOTH:
        w.asks("PUT", "/subscription/seats", {"quantity": 3, "effective": "period_end"}, customer=who)
    w.hears()
    return lambda who: w.asks("DELETE", "/subscription/change", customer=who)


@usual
def cancel_subscription(w):
    w.subscribe()
    return lambda who: w.asks("POST", "/subscription/cancel", {}, customer=who)


@usual
def pause_subscription(w):
    w.subscribe()
    return lambda who: w.asks("POST", "/subscription/pause", {}, customer=who)


@usual
def resume_subscription(w):
    w.subscribe()
    for who in BOTH:
        w.asks("POST", "/subscription/cancel", {}, customer=who)
    w.hears()
    return lambda who: w.asks("POST", "/subscription/resume", customer=who)


@usual
def create_checkout(w):
    return lambda who: w.asks("POST", "/checkout", {"plan_slug": "team"} | PAGE, customer=who)


@usual
def create_portal(w):
    w.subscribe(ADA)
    return lambda _: w.asks("POST", "/portal", {"return_url": "https://app.example.com/"})


@usual
def list_invoices(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/invoices")


@usual
def upcoming_invoice(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/invoices/upcoming")


# Usage


@usual
def record_usage(w, events=1):
    w.subscribe(ADA)
    w.counts()
    return lambda _: w.counts(events)


USUAL["record_usage, 25 events"] = lambda w: record_usage(w, 25)


@usual
def check_usage(w):
    w.subscribe(ADA)
    w.counts()
    question = {"customer_id": ADA, "metric_id": "api_calls"}
    return lambda _: w.asks("POST", "/usage/check", question, claims=SERVICE)


@usual
def correct_usage(w):
    w.subscribe(ADA)
    wrong = [w.counts(), w.counts()]

    def correct(_):
        key = wrong.pop()
        said = {"customer_id": ADA, "idempotency_key": f"fix-{key}", "corrects": key, "reason": "told twice"}
        w.asks("POST", "/usage/corrections", said, claims=ADMIN)

    return correct


@usual
def get_usage(w):
    w.subscribe(ADA)
    w.counts()
    return lambda _: w.asks("GET", "/usage?metric=api_calls")


@usual
def get_entitlements(w):
    w.subscribe(ADA)
    w.counts()
    return lambda _: w.asks("GET", "/entitlements")


@usual
def check_entitlement(w):
    w.subscribe(ADA)
    w.counts()
    return lambda _: w.asks("GET", "/entitlements/api_calls")


@usual
def close_period(w):
    closings = ended(w)
    return lambda who: w.runs("close_period", closings[who])


@usual
def explain_usage(w):
    closings = ended(w)
    w.runs("close_period", closings[ADA])
    at = datetime.fromtimestamp(closings[ADA]["start"], UTC).isoformat()
    question = {"customer_id": ADA, "metric_id": "calls", "at": at}
    return lambda _: w.asks("POST", "/usage/explain", question, claims=ADMIN)


# What has happened, and the product's own URL


@usual
def list_events(w):
    w.subscribe(ADA)
    return lambda _: w.asks("GET", "/customers/ada/events", claims=SERVICE)


@usual
def get_event_endpoint(w):
    return lambda _: w.asks("GET", "/event-endpoint", claims=ADMIN)


@usual
def enable_event_endpoint(w):
    return lambda _: w.asks("POST", "/event-endpoint/enable", claims=ADMIN)


@usual
def publish_events(w, number=1):
    w.subscribe()
    told = {who: [w.tells(who) for _ in range(number)] for who in BOTH}

    def publish(who):
        keys = [outbox._key(who, outbox.EVENT, sequence) for sequence in told[who]]
        w.runs("publish_events", {"Records": [streamed(w, key) for key in keys]})

    return publish


USUAL["publish_events, 10 of one customer"] = lambda w: publish_events(w, 10)


@usual
def deliver_event(w):
    w.demand("queues")
    message = {"messageId": "m", "receiptHandle": "r", "attributes": {"ApproximateReceiveCount": "1"}}
    message["body"] = json.dumps({"source": "tollgate", "detail": DETAIL})
    return lambda _: w.runs("deliver_event", {"Records": [message]})


@usual
def send_mail(w):
    w.demand("post_office")
    w.subscribe()
    for who in BOTH:
        w.asks("PUT", "/customer", {"email": f"{who}@example.com", "name": who}, customer=who)
        w.asks("POST", "/subscription/cancel", {}, customer=who)
    waiting = dict(mail_table.waiting(2**40, None)[0])

    def send(who):
        w.runs("send_mail", {"source": "tollgate", "detail": {"customer": who, "sequence": waiting[who]}})

    return send


@usual
def note_bounce(w):
    w.subscribe()
    return lambda who: w.runs("note_bounce", bounce(w.record(who).stripe_id, f"{who}@example.com"))


# Stripe's events


@usual
def receive_webhook(w):
    body = Path("events/stripe/invoice.paid.json").read_text()
    signature = WebhookSignature.generate_signature_header(body, "whsec_test", int(time.time()))
    request = {"headers": {"stripe-signature": signature}, "body": body}

    def receive(_):
        assert w.runs("receive_webhook", request) == {"statusCode": 200}

    return receive


@usual
def process_webhook(w, number=1):
    w.subscribe()
    told = {who: w.changes(who, number) for who in BOTH}
    return lambda who: w.processes(told[who])


USUAL["process_webhook, 10 of one customer"] = lambda w: process_webhook(w, 10)


def renewal(w):
    """A draft when the period is over, and within two hours it is finalized and paid: two batches."""
    w.subscribe(ADA)
    w.goes(5 * DAY)  # ends of months may bring the next day to the same one
    w.subscribe(BOB)
    seen = set(w.stripe.events)

    def renew(who):
        batches, theirs = [], w.subscription(who)["customer"]
        for seconds in (w.subscription(who)["items"]["data"][0]["current_period_end"] - w.now + 60, 2 * HOUR):
            w.goes(seconds)
            told = [each for each in w.news(seen) if each["data"]["object"].get("customer") == theirs]
            seen.update(each["id"] for each in told)
            w.processes(told)
            batches.append(len(told))
        assert batches == [2, 3]

    return renew


USUAL["process_webhook, a renewal: 5 events in 2 batches"] = renewal


@usual
def bury_webhook(w):
    w.subscribe()
    told = {who: w.changes(who) for who in BOTH}
    return lambda who: w.runs("bury_webhook", batch(told[who]))


def failed(w):
    """An event of each that has failed for good, by customer."""
    w.subscribe()
    told = {who: batch(w.changes(who)) for who in BOTH}
    for who in BOTH:
        w.runs("bury_webhook", told[who])
    return {who: json.loads(each["Records"][0]["body"])["id"] for who, each in told.items()}


@usual
def list_webhook_events(w):
    failed(w)
    return lambda _: w.asks("GET", "/webhook-events?status=failed", claims=ADMIN)


@usual
def replay_webhook(w):
    ids = failed(w)
    return lambda who: w.asks("POST", f"/webhook-events/{ids[who]}/replay", claims=ADMIN)


# What comes by itself


@usual
def sweep(w):
    w.subscribe()
    w.goes(DAY)
    w.runs("sweep", {"id": "first"})
    return lambda _: w.runs("sweep", {"id": "next"})


@usual
def reconcile(w, customers=(ADA,)):
    w.subscribe(*customers)
    nights = iter(("2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"))
    return lambda _: w.runs("reconcile", {"time": next(nights)})


USUAL["reconcile, 11 customers"] = lambda w: reconcile(w, (ADA, *CROWD))


@usual
def start_reconciliation(w):
    w.subscribe(ADA)
    return lambda _: w.asks("POST", "/reconcile", {}, claims=ADMIN)


@usual
def get_reconciliation(w):
    w.subscribe(ADA)
    run = w.asks("POST", "/reconcile", {}, claims=ADMIN)["run"]
    return lambda _: w.asks("GET", f"/reconcile/{run}", claims=ADMIN)


@usual
def watch_usage(w, quantity=3):
    w.subscribe()
    for who in BOTH:
        w.counts(customer_id=who, quantity=quantity)
    totals = {who: dynamodb.query("Usage", f"T#{who}") for who in BOTH}
    return lambda who: w.runs("watch_usage", {"Records": [streamed(w, each) for each in totals[who]]})


USUAL["watch_usage, a limit reached"] = lambda w: watch_usage(w, TEAM["limits"]["max_api_calls"])


@usual
def set_timer(w):
    w.sells(trial=TRIAL)
    w.subscribe(plan="trial", quantity=1)
    rows = {who: dynamodb.query(timer_table.TABLE, f"customer#{who}", "timer#")[0] for who in BOTH}
    return lambda who: w.runs("set_timer", {"Records": [streamed(w, rows[who])]})


@usual
def remind(w):
    w.sells(trial=TRIAL)
    w.subscribe(plan="trial", quantity=1)
    timers = due(w, "trial")
    return lambda who: fire(who, timers[who], w.context)


@usual
def take_dunning_step(w):
    w.sells(owed=OWED)
    w.subscribe(plan="owed", quantity=1)
    for id in [id for id, each in w.stripe.payment_methods.items() if each["customer"]]:
        w.stripe.card_behaves(id, "generic_decline")
    w.ends()
    w.goes(2 * HOUR)
    w.hears()
    timers = due(w, "dunning")
    w.hears()
    return lambda who: fire(who, timers[who], w.context)


def due(w, kind):
    """The next timer of that kind of each customer, a minute after it is due."""
    timers = dict(reversed([each for each in timer_table.waiting(2**40, None)[0] if each[1].kind == kind]))
    w.goes(max(each.due for each in timers.values()) - w.now + 60)
    return timers


def ended(w):
    """A period of each that has been used in and is billed by that, half an hour after its end: to be closed."""
    w.sells(metered=METERED)
    w.subscribe(plan="metered", quantity=1)
    for who in BOTH:
        w.counts(metric="calls", customer_id=who)
    w.ends()
    w.hears()
    w.goes(HOUR / 2 + 60)
    closings = customer_table.closing(w.now, None)[0]
    return {who: {"customer": who, "subscription": id, "start": start} for who, id, start in closings}


(STREAM,) = json.loads(Path("events/dynamodb.json").read_text())["Records"]


def streamed(w, item):
    """As the stream of its table brings it, or only its key."""
    told = {"Keys": {name: item[name] for name in ("pk", "sk")}, "NewImage": item}
    told = {name: dynamodb.encode(each) for name, each in told.items()}
    return STREAM | {"dynamodb": STREAM["dynamodb"] | told | {"ApproximateCreationDateTime": w.now}}
