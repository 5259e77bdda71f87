"""Automatic tax: one exclusive rate, line by line, after discounts."""

from decimal import Decimal

import pytest
import stripe

from local.stripe_simulator import Settings
from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
HALF = START + 31 * DAY // 2
NOW = {"proration_behavior": "always_invoice"}
TAXED = {"automatic_tax": {"enabled": True}}
AT_19 = pytest.mark.parametrize("world", [Settings(tax_percent=19)], indirect=True)


def located(world, **params):
    return world.customer(address={"country": "DE"}, **params)


def taxes(invoice):
    return [[tax.amount for tax in line.taxes] for line in invoice.lines.data]


@AT_19
def test_tax_is_put_on_every_line_after_its_discounts(world):
    coupon = {"coupon": world.v1.coupons.create({"percent_off": 10}).id}
    made = world.v1.subscriptions.create(
        {
            "customer": located(world),
            "items": [{"price": world.price(999)}, {"price": world.price(2500)}],
            "discounts": [coupon],
            "expand": ["latest_invoice"],
            **TAXED,
        }
    )
    invoice = made.latest_invoice
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (3499, 3149, 3149 + 171 + 427)
    assert taxes(invoice) == [[171], [427]]  # (999 - 100) x 19% = 170.81, (2500 - 250) x 19% = 427.5: a tie goes down
    total = invoice.total_taxes[0]
    assert (total.amount, total.taxable_amount, total.tax_behavior) == (598, 3149, "exclusive")
    assert (invoice.automatic_tax.enabled, invoice.automatic_tax.status) == (True, "complete")
    assert invoice.amount_paid == invoice.total and made.automatic_tax.enabled


@AT_19
def test_prorations_are_taxed_and_credits_give_the_tax_back(world):
    on = world.clock()
    made = world.subscribe(located(world, test_clock=on), world.price(1000), **TAXED)
    world.advance(on, HALF)
    details = {"items": [{"id": made.items.data[0].id, "quantity": 3}]}
    preview = world.v1.invoices.create_preview({"subscription": made.id, "subscription_details": NOW | details})
    said = world.v1.subscriptions.update(made.id, NOW | details | {"expand": ["latest_invoice"]}).latest_invoice
    assert taxes(preview) == taxes(said) == [[-95], [285]]
    assert preview.total == said.total == 1000 + 190
    world.advance(on, START + 31 * DAY + HOUR)
    assert world.invoices(made.id)[-1].total == 3570


@AT_19
def test_without_the_setting_nothing_is_taxed(world):
    made = world.subscribe(located(world), world.price(1000), expand=["latest_invoice"])
    assert (made.latest_invoice.total, made.latest_invoice.total_taxes) == (1000, [])
    assert made.latest_invoice.automatic_tax.status is None
    params = {"subscription": made.id, **TAXED}
    assert world.v1.invoices.create_preview(params).total == 1190
    assert world.v1.subscriptions.update(made.id, TAXED).automatic_tax.enabled
    assert world.v1.invoices.create_preview({"subscription": made.id}).total == 1190
    assert (
        world.v1.invoices.create_preview({"subscription": made.id, "automatic_tax": {"enabled": False}}).total == 1000
    )


@AT_19
def test_a_customer_without_a_country_cannot_be_taxed(world):
    nowhere = world.customer(address={"city": "Berlin"})
    plain = world.subscribe(nowhere, world.price())
    items = [{"price": world.price()}]
    for call, params in (
        (world.v1.subscriptions.create, {"customer": nowhere, "items": items}),
        (world.v1.invoices.create_preview, {"customer": nowhere, "subscription_details": {"items": items}}),
        (world.v1.invoices.create_preview, {"subscription": plain.id}),
        (lambda params: world.v1.subscriptions.update(plain.id, params), {}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            call(params | TAXED)
        assert (refused.value.http_status, refused.value.code) == (400, "customer_tax_location_invalid")
    assert len(world.simulator.subscriptions) == 1
    assert not world.simulator.subscriptions[plain.id]["automatic_tax"]["enabled"]


@AT_19
def test_an_invoice_says_when_the_address_was_lost(world):
    on = world.clock()
    customer = located(world, test_clock=on)
    made = world.subscribe(customer, world.price(1000), **TAXED)
    world.v1.customers.update(customer, {"address": ""})
    world.advance(on, START + 31 * DAY)
    draft = world.invoices(made.id)[-1]
    assert (draft.automatic_tax.status, draft.total) == ("requires_location_inputs", 1000)


@pytest.mark.parametrize("world", [Settings(tax_percent=Decimal("7.7"))], indirect=True)
@pytest.mark.parametrize(
    ("exempt", "amount", "reason"),
    [("none", 77, "standard_rated"), ("exempt", 0, "customer_exempt"), ("reverse", 0, "reverse_charge")],
)
def test_who_is_exempt_pays_none_and_the_invoice_says_why(world, exempt, amount, reason):
    made = world.subscribe(located(world, tax_exempt=exempt), world.price(1000), expand=["latest_invoice"], **TAXED)
    tax = made.latest_invoice.total_taxes[0]
    assert (tax.amount, tax.taxability_reason, made.latest_invoice.total) == (amount, reason, 1000 + amount)


def test_without_a_rate_tax_is_nothing(world):
    made = world.subscribe(located(world), world.price(1000), expand=["latest_invoice"], **TAXED)
    assert made.latest_invoice.total == 1000 and taxes(made.latest_invoice) == [[0]]
