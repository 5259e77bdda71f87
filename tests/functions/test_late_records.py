"""A wish that comes while our record is behind Stripe's: nothing is decided on what is no longer so."""

import time
from dataclasses import replace

import pytest

from billing import customer_table, dynamodb, records
from billing.customers import Revision
from billing.holds import LIFE, PATIENCE

NOW = int(time.time())
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
PRO = {"plan_slug": "pro", "payment_method": "pm_card_visa"}


class Death(BaseException):
    """No handler of ours may catch it."""


def record():
    return customer_table.find("ada", NOW)


def rewrite(**fields):
    """Our record alone is changed."""
    before = record()
    records.commit(before, Revision(replace(before, version=before.version + 1, **fields), moved=True))


def age(seconds):
    """As if the hold had been made so long ago."""
    held = record().pending
    assert held
    rewrite(pending=replace(held, held_at=held.held_at - seconds, sent_at=held.sent_at - seconds))


def live(stripe):
    return [each for each in stripe.subscriptions.values() if each["status"] not in ("canceled", "incomplete_expired")]


def paid(stripe):
    return [each["total"] for each in stripe.invoices.values() if each["status"] == "paid" and each["total"] > 0]


def said_to_stripe(stripe, path, **params):
    status, answer = stripe.handle("POST", path, params)
    assert status == 200, answer
    return answer


def confirm(stripe, subscription):
    """The browser pays what is open."""
    theirs = stripe.subscriptions[subscription]
    card = said_to_stripe(stripe, "/v1/payment_methods/pm_card_visa/attach", customer=theirs["customer"])
    said_to_stripe(stripe, f"/v1/invoices/{theirs['latest_invoice']}/pay", payment_method=card["id"])


def card_fails(stripe, subscription):
    theirs = stripe.subscriptions[subscription]["customer"]
    card = said_to_stripe(stripe, "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=theirs)
    said_to_stripe(stripe, f"/v1/subscriptions/{subscription}", default_payment_method=card["id"])


@pytest.fixture
def dead(api, moments):
    """A maker who dies before Stripe hears of the creation; how long ago is said."""

    def hold(order, ago):
        def die(now):
            if now == "before post":
                raise Death

        moments.append(die)
        with pytest.raises(Death):
            api("POST", "/subscription", order)
        moments.remove(die)
        age(ago)

    return hold


@pytest.mark.parametrize("wish", [PRO, {"plan_slug": "team", "payment_method": "pm_card_visa"}])
def test_what_was_paid_a_moment_ago_is_not_cancelled_and_charged_again(api, plans, stripe, wish):
    first = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    confirm(stripe, first)
    answer = api("POST", "/subscription", wish)

    assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
    assert (stripe.subscriptions[first]["status"], paid(stripe)) == ("active", [2000])


def test_what_is_paid_while_it_is_being_replaced_stays(api, plans, stripe, moments):
    first = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    heard = []

    def pay(now):
        heard.append(now)
        if now == "before post" and heard.count("before post") == 3:  # attach, default, and now the invoice is voided
            confirm(stripe, first)

    moments.append(pay)
    answer = api("POST", "/subscription", PRO)

    assert (answer.status, stripe.subscriptions[first]["status"], paid(stripe)) == (409, "active", [2000])
    assert record().pending is None


def test_what_was_paid_a_moment_ago_is_cancelled_at_the_end_of_its_period(api, plans, stripe):
    first = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    confirm(stripe, first)

    assert api("POST", "/subscription/cancel", {}).json["cancel_at_period_end"] is True
    assert stripe.subscriptions[first]["status"] == "active"


def test_a_dead_hold_that_is_sent_again_is_young_to_the_others(api, plans, stripe, moments, dead):
    api("PUT", "/customer", {"email": "ada@example.com"})
    dead({"plan_slug": "team"}, PATIENCE + 9)
    others = []
    moments.once("before post", lambda: others.append(api("POST", "/subscription", {"plan_slug": "pro"})))
    answer = api("POST", "/subscription", {"plan_slug": "team"})

    assert (answer.status, others[0].status, others[0].json["code"]) == (200, 409, "change_in_flight")
    assert len(live(stripe)) == 1


def test_whoever_joins_too_late_to_have_ended_in_time_only_looks(api, plans, stripe, dead):
    api("PUT", "/customer", {"email": "ada@example.com"})
    dead({"plan_slug": "team"}, PATIENCE - LIFE + 1)
    stripe.calls.clear()

    assert api("POST", "/subscription", {"plan_slug": "team"}).json["code"] == "change_in_flight"
    assert {call.method for call in stripe.calls} == {"GET"}


def test_two_who_cancel_the_same_unpaid_one_make_one_new_one(api, plans, stripe, moments):
    api("POST", "/subscription", {"plan_slug": "team"})
    others, heard = [], []

    def join(now):
        heard.append(now)
        if heard.count("before post") == 3 and not others:  # attach, default, and now the unpaid invoice is voided
            others.append(None)
            others[0] = api("POST", "/subscription", PRO)

    moments.append(join)
    answer = api("POST", "/subscription", PRO)

    assert (answer.status, others[0].status) == (200, 200)
    assert (len(live(stripe)), paid(stripe), record().pending) == (1, [10_000], None)


def test_what_waits_for_the_next_invoice_is_charged_when_there_will_be_none(api, subscribed, stripe):
    for seats in range(6, 14):
        assert api("PUT", "/subscription/seats", {"quantity": seats}).json["billed"] == "now"
    waits = api("PUT", "/subscription/seats", {"quantity": 50}).json
    api("POST", "/subscription/cancel", {"immediately": True})

    assert waits["billed"] == "next_invoice"
    final = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert (final["status"], final["total"]) == ("draft", waits["proration"]["net_cents"])  # Stripe's hour


def test_a_proration_is_of_its_own_change_alone(api, subscribed, stripe):
    one, two = (api("PUT", "/subscription/seats", {"quantity": seats}).json["proration"] for seats in (4, 3))

    assert (one["net_cents"], two["net_cents"], two["waiting_cents"]) == (-1000, -1000, -1000)


def test_a_downgrade_does_not_invoice_what_waits(api, subscribed, stripe):
    for seats in range(6, 14):
        api("PUT", "/subscription/seats", {"quantity": seats})
    up = api("PUT", "/subscription/seats", {"quantity": 50}).json
    ours = record().subscription
    assert ours
    rewrite(subscription=replace(ours, invoiced_at=[]))
    down = api("PUT", "/subscription/seats", {"quantity": 49}).json

    assert (up["billed"], down["billed"]) == ("next_invoice", "next_invoice")
    assert (down["proration"]["net_cents"], down["proration"]["waiting_cents"]) == (-1000, 37_000)


def test_an_upgrade_takes_what_waits_along_and_the_invoice_is_both(api, subscribed, stripe):
    api("PUT", "/subscription/seats", {"quantity": 4})
    up = api("PUT", "/subscription/seats", {"quantity": 8}).json

    invoice = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert invoice["total"] == up["proration"]["net_cents"] + up["proration"]["waiting_cents"] == 3000


def test_a_date_far_off_is_no_cancellation_at_the_end_of_the_period(api, subscribed, stripe):
    end = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["current_period_end"]
    said_to_stripe(stripe, f"/v1/subscriptions/{subscribed['id']}", cancel_at=str(end + 150 * 86_400))
    answer = api("POST", "/subscription/cancel", {})

    assert answer.json["cancel_at_period_end"] is True
    assert stripe.subscriptions[subscribed["id"]]["cancel_at"] == end


def test_a_wish_that_equals_a_change_that_is_gone_is_made(api, subscribed, stripe):
    card_fails(stripe, subscribed["id"])
    api("PUT", "/subscription/seats", {"quantity": 8})
    said_to_stripe(stripe, f"/v1/invoices/{stripe.subscriptions[subscribed['id']]['latest_invoice']}/void")
    again = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (again.status, again.json["pending_change"]["seats"]) == (200, 8)


def test_what_has_been_paid_cannot_be_withdrawn(api, subscribed, stripe):
    card_fails(stripe, subscribed["id"])
    api("PUT", "/subscription/seats", {"quantity": 8})
    confirm(stripe, subscribed["id"])

    assert api("DELETE", "/subscription/change").status == 404
    assert api("GET", "/subscription").json["seats"] == 8


def test_a_change_of_plan_keeps_the_seats_that_stripe_has(api, subscribed, stripe):
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    said_to_stripe(stripe, f"/v1/subscriptions/{subscribed['id']}", items={"0": {"id": item, "quantity": "9"}})

    assert api("PUT", "/subscription/plan", {"plan_slug": "pro"}).json["seats"] == 9


def test_a_change_after_a_renewal_that_we_have_not_heard_of_is_of_the_new_period(api, subscribed, stripe):
    ours = record().subscription
    assert ours
    theirs = ours.theirs
    month = theirs.current_period_end - theirs.current_period_start
    old = replace(theirs, current_period_start=theirs.current_period_start - month)
    old = replace(old, current_period_end=theirs.current_period_start)
    rewrite(subscription=replace(ours, theirs=old))

    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8


def test_an_unpaid_one_that_is_gone_is_made_again(api, plans, stripe):
    first = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    stripe.handle("DELETE", f"/v1/subscriptions/{first}")
    again = api("POST", "/subscription", {"plan_slug": "team"}).json

    assert (again["status"], again["id"] != first) == ("incomplete", True)


def test_a_key_that_is_used_again_after_its_day_finds_nothing_old(api, subscribed, stripe):
    api("PUT", "/subscription/seats", {"quantity": 8}, key="k")
    for item in dynamodb.query("Subscriptions", "customer#ada", "change#"):
        key = {"pk": item["pk"], "sk": item["sk"]}
        dynamodb.db().delete_item(TableName="Subscriptions", Key=dynamodb.encode(key))
    stripe._keys._kept.clear()  # Stripe has forgotten, too
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    said_to_stripe(stripe, f"/v1/subscriptions/{subscribed['id']}", items={"0": {"id": item, "quantity": "4"}})
    stripe.fault("failed", method="POST", path="/v1/subscriptions/sub_.*")

    answers = [api("PUT", "/subscription/seats", {"quantity": 8}, key="k") for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]  # Stripe repeats its failure once under a key
    assert answers[-1].json["seats"] == 8


def test_tables_that_begin_anew_take_no_old_answer_for_news(api, subscribed, stripe):
    api("POST", "/subscription/cancel", {"immediately": True})
    for item in dynamodb.db().scan(TableName="Subscriptions")["Items"]:
        dynamodb.db().delete_item(TableName="Subscriptions", Key={"pk": item["pk"], "sk": item["sk"]})
    time.sleep(1 - time.time() % 1)  # another second: that is when the records begin
    answer = api("POST", "/subscription", ORDER).json

    assert (answer["status"], stripe.subscriptions[answer["id"]]["status"]) == ("active", "active")


def test_what_lives_at_stripe_is_found_before_another_is_made(api, subscribed, stripe):
    rewrite(subscription=None)

    assert api("POST", "/subscription", ORDER).json["id"] == subscribed["id"]
    assert api("POST", "/subscription", PRO).json["code"] == "already_subscribed"
    assert len(live(stripe)) == 1


def test_a_customer_that_stripe_has_deleted_is_made_again(api, subscribed, stripe):
    (old,) = stripe.customers
    api("POST", "/subscription/cancel", {"immediately": True})
    stripe.handle("DELETE", f"/v1/customers/{old}")

    assert api("POST", "/subscription", ORDER).json["status"] == "active"
    assert record().stripe_id != old


def test_a_settled_key_is_answered_though_its_plan_is_retired(api, plans, stripe):
    first = api("POST", "/subscription", ORDER, key="k")
    api("DELETE", "/plans/team")

    assert api("POST", "/subscription", ORDER, key="k").json == first.json


def test_a_refused_order_makes_no_customer_at_stripe(api, plans, stripe):
    assert api("POST", "/subscription", ORDER | {"quantity": 51}).status == 422
    assert len(stripe.customers) == 0 and record().version == 0


def test_another_card_on_a_live_subscription_is_not_swallowed(api, subscribed, stripe):
    other = api("POST", "/subscription", ORDER | {"payment_method": "pm_card_mastercard"})

    assert (other.status, other.json["code"]) == (409, "already_subscribed")
    assert api("POST", "/subscription", ORDER).json["id"] == subscribed["id"]


def test_the_longest_name_of_a_customer_fits(api, plans, stripe):
    assert api("POST", "/subscription", ORDER, customer="c" * 255).json["status"] == "active"
