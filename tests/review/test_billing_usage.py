"""What was used becomes money, once, and nothing else does: what a review has found."""

import socket
import time
from dataclasses import asdict, replace

import pytest

import close_period
import sweep
from billing import closing, customer_table, dynamodb, overage, plan_table, scheduler, standing, usage_table
from billing.closings import Closing
from billing.customers import Customer
from billing.errors import StripeRefused
from billing.periods import period_of
from billing.plans import Metric, Plan
from billing.rating import Rate
from billing.theirs import Theirs
from tests.functions.at_stripe import ask, pays_with
from tests.functions.metered import arranged, statements

DAY = 86_400


@pytest.fixture
def used(ada):
    """30 calls: 40 cents."""
    ada.passes(days=3)
    ada.uses("calls", 30)
    return ada


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


# The subscription ends, or pauses, after its usage was put on something that will then not be collected


def test_usage_that_waits_for_the_next_invoice_is_charged_when_the_operator_cancels_at_stripe(used):
    used.ends()
    used.passes(hours=3)
    used.on_schedule()
    assert used.billed()["calls", 0] == (40, "next")
    used.stripe.handle("DELETE", f"/v1/subscriptions/{used.id}", {})
    used.hears()
    for start in used.waiting():
        used.passes(minutes=40)
        used.closes_now(start)
    used.settles()
    assert owed(used) == 40


def test_usage_on_the_draft_is_charged_though_the_customer_cancels_now_within_its_hour(used):
    used.ends()
    used.closes()
    assert used.billed()["calls", 0] == (40, "cycle draft")
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    for start in used.waiting():
        used.passes(minutes=40)
        used.closes_now(start)
    used.settles()
    assert owed(used) == 40


def test_usage_on_the_draft_is_charged_though_the_customer_pauses_within_its_hour(used):
    used.ends()
    used.closes()
    assert used.api("POST", "/subscription/pause", {}).status == 200
    used.hears()
    used.settles()
    for start in used.waiting():
        used.closes_now(start)
    used.settles()
    assert owed(used) == 40


def test_usage_that_waits_for_the_next_invoice_is_charged_though_that_falls_into_a_pause(used):
    used.ends()
    used.passes(hours=3)
    used.on_schedule()
    assert used.billed()["calls", 0] == (40, "next")
    assert used.api("POST", "/subscription/pause", {}).status == 200
    used.ends()
    used.closes()
    used.settles()
    assert owed(used) == 40


def test_usage_on_the_invoice_of_a_change_that_is_withdrawn_unpaid_is_charged_all_the_same(used):
    """Whoever has no money for a change must not be rid of what was used by asking for one, and taking it back."""
    used.ends()
    used.passes(hours=3)
    used.on_schedule()
    assert used.billed()["calls", 0] == (40, "next")
    pays_with(used.stripe, used.id, "pm_card_chargeCustomerFail")
    answer = used.api("PUT", "/subscription/plan", {"plan_slug": "other"})
    assert answer.json["pending_change"]["status"] == "awaiting_payment", answer.json
    assert used.api("DELETE", "/subscription/change").status == 200
    pays_with(used.stripe, used.id, "pm_card_visa")
    used.hears()
    for start in used.waiting():
        used.closes_now(start)
    used.ends()
    used.settles()
    assert owed(used) == 40


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


# One thing that cannot be billed


def test_of_a_customer_that_stripe_has_deleted_nothing_waits_to_be_closed_for_ever(used):
    used.stripe.handle("DELETE", f"/v1/customers/{used.customer()}", {})
    used.hears()
    used.passes(minutes=40)
    (start,) = used.waiting()
    try:
        used.closes_now(start)
    except Exception as failure:
        print("fails", repr(failure))
    assert used.waiting() == []


def test_a_metric_that_stripe_refuses_to_charge_does_not_keep_the_others_from_being_billed(used, monkeypatch):
    """Stripe takes no amount of more than eight digits (docs: Currencies, Minimum and maximum charge amounts)."""
    used.uses("exports", 20_000_000 - 5)  # two million packages: 100,000,000 cents
    create = overage._put

    def refusing(customer, item, place, where):
        if abs(item.amount_cents) > 99_999_999:
            raise StripeRefused("Stripe refused: amount_too_large amount")
        return create(customer, item, place, where)

    monkeypatch.setattr(overage, "_put", refusing)
    used.uses("tokens", 14)
    used.ends()
    used.passes(minutes=32)
    try:
        used.on_schedule()
    except Exception as failure:
        print("fails", repr(failure))
    assert used.billed()["tokens", 0] == (56, "cycle draft")


# Two at once


def test_two_closers_at_the_end_of_the_drafts_hour_charge_once(used, moments):
    """The one has looked for what is billed already; the other bills it; then the draft is finalized."""
    used.ends()
    used.passes(minutes=32)
    start, draft = used.waiting()[0], used.draft().id
    gets = iter(range(1, 99))
    looked = None

    def listen(now):
        nonlocal looked
        if now == "before get":
            looked = next(gets)
            if looked == 4:  # subscription, items, balance: all that is known; then the drafts
                moments.remove(listen)
                used.closes_now(start)
                ask(used.stripe, "POST", f"/v1/invoices/{draft}/finalize")

    moments.append(listen)
    used.closes_now(start)
    charged = [each["invoice"] for each in used.stripe.invoice_items.values() if (each["metadata"] or {}).get("usage")]
    assert charged == [draft]


def test_two_closers_at_once_with_an_event_between_them_charge_once(used, moments):
    """Of one that has ended: the later one knows of one more request to close, and so of another invoice."""
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    start, gets = used.waiting()[0], iter(range(1, 99))
    used.closes_now(start)
    used.uses("calls", 5, at=start + DAY)

    def listen(now):
        if now == "before get" and next(gets) == 4:  # subscription, items, balance: all that is known
            moments.remove(listen)
            used.uses("calls", 5, at=start + DAY)
            used.closes_now(start)

    moments.append(listen)
    used.closes_now(start)
    marks = [mark for mark, _ in used.lines()]
    assert sorted(marks) == sorted(set(marks))


# What was free


FREE = {"calls": Metric("max_calls", enforcement="soft")}
PAID = {"calls": Metric("max_calls", enforcement="soft", price=Rate("unit", unit_amount="2"))}


@pytest.fixture
def by_the_calendar(sell, buy, use, monkeypatch):
    """A free plan by default; and one that bills by the calendar: its periods begin on the first, 00:00 UTC."""
    sell("free", limits={"max_calls": None}, metrics=FREE)
    monkeypatch.setenv("DEFAULT_PLAN", "free")
    paid = sell("paid", limits={"max_calls": None}, metrics=PAID)
    now = int(time.time())
    month = period_of(now, 0, "month")
    began = max(month.start + 1, now - DAY)

    def bought(**said):
        own = {"created": began, "anchor": month.end, "current_period_start": began, "current_period_end": month.end}
        buy(paid, **own | said)
        standing._known.clear()

    def call(key, quantity):
        (answer,) = use({"metric_id": "calls", "quantity": quantity, "idempotency_key": key}).json["events"]
        return answer

    return month, bought, call


def test_what_was_free_by_the_default_plan_is_not_in_what_the_subscription_bills(by_the_calendar):
    month, bought, call = by_the_calendar
    assert call("before", 500)["status"] == "recorded"  # allowed by the free plan
    bought(created=int(time.time()), current_period_start=int(time.time()))
    assert call("after", 1)["status"] == "recorded"
    assert usage_table.with_days("ada", "calls", month).used == 1


def test_what_is_free_by_the_default_plan_after_a_subscription_has_ended_is_not_billed_by_that(by_the_calendar):
    _, bought, call = by_the_calendar
    bought()
    now = int(time.time())
    call("paid", 5)
    bought(status="canceled", ended_at=now - 1)
    (asked,) = customer_table.closings("ada")
    plan = plan_table.version(asked.plan, asked.version)
    closing._state("ada", asked, "calls", plan, plan.metrics["calls"], now)
    waits = customer_table.closed("ada", "sub_1", asked.start)
    assert waits
    customer_table.is_closed("ada", waits)
    assert call("free", 500)["status"] == "recorded"
    assert customer_table.closing(2**40, None)[0] == []  # nothing of the subscription is to be billed again


def test_a_hard_limit_of_the_default_plan_lets_in_whoever_has_just_left_a_subscription(by_the_calendar, sell):
    _, bought, call = by_the_calendar
    sell("free", limits={"max_calls": 100}, metrics={"calls": Metric("max_calls")})
    bought()
    now = int(time.time())
    call("paid", 5)
    bought(status="canceled", ended_at=now - 1)
    (asked,) = customer_table.closings("ada")
    plan = plan_table.version(asked.plan, asked.version)
    closing._state("ada", asked, "calls", plan, plan.metrics["calls"], now)
    answer = call("free", 1)
    assert (answer["status"], answer.get("reason")) == ("recorded", None)


def test_an_amount_in_one_currency_is_not_charged_as_one_in_another(sell, buy, use):
    """An adopted price may have amounts in other currencies, and its older subscriptions pay in those."""
    plan = sell("paid", limits={"max_calls": None}, metrics=PAID)
    now = int(time.time())
    period = {"anchor": now - DAY, "current_period_start": now - DAY, "current_period_end": now + 29 * DAY}
    buy(plan, currency="jpy", **period)
    use({"metric_id": "calls", "quantity": 100, "idempotency_key": "a"})
    buy(plan, currency="jpy", **period | {"status": "canceled", "ended_at": now})
    (asked,) = customer_table.closings("ada")
    (stated,) = closing._state("ada", asked, "calls", plan, plan.metrics["calls"], now)
    assert (stated.currency, stated.amount_cents) != ("jpy", 200)  # 200 cents of a dollar are some 300 yen


def test_periods_that_end_apart_are_closed_apart():
    """A trial up to the end of the period begins in the middle of it: one put on record is not covered by the next."""
    start, now = 1_767_225_600, 1_768_000_000
    end = period_of(start, start, "month").end
    plan = Plan("paid", 1, "Paid", "month", "usd", 1000, price="price_1", metrics=PAID)
    paid = Theirs("sub_1", "cus_1", "si_1", "price_1", 1, "usd", "active", start, start, start, end, interval="month")
    trial = {"status": "trialing", "anchor": end, "current_period_start": now, "trial_ends_at": end}
    after = {"anchor": end, "current_period_start": end, "current_period_end": period_of(end, end, "month").end}
    ours, closed = Customer("ada", start, start), []
    for at, said in ((start, {}), (now, trial), (end, after | {"trial_ends_at": end})):
        revision = ours.absorb(replace(paid, **said), plan, at)
        ours = revision.customer
        closed += revision.closings
    assert [(each.end, each.free) for each in closed] == [(now, False), (end, True)]
    assert len({(each.subscription, each.start) for each in closed}) == 2


def test_what_was_used_after_a_trial_that_paused_and_was_never_paid_is_not_charged(ada, api):
    """It gave no access: what was only watched is told, and nobody has ever agreed to pay for it."""
    ada.cancels(immediately=True)
    ada.hears()
    plan = {"name": "Pausing", "billing_interval": "month", "currency": "usd", "base_price_cents": 500}
    plan |= {"trial_days": 14, "trial_without_card": "pause", "max_seats": None, "limits": {"max_calls": None}}
    plan |= {
        "metrics": {
            "calls": {"limit": "max_calls", "enforcement": "soft", "price": {"model": "unit", "unit_amount": "2"}}
        }
    }
    assert api("PUT", "/plans/pausing", plan).status == 200
    answer = api(
        "POST",
        "/customers/eve/subscription",
        {"plan_slug": "pausing", "quantity": 1},
        claims={"scope": "billing/service"},
    )
    assert answer.status == 200, answer.json
    ada.id = answer.json["id"]
    ada.passes(days=15)
    ada.hears()
    assert ada.stripe.subscriptions[ada.id]["status"] == "paused"
    event = {"customer_id": "eve", "metric_id": "calls", "quantity": 50, "idempotency_key": "k"}
    told = api("POST", "/usage", {"events": [event]}, claims={"scope": "billing/service"}).json["events"]
    print(told)
    api("POST", "/customers/eve/subscription/cancel", {"immediately": True}, claims={"scope": "billing/service"})
    ada.hears()
    ada.passes(minutes=40)
    for customer, subscription, start in customer_table.closing(2**40, None)[0]:
        if customer == "eve":
            close_period.handler({"customer": "eve", "subscription": subscription, "start": start}, ada.context)
    assert [(each.quantity, each.amount_cents) for each in statements("calls", "eve") if each.amount_cents] == []


def test_what_was_used_before_a_trial_is_charged_though_the_trial_was_given_within_the_period(used):
    """An operator extends it by free days, at Stripe."""
    end = int(used.now) + 60 * DAY
    ask(used.stripe, "POST", f"/v1/subscriptions/{used.id}", trial_end=str(end), proration_behavior="none")
    used.hears()
    used.passes(days=1)
    used.uses("calls", 100)
    used.passes(days=60)
    used.hears()
    used.passes(minutes=40)
    for start in used.waiting():
        used.closes_now(start)
    used.settles()
    assert sum(cents for _, cents in used.lines()) == 40


def test_a_scheduler_that_is_silent_leaves_the_worker_its_time(monkeypatch):
    """What cannot be arranged is the sweep's: the news of a renewal is not to be lost in waiting for it."""
    silent = socket.create_server(("127.0.0.1", 0), backlog=50)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SCHEDULER", f"http://127.0.0.1:{silent.getsockname()[1]}")
    scheduler.scheduler.cache_clear()
    now = int(time.time())
    ended = Closing("sub_1", "paid", 1, now - DAY, now, now + 1800)
    begun = time.monotonic()
    closing.schedule("ada", [ended], now)
    scheduler.scheduler.cache_clear()
    silent.close()
    assert time.monotonic() - begun < 10  # of 25, in which Stripe and the store have to answer, too


def test_the_sweep_comes_to_every_late_period_though_others_cannot_be_closed(used, swept, monkeypatch):
    """As many as it takes in a while are stuck, and older: each sweep arranges those again, and no other."""
    monkeypatch.setattr(sweep, "MOST", 2)
    used.ends()
    used.passes(hours=1)
    for name in ("eve", "bob"):
        about = {"since": 1, "waits": "close", "times": 1}
        ended = asdict(Closing("sub_gone", "metered", 1, 0, 1, 1)) | about
        dynamodb.transact(
            [
                dynamodb.put(
                    customer_table.TABLE, {"pk": f"customer#{name}", "sk": "closing#sub_gone#000000000000"} | ended
                )
            ]
        )
    for each in arranged():
        scheduler.scheduler().delete_schedule(GroupName="schedules", Name=each["Name"])
    for _ in range(3):
        swept()
        used.passes(minutes=15)
    assert used.id in {each["event"]["subscription"] for each in arranged()}
