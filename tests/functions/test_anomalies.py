"""What nobody here decides alone is told to the operator: an ERROR line that counts as an anomaly."""

import pytest

from tests.functions.at_stripe import ask, hear


@pytest.fixture
def anomalies(caplog):
    """The codes, each with the subscription that it is about."""
    return lambda: [
        (record.msg, vars(record)["subscription"]) for record in caplog.records if vars(record).get("Anomalies") == 1
    ]


def test_what_is_as_it_is_to_be_is_no_anomaly(subscribed, stripe, clock, anomalies):
    hear(stripe, subscribed["id"], clock)

    assert anomalies() == []


def test_a_second_live_subscription_of_a_customer(subscribed, stripe, clock, anomalies):
    first = stripe.subscriptions[subscribed["id"]]
    items = [{"price": first["items"]["data"][0]["price"]["id"]}]
    second = ask(stripe, "POST", "/v1/subscriptions", customer=first["customer"], items=items)
    hear(stripe, second["id"], clock)

    assert anomalies() == [("second_subscription", second["id"])]


def test_a_price_that_is_no_plan(api, subscribed, stripe, clock, anomalies):
    ours = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]
    month = {"interval": "month"}
    foreign = ask(
        stripe, "POST", "/v1/prices", currency="usd", unit_amount="1", recurring=month, product_data={"name": "X"}
    )
    items = [{"id": ours["id"], "price": foreign["id"]}]
    ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", items=items)
    hear(stripe, subscribed["id"], clock)

    assert anomalies() == [("unknown_plan", subscribed["id"])]
    assert api("GET", "/subscription").json["access"] is False


def test_a_status_that_nobody_knows(api, subscribed, stripe, clock, anomalies):
    stripe._account.tables["subscription"][subscribed["id"]]["status"] = "dormant"  # Stripe has never said this
    hear(stripe, subscribed["id"], clock)

    assert anomalies() == [("unknown_status", subscribed["id"])]
    assert api("GET", "/subscription").json["access"] is True  # as of the last known one
