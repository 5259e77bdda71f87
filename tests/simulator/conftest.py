"""A simulator behind HTTP, the official library in front of it, and a customer whose time a test can move."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe

from local.stripe_simulator import Settings, Simulator, serve

START = 1_800_000_000  # 15 January 2027, 08:00 UTC
DAY = 86_400
KEY = "sk_test_simulator"


@dataclass
class World:
    simulator: Simulator
    port: int
    settings: Settings
    now: list[float] = field(default_factory=lambda: [float(START)])

    def __post_init__(self):
        self.base = f"http://127.0.0.1:{self.port}"
        self.client = stripe.StripeClient(KEY, base_addresses={"api": self.base})
        self.v1: Any = self.client.v1  # the tests also say what its types forbid

    def price(self, amount=1000, interval: str | None = "month", **params):
        product = self.v1.products.create({"name": params.pop("name", "Team")})
        flat = {} if "tiers" in params else {"unit_amount": amount}
        recurring = {"recurring": {"interval": interval}} if interval else {}
        return self.v1.prices.create({"product": product.id, "currency": "usd", **recurring, **flat, **params}).id

    def clock(self, at=START):
        return self.v1.test_helpers.test_clocks.create({"frozen_time": at}).id

    def customer(self, card="pm_card_visa", **params):
        paying = {"payment_method": card, "invoice_settings": {"default_payment_method": card}} if card else {}
        return self.v1.customers.create({"email": "ada@example.com", **paying, **params}).id

    def subscribe(self, customer, price, quantity=1, **params):
        items = [{"price": price, "quantity": quantity}]
        return self.v1.subscriptions.create({"customer": customer, "items": items, **params})

    def advance(self, clock, to):
        self.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": to})
        assert self.v1.test_helpers.test_clocks.retrieve(clock).status == "ready"

    def invoices(self, subscription):
        """Oldest first."""
        return self.v1.invoices.list({"subscription": subscription}).data[::-1]

    def told(self, prefix=""):
        """The types of all events so far, oldest first."""
        return [event["type"] for event in self.simulator.events.values() if event["type"].startswith(prefix)]


@pytest.fixture
def world(request):
    """Indirect parameters are the account's settings."""
    now, settings = [float(START)], getattr(request, "param", Settings())
    simulator = Simulator(now=lambda: now[0], api_key=KEY, settings=settings, webhook_delays=(0.02, 0.05))
    server = serve(simulator)
    yield World(simulator, server.server_port, settings, now)
    server.shutdown()
