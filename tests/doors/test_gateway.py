import pytest

from billing import gateway, registration, steps
from billing.errors import Busy, Failed, NotFound, StripeRefused, Unavailable
from billing.holds import EXPIRY, Step


@pytest.mark.parametrize(
    ("fault", "times", "error"),
    [
        ("rate_limit", 3, Busy),
        ("lock_timeout", 3, Busy),
        ("failed", 2, Failed),
        ("unreachable", 2, Unavailable),
    ],
)
def test_stripes_failures_become_ours(stripe, monkeypatch, fault, times, error):
    monkeypatch.setattr(gateway.time, "sleep", lambda seconds: None)
    stripe.fault(fault, path="/v1/customers.*", times=times)

    with pytest.raises(error) as told:
        gateway.customer("cus_1")
    assert type(told.value) is error


def test_what_stripe_does_not_know_is_not_found(stripe):
    with pytest.raises(NotFound):
        gateway.subscription("sub_gone")


def test_what_stripe_does_not_take_is_refused(api, subscribed, stripe):
    tax_id = {"type": "eu_vat", "value": "DE123456789"}
    stripe.fault("card_declined", path="/v1/customers/.*/tax_ids")
    assert api("PUT", "/customer", {"tax_id": tax_id}).status == 402
    with pytest.raises(StripeRefused):
        gateway.ask(gateway.client().v1.subscriptions.update, subscribed["id"], {"proration_behavior": "maybe"})


@pytest.mark.parametrize("later", [60, EXPIRY + 60])
def test_the_next_one_finds_what_a_dead_one_made(stripe, moments, later):
    class Death(BaseException): ...

    def die():
        raise Death

    moments.once("after post", die)
    with pytest.raises(Death):
        registration.ensure("ada", 1_800_000_000)
    ours = registration.ensure("ada", 1_800_000_000 + later)

    assert [ours.stripe_id] == list(stripe.customers)
    asked = [call.path for call in stripe.calls if call.method == "GET"]
    assert asked == ([] if later == 60 else ["/v1/customers/search"])


def test_what_someone_else_cancels_or_voids_at_the_same_moment_is_done(api, plans, stripe, moments):
    unpaid = api("POST", "/subscription", {"plan_slug": "team"}).json["id"]
    invoice = stripe.subscriptions[unpaid]["latest_invoice"]
    paid = api("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_visa"}, customer="bob").json[
        "id"
    ]

    moments.once("before post", lambda: stripe.handle("POST", f"/v1/invoices/{invoice}/void"))
    steps.CALLS["void_invoice"].make(Step("void_invoice", invoice), {"idempotency_key": "v"})
    moments.once("before delete", lambda: stripe.handle("DELETE", f"/v1/subscriptions/{paid}"))
    steps.CALLS["cancel_subscription"].make(Step("cancel_subscription", paid), {})

    assert (stripe.invoices[invoice]["status"], stripe.subscriptions[paid]["status"]) == ("void", "canceled")
