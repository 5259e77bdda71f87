"""A subscription is cancelled at once: what becomes of the unused time and of what waits, as was recorded of Stripe."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
HALF = START + 31 * DAY // 2


@pytest.fixture
def waiting(world):
    """Half a month in, 10 a month, and one more seat that waits for the renewal."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    made = world.subscribe(world.of, world.price(1000))
    world.advance(world.on, HALF)
    world.sub = made.id
    world.v1.subscriptions.update(made.id, {"items": [{"id": made.items.data[0].id, "quantity": 2}]})
    return world


def cancel(world, **params):
    return world.v1.subscriptions.cancel(world.sub, {"expand": ["latest_invoice"], **params})


def pending(world):
    return sorted(item.amount for item in world.v1.invoice_items.list({"customer": world.of, "pending": True}).data)


def test_neither_prorated_nor_invoiced_what_waits_is_dropped(waiting):
    gone = cancel(waiting)
    assert gone.status == "canceled" and pending(waiting) == []
    assert len(waiting.invoices(waiting.sub)) == 1
    assert waiting.told("invoiceitem").count("invoiceitem.deleted") == 2


def test_prorated_but_not_invoiced_the_credit_is_left_waiting_for_ever(waiting):
    cancel(waiting, prorate=True)
    assert pending(waiting) == [-1000, -500, 1000]
    waiting.advance(waiting.on, HALF + 40 * DAY)
    assert pending(waiting) == [-1000, -500, 1000] and len(waiting.invoices(waiting.sub)) == 1


def test_invoiced_but_not_prorated_what_waits_is_charged_an_hour_later(waiting):
    gone = cancel(waiting, invoice_now=True)
    draft = gone.latest_invoice
    assert (draft.status, draft.total, draft.billing_reason) == ("draft", 500, "subscription_cycle")
    assert pending(waiting) == []
    waiting.advance(waiting.on, HALF + HOUR)
    assert waiting.v1.invoices.retrieve(draft.id).amount_paid == 500


def test_prorated_and_invoiced_the_credit_is_written_off_an_hour_later(waiting):
    draft = cancel(waiting, prorate=True, invoice_now=True).latest_invoice
    assert (draft.status, draft.total, draft.billing_reason) == ("draft", -500, "subscription_cycle")
    assert draft.automatically_finalizes_at == HALF + HOUR and pending(waiting) == []
    waiting.advance(waiting.on, HALF + HOUR)
    lost = waiting.v1.invoices.retrieve(draft.id)
    assert (lost.status, lost.status_details.uncollectible.reason) == ("uncollectible", "subscription_canceled")
    assert (lost.starting_balance, lost.ending_balance) == (0, 0)
    assert waiting.v1.customers.retrieve(waiting.of).balance == 0


def test_with_nothing_to_put_on_it_no_invoice_is_made(world):
    made = world.subscribe(world.customer(), world.price())
    gone = world.v1.subscriptions.cancel(made.id, {"invoice_now": True})
    assert gone.latest_invoice == made.latest_invoice
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.subscriptions.cancel(made.id)
