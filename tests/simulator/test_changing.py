"""A subscription changes: previews, prorations, updates that wait for their payment."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
HALF = START + 31 * DAY // 2  # of the first month
NOW = {"proration_behavior": "always_invoice"}
PENDING = NOW | {"payment_behavior": "pending_if_incomplete"}


def amounts(invoice):
    return [line.amount for line in invoice.lines.data]


@pytest.fixture
def subscribed(world):
    """On a clock, half a month in: 10 a month."""
    clock = world.clock()
    customer = world.customer(test_clock=clock)
    made = world.subscribe(customer, world.price(1000))
    world.advance(clock, HALF)
    world.item, world.sub, world.of, world.on = made.items.data[0].id, made.id, customer, clock
    return world


def change(world, params, **items):
    return world.v1.subscriptions.update(
        world.sub, {"items": [{"id": world.item, **items}], "expand": ["latest_invoice.payments"], **params}
    )


def use(world, token):
    method = world.v1.payment_methods.attach(token, {"customer": world.of}).id
    world.v1.customers.update(world.of, {"invoice_settings": {"default_payment_method": method}})
    return method


def test_the_preview_the_update_and_the_invoice_say_the_same(subscribed):
    bigger = subscribed.price(3001)
    items = [{"id": subscribed.item, "price": bigger, "quantity": 2}]
    details = NOW | {"items": items, "proration_date": HALF - 77}
    preview = subscribed.v1.invoices.create_preview({"subscription": subscribed.sub, "subscription_details": details})
    said = subscribed.v1.subscriptions.update(
        subscribed.sub, NOW | {"items": items, "proration_date": HALF - 77, "expand": ["latest_invoice"]}
    )
    assert amounts(preview) == amounts(said.latest_invoice) == [-500, 3001]
    assert preview.total == preview.amount_due == said.latest_invoice.amount_paid == 2501
    words = [line.description for line in preview.lines.data]
    times = "\N{MULTIPLICATION SIGN}"
    assert words == ["Unused time on Team after 30 Jan 2027", f"Remaining time on 2 {times} Team after 30 Jan 2027"]
    credit, debit = said.latest_invoice.lines.data
    assert all(one.parent.subscription_item_details.proration and not one.discountable for one in (credit, debit))
    first = subscribed.invoices(subscribed.sub)[0]
    credited = credit.parent.subscription_item_details.proration_details.credited_items
    assert (credited.invoice, credited.invoice_line_items) == (first.id, [first.lines.data[0].id])
    assert credit.pricing.unit_amount_decimal is None and credit.quantity == 1
    assert said.latest_invoice.billing_reason == "subscription_update"
    assert (said.items.data[0].price.id, said.items.data[0].quantity) == (bigger, 2)


def test_a_preview_changes_nothing_and_tells_nothing(subscribed):
    before = subscribed.simulator.subscriptions[subscribed.sub], subscribed.told()
    details = NOW | {"items": [{"id": subscribed.item, "quantity": 9}]}
    subscribed.v1.invoices.create_preview({"subscription": subscribed.sub, "subscription_details": details})
    assert (subscribed.simulator.subscriptions[subscribed.sub], subscribed.told()) == before


def test_prorations_that_wait_are_previewed_and_billed_with_the_renewal(subscribed):
    details = {"items": [{"id": subscribed.item, "quantity": 3}], "proration_behavior": "create_prorations"}
    preview = subscribed.v1.invoices.create_preview({"subscription": subscribed.sub, "subscription_details": details})
    said = subscribed.v1.subscriptions.update(subscribed.sub, details)
    assert len(subscribed.invoices(subscribed.sub)) == 1 and said.items.data[0].quantity == 3
    waiting = subscribed.v1.invoice_items.list({"customer": subscribed.of, "pending": True}).data
    assert sorted(one.amount for one in waiting) == [-500, 1500]
    upcoming = subscribed.v1.invoices.create_preview({"subscription": subscribed.sub})
    subscribed.advance(subscribed.on, START + 31 * DAY + HOUR)
    renewal = subscribed.invoices(subscribed.sub)[-1]
    assert amounts(preview) == amounts(upcoming) == amounts(renewal) == [-500, 1500, 3000]
    assert renewal.status == "paid" and renewal.billing_reason == "subscription_cycle"
    assert renewal.lines.data[0].parent.subscription_item_details.invoice_item
    assert not subscribed.v1.invoice_items.list({"customer": subscribed.of, "pending": True}).data


def test_without_prorations_the_credit_later_is_of_what_was_really_debited(subscribed):
    change(subscribed, {"proration_behavior": "none"}, quantity=2)
    said = change(subscribed, NOW, quantity=3)
    assert amounts(said.latest_invoice) == [-500, 1500]


def test_the_trap_of_a_price_without_a_quantity(subscribed):
    change(subscribed, {}, quantity=5)
    assert change(subscribed, {}, price=subscribed.price(2000)).items.data[0].quantity == 1


def test_the_trap_of_an_item_without_its_id(subscribed):
    said = subscribed.v1.subscriptions.update(subscribed.sub, {"items": [{"price": subscribed.price(2000)}]})
    assert len(said.items.data) == 2


def test_a_removed_item_is_credited_and_the_last_one_stays(subscribed):
    said = subscribed.v1.subscriptions.update(
        subscribed.sub, NOW | {"items": [{"price": subscribed.price(500)}], "expand": ["latest_invoice"]}
    )
    assert amounts(said.latest_invoice) == [250]
    said = change(subscribed, NOW, deleted=True)
    assert amounts(said.latest_invoice) == [-500] and len(said.items.data) == 1


def test_a_net_credit_goes_to_the_balance_and_pays_the_next_invoice(subscribed):
    said = change(subscribed, NOW, price=subscribed.price(100), quantity=1)
    invoice = said.latest_invoice
    assert (invoice.total, invoice.amount_due, invoice.status) == (-450, 0, "paid")
    assert (invoice.starting_balance, invoice.ending_balance) == (0, -450)
    assert subscribed.v1.customers.retrieve(subscribed.of).balance == -450
    said = change(subscribed, NOW, quantity=16)
    assert (said.latest_invoice.total, said.latest_invoice.amount_paid) == (750, 300)
    assert subscribed.v1.customers.retrieve(subscribed.of).balance == 0


def test_a_net_below_fifty_cents_is_paid_onto_the_balance(subscribed):
    said = change(subscribed, NOW, price=subscribed.price(1090), quantity=1)
    assert (said.latest_invoice.total, said.latest_invoice.amount_due, said.latest_invoice.status) == (45, 0, "paid")
    assert subscribed.v1.customers.retrieve(subscribed.of).balance == 45


def test_a_new_anchor_credits_the_old_period_and_charges_a_full_new_one(subscribed):
    yearly = subscribed.price(9000, "year")
    said = change(subscribed, {"billing_cycle_anchor": {"type": "now"}}, price=yearly, quantity=1)
    assert amounts(said.latest_invoice) == [-500, 9000]
    assert not said.latest_invoice.lines.data[1].parent.subscription_item_details.proration
    assert said.billing_cycle_anchor == said.items.data[0].current_period_start == HALF
    assert said.items.data[0].current_period_end == HALF + 365 * DAY


def test_another_interval_does_not_move_the_anchor_by_itself(subscribed):
    said = change(subscribed, NOW, price=subscribed.price(36_500, "year"), quantity=1)
    item = said.items.data[0]
    assert (said.billing_cycle_anchor, item.current_period_start) == (START, START)
    assert amounts(said.latest_invoice) == [-500, 36_500 - 1550]


@pytest.mark.parametrize(
    "wrong",
    [
        {"billing_cycle_anchor": "now"},
        {"proration_date": START - 1},
        {"proration_date": START + 31 * DAY},
        {"proration_date": HALF, "proration_behavior": "none"},
        {"proration_date": HALF, "billing_cycle_anchor": {"type": "now"}},
        {"items": [{"id": "si_none", "quantity": 2}]},
        {"items": [{"price": "price_none"}]},
        {"payment_behavior": "pending_if_incomplete", "description": "x"},
        {"payment_behavior": "pending_if_incomplete", "default_payment_method": ""},
        {"cancel_at": "tomorrow"},
        {"cancel_at": START},
        {"quantity": 3},
        {"items": [{"quantity": -1}]},
        {"items": [{"quantity": "many"}]},
    ],
)
def test_what_stripe_does_not_take_is_a_400_and_changes_nothing(subscribed, wrong):
    before = subscribed.simulator.subscriptions[subscribed.sub]
    good = {"items": [{"id": subscribed.item, "quantity": 4}]}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        subscribed.v1.subscriptions.update(subscribed.sub, good | wrong)
    assert refused.value.http_status == 400
    assert subscribed.simulator.subscriptions[subscribed.sub] == before


# Declined


def test_by_default_the_change_is_made_even_if_it_stays_unpaid(subscribed):
    use(subscribed, "pm_card_chargeCustomerFail")
    said = change(subscribed, NOW, quantity=3)
    assert (said.status, said.items.data[0].quantity, said.latest_invoice.status) == ("past_due", 3, "open")


def test_error_if_incomplete_changes_nothing(subscribed):
    use(subscribed, "pm_card_chargeCustomerFail")
    before = subscribed.simulator.subscriptions[subscribed.sub]
    with pytest.raises(stripe.CardError):
        change(subscribed, NOW | {"payment_behavior": "error_if_incomplete"}, quantity=3)
    assert subscribed.simulator.subscriptions[subscribed.sub] == before


def held(world, **params):
    use(world, "pm_card_chargeCustomerFail")
    world.v1.subscriptions.update(world.sub, {"metadata": {"change_id": "old", "tenant": "t"}})
    return change(world, PENDING | {"metadata": {"change_id": "new"}, **params}, quantity=3)


def test_a_pending_update_holds_everything_back(subscribed):
    said = held(subscribed)
    assert (said.status, said.items.data[0].quantity, said.metadata["change_id"]) == ("active", 1, "old")
    assert said.pending_update.metadata["change_id"] == "new"
    assert said.pending_update.subscription_items[0].quantity == 3
    assert said.pending_update.expires_at == HALF + 23 * HOUR
    assert (said.latest_invoice.status, said.latest_invoice.amount_due) == ("open", 1000)
    assert said.latest_invoice.next_payment_attempt is None


def test_a_pending_update_is_applied_when_its_invoice_is_paid(subscribed):
    invoice = held(subscribed).latest_invoice.id
    good = subscribed.v1.payment_methods.attach("pm_card_visa", {"customer": subscribed.of}).id
    subscribed.v1.invoices.pay(invoice, {"payment_method": good})
    now = subscribed.v1.subscriptions.retrieve(subscribed.sub)
    assert now.pending_update is None and now.items.data[0].quantity == 3
    assert now.metadata.to_dict() == {"change_id": "new", "tenant": "t"}
    assert subscribed.told("customer.subscription.pending") == ["customer.subscription.pending_update_applied"]


def test_a_pending_update_is_applied_when_the_browser_confirms_3d_secure(subscribed):
    use(subscribed, "pm_card_authenticationRequired")
    said = change(subscribed, PENDING, quantity=3)
    assert said.pending_update
    subscribed.v1.payment_intents.confirm(said.latest_invoice.payments.data[0].payment.payment_intent)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).items.data[0].quantity == 3


def test_voiding_its_invoice_drops_a_pending_update(subscribed):
    invoice = held(subscribed).latest_invoice.id
    assert subscribed.v1.invoices.void_invoice(invoice).status == "void"
    now = subscribed.v1.subscriptions.retrieve(subscribed.sub)
    assert now.pending_update is None and now.items.data[0].quantity == 1 and now.metadata["change_id"] == "old"
    assert now.status == "active"
    assert subscribed.told("customer.subscription.pending") == ["customer.subscription.pending_update_expired"]
    with pytest.raises(stripe.InvalidRequestError):
        subscribed.v1.invoices.pay(invoice)


def test_a_pending_update_expires_after_23_hours(subscribed):
    invoice = held(subscribed).latest_invoice.id
    subscribed.advance(subscribed.on, HALF + 23 * HOUR)
    now = subscribed.v1.subscriptions.retrieve(subscribed.sub)
    assert now.pending_update is None and now.items.data[0].quantity == 1
    assert subscribed.simulator.invoices[invoice]["status"] == "void"


def test_a_pending_update_expires_before_the_renewal(subscribed):
    subscribed.advance(subscribed.on, START + 31 * DAY - HOUR)
    use(subscribed, "pm_card_chargeCustomerFail")
    said = change(subscribed, PENDING, quantity=1000)
    assert said.pending_update.expires_at == START + 31 * DAY
    subscribed.advance(subscribed.on, START + 31 * DAY)
    assert amounts(subscribed.invoices(subscribed.sub)[-1]) == [1000]


def test_cancelling_voids_the_invoice_of_a_pending_update(subscribed):
    invoice = held(subscribed).latest_invoice.id
    gone = subscribed.v1.subscriptions.cancel(subscribed.sub)
    assert gone.pending_update is None and gone.status == "canceled"
    assert subscribed.simulator.invoices[invoice]["status"] == "void"


def test_another_change_replaces_a_pending_update(subscribed):
    first = held(subscribed).latest_invoice.id
    said = change(subscribed, PENDING, quantity=4)
    assert said.pending_update.subscription_items[0].quantity == 4
    assert subscribed.simulator.invoices[first]["status"] == "void"
    assert said.latest_invoice.id != first


def test_a_good_card_leaves_no_pending_update_and_applies_metadata_at_once(subscribed):
    said = change(subscribed, PENDING | {"metadata": {"change_id": "new"}}, quantity=3)
    assert said.pending_update is None and said.metadata["change_id"] == "new"
    assert said.items.data[0].quantity == 3


# On trial


def test_on_trial_a_change_costs_nothing(world):
    made = world.subscribe(world.customer(), world.price(), trial_period_days=14)
    said = world.v1.subscriptions.update(
        made.id, NOW | {"items": [{"id": made.items.data[0].id, "quantity": 4}], "expand": ["latest_invoice"]}
    )
    assert (said.status, said.latest_invoice.total, said.items.data[0].quantity) == ("trialing", 0, 4)
    assert said.trial_end == made.trial_end


def test_ending_the_trial_now_charges_a_full_period(world):
    made = world.subscribe(world.customer(), world.price(), trial_period_days=14)
    world.now[0] += DAY
    said = world.v1.subscriptions.update(made.id, {"trial_end": "now", "expand": ["latest_invoice"]})
    assert (said.status, said.trial_end, said.latest_invoice.amount_paid) == ("active", START + DAY, 1000)
    assert said.items.data[0].current_period_start == START + DAY


def test_a_preview_of_a_subscription_that_is_not_there_yet(world):
    details = {"items": [{"price": world.price(1000), "quantity": 4}]}
    preview = world.v1.invoices.create_preview({"customer": world.customer(), "subscription_details": details})
    assert (preview.total, preview.amount_due) == (4000, 4000)


def test_a_classic_subscription_becomes_flexible_for_good(world):
    price = world.price(1000)
    made = world.subscribe(world.customer(), price, billing_mode={"type": "classic"})
    assert (made.billing_mode.type, made.billing_mode.flexible) == ("classic", None)
    with pytest.raises(stripe.InvalidRequestError, match="classic"):
        world.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 2}]})

    migrated = world.v1.subscriptions.migrate(made.id, {"billing_mode": {"type": "flexible"}})
    assert (migrated.billing_mode.type, migrated.billing_mode.updated_at) == ("flexible", int(world.now[0]))
    assert world.told("customer.subscription.updated")
    world.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 2}]})
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.subscriptions.migrate(made.id, {"billing_mode": {"type": "flexible"}})
