"""Invoices, the portal, plans, the catalogue tool, and what is logged."""

import logging

import pytest

from billing import customer_table, return_urls
from billing.errors import ReturnUrlRefused

ADMIN = {"scope": "billing/admin"}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
BODY = {"name": "P", "billing_interval": "month", "currency": "usd", "base_price_cents": 1000}


def record(customer="ada"):
    return customer_table.find(customer, 0)


@pytest.mark.parametrize("cursor", ["nonsense", "sub_1", "%00", "in_1"])
def test_a_cursor_that_no_page_gave_is_refused(api, plans, cursor):
    assert api("GET", f"/plans/team/versions/1/subscriptions?cursor={cursor}", claims=ADMIN).status in (400, 404, 422)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com@evil.io/",
        "https://evil.io\\@app.example.com/",
        "https://app.example.com.:443/",
        "https://app.example.com:443/",
        "HTTPS://app.example.com/",
        "//app.example.com/",
        "https:/app.example.com/",
        "https://app.example.com%2eevil.io/",
        "https://app.example.com\r\n.evil.io",
        "https://app。example.com/",
        "https://[::1]/",
        "https://localhost:99999999/",
        "data:text/html,x",
        "javascript://app.example.com/%0aalert(1)",
        "https://app.example.com\t/",
        "http://app.example.com/",
        "https://app.example.com./",
        "https://" + "a" * 3000,
        "https://user:pw@localhost/",
        "http://localhost:@evil.io/",
        "http://localhost.evil.io",
        "http://localhost:80:80/",
        "\u2028https://app.example.com/",
        "https://app.example.com/\x00",
        "https://APP.EXAMPLE.COM@evil.io/",
    ],
)
def test_a_trick_leads_nowhere(url):
    with pytest.raises(ReturnUrlRefused):
        return_urls.permitted(url, {"app.example.com", "localhost"})


def test_no_log_tells_of_links_secrets_or_people(api, plans, stripe, hear, caplog):
    caplog.set_level(logging.DEBUG)
    api("PUT", "/customer", {"email": "ada@secret.example", "name": "Ada Lovelace"})
    made = api("POST", "/subscription", {"plan_slug": "team"}).json
    page = api("POST", "/checkout", {"plan_slug": "team"} | PAGE).json
    link = api("POST", "/portal", {"return_url": "https://localhost/?token=t0ken"}).json["url"]
    stripe.complete_checkout(page["id"])
    hear()
    stripe.fault("failed", method="POST", path="/v1/billing_portal", times=2)
    api("POST", "/portal", {"return_url": "https://localhost/?token=t0ken"})
    ours = [each for each in caplog.records if not each.name.startswith(("urllib3", "botocore", "asyncio"))]
    text = repr([vars(each) for each in ours])
    secrets = (page["url"], link, made["payment"]["client_secret"], "sk_test_x", "secret.example", "Lovelace", "t0ken")
    assert [each for each in secrets if each in text] == []


def test_the_next_invoice_of_a_customer_deleted_at_stripe_is_none(api, subscribed, stripe):
    stripe.handle("DELETE", f"/v1/customers/{record().stripe_id}")
    answer = api("GET", "/invoices/upcoming")
    assert answer.status in (404, 422), answer.json


@pytest.mark.parametrize("path", ["/portal", "/checkout", "/invoices", "/invoices/upcoming", "/subscription"])
def test_a_token_with_our_scopes_names_no_customer_by_itself(api, plans, path):
    body = {"/portal": {"return_url": "https://localhost/"}, "/checkout": {"plan_slug": "team"} | PAGE}.get(path)
    method = "POST" if body else "GET"
    assert api(method, path, body, claims={"scope": "billing/service"}).status == 403


def test_a_page_for_a_customer_deleted_at_stripe_meanwhile_is_answered_at_the_second_try(api, plans, stripe):
    api("POST", "/checkout", {"plan_slug": "team"} | PAGE)
    stripe.handle("DELETE", f"/v1/customers/{record().stripe_id}")
    answers = [api("POST", "/checkout", {"plan_slug": "team", "quantity": 2} | PAGE).status for _ in range(2)]
    assert answers[-1] == 200, answers


def test_a_customer_made_anew_at_stripe_is_who_it_was(api, plans, stripe, hear):
    """Invoices carry the name, the address and the tax id that PUT /customer was told of."""
    who = {"name": "Ada", "email": "ada@example.com", "address": {"country": "DE", "postal_code": "10115"}}
    api("PUT", "/customer", who)
    stripe.handle("DELETE", f"/v1/customers/{record().stripe_id}")
    hear()
    api("POST", "/subscription", {"plan_slug": "team", "payment_method": "pm_card_visa"})
    theirs = stripe.customers[record().stripe_id]
    assert (record().profile.name, theirs["name"], theirs["email"]) == ("Ada", "Ada", "ada@example.com")


def test_a_failure_of_stripes_while_a_closed_page_is_taken_up_brings_the_event_back(api, plans, stripe, hear):
    session = api("POST", "/checkout", {"plan_slug": "team"} | PAGE).json["id"]
    stripe.complete_checkout(session)
    stripe.fault("failed", method="GET", path="/v1/checkout/sessions/", times=2)
    late = hear("checkout.session.completed")
    stripe.faults.clear()
    assert late or record().checkout is None
