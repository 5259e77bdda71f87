from dataclasses import replace

import pytest

from billing.customers import Customer
from billing.errors import AlreadySubscribed, ChangeInFlight
from billing.holds import GOOD_FOR, PATIENCE, Change, Draft, Step, Wish, digest
from billing.plans import Plan
from billing.subscriptions import taken_up
from billing.theirs import Theirs

TEAM = Plan("team", 1, "Team", "month", "usd", 2000, max_seats=50, trial_days=14, price="price_team")
START, END = 1_790_000_000, 1_792_592_000
FIVE = Theirs("sub_1", "cus_1", "si_1", "price_team", 5, "usd", "active", START, START, START, END)
ADA = Customer("ada", START, START, version=3, stripe_id="cus_1", subscription=taken_up(FIVE, TEAM, START), terms=1)
EIGHT = Wish("change", {"price": "price_team", "quantity": 8})


def seats(change_id="c", at=START, follow=()):
    draft = Draft([Step("update_subscription", "sub_1", {})], follow=follow, invoices=True)
    return Change(change_id, f"mark-{change_id}", "f", EIGHT, draft, held_at=at, sent_at=at)


HELD = ADA.hold(seats(), START).customer
PENDING = HELD.pending or seats()


def test_what_stripe_does_not_show_stays_held_and_what_it_shows_is_settled_with_its_answer():
    assert HELD.absorb(replace(FIVE, status="past_due"), TEAM, START).customer.pending == HELD.pending
    shown = HELD.absorb(replace(FIVE, quantity=8, change="mark-c"), TEAM, START)

    assert (shown.customer.pending, shown.settled.id, shown.settled.answer["seats"]) == (None, "c", 8)


def test_what_follows_a_change_settles_it_not_before_it_is_done():
    held = ADA.hold(seats(follow=[Step("credit_note", "in_1")]), START).customer
    shown = replace(FIVE, quantity=8, change="mark-c")

    assert held.absorb(shown, TEAM, START).customer.pending == held.pending
    assert held.absorb(shown, TEAM, START, done=True).customer.pending is None


def test_a_hold_turns_others_away_until_it_is_released_and_the_next_is_a_new_attempt():
    with pytest.raises(ChangeInFlight):
        HELD.hold(seats("d", START + PATIENCE), START + PATIENCE)
    next_one = HELD.release(PENDING, START).customer.hold(seats("d", START + PATIENCE), START + PATIENCE).customer

    assert (next_one.pending.id, next_one.pending.attempt, next_one.attempt) == ("d", 1, 1)
    assert HELD.overdue(START + PATIENCE) and not HELD.overdue(START + PATIENCE - 1)
    assert HELD.pending.expired(START + GOOD_FOR) and not HELD.pending.expired(START + GOOD_FOR - 1)


def test_a_released_hold_comes_back_under_new_keys():
    released = HELD.release(PENDING, START).customer
    again = released.hold(seats(), START).customer

    assert (released.pending, again.pending.key("", 0) == HELD.pending.key("", 0)) == (None, False)
    assert not released.release(PENDING, START).moved
    assert not again.release(PENDING, START).moved  # an older attempt's failure is not the newer one's


def test_a_failure_without_a_trace_is_counted_on_the_hold_it_is_of():
    once = HELD.doubt(PENDING, START).customer

    assert once.pending and once.pending.failures == 1
    assert not HELD.doubt(replace(PENDING, attempt=1), START).moved


def test_one_live_subscription_and_the_same_wish_again_is_no_wish():
    assert ADA.subscribe(TEAM, 5, None) is None
    with pytest.raises(AlreadySubscribed):
        ADA.subscribe(TEAM, 6, None)


def test_one_that_was_never_paid_does_not_fill_the_slot():
    unpaid = replace(ADA, subscription=taken_up(replace(FIVE, status="incomplete"), TEAM, START))
    other = unpaid.subscribe(TEAM, 6, None)
    assert other

    assert unpaid.subscribe(TEAM, 5, None) is None
    steps = unpaid.subscribe_steps(TEAM, other, "c", False, False, False)
    assert [step.call for step in steps] == ["cancel_subscription", "create_subscription"]


def test_an_ended_one_is_put_aside_by_the_next_and_never_comes_back():
    ended = replace(ADA, subscription=taken_up(replace(FIVE, status="canceled"), TEAM, START))
    new = replace(FIVE, id="sub_2", created=START + 9)
    after = ended.absorb(new, TEAM, START + 9)

    assert (after.customer.subscription.theirs.id, [old.theirs.id for old in after.aside]) == ("sub_2", ["sub_1"])
    late = after.customer.absorb(replace(FIVE, status="canceled"), TEAM, START + 10)
    assert late.customer.subscription.theirs.id == "sub_2"


def test_a_second_live_one_made_elsewhere_stands_aside():
    second = ADA.absorb(replace(FIVE, id="sub_2", created=START + 9), TEAM, START)

    assert (second.customer.subscription, [each.theirs.id for each in second.aside]) == (ADA.subscription, ["sub_2"])


def test_terms_move_with_what_limits_depend_on_and_with_nothing_else():
    assert ADA.absorb(replace(FIVE, quantity=9), TEAM, START).customer.terms == ADA.terms
    assert ADA.absorb(replace(FIVE, status="unpaid"), TEAM, START).customer.terms == ADA.terms + 1
    assert ADA.absorb(FIVE, replace(TEAM, version=2), START).customer.terms == ADA.terms + 1


def test_hearing_the_same_again_writes_nothing():
    assert not ADA.absorb(FIVE, TEAM, START + 5).moved


def test_what_a_subscription_is_made_with():
    wish = Wish("subscribe", {"price": "price_team", "quantity": 1, "payment_method": None, "code": "HALF"})
    new = Customer("bob", START, START, stripe_id="cus_2")
    (made,) = new.subscribe_steps(TEAM, wish, "c", False, trial=True, taxed=True, promotion="promo_1")
    (plain,) = new.subscribe_steps(TEAM, wish, "c", False, trial=False, taxed=False)

    assert made.params["trial_period_days"] == 14
    assert made.params["trial_settings"] == {"end_behavior": {"missing_payment_method": "cancel"}}
    assert (made.params["automatic_tax"], made.params["discounts"]) == (
        {"enabled": True},
        [{"promotion_code": "promo_1"}],
    )
    assert not plain.params.keys() & {"trial_period_days", "automatic_tax", "discounts"}
    assert ADA.absorb(replace(FIVE, trial_ends_at=END), TEAM, START).customer.trialed


def test_two_customers_may_send_the_same_key():
    assert digest("ada", "k") != digest("bob", "k")
