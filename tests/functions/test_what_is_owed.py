"""What is owed, and what becomes of it, when more than one thing happens at once."""

import pytest

from billing import customer_table, dynamodb, timer_table
from billing.errors import Unavailable
from local.stripe_simulator.errors import Refused
from tests.functions.at_stripe import ask
from tests.functions.later import DAY, HOUR, OWED, events, fire, mails, told
from tests.functions.test_dunning import has_access, new_card, waiting


def outcomes():
    return [each["data"]["outcome"] for each in events() if each["type"] == "dunning.ended"]


def old_card(stripe):
    return next(id for id, each in stripe.payment_methods.items() if each["customer"])


def customer_of(stripe):
    (id,) = stripe.customers
    return id


def raw(stripe, kind, id):
    """What the simulator itself has: to make of it what Stripe makes of payments that take days."""
    return stripe._account.tables[kind][id]


# The last step, half way


@pytest.mark.parametrize("fault", [("DELETE", "/v1/subscriptions/.*"), ("POST", "/v1/subscriptions$")])
def test_the_free_plan_comes_though_its_last_step_failed_after_the_debt_was_void_and_that_was_heard(
    fails, later, stripe, api, context, swept, fault
):
    invoice = fails(dunning_ends="free_plan", dunning_plan="free", grace_days=30)
    later.passes(days=13)
    ((customer, timer),) = waiting("dunning")
    later.clock.pass_by(seconds=timer.due - later.now + 60)
    method, path = fault
    stripe.fault("unreachable", method=method, path=path, times=2)  # the library asks a second time by itself
    with pytest.raises(Unavailable):
        fire(customer, timer, context)
    assert stripe.invoices[invoice]["status"] == "void"
    later.hears()  # invoice.voided, while the step waits to be tried again
    for _ in range(4):  # Lambda's own tries, then the sweep's
        later.clock.pass_by(seconds=120)
        fire(customer, timer, context)
        swept()
        later.hears()
    said = api("GET", "/subscription")
    assert said.status == 200 and (said.json["plan"], said.json["status"]) == ("free", "active")


# Cases that are never closed


def test_a_case_ends_with_its_subscription_though_a_failure_is_heard_in_the_same_batch(fails, later, stripe):
    fails(grace_days=30)
    (subscription,) = stripe.subscriptions
    later.clock.pass_by(days=4)
    stripe.tick()  # Stripe has tried again, in vain
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
    later.hears()
    assert later.record().subscription.theirs.status == "canceled"
    assert later.record().cases == [] and outcomes() == ["subscription_ended"]
    later.passes(days=15)
    assert mails().count("payment_failed") <= 1


def test_no_case_is_opened_for_a_subscription_that_has_ended(subscribe, later, stripe, api):
    subscribe(dunning_ends="free_plan", dunning_plan="free")
    stripe.card_behaves(old_card(stripe), "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    stripe.tick()
    (subscription,) = stripe.subscriptions
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
    later.hears()
    later.passes(days=15)
    assert "payment_failed" not in mails()
    assert api("GET", "/subscription").status == 404  # who has cancelled is subscribed to nothing


def test_two_invoices_that_are_paid_in_one_batch_end_two_cases(fails, later, stripe):
    first = fails(dunning_days=[0, 80], grace_days=90)
    later.passes(days=31)
    (_, second) = [case.invoice for case in later.record().cases]
    card = new_card(stripe)
    stripe.pay_on_page(first, card)
    stripe.pay_on_page(second, card)
    later.hears("invoice.paid")
    assert later.record().cases == []
    assert outcomes() == ["paid", "paid"]


# What is no failure, or not of today


def test_a_payment_that_takes_days_is_no_failure_while_it_is_under_way(subscribe, later, stripe):
    """A bank debit: the invoice is open and attempted, its payment is processing, the subscription active."""
    id = subscribe()
    stripe.card_behaves(old_card(stripe), "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    stripe.tick()
    (invoice,) = [each for each in stripe.invoices.values() if each["status"] == "open"]
    intent = next(id for id, each in stripe.payment_intents.items() if each["status"] == "requires_payment_method")
    raw(stripe, "payment_intent", intent).update(status="processing", last_payment_error=None)
    assert invoice["attempt_count"] == 1
    raw(stripe, "subscription", id)["status"] = "active"
    later.hears("invoice.finalized")
    assert later.record().cases == [] and "payment_failed" not in mails()


def test_the_days_of_a_case_are_counted_from_the_failure_and_not_from_an_invoice_that_was_sent_weeks_ago(
    later, api, stripe, subscribe
):
    """Payable within thirty days; on the 25th a card is declined on its page. Nothing is overdue yet."""
    id = subscribe(dunning_ends="cancel", grace_days=30)
    ask(stripe, "POST", f"/v1/subscriptions/{id}", collection_method="send_invoice", days_until_due="30")
    later.goes(later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    later.goes(25 * DAY)
    (invoice,) = [each for each in stripe.invoices.values() if each["status"] == "open"]
    assert (invoice["collection_method"], invoice["attempt_count"]) == ("send_invoice", 0)
    stripe.card_behaves(old_card(stripe), "generic_decline")
    with pytest.raises(Refused):  # the page says that it is declined
        stripe.pay_on_page(invoice["id"], old_card(stripe))
    raw(stripe, "subscription", id)["status"] = "active"  # Stripe calls it past due when it is overdue
    later.hears()
    later.due()
    assert later.record().subscription.theirs.status != "canceled"
    assert mails().count("payment_failed") <= 1


def test_who_is_told_of_a_failure_for_the_first_time_is_not_cancelled_within_the_hour(subscribe, later, stripe):
    """Stripe's events have not reached us for two weeks; or the subscription was linked when it was past due."""
    subscribe(dunning_ends="cancel")
    stripe.card_behaves(old_card(stripe), "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 15 * DAY)
    stripe.tick()
    later.hears()
    later.due()
    assert mails().count("payment_failed") == 1
    assert later.record().subscription.theirs.status == "past_due"


def test_an_invoice_that_has_no_payment_method_to_be_tried_with_needs_one(subscribe, later, stripe):
    """Stripe makes no further attempt: a mail that it will is not true."""
    subscribe()
    ask(stripe, "POST", f"/v1/payment_methods/{old_card(stripe)}/detach")
    later.goes(later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    (invoice,) = [each for each in stripe.invoices.values() if each["status"] == "open"]
    assert invoice["attempt_count"] == 1 and invoice["next_payment_attempt"] is None
    assert "payment_method_needed" in mails() and "payment_failed" not in mails()


# A new payment method


def test_a_new_payment_method_is_tried_after_the_last_step_has_ended_access(fails, later, stripe, api):
    invoice = fails()
    later.passes(days=16)
    assert has_access(api) == (False, "unpaid_invoice")
    new_card(stripe)
    later.hears()
    assert stripe.invoices[invoice]["status"] == "paid" and has_access(api) == (True, "active")


def test_a_new_payment_method_that_is_declined_does_not_take_the_place_of_the_old_one(fails, later, stripe):
    """There were no funds on the old one, and in three days there are: Stripe's retry would have been paid."""
    invoice = fails("insufficient_funds")
    ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer_of(stripe))
    later.hears()
    assert stripe.invoices[invoice]["status"] == "open"
    stripe.card_behaves(old_card(stripe))
    later.passes(days=8)
    assert stripe.invoices[invoice]["status"] == "paid"


def test_each_new_payment_method_is_tried(fails, later, stripe):
    invoice = fails("lost_card")
    new_card(stripe)
    ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer_of(stripe))
    later.hears()  # of both at once
    assert stripe.invoices[invoice]["status"] == "paid"


def test_a_card_that_the_bank_has_renewed_is_tried_at_once(fails, later, stripe):
    invoice = fails("lost_card")
    stripe.renew_card(old_card(stripe))
    later.hears()
    assert stripe.invoices[invoice]["status"] == "paid"


def test_another_card_on_file_that_becomes_the_default_is_tried_at_once(subscribe, later, stripe):
    subscribe()
    other = new_card(stripe)
    later.hears()
    first = next(id for id, each in stripe.payment_methods.items() if each["customer"] and id != other)
    stripe.card_behaves(first, "lost_card")
    later.goes(later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    invoice = later.record().cases[0].invoice
    settings = {"default_payment_method": other}
    ask(stripe, "POST", f"/v1/customers/{customer_of(stripe)}", invoice_settings=settings)
    later.hears()
    assert stripe.invoices[invoice]["status"] == "paid"


def test_what_stripe_said_before_a_retry_was_overtaken_covers_no_newer_word(fails, later, stripe, moments):
    """The customer pays on the page while the retry, which was declined, is being recorded."""
    invoice = fails("lost_card")
    ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer_of(stripe))
    retried = f"/v1/invoices/{invoice}/pay"

    def page(moment):
        tried = any(call.path == retried for call in stripe.calls)
        if tried and moment in ("before PutItem", "before TransactWriteItems"):
            moments.remove(page)
            stripe.pay_on_page(invoice, new_card(stripe))
            later.hears("invoice.paid")

    stripe.calls.clear()
    moments.append(page)
    later.hears("payment_method.attached")
    (kept,) = [each for each in customer_table.invoices("ada", 10) if each.id == invoice]
    assert stripe.invoices[invoice]["status"] == "paid"
    assert kept.status == "paid" and "invoice.finalized" not in told()[told().index("invoice.paid", 3) :]


# Access


def test_an_uncollectible_renewal_is_not_paid_by_another_seat(fails, later, stripe, api):
    invoice = fails(grace_days=30, price_per_seat_cents=50)
    ask(stripe, "POST", f"/v1/invoices/{invoice}/mark_uncollectible")
    stripe.card_behaves(old_card(stripe))
    later.hears()
    assert has_access(api) == (False, "unpaid_invoice")
    answer = api("PUT", "/subscription/seats", {"quantity": 2})
    later.hears()
    paid = [each["amount_paid"] for each in stripe.invoices.values() if each["status"] == "paid"]
    assert answer.status == 200, answer.json
    assert max(paid[1:], default=0) >= 2000 or has_access(api) == (False, "unpaid_invoice")


def test_a_later_renewal_that_the_balance_pays_gives_access_again(fails, later, stripe, api):
    invoice = fails(grace_days=30)
    ask(stripe, "POST", f"/v1/invoices/{invoice}/mark_uncollectible")
    path = f"/v1/customers/{customer_of(stripe)}/balance_transactions"
    ask(stripe, "POST", path, amount=-6000, currency="usd")  # she has sent money by her bank
    later.hears()
    later.passes(days=31)
    assert sum(each["status"] == "paid" for each in stripe.invoices.values()) == 2
    assert has_access(api) == (True, "active")


def test_who_owes_nothing_is_not_locked_out(fails, later, stripe, api):
    """The operator has voided the invoice; Stripe calls the subscription past due until the next is paid."""
    invoice = fails(billing_interval="year")
    ask(stripe, "POST", f"/v1/invoices/{invoice}/void")
    later.hears()
    later.passes(days=8)
    said = api("GET", "/subscription").json
    assert said["dunning"] is None and said["access"]


def test_that_a_debt_is_paid_after_access_has_ended_is_told(fails, later, stripe, api):
    invoice = fails()
    later.passes(days=16)
    stripe.pay_on_page(invoice, new_card(stripe))
    later.hears()
    assert has_access(api) == (True, "active")
    assert outcomes()[-1] == "paid" and "payment_recovered" in mails()


# Records


def test_who_was_on_record_before_there_were_timers_gets_theirs(subscribe, later, stripe):
    id = subscribe(trial_days=14)
    for _, timer in timer_table.waiting(2**40, None)[0]:
        key = {"pk": "customer#ada", "sk": f"timer#{timer.name}"}
        dynamodb.db().delete_item(TableName="Subscriptions", Key=dynamodb.encode(key))
    key = {"pk": "customer#ada", "sk": "customer"}
    dynamodb.transact([dynamodb.update("Subscriptions", key, "REMOVE timers")])
    ask(stripe, "POST", f"/v1/subscriptions/{id}", metadata={"noted": "yes"})
    ask(stripe, "POST", f"/v1/subscriptions/{id}", cancel_at_period_end="true")
    later.hears()
    assert [timer.kind for _, timer in waiting("trial")] == ["trial"]


def test_each_subscription_that_was_told_to_begin_is_told_to_end(later, api, stripe):
    for slug in ("one", "two"):
        assert api("PUT", f"/plans/{slug}", OWED | {"name": slug}).status == 200
    order = {"plan_slug": "one", "quantity": 1, "payment_method": "pm_card_chargeCustomerFail"}
    first = api("POST", "/subscription", order).json
    assert first["status"] == "incomplete"
    later.hears()
    second = api("POST", "/subscription", order | {"plan_slug": "two", "payment_method": "pm_card_visa"}).json
    assert second["status"] == "active"
    later.hears()
    begun = [each["data"]["id"] for each in events() if each["type"] == "subscription.created"]
    ended = [each["data"]["id"] for each in events() if each["type"] == "subscription.ended"]
    assert begun == [first["id"], second["id"]] and ended == [first["id"]]
