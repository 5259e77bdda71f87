from dataclasses import replace

import pytest

from billing import usage
from billing.customers import Customer
from billing.entitlements import Earlier, Ended, allowance, feature, metered, standing_of
from billing.periods import Period
from billing.plans import Metric, Plan
from billing.subscriptions import DAY
from billing.theirs import Theirs
from billing.usage import Total, Unfit

START, END = 1_790_000_000, 1_792_592_000
METRICS = {"api_calls": Metric("max_api_calls"), "exports": Metric("max_exports", enforcement="soft")}
LIMITS = {"max_api_calls": 100, "max_exports": 5, "max_projects": 10, "max_teams": None, "max_robots": 0}
PRO = Plan("pro", 3, "Pro", "month", "usd", 1, grace_days=7, features=["sso"], limits=LIMITS, metrics=METRICS)
FREE = Plan("free", 2, "Free", "month", "usd", 0, metrics={"api_calls": Metric("max_api_calls")})
FREE = replace(FREE, limits={"max_api_calls": 10})
THEIRS = Theirs("sub_1", "cus_1", "si_1", "price_pro", 5, "usd", "active", START, START, START, END)
NOBODY = Customer("ada", START, START)
ADA = NOBODY.absorb(THEIRS, PRO, START).customer


def told(status, at=START):
    return ADA.absorb(replace(THEIRS, status=status), PRO, at).customer


def event(metric="api_calls", at=START):
    given = {"customer_id": "ada", "metric_id": metric, "quantity": 1, "idempotency_key": "k"}
    return usage.read(given, at)


def slot(standing, event, at=START, **known):
    slot, counted = standing.slot(event, at, **known)
    assert counted == event
    return slot


def refused(standing, event, at=START):
    with pytest.raises(Unfit) as unfit:
        standing.slot(event, at, ended=[])
    return unfit.value.reason


def test_a_plans_feature_is_allowed_and_another_is_not():
    standing = standing_of(ADA, PRO, FREE, START)

    assert feature(standing, "sso")["allowed"] is True
    assert (feature(standing, "audit")["allowed"], feature(standing, "audit")["reason"]) == (False, "not_in_plan")


def test_a_subscription_governs_while_it_gives_access_and_the_default_plan_stands_in_after():
    late = told("past_due")

    for customer, at, plan, reason in (
        (ADA, START, PRO, "active"),
        (told("trialing"), START, PRO, "trialing"),
        (late, START + 7 * DAY - 1, PRO, "grace"),
        (late, START + 7 * DAY, FREE, "past_due"),
        (told("canceled"), START, FREE, "canceled"),
        (told("unpaid"), START, FREE, "unpaid"),
        (told("dormant"), START, PRO, "active"),
        (NOBODY, START, FREE, "no_subscription"),
    ):
        standing = standing_of(customer, PRO, FREE, at)
        assert (standing.plan, standing.access, standing.reason) == (plan, True, reason)


def test_without_any_plan_nothing_is_allowed():
    standing = standing_of(NOBODY, None, None, START)

    assert (standing.access, standing.measures(), standing.measure("api_calls")) == (False, [], None)
    assert feature(standing, "sso")["allowed"] is False and feature(standing, "sso")["reason"] == "no_subscription"
    assert refused(standing, event()) == "no_access"


def test_terms_tell_every_version_and_verdict_apart():
    late = told("past_due")
    seen = {
        standing_of(customer, PRO, default, at).terms
        for customer in (NOBODY, ADA, late)
        for default in (FREE, replace(FREE, version=3), None)
        for at in (START, START + 8 * DAY)
    }

    assert seen == {"0:free:2", "0:free:3", "0:-:0", "1", "2", "2:free:2", "2:free:3", "2:-:0"}


def test_a_subscription_is_counted_by_its_own_periods_and_the_default_plan_by_calendar_months():
    own, default = (slot(standing_of(each, PRO, FREE, START), event()) for each in (ADA, NOBODY))

    assert own.period.start == START and (own.limit, own.hard) == (100, True)
    assert usage.span(default.period)["period_start"] == "2026-09-01T00:00:00Z" and default.limit == 10


def test_a_hard_limit_takes_only_the_current_period_and_a_soft_one_what_is_late():
    standing, at = standing_of(ADA, PRO, None, START), START + DAY

    assert refused(standing, event(at=START - 1), at) == "not_this_period"
    assert slot(standing, event("exports", START - 1), at, ended=[]).period.end == START


def test_of_a_lapsed_subscription_only_what_is_watched_goes_on_being_counted():
    standing = standing_of(told("unpaid"), PRO, None, START)

    assert refused(standing, event("api_calls")) == "no_access"
    assert not slot(standing, event("exports")).hard
    assert refused(standing_of(told("canceled"), PRO, None, START), event("exports")) == "no_access"


def test_a_metric_that_the_plan_does_not_have_is_not_counted():
    assert refused(standing_of(ADA, PRO, None, START), event("robots")) == "unknown_metric"


def test_a_metric_is_allowed_below_its_limit_and_a_soft_one_beyond_it():
    standing = standing_of(ADA, PRO, None, START)
    hard, soft = standing.measures()

    def told(measure, used):
        answer = allowance(measure, Total(used=used), START)
        return answer["allowed"], answer["reason"], answer["remaining"]

    assert (told(hard, 99), told(hard, 100)) == ((True, "within_limit", 1), (False, "limit_reached", 0))
    assert (told(soft, 4), told(soft, 7)) == ((True, "within_limit", 1), (True, "limit_reached", 0))


def test_a_limit_of_null_is_none_and_one_that_is_absent_is_zero():
    unlimited = replace(PRO, limits={"max_api_calls": None})
    absent = replace(PRO, limits={})

    def told(plan):
        answer = allowance(standing_of(ADA, plan, None, START).measures()[0], Total(used=10**9), START)
        return answer["allowed"], answer["limit"], answer["remaining"]

    assert (told(unlimited), told(absent)) == ((True, None, None), (False, 0, 0))


def test_a_limit_that_nothing_is_counted_against_is_told_for_the_product_to_compare():
    standing = standing_of(ADA, PRO, None, START)
    answers = [feature(standing, name) for name in ("max_projects", "max_teams", "max_robots")]

    assert [(answer["allowed"], answer["limit"]) for answer in answers] == [(True, 10), (True, None), (False, 0)]
    assert {answer["used"] for answer in answers} == {None}


def test_a_metric_is_found_by_its_own_name_and_by_that_of_its_limit():
    standing = standing_of(ADA, PRO, None, START)

    assert metered(standing, "api_calls") == metered(standing, "max_api_calls") == standing.measures()[0]
    assert metered(standing, "max_projects") is None


POLICIES = {late: Metric("max_teams", enforcement="soft", late=late) for late in ("adjust", "next_period", "reject")}
TOLD = replace(PRO, metrics=PRO.metrics | POLICIES | {"monthly": replace(POLICIES["reject"], reset="month")})
OVER = END + usage.WATERMARK  # the instant from which the period that ended at END is over for good


def renewed(anchor=START):
    """Ada's standing when her period has ended and the next has begun."""
    began = replace(THEIRS, anchor=anchor, current_period_start=END, current_period_end=END + 30 * DAY)
    return standing_of(ADA.absorb(began, TOLD, END).customer, TOLD, None, END)


def test_until_the_watermark_an_event_is_of_its_period_and_then_as_its_metric_says():
    standing, last = standing_of(ADA, TOLD, None, START), END - 1
    end = standing.measures()[0].period(last).end
    over = end + usage.WATERMARK

    for metric in POLICIES:
        assert slot(standing, event(metric, last), over - 1).period.end == end
    assert slot(standing, event("adjust", last), over).period.end == end
    assert refused(standing, event("reject", last), over) == "too_late"
    moved, counted = standing.slot(event("next_period", last), over)
    assert (moved.period.start, counted.at, counted.happened) == (end, over, last)
    assert slot(standing, event("monthly", START), over).period.end < over


def test_an_event_of_before_the_anchor_moved_needs_to_know_what_is_over():
    moved = renewed(anchor=END)
    moved = replace(moved, tariff=moved.tariff and moved.tariff._replace(since=END))

    with pytest.raises(Earlier):
        moved.slot(event("adjust", END - 1), OVER)
    over = [Ended(TOLD, Period(START, END - 100)), Ended(TOLD, Period(END - 100, END))]
    found = slot(moved, event("adjust", END - 1), OVER, ended=over)
    assert (found.period, found.closed) == (over[1].period, 0)
    known = {("adjust", over[0].period): 3, ("adjust", over[1].period): 2}
    assert slot(moved, event("adjust", END - 1), OVER, ended=over, closed=known).closed == 2
    assert slot(moved, event("adjust", END), OVER).closed == 0  # of what runs, nothing else needs to be known


def test_what_has_turned_out_to_be_closed_is_late_whatever_the_clock_says():
    standing = standing_of(ADA, TOLD, None, START)
    period = standing.measures()[0].period(START)
    known = {(metric, period): 2 for metric in POLICIES} | {("api_calls", period): 2}

    assert slot(standing, event("adjust"), closed=known).closed == 2
    with pytest.raises(Unfit, match="billed"):
        standing.slot(event("reject"), START, closed=known)
    with pytest.raises(Unfit) as unfit:
        standing.slot(event("api_calls"), START, closed=known)
    assert unfit.value.reason == "period_closed"


def test_of_a_period_that_has_just_ended_its_own_plan_tells_what_counts():
    older = replace(TOLD, version=2, metrics={"adjust": replace(POLICIES["adjust"], aggregation="max")})
    ending = Ended(older, Period(END - 100, END), OVER)
    standing = replace(renewed(), ending=ending)

    then, now = slot(standing, event("adjust", END - 1), END), slot(standing, event("adjust", END), END)
    assert (then.period, then.aggregation, now.aggregation) == (Period(END - 100, END), "max", "sum")
    assert slot(standing, event("adjust", END - 1), OVER + DAY).period == ending.period  # nobody has closed it


def test_on_a_test_clock_a_period_that_was_ended_ahead_of_time_ends_when_that_was_seen():
    seen = START + 5 * DAY
    ending = Ended(TOLD, Period(START, END), seen + usage.WATERMARK)

    assert ending.covers(event("adjust", seen + 60), seen + 60)
    assert ending.covers(event("adjust", seen - 60), seen + 2 * usage.WATERMARK)
    assert not ending.covers(event("adjust", seen + 60), seen + 2 * usage.WATERMARK)


def test_what_is_late_goes_where_the_total_was_closed_and_the_rest_into_any_shard():
    sharded = replace(TOLD, metrics={"adjust": replace(POLICIES["adjust"], shards=4)})
    standing = standing_of(ADA, sharded, None, START)
    end = standing.measures()[0].period(END - 1).end

    assert slot(standing, event("adjust", END - 1), END, lot=7).shard == 3
    assert slot(standing, event("adjust", END - 1), end + usage.WATERMARK, lot=7).shard == 0
