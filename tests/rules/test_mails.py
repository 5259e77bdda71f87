"""Which mail is sent of what has happened, and whether what it says is still so."""

from dataclasses import replace

import pytest

from billing import mails, wording
from billing.customers import Contact, Customer, Profile
from billing.invoices import Invoice
from billing.mails import kind_of
from billing.periods import rfc3339
from billing.subscriptions import taken_up
from billing.theirs import Theirs
from local.mails import samples

AT = 1_795_478_400
DAY = 86_400
THEIRS = Theirs("sub_1", "cus_1", "si_1", "price_1", 5, "usd", "active", AT, AT, AT, AT + 30 * DAY)
OPEN = Invoice("in_1", "cus_1", "sub_1", "open", "subscription_cycle", "usd", AT, 6000, 6000, 0, 1, "A-1")
INVOICE = {"status": "open", "attempt_count": 0, "amount_due_cents": 6000, "new": True, "reason": "manual"}
STANDS = {"status": "active", "cancel_at": None, "cancel_at_period_end": False, "collection_paused": False}


def ada(theirs=THEIRS):
    return Customer("ada", AT, AT, subscription=taken_up(theirs, None, AT))


def changed(was, **said):
    return kind_of("subscription.updated", STANDS | said | {"was": was})


@pytest.mark.parametrize("problem, kind", mails.BY_PROBLEM.items())
def test_a_step_of_dunning_is_told_by_what_is_the_matter(problem, kind):
    assert kind_of("dunning.step_taken", {"problem": problem}) == kind


def test_of_dunning_only_steps_and_its_good_end_are_told():
    assert kind_of("dunning.started", {"problem": "declined"}) is None
    assert kind_of("dunning.ended", {"outcome": "paid"}) == "payment_recovered"
    others = ("voided", "uncollectible", "access_ended", "canceled", "free_plan", "subscription_ended")
    assert {kind_of("dunning.ended", {"outcome": outcome}) for outcome in others} == {None}


def test_what_a_change_of_a_subscription_is_called():
    assert changed({"status": "trialing"}) == "trial_ended"
    assert changed({"status": "trialing"}, status="paused") == "trial_ended"
    assert changed({"cancel_at_period_end": False}, cancel_at_period_end=True) == "subscription_cancelled"
    assert changed({"cancel_at": None}, cancel_at="2026-12-01T00:00:00Z") == "subscription_cancelled"
    assert changed({"cancel_at_period_end": True}) == "subscription_changed"
    assert changed({"collection_paused": False}, collection_paused=True) == "subscription_paused"
    assert changed({"collection_paused": True}) == "subscription_changed"
    assert changed({"status": "active"}, status="paused") == "subscription_paused"
    assert changed({"plan": "team"}) == changed({"seats": 3}) == "subscription_changed"
    assert changed({"scheduled_change": None}) == "subscription_changed"
    assert changed({"status": "active"}, status="past_due") is None
    assert changed({"status": "incomplete"}) is None
    assert changed({"current_period_end": "2026-11-01T00:00:00Z"}) is None


def test_the_end_of_a_subscription_that_was_never_paid_is_not_told():
    assert (
        kind_of("subscription.ended", {"status": "canceled", "was": {"status": "active"}}) == "subscription_cancelled"
    )
    assert kind_of("subscription.ended", {"status": "incomplete_expired", "was": {"status": "incomplete"}}) is None
    assert kind_of("subscription.ended", {"status": "canceled", "was": {"status": "incomplete"}}) is None


def test_an_invoice_is_told_of_once_if_there_is_something_to_pay():
    assert kind_of("invoice.finalized", INVOICE) == "invoice_ready"
    assert kind_of("invoice.paid", INVOICE | {"status": "paid", "attempt_count": 1}) == "invoice_ready"
    for other in ({"new": False}, {"amount_due_cents": 0}, {"attempt_count": 1}, {"status": "void"}):
        assert kind_of("invoice.updated", INVOICE | other) is None


def test_what_else_is_told():
    assert kind_of("subscription.trial_ending", {}) == "trial_ending"
    assert kind_of("usage.threshold_reached", {}) == "usage_threshold"
    assert kind_of("usage.period_closed", {"statements": [{}]}) == "usage_statement"
    assert kind_of("usage.period_closed", {"statements": []}) is None
    assert kind_of("payment_method.expiring", {}) == "card_expiring"
    for type in ("subscription.created", "access.changed", "customer.email_bounced"):
        assert kind_of(type, {}) is None


def test_the_samples_are_what_happens_and_leave_out_no_kind():
    found = list(samples())
    assert {sample.kind for sample in found} == mails.KINDS
    assert [each.name for each in found if kind_of(each.type, each.data) != each.kind] == []


@pytest.mark.parametrize("sample", list(samples()), ids=lambda sample: sample.name)
def test_what_is_so_is_not_obsolete(sample):
    found = sample.found
    assert not mails.obsolete(sample.kind, sample.type, sample.data, found.ours, found.invoice, AT)


@pytest.mark.parametrize("kind", mails.BY_PROBLEM.values())
@pytest.mark.parametrize("status", ["paid", "void", "uncollectible", None])
def test_nobody_is_asked_for_what_is_not_owed_any_more(kind, status):
    invoice = status and replace(OPEN, status=status)
    assert mails.obsolete(kind, "dunning.step_taken", {"outcome": None}, ada(), invoice, AT)
    assert mails.obsolete(kind, "dunning.step_taken", {"outcome": "access_ended"}, ada(), invoice, AT)


def test_that_it_was_cancelled_for_it_is_told_unless_it_is_paid():
    for outcome in ("canceled", "free_plan"):
        told = "payment_failed", "dunning.step_taken", {"outcome": outcome}, ada()
        assert not mails.obsolete(*told, replace(OPEN, status="void"), AT)
        assert mails.obsolete(*told, replace(OPEN, status="paid"), AT)


def test_what_was_to_last_and_is_over_is_not_told_any_more():
    trial = replace(THEIRS, status="trialing", trial_ends_at=AT + DAY)
    about_trial = "trial_ending", "subscription.trial_ending", {"id": "sub_1", "trial_ends_at": rfc3339(AT + DAY)}
    assert not mails.obsolete(*about_trial, ada(trial), None, AT)
    assert mails.obsolete(*about_trial, ada(trial), None, AT + DAY)
    assert mails.obsolete(*about_trial, ada(replace(trial, trial_ends_at=AT + 9 * DAY)), None, AT)
    assert mails.obsolete(*about_trial, ada(replace(trial, id="sub_2")), None, AT)
    assert mails.obsolete(*about_trial, ada(THEIRS), None, AT)
    updated = "subscription.updated", {"id": "sub_1"}
    assert mails.obsolete("subscription_cancelled", *updated, ada(THEIRS), None, AT)
    assert mails.obsolete("subscription_paused", *updated, ada(THEIRS), None, AT)
    ended = replace(THEIRS, status="canceled", cancel_at_period_end=True, ended_at=AT)
    assert mails.obsolete("subscription_cancelled", *updated, ada(ended), None, AT)
    assert not mails.obsolete("subscription_cancelled", "subscription.ended", {"id": "sub_1"}, ada(ended), None, AT)
    expires = "card_expiring", "payment_method.expiring", {"subscription": "sub_1", "expires": "2026-12"}
    assert mails.obsolete(*expires, ada(replace(THEIRS, card_expires="2029-12")), None, AT)
    period = "usage_threshold", "usage.threshold_reached", {"period_end": rfc3339(AT)}
    assert mails.obsolete(*period, ada(), None, AT) and not mails.obsolete(*period, ada(), None, AT - 1)


def test_our_profile_says_who_it_is_and_where_it_says_nothing_stripe_does():
    ours, theirs = replace(ada(), profile=Profile("ada@example.com", locale="de")), Contact("old@example.com", ["en"])
    assert mails.recipient(ours, theirs) == Contact("ada@example.com", ["de", "en"])
    assert mails.recipient(ada(), theirs) == theirs
    assert mails.recipient(ada(), None) == Contact()


def test_the_first_language_that_mails_are_written_in():
    assert wording.spoken(["fr", "de-AT", "en"], "en") == "de"
    assert wording.spoken(["fr"], "de") == wording.spoken([], "de") == "de"


def test_an_address_is_the_same_however_it_is_written_and_its_name_does_not_show_it():
    assert mails.named("Ada@Example.com ") == mails.named("ada@example.com") != mails.named("bob@example.com")
    assert "ada" not in mails.named("ada@example.com")


@pytest.mark.parametrize(
    "cents, currency, english, german",
    [
        (123_450, "eur", "EUR 1,234.50", "1.234,50 EUR"),
        (5, "usd", "USD 0.05", "0,05 USD"),
        (-123_456_789, "usd", "USD -1,234,567.89", "-1.234.567,89 USD"),
        (1500, "jpy", "JPY 1,500", "1.500 JPY"),
        (1_234_560, "kwd", "KWD 1,234.560", "1.234,560 KWD"),
        (150_000, "isk", "ISK 1,500", "1.500 ISK"),
    ],
)
def test_money_is_written_as_it_is_in_the_language(cents, currency, english, german):
    assert (wording.money(cents, currency, "en"), wording.money(cents, currency, "de")) == (english, german)


def test_days_and_months_are_written_as_they_are_in_the_language():
    moment = "2026-03-03T23:59:59Z"
    assert (wording.day(moment, "en"), wording.day(moment, "de")) == ("3 March 2026", "3. März 2026")
    assert wording.month("2026-03") == "03/2026"
