from collections import Counter
from contextlib import suppress
from functools import partial

from billing import customer_table
from local.stripe_simulator.errors import Refused

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
PAGE = {"plan_slug": "team", "quantity": 5, "success_url": "https://localhost/", "cancel_url": "https://localhost/"}


def lost(answer):
    """Turned away, and told when to come again."""
    return answer.status in (409, 503) and int(answer.headers["retry-after"]) > 0


def test_fifty_clicks_at_once_are_one_customer_and_one_subscription(api, plans, stripe, said, at_once):
    answers = at_once(*[partial(api, "POST", "/subscription", ORDER)] * 50)

    assert all(answer.status == 200 or lost(answer) for answer in answers)
    assert Counter(answer.status for answer in answers)[200] >= 1
    again = [api("POST", "/subscription", ORDER) for answer in answers if lost(answer)]
    told = {answer.json["id"] for answer in [*answers, *again] if answer.status == 200}
    assert told == set(stripe.subscriptions) and all(answer.status == 200 for answer in again)
    assert (len(stripe.customers), len(stripe.subscriptions), len(stripe.invoices)) == (1, 1, 1)
    assert customer_table.find("ada", 0).pending is None


def test_of_fifty_seat_changes_at_once_one_at_a_time_wins_and_stripe_is_asked_once_for_each(
    api, subscribed, stripe, said, at_once
):
    changes = [partial(api, "PUT", "/subscription/seats", {"quantity": seats}) for seats in range(1, 51)]
    answers = at_once(*changes)

    won = [answer.json for answer in answers if answer.status == 200]
    assert all(answer.status == 200 or lost(answer) for answer in answers) and won
    true_already = [answer for answer in won if "proration" not in answer]
    made = [
        call for call in stripe.calls if call.method == "POST" and call.path == f"/v1/subscriptions/{subscribed['id']}"
    ]
    assert len(made) == len({call.key for call in made}) == len(won) - len(true_already)
    ours, theirs = customer_table.find("ada", 0), stripe.subscriptions[subscribed["id"]]
    assert (ours.pending, ours.subscription.theirs.quantity) == (None, theirs["items"]["data"][0]["quantity"])
    assert ours.subscription.theirs.quantity in {answer["seats"] for answer in won}


def test_the_same_change_fifty_times_at_once_is_charged_once(api, subscribed, stripe, at_once):
    answers = at_once(*[partial(api, "PUT", "/subscription/seats", {"quantity": 8})] * 50)

    assert all(answer.status == 200 or lost(answer) for answer in answers)
    assert {answer.json["seats"] for answer in answers if answer.status == 200} == {8}
    assert [invoice["total"] for invoice in stripe.invoices.values()] == [6000, 3000]


def test_many_customers_at_once_do_not_wait_for_each_other(api, plans, stripe, at_once):
    answers = at_once(*[partial(api, "POST", "/subscription", ORDER, customer=f"customer-{n}") for n in range(30)])

    assert [answer.status for answer in answers] == [200] * 30
    assert len({answer.json["id"] for answer in answers}) == len(stripe.subscriptions) == 30


def test_twenty_clicks_at_once_open_one_page(api, plans, stripe, at_once):
    answers = at_once(*[partial(api, "POST", "/checkout", PAGE)] * 20)

    assert all(answer.status == 200 or lost(answer) for answer in answers)
    told = {answer.json["url"] for answer in [*answers, api("POST", "/checkout", PAGE)] if answer.status == 200}
    assert told == {each["url"] for each in stripe.checkout_sessions.values()} and len(told) == 1
    assert customer_table.find("ada", 0).pending is None


def test_a_page_completed_while_others_click_is_one_subscription(api, plans, stripe, at_once):
    def complete(session):
        with suppress(Refused):  # it has expired
            stripe.complete_checkout(session)

    for customer in ("ada", "bob", "eve"):
        session = api("POST", "/checkout", PAGE, customer=customer).json["id"]
        clicks = [partial(api, "POST", "/subscription", ORDER, customer=customer)] * 6
        answers = at_once(partial(complete, session), *clicks)[1:]
        api("POST", "/subscription", ORDER, customer=customer)

        ours = customer_table.find(customer, 0)
        (live,) = [each for each in stripe.subscriptions.values() if each["customer"] == ours.stripe_id]
        assert (ours.pending, ours.checkout, ours.subscription.theirs.id) == (None, None, live["id"])
        assert stripe.checkout_sessions[session]["status"] in ("complete", "expired")
        for answer in answers:
            bought_there = answer.status == 409 and answer.json["code"] == "already_subscribed"
            assert bought_there or lost(answer) or answer.json["id"] == live["id"]
