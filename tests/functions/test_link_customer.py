"""A Stripe customer that was there before us becomes one of ours: PUT /customers/{id}/stripe-customer."""

import copy
import logging

import pytest

from billing import customer_table
from billing.holds import PATIENCE
from tests.conftest import TEAM
from tests.functions.at_stripe import Death, ask

ADMIN = {"claims": {"scope": "billing/admin"}}
ORDER = {"plan_slug": "team", "payment_method": "pm_card_visa"}


@pytest.fixture
def sold(api, plans, stripe):
    """The price of the team plan."""
    (price,) = [each["id"] for each in stripe.prices.values() if each["product"] == "tollgate_team"]
    stripe.calls.clear()
    return price


@pytest.fixture
def theirs(stripe):
    """A customer made past us."""

    def made(**said):
        card = "pm_card_visa"
        paying = {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
        return ask(stripe, "POST", "/v1/customers", email="ada@example.com", **paying | said)["id"]

    return made


@pytest.fixture
def buys(stripe):
    """A subscription made past us."""

    def made(customer, price, quantity="5", **said):
        items = [{"price": price, "quantity": quantity}]
        return ask(stripe, "POST", "/v1/subscriptions", customer=customer, items=items, **said)["id"]

    return made


@pytest.fixture
def link(api):
    def put(stripe_customer, customer="ada"):
        body = {"stripe_customer": stripe_customer}
        return api("PUT", f"/customers/{customer}/stripe-customer", body, **ADMIN)

    return put


@pytest.fixture
def linked(api):
    def get(customer="ada"):
        return api("GET", f"/customers/{customer}/stripe-customer", **ADMIN)

    return get


def record(customer="ada"):
    return customer_table.find(customer, 0)


def alarms(caplog):
    return [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


def test_what_it_has_at_stripe_is_ours_from_then_on(api, sold, theirs, buys, link, linked, stripe):
    customer = theirs(metadata={"tenant": "7"})
    subscription = buys(customer, sold)
    assert linked().status == 404

    told = {"id": subscription, "status": "active", "seats": 5, "plan": "team", "plan_version": 1}
    wanted = {"customer": "ada", "stripe_customer": customer, "subscription": told}
    answer = link(customer)
    assert (answer.status, answer.json, linked().json) == (200, wanted, wanted)
    mine = api("GET", "/subscription").json
    assert (mine["id"], mine["seats"], mine["access"]) == (subscription, 5, True)
    assert len(customer_table.invoices("ada", 9)) == 1
    assert stripe.customers[customer]["metadata"] == {"tenant": "7", "customer": "ada"}
    assert customer_table.owner(customer) == "ada"


def test_it_may_be_changed_at_once_and_nothing_is_bought_beside_it(api, sold, theirs, buys, link, stripe):
    subscription = buys(theirs(), sold)
    link(stripe.subscriptions[subscription]["customer"])

    assert api("POST", "/subscription", ORDER | {"plan_slug": "pro"}).json["code"] == "already_subscribed"
    answer = api("PUT", "/subscription/seats", {"quantity": 8}).json
    assert (answer["id"], answer["seats"], answer["proration"]["net_cents"]) == (subscription, 8, 3000)
    assert (len(stripe.customers), len(stripe.subscriptions)) == (1, 1)


def test_the_same_again_answers_the_same_and_writes_nothing(sold, theirs, buys, link, stripe, moments, said):
    customer = theirs()
    buys(customer, sold)
    first = link(customer).json
    stripe.calls.clear()
    told = []
    moments.append(told.append)
    before = record()

    assert link(customer).json == first and record() == before
    assert said("POST") == {} and not [each for each in told if "Put" in each or "Write" in each]


def test_the_same_again_brings_it_up_to_what_stripe_has_now(api, sold, theirs, buys, link, stripe):
    customer = theirs()
    link(customer)
    subscription = buys(customer, sold)
    assert link(customer).json["subscription"]["id"] == subscription
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
    assert link(customer).json["subscription"]["status"] == "canceled"


def test_a_price_that_becomes_a_plan_later_is_known_by_the_next_link(api, stripe, theirs, buys, link):
    product = {"product_data": {"name": "Old"}, "recurring": {"interval": "month"}, "currency": "usd"}
    price = ask(stripe, "POST", "/v1/prices", unit_amount="900", **product)["id"]
    customer = theirs()
    buys(customer, price)
    assert link(customer).json["subscription"]["plan"] is None
    old = TEAM | {"base_price_cents": 900, "price_per_seat_cents": 900, "stripe_price": price, "on_sale": False}
    assert api("PUT", "/plans/old", old).status == 200

    assert link(customer).json["subscription"]["plan"] == "old"
    assert api("GET", "/subscription").json["access"] is True


def test_a_customer_that_has_nothing_is_linked_and_buys_as_that_customer(api, plans, theirs, link, stripe):
    customer = theirs()
    assert link(customer).json["subscription"] is None
    bought = api("POST", "/subscription", ORDER).json["id"]
    assert (stripe.subscriptions[bought]["customer"], len(stripe.customers)) == (customer, 1)


def test_a_second_live_subscription_stands_aside_and_is_alarmed_once(api, sold, theirs, buys, link, caplog):
    customer = theirs()
    first, second = buys(customer, sold), buys(customer, sold, quantity="1")

    taken = link(customer).json["subscription"]["id"]
    (other,) = {first, second} - {taken}
    assert customer_table.aside("ada", other).theirs.status == "active"
    link(customer)
    assert alarms(caplog) == ["second_subscription"]


def test_one_that_was_never_paid_leaves_the_place_to_one_that_is(api, sold, theirs, buys, link, caplog):
    customer = theirs()
    paid = buys(customer, sold)
    unpaid = buys(customer, sold, payment_behavior="default_incomplete")

    assert link(customer).json["subscription"]["id"] == paid
    assert customer_table.aside("ada", unpaid).theirs.status == "incomplete"
    assert alarms(caplog) == []


def test_what_has_ended_is_no_subscription_and_its_trial_was_the_one(api, sold, theirs, buys, link, stripe):
    api("PUT", "/plans/team", TEAM | {"trial_days": 14})
    customer = theirs()
    over = buys(customer, sold, trial_period_days="7")
    ask(stripe, "DELETE", f"/v1/subscriptions/{over}")

    assert link(customer).json["subscription"] is None
    bought = api("POST", "/subscription", ORDER).json
    assert (bought["status"], bought["trial_ends_at"]) == ("active", None)


def test_a_stripe_customer_that_is_not_there_is_refused(theirs, link, linked, stripe):
    deleted = theirs()
    ask(stripe, "DELETE", f"/v1/customers/{deleted}")
    for customer in ("cus_none", deleted):
        assert (link(customer).status, link(customer).json["code"]) == (422, "no_such_stripe_customer")
    assert link("ada").json["code"] == "malformed"
    assert (linked().status, record().version) == (404, 0)


def test_neither_is_linked_to_another(theirs, link, linked, stripe):
    first, second = theirs(), theirs()
    link(first)

    assert (link(second).status, link(second).json["code"]) == (409, "already_linked")
    taken = link(first, customer="bob")
    assert (taken.status, taken.json["code"], linked("bob").status) == (409, "stripe_customer_taken", 404)
    assert [stripe.customers[each]["metadata"] for each in (first, second)] == [{"customer": "ada"}, {}]


def test_of_two_customers_at_once_one_has_it(theirs, link, moments, stripe):
    customer = theirs()
    moments.once("before TransactWriteItems", lambda: link(customer, customer="bob"))

    assert link(customer).json["code"] == "stripe_customer_taken"
    assert (customer_table.owner(customer), record().stripe_id) == ("bob", None)
    assert stripe.customers[customer]["metadata"] == {"customer": "bob"}


def test_an_id_that_is_an_e_mail_address_is_a_customer_like_another(api, theirs, link, stripe):
    customer = theirs()
    assert link(customer, customer="ada@example.com").json["customer"] == "ada@example.com"
    assert stripe.customers[customer]["metadata"]["customer"] == "ada@example.com"


def test_what_changes_at_stripe_while_it_is_linked_is_not_missed(api, sold, theirs, buys, link, stripe, moments, hear):
    """Its event comes before the link is on record, and is ignored as nobody's."""
    customer = theirs()
    subscription = buys(customer, sold)
    hear()

    def cancel():
        ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
        hear()

    moments.once("before TransactWriteItems", cancel)
    assert link(customer).json["subscription"]["status"] == "canceled"


def test_free_days_that_another_system_gave_are_not_taken_for_a_trial_of_ours(
    api, plans, theirs, buys, link, stripe, hear
):
    """Its metadata may have a word that is one of ours, too."""
    assert api("PUT", "/plans/tried", TEAM | {"trial_days": 14}).status == 200
    api("POST", "/subscription", {"plan_slug": "tried", "payment_method": "pm_card_visa"}, customer="bob")
    (price,) = [each["id"] for each in stripe.prices.values() if each["product"] == "tollgate_tried"]
    customer = theirs()
    subscription = buys(customer, price, trial_period_days="30", metadata={"trial": "spring"})
    assert link(customer).json["subscription"]["status"] == "trialing"
    hear()

    assert stripe.subscriptions[subscription]["status"] == "trialing"
    assert [each["amount_paid"] for each in stripe.invoices.values() if each["customer"] == customer] == [0]


def test_what_lives_is_carried_however_many_have_ended_since(api, sold, theirs, buys, link, stripe, clock):
    """Else it lives on beside what is bought here, and both are charged."""
    customer = theirs()
    living = buys(customer, sold)
    clock.pass_by(seconds=5)
    ended = buys(customer, sold)
    ask(stripe, "DELETE", f"/v1/subscriptions/{ended}")
    for number in range(100):
        stripe._account.add(copy.deepcopy(stripe.subscriptions[ended]) | {"id": f"sub_more{number}"})

    answer = link(customer)
    assert (answer.status, (answer.json["subscription"] or {}).get("id")) == (200, living)
    assert api("POST", "/subscription", ORDER).json["code"] == "already_subscribed"


# While a Stripe customer of its own is being made


def test_no_second_stripe_customer_is_made_by_whoever_subscribes_meanwhile(
    api, sold, theirs, buys, link, stripe, moments
):
    """Subscribing comes in between whatever the link says, and the link in between whatever subscribing says."""
    customer = theirs()
    buys(customer, sold)
    moments.once("before TransactWriteItems", lambda: api("POST", "/subscription", ORDER | {"quantity": 2}))
    answer = link(customer)

    if answer.status == 200:
        assert set(stripe.customers) == {customer}
    else:
        assert answer.json["code"] == "already_linked"


@pytest.mark.parametrize("moment", range(0, 24))
def test_a_link_at_any_moment_of_subscribing(api, sold, theirs, buys, link, stripe, moments, moment):
    customer = theirs()
    buys(customer, sold)
    answers, passed = [], iter(range(moment))

    def between(_):
        if next(passed, None) is None:
            moments.remove(between)
            answers.append(link(customer))

    moments.append(between)
    bought = api("POST", "/subscription", ORDER)
    if between in moments:
        moments.remove(between)
        return
    (answer,) = answers
    live = [each for each in stripe.subscriptions.values() if each["status"] == "active"]
    if answer.status == 200:  # it came first: nothing is bought, and no other Stripe customer is there
        assert (bought.status, bought.json["code"]) == (409, "already_subscribed")
        assert (set(stripe.customers), len(live), record().stripe_id) == ({customer}, 1, customer)
    else:  # it came too late, is told so, and that is the end of it
        assert answer.json["code"] in ("already_linked", "change_in_flight")
        assert (bought.status, len(live), len(stripe.customers)) == (200, 2, 2)
        assert (link(customer).json["code"], record().stripe_id) == ("already_linked", live[1]["customer"])
        assert "customer" not in stripe.customers[customer]["metadata"]


@pytest.fixture
def half_registered(api, stripe, moments):
    """Someone died when Stripe had made a customer for Ada, and before it was on record."""

    def die(now):
        if now == "after post":
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api("PUT", "/customer", {"name": "Ada"})
    moments.remove(die)
    (orphan,) = stripe.customers
    assert record().registering_since
    return orphan


def test_nobody_is_linked_while_someone_may_be_making_one(half_registered, theirs, link, stripe):
    answer = link(theirs())
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (409, "change_in_flight", "5")
    assert record().stripe_id is None


def test_what_a_dead_maker_left_is_alarmed_and_no_customer_of_ours(
    half_registered, theirs, link, stripe, clock, caplog
):
    customer = theirs()
    clock.pass_by(seconds=PATIENCE)

    assert (link(customer).status, record().stripe_id) == (200, customer)
    (told,) = [each for each in caplog.records if each.getMessage() == "registration_given_up"]
    assert (told.stripe_customer, told.others) == (customer, [half_registered])
    link(customer)
    assert alarms(caplog) == ["registration_given_up"]


def test_a_stripe_customer_that_says_it_is_another_customer_of_ours_is_not_taken_from_that_one(
    api, plans, link, stripe, moments, clock
):
    def die(now):
        if now == "after post":
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api("PUT", "/customer", {"name": "Bob"}, customer="bob")
    moments.remove(die)
    (bobs,) = stripe.customers
    clock.pass_by(seconds=PATIENCE)

    refused = link(bobs)
    bought = api("POST", "/subscription", ORDER, customer="bob")
    assert (bought.status, refused.status, stripe.customers[bobs]["metadata"]) == (200, 409, {"customer": "bob"})


# Deaths


def test_whoever_dies_is_completed_by_the_next(api, sold, theirs, buys, link, stripe, moments):
    for moment in range(60):
        who, customer = f"customer-{moment}", theirs()
        first, second = buys(customer, sold), buys(customer, sold)
        passed = iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            link(customer, customer=who)
        except Death:
            pass
        else:
            break
        finally:
            moments.remove(die)
        answer = link(customer, customer=who)
        (other,) = {first, second} - {answer.json["subscription"]["id"]}
        assert (answer.status, customer_table.aside(who, other).theirs.status) == (200, "active")
        assert {each.subscription for each in customer_table.invoices(who, 9)} == {first, second}
        assert stripe.customers[customer]["metadata"] == {"customer": who}
    assert moment >= 20


def test_many_subscriptions_and_invoices_fit_into_one_transaction(api, sold, theirs, buys, link):
    customer = theirs()
    bought = {buys(customer, sold) for _ in range(14)}

    assert link(customer).json["subscription"]["id"] in bought
    assert len(customer_table.invoices("ada", 99)) == 10


@pytest.fixture
def billed(stripe):
    """A draft invoice made past us."""

    def made(customer):
        ask(stripe, "POST", "/v1/invoiceitems", customer=customer, amount="900", currency="usd")
        said = {"customer": customer, "pending_invoice_items_behavior": "include"}
        return ask(stripe, "POST", "/v1/invoices", **said)["id"]

    return made


def test_an_open_invoice_comes_along_however_many_are_newer_and_a_draft_does_not(
    plans, theirs, billed, link, stripe, clock
):
    customer = theirs()
    owed = billed(customer)
    ask(stripe, "POST", f"/v1/invoices/{owed}/finalize")
    for _ in range(11):
        clock.pass_by(seconds=2)
        ask(stripe, "POST", f"/v1/invoices/{billed(customer)}/pay")
    draft = billed(customer)

    assert link(customer).status == 200
    known = {each.id: each.status for each in customer_table.invoices("ada", 50)}
    assert known[owed] == "open" and draft not in known
