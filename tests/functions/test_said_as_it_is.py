"""What customers, and the product's own systems, are told is so, and is told once."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

import sweep
from billing import customer_table, dynamodb, mails, scheduler, sweeping
from billing.customers import Customer
from billing.dunning import DAY
from billing.invoices import Invoice
from billing.mails import kind_of
from billing.periods import rfc3339
from billing.subscriptions import taken_up
from billing.theirs import Schedule, Theirs
from local import mails as sample_mails
from tests.functions.at_stripe import ask
from tests.functions.later import HOUR, events
from tests.functions.later import mails as mailed
from tests.functions.later import told as types
from tests.functions.test_mails import ada, owes, post, post_office, told  # noqa: F401

AT = 1_795_478_400
THEIRS = Theirs("sub_1", "cus_1", "si_1", "price_1", 5, "usd", "active", AT, AT, AT, AT + 30 * DAY)
OPEN = Invoice("in_1", "cus_1", "sub_1", "open", "subscription_cycle", "usd", AT, 6000, 6000, 0, 1, "A-1")
STANDS = {"status": "active", "cancel_at": None, "cancel_at_period_end": False, "collection_paused": False}


def someone(theirs=THEIRS):
    return Customer("ada", AT, AT, subscription=taken_up(theirs, None, AT))


# Dunning


@pytest.fixture
def fails_unheard(later, stripe, subscribe):
    """Her renewal fails, and for `days` nothing of it reaches us: she was adopted with it, or events were lost."""

    def renewal(days, **plan):
        subscribe(**plan)
        method = next(id for id, each in stripe.payment_methods.items() if each["customer"])
        stripe.card_behaves(method, "generic_decline")
        later.clock.pass_by(days=31 + days)
        stripe.tick()
        later.hears()

    return renewal


def test_a_failure_that_is_heard_of_late_is_one_mail_and_not_all_that_would_have_been_sent(fails_unheard, later):
    fails_unheard(10)
    later.due()
    assert mailed().count("payment_failed") == 1


def test_nobody_is_cancelled_within_minutes_of_the_first_word_about_it(fails_unheard, later, stripe):
    fails_unheard(18, dunning_ends="cancel")
    later.due()
    (subscription,) = stripe.subscriptions.values()
    assert subscription["status"] != "canceled"


@pytest.mark.parametrize("ends", [{"dunning_ends": "cancel"}, {"dunning_ends": "free_plan", "dunning_plan": "free"}])
def test_the_last_step_is_one_mail_and_not_one_more_for_the_end_that_it_makes(fails, later, ends):
    fails(**ends)
    later.passes(days=15)
    assert mailed()[-1] == "payment_failed" and "subscription_cancelled" not in mailed()


@pytest.mark.parametrize(
    "less", [{"amount_due": 4000, "amount_remaining": 4000}, {"amount_paid": 2000, "amount_remaining": 4000}]
)
def test_what_is_asked_for_is_what_is_still_to_be_paid(owes, post, post_office, stripe, less):  # noqa: F811
    """A credit note since; a part of it that is paid."""
    (invoice,) = stripe._account.tables["invoice"].values()
    invoice |= less
    post(owes)
    (sent,) = post_office()
    assert sent.subject == "Your payment of USD 40.00 did not go through"


# Invoices


def test_who_has_not_paid_yet_is_not_told_that_it_is_collected_with_what_is_on_file(api, plans, later):
    """The first invoice of a subscription that waits for the customer to confirm its payment, with nothing on file."""
    assert api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).json["status"] == "incomplete"
    later.hears()
    assert "invoice_ready" not in mailed()


def test_that_an_invoice_will_be_collected_is_not_told_once_that_has_failed():
    data = {"status": "open", "attempt_count": 0, "amount_due_cents": 6000, "new": True, "id": "in_1"}
    data["reason"] = "subscription_cycle"
    assert kind_of("invoice.finalized", data) == "invoice_ready"
    assert mails.obsolete("invoice_ready", "invoice.finalized", data, someone(), replace(OPEN, attempt_count=1), AT)


def test_an_old_invoice_that_is_met_for_the_first_time_is_not_announced(subscribe, later, stripe):
    """Of an adopted customer the ten newest are on record: a credit note for an older one makes it known."""
    subscribe()
    (invoice,) = stripe.invoices
    for item in dynamodb.query("Subscriptions", "customer#ada", "invoice#"):
        dynamodb.db().delete_item(TableName="Subscriptions", Key=dynamodb.encode({"pk": item["pk"], "sk": item["sk"]}))
    before = mailed().count("invoice_ready")
    later.clock.pass_by(days=20)
    ask(stripe, "POST", "/v1/credit_notes", invoice=invoice, amount=100, credit_amount=100)
    later.hears()
    assert types(begins="invoice")[-1] == "invoice.paid"
    assert mailed().count("invoice_ready") == before


# Subscriptions


def test_one_that_is_paused_is_not_said_to_be_paused_again_with_whatever_else_changes():
    paused = STANDS | {"status": "paused", "was": {"discounts": []}}
    assert kind_of("subscription.updated", paused) is None


def test_that_it_ends_soon_is_not_said_again_when_its_last_period_begins():
    """`cancel_at_period_end` is made of `cancel_at` and the end of the period: a renewal moves it."""
    was = {"cancel_at_period_end": False, "current_period_end": rfc3339(AT)}
    data = STANDS | {"cancel_at": rfc3339(AT + 20 * DAY), "cancel_at_period_end": True, "was": was}
    assert kind_of("subscription.updated", data) is None


def test_a_change_that_is_withdrawn_is_not_announced_by_a_mail_that_is_late():
    to_come = {"effective_at": rfc3339(AT + DAY), "plan": "pro", "plan_version": 1, "seats": 3}
    data = STANDS | {"id": "sub_1", "scheduled_change": to_come, "was": {"scheduled_change": None}}
    scheduled = replace(THEIRS, schedule=Schedule("sub_sched_1", None, "price_pro", 3, AT + DAY))
    about = "subscription_changed", "subscription.updated", data
    assert not mails.obsolete(*about, someone(scheduled), None, AT)
    assert mails.obsolete(*about, someone(THEIRS), None, AT)


def test_that_it_goes_on_is_not_told_of_one_that_is_cancelled_again():
    data = STANDS | {"id": "sub_1", "was": {"cancel_at_period_end": True}}
    again = replace(THEIRS, cancel_at_period_end=True)
    assert mails.obsolete("subscription_changed", "subscription.updated", data, someone(again), None, AT)


def test_who_has_no_access_is_not_told_that_they_keep_it(monkeypatch):
    for name, value in sample_mails.SETTINGS.items():
        monkeypatch.setenv(name, value)
    (sample,) = [each for each in sample_mails.samples() if each.name == "subscription_cancelled"]
    shut = replace(sample.found.ours.live(), known_status="unpaid")
    found = sample.found._replace(ours=replace(sample.found.ours, subscription=shut))
    data = sample.data | {"status": "unpaid", "access": False, "access_reason": "unpaid"}
    said = sample_mails.write(sample._replace(found=found, data=data), "en")
    assert "you keep your access" not in " ".join(said.text.split())


def test_a_subscription_that_gives_way_to_another_is_told_to_have_ended(api, plans, later):
    """docs/events.md: nothing changes without its event."""
    assert api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).json["status"] == "incomplete"
    later.hears()
    order = {"plan_slug": "pro", "quantity": 1, "payment_method": "pm_card_visa"}
    assert api("POST", "/subscription", order).json["status"] == "active"
    later.hears()
    later.passes(days=2)
    made = [each["data"]["id"] for each in events() if each["type"] == "subscription.created"]
    ended = [each["data"]["id"] for each in events() if each["type"] == "subscription.ended"]
    assert len(made) == 2 and ended == made[:1]


# Bounces


def test_who_says_that_a_mail_was_no_spam_is_written_to_still(ada, context, stripe):  # noqa: F811
    """SES tells of it as a complaint, whose complaintFeedbackType is not-spam (docs: SES, complaint object)."""
    import note_bounce
    from tests.functions.test_mails import bounce

    event = bounce(customer_table.find("ada", 0).stripe_id, type="Complaint")
    event["detail"]["complaint"] = event["detail"].get("complaint", {}) | {"complaintFeedbackType": "not-spam"}
    note_bounce.handler(event, context)
    assert customer_table.find("ada", 0).bounced is None


# Nothing of it keeps what is billed


def test_mails_that_cannot_be_sent_keep_no_timer_from_its_turn(aws, clock, context, schedules, stripe, monkeypatch):
    """SES refuses the sender, and five hundred mails wait. A sweep has three seconds; a schedule takes 50 ms."""
    now = int(clock.now())
    for sequence in range(1, 501):
        about = {"pk": "customer#ada", "sk": f"mail#{sequence:012}", "kind": "invoice_ready", "at": now - HOUR}
        item = about | {"customer": "ada", "sequence": sequence, "waits": "mail", "since": now - HOUR}
        dynamodb.db().put_item(TableName="Subscriptions", Item=dynamodb.encode(item))
    due = {"kind": "dunning", "subject": "in_1", "step": "1", "due": now - HOUR, "waits": "timer", "since": now - HOUR}
    item = {"pk": "customer#bob", "sk": "timer#dunning#in_1#1", "customer": "bob"} | due
    dynamodb.db().put_item(TableName="Subscriptions", Item=dynamodb.encode(item))
    ticks = SimpleNamespace(passed=0.0)

    def slow(**_):
        ticks.passed += 0.05

    scheduler.scheduler().meta.events.register("before-call.scheduler.CreateSchedule", slow)
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: ticks.passed))
    random.seed(1)
    sweeping.waiting(now, ticks.passed + sweep.SPARE)
    made = list(schedules())
    assert any(name.startswith("dunning-") for name in made), made[:60]
