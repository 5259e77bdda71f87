"""When a renewal cannot be paid: what is said, when access ends, and what the last step does."""

import pytest

from billing import customer_table, plan_table, timer_table
from billing.dunning import DAY
from tests.functions.at_stripe import ask
from tests.functions.later import HOUR, events, fire, told
from tests.functions.later import mails as mailed
from tests.functions.test_sweep import counts  # noqa: F401


def waiting(kind):
    return [(customer, timer) for customer, timer in timer_table.waiting(2**40, None)[0] if timer.kind == kind]


def has_access(api, customer="ada"):
    said = api("GET", "/subscription", customer=customer).json
    return said["access"], said["access_reason"]


def new_card(stripe, customer="ada"):
    (theirs,) = [id for id, each in stripe.customers.items() if each["metadata"].get("customer") == customer]
    return ask(stripe, "POST", "/v1/payment_methods/pm_card_mastercard/attach", customer=theirs)["id"]


def test_a_failed_renewal_opens_one_case_and_says_so_at_once(fails, later, stripe):
    invoice = fails()
    (case,) = later.record().cases
    finalized = stripe.invoices[invoice]["status_transitions"]["finalized_at"]

    assert (case.invoice, case.since, case.taken, case.outcome) == (invoice, finalized, 1, None)
    assert told(begins="dunning") == ["dunning.started", "dunning.step_taken"]
    assert mailed()[-1] == "payment_failed" and mailed().count("payment_failed") == 1


def test_the_subscription_and_the_entitlements_tell_what_is_owed(fails, later, api):
    fails()
    (case,) = later.record().cases
    said = api("GET", "/subscription").json["dunning"]

    assert said == api("GET", "/entitlements").json["dunning"]
    (owed,) = said["invoices"]
    assert (owed["amount_due_cents"], owed["problem"], owed["step"], owed["steps"]) == (2000, "declined", 0, 5)
    assert said["next_attempt_at"] and said["next_step_at"] == owed["next_step_at"]
    assert later.record().subscription.grace_ends_at(plan_table.current("of-ada")) == case.since + 7 * DAY


def test_each_step_is_taken_on_its_day_once_however_often_its_timer_fires(fails, later, stripe):
    later.fires = 3
    fails()
    since = later.record().cases[0].since
    later.passes(days=15)

    steps = [
        (each["data"]["day"], (each["at"] - since) // DAY) for each in events() if each["type"] == "dunning.step_taken"
    ]
    assert steps == [(0, 0), (3, 3), (5, 5), (7, 7), (14, 14)]
    assert mailed().count("payment_failed") == 5
    assert waiting("dunning") == []


def test_access_ends_with_the_grace_though_every_timer_is_late(fails, later, api, clock):
    fails()
    (case,) = later.record().cases
    clock.pass_by(seconds=case.since + 7 * DAY - 60 - clock.now())
    assert has_access(api) == (True, "grace")
    clock.pass_by(seconds=61)
    assert has_access(api) == (False, "past_due")


def test_the_end_of_the_grace_is_told_when_it_comes(fails, later):
    fails()
    assert told(begins="access")[-1:] == ["access.changed"]
    later.passes(days=8)
    last = [each["data"] for each in events() if each["type"] == "access.changed"][-1]
    assert (last["access"], last["reason"], last["was"]) == (False, "past_due", {"access": True, "reason": "grace"})


def test_the_last_step_ends_access_and_leaves_the_subscription_past_due(fails, later, api, stripe):
    fails(grace_days=30)
    later.passes(days=15)
    (case,) = later.record().cases

    assert (case.outcome, later.record().subscription.theirs.status) == ("access_ended", "past_due")
    assert has_access(api) == (False, "unpaid_invoice")
    assert told(begins="dunning")[-2:] == ["dunning.step_taken", "dunning.ended"]


def test_what_is_paid_after_all_gives_access_again(fails, later, api, stripe):
    invoice = fails()
    later.passes(days=15)
    stripe.pay_on_page(invoice, new_card(stripe))
    later.hears()

    assert later.record().cases == [] and has_access(api) == (True, "active")
    assert api("GET", "/subscription").json["dunning"] is None


def test_a_retry_of_stripes_that_succeeds_closes_the_case_and_thanks(fails, later, api, stripe):
    fails()
    method = next(id for id, each in stripe.payment_methods.items() if each["customer"])
    stripe.card_behaves(method)
    later.passes(days=5)

    assert later.record().cases == [] and has_access(api) == (True, "active")
    assert told(begins="dunning")[-1] == "dunning.ended" and mailed().count("payment_recovered") == 1
    assert waiting("dunning") == []


def test_cancel_cancels_the_subscription_and_leaves_the_invoice_open(fails, later, api, stripe):
    invoice = fails(dunning_ends="cancel")
    later.passes(days=15)

    assert later.record().subscription.theirs.status == "canceled"
    assert stripe.invoices[invoice]["status"] == "open" and later.record().cases == []
    assert [each["data"]["outcome"] for each in events() if each["type"] == "dunning.ended"] == ["canceled"]
    assert api("GET", "/subscription").status == 404


def test_free_plan_voids_the_debt_and_moves_the_customer_there(fails, later, api, stripe):
    invoice = fails(dunning_ends="free_plan", dunning_plan="free")
    later.passes(days=15)

    assert stripe.invoices[invoice]["status"] == "void"
    said = api("GET", "/subscription").json
    assert (said["plan"], said["status"], said["access"], said["dunning"]) == ("free", "active", True, None)
    assert [each["data"]["outcome"] for each in events() if each["type"] == "dunning.ended"] == ["free_plan"]
    ended = [each for each in stripe.subscriptions.values() if each["status"] == "canceled"]
    assert len(ended) == 1 and len(stripe.subscriptions) == 2


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("became", ["pay", "void", "mark_uncollectible"])
def test_a_step_looks_at_the_invoice_first(fails, later, stripe, context, step, became):
    """Though no event of it has come."""
    invoice = fails(grace_days=30)
    for _ in range(step - 1):
        ((customer, timer),) = waiting("dunning")
        later.clock.pass_by(seconds=timer.due - later.now)
        fire(customer, timer, context)
    before = mailed().count("payment_failed")
    if became == "pay":
        stripe.pay_on_page(invoice, new_card(stripe))
    else:
        ask(stripe, "POST", f"/v1/invoices/{invoice}/{became}")
    ((customer, timer),) = waiting("dunning")
    fire(customer, timer, context)

    outcome = {"pay": "paid", "void": "voided", "mark_uncollectible": "uncollectible"}[became]
    assert [each["data"]["outcome"] for each in events() if each["type"] == "dunning.ended"] == [outcome]
    assert mailed().count("payment_failed") == before


def test_an_invoice_marked_uncollectible_gives_no_access_whatever_stripe_calls_the_subscription(
    fails, later, api, stripe
):
    invoice = fails(grace_days=30)
    ask(stripe, "POST", f"/v1/invoices/{invoice}/mark_uncollectible")
    later.hears()

    assert later.record().subscription.theirs.status == "active"
    assert has_access(api) == (False, "unpaid_invoice")
    method = next(id for id, each in stripe.payment_methods.items() if each["customer"])
    stripe.card_behaves(method)
    later.passes(days=31)  # the next renewal is paid
    assert has_access(api) == (True, "active") and later.record().cases == []


def test_nor_does_one_whose_failure_nobody_told_us_of(later, subscribe, stripe, api):
    id = subscribe()
    method = next(id for id, each in stripe.payment_methods.items() if each["customer"])
    stripe.card_behaves(method, "generic_decline")
    later.clock.pass_by(days=32)
    stripe.tick()
    (invoice,) = [each for each in stripe.invoices.values() if each["status"] == "open"]
    ask(stripe, "POST", f"/v1/invoices/{invoice['id']}/mark_uncollectible")
    later.hears("invoice.marked_uncollectible")
    assert later.record().subscription.theirs.id == id and has_access(api) == (False, "unpaid_invoice")


@pytest.mark.parametrize("why, kind", [("lost_card", "payment_method_needed"), ("3ds", "action_required")])
def test_what_a_retry_cannot_mend_is_said_in_a_mail_of_its_own(fails, later, why, kind):
    fails(why)
    assert kind in mailed() and "payment_failed" not in mailed()


def test_a_new_payment_method_is_tried_at_once_and_once(fails, later, stripe, api):
    invoice = fails("lost_card")
    stripe.calls.clear()
    card = new_card(stripe)
    later.hears()
    later.hears()

    assert stripe.invoices[invoice]["status"] == "paid" and later.record().cases == []
    assert [call.path for call in stripe.calls].count(f"/v1/invoices/{invoice}/pay") == 1
    (subscription,) = stripe.subscriptions.values()
    assert subscription["default_payment_method"] == card  # so the next renewal is paid, too
    assert has_access(api) == (True, "active")


def test_one_that_is_declined_too_is_not_tried_again(fails, later, stripe):
    invoice = fails("lost_card")
    (theirs,) = [id for id, each in stripe.customers.items()]
    ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=theirs)
    stripe.calls.clear()
    later.hears()
    ask(stripe, "POST", f"/v1/customers/{theirs}", phone="1")
    later.hears()

    assert stripe.invoices[invoice]["status"] == "open"
    assert [call.path for call in stripe.calls].count(f"/v1/invoices/{invoice}/pay") == 1


def test_the_first_payment_of_a_subscription_is_no_case(api, plans, later, stripe):
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_chargeCustomerFail"}
    assert api("POST", "/subscription", order).json["status"] == "incomplete"
    later.hears()
    assert later.record().cases == [] and told(begins="dunning") == []


def test_a_case_ends_with_its_subscription(fails, later, api):
    fails()
    assert api("POST", "/subscription/cancel", {"immediately": True}).status == 200
    later.hears()
    later.passes(days=15)
    assert later.record().cases == [] and mailed().count("payment_failed") == 1
    assert [each["data"]["outcome"] for each in events() if each["type"] == "dunning.ended"] == ["subscription_ended"]


def test_a_case_that_is_closed_is_not_opened_again_by_late_news(fails, later, stripe, hear, context):
    invoice = fails(dunning_ends="cancel")
    later.passes(days=15)
    ask(stripe, "POST", f"/v1/invoices/{invoice}", metadata={"noted": "yes"})
    later.hears()
    assert later.record().cases == [] and told(begins="dunning").count("dunning.started") == 1


def test_what_is_said_is_what_the_plan_of_the_subscription_says(fails, later):
    fails(dunning_days=[1, 2])
    assert told(begins="dunning") == ["dunning.started"]
    later.passes(days=3)
    assert told(begins="dunning") == ["dunning.started", *["dunning.step_taken"] * 2, "dunning.ended"]


def test_every_event_has_its_number_and_none_is_left_out(fails, later):
    fails()
    later.passes(days=40)
    assert [each["sequence"] for each in events()] == list(range(1, later.record().told + 1))


def test_a_trial_is_said_to_end_three_days_before(subscribe, later, stripe):
    subscribe(trial_days=14)
    later.fires = 2
    later.passes(days=10, hours=20)
    assert "subscription.trial_ending" not in told()
    later.passes(days=1)
    assert told().count("subscription.trial_ending") == 1 and mailed().count("trial_ending") == 1
    later.passes(days=4)
    assert mailed().count("trial_ending") == 1 and mailed().count("trial_ended") == 1


def test_a_card_is_said_to_expire_a_month_and_a_week_before(subscribe, later, stripe):
    subscribe(billing_interval="year")
    due = [timer for _, timer in waiting("card")]
    assert [timer.step.split(":")[1] for timer in due] == ["30", "7"]
    later.clock.pass_by(seconds=due[0].due - later.now + HOUR)
    later.due()
    assert [each["data"]["days"] for each in events() if each["type"] == "payment_method.expiring"] == [30]


def test_a_reminder_that_comes_after_all_is_over_is_none(subscribe, later, stripe, context):
    subscribe(trial_days=14)
    ((customer, timer),) = waiting("trial")
    later.passes(days=15, step=15 * DAY)
    fire(customer, timer, context)
    assert told().count("subscription.trial_ending") <= 1
    assert customer_table.find("ada", 0).subscription.theirs.status == "active"
