"""The operator's tools for what has failed and what differs: through the same door as those of the catalogue."""

import pytest

from billing import webhook_table
from billing.webhooks import envelope
from tests.catalogue.conftest import asked, command, send, told, tollgate, url, waited
from tests.functions.at_stripe import ask
from tests.functions.conftest import drain, hear, schedules

__all__ = ["asked", "command", "drain", "hear", "schedules", "send", "told", "tollgate", "url", "waited"]


@pytest.fixture
def seats(stripe):
    """seats(subscription, quantity): in Stripe's dashboard; answers the event that tells of it."""

    def change(subscription, quantity):
        known = set(stripe.events)
        item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
        ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})
        news = [each for id, each in stripe.events.items() if id not in known]
        return next(each for each in news if each["type"] == "customer.subscription.updated")

    return change


@pytest.fixture
def fails():
    """An event of Stripe's has failed, as often as it takes."""

    def give_up(event, why="it is rotten"):
        for _ in range(webhook_table.MOST_FAILURES):
            webhook_table.failed(envelope(event), why)
        return event["id"]

    return give_up
