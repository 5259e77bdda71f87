from dataclasses import replace

import pytest

from billing import usage
from billing.customers import Customer
from billing.entitlements import allowance, feature, metered, standing_of
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
