"""A date to cancel at: within a period it cuts the period short and gives back what will not be used."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY
HALF = START + 31 * DAY // 2
QUARTER = START + 31 * DAY // 4
BILL = {"proration_behavior": "always_invoice", "expand": ["latest_invoice"]}


@pytest.fixture
def subscribed(world):
    """On a clock: 10 a month."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    world.sub = world.subscribe(world.of, world.price(1000)).id
    return world


def change(world, **params):
    return world.v1.subscriptions.update(world.sub, params)


def end(subscription):
    return subscription.items.data[0].current_period_end


def waiting(world):
    return [one.amount for one in world.v1.invoice_items.list({"customer": world.of, "pending": True}).data]


def test_a_date_within_the_period_shortens_it_and_credits_the_rest(subscribed):
    said = change(subscribed, cancel_at=HALF)
    assert (said.status, said.cancel_at, end(said), said.cancel_at_period_end) == ("active", HALF, HALF, False)
    [item] = subscribed.v1.invoice_items.list({"customer": subscribed.of, "pending": True}).data
    assert (item.amount, item.period.start, item.period.end, item.proration) == (-500, HALF, RENEWAL, True)
    subscribed.advance(subscribed.on, HALF)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"
    assert len(subscribed.invoices(subscribed.sub)) == 1


def test_the_date_can_be_billed_at_once_or_not_at_all(subscribed):
    said = change(subscribed, cancel_at=HALF, **BILL)
    assert (said.latest_invoice.total, said.latest_invoice.status, waiting(subscribed)) == (-500, "paid", [])
    assert subscribed.v1.customers.retrieve(subscribed.of).balance == -500
    said = change(subscribed, cancel_at=QUARTER, proration_behavior="none")
    assert (end(said), waiting(subscribed)) == (QUARTER, [])


def test_undoing_it_restores_the_period_and_charges_what_was_credited(subscribed):
    change(subscribed, cancel_at=HALF)
    undone = change(subscribed, cancel_at="")
    assert (undone.cancel_at, end(undone), sum(waiting(subscribed))) == (None, RENEWAL, 0)
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    assert subscribed.invoices(subscribed.sub)[-1].amount_paid == 1000


@pytest.mark.parametrize("undo", [{"cancel_at": ""}, {"cancel_at_period_end": False}, {"cancel_at_period_end": True}])
def test_whichever_way_it_is_undone_the_period_is_whole_again(subscribed, undo):
    change(subscribed, cancel_at=HALF)
    said = change(subscribed, **undo)
    assert end(said) == RENEWAL and sum(waiting(subscribed)) == 0
    assert said.cancel_at == (RENEWAL if undo.get("cancel_at_period_end") else None)


def test_a_date_that_moves_credits_and_charges_the_difference(subscribed):
    change(subscribed, cancel_at=QUARTER, proration_behavior="none")
    change(subscribed, cancel_at="", proration_behavior="none")
    assert waiting(subscribed) == []
    change(subscribed, cancel_at=HALF)
    change(subscribed, cancel_at=QUARTER)
    assert sorted(waiting(subscribed)) == [-500, -250]
    change(subscribed, cancel_at=HALF)
    assert sum(waiting(subscribed)) == -500


@pytest.mark.parametrize("date", [RENEWAL, "min_period_end", "max_period_end"])
def test_the_end_of_the_period_prorates_nothing(subscribed, date):
    said = change(subscribed, cancel_at=date)
    assert (said.cancel_at, end(said), waiting(subscribed)) == (RENEWAL, RENEWAL, [])


def test_a_later_date_shortens_the_period_that_it_is_in_when_that_is_billed(subscribed):
    change(subscribed, cancel_at=RENEWAL + 14 * DAY)  # half of February
    preview = subscribed.v1.invoices.create_preview({"subscription": subscribed.sub})
    subscribed.advance(subscribed.on, RENEWAL + HOUR)
    now, renewal = subscribed.v1.subscriptions.retrieve(subscribed.sub), subscribed.invoices(subscribed.sub)[-1]
    assert (end(now), renewal.amount_paid, preview.total) == (RENEWAL + 14 * DAY, 500, 500)
    subscribed.advance(subscribed.on, RENEWAL + 14 * DAY)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"


def test_a_subscription_can_begin_with_its_end(subscribed):
    made = subscribed.subscribe(
        subscribed.of, subscribed.price(1000), cancel_at=HALF, expand=["latest_invoice"]
    )  # fmt: skip
    assert (end(made), made.latest_invoice.amount_paid) == (HALF, 500)


def test_a_change_before_the_date_is_prorated_up_to_it(subscribed):
    made = change(subscribed, cancel_at=HALF)
    subscribed.advance(subscribed.on, QUARTER)
    said = change(subscribed, items=[{"id": made.items.data[0].id, "quantity": 3}], **BILL)
    assert [line.amount for line in said.latest_invoice.lines.data] == [-500, -250, 750]
    assert (end(said), said.cancel_at) == (HALF, HALF)


def test_on_trial_a_date_costs_nothing(world):
    made = world.subscribe(world.customer(), world.price(1000), trial_period_days=14).id
    said = world.v1.subscriptions.update(made, {"cancel_at": START + DAY})
    assert (end(said), said.status) == (START + DAY, "trialing")
    said = world.v1.subscriptions.update(made, {"cancel_at": ""})
    assert (end(said), world.v1.invoice_items.list().data) == (START + 14 * DAY, [])


@pytest.mark.parametrize("date", [START, START - DAY, "soon"])
def test_a_date_that_cannot_be_is_refused(subscribed, date):
    before = subscribed.simulator.subscriptions[subscribed.sub]
    with pytest.raises(stripe.InvalidRequestError):
        change(subscribed, cancel_at=date)
    assert subscribed.simulator.subscriptions[subscribed.sub] == before


def test_the_date_and_the_items_do_not_change_in_one_call(subscribed):
    item = subscribed.v1.subscriptions.retrieve(subscribed.sub).items.data[0].id
    with pytest.raises(stripe.InvalidRequestError):
        change(subscribed, cancel_at=HALF, items=[{"id": item, "quantity": 2}])
    said = change(subscribed, cancel_at=RENEWAL, items=[{"id": item, "quantity": 2}])
    assert (said.cancel_at, said.items.data[0].quantity) == (RENEWAL, 2)
