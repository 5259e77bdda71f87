"""Money that was given back too little, too much, or twice, once; found by a review."""

import pytest

from billing import customer_table
from billing.holds import PATIENCE
from tests.functions.at_stripe import Death, ask, balance, hear, waiting

YEAR = {"name": "Year", "billing_interval": "year", "currency": "usd", "base_price_cents": 20_000}
YEAR |= {"price_per_seat_cents": 10_000, "max_seats": 50, "downgrades": "now"}
CARD = {"payment_method": "pm_card_visa"}


def total_given(stripe):
    return sum(each["total"] for each in stripe.credit_notes.values())


@pytest.fixture
def cancel(api):
    def now(unused_time=None, **request):
        said = {"unused_time": unused_time} if unused_time else {}
        return api("POST", "/subscription/cancel", {"immediately": True} | said, **request)

    return now


@pytest.fixture
def die_at(moments):
    """Dies at the nth such moment."""

    def arm(moment, nth=1):
        heard = []

        def die(now):
            if now == moment:
                heard.append(now)
                if len(heard) == nth:
                    moments.remove(die)
                    raise Death

        moments.append(die)

    return arm


def after_the_update(stripe, moments):
    """Dies once Stripe has taken an update of a subscription."""

    def die(now):
        last = stripe.calls[-1] if stripe.calls else None
        if now == "after post" and last and last.path.startswith("/v1/subscriptions/sub_"):
            moments.remove(die)
            raise Death

    moments.append(die)


@pytest.mark.parametrize("quantity", [8, 2], ids=["up", "down"])
def test_a_quoted_change_recovered_after_the_renewal_gives_nothing_away(
    api, subscribed, stripe, clock, moments, quantity
):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": quantity}).json
    after_the_update(stripe, moments)
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", {"quantity": quantity, "quote_id": quoted["quote_id"]})
    hear(stripe, subscribed["id"], clock)  # the echo of the change: the hold is still young
    clock.pass_by(days=22)
    stripe.tick()
    hear(stripe, subscribed["id"], clock, "evt_2")

    assert customer_table.find("ada", 0).pending is None
    assert (total_given(stripe), waiting(stripe)) == (0, [])


def test_a_yearly_quote_is_stale_when_something_else_waits_by_then(api, subscribed, stripe, clock):
    assert api("PUT", "/plans/year", YEAR).status == 200
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"plan_slug": "year"}).json
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    ask(
        stripe, "POST", "/v1/invoiceitems", customer=theirs, subscription=subscribed["id"], currency="usd", amount="700"
    )
    answer = api("PUT", "/subscription/plan", {"plan_slug": "year", "quote_id": quoted["quote_id"]})

    assert (answer.status, total_given(stripe)) == (409, 0), answer.json["plan"]


def test_a_credit_note_that_is_refused_stops_no_other(api, subscribed, stripe, clock, moments, cancel):
    clock.pass_by(days=1)
    api("PUT", "/subscription/seats", {"quantity": 8})
    newest = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    total = stripe.invoices[newest]["total"]
    moments.once(
        "after delete",
        lambda: ask(stripe, "POST", "/v1/credit_notes", invoice=newest, amount=str(total), refund_amount=str(total)),
    )
    given = cancel("refund").json["given_back"]

    assert total_given(stripe) >= given["refunded_cents"] - 5, (total_given(stripe), given)


def test_a_cancellation_that_died_is_reckoned_again_after_the_renewal(api, subscribed, stripe, clock, cancel, die_at):
    clock.pass_by(days=29, hours=22)
    die_at("before delete")
    with pytest.raises(Death):
        cancel("refund")
    clock.pass_by(hours=20)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    renewal = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    answer = cancel("refund").json
    assert [each["amount_paid"] for each in renewal] == [6000]
    assert answer["given_back"]["refunded_cents"] > 5000, answer["given_back"]


def test_a_renewal_that_is_still_a_draft_is_not_charged_after_a_cancellation(api, subscribed, stripe, clock, cancel):
    item = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    clock.pass_by(seconds=item["current_period_end"] - clock.now() + 600)
    stripe.tick()
    draft = [each for each in stripe.invoices.values() if each["status"] == "draft"]
    assert draft
    given = cancel("refund").json["given_back"]
    clock.pass_by(hours=3)
    stripe.tick()
    renewal = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    charged = sum(each["amount_paid"] for each in renewal)

    assert charged - given["refunded_cents"] - given["credited_cents"] < 100, (renewal[0]["status"], given)


def test_a_pause_makes_no_upgrade_free(api, subscribed, stripe, clock):
    """Its invoice is void, and what was never paid is credited when it is taken back."""
    clock.pass_by(days=1)
    api("POST", "/subscription/pause", {})
    up = api("PUT", "/subscription/seats", {"quantity": 40})
    paid = sum(each["amount_paid"] for each in stripe.invoices.values())
    api("POST", "/subscription/resume")
    down = api("PUT", "/subscription/seats", {"quantity": 5})
    credit = -sum(waiting(stripe)) - balance(stripe, subscribed["id"])

    assert credit <= paid - 6000, (up.json.get("billed"), up.json.get("pending_change"), down.json, credit, paid)


def test_a_key_of_a_caller_who_took_over_a_dead_hold_is_taken(api, subscribed, stripe, clock, die_at):
    more, fewer = {"quantity": 8}, {"quantity": 5}
    stripe.calls.clear()
    die_at("before post", 2)  # the first one is the preview
    with pytest.raises(Death):
        api("PUT", "/subscription/seats", more)
    assert customer_table.find("ada", 0).pending
    clock.pass_by(seconds=PATIENCE)
    first = api("PUT", "/subscription/seats", more, key="mine")
    api("PUT", "/subscription/seats", fewer)
    again = api("PUT", "/subscription/seats", more, key="mine")

    charged = [each["total"] for each in stripe.invoices.values() if each["billing_reason"] == "subscription_update"]
    assert (first.status, len(charged), again.json) == (200, 1, first.json)
