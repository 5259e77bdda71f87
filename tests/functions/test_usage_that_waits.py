"""What is to be charged for usage and waits for the next invoice: quotes tell it apart, and no change loses it."""

import pytest

from billing import gateway, overage
from tests.functions.at_stripe import ask, balance, waiting

HOUR = 3600
MARK = "sub:api_calls:1700000000:1"


@pytest.fixture
def use(subscribed):
    """So much waits to be charged for usage of Ada's."""

    def wait(cents=700):
        theirs = gateway.subscription(subscribed["id"])
        overage.charge_on(None, theirs, cents, "usd", "API calls", (1_700_000_000, 1_702_592_000), MARK)

    return wait


@pytest.fixture
def cancel(api):
    def cancel(immediately=True, **said):
        answer = api("POST", "/subscription/cancel", {"immediately": immediately} | said)
        assert answer.status == 200, answer.json
        return answer.json

    return cancel


@pytest.fixture
def last(subscribed, stripe):
    return lambda: stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]


def billed(stripe, subscription):
    """What stands for the usage at Stripe: on which invoice, and how much."""
    found = overage.billed(stripe.subscriptions[subscription]["customer"], 0)
    return {mark: (each.invoice, each.amount_cents) for mark, each in found.items()}


def ends(stripe, clock, subscription):
    item = stripe.subscriptions[subscription]["items"]["data"][0]
    clock.pass_by(seconds=item["current_period_end"] - clock.now() + HOUR)
    stripe.tick()


def test_a_quote_tells_it_apart_and_the_invoice_is_what_it_says(api, subscribed, stripe, clock, use, last):
    clock.pass_by(days=10)
    use(700)
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    answer = api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})

    assert (answer.status, quoted["waiting_cents"]) == (200, 700)
    assert quoted["total_cents"] == quoted["net_cents"] + 700 == last()["amount_paid"]
    assert billed(stripe, subscribed["id"]) == {MARK: (last()["id"], 700)}


def test_usage_that_comes_to_wait_makes_a_quote_stale(api, subscribed, clock, use):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    use(700)
    refused = api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})

    assert (refused.status, refused.json["code"], refused.json["quote"]["waiting_cents"]) == (409, "quote_stale", 700)


def test_usage_that_comes_while_a_quoted_change_is_made_is_not_given_for_nothing(
    api, subscribed, stripe, clock, moments, use, last, caplog
):
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    moments.once("after TransactWriteItems", use)  # the change is held, and what waits has been compared
    answer = api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})

    assert (answer.status, last()["total"]) == (200, quoted["total_cents"] + 700)
    assert not stripe.credit_notes and "quote_exceeded" not in caplog.text


def test_but_what_else_stripe_charges_beyond_a_quote_is_given_back_beside_it(
    api, subscribed, stripe, clock, moments, use
):
    clock.pass_by(days=10)
    use(300)
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]

    def more():
        ask(stripe, "POST", "/v1/invoiceitems", customer=theirs, currency="usd", amount="50")

    moments.once("after TransactWriteItems", more)
    api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]})

    assert [each["total"] for each in stripe.credit_notes.values()] == [50]


def test_cancelling_now_charges_it(subscribed, stripe, clock, use, cancel, last):
    use(700)
    cancel(unused_time="none")
    clock.pass_by(seconds=HOUR)
    stripe.tick()

    assert (last()["status"], last()["amount_paid"], waiting(stripe)) == ("paid", 700, [])
    assert billed(stripe, subscribed["id"]) == {MARK: (last()["id"], 700)}


def test_what_is_given_back_of_the_rest_of_the_period_is_less_by_it(subscribed, stripe, clock, use, cancel):
    clock.pass_by(days=15)
    rest = gateway.ending(gateway.subscription(subscribed["id"]), unused=True).unused_cents
    use(700)
    given = cancel(unused_time="refund")["given_back"]

    assert given["refunded_cents"] == rest - 700
    assert len(stripe.invoices) == 1 and billed(stripe, subscribed["id"]) == {MARK: (None, 700)}


def test_more_usage_than_is_left_of_the_period_is_charged_less_that(subscribed, stripe, clock, use, cancel, last):
    clock.pass_by(days=15)
    rest = gateway.ending(gateway.subscription(subscribed["id"]), unused=True).unused_cents
    use(9000)
    cancel(unused_time="refund")
    clock.pass_by(seconds=HOUR)
    stripe.tick()

    assert abs(last()["amount_paid"] - (9000 - rest)) <= 1 and not stripe.credit_notes


def test_cancelled_with_the_period_it_is_charged_then(subscribed, stripe, clock, use, cancel, last):
    use(700)
    cancel(immediately=False)
    ends(stripe, clock, subscribed["id"])

    assert (last()["amount_paid"], waiting(stripe), balance(stripe, subscribed["id"])) == (700, [], 0)


def test_then_a_credit_for_seats_is_given_and_the_usage_stays_to_be_charged(
    api, subscribed, stripe, clock, use, cancel, last
):
    clock.pass_by(days=10)
    owed = -api("PUT", "/subscription/seats", {"quantity": 2}).json["proration"]["net_cents"]
    use(700)
    given = cancel(immediately=False)["given_back"]
    assert (given["credited_cents"], waiting(stripe), balance(stripe, subscribed["id"])) == (owed, [700], -owed)
    assert billed(stripe, subscribed["id"]) == {MARK: (None, 700)}

    ends(stripe, clock, subscribed["id"])
    assert (last()["total"], waiting(stripe), balance(stripe, subscribed["id"])) == (700, [], 700 - owed)


def test_resumed_it_is_on_the_next_renewal(api, subscribed, stripe, clock, use, cancel, last):
    use(700)
    cancel(immediately=False)
    assert api("POST", "/subscription/resume", {}).status == 200
    ends(stripe, clock, subscribed["id"])

    assert (last()["amount_paid"], waiting(stripe)) == (6700, [])


def test_the_next_invoice_tells_it(api, subscribed, use):
    use(700)
    told = api("GET", "/invoices/upcoming").json
    assert told["total_cents"] == 6700 and 700 in [line["amount_cents"] for line in told["lines"]]
