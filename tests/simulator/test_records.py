"""Customers, catalogue, invoices by hand, and lists."""

import pytest
import stripe

from local.stripe_simulator.errors import Refused

START = 1_800_000_000
DAY = 86_400


def test_a_customer_is_made_changed_found_and_deleted(world):
    v1 = world.v1
    made = v1.customers.create(
        {
            "email": "ada@example.com",
            "name": "Ada",
            "phone": "1",
            "address": {"city": "Berlin", "country": "DE"},
            "preferred_locales": ["de"],
            "metadata": {"tenant_id": "ada", "x": "1"},
            "tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}],
        }
    )
    assert (made.address.city, made.preferred_locales, made.balance) == ("Berlin", ["de"], 0)
    changed = v1.customers.update(made.id, {"name": "", "metadata": {"x": "", "y": "2"}, "balance": -300})
    assert (changed.name, changed.metadata.to_dict(), changed.balance) == (None, {"tenant_id": "ada", "y": "2"}, -300)
    assert v1.customers.list({"email": "ada@example.com"}).data[0].id == made.id
    assert not v1.customers.list({"email": "eve@example.com"}).data
    assert (
        v1.customers.search({"query": "metadata['tenant_id']:'ada' AND email:'ada@example.com'"}).data[0].id == made.id
    )
    assert not v1.customers.search({"query": "metadata['tenant_id']:'eve'"}).data
    v1.customers.update(made.id, {"metadata": {"of": "O'Neil \\ Sons"}})
    assert v1.customers.search({"query": "metadata['of']:'O\\'Neil \\\\ Sons'"}).data[0].id == made.id
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.search({"query": "metadata['of']:'O'Neil'"})
    tax_id = v1.customers.tax_ids.list(made.id).data[0]
    v1.customers.tax_ids.delete(made.id, tax_id.id)
    assert not v1.customers.tax_ids.list(made.id).data
    event = next(one for one in world.simulator.events.values() if one["type"] == "customer.updated")
    assert event["data"]["previous_attributes"] == {"name": "Ada", "metadata": {"x": "1", "y": None}, "balance": 0}


def test_a_deleted_customer_says_so_and_its_subscriptions_are_cancelled(world):
    customer = world.customer()
    made = world.subscribe(customer, world.price())
    assert world.v1.customers.delete(customer).deleted
    assert world.v1.customers.retrieve(customer).to_dict() == {"id": customer, "object": "customer", "deleted": True}
    assert world.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert world.told("customer.deleted") and world.told("customer.subscription.deleted")
    shown = world.v1.subscriptions.retrieve(made.id, {"expand": ["customer"]}).customer
    assert shown.to_dict() == world.simulator.customers[customer]
    for call in (world.v1.customers.update, world.v1.customers.delete):
        with pytest.raises(stripe.InvalidRequestError):
            call(customer)


def test_a_card_is_attached_once_and_for_all_and_can_be_detached(world):
    customer, other = world.customer(card=None), world.customer(card=None)
    card = world.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    assert world.v1.payment_methods.attach(card.id, {"customer": customer}).id == card.id
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.payment_methods.attach(card.id, {"customer": other})
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.customers.update(other, {"invoice_settings": {"default_payment_method": card.id}})
    world.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": "pm_card_visa"}})
    assert world.v1.customers.retrieve(customer).invoice_settings.default_payment_method == card.id
    assert (
        card.card.fingerprint == world.v1.payment_methods.attach("pm_card_visa", {"customer": other}).card.fingerprint
    )
    assert world.v1.payment_methods.detach(card.id).customer is None
    assert world.v1.customers.retrieve(customer).invoice_settings.default_payment_method is None
    assert not world.v1.payment_methods.list({"customer": customer}).data


def test_a_product_takes_the_id_it_is_given_once(world):
    world.v1.products.create({"id": "plan_team", "name": "Team"})
    with pytest.raises(stripe.InvalidRequestError) as again:
        world.v1.products.create({"id": "plan_team", "name": "Team"})
    assert again.value.code == "resource_already_exists"
    assert world.v1.products.update("plan_team", {"active": False, "metadata": {"a": "b"}}).active is False
    assert not world.v1.products.list({"active": True}).data
    price = world.v1.prices.create({"product": "plan_team", "currency": "usd", "unit_amount": 5}).id
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.products.delete("plan_team")
    assert world.v1.prices.list({"product": "plan_team"}).data[0].id == price


def test_a_tiered_price_has_no_unit_amount_and_shows_its_tiers_on_request(world):
    tiers = [{"up_to": 5, "flat_amount": 5000, "unit_amount": 0}, {"up_to": "inf", "unit_amount": 900}]
    id = world.price(billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    price = world.v1.prices.retrieve(id)
    assert (price.unit_amount, price.tiers, price.tiers_mode) == (None, None, "graduated")
    shown = world.v1.prices.retrieve(id, {"expand": ["tiers"]}).tiers
    assert [(tier.up_to, tier.flat_amount, tier.unit_amount) for tier in shown] == [(5, 5000, 0), (None, None, 900)]
    made = world.subscribe(world.customer(), id, 12, expand=["latest_invoice"])
    assert made.latest_invoice.total == 11_300


def test_a_lookup_key_moves_only_when_told_to(world):
    first = world.price(lookup_key="team")
    with pytest.raises(stripe.InvalidRequestError):
        world.price(lookup_key="team")
    second = world.price(lookup_key="team", transfer_lookup_key=True)
    assert [one.id for one in world.v1.prices.list({"lookup_keys": ["team"]}).data] == [second]
    assert world.v1.prices.retrieve(first).lookup_key is None


@pytest.mark.parametrize(
    "params", [{"unit_amount": 5}, {"currency": "eur"}, {"recurring": {"interval": "year"}}, {"product": "prod_2"}]
)
def test_what_a_price_charges_never_changes(world, params):
    price = world.price(1000)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.prices.update(price, params)
    assert world.v1.prices.update(price, {"active": False, "nickname": "old"}).unit_amount == 1000
    with pytest.raises(stripe.InvalidRequestError):
        world.subscribe(world.customer(), price)


def test_an_invoice_by_hand_takes_items_is_finalized_and_paid(world):
    customer = world.customer()
    once = world.price(70, interval=None)
    waiting = world.v1.invoice_items.create(
        {"customer": customer, "amount": 500, "currency": "usd", "description": "a"}
    )
    draft = world.v1.invoices.create({"customer": customer, "auto_advance": False})
    assert (draft.status, draft.total) == ("draft", 0)
    added = world.v1.invoice_items.create(
        {"customer": customer, "invoice": draft.id, "pricing": {"price": once}, "quantity": 3}
    )
    gone = world.v1.invoice_items.create({"customer": customer, "invoice": draft.id, "amount": 9, "currency": "usd"})
    assert world.v1.invoices.retrieve(draft.id).total == 219
    world.v1.invoice_items.delete(gone.id)
    opened = world.v1.invoices.finalize_invoice(draft.id)
    assert (opened.status, opened.total, opened.attempted) == ("open", 210, False)
    line = opened.lines.data[0]
    assert (line.parent.type, line.parent.invoice_item_details.invoice_item) == ("invoice_item_details", added.id)
    assert world.v1.invoices.send_invoice(draft.id).status == "open"
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.invoice_items.create({"customer": customer, "invoice": draft.id, "amount": 9, "currency": "usd"})
    paid = world.v1.invoices.pay(draft.id, {"expand": ["payments"]})
    assert (paid.status, paid.amount_paid, paid.payments.data[0].status) == ("paid", 210, "paid")
    for call in (world.v1.invoices.pay, world.v1.invoices.void_invoice, world.v1.invoices.finalize_invoice):
        with pytest.raises(stripe.InvalidRequestError):
            call(draft.id)
    assert world.v1.invoice_items.list({"pending": True}).data[0].id == waiting.id


def test_an_invoice_paid_elsewhere_is_paid_without_a_charge(world):
    made = world.subscribe(world.customer("pm_card_chargeCustomerFail"), world.price(), expand=["latest_invoice"])
    paid = world.v1.invoices.pay(made.latest_invoice.id, {"paid_out_of_band": True, "expand": ["payments"]})
    assert (paid.status, paid.payments.data[0].status) == ("paid", "canceled")
    assert world.v1.subscriptions.retrieve(made.id).status == "active"
    assert "invoice.paid" in world.told()


def test_a_refused_payment_is_a_402_and_only_the_first_is_counted(world):
    made = world.subscribe(world.customer("pm_card_chargeCustomerFail"), world.price())
    with pytest.raises(stripe.CardError) as refused:
        world.v1.invoices.pay(made.latest_invoice)
    assert (refused.value.http_status, refused.value.code) == (402, "card_declined")
    assert refused.value.error and refused.value.error.decline_code == "generic_decline"
    assert world.v1.invoices.retrieve(made.latest_invoice).attempt_count == 1


def test_an_invoice_is_found_by_its_payment(world):
    made = world.subscribe(world.customer(), world.price(), expand=["latest_invoice.payments"])
    intent = made.latest_invoice.payments.data[0].payment.payment_intent
    found = world.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent}}).data
    assert [one.invoice for one in found] == [made.latest_invoice.id]


def test_a_voided_invoice_gives_back_the_balance_it_used(world):
    customer = world.customer("pm_card_chargeCustomerFail", balance=-300)
    made = world.subscribe(customer, world.price(1000), expand=["latest_invoice"])
    assert (made.latest_invoice.amount_due, world.v1.customers.retrieve(customer).balance) == (700, 0)
    world.v1.invoices.void_invoice(made.latest_invoice.id)
    assert world.v1.customers.retrieve(customer).balance == -300
    assert world.v1.subscriptions.retrieve(made.id).status == "incomplete_expired"


def test_lists_are_paged_from_the_newest_and_back(world):
    ids = [world.customer(card=None) for _ in range(7)]
    first = world.v1.customers.list({"limit": 3})
    assert ([one.id for one in first.data], first.has_more) == (ids[:3:-1], True)
    everything = [one.id for one in world.v1.customers.list({"limit": 3}).auto_paging_iter()]
    assert everything == ids[::-1]
    back = world.v1.customers.list({"ending_before": ids[0], "limit": 3})
    assert [one.id for one in back.data] == [ids[3], ids[2], ids[1]] and back.has_more
    assert [one.id for one in world.v1.customers.list({"limit": 3, "ending_before": ids[0]}).auto_paging_iter()] == ids[
        1:
    ]
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.customers.list({"limit": 101})
    assert not world.v1.customers.list({"created": {"gt": START}}).data


def test_events_are_listed_by_type_time_and_acknowledgement(world):
    world.customer(card=None)
    world.now[0] += 10
    world.price()
    listed = world.v1.events.list({"types": ["product.created", "price.created"]}).data
    assert [one.type for one in listed] == ["price.created", "product.created"]
    assert [one.type for one in world.v1.events.list({"created": {"lt": START + 10}}).data] == ["customer.created"]
    assert world.v1.events.retrieve(listed[0].id).data.object["object"] == "price"
    assert listed[0].api_version == stripe.api_version and listed[0].request.id.startswith("req_")
    assert (
        world.v1.events.list({"delivery_success": True}).data
        and not world.v1.events.list({"delivery_success": False}).data
    )
    world.now[0] += 31 * 86_400
    assert not world.v1.events.list().data


@pytest.mark.parametrize(
    ("service", "id"),
    [
        ("customers", "cus_0"),
        ("subscriptions", "sub_0"),
        ("invoices", "in_0"),
        ("prices", "price_0"),
        ("events", "evt_0"),
    ],
)
def test_what_does_not_exist_is_a_404(world, service, id):
    with pytest.raises(stripe.InvalidRequestError) as missing:
        getattr(world.v1, service).retrieve(id)
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert id in str(missing.value)


def test_each_test_card_has_a_fingerprint_of_its_own_and_always_the_same(world):
    tokens = [f"pm_card_{name}" for name in ("visa", "mastercard", "amex", "discover", "visa_ada", "visa_bob")]
    cards = [world.v1.payment_methods.retrieve(token).card for token in tokens * 2]
    prints = [card.fingerprint for card in cards]
    assert len(set(prints)) == len(tokens) and prints[: len(tokens)] == prints[len(tokens) :]
    assert [card.brand for card in cards[:6]] == ["visa", "mastercard", "amex", "discover", "visa", "visa"]
    customer = world.customer("pm_card_visa_ada")
    attached = world.v1.payment_methods.list({"customer": customer}).data[0]
    assert (attached.card.fingerprint, attached.card.last4) == (prints[4], "4242")
    assert world.subscribe(customer, world.price()).status == "active"
    for unknown in ("pm_card_none", "pm_card_none_ada", "pm_0"):
        with pytest.raises(stripe.InvalidRequestError):
            world.v1.payment_methods.retrieve(unknown)


def test_subscriptions_are_listed_by_price_and_in_pages(world):
    customer, team, other = world.customer(), world.price(), world.price()
    made = [world.subscribe(customer, team).id for _ in range(3)]
    world.subscribe(customer, other)
    assert [one.id for one in world.v1.subscriptions.list({"price": team, "limit": 2}).auto_paging_iter()] == made[::-1]
    after = world.v1.subscriptions.list({"price": team, "starting_after": made[1]})
    assert [one.id for one in after.data] == made[:1]


def test_invoices_are_listed_by_when_they_were_made_and_in_pages(world):
    customer, made = world.customer(), []
    for _ in range(3):
        made.append(world.v1.invoices.create({"customer": customer}).id)
        world.now[0] += 10
    listed = world.v1.invoices.list
    spans = {"gt": START, "gte": START + 10, "lt": START + 20, "lte": START + 10}
    found = {name: [one.id for one in listed({"created": {name: at}}).data] for name, at in spans.items()}
    assert found == {"gt": made[:0:-1], "gte": made[:0:-1], "lt": made[1::-1], "lte": made[1::-1]}
    assert [one.id for one in listed({"starting_after": made[2], "limit": 1}).data] == [made[1]]


def test_a_payment_is_told_in_the_time_of_its_invoice_and_one_elsewhere_is_none(world):
    clock = world.clock(at=START + 5 * DAY)
    made = world.subscribe(world.customer(test_clock=clock), world.price())
    (told,) = [each for each in world.simulator.events.values() if each["type"] == "invoice_payment.paid"]
    about = told["data"]["object"]
    assert (about["invoice"], about["status"], about["amount_paid"]) == (made.latest_invoice, "paid", 1000)
    assert told["created"] == START + 5 * DAY

    ada = world.customer()
    world.v1.invoice_items.create({"customer": ada, "amount": 900, "currency": "usd"})
    bill = world.v1.invoices.create({"customer": ada, "pending_invoice_items_behavior": "include"}).id
    world.v1.invoices.pay(bill, {"paid_out_of_band": True})
    assert world.told("invoice_payment.") == ["invoice_payment.paid"]


def test_a_card_that_the_bank_renews_keeps_its_id_and_has_another_fingerprint(world):
    ada = world.customer()
    (before,) = world.v1.payment_methods.list({"customer": ada}).data
    world.simulator.renew_card(before.id)
    (after,) = world.v1.payment_methods.list({"customer": ada}).data
    assert after.id == before.id and after.card.fingerprint != before.card.fingerprint
    assert after.card.exp_year == before.card.exp_year + 4
    assert world.told("payment_method.")[-1] == "payment_method.automatically_updated"


def test_only_a_price_that_was_never_used_can_be_deleted(world):
    used, unused = world.price(), world.price()
    world.subscribe(world.customer(), used)
    with pytest.raises(Refused):
        world.simulator.delete_price(used)
    world.simulator.delete_price(unused)
    assert world.told("price.")[-1] == "price.deleted" and used in world.simulator.prices
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        world.v1.prices.retrieve(unused)
    assert refusal.value.http_status == 404
