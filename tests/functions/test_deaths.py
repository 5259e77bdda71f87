"""Death at every moment at which an action speaks to the outside, then a retry."""

from itertools import count

import pytest

from billing import customer_table

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
SUBSCRIBE = ("POST", "/subscription", ORDER)
SEATS = ("PUT", "/subscription/seats", {"quantity": 8})
PLAN = ("PUT", "/subscription/plan", {"plan_slug": "pro"})
CANCEL = ("POST", "/subscription/cancel", {"immediately": True})
SCHEDULE = ("POST", "/subscription/cancel", {})
PROFILE = ("PUT", "/customer", {"email": "ada@example.com", "tax_id": {"type": "eu_vat", "value": "DE123456789"}})


class Death(BaseException):
    """No handler of ours may catch it."""


def deaths(api, moments, action, prepare, key):
    """The customers of whom each died at another moment of the action, the first before the first word."""
    for moment in count():
        customer = f"customer-{moment}"
        prepare(customer)
        passed = iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            api(*action, customer=customer, key=key)
        except Death:
            pass
        else:
            return moment
        finally:
            moments.remove(die)
        yield customer


@pytest.fixture
def dies(api, moments):
    def each(action, prepare=lambda customer: None, least=10, key=None):
        died = list(deaths(api, moments, action, prepare, key))
        assert len(died) >= least, "an action of ours says more than that"
        return died

    return each


def of(stripe, customer):
    """What Stripe has of a customer of ours: its live subscriptions, and what was charged of it, each invoice once."""
    theirs = {id for id, each in stripe.customers.items() if each.get("metadata", {}).get("customer") == customer}
    live = [each for each in stripe.subscriptions.values() if each["customer"] in theirs and each["status"] == "active"]
    paid = [each["total"] for each in stripe.invoices.values() if each["customer"] in theirs and each["total"] > 0]
    return theirs, live, paid


def settled(customer):
    return customer_table.find(customer, 0).pending is None


def test_subscribing(api, plans, stripe, dies):
    for customer in dies(SUBSCRIBE, least=16):
        assert api(*SUBSCRIBE, customer=customer).json["status"] == "active"
        theirs, live, paid = of(stripe, customer)
        assert (len(theirs), len(live), paid, settled(customer)) == (1, 1, [6000], True), customer


@pytest.mark.parametrize("change", [SEATS, PLAN], ids=["seats", "plan"])
def test_changing(api, plans, stripe, dies, change):
    for customer in dies(change, lambda customer: api(*SUBSCRIBE, customer=customer)):
        answer = api(*change, customer=customer)
        _, (live,), paid = of(stripe, customer)
        assert (answer.status, len(paid), settled(customer)) == (200, 2, True), customer
        assert (answer.json["seats"], answer.json["plan"]) == ((8, "team") if change is SEATS else (5, "pro"))
        assert live["items"]["data"][0]["quantity"] == answer.json["seats"]


def test_changing_under_a_key_is_answered_with_what_it_cost(api, plans, stripe, dies):
    for customer in dies(SEATS, lambda customer: api(*SUBSCRIBE, customer=customer), key="k"):
        first, again = (api(*SEATS, customer=customer, key="k") for _ in range(2))
        assert first.json == again.json and len(of(stripe, customer)[2]) == 2
        assert (first.json["proration"]["net_cents"], first.json["billed"]) == (3000, "now"), customer


def test_taking_another_plan_instead_of_one_that_was_never_paid(api, plans, stripe, dies):
    pro = ("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_visa"})
    for customer in dies(pro, lambda customer: api("POST", "/subscription", {"plan_slug": "team"}, customer=customer)):
        answer = api(*pro, customer=customer)
        _, (live,), _ = of(stripe, customer)
        assert (answer.status, answer.json["id"], answer.json["plan"]) == (200, live["id"], "pro"), customer
        paid = [
            each for each in stripe.invoices.values() if each["customer"] == live["customer"] and each["amount_paid"]
        ]
        assert (len(paid), settled(customer)) == (1, True), customer


def test_replacing_a_change_that_waits_for_its_payment(api, plans, stripe, dies):
    fewer = ("PUT", "/subscription/seats", {"quantity": 3})

    def wait(customer):
        subscription = api(*SUBSCRIBE, customer=customer).json["id"]
        theirs = stripe.subscriptions[subscription]["customer"]
        _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": theirs})
        stripe.handle("POST", f"/v1/subscriptions/{subscription}", {"default_payment_method": card["id"]})
        waiting = api(*SEATS, customer=customer).json["pending_change"]
        assert waiting["status"] == "awaiting_payment"

    for customer in dies(fewer, wait, least=14):
        answer = api(*fewer, customer=customer)
        _, (live,), _ = of(stripe, customer)
        assert (answer.status, answer.json["seats"], answer.json["pending_change"]) == (200, 3, None), customer
        assert (live["items"]["data"][0]["quantity"], live["pending_update"], settled(customer)) == (3, None, True)


@pytest.mark.parametrize("cancel", [CANCEL, SCHEDULE], ids=["now", "at period end"])
def test_cancelling(api, plans, stripe, dies, cancel):
    for customer in dies(cancel, lambda customer: api(*SUBSCRIBE, customer=customer), least=8):
        answer = api(*cancel, customer=customer)
        if cancel is SCHEDULE:
            assert (answer.status, answer.json["cancel_at_period_end"]) == (200, True)
        else:
            assert answer.status in (200, 404)  # 404: it was cancelled, and nothing is left to cancel
            assert of(stripe, customer)[1] == []
        assert settled(customer), customer


def test_describing_a_customer(api, plans, stripe, dies):
    for customer in dies(PROFILE):
        assert api(*PROFILE, customer=customer).json["email"] == "ada@example.com"
        (theirs,) = of(stripe, customer)[0]
        _, tax_ids = stripe.handle("GET", f"/v1/customers/{theirs}/tax_ids")
        assert ([each["value"] for each in tax_ids["data"]], settled(customer)) == (["DE123456789"], True)
