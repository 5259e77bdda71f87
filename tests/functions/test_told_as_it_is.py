"""What others have done at Stripe, what a refusal leaves behind, and what a quote says; found by a review."""

import pytest

from billing import customer_table
from tests.functions.at_stripe import Death, ask, hear, pays_with

LATER = {"effective": "period_end"}
CARD = {"payment_method": "pm_card_visa"}


def test_the_next_invoice_of_a_quote_for_later_is_the_next_invoice(api, subscribed, stripe, clock):
    clock.pass_by(days=10)
    api("PUT", "/subscription/seats", {"quantity": 4})
    quoted = api("POST", "/subscription/quote", {"quantity": 3} | LATER).json
    api("PUT", "/subscription/seats", {"quantity": 3, "quote_id": quoted["quote_id"]})
    clock.pass_by(days=22)
    stripe.tick()
    (renewal,) = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]

    assert renewal["total"] == quoted["next_invoice_cents"]


def test_a_quote_that_is_too_old_is_not_used_by_whoever_takes_over_a_dead_hold(api, subscribed, stripe, clock, moments):
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    wish = ("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})

    def die(now):
        if now == "before post" and customer_table.find("ada", 0).pending:
            moments.remove(die)
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api(*wish)
    clock.pass_by(hours=20)
    answer = api(*wish)

    assert (answer.status, answer.json.get("code")) == (409, "quote_stale"), answer.json["proration"]


def test_a_month_that_was_never_paid_is_not_credited_by_fewer_seats(api, subscribed, stripe, clock):
    """The operator gives up the invoice: Stripe calls the subscription active again."""
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    for _ in range(4):
        clock.pass_by(days=8)
        stripe.tick()
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    ask(stripe, "POST", f"/v1/invoices/{invoice}/mark_uncollectible")
    hear(stripe, subscribed["id"], clock)
    assert stripe.subscriptions[subscribed["id"]]["status"] == "active"
    answer = api("PUT", "/subscription/seats", {"quantity": 1})

    waits = sum(each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None)
    assert waits >= 0, answer.json["proration"]


def test_a_refund_that_was_refused_is_not_answered_as_made(api, subscribed, stripe, moments, clock):
    clock.pass_by(days=10)
    said = {"invoice": stripe.subscriptions[subscribed["id"]]["latest_invoice"], "amount": "6000"}
    moments.once("after delete", lambda: ask(stripe, "POST", "/v1/credit_notes", **said, credit_amount="6000"))
    answer = api("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"})

    refunded = sum(each["amount"] for each in stripe.refunds.values())
    assert answer.status != 200 or answer.json["given_back"]["refunded_cents"] == refunded


def test_two_callers_of_one_quote_at_once_are_charged_once(api, subscribed, stripe, moments):
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    wish = ("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})
    others = []
    moments.once("before TransactWriteItems", lambda: others.append(api(*wish, key="other")))
    answer = api(*wish, key="mine")
    again = api(*wish, key="mine")

    updates = [each["total"] for each in stripe.invoices.values() if each["billing_reason"] == "subscription_update"]
    assert (others[0].status, answer.status, updates) == (200, 409, [3000]), (answer.json, again.json)


def test_two_cancellations_at_once_give_back_once(api, subscribed, stripe, clock, moments):
    clock.pass_by(days=10)
    wish = ("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"})
    others = []
    moments.once("after delete", lambda: others.append(api(*wish)))
    answer = api(*wish)

    assert answer.status == 200 and others[0].status in (200, 409)
    assert len(stripe.credit_notes) == 1


@pytest.mark.parametrize("immediately", [False, None], ids=["at its end", "by the portal"])
def test_a_change_of_what_is_going_to_end_is_quoted(api, subscribed, stripe, immediately):
    """The change itself is made: a quote of it is no 404."""
    if immediately is None:
        end = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["current_period_end"]
        ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", cancel_at=str(end - 86_400))
    else:
        assert api("POST", "/subscription/cancel", {}).status == 200
    answer = api("POST", "/subscription/quote", {"quantity": 8})

    assert answer.status == 200, answer.json


def test_a_quote_is_not_used_up_by_stripes_failure(api, subscribed, stripe):
    """Each 503 has said that the same wish may safely be sent again."""
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    wish = ("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})
    stripe.fault("failed", method="POST", path=f"/v1/subscriptions/{subscribed['id']}$", times=1)
    answers = [api(*wish).status for _ in range(3)]

    assert answers[-1] == 200, answers


def test_what_is_to_come_is_not_of_what_has_been_cancelled(api, subscribed, stripe):
    api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    answer = api("POST", "/subscription/cancel", {"immediately": True}).json

    assert (answer["status"], answer["scheduled_change"]) == ("canceled", None)


def test_who_waits_to_pay_and_wishes_for_what_there_is_is_charged_nothing(api, subscribed, stripe):
    """Eight seats wait for their payment; it is to be five after all, as now."""
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    pays_with(stripe, subscribed["id"], "pm_card_visa")
    answer = api("PUT", "/subscription/seats", {"quantity": 5}).json

    assert answer["seats"] == 5 and answer["pending_change"] is None
    assert (answer["proration"]["net_cents"], sum(each["amount_paid"] for each in stripe.invoices.values())) == (
        0,
        6000,
    ), answer
