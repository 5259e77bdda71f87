"""What was used becomes money once, whatever becomes of the subscription, of another metric, or of another closer."""

import socket
import time
from dataclasses import asdict

import pytest

import close_period
from billing import closing, customer_table, dynamodb, scheduler
from billing.closings import Closing
from tests.functions.at_stripe import ask, pays_with
from tests.functions.metered import SERVICE, SOLD, ada, arranged, statements

__all__ = ["ada"]

DAY = 86_400


@pytest.fixture
def used(ada):
    """30 calls: 40 cents."""
    ada.passes(days=3)
    ada.uses("calls", 30)
    return ada


@pytest.fixture
def missed(used):
    """The renewal has been finalized before the period was closed."""
    used.ends()
    used.passes(hours=3)
    used.on_schedule()
    assert (used.billed(), len(used.waiting())) == ({}, 1)
    return used


@pytest.fixture
def on_the_draft(used):
    used.ends()
    used.closes()
    assert used.billed()["calls", 0] == (40, "cycle draft")
    return used


def owed(ada):
    """Cents of usage on invoices that are paid or will be collected, by Stripe."""
    cents = 0
    for each in ada.stripe.invoice_items.values():
        if (each["metadata"] or {}).get("usage") and each["invoice"]:
            invoice = ada.stripe.invoices[each["invoice"]]
            collected = invoice["status"] in ("paid", "open") or (
                invoice["status"] == "draft" and invoice["auto_advance"]
            )
            cents += each["amount"] if collected else 0
    return cents


def closes_all(ada):
    for start in ada.waiting():
        ada.passes(minutes=40)
        ada.closes_now(start)
    ada.settles()


# What has missed its renewal waits on record alone, and nothing of it at Stripe


def test_what_waits_for_the_next_renewal_is_closed_again_when_that_has_come(missed):
    end = missed.period()[1]
    assert [since for _, _, since in [customer_table.closing(end + 1800, None)[0][0]]] == missed.waiting()
    assert customer_table.closing(end + 1799, None)[0] == []


def test_it_is_billed_with_the_period_that_ends_then(missed):
    missed.ends()
    missed.closes()
    assert (missed.billed(), missed.waiting()) == ({("calls", 0): (40, "cycle draft")}, [])


def test_and_at_once_when_the_subscription_ends(missed):
    missed.cancels(immediately=True, unused_time="none")
    missed.hears()
    missed.passes(minutes=40)
    missed.closes_now(max(missed.waiting()))
    assert (missed.billed(), missed.waiting()) == ({("calls", 0): (40, "manual paid")}, [])


def test_it_is_charged_when_the_operator_cancels_at_stripe(missed):
    missed.stripe.handle("DELETE", f"/v1/subscriptions/{missed.id}", {})
    missed.hears()
    closes_all(missed)
    assert owed(missed) == 40


def test_it_is_charged_though_its_renewal_falls_into_a_pause(missed):
    assert missed.api("POST", "/subscription/pause", {}).status == 200
    missed.ends()
    missed.closes()
    closes_all(missed)
    assert owed(missed) == 40


def test_it_is_on_no_invoice_of_a_change_that_is_withdrawn_unpaid(missed, swept):
    """Whoever has no money for a change must not be rid of what was used by asking for one, and taking it back."""
    pays_with(missed.stripe, missed.id, "pm_card_chargeCustomerFail")
    answer = missed.api("PUT", "/subscription/plan", {"plan_slug": "other"})
    assert answer.json["pending_change"]["status"] == "awaiting_payment", answer.json
    assert missed.api("DELETE", "/subscription/change").status == 200
    pays_with(missed.stripe, missed.id, "pm_card_visa")
    missed.ends()
    missed.closes_late(swept)
    missed.settles()
    assert owed(missed) == 40


def test_the_renewal_that_it_waits_for_may_be_missed_too(missed):
    missed.ends()
    missed.passes(hours=3)
    start = missed.stated()[0].start
    missed.closes_now(start)
    assert missed.billed() == {} and start in missed.waiting()
    assert customer_table.closing(missed.period()[1] - 1, None)[0] == [("ada", missed.id, max(missed.waiting()))]


def test_a_correction_of_a_month_before_the_plan_became_yearly_does_not_wait_for_a_year(used):
    used.ends()
    start = used.waiting()[0]
    used.closes()
    used.settles()
    used.changes("yearly")
    used.hears()
    used.passes(hours=3)
    used.uses("calls", 5, at=start + DAY)
    used.passes(minutes=40)
    used.closes_now(start)
    assert used.billed()["calls", 1] == (10, "manual paid")


# A renewal that is given up


def test_usage_on_the_draft_is_charged_though_the_customer_cancels_now_within_its_hour(on_the_draft):
    on_the_draft.cancels(immediately=True, unused_time="none")
    on_the_draft.hears()
    closes_all(on_the_draft)
    assert owed(on_the_draft) == 40


def test_and_the_draft_has_it_no_more_should_somebody_finalize_it_after_all(on_the_draft):
    draft = on_the_draft.draft().id
    on_the_draft.cancels(immediately=True, unused_time="none")
    on_the_draft.hears()
    closes_all(on_the_draft)
    assert on_the_draft.stripe.invoices[draft]["total"] == 1000
    (stated, *_) = on_the_draft.stated("calls")
    alone = on_the_draft.stripe.invoices[stated.billed]
    assert (alone["billing_reason"], alone["status"], alone["total"]) == ("manual", "paid", 40)


def test_what_was_given_back_on_it_is_given_back_once(on_the_draft):
    start = on_the_draft.stated()[0].start
    on_the_draft.corrects(on_the_draft.uses("calls", 10, at=start + DAY), quantity=1)
    on_the_draft.closes_now(start)
    first = sum(cents for _, cents in on_the_draft.lines())
    on_the_draft.cancels(immediately=True, unused_time="none")
    on_the_draft.hears()
    for _ in range(2):
        closes_all(on_the_draft)
        on_the_draft.closes_now(start)
    assert sum(cents for _, cents in on_the_draft.lines()) == first == 42


@pytest.mark.parametrize("resumed", [False, True])
def test_usage_on_the_draft_is_charged_though_the_customer_pauses_within_its_hour(on_the_draft, resumed):
    """Seen when the next period is closed: at its end, or when it is resumed and begins anew."""
    assert on_the_draft.api("POST", "/subscription/pause", {}).status == 200
    on_the_draft.settles()
    assert owed(on_the_draft) == 0
    if resumed:
        on_the_draft.passes(days=1)
        assert on_the_draft.api("POST", "/subscription/resume", {}).status == 200
        on_the_draft.hears()
    else:
        on_the_draft.ends()
    closes_all(on_the_draft)
    assert owed(on_the_draft) == 40


def test_what_an_operator_voids_after_it_was_tried_is_forgiven(on_the_draft):
    object.__setattr__(on_the_draft.stripe._account.settings, "after_retries", "past_due")
    draft = on_the_draft.draft().id
    pays_with(on_the_draft.stripe, on_the_draft.id, "pm_card_chargeCustomerFail")
    on_the_draft.settles()
    ask(on_the_draft.stripe, "POST", f"/v1/invoices/{draft}/void")
    on_the_draft.ends()
    closes_all(on_the_draft)
    assert owed(on_the_draft) == 0


# One thing that cannot be billed


def test_a_metric_that_stripe_refuses_to_charge_does_not_keep_the_others_from_being_billed(used, caplog):
    """Stripe takes no amount of more than eight digits (docs: Currencies, Minimum and maximum charge amounts)."""
    used.uses("exports", 20_000_000)  # two million packages: 100,000,000 cents
    used.uses("tokens", 14)
    used.ends()
    used.passes(minutes=32)
    with pytest.raises(Exception, match="Stripe takes 1 statements not"):
        used.on_schedule()
    assert used.billed() == {("calls", 0): (40, "cycle draft"), ("tokens", 0): (56, "cycle draft")}
    (told,) = [each for each in caplog.records if each.getMessage() == "usage_unbilled"]
    assert (vars(told)["cents"], len(used.waiting())) == (100_000_000, 1)


def test_nor_on_an_invoice_of_their_own(used):
    used.uses("exports", 20_000_000)
    used.uses("tokens", 14)
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    for _ in range(2):
        with pytest.raises(Exception, match="Stripe takes 1 statements not"):
            used.closes_now(used.waiting()[0])
        used.passes(minutes=2)
    assert used.billed() == {("calls", 0): (40, "manual paid"), ("tokens", 0): (56, "manual paid")}
    assert [each.metric for each in used.stated() if each.billed is None] == ["exports"]


def test_an_amount_in_one_currency_is_not_charged_as_one_in_another(used, caplog):
    """An adopted price may have amounts in other currencies, and its older subscriptions pay in those."""
    used.ends()
    (asked,) = customer_table.closings("ada")
    other = customer_table._ended("ada", asked.subscription, asked.start)
    dynamodb.transact([dynamodb.update(customer_table.TABLE, other, "SET currency = :other", other="jpy")])
    used.closes()
    assert [(each.quantity, each.billed) for each in used.stated("calls")] == [(30, "nobody")]
    assert (used.billed(), used.waiting()) == ({}, [])
    assert [each.getMessage() for each in caplog.records].count("usage_unbilled") == 1


# Two at once


def test_two_closers_at_the_end_of_the_drafts_hour_charge_once(used, moments, swept):
    """The one has looked for what is billed already; the other would bill it; then the draft is finalized."""
    used.ends()
    used.passes(minutes=32)
    start, draft = used.waiting()[0], used.draft().id

    def meanwhile():
        used.closes_now(start)
        ask(used.stripe, "POST", f"/v1/invoices/{draft}/finalize")

    moments.once("before post", meanwhile)
    used.closes_now(start)
    assert used.billed() == {}
    used.ends()
    used.closes_late(swept)
    used.settles()
    assert (used.lines(), owed(used)) == ([(used.stated("calls")[0].mark, 40)], 40)


def test_two_closers_at_once_with_an_event_between_them_charge_once(used, moments):
    """Of one that has ended: the later one would know of one more request to close, and so of another invoice."""
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    start = used.waiting()[0]
    used.closes_now(start)
    used.uses("calls", 5, at=start + DAY)

    def meanwhile():
        used.uses("calls", 5, at=start + DAY)
        used.closes_now(start)

    moments.once("before post", meanwhile)
    used.closes_now(start)
    assert used.waiting() == [start]
    used.closes_now(start)
    marks = [mark for mark, _ in used.lines()]
    assert len(marks) == 3 and sorted(marks) == sorted(set(marks))
    assert (owed(used), used.waiting()) == (60, [])


def test_a_closer_that_was_killed_keeps_a_period_for_a_minute(used):
    used.ends()
    used.passes(minutes=32)
    start = used.waiting()[0]
    asked = customer_table.closed("ada", used.id, start)
    assert asked and customer_table.lease("ada", asked, int(used.now))
    used.passes(seconds=50)
    used.closes_now(start)
    assert used.stated() == []
    used.passes(seconds=11)
    used.closes_now(start)
    assert used.billed()["calls", 0] == (40, "cycle draft")


# What was free


def test_what_was_used_after_a_trial_that_paused_and_was_never_paid_is_not_charged(ada, api):
    """It gave no access: what was only watched is told, and nobody has ever agreed to pay for it."""
    plan = SOLD | {"name": "Pausing", "trial_days": 14, "trial_without_card": "pause"}
    assert api("PUT", "/plans/pausing", plan).status == 200
    order = {"plan_slug": "pausing", "quantity": 1}
    answer = api("POST", "/customers/eve/subscription", order, claims=SERVICE)
    assert answer.status == 200, answer.json
    ada.passes(days=15)
    ada.hears()
    assert ada.stripe.subscriptions[answer.json["id"]]["status"] == "paused"
    for key in ("a", "b"):
        event = {"customer_id": "eve", "metric_id": "calls", "quantity": 50, "idempotency_key": key}
        assert api("POST", "/usage", {"events": [event]}, claims=SERVICE).json["events"][0]["status"] == "recorded"
    api("POST", "/customers/eve/subscription/cancel", {"immediately": True}, claims=SERVICE)
    ada.hears()
    ada.passes(minutes=40)
    for customer, subscription, start in customer_table.closing(2**40, None)[0]:
        event = {"customer": customer, "subscription": subscription, "start": start}
        close_period.handler(event, ada.context)
    told = [(each.quantity, each.amount_cents, each.billed) for each in statements("calls", "eve")]
    assert told == [(0, 0, "nothing"), (100, 0, "nothing")]


# Arranging it


def test_a_scheduler_that_is_silent_leaves_the_worker_its_time(monkeypatch):
    """What cannot be arranged is the sweep's: the news of a renewal is not to be lost in waiting for it."""
    silent = socket.create_server(("127.0.0.1", 0), backlog=50)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SCHEDULER", f"http://127.0.0.1:{silent.getsockname()[1]}")
    scheduler.scheduler.cache_clear()
    now = int(time.time())
    ended = Closing("sub_1", "paid", 1, now - DAY, now, now + 1800)
    begun = time.monotonic()
    closing.schedule("ada", [ended] * 4, now)
    took = time.monotonic() - begun
    scheduler.scheduler.cache_clear()
    silent.close()
    assert took < 5  # of 25, in which Stripe and the store have to answer, too


def test_the_sweep_comes_to_every_late_period_though_others_cannot_be_closed(used, swept, monkeypatch):
    """There is time for one in a sweep, and as many as four are stuck, and older."""
    used.ends()
    used.passes(hours=1)
    for name in ("eve", "bob", "cid", "dan"):
        about = {"since": 1, "waits": "close", "times": 1}
        ended = asdict(Closing("sub_gone", "metered", 1, 0, 1, 1)) | about
        key = {"pk": f"customer#{name}", "sk": "closing#sub_gone#000000000000"}
        dynamodb.transact([dynamodb.put(customer_table.TABLE, key | ended)])
    for each in arranged():
        scheduler.scheduler().delete_schedule(GroupName="schedules", Name=each["Name"])
    carry_on, made = scheduler.carry_on, set()

    def slow(name, *args):
        if args[-1] not in made:
            made.add(args[-1])
            carry_on(name, *args)

    monkeypatch.setattr(scheduler, "carry_on", slow)
    for _ in range(60):
        swept()
        if used.id in {each["event"]["subscription"] for each in arranged()}:
            break
        used.passes(minutes=15)
    assert used.id in {each["event"]["subscription"] for each in arranged()}
