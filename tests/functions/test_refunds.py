"""Cancelling now: what is given back of the rest of the period is said, and is what is given back."""

import pytest

from billing import gateway
from billing.holds import PATIENCE, Change, Draft, Step, Wish
from tests.functions.at_stripe import Death, ask, balance, waiting

DAY = 86_400
CARD = {"payment_method": "pm_card_visa"}
YEAR = {"name": "Year", "billing_interval": "year", "currency": "usd", "base_price_cents": 20_000}
YEAR |= {"price_per_seat_cents": 10_000, "max_seats": 50, "downgrades": "now"}


@pytest.fixture
def cancel(api):
    def now(unused_time=None, **request):
        said = {"unused_time": unused_time} if unused_time else {}
        return api("POST", "/subscription/cancel", {"immediately": True} | said, **request)

    return now


def notes(stripe):
    return [
        (each["total"], sum(one["amount"] for one in refunded(stripe, each))) for each in stripe.credit_notes.values()
    ]


def refunded(stripe, note):
    ids = {each["refund"] for each in note["refunds"]}
    return [each for each in stripe.refunds.values() if each["id"] in ids]


def unused(stripe, subscription, clock, total=6000):
    item = stripe.subscriptions[subscription]["items"]["data"][0]
    start, end = item["current_period_start"], item["current_period_end"]
    return total * (end - int(clock.now())) / (end - start)


def test_nothing_is_given_back_unless_it_is_said(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    answer = cancel()

    assert answer.json["given_back"] == {
        "unused_time": "none",
        "currency": "usd",
        "refunded_cents": 0,
        "credited_cents": 0,
    }
    assert (notes(stripe), balance(stripe, subscribed["id"])) == ([], 0)


def test_the_rest_of_the_period_is_refunded_to_the_card(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    expected = unused(stripe, subscribed["id"], clock)
    answer = cancel("refund")

    given = answer.json["given_back"]
    assert (answer.status, answer.json["status"], given["credited_cents"]) == (200, "canceled", 0)
    assert abs(given["refunded_cents"] - expected) <= 1
    assert notes(stripe) == [(given["refunded_cents"], given["refunded_cents"])]
    assert balance(stripe, subscribed["id"]) == 0


def test_or_it_is_credit_for_the_next_invoices(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    given = cancel("credit").json["given_back"]

    assert given["credited_cents"] > 0 == given["refunded_cents"]
    assert balance(stripe, subscribed["id"]) == -given["credited_cents"]
    back = api("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}).json
    paid = stripe.invoices[stripe.subscriptions[back["id"]]["latest_invoice"]]
    assert (paid["total"], paid["amount_paid"]) == (6000, 6000 - given["credited_cents"])


def test_a_plan_may_say_what_is_given_back(api, plans, stripe, clock, cancel):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/team", offer | {"unused_time": "refund"})
    api("POST", "/subscription", {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"})
    clock.pass_by(days=10)

    assert cancel().json["given_back"]["refunded_cents"] > 0


def test_what_was_paid_in_parts_is_given_back_of_each_the_newest_first(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    api("PUT", "/subscription/seats", {"quantity": 8})
    clock.pass_by(days=1)
    expected = unused(stripe, subscribed["id"], clock, 9000)
    given = cancel("refund").json["given_back"]

    assert abs(given["refunded_cents"] - expected) <= 2
    assert [stripe.invoices[each["invoice"]]["billing_reason"] for each in stripe.credit_notes.values()] == [
        "subscription_update",
        "subscription_create",
    ]
    assert sum(total for total, _ in notes(stripe)) == given["refunded_cents"]


def test_what_was_paid_from_the_balance_is_given_back_to_the_balance(api, plans, stripe, clock, cancel):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    api("POST", "/subscription", order)
    clock.pass_by(days=10)
    credit = cancel("credit").json["given_back"]["credited_cents"]
    again = api("POST", "/subscription", order).json
    given = cancel("refund").json["given_back"]

    assert given["refunded_cents"] == 6000 - credit
    assert given["refunded_cents"] + given["credited_cents"] == 6000
    assert balance(stripe, again["id"]) == -given["credited_cents"]


def test_what_waits_to_be_credited_is_never_lost(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    down = api("PUT", "/subscription/seats", {"quantity": 2}).json
    owed = -down["proration"]["net_cents"]
    given = cancel("none").json["given_back"]

    assert (down["billed"], given["credited_cents"]) == ("next_invoice", owed)
    assert balance(stripe, subscribed["id"]) == -owed


def test_what_waits_to_be_charged_is_charged(api, subscribed, stripe, clock, cancel):
    for quantity in range(6, 15):
        changed = api("PUT", "/subscription/seats", {"quantity": quantity}).json
    assert changed["billed"] == "next_invoice"
    waits = sum(each["amount"] for each in stripe.invoice_items.values() if each["invoice"] is None)
    cancel("none")

    final = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]
    assert final["total"] == waits > 0


def test_who_has_not_paid_is_owed_nothing(api, subscribed, stripe, clock, cancel):
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": theirs})
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"default_payment_method": card["id"]})
    clock.pass_by(days=31, hours=2)
    stripe.tick()
    assert stripe.subscriptions[subscribed["id"]]["status"] == "past_due"
    given = cancel("refund").json["given_back"]

    assert (given["refunded_cents"], given["credited_cents"], notes(stripe)) == (0, 0, [])


def test_on_trial_nothing_was_paid_and_nothing_is_given_back(api, plans, stripe, cancel):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/trial", offer | {"trial_days": 14})
    api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5})

    assert cancel("refund").json["given_back"]["refunded_cents"] == 0


def test_taxes_are_given_back_with_it(api, plans, stripe, clock, cancel, monkeypatch):
    monkeypatch.setenv("STRIPE_TAX", "true")
    object.__setattr__(stripe._account.settings, "tax_percent", 20)
    api("PUT", "/customer", {"address": {"country": "DE"}})
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    subscribed = api("POST", "/subscription", order).json
    clock.pass_by(days=10)
    expected = unused(stripe, subscribed["id"], clock, 7200)

    assert abs(cancel("refund").json["given_back"]["refunded_cents"] - expected) <= 2


def test_the_same_key_is_answered_the_same_and_refunds_once(api, subscribed, stripe, clock, cancel):
    clock.pass_by(days=10)
    first, again = cancel("refund", key="k"), cancel("refund", key="k")

    assert again.json == first.json and len(stripe.credit_notes) == 1


def test_what_was_given_back_before_is_not_given_back_again(api, subscribed, stripe, clock, cancel):
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    said = {"invoice": invoice, "amount": "5000", "refund_amount": "5000"}
    assert stripe.handle("POST", "/v1/credit_notes", said)[0] == 200
    clock.pass_by(days=5)

    assert cancel("refund").json["given_back"]["refunded_cents"] == 1000


def test_what_stripe_does_not_give_back_is_for_the_operator_and_the_cancellation_stands(
    api, subscribed, stripe, clock, moments, cancel, caplog
):
    clock.pass_by(days=10)
    said = {"invoice": stripe.subscriptions[subscribed["id"]]["latest_invoice"], "amount": "6000"}
    moments.once("after delete", lambda: stripe.handle("POST", "/v1/credit_notes", said | {"refund_amount": "6000"}))
    answer = cancel("refund")

    assert (answer.status, answer.json["status"]) == (200, "canceled")
    assert notes(stripe) == [(6000, 6000)] and "follow_up_refused" in caplog.text


def test_what_a_month_left_of_a_year_has_paid_is_given_back(api, plans, stripe, clock, cancel):
    """Yearly to monthly now, then cancelled: all of the year has been paid, and a day of it was used."""
    assert api("PUT", "/plans/year", YEAR).status == 200
    mine = api("POST", "/subscription", {"plan_slug": "year", "quantity": 5} | CARD).json
    clock.pass_by(days=1)
    assert api("PUT", "/subscription/plan", {"plan_slug": "team", "effective": "now"}).json["plan"] == "team"
    answer = cancel("credit").json

    used = 60_000 / 365
    assert abs(-balance(stripe, mine["id"]) - (60_000 - used)) < 100, answer["given_back"]


def test_never_more_is_given_back_than_the_balance_and_the_dashboard_have_left(api, plans, stripe, clock, cancel):
    """60000 were paid for a year; the move to a month has put most of it on the balance, the operator refunded 3000."""
    assert api("PUT", "/plans/year", YEAR).status == 200
    mine = api("POST", "/subscription", {"plan_slug": "year", "quantity": 5} | CARD).json
    (intent,) = [each["id"] for each in stripe.payment_intents.values() if each["status"] == "succeeded"]
    clock.pass_by(days=1)
    api("PUT", "/subscription/plan", {"plan_slug": "team", "effective": "now"})
    ask(stripe, "POST", "/v1/refunds", payment_intent=intent, amount="3000")
    on_balance = -balance(stripe, mine["id"])
    given = cancel("refund").json["given_back"]

    assert given["refunded_cents"] == 60_000 - on_balance - 3000
    assert (given["credited_cents"], -balance(stripe, mine["id"])) == (0, on_balance)


def test_what_of_a_year_was_paid_by_the_month_before_is_given_back(api, subscribed, stripe, clock, cancel):
    """Monthly to yearly now, then cancelled at once: 6000 and the year's net were paid, a second was used."""
    assert api("PUT", "/plans/year", YEAR).status == 200
    clock.pass_by(seconds=5)
    api("PUT", "/subscription/plan", {"plan_slug": "year", "effective": "now"})
    paid = sum(each["amount_paid"] for each in stripe.invoices.values())
    given = cancel("refund").json["given_back"]

    assert abs(given["refunded_cents"] + given["credited_cents"] - paid) < 10


def test_what_is_charged_at_a_cancellation_for_time_that_is_not_used_is_given_back(
    api, subscribed, stripe, clock, cancel
):
    for quantity in range(6, 14):
        api("PUT", "/subscription/seats", {"quantity": quantity})
    assert api("PUT", "/subscription/seats", {"quantity": 40}).json["billed"] == "next_invoice"
    given = cancel("refund").json["given_back"]
    clock.pass_by(hours=3)
    stripe.tick()

    paid = sum(each["amount_paid"] for each in stripe.invoices.values())
    kept = paid - given["refunded_cents"] - given["credited_cents"]
    assert kept < 100, f"{kept} kept of {paid} for a few seconds"


def test_what_is_still_to_be_charged_is_charged_less_the_rest_of_the_period(api, subscribed, stripe, clock, cancel):
    """13 seats are paid, 27 more wait to be charged: 27000. Five days of 30 are left of 41000: a sixth, 6833."""
    for quantity in [*range(6, 14), 40]:
        api("PUT", "/subscription/seats", {"quantity": quantity})
    clock.pass_by(days=25)
    rest = unused(stripe, subscribed["id"], clock, 41_000)
    given = cancel("refund").json["given_back"]
    clock.pass_by(hours=3)
    stripe.tick()
    final = stripe.invoices[stripe.subscriptions[subscribed["id"]]["latest_invoice"]]

    assert (given["refunded_cents"], given["credited_cents"], final["status"]) == (0, 0, "paid")
    assert abs(final["amount_paid"] - (27_000 - rest)) <= 2


@pytest.fixture
def given_up(api, subscribed, stripe, clock, hear):
    """A month was paid; of the next the operator has given up the invoice: Stripe calls the subscription active."""
    theirs = stripe.subscriptions[subscribed["id"]]
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=theirs["customer"])
    ask(stripe, "POST", f"/v1/subscriptions/{theirs['id']}", default_payment_method=card["id"])
    clock.pass_by(days=31, hours=2)
    stripe.tick()
    ask(stripe, "POST", f"/v1/invoices/{stripe.subscriptions[theirs['id']]['latest_invoice']}/mark_uncollectible")
    hear()
    assert api("GET", "/subscription").json["status"] == "active"
    return stripe.subscriptions[theirs["id"]]


def test_of_a_month_that_was_given_up_nothing_is_given_back_from_the_month_before(api, given_up, stripe, cancel):
    down = {"items": [{"id": given_up["items"]["data"][0]["id"], "quantity": "1"}]}
    ask(stripe, "POST", f"/v1/subscriptions/{given_up['id']}", proration_behavior="create_prorations", **down)
    assert sum(waiting(stripe)) < 0
    assert "given_back" not in api("POST", "/subscription/cancel", {}).json
    given = cancel("refund").json["given_back"]

    assert (given["refunded_cents"], given["credited_cents"], notes(stripe)) == (0, 0, [])
    assert balance(stripe, given_up["id"]) == 0


def test_nor_from_another_charge_of_that_month_though_more_seats_wait_to_be_charged(api, given_up, stripe, cancel):
    """They wait for 9000 less 6000; were they all unused, 9000 and those 6000 would be credited, and none is paid."""
    owner = {"customer": given_up["customer"], "subscription": given_up["id"]}
    billed = ask(stripe, "POST", "/v1/invoices", **owner)
    of = {"customer": given_up["customer"], "invoice": billed["id"], "currency": "usd"}
    ask(stripe, "POST", "/v1/invoiceitems", amount="2000", **of)
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=given_up["customer"])
    ask(stripe, "POST", f"/v1/invoices/{billed['id']}/pay", payment_method=card["id"])
    up = {"items": [{"id": given_up["items"]["data"][0]["id"], "quantity": "8"}]}
    ask(stripe, "POST", f"/v1/subscriptions/{given_up['id']}", proration_behavior="create_prorations", **up)
    given = cancel("refund").json["given_back"]

    assert sum(waiting(stripe)) == 0 and len(stripe.invoices) == 3
    assert (given["refunded_cents"], given["credited_cents"], notes(stripe)) == (0, 0, [])


def test_a_credit_that_names_no_invoice_is_given_back_of_what_was_paid_of_the_period(api, subscribed, stripe, cancel):
    owner = {"customer": stripe.subscriptions[subscribed["id"]]["customer"], "subscription": subscribed["id"]}
    ask(stripe, "POST", "/v1/invoiceitems", currency="usd", amount="-500", **owner)

    assert cancel("none").json["given_back"]["credited_cents"] == 500 == -balance(stripe, subscribed["id"])


def test_but_not_of_a_period_before_it(given_up, stripe, cancel):
    owner = {"customer": given_up["customer"], "subscription": given_up["id"]}
    ask(stripe, "POST", "/v1/invoiceitems", currency="usd", amount="-500", **owner)

    assert cancel("none").json["given_back"]["credited_cents"] == 0 == balance(stripe, given_up["id"])


def test_of_an_upgrade_that_the_dashboard_has_refunded_that_is_not_given_back_of_the_rest(
    api, subscribed, stripe, clock, cancel
):
    """9000 were paid, of which half a month is left: 4500, less the 3000 that were refunded."""
    api("PUT", "/subscription/seats", {"quantity": 8})
    upgrade = max(stripe.payment_intents.values(), key=lambda each: each["amount"] == 3000)
    ask(stripe, "POST", "/v1/refunds", payment_intent=upgrade["id"])
    clock.pass_by(days=15)
    expected = unused(stripe, subscribed["id"], clock, 9000) - 3000
    given = cancel("refund").json["given_back"]

    assert abs(given["refunded_cents"] - expected) <= 2 and given["credited_cents"] == 0


def test_of_an_upgrade_that_was_given_up_only_what_was_paid_before_it_is_given_back(
    api, subscribed, stripe, clock, hear, cancel
):
    """It was made in the dashboard, and never paid: 6000 of 9000."""
    theirs = stripe.subscriptions[subscribed["id"]]
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=theirs["customer"])
    up = {"items": [{"id": theirs["items"]["data"][0]["id"], "quantity": "8"}], "proration_behavior": "always_invoice"}
    ask(stripe, "POST", f"/v1/subscriptions/{theirs['id']}", default_payment_method=card["id"], **up)
    ask(stripe, "POST", f"/v1/invoices/{stripe.subscriptions[theirs['id']]['latest_invoice']}/mark_uncollectible")
    hear()
    clock.pass_by(days=15)
    expected = unused(stripe, theirs["id"], clock)
    given = cancel("refund").json["given_back"]

    assert abs(given["refunded_cents"] - expected) <= 2


def test_an_invoice_that_was_less_before_it_was_paid_is_given_back_as_far_as_it_was_paid(
    api, plans, stripe, clock, cancel
):
    mine = api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).json
    invoice = stripe.subscriptions[mine["id"]]["latest_invoice"]
    theirs = stripe.subscriptions[mine["id"]]["customer"]
    ask(stripe, "POST", "/v1/credit_notes", invoice=invoice, amount="1000")
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=theirs)
    ask(stripe, "POST", f"/v1/invoices/{invoice}/pay", payment_method=card["id"])
    assert stripe.invoices[invoice]["amount_paid"] == 5000
    given = cancel("refund").json["given_back"]

    assert (given["refunded_cents"], sum(each["amount"] for each in stripe.refunds.values())) == (5000, 5000)


def test_what_was_paid_out_of_band_is_given_back_as_credit_and_not_promised_as_a_refund(api, plans, stripe, cancel):
    mine = api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).json
    invoice = stripe.subscriptions[mine["id"]]["latest_invoice"]
    ask(stripe, "POST", f"/v1/invoices/{invoice}/pay", paid_out_of_band="true")
    given = cancel("refund").json["given_back"]

    refunded = sum(each["amount"] for each in stripe.refunds.values())
    assert (given["refunded_cents"], given["credited_cents"]) == (refunded, -balance(stripe, mine["id"]))
    assert given["refunded_cents"] + given["credited_cents"] > 5990


def test_what_the_dashboard_has_refunded_is_not_refunded_again_and_the_rest_is(api, subscribed, stripe):
    (intent,) = [each["id"] for each in stripe.payment_intents.values() if each["status"] == "succeeded"]
    ask(stripe, "POST", "/v1/refunds", payment_intent=intent, amount="3000")
    given = api("POST", "/subscription/cancel", {"immediately": True, "unused_time": "refund"}).json["given_back"]

    back = sum(each["amount"] for each in stripe.refunds.values())
    assert (back, given["refunded_cents"]) == (6000, 3000)


def test_what_waits_to_be_credited_is_not_lost_at_the_end_of_the_period(api, subscribed, stripe, clock, hear):
    clock.pass_by(days=10)
    down = api("PUT", "/subscription/seats", {"quantity": 2}).json
    owed = -down["proration"]["net_cents"]
    assert api("POST", "/subscription/cancel", {}).json["cancel_at_period_end"]
    for _ in range(4):
        clock.pass_by(days=8)
        stripe.tick()
    hear()

    assert stripe.subscriptions[subscribed["id"]]["status"] == "canceled"
    assert -balance(stripe, subscribed["id"]) + sum(total for total, _ in notes(stripe)) == owed


def test_it_is_on_the_balance_at_once_and_not_owed_twice_after_a_resumption(api, subscribed, stripe, clock):
    clock.pass_by(days=10)
    owed = -api("PUT", "/subscription/seats", {"quantity": 2}).json["proration"]["net_cents"]
    answer = api("POST", "/subscription/cancel", {}).json

    assert (answer["status"], answer["given_back"]["credited_cents"]) == ("active", owed)
    assert (balance(stripe, subscribed["id"]), waiting(stripe)) == (-owed, [])
    api("POST", "/subscription/resume")
    for _ in range(3):
        clock.pass_by(days=8)
        stripe.tick()
    (renewal,) = [each for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    assert (renewal["total"], renewal["amount_paid"]) == (3000, 3000 - owed)


@pytest.mark.parametrize("moment", ["before delete", "after delete"])
@pytest.mark.parametrize("ended", [False, True], ids=["at once", "after the end"])
def test_who_dies_between_the_credit_and_what_waited_credits_once(
    api, subscribed, stripe, clock, moments, hear, moment, ended
):
    clock.pass_by(days=10)
    owed = -api("PUT", "/subscription/seats", {"quantity": 2}).json["proration"]["net_cents"]

    def die(now):
        if now == moment:
            moments.remove(die)
            raise Death

    moments.append(die)
    with pytest.raises(Death):
        api("POST", "/subscription/cancel", {})
    assert waiting(stripe)
    clock.pass_by(days=21) if ended else clock.pass_by(seconds=PATIENCE)
    stripe.tick()
    hear()
    api("PUT", "/customer", {"name": "Ada"})

    assert (balance(stripe, subscribed["id"]), waiting(stripe)) == (-owed, [])


def test_what_an_operator_has_put_down_for_the_customer_waits_on_at_the_end_of_a_subscription(api, subscribed, stripe):
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    ask(stripe, "POST", "/v1/invoiceitems", customer=theirs, currency="usd", amount="-500")
    answer = api("POST", "/subscription/cancel", {}).json

    assert (balance(stripe, subscribed["id"]), waiting(stripe), "given_back" in answer) == (0, [-500], False)


def test_the_tax_of_what_waits_to_be_credited_is_given_back_too(api, plans, stripe, clock, cancel, monkeypatch):
    monkeypatch.setenv("STRIPE_TAX", "true")
    object.__setattr__(stripe._account.settings, "tax_percent", 20)
    api("PUT", "/customer", {"address": {"country": "DE"}})
    api("POST", "/subscription", {"plan_slug": "team", "quantity": 5} | CARD)
    clock.pass_by(days=10)
    down = api("PUT", "/subscription/seats", {"quantity": 2}).json["proration"]
    given = cancel("none").json["given_back"]

    assert given["credited_cents"] == -down["total_cents"] > -down["net_cents"]


def test_a_credit_of_the_operators_that_is_not_of_the_subscription_is_not_given_twice(api, subscribed, stripe, cancel):
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    ask(stripe, "POST", "/v1/invoiceitems", customer=theirs, currency="usd", amount="-500")
    given = cancel("none").json["given_back"]

    assert given["credited_cents"] - sum(waiting(stripe)) == 500, (given, waiting(stripe))


def test_another_charge_of_the_operators_is_not_credited_by_a_quote(api, subscribed, stripe, clock, moments):
    """An invoice item made in Stripe's dashboard between the quoted change and its comparison."""
    clock.pass_by(days=10)
    quoted = api("POST", "/subscription/quote", {"quantity": 2}).json
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]

    def bill(now):
        last = stripe.calls[-1] if stripe.calls else None
        if now == "after post" and last and last.path.startswith("/v1/subscriptions/sub_"):
            moments.remove(bill)
            ask(stripe, "POST", "/v1/invoiceitems", customer=theirs, currency="usd", amount="700")

    moments.append(bill)
    assert api("PUT", "/subscription/seats", {"quantity": 2, "quote_id": quoted["quote_id"]}).status == 200
    assert sum(waiting(stripe)) == quoted["net_cents"] + 700


def test_what_has_been_given_back_by_a_change_is_what_bears_its_mark(api, subscribed, stripe):
    invoice = stripe.subscriptions[subscribed["id"]]["latest_invoice"]
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    for mark, refund, credit in (("mine", "1000", "500"), ("another", "300", "40")):
        parts = {"amount": str(int(refund) + int(credit)), "refund_amount": refund, "credit_amount": credit}
        ask(stripe, "POST", "/v1/credit_notes", invoice=invoice, metadata={"change_id": mark}, **parts)
        booked = {"amount": "-7", "currency": "usd", "metadata": {"change_id": mark}}
        ask(stripe, "POST", f"/v1/customers/{theirs}/balance_transactions", **booked)
    follow = [Step("credit_note", invoice), Step("credit_waiting", theirs)]
    change = Change("id", "mine", "f", Wish("cancel"), Draft([Step("cancel_subscription", "sub")], follow), 0, 0)

    assert gateway.given_back(change) == {"refunded_cents": 1000, "credited_cents": 507}
