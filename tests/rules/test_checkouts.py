from dataclasses import replace

import pytest

from billing.checkouts import LIFE, SHORTEST, Checkout, Session
from billing.customers import Customer
from billing.errors import AlreadySubscribed, SeatsOutOfRange
from billing.holds import GOOD_FOR, PATIENCE, Change, Draft, Step, Wish, digest
from billing.plans import Plan
from billing.subscriptions import taken_up
from billing.theirs import Theirs

TEAM = Plan("team", 1, "Team", "month", "usd", 2000, max_seats=50, trial_days=14, price="price_team")
PRO = replace(TEAM, slug="pro", price="price_pro")
START, END = 1_790_000_000, 1_792_592_000
FIVE = Theirs("sub_1", "cus_1", "si_1", "price_team", 5, "usd", "active", START, START, START, END)
UNPAID = replace(FIVE, status="incomplete", open_invoice="in_1")
URLS = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
NEW = Customer("ada", START, START, version=3, stripe_id="cus_1")


def wished(ours, plan=TEAM, quantity=5, code=None, codes=False, urls=URLS):
    return ours.check_out(plan, quantity, code, codes, urls)


WISH, BUYING = wished(NEW) or Wish("none"), NEW.subscribe(TEAM, 5) or Wish("none")
OPEN = Session("cs_1", "open", START + LIFE, "mark", None, "https://checkout.stripe.com/c/pay/cs_1")
BROWSING = replace(NEW, checkout=Checkout("cs_1", digest(WISH), "price_team", 5, START + LIFE))


def having(theirs, ours=NEW):
    return replace(ours, subscription=taken_up(theirs, TEAM, START))


def held(ours):
    draft = Draft([Step("create_checkout", "cus_1")])
    return ours.hold(Change("c", "mark", "f", WISH, draft, held_at=START, sent_at=START), START).customer


def steps(ours, plan=TEAM, trial=False, taxed=False, promotion=None, **wish):
    wanted = wished(ours, plan, **wish)
    return ours.checkout_steps(plan, wanted, "mark", trial, taxed, START, promotion)


def calls(steps):
    return [step.call for step in steps]


def test_the_same_wish_is_the_page_that_is_open_and_any_other_is_not():
    assert wished(BROWSING) is None
    others = [{"plan": PRO}, {"quantity": 6}, {"code": "HALF"}, {"codes": True}]
    for other in [*others, {"urls": URLS | {"success_url": "https://app.example.com/"}}]:
        assert wished(BROWSING, **other) is not None


def test_whoever_has_a_subscription_opens_no_page_and_whoever_has_not_paid_it_does():
    for status in ("trialing", "active", "past_due", "unpaid", "paused", "dormant"):
        with pytest.raises(AlreadySubscribed):
            wished(having(replace(FIVE, status=status)))
    for status in ("incomplete", "incomplete_expired", "canceled"):
        assert wished(having(replace(FIVE, status=status))) is not None


def test_the_page_sells_no_more_seats_than_the_plan_has():
    with pytest.raises(SeatsOutOfRange):
        wished(NEW, quantity=51)


def test_what_another_subscription_could_be_bought_with_gives_way_first():
    assert calls(steps(NEW)) == ["create_checkout"]
    assert calls(steps(BROWSING, PRO)) == ["expire_checkout", "create_checkout"]
    assert calls(steps(having(UNPAID))) == ["void_invoice", "cancel_subscription", "create_checkout"]
    assert calls(BROWSING.subscribe_steps(TEAM, BUYING, "mark", False, False, False)) == [
        "expire_checkout",
        "create_subscription",
    ]


def test_what_was_never_paid_is_not_what_is_wished_while_it_could_be_paid_on_a_page_too():
    assert having(UNPAID).subscribe(TEAM, 5) is None
    assert having(UNPAID, BROWSING).subscribe(TEAM, 5) is not None
    assert having(FIVE, BROWSING).subscribe(TEAM, 5) is None


def test_what_is_bought_there_bears_the_mark_and_a_card_is_always_asked_for():
    (step,) = steps(NEW)
    params, mark = step.params, {"change_id": "mark", "customer": "ada"}

    assert (params["metadata"], params["subscription_data"]["metadata"]) == (mark, mark)
    assert params["line_items"] == [{"price": "price_team", "quantity": 5}]
    assert params["subscription_data"]["billing_mode"] == {"type": "flexible"}
    assert (params["mode"], params["payment_method_collection"]) == ("subscription", "always")
    assert params["expires_at"] == START + LIFE
    assert not params.keys() & {"discounts", "allow_promotion_codes", "automatic_tax"}
    assert "trial_period_days" not in params["subscription_data"]


def test_a_trial_codes_and_taxes_are_asked_for_where_there_are_any():
    (step,) = steps(NEW, trial=True, taxed=True, promotion="promo_1")
    data = step.params["subscription_data"]

    assert data["trial_period_days"] == 14
    assert data["trial_settings"] == {"end_behavior": {"missing_payment_method": "cancel"}}
    assert step.params["discounts"] == [{"promotion_code": "promo_1"}]
    assert step.params["automatic_tax"] == {"enabled": True}
    assert step.params["customer_update"] == {"address": "auto"}
    assert steps(NEW, codes=True)[0].params["allow_promotion_codes"] is True


def test_an_opening_is_settled_by_the_page_and_not_by_what_is_bought_there():
    holding = held(NEW)
    assert holding.absorb(replace(FIVE, change="mark"), TEAM, START).customer.pending == holding.pending
    opened = holding.opened(OPEN, TEAM, START)

    assert (opened.customer.pending, opened.customer.checkout) == (None, BROWSING.checkout)
    assert opened.settled.answer == {
        "id": "cs_1",
        "plan": "team",
        "seats": 5,
        "expires_at": "2026-09-21T15:14:10Z",
    }


def test_the_link_is_on_no_record_and_in_no_log():
    opened = held(NEW).opened(OPEN, TEAM, START)

    assert "checkout.stripe.com" not in repr(opened) + repr(OPEN)


def test_a_page_of_a_status_that_we_do_not_know_may_be_open():
    over = {status for status in ("open", "complete", "expired", "dormant") if replace(OPEN, status=status).over}

    assert over == {"complete", "expired"}


def test_an_opening_is_sent_only_as_long_as_stripe_would_open_a_page_for_the_rest_of_its_life():
    change = held(NEW).pending

    assert LIFE - GOOD_FOR == SHORTEST + PATIENCE  # what is sent in the last second has its way to go
    assert not change.expired(START + GOOD_FOR - 1) and change.expired(START + GOOD_FOR)


def test_the_page_is_off_the_record_once_a_subscription_is_made_in_its_place():
    draft = Draft([Step("expire_checkout", "cs_1"), Step("create_subscription", "cus_1")])
    holding = BROWSING.hold(Change("c", "mark", "f", BUYING, draft, START, START), START).customer

    assert holding.absorb(replace(FIVE, change="mark"), TEAM, START).customer.checkout is None
    assert holding.absorb(FIVE, TEAM, START).customer.checkout == BROWSING.checkout
