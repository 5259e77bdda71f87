"""What discounts take off invoices and prorations, and how long they stay on a subscription."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
MONTH = 31 * DAY
HALF = START + MONTH // 2
NOW = {"proration_behavior": "always_invoice"}


def coupon(world, **params):
    terms = {"currency": "usd"} if "amount_off" in params else {}
    return {"coupon": world.v1.coupons.create({"duration": "forever"} | terms | params).id}


def amounts(invoice):
    return [line.amount for line in invoice.lines.data]


def off(invoice):
    return [[share.amount for share in line.discount_amounts] for line in invoice.lines.data]


@pytest.fixture
def aging(world):
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    return world


def subscribe(world, amount=1000, *discounts, **params):
    made = world.subscribe(
        world.of, world.price(amount), discounts=list(discounts), expand=["latest_invoice"], **params
    )
    world.sub, world.item = made.id, made.items.data[0].id
    return made


def update(world, params, **items):
    """Answers the invoice that the update made, if it made one."""
    changed = {"items": [{"id": world.item, **items}]} if items else {}
    said = world.v1.subscriptions.update(world.sub, {**changed, "expand": ["latest_invoice"], **params})
    return said.latest_invoice


def on_it(world):
    return world.v1.subscriptions.retrieve(world.sub).discounts


# On invoices


def test_a_percentage_comes_off_every_line(aging):
    invoice = subscribe(aging, 999, coupon(aging, percent_off=12.5)).latest_invoice
    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (999, 874, 874)  # 999 x 12.5% = 124.875
    assert (amounts(invoice), off(invoice)) == ([999], [[125]])
    assert [share.amount for share in invoice.total_discount_amounts] == [125]
    assert invoice.total_discount_amounts[0].discount == invoice.discounts[0] == on_it(aging)[0]
    assert (invoice.total_excluding_tax, invoice.subtotal_excluding_tax) == (874, 999)


def test_a_sum_of_money_is_shared_over_the_lines_as_in_the_documentation(aging):
    items = [{"price": aging.price(1000)}, {"price": aging.price(2000)}]
    params = {"customer": aging.of, "items": items, "discounts": [coupon(aging, amount_off=500)]}
    made = aging.v1.subscriptions.create(params | {"expand": ["latest_invoice"]})
    assert (made.latest_invoice.total, off(made.latest_invoice)) == (2500, [[166], [334]])
    aging.advance(aging.on, HALF)
    removed = {"items": [{"id": made.items.data[0].id, "deleted": True}], "expand": ["latest_invoice"]}
    said = aging.v1.subscriptions.update(made.id, NOW | removed)
    assert amounts(said.latest_invoice) == [-417]  # -(1000 - 166) / 2


def test_a_sum_of_money_takes_off_no_more_than_there_is(aging):
    invoice = subscribe(aging, 300, coupon(aging, amount_off=500)).latest_invoice
    assert (invoice.subtotal, invoice.total, invoice.amount_due, off(invoice)) == (300, 0, 0, [[300]])
    assert invoice.status == "paid"


def test_several_discounts_come_off_one_after_the_other(aging):
    tenth, five = coupon(aging, percent_off=10), coupon(aging, amount_off=500)
    first = subscribe(aging, 1000, tenth, five).latest_invoice
    assert (off(first), first.total) == ([[100, 500]], 400)
    second = subscribe(aging, 1000, five, tenth).latest_invoice
    assert (off(second), second.total) == ([[500, 50]], 450)


def test_once_is_spent_when_the_first_invoice_it_discounts_is_finalized(aging):
    made = subscribe(aging, 1000, coupon(aging, percent_off=50, duration="once"))
    assert made.latest_invoice.total == 500 and made.discounts == []
    assert aging.told("customer.discount") == ["customer.discount.created", "customer.discount.deleted"]
    aging.advance(aging.on, START + MONTH + HOUR)
    assert [invoice.total for invoice in aging.invoices(aging.sub)] == [500, 1000]


def test_once_waits_for_the_first_invoice_after_a_trial(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=50, duration="once"), trial_period_days=7)
    assert len(on_it(aging)) == 1
    aging.advance(aging.on, START + 7 * DAY)
    assert len(on_it(aging)) == 1  # the draft is not final yet
    aging.advance(aging.on, START + 7 * DAY + HOUR)
    assert on_it(aging) == []
    assert [invoice.total for invoice in aging.invoices(aging.sub)] == [0, 500]


def test_repeating_ends_after_its_months(aging):
    made = subscribe(aging, 1000, coupon(aging, percent_off=50, duration="repeating", duration_in_months=2))
    found = aging.v1.subscriptions.retrieve(made.id, {"expand": ["discounts"]}).discounts[0]
    assert (found.start, found.end) == (START, START + (31 + 28) * DAY)
    for days in (32, 60, 91):
        aging.advance(aging.on, START + days * DAY)
    assert [invoice.total for invoice in aging.invoices(made.id)] == [500, 500, 1000, 1000]
    assert on_it(aging) == []


def test_forever_stays(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=50))
    aging.advance(aging.on, START + 60 * DAY)
    assert [invoice.total for invoice in aging.invoices(aging.sub)] == [500, 500, 500]


def test_an_item_that_was_added_by_hand_is_discounted_with_the_renewal(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=50))
    aging.v1.invoice_items.create({"customer": aging.of, "amount": 77, "currency": "usd"})
    fixed = {"customer": aging.of, "amount": 10, "currency": "usd", "discountable": False}
    aging.v1.invoice_items.create(fixed)
    aging.advance(aging.on, START + MONTH)
    draft = aging.invoices(aging.sub)[-1]
    assert (amounts(draft), off(draft)) == ([77, 10, 1000], [[38], [], [500]])  # 38.5: a tie goes down
    assert draft.total == 39 + 10 + 500


# On the subscription


def test_a_list_replaces_an_empty_string_clears_and_an_empty_list_changes_nothing(aging):
    made = subscribe(aging, 1000, coupon(aging, percent_off=50))
    [first] = made.discounts
    status, body = aging.simulator.handle("POST", f"/v1/subscriptions/{made.id}", {"discounts": []})
    assert (status, body["discounts"]) == (200, [first])
    said = aging.v1.subscriptions.update(made.id, {"discounts": [{"discount": first}, coupon(aging, percent_off=10)]})
    assert said.discounts[0] == first and len(said.discounts) == 2
    assert aging.v1.subscriptions.update(made.id, {"discounts": ""}).discounts == []
    assert aging.told("customer.discount") == ["customer.discount.created"] * 2 + ["customer.discount.deleted"] * 2
    assert len(aging.invoices(made.id)) == 1


def test_one_discount_for_another_is_an_update(aging):
    made = subscribe(aging, 1000, coupon(aging, percent_off=50))
    said = aging.v1.subscriptions.update(made.id, {"discounts": [coupon(aging, percent_off=10)]})
    [event] = [event for event in aging.simulator.events.values() if event["type"] == "customer.discount.updated"]
    assert event["data"]["object"]["id"] == said.discounts[0] != made.discounts[0]
    assert event["data"]["previous_attributes"]["id"] == made.discounts[0]


def test_a_discount_shows_its_code_and_its_coupon_where_it_is_expanded(aging):
    of = coupon(aging, percent_off=50)
    code = aging.v1.promotion_codes.create({"promotion": {"type": "coupon", **of}, "code": "HALF"})
    made = subscribe(aging, 1000, {"promotion_code": code.id})
    paths = ["discounts", "discounts.promotion_code", "discounts.source.coupon"]
    one = aging.v1.subscriptions.retrieve(made.id, {"expand": paths}).discounts[0]
    listed = aging.v1.subscriptions.list({"customer": aging.of, "expand": [f"data.{path}" for path in paths]})
    for found in (one, listed.data[0].discounts[0]):
        assert (found.promotion_code.code, found.source.coupon.percent_off) == ("HALF", 50)
        assert (found.subscription, found.customer, found.end) == (made.id, aging.of, None)
    invoice = aging.v1.invoices.retrieve(
        made.latest_invoice.id, {"expand": ["discounts.source.coupon", "total_discount_amounts.discount"]}
    )
    assert invoice.discounts[0].source.coupon.id == of["coupon"]
    assert invoice.total_discount_amounts[0].discount.id == one.id
    with pytest.raises(stripe.InvalidRequestError):
        aging.v1.subscriptions.retrieve(made.id, {"expand": ["discounts.source"]})


def test_a_discount_is_taken_off_a_subscription(aging):
    made = subscribe(aging, 1000, coupon(aging, percent_off=50))
    gone = aging.v1.subscriptions.delete_discount(made.id)
    assert (gone.id, gone.deleted) == (made.discounts[0], True)
    assert on_it(aging) == []
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        aging.v1.subscriptions.delete_discount(made.id)
    assert nothing.value.http_status == 404
    aging.advance(aging.on, START + MONTH)
    assert [invoice.total for invoice in aging.invoices(made.id)] == [500, 1000]


def test_a_discount_that_cannot_be_redeemed_changes_nothing_else(aging):
    made = subscribe(aging)
    before = aging.simulator.subscriptions[made.id]
    for params in ({"description": "x"}, {"items": [{"id": aging.item, "quantity": 3}]}):
        with pytest.raises(stripe.InvalidRequestError):
            aging.v1.subscriptions.update(made.id, params | {"discounts": [{"coupon": "NONE"}]})
    assert aging.simulator.subscriptions[made.id] == before


# Prorations


def test_a_discount_alone_prorates_nothing(aging):
    made = subscribe(aging)
    aging.advance(aging.on, HALF)
    said = aging.v1.subscriptions.update(made.id, NOW | {"discounts": [coupon(aging, percent_off=50)]})
    assert said.latest_invoice == made.latest_invoice.id and not aging.simulator.invoice_items


def test_a_discount_is_in_the_amount_of_a_proration_and_not_taken_off_again(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=20))
    aging.advance(aging.on, HALF)
    invoice = update(aging, NOW, price=aging.price(3000), quantity=1)
    assert amounts(invoice) == [-400, 1200]  # (1000 - 200) / 2 and (3000 - 600) / 2
    assert (invoice.subtotal, invoice.total) == (800, 800)
    assert [line.discountable for line in invoice.lines.data] == [False, False]
    assert off(invoice) == [[], [0]] and [share.amount for share in invoice.total_discount_amounts] == [0]


def test_a_discount_of_the_same_call_counts_for_the_charge_and_not_for_the_credit(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    invoice = update(aging, NOW | {"discounts": [coupon(aging, percent_off=50)]}, quantity=2)
    assert amounts(invoice) == [-500, 500]  # 1000 / 2 paid in full; 2000 x 50% / 2


def test_a_discount_that_ends_in_the_same_call_no_longer_counts(aging):
    subscribe(aging, 1000, coupon(aging, amount_off=500))
    aging.advance(aging.on, HALF)
    invoice = update(aging, NOW | {"discounts": ""}, quantity=2)
    assert amounts(invoice) == [-250, 1000]  # 500 was paid; 2000 / 2


def test_after_a_discount_was_added_the_credit_is_what_was_paid_before(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    update(aging, {"discounts": [coupon(aging, percent_off=30)]})
    invoice = update(aging, NOW, quantity=2)
    assert amounts(invoice) == [-500, 700]  # 1000 / 2; 2000 x 70% / 2
    assert amounts(update(aging, NOW, quantity=1)) == [-700, 350]


def test_after_a_discount_was_removed_the_credit_is_what_was_paid_under_it(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=30))
    aging.advance(aging.on, HALF)
    aging.v1.subscriptions.delete_discount(aging.sub)
    assert amounts(update(aging, NOW, quantity=2)) == [-350, 1000]


def test_a_discount_that_is_spent_is_in_the_credit_only(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=50, duration="once"))
    aging.advance(aging.on, HALF)
    assert amounts(update(aging, NOW, quantity=2)) == [-250, 1000]


def test_once_is_spent_by_the_proration_that_it_discounts(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    once = coupon(aging, percent_off=50, duration="once")
    assert amounts(update(aging, NOW | {"discounts": [once]}, quantity=2)) == [-500, 500]
    assert on_it(aging) == []


def test_a_price_that_was_never_charged_is_never_credited(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=10))
    aging.advance(aging.on, START + 10 * DAY)
    update(aging, {"proration_behavior": "none"}, price=aging.price(2000), quantity=1)
    aging.advance(aging.on, START + 21 * DAY)
    invoice = update(aging, NOW, price=aging.price(1000), quantity=1)
    assert amounts(invoice) == [-290, 290]  # 900 x 10/31 = 290.3, both ways: nothing to pay
    assert invoice.total == 0


def test_several_changes_in_a_period_credit_each_what_the_last_one_charged(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, START + 10 * DAY)
    assert amounts(update(aging, NOW, quantity=3)) == [-677, 2032]  # 1000 x 21/31, 3000 x 21/31
    aging.advance(aging.on, START + 20 * DAY)
    update(aging, {"proration_behavior": "none"}, quantity=9)
    aging.advance(aging.on, START + 25 * DAY)
    assert amounts(update(aging, NOW, quantity=2)) == [-581, 387]  # 2032 x 6/21 = 580.6, 2000 x 6/31 = 387.1
    aging.advance(aging.on, START + 31 * DAY)
    assert amounts(aging.invoices(aging.sub)[-1]) == [2000]


def test_time_that_was_charged_in_two_parts_is_credited_in_two_lines(aging):
    subscribe(aging, 3100)
    aging.advance(aging.on, START + 20 * DAY)
    assert amounts(update(aging, NOW, quantity=2)) == [-1100, 2200]
    invoice = update(aging, NOW | {"proration_date": START + 10 * DAY}, quantity=1)
    assert amounts(invoice) == [-1000, -2200, 2100]  # days 10 to 20 of the first charge, all of the second
    spans = [((line.period.start - START) // DAY, (line.period.end - START) // DAY) for line in invoice.lines.data]
    assert spans == [(10, 20), (20, 31), (10, 31)]
    assert amounts(update(aging, NOW, quantity=2)) == [-1100, 2200]


def test_a_new_anchor_discounts_the_full_period_and_not_the_credit(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=20))
    aging.advance(aging.on, HALF)
    invoice = update(aging, {"billing_cycle_anchor": {"type": "now"}}, quantity=2)
    assert (amounts(invoice), off(invoice), invoice.total) == ([-400, 2000], [[], [400]], 1200)
    aging.advance(aging.on, HALF + 14 * DAY)
    assert amounts(update(aging, NOW, quantity=1))[0] == -828  # 1600 for 29 days, 15 of them left


def test_cancelling_credits_what_was_paid_under_the_discount(aging):
    subscribe(aging, 1000, coupon(aging, percent_off=20))
    aging.advance(aging.on, HALF)
    aging.v1.subscriptions.cancel(aging.sub, {"prorate": True})
    [waiting] = aging.v1.invoice_items.list({"pending": True}).data
    assert waiting.amount == -400 and not waiting.discountable


# Held until paid


def refuse_payment(world):
    bad = world.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": world.of}).id
    world.v1.customers.update(world.of, {"invoice_settings": {"default_payment_method": bad}})


def test_a_discount_of_a_pending_update_is_redeemed_when_it_is_paid(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    of = coupon(aging, percent_off=50)
    held = NOW | {"payment_behavior": "pending_if_incomplete", "discounts": [of]}
    invoice = update(aging, held, quantity=4)
    assert amounts(invoice) == [-500, 1000]
    said = aging.v1.subscriptions.retrieve(aging.sub, {"expand": ["pending_update.discounts.source.coupon"]})
    assert said.discounts == [] and said.pending_update.discounts[0].source.coupon.id == of["coupon"]
    assert aging.v1.coupons.retrieve(of["coupon"]).times_redeemed == 0
    good = aging.v1.payment_methods.attach("pm_card_visa", {"customer": aging.of}).id
    aging.v1.invoices.pay(invoice.id, {"payment_method": good})
    assert on_it(aging) == [said.pending_update.discounts[0].id]
    assert aging.v1.coupons.retrieve(of["coupon"]).times_redeemed == 1


def test_once_in_a_pending_update_is_spent_by_its_own_invoice(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    held = {"payment_behavior": "pending_if_incomplete", "discounts": [coupon(aging, percent_off=50, duration="once")]}
    invoice = update(aging, NOW | held, quantity=4)
    good = aging.v1.payment_methods.attach("pm_card_visa", {"customer": aging.of}).id
    aging.v1.invoices.pay(invoice.id, {"payment_method": good})
    assert on_it(aging) == []


def test_a_pending_update_that_is_dropped_redeems_nothing(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    of = coupon(aging, percent_off=50)
    invoice = update(aging, NOW | {"payment_behavior": "pending_if_incomplete", "discounts": [of]}, quantity=4)
    aging.v1.invoices.void_invoice(invoice.id)
    assert on_it(aging) == [] and aging.v1.coupons.retrieve(of["coupon"]).times_redeemed == 0
    assert aging.told("customer.discount") == []


def test_a_discount_may_make_a_change_free_of_charge(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    params = {"payment_behavior": "error_if_incomplete", "discounts": [coupon(aging, percent_off=100)]}
    assert update(aging, NOW | params, quantity=4).total == -500


def test_a_discount_given_meanwhile_outlives_a_pending_update_that_says_nothing_of_it(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    invoice = update(aging, NOW | {"payment_behavior": "pending_if_incomplete"}, quantity=4)
    said = aging.v1.subscriptions.update(aging.sub, {"discounts": [coupon(aging, percent_off=50)]})
    good = aging.v1.payment_methods.attach("pm_card_visa", {"customer": aging.of}).id
    aging.v1.invoices.pay(invoice.id, {"payment_method": good})
    assert on_it(aging) == said.discounts


def test_a_pending_update_with_a_new_anchor_discounts_the_full_period(aging):
    subscribe(aging, 1000)
    aging.advance(aging.on, HALF)
    refuse_payment(aging)
    held = {"payment_behavior": "pending_if_incomplete", "billing_cycle_anchor": {"type": "now"}}
    invoice = update(aging, held | {"discounts": [coupon(aging, percent_off=10)]}, quantity=4)
    assert (amounts(invoice), off(invoice), invoice.amount_due) == ([-500, 4000], [[], [400]], 3100)
    assert on_it(aging) == []


def test_a_subscription_that_is_free_at_first_needs_no_card_that_works(aging):
    refuse_payment(aging)
    made = subscribe(aging, 1000, coupon(aging, percent_off=100), payment_behavior="error_if_incomplete")
    assert (made.status, made.latest_invoice.total) == ("active", 0)


def test_repeating_ends_within_a_period_too(aging):
    terms = coupon(aging, percent_off=50, duration="repeating", duration_in_months=2)
    made = aging.subscribe(aging.of, aging.price(9000, "year"), discounts=[terms])
    aging.sub = made.id
    aging.advance(aging.on, START + 58 * DAY)
    assert on_it(aging) == made.discounts
    aging.advance(aging.on, START + 59 * DAY)
    assert on_it(aging) == [] and len(aging.invoices(made.id)) == 1
