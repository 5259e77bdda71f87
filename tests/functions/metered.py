"""A subscription that is billed by usage, its periods, and what has been billed of them at Stripe."""

import json
from datetime import UTC, datetime
from itertools import count

import pytest

import close_period
from billing import customer_table, dynamodb, gateway, overage, scheduler, standing, statement_table
from billing.periods import rfc3339
from tests.functions.at_stripe import ask

HOUR, DAY = 3600, 86_400
WATERMARK = 1800

UNIT = {"model": "unit", "unit_amount": "2", "included": 10}
PACKAGE = {"model": "package", "unit_amount": "50", "package_size": 10}
TIERS = {"model": "graduated", "tiers": [{"up_to": 10, "unit_amount": "5"}, {"up_to": None, "unit_amount": "1.5"}]}
METRICS = {
    "calls": {"enforcement": "soft", "price": UNIT},
    "exports": {"enforcement": "observe", "price": PACKAGE},
    "tokens": {"enforcement": "observe", "shards": 3, "price": TIERS},
    "views": {"enforcement": "observe"},
}
SOLD = {"name": "Metered", "billing_interval": "month", "currency": "usd", "base_price_cents": 1000, "metrics": METRICS}
SOLD |= {"limits": {f"max_{metric}": None for metric in METRICS}, "downgrades": "now", "max_seats": None}
CALLS = {"calls": METRICS["calls"] | {"price": {"model": "unit", "unit_amount": "3"}}}
PLANS = {
    "metered": SOLD,
    "other": SOLD | {"name": "Other", "base_price_cents": 3000, "metrics": CALLS},
    "yearly": SOLD | {"name": "Yearly", "billing_interval": "year", "base_price_cents": 90_000},
    "free": SOLD | {"name": "Trial", "base_price_cents": 500, "trial_days": 14},
    "plain": SOLD | {"name": "Plain", "base_price_cents": 700, "metrics": {"views": METRICS["views"]}},
}
SERVICE, ADMIN = {"scope": "billing/service"}, {"scope": "billing/admin"}


class Metered:
    """Ada, who is billed by usage. Time passes as it is told to."""

    def __init__(self, api, stripe, clock, hear, context):
        self.api, self.stripe, self.clock, self.hears, self.context = api, stripe, clock, hear, context
        self.keys = count(1)
        for slug, plan in PLANS.items():
            assert api("PUT", f"/plans/{slug}", plan).status == 200

    # What is done

    def subscribes(self, plan="metered"):
        order = {"plan_slug": plan, "quantity": 1, "payment_method": "pm_card_visa"}
        answer = self.api("POST", "/subscription", order)
        assert answer.status == 200, answer.json
        self.id = answer.json["id"]
        self.hears()

    def uses(self, metric="calls", quantity=1, key=None, at=None, **said):
        key = key or f"key-{next(self.keys)}"
        event = {"customer_id": "ada", "metric_id": metric, "quantity": quantity, "idempotency_key": key} | said
        event |= {"timestamp": rfc3339(int(self.now if at is None else at))}
        (answer,) = self.api("POST", "/usage", {"events": [event]}, claims=SERVICE).json["events"]
        assert answer["status"] == "recorded", answer
        return key

    def corrects(self, key, by=None, **quantity):
        body = {"customer_id": "ada", "idempotency_key": by or f"fix-{key}", "corrects": key, "reason": "wrong"}
        answer = self.api("POST", "/usage/corrections", body | quantity, claims=ADMIN)
        assert answer.status == 200, answer.json

    def changes(self, plan, **how):
        answer = self.api("PUT", "/subscription/plan", {"plan_slug": plan} | how)
        assert answer.status == 200, answer.json

    def cancels(self, **how):
        answer = self.api("POST", "/subscription/cancel", how)
        assert answer.status == 200, answer.json

    def passes(self, **span):
        """With all that Stripe does by itself meanwhile."""
        self.clock.pass_by(**span)
        self.stripe.tick()
        standing._known.clear()

    def ends(self):
        """The period has, a minute ago; and Stripe has told of it."""
        self.passes(seconds=self.period()[1] - self.now + 60)
        self.hears()

    def closes(self):
        """The half hour after it is over, and what was arranged for then is done; answers how much that was."""
        self.passes(seconds=WATERMARK + 120)
        return self.on_schedule()

    def closes_late(self, swept):
        """The sweeps come to what waits, until half past the draft's hour: and what they arrange is done."""
        self.passes(seconds=max(0, self.period()[0] + WATERMARK - self.now))
        for _ in range(2):
            self.passes(minutes=9)
            swept()
            self.passes(minutes=1)
            self.on_schedule()

    def settles(self):
        """Nothing waits: neither a draft to be finalized nor what Stripe tells."""
        self.passes(hours=2)
        self.hears()

    def on_schedule(self):
        """What is due of the schedules is done, each once, as EventBridge does."""
        due = [each for each in arranged() if each["at"] <= self.now]
        for each in due:
            scheduler.scheduler().delete_schedule(GroupName="schedules", Name=each["Name"])
            close_period.handler(each["event"], self.context)
        return len(due)

    def closes_now(self, start=None):
        start = start or self.stated()[0].start
        (closing,) = [each for each in customer_table.closings("ada") if each.start == start]
        close_period.handler({"customer": "ada", "subscription": closing.subscription, "start": start}, self.context)

    # What there is

    @property
    def now(self):
        return self.clock.now()

    def period(self):
        item = self.stripe.subscriptions[self.id]["items"]["data"][0]
        return item["current_period_start"], item["current_period_end"]

    def record(self):
        return customer_table.find("ada", 0)

    def waiting(self):
        """Periods that are to be closed, by their starts."""
        return [start for _, _, start in customer_table.closing(2**40, None)[0]]

    def stated(self, *metrics):
        found = [each for metric in metrics or METRICS for each in statements(metric)]
        return sorted(found, key=lambda each: (each.start, each.number))

    def billed(self):
        """What stands for usage at Stripe, by metric and number of the statement (again): cents, and where they are."""
        said = {}
        for mark, each in overage.billed(self.stripe.subscriptions[self.id]["customer"], 0).items():
            _, metric, _, number, *again = mark.split(":")
            said[metric, int(number), *again] = each.amount_cents, self.where(each)
        return said

    def lines(self):
        """Cents of every line and booking for usage, whatever it is of; a line of a void invoice is none."""
        invoices = self.stripe.invoices
        items = [each for each in self.stripe.invoice_items.values() if (each["metadata"] or {}).get("usage")]
        live = [each for each in items if not each["invoice"] or invoices[each["invoice"]]["status"] != "void"]
        booked = ask(self.stripe, "GET", f"/v1/customers/{self.customer()}/balance_transactions", limit="100")["data"]
        credits = [each for each in booked if (each["metadata"] or {}).get("usage")]
        return [(each["metadata"]["usage"], each["amount"]) for each in (*live, *credits)]

    def where(self, each):
        if each.kind == "balance" or not each.invoice:
            return "balance" if each.kind == "balance" else "next"
        invoice = self.stripe.invoices[each.invoice]
        return f"{invoice['billing_reason'].removeprefix('subscription_')} {invoice['status']}"

    def customer(self):
        return self.stripe.subscriptions[self.id]["customer"]

    def draft(self):
        return overage.renewal_draft(self.id)

    def theirs(self):
        return gateway.subscription(self.id)


@pytest.fixture
def ada(api, stripe, clock, hear, context):
    """She has the metered plan, since just now."""
    metered = Metered(api, stripe, clock, hear, context)
    metered.subscribes()
    return metered


def statements(metric, customer="ada"):
    found = dynamodb.query(statement_table.TABLE, f"S#{customer}", f"{metric}#")
    return [statement_table._statement(item) for item in found]


def arranged():
    """The schedules that close a period: what they hand in, and when."""
    found = []
    for each in scheduler.scheduler().list_schedules(GroupName="schedules")["Schedules"]:
        made = scheduler.scheduler().get_schedule(GroupName="schedules", Name=each["Name"])
        if made["Target"]["Arn"].endswith(":close_period"):
            at = datetime.strptime(made["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
            found.append(made | {"at": at.timestamp(), "event": json.loads(made["Target"]["Input"])})
    return found
