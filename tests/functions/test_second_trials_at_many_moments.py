"""What ends a trial that nobody may end, and what leaves one running that should end."""

import pytest

from billing import customer_table
from billing.holds import PATIENCE

TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
VISA = {"plan_slug": "trial", "payment_method": "pm_card_visa"}


def record(customer):
    return customer_table.find(customer, 0)


def paid_by(stripe, customer):
    theirs = record(customer).stripe_id
    mine = [each for each in stripe.invoices.values() if each["customer"] == theirs and each["status"] == "paid"]
    return [each["total"] for each in mine if each["total"] > 0]


def on_page(api, stripe, customer, card="pm_card_visa"):
    session = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer=customer).json["id"]
    return stripe.complete_checkout(session, card)


@pytest.fixture
def trial(api, stripe):
    assert api("PUT", "/plans/trial", TRIAL).status == 200


def test_a_failure_of_stripes_while_a_second_trial_is_ended_brings_the_event_back(api, trial, stripe, hear, clock):
    api("POST", "/subscription", VISA)
    bought = on_page(api, stripe, "bob")
    hear("customer.subscription.created")  # bob is known, and his trial is ended
    api("POST", "/subscription/cancel", {"immediately": True}, customer="bob")
    bought = on_page(api, stripe, "eve")
    stripe.fault("failed", method="POST", path="/v1/subscriptions/", times=2)  # the library asks twice
    late = hear("checkout.session.completed")
    stripe.faults.clear()
    for _ in range(2):  # Stripe repeats its answer to a key once more
        clock.pass_by(seconds=PATIENCE)
        again = hear("checkout.session.completed")

    assert late and not again, "acknowledged, though the trial goes on"
    assert (stripe.subscriptions[bought]["status"], record("eve").pending) == ("active", None)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/subscription/cancel", {"immediately": True}),
        ("POST", "/subscription/cancel", {}),
        ("PUT", "/subscription/seats", {"quantity": 3}),
    ],
)
def test_a_change_at_every_moment_of_the_end_of_a_second_trial(
    api, trial, stripe, hear, moments, clock, method, path, body
):
    """Whichever is first: what is charged is charged once, and all of it is on record."""
    api("POST", "/subscription", VISA)
    hear()
    wrong = []
    for number in range(3, 200, 29):
        bob, seen, answers = f"bob-{number}", [0], []
        bought = on_page(api, stripe, bob)

        def act(now, seen=seen, number=number, bob=bob, answers=answers):
            if now.split()[1] in ("get", "post", "PutItem", "TransactWriteItems"):
                seen[0] += 1
                if seen[0] == number + 1:
                    answers.append(api(method, path, body, customer=bob))

        moments.append(act)
        hear()
        moments.remove(act)
        hear()
        clock.pass_by(seconds=PATIENCE)
        hear()
        status, charged = stripe.subscriptions[bought]["status"], paid_by(stripe, bob)
        ours = record(bob)
        if status == "trialing" or len(charged) > 1 or ours.pending or ours.subscription.theirs.status != status:
            wrong.append((number, status, charged, ours.pending and ours.pending.wish, [a.json for a in answers]))
        if seen[0] <= number:
            break
    assert not wrong
