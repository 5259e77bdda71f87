"""Checkout: a session is opened, completed in the browser, or expires."""

import pytest
import stripe

from local.stripe_simulator import Settings
from local.stripe_simulator.errors import Refused
from local.stripe_simulator.periods import DAY

START = 1_800_000_000


@pytest.fixture
def shop(world):
    world.of, world.team = world.customer(card=None), world.price(1000)
    return world


def open_session(world, **params):
    said = {
        "mode": "subscription",
        "customer": world.of,
        "line_items": [{"price": world.team, "quantity": 2}],
        "success_url": "https://app.example.com/done?session={CHECKOUT_SESSION_ID}",
        **params,
    }
    return world.v1.checkout.sessions.create(said)


def look(world, session, **params):
    return world.v1.checkout.sessions.retrieve(session.id, params)


def test_an_open_session_has_a_url_and_says_what_it_would_cost(shop):
    made = open_session(
        shop, client_reference_id="ada", metadata={"a": "b"}, cancel_url="https://app.example.com", locale="de"
    )
    assert (made.status, made.payment_status, made.mode) == ("open", "unpaid", "subscription")
    assert (made.amount_total, made.currency, made.expires_at) == (2000, "usd", START + DAY)
    assert (made.client_reference_id, made.metadata["a"], made.subscription) == ("ada", "b", None)
    assert made.url.endswith(made.id) and "line_items" not in made
    lines = look(shop, made, expand=["line_items.data.price.product"]).line_items.data
    assert [(one.price.id, one.price.product.name, one.quantity) for one in lines] == [(shop.team, "Team", 2)]
    assert [one.quantity for one in shop.v1.checkout.sessions.line_items.list(made.id).data] == [2]
    assert not shop.v1.subscriptions.list({"customer": shop.of, "status": "all"}).data


def test_a_completed_session_has_made_a_paid_subscription_with_the_card_on_it(shop):
    made = open_session(shop, metadata={"on": "session"}, subscription_data={"metadata": {"change_id": "c"}})
    id = shop.simulator.complete_checkout(made.id)
    now, sub = look(shop, made, expand=["subscription"]), shop.v1.subscriptions.retrieve(id)
    assert (now.status, now.payment_status, now.url) == ("complete", "paid", None)
    assert (now.subscription.id, now.invoice) == (id, sub.latest_invoice)
    assert (sub.status, sub.metadata.to_dict(), sub.items.data[0].quantity) == ("active", {"change_id": "c"}, 2)
    card = shop.v1.payment_methods.retrieve(sub.default_payment_method)
    assert (card.customer, card.card.last4) == (shop.of, "4242")
    assert shop.v1.customers.retrieve(shop.of).invoice_settings.default_payment_method is None
    assert shop.told("checkout.session") == ["checkout.session.completed"]
    event = next(one for one in shop.simulator.events.values() if one["type"] == "checkout.session.completed")
    assert event["data"]["object"]["subscription"] == id and event["request"]["id"] is None
    assert [one.id for one in shop.v1.checkout.sessions.list({"subscription": id}).data] == [made.id]


def test_a_declined_card_leaves_the_session_open_and_makes_nothing(shop):
    made = open_session(shop)
    for token in ("pm_card_chargeDeclined", "pm_card_chargeCustomerFail"):
        with pytest.raises(Refused) as refused:
            shop.simulator.complete_checkout(made.id, token)
        assert refused.value.status == 402
    assert look(shop, made).status == "open" and not shop.told("customer.subscription")
    assert not shop.v1.payment_methods.list({"customer": shop.of}).data
    shop.simulator.complete_checkout(made.id, "pm_card_threeDSecure2Required")
    assert look(shop, made).payment_status == "paid"


def test_a_trial_asks_for_a_card_unless_one_is_collected_only_if_required(shop):
    trial = {
        "trial_period_days": 14,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        "billing_mode": {"type": "flexible"},
    }
    asks = open_session(shop, subscription_data=trial)
    sub = shop.v1.subscriptions.retrieve(shop.simulator.complete_checkout(asks.id))
    assert (sub.status, sub.trial_end) == ("trialing", START + 14 * DAY) and sub.default_payment_method
    assert sub.trial_settings.end_behavior.missing_payment_method == "pause"
    assert (look(shop, asks).payment_status, asks.amount_total) == ("no_payment_required", 0)
    shop.of = shop.customer(card=None)
    free = open_session(shop, subscription_data=trial, payment_method_collection="if_required")
    sub = shop.v1.subscriptions.retrieve(shop.simulator.complete_checkout(free.id, "pm_card_chargeDeclined"))
    assert (sub.status, sub.default_payment_method) == ("trialing", None)


def test_a_balance_that_covers_it_needs_no_payment(shop):
    shop.of = shop.customer(card=None, balance=-5000)
    made = open_session(shop, payment_method_collection="if_required")
    sub = shop.simulator.complete_checkout(made.id)
    assert (look(shop, made).payment_status, shop.v1.subscriptions.retrieve(sub).status) == (
        "no_payment_required",
        "active",
    )


def test_a_session_is_completed_once_and_expired_only_while_open(shop):
    done, gone = open_session(shop), open_session(shop)
    shop.simulator.complete_checkout(done.id)
    assert shop.v1.checkout.sessions.expire(gone.id).status == "expired" and look(shop, gone).url is None
    for session in (done, gone):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            shop.v1.checkout.sessions.expire(session.id)
        assert refused.value.http_status == 400
        with pytest.raises(Refused):
            shop.simulator.complete_checkout(session.id)
    assert shop.told("checkout.session") == ["checkout.session.completed", "checkout.session.expired"]
    by_status = shop.v1.checkout.sessions.list
    assert [one.id for one in by_status({"customer": shop.of, "status": "expired"}).data] == [gone.id]
    assert not by_status({"customer": shop.of, "status": "open"}).data


def test_a_session_expires_by_itself_on_either_clock(shop):
    wall = open_session(shop, expires_at=START + 1800)
    clock = shop.clock()
    shop.of = shop.customer(card=None, test_clock=clock)
    tested = open_session(shop)
    shop.now[0] += 1799
    assert look(shop, wall).status == "open"
    shop.now[0] += 1
    with pytest.raises(Refused):
        shop.simulator.complete_checkout(wall.id)
    assert (look(shop, wall).status, look(shop, tested).status) == ("expired", "open")
    shop.advance(clock, START + DAY)
    assert look(shop, tested).status == "expired"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported"),
        ({"mode": "payment"}, None),
        ({"customer": "cus_0"}, "resource_missing"),
        ({"line_items": [{"price": "price_0", "quantity": 1}]}, "resource_missing"),
        ({"expires_at": START + 1799}, None),
        ({"expires_at": START + DAY + 1}, None),
        ({"automatic_tax": {"enabled": True}}, "customer_tax_location_invalid"),
        ({"tax_id_collection": {"enabled": True}}, None),
        ({"subscription_data": {"payment_behavior": "allow_incomplete"}}, "parameter_unknown"),
    ],
)
def test_a_session_that_cannot_be_is_refused(shop, params, code):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        open_session(shop, **params)
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert not shop.v1.checkout.sessions.list().data


def test_checkout_asks_for_the_address_that_tax_needs(shop):
    made = open_session(
        shop,
        automatic_tax={"enabled": True},
        tax_id_collection={"enabled": True},
        customer_update={"address": "auto", "name": "auto"},
    )
    assert made.automatic_tax.enabled and made.tax_id_collection.enabled
    sub = shop.simulator.complete_checkout(made.id)
    assert shop.v1.customers.retrieve(shop.of).address.country == "US"
    assert shop.v1.subscriptions.retrieve(sub).automatic_tax.enabled
    assert look(shop, made).customer_details.email == "ada@example.com"


# Discounts and tax


@pytest.fixture
def half(shop):
    shop.coupon = shop.v1.coupons.create({"percent_off": 50, "duration": "forever"}).id
    promotion = {"type": "coupon", "coupon": shop.coupon}
    shop.code = shop.v1.promotion_codes.create({"promotion": promotion, "code": "HALF"}).id
    return shop


@pytest.mark.parametrize("kind", ["coupon", "promotion_code"])
def test_a_session_can_come_with_its_discount(half, kind):
    made = open_session(half, discounts=[{kind: half.coupon if kind == "coupon" else half.code}])
    assert (made.amount_subtotal, made.amount_total, made.total_details.amount_discount) == (2000, 1000, 1000)
    sub = half.v1.subscriptions.retrieve(half.simulator.complete_checkout(made.id), {"expand": ["latest_invoice"]})
    assert sub.latest_invoice.amount_paid == 1000 and len(sub.discounts) == 1
    assert look(half, made, expand=["discounts.promotion_code"]).amount_total == 1000


def test_a_customer_can_type_a_code_where_the_page_takes_one(half):
    closed, made = open_session(half), open_session(half, allow_promotion_codes=True)
    for session, words in ((closed, "half"), (made, "third")):
        with pytest.raises(Refused):
            half.simulator.complete_checkout(session.id, promotion_code=words)
    sub = half.simulator.complete_checkout(made.id, promotion_code="half")
    assert half.invoices(sub)[0].amount_paid == look(half, made).amount_total == 1000
    assert look(half, made).discounts[0].promotion_code == half.code
    assert half.v1.promotion_codes.retrieve(half.code).times_redeemed == 1


def test_a_full_discount_asks_for_no_card_where_one_is_collected_only_if_required(shop):
    free = shop.v1.coupons.create({"percent_off": 100, "duration": "forever"}).id
    made = open_session(shop, discounts=[{"coupon": free}], payment_method_collection="if_required")
    sub = shop.v1.subscriptions.retrieve(shop.simulator.complete_checkout(made.id, "pm_card_chargeDeclined"))
    assert (sub.status, sub.default_payment_method, look(shop, made).payment_status) == (
        "active",
        None,
        "no_payment_required",
    )


def test_a_session_has_either_a_discount_or_room_for_a_code(half):
    both = {"discounts": [{"coupon": half.coupon}], "allow_promotion_codes": True}
    for params in (both, {"discounts": [{"coupon": "none"}]}):
        with pytest.raises(stripe.InvalidRequestError):
            open_session(half, **params)


@pytest.mark.parametrize("world", [Settings(tax_percent=19)], indirect=True)
def test_the_tax_is_on_the_page_as_on_the_invoice(shop):
    shop.of = shop.customer(card=None, address={"country": "DE"})
    made = open_session(shop, automatic_tax={"enabled": True})
    assert (made.amount_subtotal, made.amount_total, made.total_details.amount_tax) == (2000, 2380, 380)
    assert shop.invoices(shop.simulator.complete_checkout(made.id))[0].amount_paid == 2380
