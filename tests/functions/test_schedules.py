"""A change at the end of the period: seen, replaced, withdrawn, put aside for another, put back if that fails."""

import pytest

from billing import customer_table
from tests.functions.at_stripe import ask, hear, pays_with

YEAR = {"name": "Year", "billing_interval": "year", "currency": "usd", "base_price_cents": 20_000}
YEAR |= {"price_per_seat_cents": 10_000, "max_seats": 50}
LATER = {"effective": "period_end"}


def schedules(stripe, status="active"):
    return [each for each in stripe.subscription_schedules.values() if each["status"] == status]


@pytest.fixture
def by_dashboard(stripe, subscribed):
    """A schedule that someone makes in Stripe's dashboard: the phase that runs, and what comes after it."""

    def make(*coming, **settings):
        made = ask(stripe, "POST", "/v1/subscription_schedules", from_subscription=subscribed["id"])
        now = made["phases"][0]
        span = {"start_date": str(now["start_date"]), "end_date": str(now["end_date"])}
        item = {"price": now["items"][0]["price"], "quantity": "5"}
        month = {"duration": {"interval": "month"}}
        phases = [span | {"items": [item]}]
        phases += [month | {"items": [item | {"quantity": seats}]} | said for seats, said in coming]
        ask(stripe, "POST", f"/v1/subscription_schedules/{made['id']}", phases=phases, **settings)

    return make


def record():
    return customer_table.find("ada", 0)


@pytest.fixture
def fewer(api, subscribed):
    """Ada wants three seats from the end of the period on."""
    answer = api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    assert answer.status == 200, answer.json
    return answer.json


def test_it_is_seen_and_nothing_else_is_changed(api, subscribed, fewer, stripe):
    to_come = {"plan": "team", "plan_version": 1, "seats": 3, "effective_at": subscribed["current_period_end"]}

    assert (fewer["seats"], fewer["scheduled_change"], fewer["billed"]) == (5, to_come, None)
    assert (fewer["proration"]["net_cents"], fewer["proration"]["lines"]) == (0, [])
    assert api("GET", "/subscription").json["scheduled_change"] == to_come
    assert len(schedules(stripe)) == 1 and not stripe.invoice_items


def test_it_takes_effect_at_the_end_of_the_period(api, subscribed, fewer, stripe, clock):
    clock.pass_by(days=32)
    answer = api("PUT", "/subscription/seats", {"quantity": 3} | LATER)

    assert (answer.json["seats"], answer.json["scheduled_change"]) == (3, None)
    renewal = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    assert [each["total"] for each in renewal] == [4000]
    assert api("GET", "/subscription").json["seats"] == 3


@pytest.mark.parametrize(
    ("policy", "wanted", "when"),
    [
        ({"downgrades": "period_end"}, {"quantity": 3}, "period_end"),
        ({"downgrades": "period_end"}, {"quantity": 8}, "now"),
        ({"downgrades": "now"}, {"quantity": 3}, "now"),
        ({"upgrades": "period_end"}, {"quantity": 8}, "period_end"),
        ({"upgrades": "period_end"}, {"quantity": 8, "effective": "now"}, "now"),
        ({"downgrades": "now"}, {"quantity": 3, "effective": "period_end"}, "period_end"),
    ],
)
def test_the_plan_says_when_unless_the_wish_does(api, plans, stripe, policy, wanted, when):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    assert api("PUT", "/plans/team", offer | policy).status == 200
    assert (
        api("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}).status
        == 200
    )
    quoted = api("POST", "/subscription/quote", wanted).json
    answer = api("PUT", "/subscription/seats", wanted).json

    assert quoted["effective"] == when
    seats = (5, wanted["quantity"]) if when == "period_end" else (wanted["quantity"], None)
    assert (answer["seats"], answer["scheduled_change"] and answer["scheduled_change"]["seats"]) == seats


def test_a_quote_of_it_costs_nothing_now_and_binds(api, subscribed, stripe, clock):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 3} | LATER).json
    answer = api("PUT", "/subscription/seats", {"quantity": 3, "quote_id": quoted["quote_id"]})

    assert (quoted["billed"], quoted["due_now_cents"], quoted["next_invoice_cents"]) == (None, 0, 4000)
    assert answer.json["scheduled_change"]["seats"] == 3
    clock.pass_by(days=22)
    stripe.tick()
    renewal = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    assert [each["total"] for each in renewal] == [quoted["next_invoice_cents"]]


def test_the_same_wish_again_is_answered_and_another_one_replaces_it(api, subscribed, fewer, stripe):
    stripe.calls.clear()
    again = api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    assert not [call for call in stripe.calls if call.method == "POST"]
    other = api("PUT", "/subscription/plan", {"plan_slug": "pro", "quantity": 4} | LATER)

    assert again.json["scheduled_change"] == fewer["scheduled_change"]
    assert (other.json["scheduled_change"]["plan"], other.json["scheduled_change"]["seats"]) == ("pro", 4)
    assert len(schedules(stripe)) == 1


@pytest.mark.parametrize(
    "withdraw", [("DELETE", "/subscription/change", None), ("PUT", "/subscription/seats", {"quantity": 5})]
)
def test_it_is_withdrawn_or_wished_away(api, subscribed, fewer, stripe, clock, withdraw):
    answer = api(*withdraw)

    assert (answer.status, answer.json["scheduled_change"], schedules(stripe)) == (200, None, [])
    assert api("DELETE", "/subscription/change").status == 404
    clock.pass_by(days=32)
    stripe.tick()
    assert stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["quantity"] == 5


def test_a_change_that_takes_effect_now_takes_its_place(api, subscribed, fewer, stripe):
    answer = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (answer.json["seats"], answer.json["scheduled_change"], schedules(stripe)) == (8, None, [])


def test_a_cancellation_takes_its_place(api, subscribed, fewer, stripe):
    answer = api("POST", "/subscription/cancel", {})

    assert (answer.json["cancel_at_period_end"], answer.json["scheduled_change"]) == (True, None)
    refused = api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    assert (refused.status, refused.json["code"]) == (422, "not_changeable")


@pytest.mark.parametrize(
    "other",
    [
        ("POST", "/subscription/pause", {}),
        ("PUT", "/subscription/discount", {"promotion_code": "HALF"}),
    ],
)
def test_what_has_nothing_to_do_with_it_leaves_it_to_come(api, subscribed, fewer, stripe, clock, other):
    _, coupon = stripe.handle("POST", "/v1/coupons", {"duration": "forever", "percent_off": "50"})
    stripe.handle(
        "POST", "/v1/promotion_codes", {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "HALF"}
    )
    answer = api(*other)

    assert (answer.status, answer.json["scheduled_change"]) == (200, fewer["scheduled_change"])
    clock.pass_by(days=32)
    stripe.tick()
    assert stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["quantity"] == 3
    assert bool(stripe.subscriptions[subscribed["id"]]["discounts"]) == ("discount" in other[1])


def test_it_is_put_back_if_the_change_that_puts_it_aside_is_declined(api, subscribed, fewer, stripe):
    stripe.fault("card_declined", method="POST", path=f"/v1/subscriptions/{subscribed['id']}$", times=1)
    declined = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (declined.status, declined.json["code"]) == (402, "payment_declined")
    assert len(schedules(stripe)) == 1
    now = api("PUT", "/subscription/seats", {"quantity": 3} | LATER).json
    assert (now["seats"], now["scheduled_change"]) == (5, fewer["scheduled_change"])


def test_it_is_put_back_if_the_change_that_puts_it_aside_is_withdrawn_unpaid(api, subscribed, fewer, stripe):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    waits = api("PUT", "/subscription/seats", {"quantity": 8}).json
    assert (waits["pending_change"]["status"], waits["scheduled_change"]) == ("awaiting_payment", None)
    answer = api("DELETE", "/subscription/change").json

    assert (answer["seats"], answer["pending_change"], answer["scheduled_change"]) == (
        5,
        None,
        fewer["scheduled_change"],
    )
    assert len(schedules(stripe)) == 1 and record().subscription.awaiting is None


def test_it_is_put_back_if_the_change_that_puts_it_aside_is_never_paid(api, subscribed, fewer, stripe, clock):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    clock.pass_by(hours=24)
    stripe.tick()
    assert stripe.subscriptions[subscribed["id"]]["pending_update"] is None
    hear(stripe, subscribed["id"], clock)

    assert len(schedules(stripe)) == 1
    seen = api("GET", "/subscription").json
    assert (seen["seats"], seen["scheduled_change"]) == (5, fewer["scheduled_change"])


def test_what_is_put_back_after_its_time_comes_at_the_next_end_and_the_operator_is_told(
    api, subscribed, fewer, stripe, clock, caplog
):
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    clock.pass_by(seconds=item["current_period_end"] - clock.now() - 6 * 3600)
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 40}).json["pending_change"]
    pays_with(stripe, subscribed["id"], "pm_card_visa")
    clock.pass_by(hours=8)
    stripe.tick()
    hear(stripe, subscribed["id"], clock)

    seen = api("GET", "/subscription").json
    assert (seen["scheduled_change"]["seats"], "scheduled_change_late" in caplog.text) == (3, True)
    assert seen["scheduled_change"]["effective_at"] == seen["current_period_end"]


def test_it_is_not_put_back_if_the_change_is_paid_later(api, subscribed, fewer, stripe, clock):
    pays_with(stripe, subscribed["id"], "pm_card_chargeCustomerFail")
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["pending_change"]
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    pays_with_visa = stripe.handle(
        "POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": stripe.invoices[invoice]["customer"]}
    )[1]
    assert stripe.handle("POST", f"/v1/invoices/{invoice}/pay", {"payment_method": pays_with_visa["id"]})[0] == 200
    hear(stripe, subscribed["id"], clock)

    seen = api("GET", "/subscription").json
    assert (seen["seats"], seen["pending_change"], seen["scheduled_change"], schedules(stripe)) == (8, None, None, [])


def test_from_monthly_to_yearly_at_the_end_of_the_period_begins_a_year_then(api, subscribed, stripe, clock):
    assert api("PUT", "/plans/year", YEAR).status == 200
    answer = api("PUT", "/subscription/plan", {"plan_slug": "year"} | LATER)
    assert answer.json["scheduled_change"]["plan"] == "year"
    clock.pass_by(days=32)
    stripe.tick()

    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    assert (item["current_period_end"] - item["current_period_start"]) // 86_400 in (365, 366)
    assert [each["total"] for each in stripe.invoices.values()][-1] == 60_000


def test_from_yearly_to_monthly_is_down_and_waits_and_begins_a_month_then(api, plans, stripe, clock):
    assert api("PUT", "/plans/year", YEAR).status == 200
    order = {"plan_slug": "year", "quantity": 5, "payment_method": "pm_card_visa"}
    subscribed = api("POST", "/subscription", order).json
    answer = api("PUT", "/subscription/plan", {"plan_slug": "team"})
    assert answer.json["scheduled_change"]["effective_at"] == subscribed["current_period_end"]
    clock.pass_by(days=366)
    stripe.tick()

    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    assert (item["current_period_end"] - item["current_period_start"]) // 86_400 in (28, 29, 30, 31)


def test_a_price_beside_the_plan_stays_in_the_next_phase(api, subscribed, stripe, clock):
    _, product = stripe.handle("POST", "/v1/products", {"name": "Support"})
    said = {"product": product["id"], "currency": "usd", "unit_amount": "700", "recurring": {"interval": "month"}}
    _, price = stripe.handle("POST", "/v1/prices", said)
    added = stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"items": [{"price": price["id"]}]})
    assert added[0] == 200, added
    api("PUT", "/subscription/seats", {"quantity": 3} | LATER)
    clock.pass_by(days=32)
    stripe.tick()

    items = stripe.subscriptions[subscribed["id"]]["items"]["data"]
    assert sorted(each["quantity"] for each in items) == [1, 3]


def test_what_is_scheduled_or_discounted_in_stripes_dashboard_is_seen(api, subscribed, stripe, clock):
    _, made = stripe.handle("POST", "/v1/subscription_schedules", {"from_subscription": subscribed["id"]})
    now = made["phases"][0]
    span = {"start_date": str(now["start_date"]), "end_date": str(now["end_date"])}
    item = {"price": now["items"][0]["price"], "quantity": "5"}
    phases = [span | {"items": [item]}, {"items": [item | {"quantity": "2"}], "duration": {"interval": "month"}}]
    assert stripe.handle("POST", f"/v1/subscription_schedules/{made['id']}", {"phases": phases})[0] == 200
    hear(stripe, subscribed["id"], clock)

    assert api("GET", "/subscription").json["scheduled_change"]["seats"] == 2
    assert api("DELETE", "/subscription/change").json["scheduled_change"] is None


def test_what_ends_with_a_schedule_of_the_dashboard_still_ends_after_a_pause(api, subscribed, stripe, by_dashboard):
    by_dashboard(("2", {}), ("1", {}), end_behavior="cancel")
    assert api("POST", "/subscription/pause", {}).status == 200

    (again,) = schedules(stripe)
    assert [each["items"][0]["quantity"] for each in again["phases"]] == [5, 2, 1]
    assert again["end_behavior"] == "cancel"


@pytest.mark.parametrize("again", ["pause", "resume"])
def test_what_ends_with_its_period_by_a_schedule_of_the_dashboard_still_ends(
    api, subscribed, stripe, clock, by_dashboard, again
):
    by_dashboard(end_behavior="cancel")
    assert api("POST", "/subscription/pause", {}).status == 200
    if again == "resume":
        assert api("POST", "/subscription/resume", {}).status == 200
    clock.pass_by(days=32)
    stripe.tick()

    assert stripe.subscriptions[subscribed["id"]]["status"] == "canceled"


def test_what_the_dashboard_takes_off_later_is_taken_off_then_unless_a_code_takes_its_place(
    api, subscribed, stripe, by_dashboard
):
    _, coupon = stripe.handle("POST", "/v1/coupons", {"duration": "forever", "percent_off": "20"})
    _, half = stripe.handle("POST", "/v1/coupons", {"duration": "forever", "percent_off": "50"})
    stripe.handle(
        "POST", "/v1/promotion_codes", {"promotion": {"type": "coupon", "coupon": half["id"]}, "code": "HALF"}
    )
    by_dashboard(("2", {"discounts": [{"coupon": coupon["id"]}]}), ("1", {"proration_behavior": "none"}))

    def to_come():
        (schedule,) = schedules(stripe)
        return [[each["discounts"], each["proration_behavior"]] for each in schedule["phases"][1:]]

    before = to_come()
    for action in ("pause", "resume"):
        assert api("POST", f"/subscription/{action}", {}).status == 200
    assert to_come() == before
    assert api("PUT", "/subscription/discount", {"promotion_code": "HALF"}).status == 200
    (held,) = stripe.subscriptions[subscribed["id"]]["discounts"]
    assert [[each["discount"] for each in discounts] for discounts, _ in to_come()] == [[held], [held]]


def test_a_schedule_of_the_dashboard_is_put_back_whole_if_what_takes_its_place_is_declined(
    api, subscribed, stripe, by_dashboard
):
    by_dashboard(("2", {}), ("1", {}), end_behavior="cancel")
    stripe.fault("card_declined", method="POST", path=f"/v1/subscriptions/{subscribed['id']}$", times=1)
    assert api("PUT", "/subscription/seats", {"quantity": 8}).status == 402

    (again,) = schedules(stripe)
    assert [each["items"][0]["quantity"] for each in again["phases"]] == [5, 2, 1]
    assert again["end_behavior"] == "cancel"


def test_one_that_costs_less_is_quoted_over_it_too(api, subscribed, fewer, stripe, clock):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 4, "effective": "now"}).json
    api("PUT", "/subscription/seats", {"quantity": 4, "quote_id": quoted["quote_id"]})
    clock.pass_by(days=22)
    stripe.tick()

    renewal = [each["total"] for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    assert quoted["net_cents"] < 0 and renewal == [quoted["next_invoice_cents"]] == [5000 + quoted["net_cents"]]


def test_a_change_is_quoted_over_one_that_is_to_come(api, subscribed, fewer, stripe, clock):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    answer = api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]}).json

    invoice = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert (quoted["next_invoice_cents"], answer["seats"]) == (9000, 8)
    assert quoted["net_cents"] == answer["proration"]["net_cents"] == invoice["total"]


def test_on_trial_a_change_down_waits_for_nothing(api, plans, stripe):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/trial", offer | {"trial_days": 14, "downgrades": "period_end"})
    assert api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5}).json["status"] == "trialing"

    assert api("PUT", "/subscription/seats", {"quantity": 3}).json["seats"] == 3
