"""More changes than Stripe makes invoices for: all are answered, none is lost, and the bill is right."""

from random import Random

import pytest

SEED = 7


def charged(stripe):
    """All that was ever invoiced and not voided, less what is on the balance."""
    return sum(each["total"] for each in stripe.invoices.values() if each["status"] == "paid")


@pytest.mark.parametrize(("changes", "pause"), [(25, {"seconds": 2}), (40, {"minutes": 25}), (60, {"minutes": 3})])
def test_they_are_all_answered_and_the_bill_is_right(api, subscribed, stripe, clock, changes, pause):
    print(f"seed {SEED}")
    random, seats, net, billed = Random(SEED), 5, 0, []
    for _ in range(changes):
        clock.pass_by(**pause)
        seats = random.choice([n for n in range(1, 51) if n != seats])
        answer = api("PUT", "/subscription/seats", {"quantity": seats})
        assert (answer.status, answer.json["seats"], answer.json["pending_change"]) == (200, seats, None), answer.json
        net += answer.json["proration"]["net_cents"]
        billed.append(answer.json["billed"])
    waiting = sum(each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None)

    assert set(billed) == {"now", "next_invoice"}
    assert charged(stripe) + waiting == 6000 + net
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    end, start = item["current_period_end"], item["current_period_start"]
    assert item["quantity"] == seats

    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    assert charged(stripe) == 6000 + net + 2000 + (seats - 1) * 1000
    assert end > start and not [each for each in stripe.invoice_items.values() if each["invoice"] is None]


def test_stripe_never_has_to_refuse_an_invoice(api, subscribed, stripe, clock):
    for number in range(30):
        clock.pass_by(seconds=1)
        api("PUT", "/subscription/seats", {"quantity": 6 + number})

    assert 429 not in [call.status for call in stripe.calls]
    assert api("GET", "/subscription").json["seats"] == 35


def test_one_who_waits_for_the_next_day_is_billed_at_once_again(api, subscribed, stripe, clock):
    for number in range(20):
        clock.pass_by(minutes=10)
        billed = api("PUT", "/subscription/seats", {"quantity": 6 + number}).json["billed"]
    assert billed == "next_invoice"
    clock.pass_by(hours=24)

    assert api("PUT", "/subscription/seats", {"quantity": 50}).json["billed"] == "now"
