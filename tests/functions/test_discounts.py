"""Promotion codes: at subscribing, later, and off again; seen by the customer and in every price."""

import pytest

from tests.functions.at_stripe import Death, ask, pays_with

CARD = {"payment_method": "pm_card_visa"}
ORDER = {"plan_slug": "team", "quantity": 5} | CARD


@pytest.fixture
def dies_subscribing(stripe, moments):
    """Once, when Stripe has made the subscription and its maker has not heard of it."""

    def listen(now):
        last = stripe.calls[-1] if stripe.calls else None
        if now == "after post" and last and (last.method, last.path) == ("POST", "/v1/subscriptions"):
            moments.remove(listen)
            raise Death

    return lambda: moments.append(listen)


@pytest.fixture
def promote(stripe):
    def make(code, **terms):
        coupon = {"duration": "forever"} | {name: terms.pop(name) for name in list(terms) if name in COUPON}
        _, made = stripe.handle("POST", "/v1/coupons", coupon)
        said = {"promotion": {"type": "coupon", "coupon": made["id"]}, "code": code} | terms
        status, promotion = stripe.handle("POST", "/v1/promotion_codes", said)
        assert status == 200, promotion
        return promotion["id"]

    return make


COUPON = ("percent_off", "amount_off", "currency", "duration", "duration_in_months")


def discounts(answer):
    return [(each["promotion_code"], each["percent_off"], each["amount_off_cents"]) for each in answer["discounts"]]


def test_a_code_at_subscribing_is_taken_off_the_first_invoice_and_is_seen(api, plans, stripe, promote):
    promote("HALF", percent_off="50")
    answer = api("POST", "/subscription", ORDER | {"promotion_code": "half"})

    assert (answer.status, discounts(answer.json)) == (200, [("HALF", "50.0", None)])
    assert [each["total"] for each in stripe.invoices.values()] == [3000]
    assert discounts(api("GET", "/subscription").json) == [("HALF", "50.0", None)]


def test_a_code_later_counts_from_the_next_invoice_on_and_null_takes_it_off(api, subscribed, stripe, clock, promote):
    promote("TEN", amount_off="1000", currency="usd")
    answer = api("PUT", "/subscription/discount", {"promotion_code": "TEN"})
    assert (answer.status, discounts(answer.json)) == (200, [("TEN", None, 1000)])
    clock.pass_by(days=32)
    stripe.tick()
    off = api("PUT", "/subscription/discount", {"promotion_code": None})
    clock.pass_by(days=31)
    stripe.tick()

    assert (off.status, off.json["discounts"]) == (200, [])
    assert [each["total"] for each in stripe.invoices.values()] == [6000, 5000, 6000]


def test_the_same_code_again_is_answered_and_another_takes_its_place(api, subscribed, stripe, said, promote):
    promote("HALF", percent_off="50")
    promote("TENTH", percent_off="10")
    first = api("PUT", "/subscription/discount", {"promotion_code": "HALF"})
    stripe.calls.clear()
    assert (api("PUT", "/subscription/discount", {"promotion_code": "HALF"}).json["discounts"], said()) == (
        first.json["discounts"],
        {},
    )
    other = api("PUT", "/subscription/discount", {"promotion_code": "TENTH"})

    assert discounts(other.json) == [("TENTH", "10.0", None)]
    assert api("PUT", "/subscription/discount", {"promotion_code": None}).json["discounts"] == []
    assert api("PUT", "/subscription/discount", {"promotion_code": None}).status == 200


@pytest.mark.parametrize("code", ["NOSUCH", "OLD"])
def test_a_code_that_nobody_can_use_is_refused_and_nothing_is_bought(api, plans, stripe, promote, code):
    id = promote("OLD", percent_off="50")
    stripe.handle("POST", f"/v1/promotion_codes/{id}", {"active": "false"})
    answer = api("POST", "/subscription", ORDER | {"promotion_code": code})

    assert (answer.status, answer.json["code"]) == (422, "no_such_promotion")
    assert not stripe.subscriptions


def test_a_code_that_this_customer_may_not_use_is_refused_by_stripe_and_nothing_is_bought(api, plans, stripe, promote):
    promote("WELCOME", percent_off="50", restrictions={"first_time_transaction": "true"})
    assert api("POST", "/subscription", ORDER).status == 200
    api("POST", "/subscription/cancel", {"immediately": True})
    answer = api("POST", "/subscription", ORDER | {"promotion_code": "WELCOME"})

    assert (answer.status, answer.json["code"]) == (422, "stripe_refused")
    assert [each["status"] for each in stripe.subscriptions.values()] == ["canceled"]
    assert api("POST", "/subscription", ORDER).status == 200


def test_a_discount_is_in_the_price_of_a_change(api, plans, stripe, clock, promote):
    promote("HALF", percent_off="50")
    api("POST", "/subscription", ORDER | {"promotion_code": "HALF"})
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 15}).json
    answer = api("PUT", "/subscription/seats", {"quantity": 15, "quote_id": quoted["quote_id"]}).json

    invoice = list(stripe.invoices.values())[-1]
    item = stripe.subscriptions[answer["id"]]["items"]["data"][0]
    left = (item["current_period_end"] - invoice["created"]) / (
        item["current_period_end"] - item["current_period_start"]
    )
    assert abs(invoice["total"] - 5000 * left) <= 2
    assert (quoted["net_cents"], quoted["next_invoice_cents"]) == (invoice["total"], 8000)


def test_a_discount_by_stripes_dashboard_is_seen_and_may_be_taken_off(api, subscribed, stripe):
    _, coupon = stripe.handle("POST", "/v1/coupons", {"duration": "forever", "percent_off": "25"})
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"discounts": [{"coupon": coupon["id"]}]})
    seen = api("PUT", "/subscription/seats", {"quantity": 6}).json

    assert discounts(seen) == [(None, "25.0", None)]
    assert api("PUT", "/subscription/discount", {"promotion_code": None}).json["discounts"] == []


@pytest.fixture
def single(stripe):
    coupon = ask(stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")
    said = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "SINGLE", "max_redemptions": "1"}
    return ask(stripe, "POST", "/v1/promotion_codes", **said)


@pytest.mark.parametrize("key", ["k", None])
def test_who_dies_with_a_code_that_is_used_up_by_it_is_answered_by_a_retry(
    api, plans, stripe, dies_subscribing, single, key
):
    order = {"plan_slug": "team", "quantity": 5, "promotion_code": "SINGLE"} | CARD
    dies_subscribing()
    with pytest.raises(Death):
        api("POST", "/subscription", order, key=key)
    answer = api("POST", "/subscription", order, key=key)

    assert (answer.status, len(stripe.subscriptions)) == (200, 1), answer.json


def test_the_same_order_with_a_code_used_up_by_it_is_answered(api, plans, stripe, single):
    order = {"plan_slug": "team", "quantity": 5, "promotion_code": "SINGLE"} | CARD
    first, again = api("POST", "/subscription", order), api("POST", "/subscription", order)

    assert (first.status, again.status) == (200, 200), again.json


def test_the_same_order_with_a_code_that_takes_off_once_is_answered_when_that_is_done(api, plans, stripe, promote):
    promote("ONCE", percent_off="50", duration="once", max_redemptions="1")
    first = api("POST", "/subscription", ORDER | {"promotion_code": "once"})
    assert (first.status, first.json["discounts"]) == (200, [])
    again = api("POST", "/subscription", ORDER | {"promotion_code": "ONCE"})
    other = api("POST", "/subscription", ORDER | {"promotion_code": "OTHER"})

    assert (again.status, again.json) == (200, first.json)
    assert (other.status, other.json["code"]) == (409, "already_subscribed")
    assert [each["total"] for each in stripe.invoices.values()] == [3000]


def test_a_page_that_is_open_is_answered_though_its_code_can_no_longer_be_used(api, plans, stripe, promote):
    id = promote("HALF", percent_off="50")
    urls = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
    order = {"plan_slug": "team", "promotion_code": "HALF"} | urls
    first = api("POST", "/checkout", order)
    ask(stripe, "POST", f"/v1/promotion_codes/{id}", active="false")
    again = api("POST", "/checkout", order)

    assert (first.status, again.status, again.json) == (200, 200, first.json)


def test_of_a_code_of_many_customers_each_uses_its_own(api, subscribed, stripe):
    assert (
        api(
            "POST", "/subscription", {"plan_slug": "team"} | {"payment_method": "pm_card_mastercard"}, customer="bob"
        ).status
        == 200
    )
    coupon = ask(stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")
    for customer in [each for each in stripe.customers]:
        said = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "MINE", "customer": customer}
        ask(stripe, "POST", "/v1/promotion_codes", **said)

    answers = [api("PUT", "/subscription/discount", {"promotion_code": "MINE"}, customer=who) for who in ("ada", "bob")]
    assert [each.status for each in answers] == [200, 200], [each.json for each in answers]


def test_the_code_of_another_customer_is_no_code(api, subscribed, stripe, promote):
    promote("THEIRS", percent_off="50", customer=next(iter(stripe.customers)))
    for route in (("POST", "/subscription", ORDER), ("PUT", "/subscription/discount", {})):
        other = {"plan_slug": "team"} | CARD
        if route[0] == "PUT":
            assert api("POST", "/subscription", other, customer="bob").status == 200
        answer = api(*route[:2], route[2] | {"promotion_code": "THEIRS"}, customer="bob")
        assert (answer.status, answer.json["code"]) == (422, "no_such_promotion")

    assert api("PUT", "/subscription/discount", {"promotion_code": "THEIRS"}).json["discounts"]


def test_a_refused_discount_leaves_what_waits_for_its_payment(api, subscribed, stripe):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    other = ask(stripe, "POST", "/v1/customers")
    coupon = ask(stripe, "POST", "/v1/coupons", duration="forever", percent_off="50")
    said = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "OTHER", "customer": other["id"]}
    ask(stripe, "POST", "/v1/promotion_codes", **said)
    answer = api("PUT", "/subscription/discount", {"promotion_code": "OTHER"})

    assert answer.status == 422
    assert stripe.subscriptions[subscribed["id"]]["pending_update"], "what waited is void though nothing was changed"


@pytest.mark.parametrize("code", ["TENTH", None])
def test_no_discount_is_changed_while_a_change_waits_for_its_payment(api, subscribed, stripe, promote, code):
    promote("HALF", percent_off="50")
    promote("TENTH", percent_off="10")
    api("PUT", "/subscription/discount", {"promotion_code": "HALF"})
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    waits = api("PUT", "/subscription/seats", {"quantity": 20}).json["pending_change"]
    answer = api("PUT", "/subscription/discount", {"promotion_code": code})

    assert (answer.status, answer.json["code"]) == (422, "not_changeable")
    assert api("PUT", "/subscription/discount", {"promotion_code": "half"}).json["pending_change"] == waits
    assert api("DELETE", "/subscription/change").status == 200
    assert api("PUT", "/subscription/discount", {"promotion_code": code}).status == 200


@pytest.mark.parametrize("body", [{}, {"promotion_code": ""}, {"promotion_code": "a b"}, {"promotion_code": 5}])
def test_rubbish_is_malformed(api, subscribed, body):
    assert api("PUT", "/subscription/discount", body).status == 400
