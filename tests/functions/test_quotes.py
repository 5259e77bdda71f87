"""A quote is what the invoice says, or the change is refused with a fresh one and nothing is charged."""

import logging
from datetime import date

import pytest

from billing import customer_table

YEAR = {"name": "Year", "billing_interval": "year", "currency": "usd", "base_price_cents": 20_000}
YEAR |= {"price_per_seat_cents": 10_000, "max_seats": 50}


@pytest.fixture
def quote(api):
    def ask(customer="ada", **wanted):
        answer = api("POST", "/subscription/quote", wanted, customer=customer)
        assert answer.status == 200, answer.json
        return answer.json

    return ask


@pytest.fixture
def seats(api):
    def change(quantity, quote, **request):
        return api("PUT", "/subscription/seats", {"quantity": quantity, "quote_id": quote["quote_id"]}, **request)

    return change


def invoices(stripe):
    """Those of changes."""
    return [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_update"]


def promote(stripe, code, **coupon):
    _, made = stripe.handle("POST", "/v1/coupons", {"duration": "forever"} | coupon)
    said = {"promotion": {"type": "coupon", "coupon": made["id"]}, "code": code}
    status, promotion = stripe.handle("POST", "/v1/promotion_codes", said)
    assert status == 200, promotion
    return promotion


def test_a_quote_is_what_the_invoice_says_though_time_goes_by(api, subscribed, stripe, clock, quote, seats):
    clock.pass_by(days=10)
    quoted = quote(quantity=8)
    clock.pass_by(minutes=20)
    answer = seats(8, quoted)

    (invoice,) = invoices(stripe)
    assert (answer.status, answer.json["seats"], answer.json["billed"]) == (200, 8, "now")
    assert quoted["net_cents"] == quoted["total_cents"] == quoted["due_now_cents"] == invoice["total"]
    assert [line["amount_cents"] for line in quoted["lines"]] == [line["amount"] for line in invoice["lines"]["data"]]
    assert answer.json["proration"]["lines"] == quoted["lines"]
    assert (quoted["next_invoice_cents"], quoted["effective"]) == (9000, "now")
    assert not stripe.credit_notes


def test_nothing_is_changed_by_asking(api, subscribed, stripe, quote):
    before = customer_table.find("ada", 0)
    quote(plan_slug="pro")

    assert customer_table.find("ada", 0) == before and not invoices(stripe)
    assert api("GET", "/subscription").json["plan"] == "team"


def test_a_quote_too_old_is_answered_with_a_fresh_one_that_holds(api, subscribed, stripe, clock, quote, seats):
    clock.pass_by(days=10)
    quoted = quote(quantity=8)
    clock.pass_by(minutes=30)
    late = seats(8, quoted)

    assert (late.status, late.json["code"], invoices(stripe)) == (409, "quote_stale", [])
    assert late.json["quote"]["net_cents"] < quoted["net_cents"]
    assert seats(8, late.json["quote"]).json["proration"]["net_cents"] == late.json["quote"]["net_cents"]


def moves_seats(api, stripe, subscribed, clock):
    api("PUT", "/subscription/seats", {"quantity": 6})


def moves_the_plan_version(api, stripe, subscribed, clock):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    assert api("PUT", "/plans/team", offer | {"price_per_seat_cents": 1100}).status == 200


def moves_the_discount(api, stripe, subscribed, clock):
    promote(stripe, "HALF", percent_off="50")
    assert api("PUT", "/subscription/discount", {"promotion_code": "HALF"}).status == 200


def moves_the_period(api, stripe, subscribed, clock):
    clock.pass_by(minutes=20)
    stripe.tick()


def moves_what_waits(api, stripe, subscribed, clock):
    said = {"customer": stripe.subscriptions[subscribed["id"]]["customer"], "amount": "500", "currency": "usd"}
    assert stripe.handle("POST", "/v1/invoiceitems", said | {"subscription": subscribed["id"]})[0] == 200


@pytest.mark.parametrize(
    "moves", [moves_seats, moves_the_plan_version, moves_the_discount, moves_the_period, moves_what_waits]
)
def test_whatever_it_was_reckoned_on_moves_it_holds_no_more(api, subscribed, stripe, clock, quote, moves):
    clock.pass_by(days=subscribed_days(subscribed), minutes=-10)
    quoted = quote(plan_slug="team", quantity=8)
    moves(api, stripe, subscribed, clock)
    before = [(each["id"], each["total"]) for each in stripe.invoices.values()]
    refused = api("PUT", "/subscription/plan", {"plan_slug": "team", "quantity": 8, "quote_id": quoted["quote_id"]})

    assert (refused.status, refused.json["code"]) == (409, "quote_stale")
    assert [(each["id"], each["total"]) for each in stripe.invoices.values()] == before
    fresh = refused.json["quote"]
    assert fresh["quote_id"] != quoted["quote_id"] and fresh["seats"] == 8
    done = api("PUT", "/subscription/plan", {"plan_slug": "team", "quantity": 8, "quote_id": fresh["quote_id"]})
    assert (done.status, done.json["proration"]["net_cents"]) == (200, fresh["net_cents"])


def subscribed_days(subscribed):
    """Until the end of the period."""
    start, end = (date.fromisoformat(subscribed[f"current_period_{edge}"][:10]) for edge in ("start", "end"))
    return (end - start).days


def test_a_quote_is_good_for_one_change(api, subscribed, stripe, quote, seats):
    quoted = quote(quantity=8)
    first, again = (seats(8, quoted, key="k") for _ in range(2))
    other = seats(8, quoted)
    api("PUT", "/subscription/seats", {"quantity": 5})
    late = seats(8, quoted)

    assert (first.status, again.json) == (200, first.json)
    assert (other.status, late.status) == (409, 409)
    assert {other.json["code"], late.json["code"]} == {"quote_used"}
    assert len(invoices(stripe)) == 1


def test_a_quote_is_good_for_the_customer_it_was_given_to(api, subscribed, stripe, quote, seats):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_mastercard"}
    assert api("POST", "/subscription", order, customer="bob").status == 200
    refused = seats(8, quote(quantity=8), customer="bob")

    assert (refused.status, refused.json["code"], invoices(stripe)) == (422, "unknown_quote", [])


def test_a_quote_of_another_change_is_answered_with_one_of_this(api, subscribed, stripe, quote, seats):
    refused = seats(9, quote(quantity=8))

    assert (refused.status, refused.json["code"], refused.json["quote"]["seats"]) == (409, "quote_stale", 9)
    assert not invoices(stripe)


def test_what_is_so_already_has_no_price(api, subscribed):
    answer = api("POST", "/subscription/quote", {})

    assert (answer.status, answer.json["code"]) == (422, "nothing_to_change")


def test_a_retired_plan_is_not_quoted_and_its_quote_is_worth_nothing(api, subscribed, stripe, quote):
    quoted = quote(plan_slug="pro")
    api("DELETE", "/plans/pro")
    change = api("PUT", "/subscription/plan", {"plan_slug": "pro", "quote_id": quoted["quote_id"]})

    assert (change.status, change.json["code"]) == (422, "plan_retired")
    assert api("POST", "/subscription/quote", {"plan_slug": "pro"}).json["code"] == "plan_retired"


def test_a_quote_whose_change_waits_for_its_payment_is_used(api, subscribed, stripe, quote, seats):
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": theirs})
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"default_payment_method": card["id"]})
    quoted = quote(quantity=8)
    waits = seats(8, quoted)

    assert (waits.json["pending_change"]["status"], waits.json["seats"]) == ("awaiting_payment", 5)
    assert waits.json["pending_change"]["plan"] == "team"
    (invoice,) = invoices(stripe)
    assert invoice["total"] == quoted["total_cents"]


def test_where_stripe_charges_more_than_was_quoted_the_rest_is_credited_and_the_operator_is_told(
    api, subscribed, stripe, clock, moments, quote, seats, caplog
):
    promote(stripe, "HALF", percent_off="50")
    assert api("PUT", "/subscription/discount", {"promotion_code": "HALF"}).status == 200
    clock.pass_by(days=10)
    quoted = quote(quantity=50)

    def someone_takes_it_off():
        stripe.handle("DELETE", f"/v1/subscriptions/{subscribed['id']}/discount")

    moments.once("after TransactWriteItems", someone_takes_it_off)  # the change is held, and checked
    with caplog.at_level(logging.ERROR):
        answer = seats(50, quoted)

    (invoice,), (note,) = invoices(stripe), stripe.credit_notes.values()
    assert (answer.status, answer.json["proration"]["net_cents"]) == (200, quoted["net_cents"])
    assert invoice["total"] > quoted["total_cents"]
    assert invoice["total"] - note["total"] == quoted["total_cents"]
    assert note["customer_balance_transaction"] and "quote_exceeded" in caplog.text


def test_where_our_own_formula_differs_it_is_counted_and_stripes_word_stands(api, plans, stripe, clock, quote, caplog):
    promote(stripe, "ONCE", percent_off="50", duration="once")
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa", "promotion_code": "ONCE"}
    assert api("POST", "/subscription", order).status == 200
    clock.pass_by(days=10)
    quoted = quote(quantity=8)

    (line,) = [vars(record) for record in caplog.records if record.msg == "ProrationDiffers"]
    assert (line["ProrationDiffers"], line["Stack"], line["stripe"]) == (1, "tollgate-test", quoted["net_cents"])
    assert line["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "ProrationDiffers", "Unit": "Count"}]
    assert line["stripe"] - line["ours"] > 1000


def test_where_a_new_period_begins_what_the_credit_has_lost_by_then_is_made_good(api, subscribed, stripe, clock, quote):
    assert api("PUT", "/plans/year", YEAR).status == 200
    clock.pass_by(days=10)
    quoted = quote(plan_slug="year")
    clock.pass_by(minutes=25)
    answer = api("PUT", "/subscription/plan", {"plan_slug": "year", "quote_id": quoted["quote_id"]})

    (invoice,) = invoices(stripe)
    given_back = sum(each["total"] for each in stripe.credit_notes.values())
    assert (answer.status, answer.json["plan"], given_back > 0) == (200, "year", True)
    assert invoice["total"] - given_back == quoted["total_cents"]
    assert quoted["next_invoice_cents"] == 60_000


def test_past_the_most_invoices_of_a_minute_a_quote_says_so_and_binds(api, subscribed, stripe, clock, quote, seats):
    for quantity in range(6, 14):
        assert api("PUT", "/subscription/seats", {"quantity": quantity}).json["billed"] == "now"
    quoted = quote(quantity=20)
    answer = seats(20, quoted)

    assert (quoted["billed"], quoted["due_now_cents"]) == ("next_invoice", 0) and quoted["net_cents"] > 0
    waiting = [each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None]
    assert (answer.json["billed"], sum(waiting)) == ("next_invoice", quoted["net_cents"])
    assert quoted["next_invoice_cents"] == 21_000 + quoted["net_cents"]


def test_on_trial_a_change_is_quoted_at_nothing(api, stripe, plans, quote):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    assert api("PUT", "/plans/trial", offer | {"trial_days": 14}).status == 200
    assert api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5}).json["status"] == "trialing"
    quoted = quote(quantity=8)

    assert (quoted["net_cents"], quoted["due_now_cents"], quoted["next_invoice_cents"]) == (0, 0, 9000)


def test_what_waits_for_the_next_invoice_is_told_apart_and_is_in_the_total(
    api, subscribed, stripe, clock, quote, seats
):
    clock.pass_by(days=10)
    down = api("PUT", "/subscription/seats", {"quantity": 4})
    clock.pass_by(days=1)
    quoted = quote(quantity=20)
    seats(20, quoted)

    (invoice,) = invoices(stripe)
    assert quoted["waiting_cents"] == down.json["proration"]["net_cents"] < 0
    assert quoted["total_cents"] == quoted["net_cents"] + quoted["waiting_cents"] == invoice["total"]


def test_taxes_are_in_the_total(api, stripe, plans, clock, quote, seats, monkeypatch):
    monkeypatch.setenv("STRIPE_TAX", "true")
    object.__setattr__(stripe._account.settings, "tax_percent", 20)
    assert api("PUT", "/customer", {"address": {"country": "DE"}}).status == 200
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    assert api("POST", "/subscription", order).status == 200
    clock.pass_by(days=10)
    quoted = quote(quantity=8)
    answer = seats(8, quoted)

    (invoice,) = invoices(stripe)
    assert quoted["tax_cents"] > 0 and quoted["total_cents"] == quoted["net_cents"] + quoted["tax_cents"]
    assert (invoice["total"], invoice["total_excluding_tax"]) == (quoted["total_cents"], quoted["net_cents"])
    assert (answer.status, quoted["next_invoice_cents"]) == (200, 10_800)


@pytest.mark.parametrize("asked", [{"quantity": 0}, {"plan_slug": "Team!"}, {"effective": "later"}, {"seats": 3}])
def test_rubbish_is_malformed(api, subscribed, asked):
    assert api("POST", "/subscription/quote", asked).status == 400


def test_more_seats_than_the_plan_has_and_a_plan_in_another_currency_are_not_quoted(api, subscribed):
    api("PUT", "/plans/euro", YEAR | {"currency": "eur"})

    assert api("POST", "/subscription/quote", {"quantity": 51}).json["code"] == "seats_out_of_range"
    assert api("POST", "/subscription/quote", {"plan_slug": "euro"}).json["code"] == "other_currency"
