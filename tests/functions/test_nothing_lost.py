"""What was to come and got lost, who was locked out, what was answered and was not so, once; found by a review."""

import pytest

from billing import customer_table
from billing.holds import PATIENCE
from tests.functions.at_stripe import Death, ask, attached, hear, pays_with

LATER = {"effective": "period_end"}
CARD = {"payment_method": "pm_card_visa"}


def at_call(stripe, moments, method, path, act, when="after"):
    """Acts once, when Stripe has (or is about to be) asked this."""

    def listen(now):
        last = stripe.calls[-1] if stripe.calls else None
        if now == f"{when} {method.lower()}" and last and last.method == method and last.path.startswith(path):
            moments.remove(listen)
            act()

    moments.append(listen)


def die():
    raise Death


@pytest.fixture
def fewer(api, subscribed):
    answer = api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    assert answer.status == 200, answer.json
    return answer.json


def test_what_was_to_come_is_put_back_if_a_resume_is_declined(api, subscribed, fewer, stripe):
    assert api("POST", "/subscription/pause", {}).json["scheduled_change"]
    stripe.fault("card_declined", method="POST", path=f"/v1/subscriptions/{subscribed['id']}$", times=1)
    declined = api("POST", "/subscription/resume")

    assert declined.status == 402
    assert [len(each["phases"]) for each in attached(stripe)] == [2]


def test_what_was_to_come_is_put_back_if_a_resume_dies_and_another_wish_comes(
    api, subscribed, fewer, stripe, clock, moments
):
    assert api("POST", "/subscription/pause", {}).json["scheduled_change"]
    at_call(stripe, moments, "POST", "/v1/subscription_schedules", die)  # it is released
    with pytest.raises(Death):
        api("POST", "/subscription/resume")
    assert attached(stripe) == []
    clock.pass_by(seconds=PATIENCE)
    assert api("PUT", "/customer", {"name": "Ada"}).status == 200

    assert [len(each["phases"]) for each in attached(stripe)] == [2]


def test_what_was_to_come_is_put_back_though_someone_dies_while_putting_it_back(
    api, subscribed, fewer, stripe, clock, moments
):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    clock.pass_by(hours=24)
    stripe.tick()
    stripe.calls.clear()
    at_call(stripe, moments, "POST", "/v1/subscription_schedules", die)  # made, and not yet given its phases
    with pytest.raises(Death):
        hear(stripe, subscribed["id"], clock)
    hear(stripe, subscribed["id"], clock, "evt_2", "subscription_schedule.created")
    hear(stripe, subscribed["id"], clock, "evt_3")

    assert [len(each["phases"]) for each in attached(stripe)] == [2]


@pytest.mark.parametrize("kind", ["failed", "failed_after"])
def test_a_refund_that_failed_at_stripe_once_is_made_by_a_retry(api, subscribed, stripe, clock, kind):
    clock.pass_by(days=10)
    stripe.fault(kind, method="POST", path="/v1/credit_notes", times=1)
    wish = ("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"})
    answers = []
    for _ in range(4):
        answers.append(api(*wish, key="k").status)
        clock.pass_by(seconds=PATIENCE)

    assert answers[-1] == 200, answers
    assert len(stripe.credit_notes) == 1


def test_a_customer_is_not_locked_out_because_putting_back_failed_at_stripe_once(api, subscribed, fewer, stripe, clock):
    stripe.fault("card_declined", method="POST", path=f"/v1/subscriptions/{subscribed['id']}$", times=1)
    stripe.fault("failed", method="POST", path="/v1/subscription_schedules$", times=1)
    answers = [api("PUT", "/subscription/seats", {"quantity": 8}).status]
    for _ in range(4):
        clock.pass_by(seconds=PATIENCE)
        answers.append(api("PUT", "/customer", {"name": "Ada"}).status)

    assert answers[-1] == 200, answers
    assert [len(each["phases"]) for each in attached(stripe)] == [2]


def test_a_quote_of_other_seats_joins_nothing(api, subscribed, stripe, moments):
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    others = []

    def other():
        wanted = {"quantity": 9, "quote_id": quoted["quote_id"]}
        others.append(api("PUT", "/subscription/seats", wanted))

    at_call(stripe, moments, "POST", "/v1/subscriptions/", other)
    assert api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]}).status == 200
    assert others[0].status != 200, (others[0].status, others[0].json["seats"])


def test_a_change_paid_while_it_is_withdrawn_is_not_withdrawn(api, subscribed, stripe, clock, moments):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]

    def pay():
        theirs = stripe.subscriptions[subscribed["id"]]["customer"]
        card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=theirs)
        ask(stripe, "POST", f"/v1/invoices/{invoice}/pay", payment_method=card["id"])
        hear(stripe, subscribed["id"], clock)

    moments.once("after PutItem", pay)  # it is held
    answer = api("DELETE", "/subscription/change", key="k")

    assert stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["quantity"] == 8
    assert answer.status != 200, answer.json


def test_a_change_that_has_come_while_it_is_withdrawn_is_not_withdrawn(api, subscribed, fewer, stripe, clock, moments):
    def come():
        clock.pass_by(days=32)
        stripe.tick()

    moments.once("after PutItem", come)  # it is held
    answer = api("DELETE", "/subscription/change")

    assert stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["quantity"] == 3
    assert answer.status != 200, answer.json


def test_a_change_that_died_is_made_by_the_same_wish_after_the_renewal(api, subscribed, stripe, clock, moments):
    clock.pass_by(days=29, hours=14)
    at_call(stripe, moments, "POST", "/v1/invoices/create_preview", lambda: moments.once("before post", die))
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": 8})
    assert customer_table.find("ada", 0).pending
    clock.pass_by(hours=22)
    stripe.tick()
    assert [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    answer = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (answer.status, answer.json.get("seats")) == (200, 8), answer.json


def test_an_unknown_price_is_refused_with_a_code(api, subscribed, stripe):
    product = ask(stripe, "POST", "/v1/products", name="Other")
    price = ask(
        stripe,
        "POST",
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount="700",
        recurring={"interval": "month"},
    )
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["id"]
    ask(
        stripe,
        "POST",
        f"/v1/subscriptions/{subscribed['id']}",
        items=[{"id": item, "price": price["id"], "quantity": "5"}],
    )
    for call in (
        ("PUT", "/subscription/seats", {"quantity": 8}),
        ("POST", "/subscription/quote", {"quantity": 8}),
        ("PUT", "/subscription/plan", {"plan_slug": "pro"}),
        ("PUT", "/subscription/discount", {"promotion_code": None}),
        ("POST", "/subscription/cancel", {}),
        ("POST", "/subscription/resume", None),
        ("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"}),
    ):
        answer = api(*call)
        assert answer.status == 200 or answer.json["code"], call


def test_a_change_for_later_that_came_to_nothing_leaves_no_schedule(api, subscribed, stripe, clock, moments):
    at_call(stripe, moments, "POST", "/v1/subscription_schedules", die)  # made, and not yet given its phases
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    clock.pass_by(seconds=PATIENCE)
    assert api("PUT", "/customer", {"name": "Ada"}).status == 200
    assert customer_table.find("ada", 0).pending is None

    assert attached(stripe) == [], "whoever has the dashboard or the portal can change nothing now"
