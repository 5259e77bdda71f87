"""What is owed, when banks take their time, cards change and months go by."""

from contextlib import suppress

from billing.errors import BillingError
from tests.functions.at_stripe import ask
from tests.functions.later import DAY, HOUR, fire
from tests.functions.test_dunning import has_access, new_card, waiting


def old_card(stripe):
    return next(id for id, each in stripe.payment_methods.items() if each["customer"])


def customer_of(stripe):
    (id,) = stripe.customers
    return id


def raw(stripe, kind, id):
    """What the simulator itself has: to make of it what Stripe makes of payments that take days."""
    return stripe._account.tables[kind][id]


def to_be_paid(stripe):
    """The intent of the one invoice that is open."""
    return next(id for id, each in stripe.payment_intents.items() if each["status"] == "requires_payment_method")


def test_the_grace_begins_when_a_payment_fails_that_has_taken_days(subscribe, later, stripe, api):
    """A bank debit: a week after the invoice was finalized the bank says no. Until then nothing had failed."""
    id = subscribe()
    stripe.card_behaves(old_card(stripe), "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    stripe.tick()
    intent = raw(stripe, "payment_intent", to_be_paid(stripe))
    error, intent["last_payment_error"], intent["status"] = intent["last_payment_error"], None, "processing"
    (invoice,) = [each["id"] for each in stripe.invoices.values() if each["status"] == "open"]
    raw(stripe, "subscription", id)["status"] = "active"
    raw(stripe, "invoice", invoice)["next_payment_attempt"] = None
    later.hears("invoice.finalized", "customer.subscription.updated")
    assert later.record().cases == [] and has_access(api) == (True, "active")

    later.clock.pass_by(days=8)
    intent.update(last_payment_error=error, status="requires_payment_method")
    raw(stripe, "subscription", id)["status"] = "past_due"
    later.hears()
    assert len(later.record().cases) == 1 and has_access(api) == (True, "grace")


def test_who_hears_of_a_failure_late_has_the_grace_all_the_same(subscribe, later, stripe, api):
    """Our endpoint was away for ten days: nobody is locked out by the news of it, without a day's notice."""
    subscribe()
    stripe.card_behaves(old_card(stripe), "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 10 * DAY)
    stripe.tick()
    later.hears()
    assert has_access(api) == (True, "grace")


def test_the_last_step_waits_for_a_payment_that_is_under_way(fails, later, stripe, context):
    """The second try is a bank debit; its money comes two days after the last step."""
    fails(dunning_ends="cancel", grace_days=30)
    later.passes(days=13)
    intent = raw(stripe, "payment_intent", to_be_paid(stripe))
    intent.update(status="processing", last_payment_error=None)
    later.clock.pass_by(days=2)
    for customer, timer in waiting("dunning"):
        fire(customer, timer, context)
    assert later.record().subscription.theirs.status == "past_due"


def test_a_new_period_that_is_paid_gives_access_again_however_it_began(fails, later, stripe, api):
    """What is marked uncollectible was a period's; another seat begins the next one, which is paid in full."""
    invoice = fails(grace_days=30, price_per_seat_cents=50)
    ask(stripe, "POST", f"/v1/invoices/{invoice}/mark_uncollectible")
    stripe.card_behaves(old_card(stripe))
    later.hears()
    assert api("PUT", "/subscription/seats", {"quantity": 2}).status == 200
    later.hears()
    assert [each["amount_paid"] for each in stripe.invoices.values() if each["status"] == "paid"][-1] == 2050
    assert has_access(api) == (True, "active")


def test_whoever_comes_back_with_a_new_card_after_months_pays_no_months_that_gave_nothing(fails, later, stripe, api):
    fails()
    later.passes(days=80)
    assert has_access(api) == (False, "unpaid_invoice")
    before = sum(each["amount_paid"] for each in stripe.invoices.values())
    new_card(stripe)
    later.hears()
    assert has_access(api) == (True, "active")
    assert sum(each["amount_paid"] for each in stripe.invoices.values()) - before <= 2000


def test_a_card_that_was_declined_is_not_tried_again_for_being_made_the_default(fails, later, stripe):
    invoice = fails("lost_card")
    path, theirs = "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer_of(stripe)
    bad = ask(stripe, "POST", path, customer=theirs)["id"]
    stripe.calls.clear()
    later.hears()
    ask(stripe, "POST", f"/v1/customers/{theirs}", invoice_settings={"default_payment_method": bad})
    later.hears()
    assert [call.path for call in stripe.calls].count(f"/v1/invoices/{invoice}/pay") == 1


def test_nobody_is_cancelled_for_a_free_plan_that_is_not_to_be_had(fails, later, stripe, api, context):
    fails(dunning_ends="free_plan", dunning_plan="free", grace_days=30)
    later.passes(days=13)
    assert api("DELETE", "/plans/free").status in (200, 204)
    later.clock.pass_by(days=2)
    for customer, timer in waiting("dunning"):
        with suppress(BillingError):
            fire(customer, timer, context)
    later.hears()
    assert later.record().subscription.theirs.status == "past_due"
