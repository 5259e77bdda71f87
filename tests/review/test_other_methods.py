"""What is paid with, and is no card: Stripe leaves the `card` out of such a payment method (docs: PaymentMethod)."""

import pytest

from billing import customer_table

PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
ORDER = {"plan_slug": "team", "quantity": 5} | PAGE
TEAM = {"plan_slug": "team", "quantity": 5}


def becomes_link(stripe):
    """As Stripe tells of what is paid with Link, which its page offers unless the dashboard turns it off."""
    for said in stripe._account.tables["payment_method"].values():
        said.pop("card", None)
        said |= {"type": "link", "link": {"email": "ada@example.com"}}


def test_what_is_paid_on_the_page_by_link_gives_access(api, plans, stripe, hear):
    session = api("POST", "/checkout", ORDER).json["id"]
    bought = stripe.complete_checkout(session)
    becomes_link(stripe)
    for _ in range(6):
        hear()

    told = api("GET", "/subscription")
    assert told.status == 200, f"paid for {bought}, and {told.json}"
    assert (told.json["id"], told.json["access"]) == (bought, True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/subscription/seats", {"quantity": 6}),
        ("POST", "/subscription/cancel", {}),
        ("POST", "/portal", {"return_url": "https://localhost/"}),
        ("POST", "/subscription", TEAM),
    ],
)
def test_whoever_has_put_link_on_file_in_the_portal_can_do_what_others_can(api, subscribed, stripe, method, path, body):
    becomes_link(stripe)

    assert api(method, path, body).status == 200


def test_whoever_has_link_on_file_subscribes(api, plans, stripe):
    api("POST", "/subscription", TEAM | {"payment_method": "pm_card_visa"})
    api("POST", "/subscription/cancel", {"immediately": True})
    becomes_link(stripe)

    assert api("POST", "/subscription", TEAM).status == 200
    assert customer_table.find("ada", 0).pending is None
