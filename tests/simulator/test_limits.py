"""How often a subscription may be billed and changed before Stripe answers 429."""

import pytest
import stripe

from local.stripe_simulator import Settings
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
NOW = {"proration_behavior": "always_invoice"}


def subscribe(world, **params):
    made = world.subscribe(world.customer(**params), world.price(1000))
    world.sub, world.item = made.id, made.items.data[0].id


def seats(world, quantity, params=NOW):
    return world.v1.subscriptions.update(
        world.sub, params | {"items": [{"id": world.item, "quantity": quantity}]}, {"max_network_retries": 0}
    )


def refused(call):
    with pytest.raises(stripe.RateLimitError) as limit:
        call()
    assert (limit.value.http_status, limit.value.error.code) == (429, "rate_limit")


def test_the_eleventh_invoice_within_a_minute_is_refused_and_nothing_changes(world):
    subscribe(world)
    for quantity in range(2, 11):
        seats(world, quantity)
    before = world.simulator.subscriptions[world.sub], world.told()
    refused(lambda: seats(world, 11))
    refused(lambda: world.v1.subscriptions.update(world.sub, {"billing_cycle_anchor": {"type": "now"}}))
    refused(lambda: world.v1.subscriptions.cancel(world.sub, {"prorate": True, "invoice_now": True}))
    refused(lambda: world.v1.invoices.create({"customer": before[0]["customer"], "subscription": world.sub}))
    assert (world.simulator.subscriptions[world.sub], world.told()) == before
    world.now[0] += 60
    assert seats(world, 11).items.data[0].quantity == 11


def test_the_twenty_first_invoice_within_a_day_is_refused(world):
    subscribe(world)
    for quantity in range(2, 21):
        world.now[0] += 61
        seats(world, quantity)
    world.now[0] += HOUR
    refused(lambda: seats(world, 21))
    world.now[0] = START + DAY
    assert seats(world, 21).items.data[0].quantity == 21


def test_a_refused_change_can_be_asked_again_with_the_same_key(world):
    subscribe(world)
    for quantity in range(2, 11):
        seats(world, quantity)
    params = NOW | {"items": [{"id": world.item, "quantity": 99}]}
    key = {"idempotency_key": "k"}
    refused(lambda: world.v1.subscriptions.update(world.sub, params, key))
    world.now[0] += 60
    assert world.v1.subscriptions.update(world.sub, params, key).items.data[0].quantity == 99


def test_changes_that_make_no_invoice_and_previews_are_not_counted(world):
    subscribe(world)
    for quantity in range(2, 15):
        seats(world, quantity, {"proration_behavior": "none"})
        details = {"subscription": world.sub, "subscription_details": NOW | {"items": [{"id": world.item}]}}
        world.v1.invoices.create_preview(details)
    assert seats(world, 20).items.data[0].quantity == 20


def test_a_test_clock_that_stands_still_counts_all_as_one_minute(world):
    on = world.clock()
    subscribe(world, test_clock=on)
    for quantity in range(2, 11):
        world.now[0] += DAY
        seats(world, quantity)
    refused(lambda: seats(world, 11))
    world.advance(on, START + 60)
    assert seats(world, 11).items.data[0].quantity == 11


def test_each_subscription_has_its_own_count(world):
    for _ in range(2):
        subscribe(world)
        for quantity in range(2, 11):
            seats(world, quantity)


def test_the_two_hundred_and_first_quantity_within_an_hour_is_refused(world):
    subscribe(world)
    path, silent = f"/v1/subscriptions/{world.sub}", {"proration_behavior": "none"}
    for quantity in range(2, 202):
        params = silent | {"items": [{"id": world.item, "quantity": quantity}]}
        assert world.simulator.handle("POST", path, params)[0] == 200
    refused(lambda: seats(world, 202, silent))
    world.v1.subscriptions.update(
        world.sub, silent | {"items": [{"id": world.item, "price": world.price(5), "quantity": 201}]}
    )
    world.now[0] += HOUR
    assert seats(world, 202, silent).items.data[0].quantity == 202


@pytest.mark.parametrize("world", [Settings(limits_invoices=False, limits_quantities=False)], indirect=True)
def test_the_limits_can_be_switched_off(world):
    subscribe(world)
    for quantity in range(2, 204):
        params = NOW | {"items": [{"id": world.item, "quantity": quantity}]}
        assert world.simulator.handle("POST", f"/v1/subscriptions/{world.sub}", params)[0] == 200
    assert len(world.simulator.invoices) == 203
