"""Every period of a subscription that has ended is closed once, whatever we have heard of it meanwhile."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.customers import Customer
from billing.periods import period_of
from billing.plans import Metric, Plan
from billing.rating import Rate
from billing.subscriptions import taken_up
from billing.theirs import Theirs
from billing.usage import WATERMARK

DAY, HOUR = 86_400, 3600
CALLS = Metric("max_api_calls", enforcement="soft", price=Rate("unit", unit_amount="2"))
PLAIN = Plan("plain", 1, "Plain", "month", "usd", 1000, price="price_plain")
PRO = replace(PLAIN, slug="pro", price="price_pro", metrics={"api_calls": CALLS})
MAX = replace(PRO, slug="max", price="price_max")
PLANS = {plan.price: plan for plan in (PLAIN, PRO, MAX)}


def instant(text):
    return int(datetime.fromisoformat(f"{text}T12:00:00+00:00").astimezone(UTC).timestamp())


START, SECOND, THIRD, FOURTH = map(instant, ("2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"))
NEW = Theirs("sub_1", "cus_1", "si_1", "price_pro", 5, "usd", "active", START, START, START, SECOND, interval="month")


def renewed(theirs, start, **said):
    end = period_of(start, said.get("anchor", theirs.anchor), said.get("interval", theirs.interval)).end
    return replace(theirs, current_period_start=start, current_period_end=end, **said)


@pytest.fixture
def life():
    """Stripe tells of the subscription, each time at some instant; answers what was closed each time."""

    def live(*told, first=NEW, at=START):
        ours = Customer("ada", START, START).absorb(first, PLANS.get(first.price), at).customer
        closed = []
        for theirs, at in told:
            revision = ours.absorb(theirs, PLANS.get(theirs.price), at)
            ours = revision.customer
            closed.append(list(revision.closings))
        return closed

    return live


def spans(closings):
    return [(each.start, each.end) for each in closings]


def test_a_renewal_closes_the_period_before_half_an_hour_after_its_end(life):
    ((closing,), again) = life((renewed(NEW, SECOND), SECOND + 5), (renewed(NEW, SECOND), SECOND + 9))

    assert (closing.subscription, closing.plan, closing.version) == ("sub_1", "pro", 1)
    assert (closing.start, closing.end, closing.due) == (START, SECOND, SECOND + WATERMARK)
    assert (closing.free, closing.had, closing.currency) == (False, [], "usd")
    assert again == []


def test_periods_of_which_nobody_has_heard_are_closed_each_by_itself(life):
    (closings,) = life((renewed(NEW, FOURTH), FOURTH + DAY))

    assert spans(closings) == [(START, SECOND), (SECOND, THIRD), (THIRD, FOURTH)]
    assert [each.due for each in closings] == [end + WATERMARK for end in (SECOND, THIRD, FOURTH)]


def test_a_period_that_ends_ahead_of_our_clock_is_due_half_an_hour_after_it_was_seen(life):
    ((closing,),) = life((renewed(NEW, SECOND), START + 5))
    assert closing.due == START + 5 + WATERMARK


def test_one_that_ends_while_it_is_changed_is_due_half_an_hour_after_its_end(life):
    """Stripe's instant is a moment after ours: of that moment, too, it takes what comes late."""
    moved = START + 9 * DAY
    ((closing,),) = life((renewed(NEW, moved, anchor=moved), moved - 2))
    assert closing.due == moved + WATERMARK


def test_without_a_priced_metric_nothing_is_closed(life):
    plain = replace(NEW, price="price_plain")
    assert life((renewed(plain, FOURTH), FOURTH), first=plain) == [[]]


def test_a_trial_is_free_and_what_follows_it_is_not(life):
    end = START + 14 * DAY
    on_trial = replace(NEW, status="trialing", anchor=end, current_period_end=end, trial_ends_at=end)
    paid = renewed(replace(on_trial, status="active"), end)
    first, second = life((paid, end), (renewed(paid, paid.current_period_end), SECOND + 20 * DAY), first=on_trial)

    assert [(each.end, each.free) for each in (*first, *second)] == [(end, True), (paid.current_period_end, False)]


def test_a_trial_that_ends_early_is_free_up_to_there(life):
    end, now = START + 14 * DAY, START + 3 * DAY
    on_trial = replace(NEW, status="trialing", anchor=end, current_period_end=end, trial_ends_at=end)
    paid = renewed(replace(on_trial, status="active"), now, anchor=now, trial_ends_at=now)
    ((closing,),) = life((paid, now), first=on_trial)

    assert (closing.end, closing.free) == (now, True)


def test_of_a_trial_that_nobody_saw_end_only_the_trial_is_free(life):
    end = START + 14 * DAY
    on_trial = replace(NEW, status="trialing", anchor=end, current_period_end=end, trial_ends_at=end)
    paid = renewed(replace(on_trial, status="active"), period_of(end, end, "month").end)
    (closings,) = life((paid, FOURTH), first=on_trial)

    assert [(each.end, each.free) for each in closings] == [(end, True), (paid.current_period_start, False)]


def test_one_that_was_never_paid_is_free_and_one_that_has_been_since_is_not(life):
    unpaid = replace(NEW, status="incomplete")
    expired = replace(unpaid, status="incomplete_expired", ended_at=START + 23 * HOUR)
    assert [each.free for each in life((expired, START + DAY), first=unpaid)[0]] == [True]
    assert [each.free for each in life((renewed(NEW, SECOND), SECOND), first=unpaid)[0]] == [False]


def test_a_cancelled_one_ends_when_stripe_says_it_has(life):
    ended = replace(NEW, status="canceled", ended_at=START + 9 * DAY)
    first, again = life((ended, START + 12 * DAY), (ended, SECOND + DAY))
    assert (spans(first), again) == ([(START, START + 9 * DAY)], [])


def test_one_that_was_cancelled_after_periods_of_which_nobody_has_heard(life):
    ended = replace(renewed(NEW, SECOND), status="canceled", ended_at=SECOND + 9 * DAY)
    (closings,) = life((ended, FOURTH))
    assert spans(closings) == [(START, SECOND), (SECOND, SECOND + 9 * DAY)]


def test_an_end_without_a_date_is_that_of_its_period_or_now(life):
    ended = replace(NEW, status="canceled")
    assert spans(life((ended, START + DAY))[0]) == [(START, START + DAY)]
    assert spans(life((ended, THIRD))[0]) == [(START, SECOND)]


def test_another_anchor_ends_the_period_and_the_next_are_counted_from_it(life):
    now = START + 9 * DAY
    moved = renewed(NEW, now, anchor=now)
    after = period_of(now, now, "month").end
    first, second = life((moved, now), (renewed(moved, after), after))
    assert (spans(first), spans(second)) == ([(START, now)], [(now, after)])


def test_before_another_anchor_all_is_counted_by_the_one_before(life):
    """What is used while nobody has heard of the new one is counted by the old."""
    now = SECOND + 9 * DAY
    (closings,) = life((renewed(NEW, now, anchor=now, interval="year"), FOURTH))
    assert spans(closings) == [(START, SECOND), (SECOND, now)]


def test_the_plan_is_the_one_in_force_at_the_end_and_those_before_are_told_once(life):
    as_max, as_pro = replace(NEW, price="price_max"), NEW
    *_, (closing,), (later,) = life(
        (as_max, START + 1), (as_pro, START + 2), (as_max, START + 3), (renewed(as_max, SECOND), SECOND),
        (renewed(as_max, THIRD), THIRD),
    )  # fmt: skip
    assert (closing.plan, closing.had) == ("max", [["pro", 1]])
    assert (later.plan, later.had) == ("max", [])


def test_a_plan_that_begins_with_a_period_has_no_part_in_the_one_before(life):
    changed = replace(renewed(NEW, SECOND), price="price_max")
    (first,), (second,) = life((changed, SECOND), (renewed(changed, THIRD), THIRD))
    assert [(each.plan, each.had) for each in (first, second)] == [("pro", []), ("max", [])]


def test_a_period_in_which_any_plan_had_a_price_for_usage_is_closed(life):
    plain = replace(NEW, price="price_plain")
    *_, (closing,), later = life((plain, START + DAY), (renewed(plain, SECOND), SECOND), (renewed(plain, THIRD), THIRD))
    assert (closing.plan, closing.had, later) == ("plain", [["pro", 1]], [])


def test_a_price_that_nobody_knows_leaves_the_plan_before_it(life):
    unknown = replace(NEW, price="price_unknown")
    *_, (closing,), later = life(
        (unknown, START + DAY), (renewed(unknown, SECOND), SECOND), (renewed(unknown, THIRD), THIRD)
    )
    assert (closing.plan, closing.version, closing.had, later) == ("pro", 1, [], [])


def test_a_record_of_before_there_were_closings_is_closed_from_its_current_period():
    theirs = renewed(NEW, SECOND)
    old = replace(taken_up(theirs, PRO, SECOND), metered_from=None, anchored_at=0, usage_priced=False)
    changed = old.follow(replace(theirs, price="price_max"), MAX, SECOND + DAY)
    (closing,) = changed.closed(changed.follow(renewed(changed.theirs, THIRD), MAX, THIRD), THIRD)
    assert (closing.start, closing.end, closing.plan, closing.had) == (SECOND, THIRD, "max", [["pro", 1]])


def test_one_met_for_the_first_time_is_closed_from_its_current_period(life):
    second = renewed(NEW, SECOND)
    ((closing,),) = life((renewed(NEW, THIRD), THIRD), first=second, at=SECOND + DAY)
    assert spans([closing]) == [(SECOND, THIRD)]


def test_a_record_that_names_no_interval_has_the_one_of_its_period(life):
    for interval, until in (("month", SECOND), ("year", instant("2027-01-31"))):
        nameless = replace(renewed(NEW, START, interval=interval), interval=None)
        ((closing,),) = life((replace(nameless, current_period_start=until), until), first=nameless)
        assert spans([closing]) == [(START, until)]


def test_the_last_period_that_ended_is_told_by_the_customer():
    ours = Customer("ada", START, START).absorb(NEW, PRO, START).customer
    after = ours.absorb(renewed(NEW, THIRD), PRO, THIRD).customer
    assert after.ending and (after.ending.start, after.ending.end) == (SECOND, THIRD)


@given(st.lists(st.tuples(st.sampled_from(["renewed", "unheard", "moved", "changed"]), st.integers(1, 40)), max_size=8))
def test_whatever_is_heard_each_second_is_closed_once(news):
    """From the beginning to where its current period began, without a gap."""
    ours, theirs, closed = Customer("ada", START, START).absorb(NEW, PRO, START).customer, NEW, []
    for kind, days in news:
        if kind == "moved":
            now = theirs.current_period_start + days * DAY
            theirs = renewed(theirs, now, anchor=now)
        elif kind == "changed":
            theirs = replace(theirs, price="price_max" if days % 2 else "price_pro")
        else:
            for _ in range(1 if kind == "renewed" else 1 + days % 4):
                theirs = renewed(theirs, theirs.current_period_end)
        revision = ours.absorb(theirs, PLANS[theirs.price], theirs.current_period_start)
        ours, closed = revision.customer, closed + list(revision.closings)

    edges = [START, *(each.end for each in closed)]
    assert [each.start for each in closed] == edges[:-1] and edges[-1] == theirs.current_period_start
