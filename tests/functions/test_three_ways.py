"""A thousand random changes, three ways: our own formula, Stripe's preview, and the invoice that Stripe then makes."""

from calendar import timegm
from random import Random
from types import SimpleNamespace

import pytest

from billing import gateway, steps
from billing.currencies import chargeable
from billing.holds import Change, Draft, Wish
from billing.plans import Plan
from billing.proration import discounted, prorate
from billing.subscriptions import taken_up

SEED, CHANGES = 20_261_123, 1000
PARTS = 4  # so that they may run beside each other
CURRENCIES = ("usd", "eur", "jpy", "kwd", "isk")


@pytest.fixture
def wire(stripe):
    """What the simulator answers to a call that must not fail."""

    def call(path, **params):
        status, answer = stripe.handle("POST", path, params)
        assert status == 200, answer
        return answer

    return call


def some_plan(random, currency, slug):
    unit = chargeable(currency)
    base, seat = (random.choice((0, 1, 99, 1000, random.randrange(200_000))) * unit for _ in range(2))
    return Plan(slug, 1, slug, "month", currency, base, seat, random.randrange(6), max_seats=None)


def some_discount(random, currency):
    return random.choice(
        (
            {},
            {},
            {"percent_off": random.choice(("10", "12.5", "33.33", "50", "99.99"))},
            {"amount_off": random.randrange(1, 3000) * chargeable(currency), "currency": currency},
        )
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_they_agree(stripe, wire, part):
    print(f"seed {SEED}, part {part}")
    random = Random(SEED + part)
    invoiced = credited = 0
    for number in range(CHANGES // PARTS):
        case = some_change(random, wire, f"{part}-{number}")
        if not case:
            continue
        net, shown = compare(stripe, random, case)
        assert sum(shown) == net
        invoiced, credited = invoiced + (net > 0), credited + (net < 0)
    assert min(invoiced, credited) > CHANGES // PARTS // 4, "the cases are one-sided"


def some_change(random, wire, name):
    """A subscription in the middle of its first period, and where it is to go."""
    currency = random.choice(CURRENCIES)
    old, new = some_plan(random, currency, f"old-{name}"), some_plan(random, currency, f"new-{name}")
    seats, target = random.randrange(1, 60), random.randrange(1, 60)
    new = random.choice((old, new))
    began = timegm((2027, random.randrange(1, 13), random.choice((1, 15, 28, random.randrange(1, 29))), 0, 0, 0))
    began += random.randrange(86_400)
    clock = wire("/v1/test_helpers/test_clocks", frozen_time=str(began))["id"]
    customer = wire("/v1/customers", test_clock=clock, payment_method="pm_card_visa")["id"]
    method = wire("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    wire(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": method})
    discount = some_discount(random, currency)
    said = {"discounts": [{"coupon": wire("/v1/coupons", duration="forever", **discount)["id"]}]} if discount else {}
    prices = {plan.slug: gateway.publish(plan) for plan in {old.slug: old, new.slug: new}.values()}
    items = [{"price": prices[old.slug], "quantity": str(seats)}]
    made = wire("/v1/subscriptions", customer=customer, items=items, **said)
    item = made["items"]["data"][0]
    start, end = item["current_period_start"], item["current_period_end"]
    at = random.choice((start, end - 1, random.randrange(start, end), random.randrange(start, end)))
    if at > began:
        wire(f"/v1/test_helpers/test_clocks/{clock}/advance", frozen_time=str(at))
    theirs = gateway.subscription(made["id"])
    if (theirs.price, theirs.quantity) == (prices[new.slug], target):
        return None
    return SimpleNamespace(
        theirs=theirs, old=old, new=new, seats=seats, target=target, at=at, price=prices[new.slug], discount=discount
    )


def compare(stripe, random, case):
    theirs, discount = case.theirs, case.discount
    subscription = taken_up(theirs, case.old, case.at)
    repricing = subscription.repricing(case.price, case.target, case.at, resets=False)
    preview = gateway.preview(theirs, case.at, [], proration_behavior="always_invoice", **repricing).proration
    off = discount.get("percent_off"), discount.get("amount_off")
    totals = (discounted(case.old.total(case.seats), *off), discounted(case.new.total(case.target), *off))
    formula = prorate(*totals, theirs.current_period_start, theirs.current_period_end, case.at)
    context = (case.theirs.id, case.at, discount, totals)
    for ours, stripes in zip(formula, preview.lines, strict=True):
        assert abs(ours.amount_cents - stripes.amount_cents) <= 1, context

    before = set(stripe.invoices)
    collect = preview.net_cents > 0
    draft = Draft(subscription.change_steps("mark", repricing, collect))
    steps.take(Change(f"{theirs.id}", theirs.id, "f", Wish("change"), draft, case.at, case.at))
    made = [stripe.invoices[id] for id in stripe.invoices if id not in before]
    waiting = [
        each for each in stripe.invoice_items.values() if each["customer"] == theirs.customer and not each["invoice"]
    ]
    assert (len(made), bool(waiting)) == ((1, False) if collect else (0, True)), context
    shown = [line["amount"] for line in made[0]["lines"]["data"]] if collect else [each["amount"] for each in waiting]
    assert shown == [line.amount_cents for line in preview.lines], context
    if collect:
        assert made[0]["total"] == preview.total_cents, context
    return preview.net_cents, shown
