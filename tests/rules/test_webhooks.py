import json
from dataclasses import asdict
from pathlib import Path

import pytest

import process_webhook
from billing.webhooks import envelope

SAMPLES = sorted(Path("events/stripe").glob("*.json"))
OF_NO_SUBSCRIPTION = {"customer.deleted", "customer.updated", "checkout.session.expired"}


def test_there_is_a_sample_of_every_event_that_is_handled():
    assert {path.stem for path in SAMPLES} == process_webhook.HANDLED.keys()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_envelope_says_whom_and_what_an_event_is_about_and_nothing_personal(path):
    event = json.loads(path.read_text())
    told = envelope(event)

    assert (told.type, told.object_id) == (path.stem, event["data"]["object"]["id"])
    assert told.customer.startswith("cus_") and told.group == told.customer
    assert (told.subscription or "none").startswith("none" if path.stem in OF_NO_SUBSCRIPTION else "sub_")
    assert "ada@example.com" not in json.dumps(asdict(told))


def test_what_names_no_customer_is_grouped_by_its_object_or_by_itself():
    event = json.loads(Path("events/stripe/customer.deleted.json").read_text())

    assert envelope(event | {"data": {"object": {"id": "plan_1", "object": "plan"}}}).group == "plan_1"
    assert envelope(event | {"data": {"object": {"object": "balance"}}}).group == event["id"]
