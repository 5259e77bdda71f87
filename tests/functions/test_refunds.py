"""Cancelling now: what is given back of the rest of the period is said, and is what is given back."""

import pytest

DAY = 86_400


@pytest.fixture
def cancel(api):
    def now(unused_time=None, **request):
        said = {"unused_time": unused_time} if unused_time else {}
        return api("POST", "/subscription/cancel", {"immediately": True} | said, **request)

    return now


def notes(stripe):
    return [
        (each["total"], sum(one["amount"] for one in refunded(stripe, each))) for each in stripe.credit_notes.values()
    ]


def refunded(stripe, note):
    ids = {each["refund"] for each in note["refunds"]}
    return [each for each in stripe.refunds.values() if each["id"] in ids]


def balance(stripe, subscription):
    return stripe.customers[stripe.subscriptions[subscription]["customer"]]["balance"]


def unused(stripe, subscription, clock, total=6000):
    item = stripe.subscriptions[subscription]["items"]["data"][0]
    start, end = item["current_period_start"], item["current_period_end"]
    return total * (end - int(clock.now())) / (end - start)


def test_nothing_is_given_back_unless_it_is_said(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    answer = cancel()

    assert answer.json["given_back"] == {
        "unused_time": "none",
        "currency": "usd",
        "refunded_cents": 0,
        "credited_cents": 0,
    }
    assert (notes(stripe), balance(stripe, subscribed["id"])) == ([], 0)


def test_the_rest_of_the_period_is_refunded_to_the_card(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    expected = unused(stripe, subscribed["id"], clock)
    answer = cancel("refund")

    given = answer.json["given_back"]
    assert (answer.status, answer.json["status"], given["credited_cents"]) == (200, "canceled", 0)
    assert abs(given["refunded_cents"] - expected) <= 1
    assert notes(stripe) == [(given["refunded_cents"], given["refunded_cents"])]
    assert balance(stripe, subscribed["id"]) == 0


def test_or_it_is_credit_for_the_next_invoices(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    given = cancel("credit").json["given_back"]

    assert given["credited_cents"] > 0 == given["refunded_cents"]
    assert balance(stripe, subscribed["id"]) == -given["credited_cents"]
    back = api("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}).json
    paid = stripe.invoices[stripe.subscriptions[back["id"]]["latest_invoice"]]
    assert (paid["total"], paid["amount_paid"]) == (6000, 6000 - given["credited_cents"])


def test_a_plan_may_say_what_is_given_back(api, plans, stripe, clock, cancel):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/team", offer | {"unused_time": "refund"})
    api("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"})
    clock.pass_by(days=10)

    assert cancel().json["given_back"]["refunded_cents"] > 0


def test_what_was_paid_in_parts_is_given_back_of_each_the_newest_first(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    api("PUT", "/subscription/seats", {"quantity": 8})
    clock.pass_by(days=1)
    expected = unused(stripe, subscribed["id"], clock, 9000)
    given = cancel("refund").json["given_back"]

    assert abs(given["refunded_cents"] - expected) <= 2
    assert [stripe.invoices[each["invoice"]]["billing_reason"] for each in stripe.credit_notes.values()] == [
        "subscription_update",
        "subscription_create",
    ]
    assert sum(total for total, _ in notes(stripe)) == given["refunded_cents"]


def test_what_was_paid_from_the_balance_is_given_back_to_the_balance(api, plans, stripe, clock, cancel):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    api("POST", "/subscription", order)
    clock.pass_by(days=10)
    credit = cancel("credit").json["given_back"]["credited_cents"]
    again = api("POST", "/subscription", order).json
    given = cancel("refund").json["given_back"]

    assert given["refunded_cents"] == 6000 - credit
    assert given["refunded_cents"] + given["credited_cents"] == 6000
    assert balance(stripe, again["id"]) == -given["credited_cents"]


def test_what_waits_to_be_credited_is_never_lost(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    down = api("PUT", "/subscription/seats", {"quantity": 2}).json
    owed = -down["proration"]["net_cents"]
    given = cancel("none").json["given_back"]

    assert (down["billed"], given["credited_cents"]) == ("next_invoice", owed)
    assert balance(stripe, subscribed["id"]) == -owed


def test_what_waits_to_be_charged_is_charged(api, subscribed, stripe, clock, cancel):
    for quantity in range(6, 15):
        changed = api("PUT", "/subscription/seats", {"quantity": quantity}).json
    assert changed["billed"] == "next_invoice"
    waits = sum(each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None)
    cancel("none")

    final = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert final["total"] == waits > 0


def test_who_has_not_paid_is_owed_nothing(api, subscribed, stripe, clock, cancel):
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": theirs})
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"default_payment_method": card["id"]})
    clock.pass_by(days=31, hours=2)
    stripe.tick()
    assert stripe.subscriptions[subscribed["id"]]["status"] == "past_due"
    given = cancel("refund").json["given_back"]

    assert (given["refunded_cents"], given["credited_cents"], notes(stripe)) == (0, 0, [])


def test_on_trial_nothing_was_paid_and_nothing_is_given_back(api, plans, stripe, cancel):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/trial", offer | {"trial_days": 14})
    api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5})

    assert cancel("refund").json["given_back"]["refunded_cents"] == 0


def test_taxes_are_given_back_with_it(api, plans, stripe, clock, cancel, monkeypatch):
    monkeypatch.setenv("STRIPE_TAX", "true")
    object.__setattr__(stripe._account.settings, "tax_percent", 20)
    api("PUT", "/customer", {"address": {"country": "DE"}})
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    subscribed = api("POST", "/subscription", order).json
    clock.pass_by(days=10)
    expected = unused(stripe, subscribed["id"], clock, 7200)

    assert abs(cancel("refund").json["given_back"]["refunded_cents"] - expected) <= 2


def test_the_same_key_is_answered_the_same_and_refunds_once(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    first, again = cancel("refund", key="k"), cancel("refund", key="k")

    assert again.json == first.json and len(stripe.credit_notes) == 1


def test_what_was_given_back_before_is_not_given_back_again(api, subscribed, stripe, clock, cancel):
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    said = {"invoice": invoice, "amount": "5000", "refund_amount": "5000"}
    assert stripe.handle("POST", "/v1/credit_notes", said)[0] == 200
    clock.pass_by(days=5)

    assert cancel("refund").json["given_back"]["refunded_cents"] == 1000


def test_what_stripe_does_not_give_back_is_for_the_operator_and_the_cancellation_stands(
    api, subscribed, stripe, clock, moments, cancel, caplog
):
    clock.pass_by(days=10)
    said = {"invoice": stripe.subscriptions[subscribed["id"]]["latest_invoice"], "amount": "6000"}
    moments.once("after delete", lambda: stripe.handle("POST", "/v1/credit_notes", said | {"refund_amount": "6000"}))
    answer = cancel("refund")

    assert (answer.status, answer.json["status"]) == (200, "canceled")
    assert notes(stripe) == [(6000, 6000)] and "follow_up_refused" in caplog.text
