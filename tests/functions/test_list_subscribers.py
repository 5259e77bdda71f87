"""Who is on a version of a plan, as Stripe has it."""

from typing import Any

import pytest

from billing import gateway

DEARER = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2500}


@pytest.fixture
def on(api):
    return lambda version, slug="team", asked="": api("GET", f"/plans/{slug}/versions/{version}/subscriptions{asked}")


@pytest.fixture
def buy(api, plans):
    def subscribe(customer, slug="team", card="pm_card_visa", **order):
        order |= {"plan_slug": slug, "payment_method": card}
        return api("POST", "/subscription", order, customer=customer).json["id"]

    return subscribe


def test_whoever_bought_a_version_is_on_it_the_newest_first(api, buy, on):
    first, second = buy("ada"), buy("bob", quantity=3)
    buy("eve", slug="pro")
    api("PUT", "/plans/team", DEARER)
    third = buy("kim")

    answer = on(1)
    assert (answer.status, answer.json["next"]) == (200, None)
    assert answer.json["subscriptions"] == [
        {"customer": "bob", "subscription": second, "status": "active", "seats": 3},
        {"customer": "ada", "subscription": first, "status": "active", "seats": 1},
    ]
    assert [each["subscription"] for each in on(2).json["subscriptions"]] == [third]


def test_what_is_cancelled_or_was_never_paid_is_not_listed(api, buy, on):
    buy("ada")
    buy("bob")
    assert api("POST", "/subscription", {"plan_slug": "team"}, customer="eve").json["status"] == "incomplete"
    assert api("POST", "/subscription/cancel", {"immediately": True}).status == 200

    assert [each["customer"] for each in on(1).json["subscriptions"]] == ["bob"]


def test_what_is_of_no_customer_of_ours_is_not_listed(buy, on, stripe):
    buy("ada")
    theirs = stripe.subscriptions[buy("bob")]
    stranger = gateway.client().v1.customers.create({"payment_method": "pm_card_visa"})
    item = {"price": theirs["items"]["data"][0]["price"]["id"], "quantity": 1}
    order: Any = {"customer": stranger.id, "items": [item], "trial_period_days": 7}
    gateway.client().v1.subscriptions.create(order)

    assert [each["customer"] for each in on(1).json["subscriptions"]] == ["bob", "ada"]


def test_pages_follow_each_other_until_there_are_no_more(buy, on, stripe):
    first = stripe.subscriptions[buy("ada")]
    item = {"price": first["items"]["data"][0]["price"]["id"], "quantity": 1}
    more: Any = {"customer": first["customer"], "items": [item], "trial_period_days": 7}
    ids = [first["id"], *(gateway.client().v1.subscriptions.create(more).id for _ in range(100))]

    newest = on(1).json
    oldest = on(1, asked=f"?cursor={newest['next']}").json
    assert [len(newest["subscriptions"]), len(oldest["subscriptions"])] == [100, 1]
    assert [each["subscription"] for page in (newest, oldest) for each in page["subscriptions"]] == ids[::-1]
    assert oldest["next"] is None


@pytest.mark.parametrize("wrong", ["2", "0", "-1", "one", "1.0"])
def test_a_version_that_was_never_sold_is_not_found(plans, on, wrong):
    assert on(wrong).status == 404
    assert on(1, slug="nosuch").status == 404


def test_a_cursor_is_all_that_may_be_asked(plans, on):
    assert (on(1, asked="?limit=5").status, on(1, asked="?limit=5").json["fields"][0]["field"]) == (400, "limit")
    assert on(1, asked="?cursor=sub_gone").status == 404


def test_a_version_of_many_digits_is_not_found(api, plans):
    assert api("GET", f"/plans/team/versions/{'9' * 5000}/subscriptions").status == 404
