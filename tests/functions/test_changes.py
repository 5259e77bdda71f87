"""A change of seats or plan: priced, held, applied, settled; and whatever may come between."""

import time
from dataclasses import replace

import pytest

from billing import customer_table, records
from billing.holds import EXPIRY, PATIENCE

NOW = int(time.time())


def record(customer="ada"):
    return customer_table.find(customer, NOW)


def invoices(stripe):
    return [
        invoice["status"] for invoice in stripe.invoices.values() if invoice["billing_reason"] != "subscription_create"
    ]


def age(seconds, customer="ada"):
    """As if the hold had been made so long ago."""
    held = record(customer)
    assert held.pending
    pending = held.pending
    aged = replace(pending, held_at=pending.held_at - seconds, sent_at=pending.sent_at - seconds)
    after = replace(held, pending=aged, version=held.version + 1)
    records.commit(held, replace(held.release(held.pending, NOW), customer=after))


def test_an_upgrades_charge_exceeds_its_credit(api, subscribed):
    answer = api("PUT", "/subscription/plan", {"plan_slug": "pro"})

    proration = answer.json["proration"]
    assert (answer.status, answer.json["plan"], answer.json["seats"]) == (200, "pro", 5)
    assert proration["charge_cents"] > proration["credit_cents"] > 0
    assert proration["net_cents"] == proration["charge_cents"] - proration["credit_cents"]
    assert proration["net_cents"] == sum(line["amount_cents"] for line in proration["lines"])


def test_what_the_answer_says_is_what_the_invoice_says(api, subscribed, stripe):
    answer = api("PUT", "/subscription/seats", {"quantity": 8})

    invoice = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert answer.json["proration"]["net_cents"] == invoice["total"]
    assert [line["amount_cents"] for line in answer.json["proration"]["lines"]] == [
        line["amount"] for line in invoice["lines"]["data"]
    ]
    assert (answer.json["billed"], answer.json["seats"], answer.json["pending_change"]) == ("now", 8, None)


def test_seats_are_changed_and_billed_once(api, subscribed, stripe, said):
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8
    assert (invoices(stripe), said()["/v1/subscriptions/{id}"]) == (["paid"], 1)
    assert api("GET", "/subscription").json["seats"] == 8


def test_fewer_seats_are_credited_on_the_next_invoice(api, subscribed, stripe):
    answer = api("PUT", "/subscription/seats", {"quantity": 2})

    assert (answer.json["seats"], answer.json["billed"], invoices(stripe)) == (2, "next_invoice", [])
    assert answer.json["proration"]["net_cents"] < 0


def test_the_same_wish_again_is_answered_and_its_key_means_nothing_else(api, subscribed, stripe, said):
    first, again = (api("PUT", "/subscription/seats", {"quantity": 8}, key="k") for _ in range(2))
    without = api("PUT", "/subscription/seats", {"quantity": 8})
    other = api("PUT", "/subscription/seats", {"quantity": 9}, key="k")

    assert (again.json, without.json["seats"]) == (first.json, 8)
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
    assert said()["/v1/subscriptions/{id}"] == 1


def test_a_key_of_a_wish_that_was_true_already_is_taken_too(api, subscribed):
    assert api("PUT", "/subscription/seats", {"quantity": 5}, key="k").json["seats"] == 5
    assert api("PUT", "/subscription/seats", {"quantity": 9}, key="k").status == 409


def test_of_two_wishes_at_once_the_second_is_turned_away_before_stripe_hears_of_it(api, subscribed, stripe, moments):
    others = []

    def other():
        calls = len(stripe.calls)
        others.append(api("PUT", "/subscription/seats", {"quantity": 9}))
        assert len(stripe.calls) == calls

    moments.once("after PutItem", other)  # the hold is on record

    assert api("PUT", "/subscription/seats", {"quantity": 8}).status == 200
    (turned_away,) = others
    assert (turned_away.status, turned_away.json["code"], turned_away.headers["retry-after"]) == (
        409,
        "change_in_flight",
        "5",
    )


def test_a_record_that_moved_before_the_hold_is_decided_upon_again(api, subscribed, stripe, moments):
    moments.once("before PutItem", lambda: api("PUT", "/subscription/seats", {"quantity": 9}))

    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8
    assert invoices(stripe) == ["paid"]  # nine were charged, then one credited


def test_the_same_wish_at_once_joins(api, subscribed, stripe, moments):
    others = []
    moments.once("after PutItem", lambda: others.append(api("PUT", "/subscription/seats", {"quantity": 8})))

    answer = api("PUT", "/subscription/seats", {"quantity": 8})
    assert (answer.status, answer.json) == (200, others[0].json)
    assert invoices(stripe) == ["paid"]


def test_whoever_joins_under_a_key_of_its_own_is_answered_the_same_again(api, subscribed, stripe, moments):
    joined = []
    join = lambda: joined.append(api("PUT", "/subscription/seats", {"quantity": 8}, key="mine"))  # noqa: E731
    moments.once("after PutItem", join)
    api("PUT", "/subscription/seats", {"quantity": 8})

    assert api("PUT", "/subscription/seats", {"quantity": 8}, key="mine").json == joined[0].json
    assert api("PUT", "/subscription/seats", {"quantity": 9}, key="mine").status == 409


def test_an_unpaid_change_waits_and_the_same_wish_is_told_so_again(api, subscribed, stripe):
    card_fails(api, stripe, subscribed)
    waiting = api("PUT", "/subscription/seats", {"quantity": 8})
    again = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (waiting.json["seats"], waiting.json["pending_change"]["status"]) == (5, "awaiting_payment")
    assert waiting.json["pending_change"]["seats"] == 8 and waiting.json["payment"]["client_secret"]
    assert again.json["pending_change"] == waiting.json["pending_change"]
    assert again.json["payment"] == waiting.json["payment"]
    assert (api("GET", "/subscription").json["seats"], invoices(stripe)) == (5, ["open"])


def test_another_wish_voids_the_invoice_of_an_unpaid_change(api, subscribed, stripe):
    card_fails(api, stripe, subscribed)
    api("PUT", "/subscription/seats", {"quantity": 8})
    other = api("PUT", "/subscription/seats", {"quantity": 3})

    assert (other.json["seats"], other.json["pending_change"], invoices(stripe)) == (3, None, ["void"])


def test_an_unpaid_change_is_withdrawn(api, subscribed, stripe):
    card_fails(api, stripe, subscribed)
    api("PUT", "/subscription/seats", {"quantity": 8})
    withdrawn = api("DELETE", "/subscription/change")

    assert (withdrawn.status, withdrawn.json["seats"], withdrawn.json["pending_change"]) == (200, 5, None)
    assert (invoices(stripe), api("DELETE", "/subscription/change").status) == (["void"], 404)


def test_a_failure_after_the_fact_is_found_out_by_looking(api, subscribed, stripe):
    stripe.fault("failed_after", method="POST", path=r"/v1/subscriptions/sub_.*")

    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8
    assert invoices(stripe) == ["paid"]


def test_a_failure_is_not_asked_again_under_the_same_key_for_ever(api, subscribed, stripe):
    stripe.fault("failed", method="POST", path=r"/v1/subscriptions/sub_.*")
    answers = [api("PUT", "/subscription/seats", {"quantity": 8}, key="k") for _ in range(3)]

    assert [answer.status for answer in answers] == [503, 503, 200]  # Stripe repeats what it said under a key
    assert (answers[0].headers["retry-after"], invoices(stripe)) == ("5", ["paid"])


def test_when_stripe_does_not_answer_the_outcome_is_unknown_and_a_retry_is_safe(api, subscribed, stripe):
    lose_the_answer(stripe)
    unknown = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (unknown.status, unknown.json["code"], unknown.headers["retry-after"]) == (503, "unavailable", "5")
    assert api("GET", "/subscription").json["pending_change"]["status"] == "in_flight"
    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8
    assert (invoices(stripe), record().pending) == (["paid"], None)


def test_when_stripe_is_busy_it_is_asked_again(api, subscribed, stripe):
    stripe.fault("rate_limit", method="POST", path=r"/v1/subscriptions/sub_.*")

    assert api("PUT", "/subscription/seats", {"quantity": 8}).json["seats"] == 8


def heard(api, stripe, subscribed):
    """Stripe made the change, and whoever asked for it died."""
    lose_the_answer(stripe)
    assert api("PUT", "/subscription/seats", {"quantity": 8}).status == 503


def unheard(api, stripe, subscribed):
    stripe.fault("unreachable", method="POST", path=r"/v1/subscriptions/sub_.*", times=2)
    assert api("PUT", "/subscription/seats", {"quantity": 8}).status == 503


@pytest.mark.parametrize(
    ("before", "age_of", "wish", "attempt"),
    [
        pytest.param(heard, PATIENCE, 6, 0, id="Stripe said yes: settled first"),
        pytest.param(unheard, PATIENCE, 6, 1, id="Stripe never heard: another wish replaces it"),
        pytest.param(unheard, PATIENCE, 8, 0, id="Stripe never heard: the same wish goes on"),
        pytest.param(unheard, EXPIRY, 8, 1, id="Stripe may have forgotten its key: released"),
    ],
)
def test_an_old_hold_is_looked_for_at_stripe(api, subscribed, stripe, before, age_of, wish, attempt):
    before(api, stripe, subscribed)
    age(age_of)
    answer = api("PUT", "/subscription/seats", {"quantity": wish})

    assert (answer.status, answer.json["seats"]) == (200, wish)
    assert (record().pending, record().attempt, invoices(stripe)) == (None, attempt, ["paid"])


def test_a_young_hold_of_another_wish_is_left_alone(api, subscribed, stripe):
    unheard(api, stripe, subscribed)

    assert api("PUT", "/subscription/seats", {"quantity": 6}).json["code"] == "change_in_flight"


def test_the_ninth_change_of_a_minute_is_billed_on_the_next_invoice(api, subscribed, stripe):
    answers = [api("PUT", "/subscription/seats", {"quantity": seats}).json for seats in range(6, 16)]

    assert [answer["seats"] for answer in answers] == list(range(6, 16))
    assert [answer["billed"] for answer in answers] == ["now"] * 8 + ["next_invoice"] * 2
    assert invoices(stripe) == ["paid"] * 8


def test_a_month_becomes_a_year_and_its_period_begins_today(api, subscribed, stripe, plans):
    year = {"name": "Team, yearly", "billing_interval": "year", "currency": "usd", "base_price_cents": 50_000}
    assert api("PUT", "/plans/team-yearly", year | {"price_per_seat_cents": 10_000}).status == 200
    answer = api("PUT", "/subscription/plan", {"plan_slug": "team-yearly"})

    assert (answer.status, answer.json["plan"], answer.json["billed"]) == (200, "team-yearly", "now")
    assert (
        answer.json["proration"]["net_cents"]
        == stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]["total"]
    )


@pytest.mark.parametrize("wrong", [0, -1, "8", True, 1.5, None, 10**30])
def test_seats_are_a_positive_number(api, subscribed, stripe, wrong):
    answer = api("PUT", "/subscription/seats", {"quantity": wrong})

    assert (answer.status, answer.json["fields"][0]["field"], stripe.calls) == (400, "quantity", [])


def test_without_a_subscription_there_is_nothing_to_change(api, plans):
    for method, path, body in (
        ("PUT", "/subscription/seats", {"quantity": 2}),
        ("PUT", "/subscription/plan", {"plan_slug": "pro"}),
        ("POST", "/subscription/cancel", {}),
        ("POST", "/subscription/resume", None),
        ("DELETE", "/subscription/change", None),
    ):
        assert api(method, path, body).status == 404


def lose_the_answer(stripe):
    """Stripe does what it is asked, and neither that answer nor the one to the library's retry comes through."""
    for kind in ("timeout", "unreachable"):
        stripe.fault(kind, method="POST", path=r"/v1/subscriptions/sub_.*")


def card_fails(api, stripe, subscribed):
    """The card on file is replaced, at Stripe, by one that attaches and later fails."""
    customer = stripe.subscriptions[subscribed["id"]]["customer"]
    status, card = stripe.handle(
        "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": customer}
    )
    assert status == 200
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"default_payment_method": card["id"]})
