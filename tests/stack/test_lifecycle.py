"""The life of a subscription on the deployed stack: its functions may do what they need, and events do the rest."""

import pytest

PAGES = {"success_url": "https://localhost/thanks", "cancel_url": "https://localhost/prices"}


@pytest.fixture
def promotion(stripe):
    coupon = stripe.coupons.create({"percent_off": 50, "duration": "forever"})
    code = f"HALF{coupon.id}"
    stripe.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": code})
    return code


def test_a_page_of_checkout_is_completed_and_stripes_events_bring_the_subscription(stack, someone, plans, eventually):
    bob = someone()
    order = {"plan_slug": "team", "quantity": 3} | PAGES
    page, again = (bob.ask("POST", "/checkout", order) for _ in range(2))
    assert (page.status, again.json["url"]) == (200, page.json["url"])
    assert bob.ask("GET", "/subscription").status == 404
    bought = stack.simulator.complete_checkout(page.json["id"])

    eventually(lambda: bob.ask("GET", "/subscription").json.get("id"), bought)
    seen = bob.ask("GET", "/subscription").json
    assert (seen["status"], seen["plan"], seen["seats"], seen["access"]) == ("active", "team", 3, True)
    assert bob.ask("POST", "/checkout", order).json["code"] == "already_subscribed"
    eventually(lambda: bob.record["checkout"], None)


def test_a_quote_a_change_to_come_and_its_withdrawal(ada, eventually):
    quoted = ada.ask("POST", "/subscription/quote", {"quantity": 8}).json
    changed = ada.ask("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})
    later = ada.ask("PUT", "/subscription/seats", {"quantity": 2, "effective": "period_end"})
    upcoming = ada.ask("GET", "/invoices/upcoming")
    assert (changed.json["seats"], changed.json["proration"]["net_cents"]) == (8, quoted["net_cents"])
    assert (later.json["scheduled_change"]["seats"], upcoming.json["total_cents"]) == (2, 3000)
    used = ada.ask("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})
    assert (used.status, used.json["code"]) == (409, "quote_used")
    withdrawn = ada.ask("DELETE", "/subscription/change")

    assert (withdrawn.status, withdrawn.json["scheduled_change"]) == (200, None)
    eventually(ada.ours, ada.theirs())


def test_a_discount_a_pause_and_money_back(stack, ada, promotion, eventually):
    off = ada.ask("PUT", "/subscription/discount", {"promotion_code": promotion})
    assert [each["promotion_code"] for each in off.json["discounts"]] == [promotion]
    assert ada.ask("POST", "/subscription/pause", {}).json["access"] is False
    assert ada.ask("POST", "/subscription/resume").json["access"] is True
    ended = ada.ask("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"}).json

    assert (ended["status"], ended["given_back"]["refunded_cents"]) == ("canceled", 6000)
    (customer,) = ada.at_stripe()
    notes = [each["total"] for each in stack.simulator.credit_notes.values() if each["customer"] == customer]
    assert notes == [6000]
    eventually(ada.ours, ada.theirs())


def test_what_a_customer_cancels_in_the_portal_is_heard_of_and_undone_here(stack, ada, eventually):
    assert ada.ask("POST", "/portal", {"return_url": "https://localhost/billing"}).json["url"]
    stack.simulator.portal_cancel(ada.theirs()["id"])
    eventually(lambda: ada.ask("GET", "/subscription").json["cancel_at_period_end"], True)
    resumed = ada.ask("POST", "/subscription/resume")

    assert (resumed.status, resumed.json["cancel_at_period_end"]) == (200, False)


def test_a_second_trial_on_a_card_is_ended_when_stripe_tells_of_it(stack, someone, call, plans, eventually):
    admin = stack.token("operator", "billing/admin")
    offer = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
    assert call("PUT", "/plans/trial", admin, offer | {"trial_days": 14}).status == 200
    card = "pm_card_visa_lifecycle"
    eve, bob = someone(), someone()
    first = eve.ask("POST", "/subscription", {"plan_slug": "trial", "payment_method": card}).json
    page = bob.ask("POST", "/checkout", {"plan_slug": "trial"} | PAGES).json
    stack.simulator.complete_checkout(page["id"], payment_method=card)

    assert first["status"] == "trialing"
    eventually(lambda: bob.ask("GET", "/subscription").json.get("status"), "active")
    paid = [each["total"] for each in stack.simulator.invoices.values() if each["customer"] in bob.at_stripe()]
    assert paid[-1] == 2000


def test_who_is_on_a_version_of_a_plan_is_told_to_operators_only(stack, ada, call):
    version = ada.ask("GET", "/subscription").json["plan_version"]
    path = f"/plans/team/versions/{version}/subscriptions"
    told = call("GET", path, stack.token("operator", "billing/admin"))

    assert ada.name in {each["customer"] for each in told.json["subscriptions"]}
    assert call("GET", path, ada.token).status == 403
