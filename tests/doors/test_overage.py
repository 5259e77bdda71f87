"""What usage costs, at Stripe: billed once, wherever it goes, and found again by its mark."""

import pytest

from billing import gateway, overage
from billing.errors import InvoiceClosed, NotFound, StripeRefused
from billing.overage import Item
from tests.functions.at_stripe import Death, ask, balance, pays_with, waiting

HOUR = 3600


@pytest.fixture
def theirs(subscribed):
    return gateway.subscription(subscribed["id"])


@pytest.fixture
def renew(theirs, stripe, clock):
    """The period ends, just now."""

    def pass_by():
        clock.pass_by(seconds=stripe.subscriptions[theirs.id]["items"]["data"][0]["current_period_end"] - clock.now())
        stripe.tick()

    return pass_by


@pytest.fixture
def renewal(theirs, renew):
    """The draft of the second month: 6000 for five seats."""
    renew()
    return overage.renewal_draft(theirs.id)


def item(cents=700, metric="api_calls", generation=1):
    mark = f"sub:{metric}:1700000000:{generation}"
    return Item(cents, "usd", "API calls", (1_700_000_000, 1_702_592_000), mark)


def waits(stripe, theirs, item):
    """As what was on a draft that somebody has deleted."""
    said = {"customer": theirs.customer, "subscription": theirs.id, "amount": str(item.amount_cents), "currency": "usd"}
    ask(stripe, "POST", "/v1/invoiceitems", metadata={"usage": item.mark}, **said)


def posts(stripe):
    return [call for call in stripe.calls if call.method == "POST"]


def one_off(stripe):
    return [each for each in stripe.invoices.values() if each["billing_reason"] == "manual"]


def die_at(moments, nth):
    """After so many answers to a POST."""
    answered = []

    def die(now):
        if now == "after post":
            answered.append(now)
            if len(answered) == nth:
                moments.remove(die)
                raise Death

    moments.append(die)


def test_a_renewal_can_be_added_to_for_an_hour(theirs, stripe, clock, renewal):
    overage.charge_on(renewal.id, theirs, *item())
    draft = stripe.invoices[renewal.id]
    assert (draft["status"], draft["total"], draft["amount_due"]) == ("draft", 6700, 6700)

    clock.pass_by(seconds=HOUR)
    stripe.tick()
    paid = stripe.invoices[renewal.id]
    assert (paid["status"], paid["amount_paid"], overage.renewal_draft(theirs.id)) == ("paid", 6700, None)
    (line,) = [each for each in paid["lines"]["data"] if each["metadata"]]
    assert (line["amount"], line["description"], line["metadata"]) == (700, "API calls", {"usage": item().mark})
    assert line["period"] == {"start": 1_700_000_000, "end": 1_702_592_000}


def test_an_invoice_that_is_no_draft_takes_nothing_and_says_so(theirs, stripe, clock, renewal):
    clock.pass_by(seconds=HOUR)
    stripe.tick()
    with pytest.raises(InvoiceClosed):
        overage.charge_on(renewal.id, theirs, *item())
    assert not stripe.invoice_items


def test_what_stripe_does_not_take_on_a_draft_is_refused_otherwise(theirs, stripe, renewal):
    with pytest.raises(StripeRefused):
        overage.charge_on(renewal.id, theirs, *item()._replace(currency="eur"))
    with pytest.raises(NotFound):
        overage.charge_on("in_gone", theirs, *item())


@pytest.mark.parametrize("kept", ["paused", "change", "another"])
def test_no_other_draft_is_a_renewal(api, theirs, stripe, clock, renew, kept):
    if kept == "paused":
        ask(stripe, "POST", f"/v1/subscriptions/{theirs.id}", pause_collection={"behavior": "keep_as_draft"})
        renew()
        clock.pass_by(seconds=HOUR)
        stripe.tick()
    elif kept == "change":
        ask(stripe, "POST", "/v1/invoices", customer=theirs.customer, subscription=theirs.id)
    else:
        bob = {"plan_slug": "team", "payment_method": "pm_card_visa"}
        assert api("POST", "/subscription", bob, customer="bob").status == 200
        ask(stripe, "POST", f"/v1/subscriptions/{theirs.id}", cancel_at_period_end="true")
        renew()
        clock.pass_by(seconds=60)
        stripe.tick()
    assert any(each["status"] == "draft" for each in stripe.invoices.values())
    assert overage.renewal_draft(theirs.id) is None


def test_a_discount_leaves_usage_and_its_corrections_alone(theirs, stripe, renew):
    ask(stripe, "POST", "/v1/coupons", id="half", percent_off="50", duration="forever")
    ask(stripe, "POST", f"/v1/subscriptions/{theirs.id}", discounts=[{"coupon": "half"}])
    renew()
    draft = overage.renewal_draft(theirs.id)
    overage.charge_on(draft.id, theirs, *item(700))
    overage.charge_on(draft.id, theirs, *item(-200, generation=2))

    assert stripe.invoices[draft.id]["total"] == 3000 + 500


@pytest.mark.parametrize("bill", ["draft", "credit"])
def test_to_say_it_twice_is_to_bill_it_once(theirs, stripe, renewal, bill):
    for _ in range(2):
        if bill == "credit":
            overage.credit(theirs.customer, *item()[:3], item().mark)
        else:
            overage.charge_on(renewal.id, theirs, *item())
    assert len(stripe.invoice_items) == (bill != "credit")
    assert balance(stripe, theirs.id) == (-700 if bill == "credit" else 0)


def test_a_credit_is_taken_off_the_next_invoice(theirs, stripe, clock):
    overage.credit(theirs.customer, 700, "usd", "API calls, corrected", item().mark)
    clock.pass_by(days=31, hours=1)
    stripe.tick()
    newest = stripe.invoices[stripe.subscriptions[theirs.id]["latest_invoice"]]
    assert (newest["total"], newest["amount_paid"], balance(stripe, theirs.id)) == (6000, 5300, 0)


def test_all_that_was_billed_is_found_by_its_mark(theirs, stripe, clock, renewal):
    began = int(clock.now())
    overage.charge_on(renewal.id, theirs, *item(700, "a"))
    waits(stripe, theirs, item(800, "b"))
    overage.credit(theirs.customer, 90, "usd", "c", item(metric="c").mark)
    alone = overage.charge_alone(theirs, [item(100, "d"), item(200, "e")], "final:sub:1", taxed=False)
    ask(stripe, "POST", "/v1/invoiceitems", customer=theirs.customer, amount="5", currency="usd")
    ask(stripe, "POST", f"/v1/customers/{theirs.customer}/balance_transactions", amount="-5", currency="usd")

    found = overage.billed(theirs.customer, began)
    assert {mark.split(":")[1]: (each.kind, each.invoice, each.amount_cents) for mark, each in found.items()} == {
        "a": ("item", renewal.id, 700),
        "b": ("item", None, 800),
        "c": ("balance", None, -90),
        "d": ("item", alone.id, 100),
        "e": ("item", alone.id, 200),
    }
    assert all(mark == each.mark for mark, each in found.items())
    assert [found[item(metric=metric).mark].where for metric in "abc"] == [
        renewal.id,
        found[item(metric="b").mark].id,
        "balance",
    ]
    assert overage.billed(theirs.customer, began + HOUR) == {}


def test_it_is_found_behind_many_pages_of_others(theirs, stripe, renewal):
    overage.charge_on(renewal.id, theirs, *item())
    overage.credit(theirs.customer, 90, "usd", "c", item(metric="c").mark)
    for _ in range(120):
        ask(stripe, "POST", "/v1/invoiceitems", customer=theirs.customer, amount="5", currency="usd")
        ask(stripe, "POST", f"/v1/customers/{theirs.customer}/balance_transactions", amount="-5", currency="usd")
    assert len(overage.billed(theirs.customer, 0)) == 2


def test_on_an_invoice_of_its_own_usage_is_charged_without_what_waits(theirs, stripe):
    ask(stripe, "POST", "/v1/invoiceitems", customer=theirs.customer, amount="5", currency="usd")
    stripe.calls.clear()
    made = overage.charge_alone(theirs, [item(700, "a"), item(800, "b")], "final:sub:1", taxed=False)

    (invoice,) = one_off(stripe)
    assert (made.id, made.status, made.amount_paid_cents, made.subscription) == (invoice["id"], "paid", 1500, None)
    assert [line["metadata"]["usage"] for line in invoice["lines"]["data"]] == [
        item(metric="a").mark,
        item(metric="b").mark,
    ]
    assert waiting(stripe) == [5]
    assert all(call.key for call in posts(stripe)) and len({call.key for call in posts(stripe)}) == 4


def test_it_is_charged_to_the_card_of_the_subscription_even_of_one_that_has_ended(theirs, stripe):
    method = pays_with(stripe, theirs.id, "pm_card_visa")
    ask(
        stripe, "POST", f"/v1/customers/{theirs.customer}",
        invoice_settings={"default_payment_method": attach(stripe, theirs.customer, "pm_card_chargeCustomerFail")},
    )  # fmt: skip
    ask(stripe, "DELETE", f"/v1/subscriptions/{theirs.id}")
    made = overage.charge_alone(theirs, [item()], "final:sub:1", taxed=False)

    assert (made.status, one_off(stripe)[0]["default_payment_method"]) == ("paid", method)


def attach(stripe, customer, card):
    return ask(stripe, "POST", f"/v1/payment_methods/{card}/attach", customer=customer)["id"]


def test_declined_it_is_open_and_not_charged_again_by_being_asked_for_again(theirs, stripe):
    pays_with(stripe, theirs.id, "pm_card_chargeCustomerFail")
    made, again = (overage.charge_alone(theirs, [item()], "final:sub:1", taxed=False) for _ in range(2))
    assert (made.status, made.amount_due_cents, made.attempt_count) == ("open", 700, 1)
    assert (again.id, again.attempt_count, len(one_off(stripe))) == (made.id, 1, 1)


def test_it_is_taxed_where_that_is_said(api, theirs, stripe):
    object.__setattr__(stripe._account.settings, "tax_percent", 20)
    api("PUT", "/customer", {"address": {"country": "DE"}})
    made = [overage.charge_alone(theirs, [item(700, metric)], metric, metric == "taxed") for metric in ("not", "taxed")]
    assert [each.total_cents for each in made] == [700, 840]


@pytest.mark.parametrize("later", [60, 25 * HOUR])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_whoever_calls_again_completes_what_a_dead_one_began(theirs, stripe, clock, moments, nth, later):
    items = [item(700, "a"), item(800, "b")]
    die_at(moments, nth)
    with pytest.raises(Death):
        overage.charge_alone(theirs, items, "final:sub:1", taxed=False)
    clock.pass_by(seconds=later)
    stripe.tick()
    if nth < 4:
        assert one_off(stripe)[0]["status"] == "draft"
    made = overage.charge_alone(theirs, items, "final:sub:1", taxed=False)

    assert (made.status, made.amount_paid_cents) == ("paid", 1500)
    assert (len(one_off(stripe)), len(stripe.invoice_items)) == (1, 2)


def test_another_one_at_the_same_moment_makes_it_no_second_time(theirs, stripe, moments):
    items = [item(700, "a"), item(800, "b")]
    moments.once("after post", lambda: overage.charge_alone(theirs, items, "final:sub:1", taxed=False))
    made = overage.charge_alone(theirs, items, "final:sub:1", taxed=False)
    assert (made.status, made.amount_paid_cents, len(stripe.invoice_items)) == ("paid", 1500, 2)


def test_one_that_somebody_finalizes_too_early_is_told_of(theirs, stripe, moments):
    die_at(moments, 2)
    with pytest.raises(Death):
        overage.charge_alone(theirs, [item(700, "a"), item(800, "b")], "final:sub:1", taxed=False)
    ask(stripe, "POST", f"/v1/invoices/{one_off(stripe)[0]['id']}/finalize")
    with pytest.raises(InvoiceClosed):
        overage.charge_alone(theirs, [item(700, "a"), item(800, "b")], "final:sub:1", taxed=False)


def test_it_is_found_among_those_made_since(theirs, stripe, clock):
    made = overage.charge_alone(theirs, [item()], "final:sub:1", taxed=False)
    clock.pass_by(days=2)
    again = overage.charge_alone(theirs, [item()], "final:sub:1", taxed=False, since=int(clock.now()) - 3 * 24 * HOUR)
    assert (again.id, len(one_off(stripe))) == (made.id, 1)


def test_what_died_before_it_was_finalized_is_finished_and_nothing_else_is(theirs, stripe, renewal, moments):
    die_at(moments, 3)
    with pytest.raises(Death):
        overage.charge_alone(theirs, [item(700, "a"), item(800, "b")], "final:sub:1", taxed=False)
    alone = one_off(stripe)[0]["id"]
    for _ in range(2):
        overage.finish(alone)
        overage.finish(renewal.id)
    assert (stripe.invoices[alone]["status"], stripe.invoices[alone]["amount_paid"]) == ("paid", 1500)
    assert stripe.invoices[renewal.id]["status"] == "draft"


def test_what_stripe_takes_not_keeps_no_other_from_being_charged(theirs, stripe):
    items = [item(700, "a"), item(100_000_000, "b"), item(800, "c")]
    with pytest.raises(StripeRefused):
        overage.charge_alone(theirs, items, "final:sub:1", taxed=False)
    assert [(each["status"], each["amount_paid"]) for each in one_off(stripe)] == [("paid", 1500)]


def test_what_stripe_takes_nothing_of_is_no_invoice_yet(theirs, stripe):
    with pytest.raises(StripeRefused):
        overage.charge_alone(theirs, [item(100_000_000)], "final:sub:1", taxed=False)
    assert [each["status"] for each in one_off(stripe)] == ["draft"]


def test_a_renewal_is_given_up_when_nothing_will_finalize_it(theirs, stripe, renewal):
    assert overage.given_up(renewal.id) is None
    ask(stripe, "DELETE", f"/v1/subscriptions/{theirs.id}")
    assert overage.given_up(renewal.id) == gateway.invoice(renewal.id)


def test_it_is_not_when_it_is_charged(theirs, stripe, clock, renewal):
    clock.pass_by(seconds=HOUR)
    stripe.tick()
    assert overage.given_up(renewal.id) is None


def test_a_draft_of_usage_alone_is_its_makers_to_finish(theirs, stripe, moments):
    die_at(moments, 2)
    with pytest.raises(Death):
        overage.charge_alone(theirs, [item()], "final:sub:1", taxed=False)
    assert overage.given_up(one_off(stripe)[0]["id"]) is None
