"""A day in which nothing of what Stripe tells arrives: one sweep, or one reconciliation, and the record is Stripe's."""

import pytest

import reconcile
import sweep
from billing import dynamodb, run_table
from billing.runs import OF_INVOICE, SHOWN
from tests.conftest import PRO, TEAM
from tests.functions.at_stripe import ask, pays_with
from tests.slow.saved import read_at_once

ADMIN = {"scope": "billing/admin"}
TRIAL = TEAM | {"name": "Trial", "trial_days": 1}
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
LATER = {"effective": "period_end"}
FAILS, PAYS = "pm_card_chargeCustomerFail", "pm_card_visa"


class City:
    """Some forty customers, each of a kind: what it has before the day, and what happens to it on that day."""

    def __init__(self, api, stripe):
        self.api, self.stripe = api, stripe

    def wish(self, customer, method, path, body=None):
        answer = self.api(method, path, body, customer=customer)
        assert answer.status == 200, (customer, path, answer.json)
        return answer.json

    def stripe_id(self, customer):
        named = self.stripe.customers.items()
        return next(id for id, each in named if each.get("metadata", {}).get("customer") == customer)

    def subscription(self, customer):
        theirs = self.stripe_id(customer)
        return next(each for each in self.stripe.subscriptions.values() if each["customer"] == theirs)

    def at_stripe(self, customer, **params):
        ask(self.stripe, "POST", f"/v1/subscriptions/{self.subscription(customer)['id']}", **params)

    def open_invoice(self, customer):
        theirs = self.stripe_id(customer)
        made = self.stripe.invoices.values()
        return next(each["id"] for each in made if each["customer"] == theirs and each["status"] == "open")

    def card(self, customer, token):
        return pays_with(self.stripe, self.subscription(customer)["id"], token)

    def pay(self, customer):
        method = self.card(customer, PAYS)
        ask(self.stripe, "POST", f"/v1/invoices/{self.open_invoice(customer)}/pay", payment_method=method)

    def item(self, customer, **change):
        item = self.subscription(customer)["items"]["data"][0]["id"]
        self.at_stripe(customer, items={"0": {"id": item} | change})

    def price(self, slug):
        return next(id for id, each in self.stripe.prices.items() if each["lookup_key"] == f"tollgate_{slug}")

    # What they have

    def buys(self, customer, **order):
        self.wish(customer, "POST", "/subscription", ORDER | order)

    def cannot_pay(self, customer):
        self.buys(customer)
        self.card(customer, FAILS)

    def leaves(self, customer):
        self.buys(customer)
        self.wish(customer, "POST", "/subscription/cancel", {})

    def wants_fewer(self, customer):
        self.buys(customer)
        self.wish(customer, "PUT", "/subscription/seats", {"quantity": 3} | LATER)

    def waits(self, customer):
        """What was to come is put aside for a change that is never paid."""
        self.wants_fewer(customer)
        self.card(customer, FAILS)
        self.wish(customer, "PUT", "/subscription/seats", {"quantity": 8})

    def has_the_portal_open(self, customer):
        self.buys(customer)
        self.wish(customer, "POST", "/portal", {"return_url": "https://localhost/"})

    def has_a_page_open(self, customer):
        self.wish(customer, "POST", "/checkout", {"plan_slug": "team", "quantity": 2} | PAGE)

    # What happens to them

    def nothing(self, customer): ...

    def more_seats(self, customer):
        self.item(customer, quantity="9")

    def another_plan(self, customer):
        self.item(customer, price=self.price("pro"), quantity="5")

    def ends(self, customer):
        ask(self.stripe, "DELETE", f"/v1/subscriptions/{self.subscription(customer)['id']}")

    def will_end(self, customer):
        self.at_stripe(customer, cancel_at_period_end="true")

    def is_deleted(self, customer):
        ask(self.stripe, "DELETE", f"/v1/customers/{self.stripe_id(customer)}")

    def leaves_by_the_portal(self, customer):
        self.stripe.portal_cancel(self.subscription(customer)["id"])

    def is_paused(self, customer):
        self.at_stripe(customer, pause_collection={"behavior": "void"})

    def gets_a_second_one(self, customer):
        bought = {"customer": self.stripe_id(customer), "items": {"0": {"price": self.price("team")}}}
        bought["default_payment_method"] = self.subscription(customer)["default_payment_method"]
        ask(self.stripe, "POST", "/v1/subscriptions", **bought)

    def gets_a_discount(self, customer):
        coupon = ask(self.stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")["id"]
        self.at_stripe(customer, discounts={"0": {"coupon": coupon}})

    def gets_a_schedule(self, customer):
        made = ask(
            self.stripe, "POST", "/v1/subscription_schedules", from_subscription=self.subscription(customer)["id"]
        )
        now = made["phases"][0]
        item = {"price": now["items"][0]["price"], "quantity": "5"}
        first = {"start_date": str(now["start_date"]), "end_date": str(now["end_date"]), "items": [item]}
        then = {"duration": {"interval": "month"}, "items": [item | {"quantity": "2"}]}
        ask(self.stripe, "POST", f"/v1/subscription_schedules/{made['id']}", phases=[first, then])

    def completes_the_page(self, customer):
        theirs = self.stripe_id(customer)
        sessions = self.stripe.checkout_sessions.values()
        self.stripe.complete_checkout(next(each["id"] for each in sessions if each["customer"] == theirs))

    def invoice_is_void(self, customer):
        ask(self.stripe, "POST", f"/v1/invoices/{self.open_invoice(customer)}/void")

    def invoice_is_given_up(self, customer):
        ask(self.stripe, "POST", f"/v1/invoices/{self.open_invoice(customer)}/mark_uncollectible")


# (before, on the day, how many): the first two groups renew before the day, and on it.
PAST_DUE = [("cannot_pay", "pay", 2), ("cannot_pay", "invoice_is_void", 2), ("cannot_pay", "invoice_is_given_up", 2)]
PAST_DUE += [("cannot_pay", "is_deleted", 1), ("cannot_pay", "ends", 1)]
RENEWING = [("buys", "nothing", 3), ("cannot_pay", "nothing", 2), ("leaves", "nothing", 2)]
RENEWING += [("wants_fewer", "nothing", 2), ("buys", "is_paused", 1)]
FRESH = [("buys", "nothing", 2), ("buys", "more_seats", 2), ("buys", "another_plan", 1), ("buys", "ends", 2)]
FRESH += [("buys", "will_end", 1), ("buys", "is_deleted", 2), ("has_the_portal_open", "leaves_by_the_portal", 2)]
FRESH += [("buys", "is_paused", 1), ("buys", "gets_a_second_one", 2), ("buys", "gets_a_discount", 1)]
FRESH += [("buys", "gets_a_schedule", 1), ("waits", "nothing", 2), ("has_a_page_open", "completes_the_page", 2)]
FRESH += [("has_a_page_open", "nothing", 1), ("has_a_page_open", "is_deleted", 1)]
ON_TRIAL, UNPAID = [("nothing", "nothing", 2)], [("nothing", "nothing", 1)]


def named(group, kinds):
    return [(f"{group}-{b}-{d}-{n}", b, d) for b, d, many in kinds for n in range(many)]


@pytest.fixture
def silent(api, stripe, clock, hear, context, caplog):
    """The day is over. All before it was heard of, and nothing of it."""
    caplog.set_level("CRITICAL", logger="tollgate")
    read_at_once()
    city = City(api, stripe)
    for slug, plan in {"team": TEAM, "pro": PRO, "trial": TRIAL}.items():
        assert api("PUT", f"/plans/{slug}", plan).status == 200
    past_due, renewing = named("past_due", PAST_DUE), named("renewing", RENEWING)
    fresh = named("fresh", FRESH)
    for customer, before, _ in past_due:
        getattr(city, before)(customer)
    clock.pass_by(days=2)
    for customer, before, _ in renewing:
        getattr(city, before)(customer)
    renews = city.subscription(renewing[0][0])["items"]["data"][0]["current_period_end"]
    for _ in range(3):  # in strides, as the days pass: what is due happens in its time
        clock.pass_by(seconds=(renews - 12 * 3600 - clock.now()) / 2)
        stripe.tick()
    clock.pass_by(seconds=max(0, renews - 11 * 3600 - clock.now()))
    for customer, before, _ in fresh:
        getattr(city, before)(customer)
    for n in range(2):
        city.wish(f"on_trial-{n}", "POST", "/subscription", ORDER | {"plan_slug": "trial"})
    city.wish("unpaid-0", "POST", "/subscription", {"plan_slug": "team"})
    city.wish("nobody-0", "PUT", "/customer", {})
    assert not hear()
    clock.pass_by(minutes=10)
    sweep.handler({}, context)
    stripe.calls.clear()

    begun = len(stripe.events)
    clock.pass_by(minutes=20)  # the pages are open for an hour
    for customer, _, on_the_day in past_due + renewing + fresh:
        getattr(city, on_the_day)(customer)
    for _ in range(23):
        clock.pass_by(hours=1)
        stripe.tick()
    clock.pass_by(hours=3)
    stripe.tick()
    assert len(stripe.events) - begun > 100
    clock.pass_by(minutes=5)
    return city


def everything(table):
    page = dynamodb.scan(table, "pk <> :none", 1000, none="")
    yield from page.items
    while page.after:
        page = dynamodb.scan(table, "pk <> :none", 1000, page.after, none="")
        yield from page.items


def differences(stripe):
    """By the id of each object of Stripe's: what our items say of it, and what Stripe says; off the raw records."""
    found = {}
    kept = {(item["pk"], item["sk"]): item for item in everything("Subscriptions")}
    linked = {
        pk.removeprefix("stripe#"): item["customer"] for (pk, _), item in kept.items() if pk.startswith("stripe#")
    }
    ours = {}
    for (_, sk), item in kept.items():
        for each in filter(None, [item.get("subscription") if sk == "customer" else None]):
            ours[each["theirs"]["id"]] = each["theirs"]
        if sk.startswith("subscription#"):
            ours[item["theirs"]["id"]] = item["theirs"]
    for id, each in stripe.subscriptions.items():
        if each["customer"] in linked:
            here, there = _ours(ours[id]) if id in ours else {}, _theirs(stripe, each)
            if here != there:
                found[id] = here, there
    invoices = {item["id"]: item for (_, sk), item in kept.items() if sk.startswith("invoice#")}
    for id, each in stripe.invoices.items():
        if each["customer"] in linked and (id in invoices or each["status"] == "open"):
            here, there = _invoice(invoices.get(id), "our"), _invoice(each, "their")
            if here != there:
                found[id] = here, there
    for (pk, sk), item in kept.items():
        if pk.startswith("customer#") and sk == "customer" and item["stripe_id"]:
            if stripe.customers[item["stripe_id"]].get("deleted"):
                found[item["stripe_id"]] = {"customer": pk}, {}
    return found


def brief(drift):
    """What differs, for whoever has to find out why."""
    return {
        id: {name: (here.get(name), there.get(name)) for name in here | there if here.get(name) != there.get(name)}
        for id, (here, there) in drift.items()
    }


def _ours(theirs):
    names = ["status", "quantity", "price", "current_period_start", "current_period_end", "cancel_at", "anchor"]
    names += ["cancel_at_period_end", "trial_ends_at", "cancelled_at", "collection_paused", "resumes_at", "change"]
    names += ["latest_invoice", "open_invoice", "fingerprint"]
    schedule, awaited = theirs["schedule"], theirs["awaited"]
    return {name: theirs[name] for name in names} | {
        "discounts": [each["id"] for each in theirs["discounts"]],
        "schedule": schedule and schedule["id"],
        "to_come": [schedule["price"], schedule["quantity"]] if schedule and schedule["price"] else None,
        "awaited": awaited and [awaited["quantity"], awaited["expires_at"]],
    }


def _theirs(stripe, said):
    (item,), paused, latest = said["items"]["data"], said["pause_collection"], said["latest_invoice"]
    method, waits = stripe.payment_methods.get(said["default_payment_method"]), said["pending_update"]
    schedule = stripe.subscription_schedules.get(said["schedule"])
    current = schedule and schedule["current_phase"]
    coming = [each for each in schedule["phases"] if each["start_date"] >= current["end_date"]] if current else []
    return {
        "status": said["status"],
        "quantity": item["quantity"],
        "price": item["price"]["id"],
        "current_period_start": item["current_period_start"],
        "current_period_end": item["current_period_end"],
        "cancel_at": said["cancel_at"],
        "anchor": said["billing_cycle_anchor"],
        "cancel_at_period_end": said["cancel_at_period_end"],
        "trial_ends_at": said["trial_end"],
        "cancelled_at": said["canceled_at"],
        "collection_paused": paused is not None,
        "resumes_at": paused and paused["resumes_at"],
        "change": said["metadata"].get("change_id"),
        "latest_invoice": latest,
        "open_invoice": latest if latest and stripe.invoices[latest]["status"] == "open" else None,
        "fingerprint": method and method["card"]["fingerprint"],
        "discounts": said["discounts"],
        "schedule": said["schedule"],
        "to_come": [coming[0]["items"][0]["price"], coming[0]["items"][0]["quantity"]] if coming else None,
        "awaited": waits and [waits["subscription_items"][0]["quantity"], waits["expires_at"]],
    }


def _invoice(said, whose):
    if said is None:
        return {}
    names = {"status": "status", "number": "number", "attempt_count": "attempt_count"}
    names |= {"total": "total_cents", "amount_due": "amount_due_cents", "amount_paid": "amount_paid_cents"}
    names |= {"next_payment_attempt": "next_attempt_at"}
    return {there: said[there if whose == "their" else here] for there, here in names.items()}


@pytest.fixture
def reconciled(api, context):
    """From beginning to end, slice by slice; answers the whole report."""

    def run():
        id = api("POST", "/reconcile", {"dry_run": False}, claims=ADMIN).json["run"]
        while run_table.find(id).finished_at is None:
            reconcile.handler({"run": id}, context)
        report, cursor = {"drift": []}, ""
        while cursor is not None:
            page = api("GET", f"/reconcile/{id}{cursor and '?cursor=' + cursor}", claims=ADMIN).json
            report, cursor = page | {"drift": report["drift"] + page["drift"]}, page["next"]
        return report

    return run


PLAIN = {*SHOWN, *OF_INVOICE, "stripe_customer"}  # what a finding tells as Stripe does; other fields in our words


def test_one_sweep_later_there_is_no_drift(silent, stripe, swept, context, reconciled, clock):
    assert len(differences(stripe)) > 30

    assert swept() == []
    while run_table.swept().get("after"):
        assert swept() == []
    assert brief(differences(stripe)) == {}
    clock.pass_by(minutes=5)
    report = reconciled()
    assert (report["drift"], report["found"], report["under_way"]) == ([], 0, 0)
    assert report["compared"] > 80


def test_without_the_events_one_reconciliation_repairs_all_and_says_what(silent, stripe, swept, reconciled, clock):
    for event in list(stripe.events):
        stripe._account.remove(stripe._account.tables["event"][event])
    assert swept() == []
    drift = differences(stripe)
    assert len(drift) > 30

    report = reconciled()
    told = {each["object"]: each for each in report["drift"]}
    mended = {stripe.subscriptions[id]["latest_invoice"] for id in told if id in stripe.subscriptions}
    assert told.keys() <= drift.keys()
    assert drift.keys() - told.keys() <= mended  # an invoice may be mended with its subscription, and is none by itself
    assert report["under_way"] == 0
    assert all(each["repaired"] and each["why_not"] is None for each in told.values())
    for id, (here, there) in ((id, drift[id]) for id in told):
        for name in told[id]["before"].keys() & here.keys() & PLAIN:
            assert told[id]["before"][name] == here[name], (id, name)
        for name in told[id]["after"].keys() & there.keys() & PLAIN:
            assert told[id]["after"][name] == there[name], (id, name)
        assert told[id]["before"] or not here
        assert told[id]["after"] or not there
    assert brief(differences(stripe)) == {}
    clock.pass_by(minutes=5)
    again = reconciled()
    assert (again["drift"], again["found"], again["under_way"]) == ([], 0, 0)
