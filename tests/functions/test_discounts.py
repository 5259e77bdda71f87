"""Promotion codes: at subscribing, later, and off again; seen by the customer and in every price."""

import pytest

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


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


@pytest.mark.parametrize("body", [{}, {"promotion_code": ""}, {"promotion_code": "a b"}, {"promotion_code": 5}])
def test_rubbish_is_malformed(api, subscribed, body):
    assert api("PUT", "/subscription/discount", body).status == 400
