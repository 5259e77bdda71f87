"""Invoice items: where they go, when they may be added, and what becomes of them when there is no next invoice."""

import pytest
import stripe

from local.stripe_simulator import Settings
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY
MARK = {"usage": "sub:api_calls:1:1"}


@pytest.fixture
def subscribed(world):
    """On a clock: 10 a month."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    world.sub = world.subscribe(world.of, world.price(1000)).id
    return world


@pytest.fixture
def renewing(subscribed):
    subscribed.advance(subscribed.on, RENEWAL)
    subscribed.draft = subscribed.invoices(subscribed.sub)[-1]
    return subscribed


def add(world, amount=700, **params):
    return world.v1.invoice_items.create({"customer": world.of, "amount": amount, "currency": "usd", **params})


def waiting(world):
    return [one.amount for one in world.v1.invoice_items.list({"customer": world.of, "pending": True}).data]


def last(world):
    return world.invoices(world.sub)[-1]


def test_a_draft_is_told_of_at_once_and_again_for_each_item(renewing):
    draft = renewing.draft
    assert (draft.status, draft.auto_advance, draft.automatically_finalizes_at) == ("draft", True, RENEWAL + HOUR)
    assert renewing.told("invoice.")[-1] == "invoice.created"
    renewing.advance(renewing.on, RENEWAL + HOUR - 1)
    period = {"start": START, "end": RENEWAL}
    item = add(renewing, invoice=draft.id, description="calls", period=period, metadata=MARK, discountable=False)

    assert (item.invoice, item.discountable, item.net_amount, item.parent) == (draft.id, False, 700, None)
    assert renewing.told("invoice")[-2:] == ["invoiceitem.created", "invoice.updated"]
    now = renewing.v1.invoices.retrieve(draft.id)
    assert (now.subtotal, now.total, now.amount_due, now.amount_remaining) == (1700, 1700, 1700, 1700)
    (line,) = [one for one in now.lines.data if one.amount == 700]
    assert (line.description, line.metadata["usage"]) == ("calls", MARK["usage"])
    assert (line.period.start, line.period.end) == (START, RENEWAL)
    assert line.parent.invoice_item_details.invoice_item == item.id
    renewing.advance(renewing.on, RENEWAL + HOUR)
    assert renewing.told("invoice.")[-2:] == ["invoice.paid", "invoice.payment_succeeded"]


def test_after_its_hour_it_takes_none(renewing):
    renewing.advance(renewing.on, RENEWAL + HOUR)
    with pytest.raises(stripe.InvalidRequestError, match="no longer editable") as refused:
        add(renewing, invoice=renewing.draft.id)
    assert (refused.value.http_status, refused.value.code) == (400, "invoice_not_editable")
    assert (len(renewing.simulator.invoice_items), last(renewing).amount_paid) == (0, 1000)


@pytest.mark.parametrize("world", [Settings(tax_percent=10)], indirect=True)
def test_discounts_taxes_and_the_balance_are_reckoned_anew(world):
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on, address={"country": "DE"})
    coupon = world.v1.coupons.create({"percent_off": 50, "duration": "forever"}).id
    terms = {"discounts": [{"coupon": coupon}], "automatic_tax": {"enabled": True}}
    world.sub = world.subscribe(world.of, world.price(1000), **terms).id
    world.advance(world.on, RENEWAL)
    draft = last(world).id
    world.v1.customers.balance_transactions.create(world.of, {"amount": -300, "currency": "usd"})
    add(world, 600, invoice=draft)
    add(world, 100, invoice=draft, discountable=False)
    add(world, -200, invoice=draft)

    now = world.v1.invoices.retrieve(draft)
    assert [one.discountable for one in world.v1.invoice_items.list({"invoice": draft}).data] == [False, False, True]
    assert (now.subtotal, now.total_discount_amounts[0].amount) == (1500, 800)
    assert (now.total_excluding_tax, now.total_taxes[0].amount, now.total) == (700, 70, 770)
    assert (now.starting_balance, now.amount_due) == (-300, 470)


@pytest.mark.parametrize(
    "params",
    [
        {"currency": "eur"},
        {"period": {"start": 2, "end": 1}},
        {"period": {"start": 2}},
        {"metadata": {"usage": "x" * 501}},
        {"metadata": {"x" * 41: "x"}},
        {"metadata": {str(n): "x" for n in range(51)}},
        {"customer": "another"},
    ],
)
def test_what_cannot_be_on_an_invoice_is_refused(renewing, params):
    if "customer" in params:
        params = {"customer": renewing.customer()}
    with pytest.raises(stripe.InvalidRequestError):
        add(renewing, invoice=renewing.draft.id, **params)
    assert last(renewing).total == 1000


def test_metadata_has_room_for_500_characters(renewing):
    assert len(add(renewing, metadata={"usage": "x" * 500}).metadata["usage"]) == 500


def test_an_invoice_has_room_for_250_items(renewing):
    for _ in range(249):
        add(renewing, 1, invoice=renewing.draft.id)
    with pytest.raises(stripe.InvalidRequestError):
        add(renewing, 1, invoice=renewing.draft.id)
    assert last(renewing).total == 1249


def test_what_waits_for_a_subscription_goes_on_its_next_invoice_and_on_no_others(subscribed):
    other = subscribed.subscribe(subscribed.of, subscribed.price(500)).id
    add(subscribed, 700, subscription=subscribed.sub)
    alone = subscribed.v1.invoices.create({"customer": subscribed.of, "pending_invoice_items_behavior": "exclude"})
    item = subscribed.v1.subscriptions.retrieve(other).items.data[0].id
    up = {"items": [{"id": item, "quantity": 2}], "proration_behavior": "always_invoice"}
    subscribed.v1.subscriptions.update(other, up)
    subscribed.advance(subscribed.on, RENEWAL)

    assert (alone.lines.data, waiting(subscribed)) == ([], [])
    assert [one.total for one in subscribed.invoices(other)] == [500, 500, 1000]
    assert [one.total for one in subscribed.invoices(subscribed.sub)] == [1000, 1700]


def test_a_change_that_is_invoiced_at_once_takes_what_waits(subscribed):
    add(subscribed, 700, subscription=subscribed.sub, metadata=MARK)
    item = subscribed.v1.subscriptions.retrieve(subscribed.sub).items.data[0].id
    up = {"items": [{"id": item, "quantity": 2}], "proration_behavior": "always_invoice"}
    subscribed.v1.subscriptions.update(subscribed.sub, up)
    assert (last(subscribed).amount_paid, waiting(subscribed)) == (1700, [])
    assert [one.metadata.to_dict() for one in last(subscribed).lines.data] == [MARK, {}, {}]


def test_items_are_listed_as_they_wait_or_not_and_from_when_on(renewing):
    on = add(renewing, 1, invoice=renewing.draft.id).id
    renewing.advance(renewing.on, RENEWAL + 60)
    waits = add(renewing, 2).id
    stranger = renewing.v1.invoice_items.create({"customer": renewing.customer(), "amount": 3, "currency": "usd"}).id

    def listed(**asked):
        return [one.id for one in renewing.v1.invoice_items.list(asked).auto_paging_iter()]

    assert listed(limit=1) == [stranger, waits, on]
    assert listed(customer=renewing.of) == [waits, on]
    assert listed(customer=renewing.of, pending=True) == [waits]
    assert listed(customer=renewing.of, pending=False) == [on] == listed(invoice=renewing.draft.id)
    assert listed(customer=renewing.of, created={"gte": RENEWAL + 60}) == [waits]


@pytest.mark.parametrize(
    ("cancel", "left"), [({"invoice_now": True}, []), ({}, [700]), ({"prorate": True}, [-500, 700])]
)
def test_cancelled_now_what_waits_is_on_a_last_invoice_if_one_is_asked_for_or_waits_on(subscribed, cancel, left):
    subscribed.advance(subscribed.on, START + 31 * DAY // 2)
    add(subscribed, 700, subscription=subscribed.sub, metadata=MARK)
    subscribed.v1.subscriptions.cancel(subscribed.sub, cancel)
    assert sorted(waiting(subscribed)) == left
    subscribed.advance(subscribed.on, START + 31 * DAY // 2 + HOUR)
    assert [one.amount_paid for one in subscribed.invoices(subscribed.sub)] == [1000] if left else [1000, 700]

    again = subscribed.subscribe(subscribed.of, subscribed.price(1000)).id
    assert subscribed.invoices(again)[0].total == 1000  # no other subscription's invoice takes what waits


def test_cancelled_now_without_an_invoice_its_prorations_are_dropped(subscribed):
    item = subscribed.v1.subscriptions.retrieve(subscribed.sub).items.data[0].id
    subscribed.v1.subscriptions.update(subscribed.sub, {"items": [{"id": item, "quantity": 2}]})
    add(subscribed, 700, subscription=subscribed.sub)
    subscribed.v1.subscriptions.cancel(subscribed.sub)
    assert waiting(subscribed) == [700]


def test_cancelled_with_its_period_what_waits_is_collected_then(subscribed):
    add(subscribed, 700, subscription=subscribed.sub, metadata=MARK)
    subscribed.v1.subscriptions.update(subscribed.sub, {"cancel_at_period_end": True})
    assert subscribed.v1.invoices.create_preview({"subscription": subscribed.sub}).total == 700
    subscribed.advance(subscribed.on, RENEWAL)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"
    assert (last(subscribed).status, last(subscribed).billing_reason) == ("draft", "subscription_cycle")
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert (last(subscribed).amount_paid, waiting(subscribed)) == (700, [])


def test_so_is_what_waits_when_a_schedule_ends_it(subscribed):
    schedule = subscribed.v1.subscription_schedules.create({"from_subscription": subscribed.sub})
    subscribed.v1.subscription_schedules.update(schedule.id, {"end_behavior": "cancel"})
    add(subscribed, 700, subscription=subscribed.sub)
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"
    assert (last(subscribed).amount_paid, waiting(subscribed)) == (700, [])


def test_an_invoice_that_a_pause_voids_takes_what_waits_with_it(subscribed):
    subscribed.v1.subscriptions.update(subscribed.sub, {"pause_collection": {"behavior": "void"}})
    add(subscribed, 700, subscription=subscribed.sub)
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert (last(subscribed).status, last(subscribed).total, waiting(subscribed)) == ("void", 1700, [])
    [item] = subscribed.v1.invoice_items.list({"customer": subscribed.of}).data
    assert item.invoice == last(subscribed).id


# Invoices of their own


def alone(world, **params):
    terms = {"customer": world.of, "pending_invoice_items_behavior": "exclude", "metadata": MARK}
    return world.v1.invoices.create(terms | params)


def test_an_invoice_of_its_own_holds_what_is_put_on_it_and_is_charged_when_it_is_finalized(subscribed):
    add(subscribed, 5)
    draft = alone(subscribed, auto_advance=False)
    assert (draft.automatically_finalizes_at, draft.billing_reason, draft.parent) == (None, "manual", None)
    add(subscribed, 700, invoice=draft.id, metadata=MARK)
    add(subscribed, -100, invoice=draft.id)
    subscribed.advance(subscribed.on, START + DAY)
    assert subscribed.v1.invoices.retrieve(draft.id).status == "draft"
    paid = subscribed.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True})

    assert (paid.status, paid.amount_paid, waiting(subscribed)) == ("paid", 600, [5])
    assert paid.metadata.to_dict() == MARK
    told = [one["type"] for one in subscribed.simulator.events.values() if _about(one) == draft.id]
    assert told == [
        "invoice.created",
        "invoice.updated",
        "invoice.updated",
        "invoice.finalized",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def _about(event):
    return event["data"]["object"]["id"]


def test_declined_it_is_open(subscribed):
    bad = subscribed.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": subscribed.of}).id
    draft = alone(subscribed, default_payment_method=bad)
    add(subscribed, 700, invoice=draft.id)
    said = subscribed.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True})
    assert (said.status, said.attempted, said.amount_remaining) == ("open", True, 700)
    assert subscribed.told("invoice.")[-1] == "invoice.payment_failed"
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "active"


def test_below_zero_it_goes_onto_the_balance(subscribed):
    draft = alone(subscribed)
    add(subscribed, -700, invoice=draft.id)
    said = subscribed.v1.invoices.finalize_invoice(draft.id, {"auto_advance": True})
    assert (said.status, said.amount_due, subscribed.v1.customers.retrieve(subscribed.of).balance) == ("paid", 0, -700)


def test_one_that_advances_by_itself_is_finalized_after_an_hour_whatever_is_on_it(subscribed):
    draft = alone(subscribed, auto_advance=True)
    assert draft.automatically_finalizes_at == START + HOUR
    kept = subscribed.v1.invoices.update(alone(subscribed, auto_advance=True).id, {"auto_advance": False})
    assert kept.automatically_finalizes_at is None
    subscribed.advance(subscribed.on, START + HOUR)
    assert subscribed.v1.invoices.retrieve(draft.id).status == "paid"
    assert subscribed.v1.invoices.retrieve(kept.id).status == "draft"
    subscribed.v1.invoices.update(kept.id, {"auto_advance": True})
    subscribed.advance(subscribed.on, START + 2 * HOUR)
    assert subscribed.v1.invoices.retrieve(kept.id).status == "paid"


@pytest.mark.parametrize("world", [Settings(tax_percent=10)], indirect=True)
def test_it_is_taxed_if_that_is_asked_for(world):
    world.of = world.customer(address={"country": "DE"})
    totals = []
    for taxed in (True, False):
        draft = alone(world, automatic_tax={"enabled": taxed})
        add(world, 700, invoice=draft.id)
        totals.append(world.v1.invoices.retrieve(draft.id).total)
    assert totals == [770, 700]


def test_a_movement_of_the_balance_bears_its_mark_and_is_listed_from_when_on(subscribed):
    move = {"amount": -700, "currency": "usd", "metadata": MARK}
    made = subscribed.v1.customers.balance_transactions.create(subscribed.of, move)
    subscribed.advance(subscribed.on, START + DAY)
    later = subscribed.v1.customers.balance_transactions.create(subscribed.of, move)

    def listed(**asked):
        return [one.id for one in subscribed.v1.customers.balance_transactions.list(subscribed.of, asked).data]

    assert (listed(), listed(created={"gt": START})) == ([later.id, made.id], [later.id])
    assert made.metadata.to_dict() == MARK
