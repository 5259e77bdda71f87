"""Coupons and promotion codes: what they are, and who may redeem them until when."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY

START = 1_800_000_000


def coupon(world, **params):
    return world.v1.coupons.create({"percent_off": 20} | params)


def code(world, of, **params):
    return world.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": of.id}, **params})


def subscribed(world, discount, customer=None, **params):
    return world.subscribe(customer or world.customer(), world.price(1000), discounts=[discount], **params)


def refused(world, *args, **params):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        subscribed(world, *args, **params)
    assert refusal.value.http_status == 400
    return refusal.value


def test_a_coupon_takes_off_a_percentage_once_unless_it_says_otherwise(world):
    made = world.v1.coupons.create({"percent_off": 12.5, "name": "Spring", "metadata": {"a": "b"}})
    assert (made.percent_off, made.duration, made.valid, made.times_redeemed) == (12.5, "once", True, 0)
    assert (made.amount_off, made.currency, made.metadata.to_dict()) == (None, None, {"a": "b"})
    assert world.v1.coupons.retrieve(made.id).name == "Spring"
    assert world.told("coupon") == ["coupon.created"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"percent_off": 0},
        {"percent_off": 101},
        {"percent_off": "much"},
        {"percent_off": 10, "amount_off": 500, "currency": "usd"},
        {"amount_off": 500},
        {"amount_off": 0, "currency": "usd"},
        {"percent_off": 10, "duration": "repeating"},
        {"percent_off": 10, "duration_in_months": 3},
        {"percent_off": 10, "max_redemptions": 0},
        {"percent_off": 10, "redeem_by": START},
        {"percent_off": 10, "redeem_by": START + 6 * 365 * DAY},
        {"percent_off": 10, "duration": "sometimes"},
        {"percent_off": 10, "applies_to": {"products": ["prod_1"]}},
    ],
)
def test_a_coupon_that_makes_no_sense_is_a_400(world, wrong):
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        world.v1.coupons.create(wrong)
    assert refusal.value.http_status == 400 and not world.simulator.coupons


def test_of_a_coupon_only_its_labels_change(world):
    made = coupon(world, id="SPRING")
    assert world.v1.coupons.update("SPRING", {"name": "New", "metadata": {"a": "b"}}).name == "New"
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.coupons.update("SPRING", {"percent_off": 50})
    with pytest.raises(stripe.InvalidRequestError) as taken:
        coupon(world, id="SPRING")
    assert taken.value.code == "resource_already_exists"
    assert [one.id for one in world.v1.coupons.list().data] == [made.id]


def test_a_deleted_coupon_is_redeemed_by_no_one_and_stays_on_who_has_it(world):
    spring = coupon(world, duration="forever")
    shared = code(world, spring, code="SPRING")
    made = subscribed(world, {"coupon": spring.id})
    assert world.v1.coupons.delete(spring.id).deleted
    with pytest.raises(stripe.InvalidRequestError) as gone:
        world.v1.coupons.retrieve(spring.id)
    assert gone.value.http_status == 404 and not world.v1.coupons.list().data
    assert not world.v1.promotion_codes.retrieve(shared.id).active
    assert refused(world, {"coupon": spring.id}).code == "resource_missing"
    kept = world.v1.subscriptions.retrieve(made.id, {"expand": ["discounts.source.coupon"]}).discounts[0]
    assert (kept.source.coupon.percent_off, kept.source.coupon.valid) == (20, False)


def test_a_promotion_code_stands_for_a_coupon_and_is_found_in_any_case(world):
    spring = coupon(world)
    made = code(world, spring, code="Spring-24")
    assert (made.active, made.promotion.coupon, made.promotion.type) == (True, spring.id, "coupon")
    assert made.restrictions.to_dict() == {
        "first_time_transaction": False, "minimum_amount": None, "minimum_amount_currency": None,
    }  # fmt: skip
    found = world.v1.promotion_codes.list({"code": "SPRING-24", "active": True, "expand": ["data.promotion.coupon"]})
    assert [one.id for one in found.data] == [made.id] and found.data[0].promotion.coupon.percent_off == 20
    assert not world.v1.promotion_codes.list({"code": "SPRING-25"}).data
    assert not world.v1.promotion_codes.list({"code": "spring-24", "active": False}).data
    assert len(world.v1.promotion_codes.list({"coupon": spring.id}).data) == 1
    assert len(code(world, spring).code) == 8


def test_a_code_is_unique_among_the_active_ones_that_a_customer_could_use(world):
    spring, ada, bob = coupon(world), world.customer(), world.customer()
    first = code(world, spring, code="SPRING", customer=ada)
    code(world, spring, code="SPRING", customer=bob)
    for params in ({}, {"customer": ada}):
        with pytest.raises(stripe.InvalidRequestError) as taken:
            code(world, spring, code="spring", **params)
        assert taken.value.user_message == "An active promotion code with `code: spring` already exists."
    world.v1.promotion_codes.update(first.id, {"active": False})
    code(world, spring, code="spring", customer=ada)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.promotion_codes.update(first.id, {"active": True})
    assert [one.customer for one in world.v1.promotion_codes.list({"customer": bob}).data] == [bob]


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"coupon": "SPRING"}, "coupon"),
        ({"promotion": {"type": "coupon"}}, "promotion.coupon"),
        ({"promotion": {"type": "coupon", "coupon": "none"}}, "promotion[coupon]"),
        ({"code": "two words"}, "code"),
        ({"customer": "cus_none"}, "customer"),
        ({"expires_at": START}, "expires_at"),
        ({"expires_at": START + 2 * DAY}, "expires_at"),
        ({"max_redemptions": 4}, "max_redemptions"),
        ({"restrictions": {"minimum_amount": 500}}, "restrictions[minimum_amount]"),
    ],
)
def test_a_promotion_code_that_makes_no_sense_is_a_400(world, wrong, param):
    spring = coupon(world, redeem_by=START + DAY, max_redemptions=3)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        world.v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": spring.id}} | wrong)
    assert (refusal.value.http_status, refusal.value.param) == (400, param)


def test_what_is_not_there_cannot_be_redeemed(world):
    assert refused(world, {"coupon": "NONE"}).param == "discounts[0][coupon]"
    missing = refused(world, {"promotion_code": "promo_none"})
    assert (missing.code, missing.param) == ("resource_missing", "discounts[0][promotion_code]")
    assert missing.user_message == "No such promotion code: 'promo_none'"
    assert refused(world, {"discount": "di_none"}).code == "resource_missing"
    assert refused(world, {"coupon": coupon(world).id, "promotion_code": "promo_none"}).param == "discounts[0]"
    assert not world.simulator.subscriptions


def test_a_coupon_ends_with_its_date_and_takes_its_codes_with_it(world):
    spring = coupon(world, redeem_by=START + DAY)
    shared = code(world, spring)
    world.now[0] += DAY
    assert not world.v1.coupons.retrieve(spring.id).valid
    assert not world.v1.promotion_codes.retrieve(shared.id).active
    late = refused(world, {"coupon": spring.id})
    assert (late.code, late.user_message) == ("coupon_expired", f"Coupon expired: {spring.id}")
    assert refused(world, {"promotion_code": shared.id}).code == "coupon_expired"


def test_a_coupon_ends_with_its_last_redemption_and_takes_its_codes_with_it(world):
    spring = coupon(world, max_redemptions=2)
    shared = code(world, spring)
    subscribed(world, {"coupon": spring.id})
    subscribed(world, {"promotion_code": shared.id})
    now = world.v1.coupons.retrieve(spring.id)
    assert (now.times_redeemed, now.valid) == (2, False)
    assert refused(world, {"coupon": spring.id}).user_message == f"Coupon {spring.id} is used up and cannot be applied."
    assert not world.v1.promotion_codes.retrieve(shared.id).active


def test_a_promotion_code_ends_with_its_own_date_and_its_own_last_redemption(world):
    spring = coupon(world)
    dated, counted = code(world, spring, expires_at=START + DAY), code(world, spring, max_redemptions=1)
    subscribed(world, {"promotion_code": counted.id})
    assert "maximum number of times" in str(refused(world, {"promotion_code": counted.id}))
    world.now[0] += DAY
    refused(world, {"promotion_code": dated.id})
    for spent in (dated, counted):
        assert not world.v1.promotion_codes.retrieve(spent.id).active
        with pytest.raises(stripe.InvalidRequestError):
            world.v1.promotion_codes.update(spent.id, {"active": True})
    assert world.v1.coupons.retrieve(spring.id).valid


def test_a_promotion_code_that_is_off_or_of_another_customer_is_refused(world):
    spring, ada = coupon(world), world.customer()
    off, hers = code(world, spring, active=False), code(world, spring, customer=ada)
    assert "inactive" in str(refused(world, {"promotion_code": off.id}))
    refused(world, {"promotion_code": hers.id})
    assert subscribed(world, {"promotion_code": hers.id}, ada).status == "active"


def test_a_code_for_the_first_transaction_is_refused_to_who_has_bought(world):
    first = code(world, coupon(world), restrictions={"first_time_transaction": True})
    ada = world.customer()
    subscribed(world, {"promotion_code": first.id}, ada)
    again = refused(world, {"promotion_code": first.id}, ada)
    assert "because the associated customer has prior transactions." in str(again)


def test_a_minimum_amount_holds_for_new_subscriptions_and_is_refused_on_updates(world):
    rules = {"minimum_amount": 1000, "minimum_amount_currency": "usd"}
    enough, more = (
        code(world, coupon(world), restrictions=rules),
        code(world, coupon(world), restrictions=rules | {"minimum_amount": 1001}),
    )
    refused(world, {"promotion_code": more.id})
    made = subscribed(world, {"promotion_code": enough.id})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        world.v1.subscriptions.update(made.id, {"discounts": [{"promotion_code": enough.id}]})
    assert "minimum_amount" in str(refusal.value)


def test_a_sum_of_money_must_be_in_the_currency_of_the_subscription(world):
    euros = world.v1.coupons.create({"amount_off": 500, "currency": "eur"})
    assert refused(world, {"coupon": euros.id}).param == "discounts[0][coupon]"


def test_what_was_refused_payment_was_not_redeemed(world):
    spring = coupon(world)
    customer = world.customer("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        subscribed(world, {"coupon": spring.id}, customer, payment_behavior="error_if_incomplete")
    assert world.v1.coupons.retrieve(spring.id).times_redeemed == 0
