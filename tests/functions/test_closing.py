"""A period that has ended is billed its usage, once: on the renewal, or wherever it still can be."""

import pytest
from botocore.exceptions import EndpointConnectionError

import process_webhook
from tests.functions.at_stripe import ask, batch, pays_with
from tests.functions.metered import PLANS, ada, arranged  # noqa: F401
from tests.functions.test_sweep import counts  # noqa: F401


@pytest.fixture
def used(ada):  # noqa: F811
    """30 calls (20 beyond those included: 40 cents), 11 exports (two packages: 100), 14 tokens (56)."""
    ada.passes(days=3)
    ada.uses("calls", 30)
    ada.uses("exports", 11)
    for quantity in (9, 5):
        ada.uses("tokens", quantity)
    ada.uses("views", 4)
    return ada


@pytest.fixture
def hear_again(stripe, context):
    """All that Stripe has told comes a second time, as other events."""

    def process():
        again = [each | {"id": f"{id}_again"} for id, each in stripe.events.items()]
        for each in again:
            process_webhook.handler(batch([each]), context)

    return process


ON_THE_RENEWAL = {("calls", 0): (40, "cycle draft"), ("exports", 0): (100, "cycle draft")}
ON_THE_RENEWAL |= {("tokens", 0): (56, "cycle draft")}


def test_a_renewal_puts_the_close_on_record_and_arranges_it(used):
    start, end = used.period()
    used.ends()

    (made,) = arranged()
    assert used.waiting() == [start]
    assert made["event"] == {"customer": "ada", "subscription": used.id, "start": start}
    assert end + 1800 <= made["at"] <= end + 1800 + 120


def test_then_all_that_has_a_price_is_on_the_renewal_while_it_is_a_draft(used):
    used.ends()
    assert used.closes() == 1

    assert used.billed() == ON_THE_RENEWAL and used.waiting() == []
    assert [(each.metric, each.quantity, each.amount_cents) for each in used.stated()] == [
        ("calls", 30, 40),
        ("exports", 11, 100),
        ("tokens", 14, 56),
    ]
    used.settles()
    paid = used.stripe.invoices[used.stated()[0].billed]
    assert (paid["status"], paid["amount_paid"]) == ("paid", 1000 + 196)


def test_news_that_comes_twice_arranges_nothing_twice(used, hear_again):
    used.ends()
    hear_again()
    assert len(arranged()) == 1 and len(used.waiting()) == 1


def test_whoever_closes_it_again_does_nothing_more(used):
    used.ends()
    start = used.waiting()[0]
    used.closes()
    before = used.stated()
    for _ in range(2):
        used.closes_now(start)
    assert (used.stated(), used.billed(), len(used.lines())) == (before, ON_THE_RENEWAL, 3)


def test_the_schedule_and_the_sweep_close_it_once(used, swept):
    used.ends()
    used.passes(seconds=1800 + 240)
    swept()
    assert len(arranged()) == 2

    used.passes(seconds=120)
    assert used.on_schedule() == 2
    assert used.billed() == ON_THE_RENEWAL and len(used.lines()) == 3


def test_too_early_nothing_is_closed(used):
    used.ends()
    used.passes(minutes=20)
    used.closes_now(used.waiting()[0])
    assert (used.stated(), used.billed(), len(used.waiting())) == ([], {}, 1)


def test_an_event_of_the_last_minute_is_in_it(used):
    used.ends()
    used.passes(minutes=15)
    used.uses("calls", 5, at=used.period()[0] - 1)
    used.closes()
    assert used.billed()["calls", 0] == (50, "cycle draft")


def test_what_misses_the_renewal_is_on_the_one_after_it(used, swept):
    used.ends()
    used.passes(hours=3)
    assert used.on_schedule() == 1
    assert (used.billed(), len(used.waiting())) == ({}, 1)

    used.ends()
    used.closes()
    used.closes_late(swept)
    assert used.billed() == ON_THE_RENEWAL and used.waiting() == []
    used.settles()
    renewals = [each for each in used.stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]
    assert [each["amount_paid"] for each in renewals] == [1000, 1196]


def test_a_draft_that_is_finalized_while_it_is_billed_is_missed(used, moments):
    used.ends()
    used.passes(minutes=32)
    finalize = lambda: used.stripe.handle("POST", f"/v1/invoices/{used.draft().id}/finalize", {})  # noqa: E731
    moments.once("before post", finalize)
    used.on_schedule()
    assert (used.billed(), len(used.waiting())) == ({}, 1)

    used.ends()
    used.passes(minutes=32)
    used.closes_now(used.stated()[0].start)
    assert used.billed() == ON_THE_RENEWAL


def test_cancelled_now_it_is_charged_alone(used):
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    used.closes_now(used.waiting()[0])

    assert used.billed() == {key: (cents, "manual paid") for key, (cents, _) in ON_THE_RENEWAL.items()}
    (alone,) = [each for each in used.stripe.invoices.values() if each["billing_reason"] == "manual"]
    assert (alone["amount_paid"], used.waiting()) == (196, [])


def test_cancelled_with_its_period_it_is_charged_alone(used):
    used.cancels()
    used.ends()
    assert used.closes() == 1
    assert {where for _, where in used.billed().values()} == {"manual paid"}


def test_one_that_is_to_be_cancelled_pays_with_its_last_renewal(used):
    used.ends()
    used.cancels()
    used.closes()
    assert used.billed() == ON_THE_RENEWAL


def test_and_what_misses_that_is_charged_alone(used):
    used.ends()
    used.cancels()
    used.passes(hours=3)
    used.on_schedule()
    assert {where for _, where in used.billed().values()} == {"manual paid"}


def test_a_month_that_becomes_a_year_is_charged_alone(used):
    start = used.period()[0]
    used.changes("yearly")
    used.hears()
    assert used.waiting() == [start]
    used.passes(minutes=40)
    used.closes_now(start)
    assert {where for _, where in used.billed().values()} == {"manual paid"}


def test_while_collection_is_paused_it_is_charged_alone(used):
    """The invoices of a pause are void, and what was used before it is not."""
    assert used.api("POST", "/subscription/pause", {}).status == 200
    used.ends()
    used.closes()
    assert {where for _, where in used.billed().values()} == {"manual paid"}


def test_it_is_on_the_renewal_of_one_that_is_past_due(used):
    object.__setattr__(used.stripe._account.settings, "after_retries", "past_due")
    used.ends()
    used.closes()
    pays_with(used.stripe, used.id, "pm_card_chargeCustomerFail")
    used.settles()
    assert used.record().subscription.theirs.status == "past_due"
    used.uses("calls", 20)
    used.ends()
    used.closes()
    assert [used.stripe.invoices[each.billed]["status"] for each in used.stated("calls")] == ["open", "draft"]


def test_what_is_used_on_trial_is_stated_and_not_charged(ada):  # noqa: F811
    ada.cancels(immediately=True)
    ada.hears()
    ada.subscribes("free")
    assert ada.stripe.subscriptions[ada.id]["status"] == "trialing"
    ada.passes(days=2)
    ada.uses("calls", 300)
    ada.ends()
    ada.closes()
    (stated,) = [each for each in ada.stated("calls") if each.subscription == ada.id]
    assert (stated.quantity, stated.free, stated.amount_cents, stated.billed) == (300, True, 0, "nothing")
    assert ada.billed() == {}

    ada.settles()
    ada.uses("calls", 300)
    ada.ends()
    ada.closes()
    assert ada.billed() == {("calls", 0): (580, "cycle draft")}


def test_what_only_the_plan_before_had_is_billed_by_that(used):
    used.changes("other")
    used.hears()
    used.uses("calls", 1)
    used.ends()
    used.closes()
    told = {each.metric: (each.plan, each.quantity, each.amount_cents) for each in used.stated()}
    assert told == {"calls": ("other", 31, 93), "exports": ("metered", 11, 100), "tokens": ("metered", 14, 56)}


def test_nothing_used_is_stated_and_not_billed(ada):  # noqa: F811
    ada.ends()
    ada.closes()
    assert [(each.quantity, each.amount_cents, each.billed) for each in ada.stated()] == [(0, 0, "nothing")] * 3
    assert (ada.billed(), ada.waiting()) == ({}, [])


def test_without_a_price_for_usage_there_is_nothing_to_close(ada):  # noqa: F811
    ada.cancels(immediately=True)
    ada.hears()
    ada.passes(minutes=40)
    ada.on_schedule()
    ada.closes_now(ada.waiting()[0]) if ada.waiting() else None
    ada.subscribes("plain")
    ada.uses("views", 3)
    ada.ends()
    assert (arranged(), ada.waiting()) == ([], [])


# Arranging it


@pytest.fixture
def out_of_reach(moments):
    """EventBridge is, as long as that is among the moments."""

    def fail(now):
        if now == "before CreateSchedule":
            raise EndpointConnectionError(endpoint_url="aws")

    moments.append(fail)
    return fail


def test_when_nothing_can_be_arranged_the_sweep_sees_to_it_within_the_hour(used, swept, moments, out_of_reach):
    used.ends()
    moments.remove(out_of_reach)
    assert arranged() == [] and len(used.waiting()) == 1
    used.passes(minutes=15)
    swept()
    assert arranged() == []
    for _ in range(2):
        used.passes(minutes=15)
        swept()
        used.passes(minutes=1)
        used.on_schedule()
    assert used.billed() == ON_THE_RENEWAL


def test_a_sweep_that_can_arrange_nothing_says_what_waits(used, swept, counts, out_of_reach):  # noqa: F811
    used.ends()
    used.passes(hours=2)
    counts()
    swept()
    told = counts()
    assert (told["OldClosings"], told["SweepRan"]) == (1, 1)


def test_a_period_that_is_closed_is_no_old_one(used, swept, counts):  # noqa: F811
    used.ends()
    used.closes()
    used.passes(hours=2)
    counts()
    swept()
    assert counts()["OldClosings"] == 0


# Later


def test_what_comes_too_late_is_on_the_next_invoice(used, swept):
    used.ends()
    used.closes()
    used.settles()
    used.uses("calls", 5, at=used.period()[0] - 100)
    assert len(used.waiting()) == 1
    used.passes(minutes=40)
    swept()
    used.passes(minutes=1)
    assert used.on_schedule() == 1

    first, second = used.stated("calls")
    assert (second.quantity, second.amount_cents, second.before_cents, second.due_cents) == (35, 50, 40, 10)
    assert ("calls", 1) not in used.billed()
    used.ends()
    used.closes_late(swept)
    assert used.billed()["calls", 1] == (10, "cycle draft")
    assert used.stated("calls")[0] == first


def test_what_was_wrong_is_given_back_with_the_next_invoice(used, swept):
    key = used.uses("calls", 100)
    used.ends()
    used.closes()
    used.settles()
    start = used.stated()[0].start
    used.corrects(key)
    used.closes_now(start)
    assert used.billed() == {
        ("calls", 0): (240, "cycle paid"),
        ("exports", 0): (100, "cycle paid"),
        ("tokens", 0): (56, "cycle paid"),
    }
    used.ends()
    used.closes_late(swept)
    used.settles()
    assert used.billed()["calls", 1] == (-200, "cycle paid")


def test_every_correction_after_a_close_is_a_statement_of_its_own(used):
    key = used.uses("calls", 100)
    used.ends()
    used.closes()
    start = used.stated()[0].start
    for number, quantity in enumerate((50, 70, 70)):
        used.corrects(key if not number else f"fix-{number - 1}", by=f"fix-{number}", quantity=quantity)
        used.closes_now(start)
    stated = used.stated("calls")
    assert [(each.number, each.quantity, each.due_cents) for each in stated] == [
        (0, 130, 240),
        (1, 80, -100),
        (2, 100, 40),
        (3, 100, 0),
    ]
    assert stated[3].billed == "nothing"


def test_of_one_that_has_ended_it_is_given_to_the_balance_or_charged_alone(used):
    key = used.uses("calls", 100)
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    start = used.waiting()[0]
    used.closes_now(start)
    used.corrects(key)
    used.closes_now(start)
    assert used.billed()["calls", 1] == (-200, "balance")

    for metric, cents in (("exports", 50), ("calls", 40)):  # each is another invoice
        used.uses(metric, 20 if metric == "calls" else 10, at=start + 5)
        used.closes_now(start)
        assert used.billed()[metric, 2 if metric == "calls" else 1] == (cents, "manual paid")
    assert used.waiting() == []


def test_what_is_given_back_is_taken_off_what_is_charged_with_it(used):
    key = used.uses("calls", 100)
    used.cancels(immediately=True, unused_time="none")
    used.hears()
    used.passes(minutes=40)
    start = used.waiting()[0]
    used.closes_now(start)
    used.corrects(key)
    used.uses("exports", 100, at=start + 5)
    used.closes_now(start)

    alone = [each for each in used.stripe.invoices.values() if each["billing_reason"] == "manual"]
    assert [(each["total"], each["amount_paid"]) for each in alone] == [(396, 396), (500, 300)]


def test_an_event_between_the_look_and_the_statement_is_in_the_statement(used, moments):
    used.ends()
    used.passes(minutes=32)
    late = used.period()[0] - 7
    moments.once("before TransactWriteItems", lambda: used.uses("calls", 5, at=late))
    used.on_schedule()
    assert [(each.quantity, each.amount_cents) for each in used.stated("calls")] == [(35, 50)]


def test_one_after_the_statement_is_in_the_next(used, moments):
    used.ends()
    used.passes(minutes=32)
    late, start = used.period()[0] - 7, used.waiting()[0]
    moments.once("before post", lambda: used.uses("calls", 5, at=late))
    used.on_schedule()
    assert used.waiting() == [start]
    used.closes_now(start)
    assert [(each.quantity, each.due_cents) for each in used.stated("calls")] == [(30, 40), (35, 10)]
    assert (used.billed()["calls", 1], used.waiting()) == ((10, "cycle draft"), [])


def test_years_and_their_months_are_closed_like_months(ada):  # noqa: F811
    ada.cancels(immediately=True)
    ada.hears()
    ada.subscribes("yearly")
    for _ in range(3):
        ada.passes(days=100)
        ada.uses("calls", 30)
        ada.uses("tokens", 10)
    ada.ends()
    ada.closes()
    told = {each.metric: each.quantity for each in ada.stated() if each.subscription == ada.id}
    assert told == {"calls": 90, "exports": 0, "tokens": 30}


def test_a_total_that_was_split_before_the_plan_changed_is_counted_whole(ada):  # noqa: F811
    single = {"tokens": {**ada.api("GET", "/plans/metered").json["metrics"]["tokens"], "shards": 1}}
    body = {"name": "Single", "billing_interval": "month", "currency": "usd", "base_price_cents": 1000}
    body |= {"limits": {"max_tokens": None}, "metrics": single, "downgrades": "now"}
    assert ada.api("PUT", "/plans/single", body).status == 200
    for _ in range(12):
        ada.uses("tokens", 1)
    ada.changes("single")
    ada.hears()
    ada.uses("tokens", 1)
    ada.ends()
    ada.closes()
    assert [each.quantity for each in ada.stated("tokens")] == [13]


def late(ada, at, **said):  # noqa: F811
    return ada.uses("calls", 5, at=at, **said)


def test_what_comes_between_the_time_of_the_close_and_the_close_is_in_it(used):
    """Nobody has closed it yet: EventBridge is late, say, or Stripe out of reach."""
    start = used.period()[0]
    used.changes("yearly")
    used.hears()
    used.passes(hours=5)
    late(used, start + 60)
    used.closes_now(start)
    assert [(each.start, each.quantity) for each in used.stated("calls")] == [(start, 35)]


def test_of_two_periods_that_end_at_once_each_has_what_was_used_in_it(used):
    first = used.period()[0]
    used.changes("yearly")
    used.passes(minutes=5)
    second = used.period()[0]
    used.uses("calls", 20)
    used.passes(minutes=5)
    used.cancels(immediately=True, unused_time="none")
    used.passes(minutes=5)
    for start in (first, second):
        late(used, start + 60)
    used.hears()
    used.passes(hours=1)
    for start in (first, second):
        used.closes_now(start)
    assert [(each.start, each.quantity) for each in used.stated("calls")] == [(first, 35), (second, 25)]


def test_what_only_the_plan_before_had_may_come_late_too(used):
    start = used.period()[0]
    used.changes("other")
    used.cancels(immediately=True, unused_time="none")
    used.passes(minutes=5)
    used.uses("exports", 10, at=start + 60)
    used.passes(hours=1)
    used.closes_now(start)
    assert [each.quantity for each in used.stated("exports")] == [21]
    used.uses("exports", 10, at=start + 60)
    used.closes_now(start)
    assert used.billed()["exports", 1] == (50, "manual paid")


def test_a_late_event_of_one_that_has_ended_is_not_the_default_plans(used, monkeypatch):
    start = used.period()[0]
    used.cancels(immediately=True, unused_time="none")
    used.passes(hours=1)
    used.closes_now(start)
    monkeypatch.setenv("DEFAULT_PLAN", "plain")
    assert (
        used.api("PUT", "/plans/plain", PLANS["plain"] | {"metrics": {"calls": {"enforcement": "soft"}}}).status == 200
    )
    late(used, start + 60)
    late(used, used.now)
    used.closes_now(start)
    assert [(each.number, each.quantity) for each in used.stated("calls")] == [(0, 30), (1, 35)]


def test_what_is_used_between_two_subscriptions_is_of_neither(used):
    """Nothing gives access then; what is said late of the first is the first's."""
    start = used.period()[0]
    first = used.id
    used.cancels(immediately=True, unused_time="none")
    used.passes(hours=1)
    used.hears()
    used.closes_now(start)
    used.subscribes()
    used.passes(hours=1)
    late(used, start + 60)
    used.closes_now(start)
    used.ends()
    used.closes()
    told = [(each.subscription == first, each.number, each.quantity) for each in used.stated("calls")]
    assert told == [(True, 0, 30), (True, 1, 35), (False, 0, 0)]


def test_what_a_customer_owes_that_stripe_has_deleted_is_told_once_and_given_up(used, caplog):
    ask(used.stripe, "DELETE", f"/v1/customers/{used.customer()}")
    used.hears()
    used.passes(hours=1)
    start = used.waiting()[0]
    for _ in range(2):
        used.closes_now(start)
    assert {each.billed for each in used.stated()} == {"nobody"}
    told = [each for each in caplog.records if each.getMessage() == "usage_unbilled"]
    assert [vars(each)["cents"] for each in told] == [196] and used.waiting() == []


def test_what_was_used_while_a_change_was_made_is_of_the_period_that_it_ended(used, clock, moments):
    """Stripe takes two seconds; and it is told of a day later."""
    start = used.period()[0]
    moments.once("before post", lambda: clock.pass_by(seconds=2))
    used.changes("yearly")
    used.passes(days=1)
    used.uses("calls", 5, at=used.period()[0] - 1)
    used.closes_now(start)
    assert [(each.start, each.quantity) for each in used.stated("calls")] == [(start, 35)]
