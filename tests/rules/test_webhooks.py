import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import process_webhook
from billing.errors import Malformed, StripeRefused, named
from billing.webhooks import envelope, opened

SAMPLES = sorted(Path("events/stripe").glob("*.json"))
OF_NO_SUBSCRIPTION = {"customer.deleted", "customer.updated", "checkout.session.expired"}
OF_NO_SUBSCRIPTION |= {"credit_note.created", "credit_note.voided", "setup_intent.succeeded", "refund.failed"}
OF_NO_SUBSCRIPTION |= {
    f"payment_method.{what}" for what in ("attached", "detached", "updated", "automatically_updated")
}
OF_NOBODY = {"invoice_payment.paid", "charge.dispute.created", "radar.early_fraud_warning.created"}
OF_NOBODY |= {"price.updated", "price.deleted", "product.updated"}
OF_ITS_INVOICE = {"invoice_payment.paid", "credit_note.created", "credit_note.voided"}
OF_ITS_INVOICE |= {
    f"checkout.session.{what}" for what in ("completed", "async_payment_succeeded", "async_payment_failed")
}
NO_ENVELOPES = [None, [], "evt_1", 1, {}, {"id": "evt_1"}]


def test_there_is_a_sample_of_every_event_that_is_handled():
    assert {path.stem for path in SAMPLES} == process_webhook.HANDLED.keys()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_envelope_says_whom_and_what_an_event_is_about_and_nothing_personal(path):
    event = json.loads(path.read_text())
    told = envelope(event)

    assert (told.type, told.object_id) == (path.stem, event["data"]["object"].get("id"))
    assert (told.object_id is None) == (path.stem == "invoice.upcoming")
    assert told.customer == (None if path.stem in OF_NOBODY else "cus_1")
    assert told.group == (told.customer or told.object_id)
    assert (told.subscription or "none").startswith("none" if path.stem in OF_NO_SUBSCRIPTION | OF_NOBODY else "sub_")
    assert told.invoice == ("in_1" if path.stem in OF_ITS_INVOICE else None)
    assert "ada@example.com" not in json.dumps(asdict(told))


def test_what_names_no_customer_is_grouped_by_its_object_or_by_itself():
    event = json.loads(Path("events/stripe/customer.deleted.json").read_text())

    assert envelope(event | {"data": {"object": {"id": "plan_1", "object": "plan"}}}).group == "plan_1"
    assert envelope(event | {"data": {"object": {"object": "balance"}}}).group == event["id"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_an_envelope_comes_out_of_the_queue_as_it_was_sent(path):
    told = envelope(json.loads(path.read_text()))
    assert opened(json.loads(json.dumps(asdict(told)))) == told


def test_an_envelope_of_an_older_or_a_newer_version_of_the_code_is_still_read():
    told = envelope(json.loads(Path("events/stripe/invoice.paid.json").read_text()))
    sent = asdict(told) | {"of_a_later_version": {"a": 1}}
    del sent["invoice"]
    assert opened(sent) == replace(told, invoice=None)


@pytest.mark.parametrize("sent", NO_ENVELOPES, ids=str)
def test_what_is_no_envelope_is_refused(sent):
    with pytest.raises(Malformed):
        opened(sent)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": 5},
        {"id": "e" * 256},
        {"type": None},
        {"created": "1"},
        {"created": True},
        {"created": 1.5},
        {"livemode": None},
        {"livemode": "false"},
        {"customer": 7},
        {"subscription": {}},
        {"object_id": []},
        {"invoice": False},
        {"api_version": 2},
    ],
    ids=str,
)
def test_an_envelope_with_a_field_that_is_not_what_it_should_be_is_refused(wrong):
    sent = asdict(envelope(json.loads(Path("events/stripe/invoice.paid.json").read_text())))
    with pytest.raises(Malformed):
        opened(sent | wrong)


def test_a_failure_is_named_with_what_it_comes_from_and_without_a_word_of_theirs():
    theirs = ValueError("No such customer: 'ada@example.com'")
    ours = StripeRefused("Stripe refused: email of ada@example.com")
    ours.__cause__ = theirs
    assert named(ours) == "StripeRefused (stripe_refused) from ValueError"
