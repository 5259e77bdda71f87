"""Subscribing on a page of Stripe's: opened, answered again, expired, completed; and never two subscriptions of it."""

import pytest

from billing import customer_table, dynamodb
from billing.checkouts import LIFE
from billing.holds import GOOD_FOR, PATIENCE
from billing.periods import rfc3339

PAGE = {"success_url": "https://app.example.com/done?session={CHECKOUT_SESSION_ID}"}
PAGE |= {"cancel_url": "https://app.example.com/"}
ORDER = {"plan_slug": "team", "quantity": 5} | PAGE
CARD = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}


class Death(BaseException):
    """No handler of ours may catch it."""


def record(customer="ada"):
    return customer_table.find(customer, 0)


def live(stripe):
    return [each for each in stripe.subscriptions.values() if each["status"] not in ("canceled", "incomplete_expired")]


def paid(stripe):
    return [each["total"] for each in stripe.invoices.values() if each["status"] == "paid" and each["total"] > 0]


def sessions(stripe):
    return {id: each["status"] for id, each in stripe.checkout_sessions.items()}


@pytest.fixture
def page(api, plans, stripe):
    """The page on which Ada subscribes to five seats of the team plan."""
    answer = api("POST", "/checkout", ORDER)
    assert answer.status == 200, answer.json
    stripe.calls.clear()
    return answer.json


def test_a_page_is_answered_with_its_link_and_what_it_sells(page, stripe):
    (session,) = stripe.checkout_sessions.values()

    assert page["id"] == session["id"] and page["url"] == session["url"]
    assert (page["plan"], page["seats"], page["status"]) == ("team", 5, "open")
    assert LIFE - 5 <= session["expires_at"] - session["created"] <= LIFE
    assert page["expires_at"] == rfc3339(session["expires_at"])
    assert (session["success_url"], session["cancel_url"]) == (PAGE["success_url"], PAGE["cancel_url"])
    assert not stripe.subscriptions


def test_the_link_is_on_no_record_and_in_no_log(api, plans, stripe, hear, caplog):
    url = api("POST", "/checkout", ORDER, key="k").json["url"]
    api("POST", "/checkout", ORDER, key="k")
    stripe.complete_checkout(api("POST", "/checkout", ORDER).json["id"])
    hear()
    items = [dynamodb.db().scan(TableName=table)["Items"] for table in ("Subscriptions", "WebhookEvents")]

    assert url.startswith("https://checkout.stripe.com/") and len(items[0]) > 3 and len(caplog.records) > 5
    assert "checkout.stripe.com" not in repr(items) + repr([vars(each) for each in caplog.records])


def test_the_same_wish_is_the_same_page_and_stripe_is_asked_for_its_link_anew(api, page, stripe, said):
    assert api("POST", "/checkout", ORDER).json == page
    assert not said("POST") and sessions(stripe) == {page["id"]: "open"}


def test_the_same_key_is_the_same_page_and_another_wish_under_it_is_refused(api, plans, stripe):
    first, again = (api("POST", "/checkout", ORDER, key="k") for _ in range(2))
    other = api("POST", "/checkout", ORDER | {"quantity": 6}, key="k")

    assert first.json == again.json and len(stripe.checkout_sessions) == 1
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize(
    "other",
    [{"plan_slug": "pro"}, {"quantity": 6}, {"allow_promotion_codes": True}, {"cancel_url": "https://localhost/"}],
    ids=lambda other: next(iter(other)),
)
def test_another_wish_expires_the_page_before_another_one_is_opened(api, page, stripe, other):
    answer = api("POST", "/checkout", ORDER | other)

    assert answer.status == 200 and answer.json["id"] != page["id"]
    assert sessions(stripe) == {page["id"]: "expired", answer.json["id"]: "open"}
    assert record().checkout.id == answer.json["id"]


def test_what_is_bought_there_is_the_subscription_when_we_hear_of_it(api, page, stripe, hear):
    bought = stripe.complete_checkout(page["id"])
    assert not hear()
    told = api("GET", "/subscription").json

    assert (told["id"], told["status"], told["access"], told["seats"]) == (bought, "active", True, 5)
    assert (record().checkout, paid(stripe)) == (None, [6000])


def test_in_whatever_order_and_however_often_the_events_come(api, page, stripe, hear):
    bought = stripe.complete_checkout(page["id"])
    news = dict(reversed([(id, stripe.events[id]) for id in stripe.events]))
    for events in (news, dict(reversed(news.items()))):
        stripe.events = events
        hear()
    told = api("GET", "/subscription").json

    assert (told["id"], told["status"], record().checkout) == (bought, "active", None)


def test_what_was_bought_there_a_moment_ago_is_known_before_any_event_tells_of_it(api, page, stripe):
    bought = stripe.complete_checkout(page["id"])
    same, other = api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}), api("POST", "/checkout", ORDER)

    assert (same.status, same.json["id"]) == (200, bought)
    assert (other.status, other.json["code"]) == (409, "already_subscribed")
    assert (len(live(stripe)), paid(stripe), record().checkout) == (1, [6000], None)


def test_a_change_right_after_the_purchase_finds_what_was_bought(api, page, stripe):
    stripe.complete_checkout(page["id"])
    answer = api("PUT", "/subscription/seats", {"quantity": 6})

    assert (answer.status, answer.json["seats"]) == (200, 6)


def test_whoever_is_subscribed_opens_no_page(api, subscribed, stripe):
    answer = api("POST", "/checkout", ORDER)

    assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
    assert not stripe.checkout_sessions


def test_whoever_subscribes_elsewhere_expires_the_page_first(api, page, stripe):
    answer = api("POST", "/subscription", CARD)

    assert (answer.status, answer.json["status"]) == (200, "active")
    assert (sessions(stripe), record().checkout) == ({page["id"]: "expired"}, None)
    assert len(live(stripe)) == 1


def test_what_was_never_paid_gives_way_to_the_page(api, plans, stripe, hear):
    first = api("POST", "/subscription", {"plan_slug": "pro"}).json
    opened = api("POST", "/checkout", ORDER).json

    assert "payment" not in opened
    assert stripe.subscriptions[first["id"]]["status"] in ("canceled", "incomplete_expired")
    bought = stripe.complete_checkout(opened["id"])
    assert api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).json["id"] == bought
    hear()
    assert (api("GET", "/subscription").json["id"], paid(stripe)) == (bought, [6000])


def test_what_was_never_paid_and_is_paid_after_all_is_not_doubled_by_a_page(api, plans, stripe):
    first = api("POST", "/subscription", {"plan_slug": "pro"}).json["id"]
    theirs = stripe.subscriptions[first]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": theirs["customer"]})
    stripe.handle("POST", f"/v1/invoices/{theirs['latest_invoice']}/pay", {"payment_method": card["id"]})
    answer = api("POST", "/checkout", ORDER)

    assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
    assert not stripe.checkout_sessions


def test_what_lives_beside_one_that_has_ended_a_moment_ago_is_not_doubled_by_a_page(api, plans, stripe):
    """Made and cancelled in Stripe's dashboard, and we have heard of neither."""
    first = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    theirs = stripe.subscriptions[first]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": theirs["customer"]})
    price = {"customer": theirs["customer"], "items": {"0": {"price": theirs["items"]["data"][0]["price"]["id"]}}}
    _, other = stripe.handle("POST", "/v1/subscriptions", price | {"default_payment_method": card["id"]})
    stripe.handle("DELETE", f"/v1/subscriptions/{first}")

    for wish in (("/checkout", ORDER), ("/subscription", CARD)):
        answer = api("POST", *wish)
        assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
    assert [each["id"] for each in live(stripe)] == [other["id"]] and not stripe.checkout_sessions


def test_a_page_that_nobody_came_to_is_no_hold(api, page, stripe, hear, clock):
    clock.pass_by(seconds=LIFE + 1)
    again = api("POST", "/checkout", ORDER).json

    assert (again["status"], again["id"] != page["id"]) == ("open", True)
    assert sessions(stripe) == {page["id"]: "expired", again["id"]: "open"}
    clock.pass_by(seconds=LIFE + 1)
    stripe.tick()
    assert not hear() and record().checkout is None


def test_a_session_that_is_over_is_answered_under_its_key_without_a_link(api, plans, stripe, clock):
    first = api("POST", "/checkout", ORDER, key="k").json
    clock.pass_by(seconds=LIFE + 1)
    again = api("POST", "/checkout", ORDER, key="k").json

    assert again == first | {"status": "expired", "url": None}


@pytest.mark.parametrize("moment", ["before post", "after post"])
def test_completed_at_the_moment_at_which_another_is_bought_there_is_one(api, page, stripe, moments, moment):
    """At every post of the subscribing, before it and after it: Stripe's word decides who was first."""
    for number in range(1, 9):
        customer, heard = f"customer-{moment}-{number}", []
        session = api("POST", "/checkout", ORDER, customer=customer).json["id"]

        def complete(now, session=session, heard=heard, number=number):
            heard.append(now)
            if now == moment and heard.count(moment) == number and sessions(stripe)[session] == "open":
                stripe.complete_checkout(session)

        moments.append(complete)
        answer = api("POST", "/subscription", CARD, customer=customer)
        moments.remove(complete)

        theirs = record(customer).stripe_id
        mine = [each for each in live(stripe) if each["customer"] == theirs]
        assert len(mine) == 1 and record(customer).pending is None
        if sessions(stripe)[session] == "complete":
            assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
            assert record(customer).subscription.theirs.id == mine[0]["id"]
        else:
            assert (answer.status, answer.json["id"]) == (200, mine[0]["id"])
        if heard.count(moment) < number:
            return
    pytest.fail("subscribing says less than that")


def test_completed_at_the_moment_at_which_another_page_is_opened_there_is_one(api, page, stripe, moments):
    moments.once("before post", lambda: stripe.complete_checkout(page["id"]))
    answer = api("POST", "/checkout", ORDER | {"plan_slug": "pro"})

    assert (answer.status, answer.json["code"]) == (409, "already_subscribed")
    assert (sessions(stripe), len(live(stripe))) == ({page["id"]: "complete"}, 1)


def test_an_opening_whose_maker_died_is_sent_again_while_stripe_would_open_it(api, plans, stripe, moments, clock):
    def die():
        raise Death

    for ago, opened in ((PATIENCE, 1), (GOOD_FOR, 1)):  # later a page would be open for less than Stripe allows
        customer = f"customer-{ago}"
        api("PUT", "/customer", {}, customer=customer)
        moments.once("before post", die)
        with pytest.raises(Death):
            api("POST", "/checkout", ORDER, customer=customer)
        held = record(customer).pending
        clock.pass_by(seconds=ago)
        answer = api("POST", "/checkout", ORDER, customer=customer)
        mine = [each for each in stripe.checkout_sessions.values() if each["customer"] == record(customer).stripe_id]
        assert (answer.status, answer.json["status"], len(mine)) == (200, "open", opened)
        assert (mine[0]["metadata"]["change_id"] == held.mark) is (ago == PATIENCE)


def test_a_trial_begins_on_the_page_once_and_asks_for_a_card(api, plans, stripe, hear):
    api("PUT", "/plans/trial", TRIAL)
    order = {"plan_slug": "trial"} | PAGE
    bought = stripe.complete_checkout(api("POST", "/checkout", order).json["id"])
    hear()
    told = api("GET", "/subscription").json
    assert (told["status"], told["access"], paid(stripe)) == ("trialing", True, [])
    assert stripe.subscriptions[bought]["default_payment_method"]

    api("POST", "/subscription/cancel", {"immediately": True})
    again = stripe.complete_checkout(api("POST", "/checkout", order).json["id"])
    assert (stripe.subscriptions[again]["status"], paid(stripe)) == ("active", [3000])


def test_a_promotion_code_is_on_the_page_or_may_be_typed_there(api, plans, stripe):
    _, coupon = stripe.handle("POST", "/v1/coupons", {"percent_off": "50", "duration": "once"})
    promotion = {"promotion": {"type": "coupon", "coupon": coupon["id"]}, "code": "HALF"}
    assert stripe.handle("POST", "/v1/promotion_codes", promotion)[0] == 200

    given = api("POST", "/checkout", ORDER | {"promotion_code": "HALF"}, customer="ada").json
    typed = api("POST", "/checkout", ORDER | {"allow_promotion_codes": True}, customer="bob").json
    stripe.complete_checkout(given["id"])
    stripe.complete_checkout(typed["id"], promotion_code="HALF")
    assert paid(stripe) == [3000, 3000]

    unknown = api("POST", "/checkout", ORDER | {"promotion_code": "NOPE"}, customer="eve")
    both = api("POST", "/checkout", ORDER | {"promotion_code": "HALF", "allow_promotion_codes": True}, customer="eve")
    assert (unknown.status, unknown.json["code"], both.status) == (422, "no_such_promotion", 400)


def test_taxes_are_computed_by_the_address_that_is_given_there(api, plans, stripe, monkeypatch):
    monkeypatch.setenv("STRIPE_TAX", "true")
    opened = api("POST", "/checkout", ORDER)
    bought = stripe.complete_checkout(opened.json["id"])

    assert stripe.subscriptions[bought]["automatic_tax"]["enabled"] is True


@pytest.mark.parametrize("name", ["success_url", "cancel_url"])
def test_the_page_leads_back_to_no_other_host(api, plans, stripe, name):
    answer = api("POST", "/checkout", ORDER | {name: "https://app.example.com.evil.io/"})

    assert (answer.status, answer.json["code"]) == (422, "return_url_refused")
    assert not stripe.calls or not stripe.checkout_sessions
    assert record().version == 0


@pytest.mark.parametrize("body", [{}, {"plan_slug": "team"}, ORDER | {"quantity": 0}, ORDER | {"customer": "bob"}])
def test_what_is_no_order_is_refused(api, plans, body):
    assert api("POST", "/checkout", body).status == 400


def test_the_backend_opens_it_for_a_customer(api, plans, stripe):
    opened = api("POST", "/customers/bob/checkout", ORDER, claims={"scope": "billing/service"})

    assert (opened.status, record("bob").checkout.id) == (200, opened.json["id"])


def test_an_event_of_an_older_page_does_not_close_the_newer_one(api, page, stripe, hear):
    newer = api("POST", "/checkout", ORDER | {"quantity": 6}).json
    hear()

    assert record().checkout.id == newer["id"]


def test_a_customer_that_stripe_has_deleted_has_no_page(api, page, stripe, hear):
    stripe.handle("DELETE", f"/v1/customers/{record().stripe_id}")
    hear()

    assert (record().checkout, record().stripe_id) == (None, None)
    assert api("POST", "/checkout", ORDER).json["status"] == "open"


# What is no card: Stripe leaves the `card` out of such a payment method (docs: PaymentMethod)


def becomes_link(stripe):
    """As Stripe tells of what is paid with Link, which its page offers unless the dashboard turns it off."""
    for said in stripe._account.tables["payment_method"].values():
        said.pop("card", None)
        said |= {"type": "link", "link": {"email": "ada@example.com"}}


def test_what_is_paid_on_the_page_by_link_gives_access(api, plans, stripe, hear):
    session = api("POST", "/checkout", ORDER).json["id"]
    bought = stripe.complete_checkout(session)
    becomes_link(stripe)
    for _ in range(6):
        hear()

    told = api("GET", "/subscription")
    assert told.status == 200, f"paid for {bought}, and {told.json}"
    assert (told.json["id"], told.json["access"]) == (bought, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/subscription/seats", {"quantity": 6}),
        ("POST", "/subscription/cancel", {}),
        ("POST", "/portal", {"return_url": "https://localhost/"}),
        ("POST", "/subscription", {"plan_slug": "team", "quantity": 5}),
    ],
)
def test_whoever_has_put_link_on_file_in_the_portal_can_do_what_others_can(api, subscribed, stripe, method, path, body):
    becomes_link(stripe)

    assert api(method, path, body).status == 200


def test_whoever_has_link_on_file_subscribes(api, plans, stripe):
    api("POST", "/subscription", CARD)
    api("POST", "/subscription/cancel", {"immediately": True})
    becomes_link(stripe)

    assert api("POST", "/subscription", {"plan_slug": "team", "quantity": 5}).status == 200
    assert customer_table.find("ada", 0).pending is None


def test_an_opening_that_is_sent_again_late_still_fits_into_stripes_half_hour(api, plans, stripe, moments, clock):
    """The last second in which a hold may be sent again is not the last in which Stripe opens it: there is the way."""
    api("PUT", "/customer", {})

    def die():
        raise Death

    moments.once("before post", die)
    with pytest.raises(Death):
        api("POST", "/checkout", ORDER)
    clock.pass_by(seconds=GOOD_FOR - 5)
    moments.once("before post", lambda: clock.pass_by(seconds=10))
    answer = api("POST", "/checkout", ORDER)

    assert answer.status == 200, answer.json
