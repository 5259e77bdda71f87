"""A preview is the invoice that the same change then makes: line by line, discounts, tax and what is due."""

from collections import Counter
from random import Random
from typing import Any

import pytest
import stripe

from local.stripe_simulator import Settings, Simulator
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
MONTH = 31 * DAY
HALF = START + MONTH // 2
NOW = {"proration_behavior": "always_invoice"}
TIERS = [{"up_to": 5, "flat_amount": 5003}, {"up_to": "inf", "unit_amount": 907}]
COUPONS: tuple[dict[str, Any], ...] = (
    {"percent_off": 33.33, "duration": "forever"},
    {"percent_off": 7.5, "duration": "once"},
    {"percent_off": 50, "duration": "repeating", "duration_in_months": 2},
    {"percent_off": 100, "duration": "once"},
    {"amount_off": 777, "currency": "usd", "duration": "forever"},
    {"amount_off": 1999, "currency": "usd", "duration": "once"},
    {"amount_off": 501, "currency": "usd", "duration": "repeating", "duration_in_months": 1},
)


class Subscriber:
    """A customer who changes at random, with all prices and coupons at hand; through the plain object."""

    def __init__(self, seed: int) -> None:
        self.random, self.now = Random(seed), START
        self.settings = Settings(tax_percent=self.random.choice((0, 19)), limits_invoices=False)
        self.simulator = Simulator(now=lambda: self.now, settings=self.settings)
        self.call("POST", "products", id="prod_1", name="Team")
        flat = [{"unit_amount": amount, "recurring": {"interval": "month"}} for amount in (999, 2500, 101)]
        flat.append({"unit_amount": 9990, "recurring": {"interval": "year"}})
        tiered = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS}
        prices = [*flat, tiered | {"recurring": {"interval": "month"}}]
        self.prices = [self.call("POST", "prices", currency="usd", product="prod_1", **terms)["id"] for terms in prices]
        self.coupons = [self.call("POST", "coupons", **terms)["id"] for terms in COUPONS]
        card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
        self.of = self.call("POST", "customers", address={"country": "DE"}, **card)["id"]

    def call(self, method: str, path: str, **params: Any) -> dict[str, Any]:
        status, body = self.simulator.handle(method, f"/v1/{path}", params)
        assert status == 200, body
        return body

    def some_discounts(self) -> list[dict[str, str]]:
        return [{"coupon": id} for id in self.random.sample(self.coupons, self.random.randint(1, 2))]

    def some_items(self) -> list[dict[str, Any]]:
        return [
            {"price": self.random.choice(self.prices), "quantity": self.random.randint(0, 12)}
            for _ in range(self.random.randint(1, 2))
        ]

    def subscribe(self) -> None:
        of_it: dict[str, Any] = {"automatic_tax": {"enabled": bool(self.settings.tax_percent)}}
        if self.random.random() < 0.6:
            of_it["discounts"] = self.some_discounts()
        items = self.some_items()
        preview = self.preview(customer=self.of, subscription_details={"items": items}, **of_it)
        made = self.call("POST", "subscriptions", customer=self.of, items=items, expand=["latest_invoice"], **of_it)
        self.id = made["id"]
        self.same(preview, made["latest_invoice"])

    def preview(self, **params: Any) -> dict[str, Any]:
        return self.call("POST", "invoices/create_preview", **params)

    def some_change(self) -> dict[str, Any]:
        """Of the first item; what it adds or removes, of the last."""
        items = self.simulator.subscriptions[self.id]["items"]["data"]
        said: dict[str, Any] = {"id": items[0]["id"], "quantity": self.random.randint(0, 12)}
        if self.random.random() < 0.5:
            said["price"] = self.random.choice(self.prices)
        wishes = [said]
        if len(items) > 1 and self.random.random() < 0.3:
            wishes.append({"id": items[-1]["id"], "deleted": True})
        elif len(items) < 3 and self.random.random() < 0.2:
            wishes.append({"price": self.random.choice(self.prices)})
        behaviors = ["always_invoice"] * 4 + ["create_prorations"] * 2 + ["none"]
        change: dict[str, Any] = {"items": wishes, "proration_behavior": self.random.choice(behaviors)}
        start = max(item["current_period_start"] for item in items)
        way = self.random.random()
        if way < 0.1:
            change["billing_cycle_anchor"] = {"type": "now"}
        elif way < 0.4 and start < self.now and change["proration_behavior"] != "none":
            change["proration_date"] = self.random.randint(start, self.now)
        return change

    def change(self) -> str:
        """Answers what was compared, if anything was."""
        change, discounts = self.some_change(), {}
        if self.random.random() < 0.4:
            discounts = {"discounts": self.random.choice([self.some_discounts(), ""])}
        preview = self.preview(subscription=self.id, subscription_details=change, **discounts)
        before = self.simulator.subscriptions[self.id]["latest_invoice"]
        drafted = any(invoice["status"] == "draft" for invoice in self.simulator.invoices.values())
        said = self.call("POST", f"subscriptions/{self.id}", **change, **discounts, expand=["latest_invoice"])
        if said["latest_invoice"]["id"] != before:
            self.same(preview, said["latest_invoice"])
            return "invoice"
        if drafted or self.random.random() < 0.5:  # a draft will still use the balance, and a coupon of once
            return ""
        self.now = preview["created"]
        self.simulator.tick()
        self.same(preview, self.latest())
        return "renewal"

    def latest(self) -> dict[str, Any]:
        id = self.simulator.subscriptions[self.id]["latest_invoice"]
        return self.call("GET", f"invoices/{id}")

    def wait(self) -> None:
        self.now += self.random.choice([0, 1, HOUR + 7, self.random.randint(1, 40 * DAY)])
        self.simulator.tick()

    def cancel(self) -> str:
        behavior = self.random.choice(["always_invoice", "create_prorations", "none"])
        details = {"cancel_now": True, "proration_behavior": behavior}
        status, preview = self.simulator.handle(
            "POST", "/v1/invoices/create_preview", {"subscription": self.id, "subscription_details": details}
        )
        before = self.latest()["id"]
        self.call("DELETE", f"subscriptions/{self.id}", invoice_now=True, prorate=behavior != "none")
        if status == 404:
            assert self.latest()["id"] == before
            return ""
        self.same(preview, self.latest())
        balance = self.simulator.customers[self.of]["balance"]
        self.now += HOUR
        self.simulator.tick()
        invoice = self.latest()
        assert invoice["ending_balance"] == preview["ending_balance"]
        assert invoice["total"] >= 0 or self.simulator.customers[self.of]["balance"] == balance
        return "cancellation"

    def same(self, preview: dict[str, Any], invoice: dict[str, Any]) -> None:
        names = ("subtotal", "total_excluding_tax", "total", "amount_due", "starting_balance", "currency")
        assert [preview[name] for name in names] == [invoice[name] for name in names]
        assert invoice["ending_balance"] in (None, preview["ending_balance"])
        assert [line_of(line) for line in self.lines(preview)] == [line_of(line) for line in self.lines(invoice)]
        for name in ("total_discount_amounts", "total_taxes"):
            assert [one["amount"] for one in preview[name]] == [one["amount"] for one in invoice[name]]
        assert preview["automatic_tax"] == invoice["automatic_tax"]
        assert consistent(invoice, self.lines(invoice))

    def lines(self, invoice: dict[str, Any]) -> list[dict[str, Any]]:
        return self.call("GET", f"invoices/{invoice['id']}/lines", limit=100)["data"]


def line_of(line: dict[str, Any]) -> tuple[Any, ...]:
    names = ("description", "amount", "quantity", "period", "discountable", "pricing")
    off = [share["amount"] for share in line["discount_amounts"]]
    return (*(line[name] for name in names), off, [(tax["amount"], tax["taxable_amount"]) for tax in line["taxes"]])


def consistent(invoice: dict[str, Any], lines: list[dict[str, Any]]) -> bool:
    amount = sum(line["amount"] for line in lines)
    off = sum(share["amount"] for line in lines for share in line["discount_amounts"])
    tax = sum(tax["amount"] for line in lines for tax in line["taxes"])
    return (invoice["subtotal"], invoice["total_excluding_tax"], invoice["total"]) == (
        amount,
        amount - off,
        amount - off + tax,
    )


@pytest.mark.parametrize("seeds", [range(first, first + 15) for first in range(0, 60, 15)], ids=str)
def test_a_preview_equals_the_invoice_that_the_change_makes(seeds):
    compared = Counter()
    for seed in seeds:
        subscriber = Subscriber(seed)
        subscriber.subscribe()
        for _ in range(8):
            subscriber.wait()
            compared[subscriber.change()] += 1
        subscriber.wait()
        compared[subscriber.cancel()] += 1
    assert compared["invoice"] > 40 and compared["renewal"] > 5 and compared["cancellation"] > 5


# One by one


@pytest.fixture
def subscribed(world):
    """On a clock, half a month in: 10 a month."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    made = world.subscribe(world.of, world.price(1000))
    world.advance(world.on, HALF)
    world.item, world.sub = made.items.data[0].id, made.id
    return world


def preview(world, details, **params):
    return world.v1.invoices.create_preview({"subscription": world.sub, "subscription_details": details, **params})


def amounts(invoice):
    return [line.amount for line in invoice.lines.data]


def coupon(world, **params):
    return {"coupon": world.v1.coupons.create(params).id}


def test_a_preview_with_a_discount_redeems_nothing(subscribed):
    half = coupon(subscribed, percent_off=50)
    before = subscribed.simulator.subscriptions[subscribed.sub], subscribed.told()
    said = preview(subscribed, NOW | {"items": [{"id": subscribed.item, "quantity": 2}]}, discounts=[half])
    assert amounts(said) == [-500, 500]
    assert (subscribed.simulator.subscriptions[subscribed.sub], subscribed.told()) == before
    assert subscribed.v1.coupons.retrieve(half["coupon"]).times_redeemed == 0


def test_a_preview_inherits_the_discounts_unless_it_clears_them(subscribed):
    subscribed.v1.subscriptions.update(
        subscribed.sub, {"discounts": [coupon(subscribed, percent_off=50, duration="forever")]}
    )
    assert [preview(subscribed, {}).total, preview(subscribed, {}, discounts="").total] == [500, 1000]


def test_a_preview_refuses_a_discount_that_cannot_be_redeemed(subscribed):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        preview(subscribed, {}, discounts=[{"coupon": "NONE"}])
    assert refused.value.http_status == 400


def test_without_prorations_a_preview_shows_the_renewal_at_the_new_price(subscribed):
    items = [{"id": subscribed.item, "quantity": 3}]
    assert amounts(preview(subscribed, {"items": items, "proration_behavior": "none"})) == [3000]
    assert amounts(preview(subscribed, {"items": items, "proration_behavior": "create_prorations"})) == [
        -500,
        1500,
        3000,
    ]
    assert amounts(preview(subscribed, {"items": items, "proration_behavior": "always_invoice"})) == [-500, 1500]


def test_recurring_shows_only_what_comes_again(subscribed):
    subscribed.v1.subscriptions.update(subscribed.sub, {"items": [{"id": subscribed.item, "quantity": 2}]})
    discounts = [
        coupon(subscribed, percent_off=10, duration="once"),
        coupon(subscribed, percent_off=50, duration="forever"),
    ]
    details = NOW | {"items": [{"id": subscribed.item, "quantity": 3}]}
    said = preview(subscribed, details, discounts=discounts, preview_mode="recurring")
    assert (amounts(said), said.total) == ([3000], 1500)
    assert (said.period_end, said.created) == (START + MONTH, START + MONTH)
    assert len(preview(subscribed, {}).lines.data) == 3


@pytest.mark.parametrize("behavior", ["always_invoice", "create_prorations"])
def test_cancelling_now_is_previewed_with_the_credit(subscribed, behavior):
    said = preview(subscribed, {"cancel_now": True, "proration_behavior": behavior})
    assert (amounts(said), said.total, said.amount_due) == ([-500], -500, 0)
    assert said.ending_balance == said.starting_balance == 0  # nobody gets it


def test_cancelling_now_without_proration_leaves_only_what_waits(subscribed):
    details = {"cancel_now": True, "proration_behavior": "none"}
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        preview(subscribed, details)
    assert (nothing.value.http_status, nothing.value.code) == (404, "invoice_upcoming_none")
    subscribed.v1.subscriptions.update(subscribed.sub, {"items": [{"id": subscribed.item, "quantity": 2}]})
    assert amounts(preview(subscribed, details)) == [-500, 1000]


@pytest.mark.parametrize("wrong", [{"cancel_at": START + MONTH}, {"cancel_now": True, "proration_date": START - 1}])
def test_what_a_preview_does_not_take_is_a_400(subscribed, wrong):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        preview(subscribed, wrong)
    assert refused.value.http_status == 400


def many_items(world, count):
    return [{"price": world.price(100 + number), "quantity": 1} for number in range(count)]


def test_an_invoice_shows_ten_lines_and_the_library_brings_the_rest(world):
    items = many_items(world, 13)
    params = {"customer": world.customer(), "items": items, "expand": ["latest_invoice.lines.data.subscription"]}
    invoice = world.v1.subscriptions.create(params).latest_invoice
    assert (len(invoice.lines.data), invoice.lines.has_more, invoice.total) == (10, True, sum(range(100, 113)))
    found = list(world.v1.invoices.retrieve(invoice.id).lines.auto_paging_iter())
    assert [line.amount for line in found] == list(range(100, 113))
    assert not world.v1.invoices.line_items.list(invoice.id, {"limit": 13}).has_more


def test_a_preview_shows_ten_lines_and_the_library_brings_the_rest(world):
    details = {"items": many_items(world, 23)}
    said = world.v1.invoices.create_preview({"customer": world.customer(), "subscription_details": details})
    assert (len(said.lines.data), said.lines.has_more, said.total) == (10, True, sum(range(100, 123)))
    assert [line.amount for line in said.lines.auto_paging_iter()] == list(range(100, 123))
    assert said.lines.data[0].invoice == said.id
    assert said.id not in world.simulator.invoices


def test_events_show_ten_lines_of_an_invoice_too(world):
    world.v1.subscriptions.create({"customer": world.customer(), "items": many_items(world, 11)})
    [made] = [event for event in world.simulator.events.values() if event["type"] == "invoice.created"]
    assert len(made["data"]["object"]["lines"]["data"]) == 10 and made["data"]["object"]["lines"]["has_more"]
