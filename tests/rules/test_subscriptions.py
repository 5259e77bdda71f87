from dataclasses import replace

import pytest

from billing.errors import NotChangeable, NothingToResume, OtherCurrency, SeatsOutOfRange
from billing.holds import Wish
from billing.plans import Plan
from billing.subscriptions import DAY, taken_up
from billing.theirs import STATUSES, Awaited, Theirs

TEAM = Plan("team", 1, "Team", "month", "usd", 2000, max_seats=50, grace_days=7, price="price_team")
PRO = replace(TEAM, slug="pro", price="price_pro")
START, END = 1_790_000_000, 1_792_592_000
FIVE = Theirs("sub_1", "cus_1", "si_1", "price_team", 5, "usd", "active", START, START, START, END)
ADA = taken_up(FIVE, TEAM, START)


def told(status, at=START, before=ADA):
    return before.follow(replace(before.theirs, status=status), TEAM, at)


def test_trialing_and_active_give_access_and_nothing_else_does_but_past_due_in_its_grace():
    access = {status: told(status).access(TEAM, START)[0] for status in STATUSES}

    assert {status for status, open in access.items() if open} == {"trialing", "active", "past_due"}


def test_grace_begins_with_the_first_failure_and_ends_without_anyone_writing():
    late = told("past_due", at=START, before=told("past_due"))

    assert late.past_due_since == START
    assert late.access(TEAM, START + 7 * DAY - 1) == (True, "grace")
    assert late.access(TEAM, START + 7 * DAY) == (False, "past_due")
    assert told("active", before=late).past_due_since is None


def test_an_unknown_status_has_the_access_of_the_last_known_one_and_allows_no_change():
    dormant = told("dormant")

    assert (dormant.access(TEAM, START), told("dormant", before=told("unpaid")).access(TEAM, START)[0]) == (
        (True, "active"),
        False,
    )
    for change in (
        lambda: dormant.change(TEAM, TEAM, 8, None),
        lambda: dormant.cancel(False, "none"),
        lambda: dormant.resume(),
    ):
        with pytest.raises(NotChangeable):
            change()


def test_a_subscription_that_never_had_a_known_status_has_no_access():
    assert taken_up(replace(FIVE, status="dormant"), TEAM, START).access(TEAM, START) == (False, "unknown_status")


def test_a_price_that_is_not_of_the_catalogue_gives_no_access():
    assert taken_up(FIVE, None, START).access(None, START) == (False, "unknown_plan")


def test_a_wish_is_absolute_and_what_is_true_already_is_no_wish():
    assert ADA.change(TEAM, TEAM, 8, None) == Wish("change", {"price": "price_team", "quantity": 8, "effective": "now"})
    assert ADA.change(TEAM, PRO, 5, None) == Wish("change", {"price": "price_pro", "quantity": 5, "effective": "now"})
    assert ADA.change(TEAM, TEAM, 5, None) is None


def test_what_waits_for_its_payment_is_no_new_wish_and_what_it_replaces_is_one():
    waiting = replace(ADA, theirs=replace(FIVE, awaited=Awaited("c", "price_team", 8, "in_1", END)))

    assert waiting.change(TEAM, TEAM, 8, None) is None
    assert waiting.change(TEAM, TEAM, 5, None) == Wish("withdraw", {"invoice": "in_1"})
    assert waiting.change(TEAM, TEAM, 9, None).action == "change"
    assert [step.call for step in waiting.change_steps("d", {}, True)] == ["void_invoice", "update_subscription"]


def test_refusals():
    for refusal, change in (
        (SeatsOutOfRange, lambda: ADA.change(TEAM, TEAM, 51, None)),
        (OtherCurrency, lambda: ADA.change(TEAM, replace(PRO, currency="eur"), 5, None)),
        (NotChangeable, lambda: told("past_due").change(TEAM, TEAM, 6, None)),
        (NothingToResume, lambda: ADA.resume()),
    ):
        with pytest.raises(refusal):
            change()


def test_only_what_costs_money_waits_for_its_payment():
    behaviour = [
        ADA.change_steps("c", ADA.repricing("price_team", 8, START, False), collect)[-1].params.get("payment_behavior")
        for collect in (True, False)
    ]
    assert behaviour == ["pending_if_incomplete", None]


@pytest.mark.parametrize(("at", "pinned"), [(START - 9, START), (START + 9, START + 9), (END + 9, END - 1)])
def test_the_instant_of_a_change_lies_within_the_period(at, pinned):
    assert ADA.repricing("price_team", 8, at, False)["proration_date"] == pinned


def test_a_change_of_interval_starts_a_new_period_and_names_no_date():
    assert ADA.repricing("price_year", 5, START, True) == {
        "items": [{"id": "si_1", "price": "price_year", "quantity": 5}],
        "billing_cycle_anchor": {"type": "now"},
    }


def test_what_the_portal_has_scheduled_is_cancelling_too_and_resumed_in_its_own_way():
    by_portal = replace(ADA, theirs=replace(FIVE, cancel_at=END))
    by_us = replace(ADA, theirs=replace(FIVE, cancel_at_period_end=True))

    assert by_portal.public(TEAM, START)["cancel_at_period_end"] and by_portal.cancel(False, "none") is None
    assert by_portal.resume_steps("c", False)[-1].params == {"cancel_at": "", "metadata": {"change_id": "c"}}
    assert by_us.resume_steps("c", False)[-1].params == {"cancel_at_period_end": False, "metadata": {"change_id": "c"}}


def test_eight_invoices_a_minute_and_fifteen_a_day_are_the_most():
    minute, day = ADA, ADA
    for second in range(8):
        assert minute.may_invoice(START + second)
        minute = minute.invoiced(START + second)
    for hour in range(15):
        assert day.may_invoice(START + hour * 3600)
        day = day.invoiced(START + hour * 3600)

    assert not minute.may_invoice(START + 8) and minute.may_invoice(START + 70)
    assert not day.may_invoice(START + 15 * 3600) and day.may_invoice(START + DAY)
    assert len(day.invoiced(START + 3 * DAY).invoiced_at) == 1


def test_hearing_the_same_again_changes_nothing():
    assert ADA.follow(replace(FIVE, client_secret="x"), TEAM, START + 5) == ADA
