"""Death at every moment at which an action speaks to the outside, then a retry."""

from itertools import count

import pytest

from billing import customer_table
from billing.holds import PATIENCE

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
SUBSCRIBE = ("POST", "/subscription", ORDER)
SEATS = ("PUT", "/subscription/seats", {"quantity": 8})
PLAN = ("PUT", "/subscription/plan", {"plan_slug": "pro"})
CANCEL = ("POST", "/subscription/cancel", {"immediately": True})
SCHEDULE = ("POST", "/subscription/cancel", {})
PROFILE = ("PUT", "/customer", {"email": "ada@example.com", "tax_id": {"type": "eu_vat", "value": "DE123456789"}})

PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
CHECKOUT = ("POST", "/checkout", {"plan_slug": "team", "quantity": 5} | PAGE)


LATER = ("PUT", "/subscription/seats", {"quantity": 3, "effective": "period_end"})
WITHDRAW = ("DELETE", "/subscription/change")
BY_QUOTE = ("PUT", "/subscription/seats", {"quantity": 8, "quote_id": None})
DISCOUNT = ("PUT", "/subscription/discount", {"promotion_code": "HALF"})
PAUSE = ("POST", "/subscription/pause", {})
RESUME = ("POST", "/subscription/resume")
REFUND = ("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"})
CREDIT = ("POST", "/subscription/cancel", {"immediately": True, "unused_time": "credit"})


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


def attached(stripe, customer):
    theirs = of(stripe, customer)[0]
    schedules = stripe.subscription_schedules.values()
    return [each for each in schedules if each["customer"] in theirs and each["status"] == "active"]


def stripe_customer(stripe, refund):
    return stripe.payment_intents[refund["payment_intent"]]["customer"]


@pytest.fixture
def promotion(stripe):
    _, coupon = stripe.handle("POST", "/v1/coupons", {"duration": "forever", "percent_off": "50"})
    said = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "HALF"}
    assert stripe.handle("POST", "/v1/promotion_codes", said)[0] == 200


def pages(stripe, customer):
    return [each for each in stripe.checkout_sessions.values() if each["customer"] in of(stripe, customer)[0]]


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


def test_scheduling_and_withdrawing(api, plans, stripe, dies):
    for customer in dies(LATER, lambda customer: api(*SUBSCRIBE, customer=customer)):
        answer = api(*LATER, customer=customer)
        assert (answer.json["seats"], answer.json["scheduled_change"]["seats"]) == (5, 3), customer
        (schedule,) = attached(stripe, customer)
        assert [phase["items"][0]["quantity"] for phase in schedule["phases"]] == [5, 3]
        assert settled(customer)
    for customer in dies(
        WITHDRAW, lambda customer: (api(*SUBSCRIBE, customer=customer), api(*LATER, customer=customer)), 6
    ):
        answer = api(*WITHDRAW, customer=customer)
        assert answer.status in (200, 404)  # 404: it was withdrawn, and none is left
        assert api("GET", "/subscription", customer=customer).json["scheduled_change"] is None
        assert (attached(stripe, customer), settled(customer)) == ([], True)


@pytest.mark.parametrize("other", [SEATS, DISCOUNT, PAUSE, SCHEDULE], ids=["seats", "discount", "pause", "cancel"])
def test_another_change_over_a_scheduled_one(api, plans, stripe, dies, promotion, other):
    """The same wish completes it."""
    for customer in dies(
        other, lambda customer: (api(*SUBSCRIBE, customer=customer), api(*LATER, customer=customer)), 12
    ):
        answer = api(*other, customer=customer)
        kept = other in (DISCOUNT, PAUSE)
        assert (answer.status, bool(answer.json["scheduled_change"])) == (200, kept), customer
        assert [len(each["phases"]) for each in attached(stripe, customer)] == ([2] if kept else [])
        assert (len(of(stripe, customer)[2]), settled(customer)) == (2 if other is SEATS else 1, True)


@pytest.mark.parametrize("other", [SEATS, DISCOUNT, PAUSE], ids=["seats", "discount", "pause"])
def test_another_wish_comes_after_one_that_died_over_a_scheduled_change(
    api, plans, stripe, dies, promotion, clock, other
):
    """Nothing that was to come is lost: it is to come, or the change that takes its place has been made."""
    profile = ("PUT", "/customer", {"name": "Ada"})
    for customer in dies(
        other, lambda customer: (api(*SUBSCRIBE, customer=customer), api(*LATER, customer=customer)), 12
    ):
        clock.pass_by(seconds=PATIENCE)
        assert api(*profile, customer=customer).status == 200
        seen = api("GET", "/subscription", customer=customer).json
        taken = other is SEATS and seen["seats"] == 8
        assert bool(seen["scheduled_change"]) is not taken, customer
        assert [len(each["phases"]) for each in attached(stripe, customer)] == ([] if taken else [2])
        assert (len(of(stripe, customer)[2]), settled(customer)) == (2 if taken else 1, True)


def test_changing_by_a_quote(api, plans, stripe, dies):
    quotes = {}

    def ask(customer):
        api(*SUBSCRIBE, customer=customer)
        quotes[customer] = api("POST", "/subscription/quote", {"quantity": 8}, customer=customer).json
        BY_QUOTE[2]["quote_id"] = quotes[customer]["quote_id"]

    for customer in dies(BY_QUOTE, ask, least=12):
        again = BY_QUOTE[0], BY_QUOTE[1], {"quantity": 8, "quote_id": quotes[customer]["quote_id"]}
        answer = api(*again, customer=customer)
        assert answer.status == 200 or answer.json["code"] == "quote_used", answer.json
        assert (api("GET", "/subscription", customer=customer).json["seats"], settled(customer)) == (8, True)
        assert of(stripe, customer)[2] == [6000, quotes[customer]["net_cents"]]


def test_asking_for_a_quote(api, plans, stripe, dies):
    ask = ("POST", "/subscription/quote", {"quantity": 8})
    for customer in dies(ask, lambda customer: api(*SUBSCRIBE, customer=customer), least=6):
        assert api(*ask, customer=customer).json["net_cents"] == 3000 and settled(customer)


@pytest.mark.parametrize("cancel", [REFUND, CREDIT], ids=["refund", "credit"])
def test_cancelling_with_money_back(api, plans, stripe, dies, clock, cancel):
    def subscribe(customer):
        api(*SUBSCRIBE, customer=customer)
        api(*SEATS, customer=customer)

    for customer in dies(cancel, subscribe, least=12, key="k"):
        answer = api(*cancel, customer=customer, key="k")
        given = answer.json["given_back"]
        assert (answer.status, answer.json["status"]) == (200, "canceled"), customer
        theirs, live, _ = of(stripe, customer)
        notes = [each for each in stripe.credit_notes.values() if each["customer"] in theirs]
        assert (live, sum(each["total"] for each in notes), settled(customer)) == ([], 9000, True)
        assert given["refunded_cents"] + given["credited_cents"] == 9000
        back = {
            each["id"]: each["amount"] for each in stripe.refunds.values() if stripe_customer(stripe, each) in theirs
        }
        assert sum(back.values()) == (9000 if cancel is REFUND else 0)


def test_money_back_is_not_forgotten_when_another_wish_comes_first(api, plans, stripe, dies, clock):
    for customer in dies(REFUND, lambda customer: api(*SUBSCRIBE, customer=customer), least=12):
        clock.pass_by(seconds=PATIENCE)
        assert api("PUT", "/customer", {"name": "Ada"}, customer=customer).status == 200
        theirs, live, _ = of(stripe, customer)
        back = sum(each["total"] for each in stripe.credit_notes.values() if each["customer"] in theirs)
        assert (back, settled(customer)) == (0 if live else 6000, True), customer


@pytest.mark.parametrize("action", [PAUSE, DISCOUNT], ids=["pause", "discount"])
def test_pausing_discounting_and_resuming(api, plans, stripe, dies, promotion, action):
    for customer in dies(action, lambda customer: api(*SUBSCRIBE, customer=customer), least=6):
        answer = api(*action, customer=customer)
        _, (live,), _ = of(stripe, customer)
        assert (answer.status, settled(customer)) == (200, True)
        assert bool(live["pause_collection"] or live["discounts"])


def test_resuming(api, plans, stripe, dies):
    def stop(customer):
        for action in (SUBSCRIBE, PAUSE, SCHEDULE):
            assert api(*action, customer=customer).status == 200

    for customer in dies(RESUME, stop, least=6):
        answer = api(*RESUME, customer=customer)
        assert answer.status == 200 or answer.json["code"] == "nothing_to_resume"
        _, (live,), _ = of(stripe, customer)
        assert (live["pause_collection"], live["cancel_at_period_end"], settled(customer)) == (None, False, True)


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


def test_opening_a_page(api, plans, stripe, dies):
    for customer in dies(CHECKOUT):
        answer = api(*CHECKOUT, customer=customer)
        (page,), (_, live, _) = pages(stripe, customer), of(stripe, customer)
        assert (answer.status, page["status"], live) == (200, "open", []), customer
        assert (answer.json["url"], settled(customer)) == (page["url"], True), customer


def test_opening_another_page(api, plans, stripe, dies):
    other = ("POST", "/checkout", CHECKOUT[2] | {"quantity": 6})
    for customer in dies(other, lambda customer: api(*CHECKOUT, customer=customer)):
        answer = api(*other, customer=customer)
        assert sorted(each["status"] for each in pages(stripe, customer)) == ["expired", "open"], customer
        assert stripe.checkout_sessions[answer.json["id"]]["status"] == "open" and settled(customer), customer


def test_subscribing_over_an_open_page(api, plans, stripe, dies):
    for customer in dies(SUBSCRIBE, lambda customer: api(*CHECKOUT, customer=customer), least=16):
        assert api(*SUBSCRIBE, customer=customer).json["status"] == "active"
        _, live, paid = of(stripe, customer)
        assert (len(live), paid, settled(customer)) == (1, [6000], True), customer
        assert not [each for each in pages(stripe, customer) if each["status"] == "open"], customer


def test_a_page_that_is_completed_after_someone_died_while_subscribing_over_it(api, plans, stripe, dies):
    for customer in dies(SUBSCRIBE, lambda customer: api(*CHECKOUT, customer=customer), least=16):
        (page,) = pages(stripe, customer)
        if page["status"] == "open":
            stripe.complete_checkout(page["id"])
        answer = api(*SUBSCRIBE, customer=customer)
        _, (live,), paid = of(stripe, customer)
        assert (answer.status in (200, 409), paid, settled(customer)) == (True, [6000], True), customer
        assert customer_table.find(customer, 0).subscription.theirs.id == live["id"], customer
