"""A trial: had once by a customer, and by a card; and what becomes of it at its end."""

from hashlib import sha256
from itertools import count

import pytest
import stripe as library

from billing import customer_table, translation
from billing.holds import PATIENCE
from tests.functions.at_stripe import row

TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
YEARLY = TRIAL | {"name": "Yearly", "billing_interval": "year", "base_price_cents": 30_000}
CARD = {"plan_slug": "trial", "payment_method": "pm_card_visa"}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
VISA = sha256(b"pm_card_visa").hexdigest()[:16]  # the simulator's fingerprint of it


class Death(BaseException):
    """No handler of ours may catch it."""


def record(customer):
    return customer_table.find(customer, 0)


def paid(stripe):
    return [each["total"] for each in stripe.invoices.values() if each["status"] == "paid" and each["total"] > 0]


def paid_by(stripe, customer):
    theirs = record(customer).stripe_id
    mine = [each for each in stripe.invoices.values() if each["customer"] == theirs and each["status"] == "paid"]
    return [each["total"] for each in mine if each["total"] > 0]


def on_page(api, stripe, customer, card="pm_card_visa"):
    """The subscription that a customer has begun on Stripe's page."""
    session = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer=customer).json["id"]
    return stripe.complete_checkout(session, card)


@pytest.fixture
def trial(api, stripe):
    for slug, plan in {"trial": TRIAL, "yearly": YEARLY}.items():
        assert api("PUT", f"/plans/{slug}", plan).status == 200


def test_a_trial_gives_access_and_charges_nothing(api, trial, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})

    assert (answer.json["status"], answer.json["access"]) == ("trialing", True)
    assert answer.json["trial_ends_at"] == answer.json["current_period_end"]
    assert sum(invoice["total"] for invoice in stripe.invoices.values()) == 0


def test_a_trial_without_a_card_asks_for_one(api, trial, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "trial"})

    assert (answer.json["status"], bool(answer.json["payment"]["client_secret"])) == ("trialing", True)


def test_a_trial_is_had_once(api, trial, stripe):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    api("POST", "/subscription/cancel", {"immediately": True})
    again = api("POST", "/subscription", {"plan_slug": "trial"})

    assert (again.json["status"], again.json["trial_ends_at"]) == ("active", None)  # the card on file was charged
    assert [invoice["total"] for invoice in stripe.invoices.values() if invoice["total"]] == [3000]


def test_a_change_during_the_trial_costs_nothing_and_the_trial_goes_on(api, trial, stripe):
    before = api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"}).json
    for answer in (
        api("PUT", "/subscription/seats", {"quantity": 3}),
        api("PUT", "/subscription/plan", {"plan_slug": "yearly"}),
    ):
        assert (answer.status, answer.json["status"]) == (200, "trialing")
        assert answer.json["trial_ends_at"] == before["trial_ends_at"]
        assert (answer.json["proration"]["net_cents"], answer.json["billed"]) == (0, "next_invoice")
    assert sum(invoice["total"] for invoice in stripe.invoices.values()) == 0


# The end of a trial


def test_at_its_end_the_card_is_charged(api, trial, stripe, clock, hear):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    clock.pass_by(days=14, hours=2)
    stripe.tick()
    assert not hear()

    told = api("GET", "/subscription").json
    assert (told["status"], told["access"], paid(stripe)) == ("active", True, [3000])


@pytest.mark.parametrize(("policy", "status"), [("cancel", "canceled"), ("pause", "paused")])
def test_at_its_end_without_a_card_it_is_what_its_plan_says(api, stripe, clock, hear, policy, status):
    api("PUT", "/plans/trial", TRIAL | {"trial_without_card": policy})
    api("POST", "/subscription", {"plan_slug": "trial"})
    clock.pass_by(days=14, hours=2)
    stripe.tick()
    assert not hear()

    theirs = record("ada").subscription.theirs
    assert (theirs.status, paid(stripe)) == (status, [])
    assert api("GET", "/entitlements").json["access"] is False


def test_at_its_end_a_card_that_fails_leaves_it_past_due_with_the_days_of_grace(api, trial, stripe, clock, hear):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_chargeCustomerFail"})
    clock.pass_by(days=14, hours=2)
    stripe.tick()
    assert not hear()

    told = api("GET", "/subscription").json
    assert (told["status"], told["access"], told["access_reason"], paid(stripe)) == ("past_due", True, "grace", [])


# One trial for a card


def test_a_card_has_its_trial_with_one_customer(api, trial, stripe):
    order = {"plan_slug": "trial", "payment_method": "pm_card_visa"}
    first, second = (api("POST", "/subscription", order, customer=name).json["status"] for name in ("ada", "bob"))
    other = api("POST", "/subscription", order | {"payment_method": "pm_card_mastercard"}, customer="eve").json

    assert (first, second, other["status"], paid(stripe)) == ("trialing", "active", "trialing", [3000])


def test_two_customers_with_one_card_at_the_same_moment_have_one_trial(api, trial, stripe, moments):
    order = {"plan_slug": "trial", "payment_method": "pm_card_visa"}
    api("PUT", "/customer", {}, customer="bob")
    moments.once("before TransactWriteItems", lambda: api("POST", "/subscription", order))
    answer = api("POST", "/subscription", order, customer="bob")

    assert (answer.status, answer.json["status"]) == (200, "active")
    assert (record("ada").subscription.theirs.status, paid(stripe)) == ("trialing", [3000])


def test_a_card_that_is_given_on_stripes_page_has_its_trial_by_it(api, trial, stripe, hear):
    on_page(api, stripe, "ada")
    assert not hear()
    answer = api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"}, customer="bob")

    assert (record("ada").subscription.theirs.status, answer.json["status"]) == ("trialing", "active")


@pytest.mark.parametrize(("policy", "status", "charged"), [("end", "active", [3000]), ("cancel", "canceled", [])])
def test_a_second_trial_that_shows_on_the_page_is_ended_or_cancelled(
    api, stripe, hear, caplog, policy, status, charged
):
    api("PUT", "/plans/trial", TRIAL | {"second_trial": policy})
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    bought = on_page(api, stripe, "bob")
    assert stripe.subscriptions[bought]["status"] == "trialing"
    assert not hear() and not hear()

    bob = record("bob")
    assert (stripe.subscriptions[bought]["status"], bob.subscription.theirs.status) == (status, status)
    assert (paid(stripe), bob.trialed, bob.pending, customer_table.trialed(VISA)) == (charged, True, None, "ada")
    told = [each for each in caplog.records if each.message == "second_trial"]
    assert [(each.levelname, vars(each)["subscription"]) for each in told] == [("WARNING", bought)]
    again = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer="bob")
    if policy == "cancel":
        assert stripe.subscriptions[stripe.complete_checkout(again.json["id"])]["status"] == "active"  # no third one


def by_setup_intent(api, stripe, subscription):
    intent = stripe.subscriptions[subscription]["pending_setup_intent"]
    assert stripe.handle("POST", f"/v1/setup_intents/{intent}/confirm", {"payment_method": "pm_card_visa"})[0] == 200


def by_portal(api, stripe, subscription):
    assert api("POST", "/portal", {"return_url": "https://localhost/"}, customer="bob").status == 200
    stripe.portal_card(stripe.subscriptions[subscription]["customer"], "pm_card_visa")


def on_file(api, stripe, subscription):
    customer = stripe.subscriptions[subscription]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": customer})
    default = {"invoice_settings": {"default_payment_method": card["id"]}}
    assert stripe.handle("POST", f"/v1/customers/{customer}", default)[0] == 200


@pytest.mark.parametrize("give", [by_setup_intent, by_portal, on_file])
@pytest.mark.parametrize("had", [True, False])
def test_a_card_that_is_given_later_has_its_trial_unless_it_has_had_one(api, trial, stripe, hear, give, had):
    if had:
        api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    bobs = api("POST", "/subscription", {"plan_slug": "trial"}, customer="bob").json["id"]
    hear()
    give(api, stripe, bobs)
    assert not hear()

    assert stripe.subscriptions[bobs]["status"] == ("active" if had else "trialing")
    assert (paid(stripe), customer_table.trialed(VISA)) == (([3000], "ada") if had else ([], "bob"))


def test_whoever_has_cancelled_a_second_trial_is_not_charged_for_it(api, trial, stripe, hear):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    bobs = api("POST", "/subscription", {"plan_slug": "trial"}, customer="bob").json["id"]
    api("POST", "/subscription/cancel", {}, customer="bob")
    by_portal(api, stripe, bobs)
    hear()

    assert (stripe.subscriptions[bobs]["status"], paid(stripe)) == ("canceled", [])


def test_a_trial_that_was_given_in_stripes_dashboard_is_left_alone(api, trial, stripe, hear):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    api("PUT", "/customer", {}, customer="bob")
    theirs = record("bob").stripe_id
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": theirs})
    price = record("ada").subscription.theirs.price
    gift = {"customer": theirs, "items": {"0": {"price": price}}, "trial_period_days": "30"}
    _, given = stripe.handle("POST", "/v1/subscriptions", gift | {"default_payment_method": card["id"]})
    assert not hear()

    assert (stripe.subscriptions[given["id"]]["status"], record("bob").subscription.theirs.id) == (
        "trialing",
        given["id"],
    )


def test_a_change_in_flight_lands_before_a_second_trial_is_ended(api, trial, stripe, hear, moments, clock):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    bought = on_page(api, stripe, "bob")

    def die():
        raise Death

    moments.once("before post", die)
    with pytest.raises(Death):
        api("POST", "/subscription/cancel", {}, customer="bob")
    assert hear() and stripe.subscriptions[bought]["status"] == "trialing"
    clock.pass_by(seconds=PATIENCE)
    assert not hear()

    assert (stripe.subscriptions[bought]["status"], record("bob").pending, paid(stripe)) == ("active", None, [3000])


def test_whoever_dies_while_ending_a_second_trial_leaves_it_to_the_next_delivery(
    api, trial, stripe, hear, moments, clock
):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    for moment in count():
        bob = f"bob-{moment}"
        bought = on_page(api, stripe, bob)
        passed = iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        died = False
        try:
            hear("checkout.session.completed")
        except Death:
            died = True
        moments.remove(die)
        clock.pass_by(seconds=PATIENCE)
        assert not hear("checkout.session.completed")
        theirs = stripe.subscriptions[bought]
        mine = [each["total"] for each in stripe.invoices.values() if each["customer"] == theirs["customer"]]
        assert (theirs["status"], sum(mine), record(bob).pending) == ("active", 3000, None), moment
        assert record(bob).subscription.theirs.status == "active"
        if not died:
            assert moment > 20
            return


@pytest.mark.parametrize("kind", ["us_bank_account", "sepa_debit", "bacs_debit", "au_becs_debit"])
def test_a_bank_account_has_its_fingerprint_too(kind):
    """Stripe's page offers whatever the dashboard enables: `payment_method_collection: always` is no card."""
    said = library.PaymentMethod.construct_from(
        {"id": "pm_1", "object": "payment_method", "type": kind, kind: {"fingerprint": "f"}}, "k"
    )
    assert translation.fingerprint(said) == "f"


def test_a_trial_given_in_the_dashboard_stays_when_its_customer_changes_the_seats(api, trial, stripe, hear):
    api("POST", "/subscription", CARD)
    api("PUT", "/customer", {}, customer="bob")
    theirs = record("bob").stripe_id
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": theirs})
    price = record("ada").subscription.theirs.price
    gift = {"customer": theirs, "items": {"0": {"price": price}}, "trial_period_days": "30"}
    _, given = stripe.handle("POST", "/v1/subscriptions", gift | {"default_payment_method": card["id"]})
    assert not hear() and stripe.subscriptions[given["id"]]["status"] == "trialing"

    assert api("PUT", "/subscription/seats", {"quantity": 2}, customer="bob").status == 200
    hear()
    assert (stripe.subscriptions[given["id"]]["status"], paid_by(stripe, "bob")) == ("trialing", [])


def test_free_days_that_the_operator_gives_a_paying_customer_are_not_ended(api, trial, stripe, hear, clock):
    """Bob's card had its trial with Ada, so he paid; a month of apology in the dashboard is a trial on his."""
    api("POST", "/subscription", CARD)
    bobs = api("POST", "/subscription", CARD, customer="bob").json
    assert bobs["status"] == "active" and paid_by(stripe, "bob") == [3000]
    hear()
    until = str(int(clock.now()) + 60 * 86_400)
    status, _ = stripe.handle(
        "POST", f"/v1/subscriptions/{bobs['id']}", {"trial_end": until, "proration_behavior": "none"}
    )
    assert status == 200
    hear()

    assert (stripe.subscriptions[bobs["id"]]["status"], paid_by(stripe, "bob")) == ("trialing", [3000])


def test_a_card_whose_trial_was_refused_by_stripe_has_had_none(api, trial, stripe, hear):
    """Ada's subscribing comes to nothing; nobody has had a trial on that card, and Bob's is his first."""
    stripe.fault("card_declined", method="POST", path="/v1/payment_methods/")
    assert api("POST", "/subscription", CARD).status == 402
    bought = on_page(api, stripe, "bob")
    hear()

    assert (stripe.subscriptions[bought]["status"], paid_by(stripe, "bob")) == ("trialing", [])


def test_a_first_trial_goes_on_when_its_customer_puts_a_colleagues_card_on_file(api, trial, stripe, hear):
    api("POST", "/subscription", CARD)
    mine = CARD | {"payment_method": "pm_card_mastercard"}
    bobs = api("POST", "/subscription", mine, customer="bob").json["id"]
    hear()
    api("POST", "/portal", {"return_url": "https://localhost/"}, customer="bob")
    stripe.portal_card(stripe.subscriptions[bobs]["customer"], "pm_card_visa")
    hear()

    assert (stripe.subscriptions[bobs]["status"], paid_by(stripe, "bob")) == ("trialing", [])


def test_the_card_of_a_trial_that_was_begun_on_a_page_stays_its_own_when_a_dead_hold_on_it_is_released(
    api, trial, stripe, hear, moments, clock
):
    """Ada dies subscribing with the card with which she then pays on the page: that trial is on it."""
    page = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE).json["id"]

    def die():
        raise Death

    moments.once("before post", die)
    with pytest.raises(Death):
        api("POST", "/subscription", CARD)
    stripe.complete_checkout(page)
    hear()
    clock.pass_by(seconds=PATIENCE)
    assert api("POST", "/subscription", CARD).json["code"] == "already_subscribed"

    assert (record("ada").pending, record("ada").trial_card, customer_table.trialed(VISA)) == (None, VISA, "ada")
    assert api("POST", "/subscription", CARD, customer="bob").json["status"] == "active"


@pytest.fixture
def second(api, stripe):
    """Bob's trial on the card that has had its trial with Ada, begun on Stripe's page."""
    api("PUT", "/plans/trial", TRIAL)
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    session = api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer="bob").json["id"]
    return stripe.complete_checkout(session, "pm_card_visa")


def test_what_an_event_leads_to_and_fails_of_is_tried_again_or_on_record_as_failed(second, hear, stripe, clock, swept):
    stripe.faults.add(kind="card_declined", method="POST", path=f"/v1/subscriptions/{second}", times=1)
    again = hear("checkout.session.completed")
    (event,) = [id for id, each in stripe.events.items() if each["type"] == "checkout.session.completed"]

    assert again or row(event)[0] != "done"


def test_what_stripe_keeps_failing_at_holds_its_customers_other_events_for_five_attempts_at_most(
    second,
    hear,
    stripe,
    clock,
):
    stripe.faults.add(kind="failed", method="POST", path=f"/v1/subscriptions/{second}", times=9999)
    deliveries = 0
    while deliveries < 12 and hear():
        deliveries += 1
        clock.pass_by(minutes=15)

    assert deliveries <= 5
