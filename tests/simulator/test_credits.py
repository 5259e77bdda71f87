"""Money back: credit notes, refunds, and the customer's balance with each of its movements."""

import pytest
import stripe

START = 1_800_000_000


@pytest.fixture
def paid(world):
    """A subscription of 10 a month, paid by card."""
    world.of = world.customer()
    world.sub = world.subscribe(world.of, world.price(1000)).id
    world.invoice = world.v1.invoices.list({"customer": world.of, "expand": ["data.payments"]}).data[0]
    world.intent = world.invoice.payments.data[0].payment.payment_intent
    return world


@pytest.fixture
def open_(world):
    """A subscription of 10 a month whose first charge was refused."""
    world.of = world.customer("pm_card_chargeCustomerFail")
    world.sub = world.subscribe(world.of, world.price(1000)).id
    world.invoice = world.invoices(world.sub)[0]
    return world


def balance(world):
    return world.v1.customers.retrieve(world.of).balance


def movements(world):
    """Oldest first."""
    found = world.v1.customers.balance_transactions.list(world.of).data[::-1]
    return [(one.type, one.amount, one.ending_balance) for one in found]


def note(world, amount, **params):
    return world.v1.credit_notes.create({"invoice": world.invoice.id, "amount": amount, **params})


def test_a_credit_to_the_balance_pays_the_next_invoice(paid):
    made = note(paid, 400, credit_amount=400, reason="order_change", memo="sorry", metadata={"change_id": "c"})
    assert (made.status, made.type, made.total, made.post_payment_amount) == ("issued", "post_payment", 400, 400)
    assert (made.memo, made.metadata["change_id"], made.number) == ("sorry", "c", f"{paid.invoice.number}-CN-01")
    assert balance(paid) == -400
    moved = paid.v1.customers.balance_transactions.retrieve(paid.of, made.customer_balance_transaction)
    assert (moved.type, moved.credit_note, moved.invoice) == ("credit_note", made.id, paid.invoice.id)
    now = paid.v1.invoices.retrieve(paid.invoice.id)
    assert (now.status, now.total, now.amount_paid, now.post_payment_credit_notes_amount) == ("paid", 1000, 1000, 400)
    paid.subscribe(paid.of, paid.price(300))
    assert movements(paid) == [("credit_note", -400, -400), ("applied_to_invoice", 300, -100)]
    assert paid.v1.credit_notes.retrieve(made.id).id == made.id
    assert [one.id for one in paid.v1.credit_notes.list({"invoice": paid.invoice.id}).data] == [made.id]
    assert not paid.v1.credit_notes.list({"invoice": "in_0"}).data


def test_a_credit_note_can_go_partly_to_the_card_and_partly_to_the_balance(paid):
    made = note(paid, 1000, credit_amount=300, refund_amount=700)
    back = paid.v1.refunds.retrieve(made.refunds[0].refund)
    assert (back.amount, back.payment_intent, back.status) == (700, paid.intent, "succeeded")
    assert balance(paid) == -300
    told = [one for one in paid.told() if one.split(".")[0] in ("credit_note", "refund", "charge")]
    assert sorted(told) == ["charge.refunded", "credit_note.created", "refund.created"]
    assert "invoice.updated" in paid.told()


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 1001, "credit_amount": 1001},
        {"amount": 400, "credit_amount": 300},
        {"amount": 400, "credit_amount": 300, "refund_amount": 200},
        {"amount": 400},
        {"amount": 0},
        {"amount": -5, "credit_amount": -5},
        {"amount": 400, "credit_amount": 500, "refund_amount": -100},
        {"credit_amount": 400},
        {"amount": 5, "credit_amount": 5, "lines": [{"type": "custom_line_item"}]},
    ],
)
def test_a_credit_note_that_does_not_add_up_is_refused_and_gives_nothing(paid, params):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        paid.v1.credit_notes.create({"invoice": paid.invoice.id, **params})
    assert refused.value.http_status == 400
    assert (balance(paid), movements(paid), paid.v1.credit_notes.list().data) == (0, [], [])


def test_no_more_is_credited_than_the_invoice_was_and_no_more_refunded_than_the_card_paid(paid):
    note(paid, 600, credit_amount=600)
    with pytest.raises(stripe.InvalidRequestError):
        note(paid, 401, credit_amount=401)
    note(paid, 400, credit_amount=400)
    assert balance(paid) == -1000


def test_what_was_paid_from_the_balance_goes_back_there_only(world):
    world.of = world.customer(balance=-600)
    world.sub = world.subscribe(world.of, world.price(1000)).id
    world.invoice = world.invoices(world.sub)[0]
    with pytest.raises(stripe.InvalidRequestError, match="unrefunded"):
        note(world, 500, refund_amount=500)
    made = note(world, 1000, refund_amount=400, credit_amount=600)
    assert (made.refunds[0].amount_refunded, balance(world)) == (400, -600)


def test_a_credit_note_on_an_open_invoice_lowers_what_is_due_and_can_be_voided(open_):
    made = note(open_, 400)
    assert (made.type, made.pre_payment_amount, made.post_payment_amount) == ("pre_payment", 400, 0)
    now = open_.v1.invoices.retrieve(open_.invoice.id)
    assert (now.status, now.amount_due, now.amount_remaining, now.total) == ("open", 600, 600, 1000)
    assert now.pre_payment_credit_notes_amount == 400 and balance(open_) == 0
    for params in ({"amount": 601}, {"amount": 5, "credit_amount": 5}, {"amount": 5, "refund_amount": 5}):
        with pytest.raises(stripe.InvalidRequestError):
            open_.v1.credit_notes.create({"invoice": open_.invoice.id, **params})
    assert open_.v1.credit_notes.void_credit_note(made.id).status == "void"
    now = open_.v1.invoices.retrieve(open_.invoice.id)
    assert (now.amount_due, now.pre_payment_credit_notes_amount) == (1000, 0)
    with pytest.raises(stripe.InvalidRequestError):
        open_.v1.credit_notes.void_credit_note(made.id)
    note(open_, 250)
    good = open_.v1.payment_methods.attach("pm_card_visa", {"customer": open_.of}).id
    done = open_.v1.invoices.pay(open_.invoice.id, {"payment_method": good, "expand": ["payments"]})
    assert (done.status, done.amount_paid, done.payments.data[0].amount_paid) == ("paid", 750, 750)
    assert open_.told("credit_note") == ["credit_note.created", "credit_note.voided", "credit_note.created"]


def test_an_open_invoice_that_is_credited_in_full_is_paid(open_):
    note(open_, 1000)
    now = open_.v1.invoices.retrieve(open_.invoice.id)
    assert (now.status, now.amount_paid, now.amount_remaining) == ("paid", 0, 0)
    assert open_.v1.subscriptions.retrieve(open_.sub).status == "active"


def test_a_credit_note_of_a_paid_invoice_is_not_voided_but_may_be_labelled(paid):
    made = note(paid, 5, credit_amount=5)
    with pytest.raises(stripe.InvalidRequestError):
        paid.v1.credit_notes.void_credit_note(made.id)
    said = paid.v1.credit_notes.update(made.id, {"memo": "again", "metadata": {"a": "b"}})
    assert (said.memo, said.metadata["a"], paid.told("credit_note")[-1]) == ("again", "b", "credit_note.updated")


def test_a_voided_invoice_takes_no_credit_note(open_):
    open_.v1.invoices.void_invoice(open_.invoice.id)
    with pytest.raises(stripe.InvalidRequestError):
        note(open_, 5)


def test_the_same_key_credits_once(paid):
    params = {"invoice": paid.invoice.id, "amount": 300, "credit_amount": 300}
    first, again = (paid.v1.credit_notes.create(params, {"idempotency_key": "k"}) for _ in range(2))
    assert first.id == again.id and balance(paid) == -300
    with pytest.raises(stripe.IdempotencyError):
        paid.v1.credit_notes.create(params | {"amount": 200, "credit_amount": 200}, {"idempotency_key": "k"})


def test_a_refund_is_of_a_payment_or_its_charge_in_parts_or_of_all_that_is_left(paid):
    first = paid.v1.refunds.create(
        {"payment_intent": paid.intent, "amount": 300, "reason": "requested_by_customer", "metadata": {"a": "b"}}
    )
    charge = paid.v1.payment_intents.retrieve(paid.intent).latest_charge
    assert (first.charge, first.amount, first.status, first.metadata["a"]) == (charge, 300, "succeeded", "b")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        paid.v1.refunds.create({"charge": charge, "amount": 701})
    rest = paid.v1.refunds.create({"charge": charge})
    assert rest.amount == 700
    now = paid.v1.charges.retrieve(charge)
    assert (now.amount, now.amount_refunded, now.refunded) == (1000, 1000, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        paid.v1.refunds.create({"payment_intent": paid.intent})
    assert refused.value.code == "charge_already_refunded"
    assert [one.id for one in paid.v1.refunds.list({"payment_intent": paid.intent}).data] == [rest.id, first.id]
    assert paid.v1.invoices.retrieve(paid.invoice.id).status == "paid"
    assert paid.v1.refunds.update(first.id, {"metadata": {"a": "c"}}).metadata["a"] == "c"
    assert sorted(set(paid.told("refund"))) == ["refund.created", "refund.updated"]


def test_what_was_never_collected_is_not_refunded(open_):
    payment = open_.v1.invoice_payments.list({"invoice": open_.invoice.id}).data[0].payment
    for params in ({"payment_intent": payment.payment_intent}, {"charge": "ch_0"}, {"payment_intent": "pi_0"}, {}):
        with pytest.raises(stripe.InvalidRequestError):
            open_.v1.refunds.create(params)
    assert not open_.told("refund")


def test_a_balance_is_moved_by_hand_with_a_record_of_it(world):
    world.of = world.customer(balance=50)
    params = {"amount": -500, "currency": "usd", "description": "goodwill", "metadata": {"a": "b"}}
    made = world.v1.customers.balance_transactions.create(world.of, params, {"idempotency_key": "k"})
    again = world.v1.customers.balance_transactions.create(world.of, params, {"idempotency_key": "k"})
    assert (made.id, made.amount, made.ending_balance, made.type) == (again.id, -500, -450, "adjustment")
    assert (made.description, made.metadata["a"], balance(world)) == ("goodwill", "b", -450)
    world.v1.customers.update(world.of, {"balance": -100})
    assert movements(world) == [("adjustment", 50, 50), ("adjustment", -500, -450), ("adjustment", 350, -100)]
    told = [one for one in world.simulator.events.values() if one["type"] == "customer.updated"]
    assert [one["data"]["previous_attributes"]["balance"] for one in told] == [50, -450]
    for bad in ({"amount": -5, "currency": "eur"}, {"amount": 0, "currency": "usd"}, {"amount": 5}):
        with pytest.raises(stripe.InvalidRequestError):
            world.v1.customers.balance_transactions.create(world.of, bad)
    with pytest.raises(stripe.InvalidRequestError):
        world.v1.customers.balance_transactions.retrieve(world.customer(), made.id)


def test_the_movements_end_where_the_balance_is(world):
    world.of = world.customer("pm_card_chargeCustomerFail", balance=-300)
    made = world.subscribe(world.of, world.price(1000)).latest_invoice
    world.v1.invoices.void_invoice(made)
    assert movements(world) == [
        ("adjustment", -300, -300),
        ("applied_to_invoice", 300, 0),
        ("unapplied_from_invoice", -300, -300),
    ]
    assert balance(world) == -300
