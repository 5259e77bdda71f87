"""What has happened, on the bus: from the table's stream, deployed."""

import pytest

from local.outside import listening, mails


@pytest.fixture
def heard(stack):
    with listening(stack) as listener:
        yield listener.heard


def test_what_happens_to_a_customer_reaches_whoever_listens_on_the_bus(stack, heard, ada, call, settle, eventually):
    assert ada.ask("PUT", "/subscription/seats", {"quantity": 6}).status == 200
    settle()
    service = stack.token("backend", "billing/service")

    def told():
        return call("GET", f"/customers/{ada.name}/events?limit=100", service).json["events"]

    eventually(lambda: [heard(ada.name).get(each["sequence"]) for each in told()], told())
    types = [each["type"] for each in told()]
    assert [each["sequence"] for each in told()] == list(range(1, len(types) + 1))
    assert {"subscription.created", "access.changed", "subscription.updated", "invoice.paid"} <= set(types)
    eventually(lambda: [sk for sk, each in ada.items().items() if sk.startswith("event#") and "waits" in each], [])


def test_and_by_the_bus_the_customer_gets_a_mail(stack, ada, call, eventually):
    address = f"{ada.name}@example.com"
    assert ada.ask("PUT", "/customer", {"email": address}).status == 200
    half = {"customer_id": ada.name, "metric_id": "api_calls", "quantity": 500, "idempotency_key": "half"}
    assert call("POST", "/usage", stack.token("backend", "billing/service"), {"events": [half]}).status == 200

    eventually(lambda: [each["Source"] for each in mails(stack, address)], ["billing@acme.example"])
    (mail,) = mails(stack, address)
    assert "50" in mail["Subject"] and "500" in mail["BodyText"] and "500" in mail["BodyHtml"]
    eventually(lambda: [each.get("outcome") for sk, each in ada.items().items() if sk.startswith("mail#")], ["sent"])
