"""Stripe's pages for a customer: a link for each visit, under a configuration of ours."""

import pytest

from billing import customer_table, dynamodb, gateway

VISIT = {"return_url": "https://app.example.com/account"}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def test_a_visit_is_answered_with_a_link_that_is_on_no_record_and_in_no_log(api, subscribed, stripe, caplog):
    answer = api("POST", "/portal", VISIT)
    items = dynamodb.db().scan(TableName="Subscriptions")["Items"]

    assert answer.status == 200 and answer.json.keys() == {"url"}
    assert answer.json["url"].startswith("https://billing.stripe.com/")
    assert caplog.records and "billing.stripe.com" not in repr(items) + repr([vars(each) for each in caplog.records])


def test_every_visit_has_a_link_of_its_own_and_nothing_of_the_customer_moves(api, subscribed, stripe):
    version = record().version
    first, second = (api("POST", "/portal", VISIT).json["url"] for _ in range(2))

    assert first != second and record().version == version


def test_the_configuration_is_made_once_and_found_by_whoever_comes_next(api, subscribed, stripe):
    for _ in range(2):
        assert api("POST", "/portal", VISIT).status == 200
        gateway.portal_configuration.cache_clear()  # another function begins

    made = [call.path for call in stripe.calls if call.method == "POST"]
    assert sorted(made) == ["/v1/billing_portal/configurations", *["/v1/billing_portal/sessions"] * 2]
    _, listed = stripe.handle("GET", "/v1/billing_portal/configurations", {})
    (ours,) = [each for each in listed["data"] if "tollgate" in each["metadata"]]
    features = {name: feature["enabled"] for name, feature in ours["features"].items()}
    assert {name for name, enabled in features.items() if enabled} == {
        "invoice_history",
        "payment_method_update",
        "subscription_cancel",
    }
    assert ours["features"]["subscription_cancel"]["mode"] == "at_period_end"


def test_a_configuration_that_says_something_else_is_not_taken_for_ours(api, subscribed, stripe, monkeypatch):
    api("POST", "/portal", VISIT)
    gateway.portal_configuration.cache_clear()
    monkeypatch.setattr(gateway, "PORTAL", gateway.PORTAL | {"invoice_history": {"enabled": False}})
    api("POST", "/portal", VISIT)
    _, listed = stripe.handle("GET", "/v1/billing_portal/configurations", {})

    assert len([each for each in listed["data"] if "tollgate" in each["metadata"]]) == 2


def test_a_customer_who_is_new_to_stripe_is_made_there(api, plans, stripe):
    assert api("POST", "/portal", VISIT, customer="eve").status == 200
    (theirs,) = stripe.customers.values()

    assert (theirs["metadata"]["customer"], record("eve").stripe_id) == ("eve", theirs["id"])


def test_a_customer_that_stripe_has_deleted_is_made_anew(api, subscribed, stripe):
    stripe.handle("DELETE", f"/v1/customers/{record().stripe_id}")
    first, second = (api("POST", "/portal", VISIT) for _ in range(2))

    assert (first.status, first.json["code"], second.status) == (409, "stale", 200)
    assert int(first.headers["retry-after"]) > 0


def test_what_is_cancelled_there_ends_with_the_period_and_is_known_when_we_hear_of_it(api, subscribed, stripe, hear):
    api("POST", "/portal", VISIT)
    stripe.portal_cancel(subscribed["id"])
    hear()
    told = api("GET", "/subscription").json

    assert (told["status"], told["cancel_at_period_end"]) == ("active", True)
    assert told["cancel_at"] == subscribed["current_period_end"]
    assert api("POST", "/subscription/resume").json["cancel_at_period_end"] is False


def test_a_card_that_is_given_there_pays_from_then_on(api, subscribed, stripe, hear):
    api("POST", "/portal", VISIT)
    stripe.portal_card(record().stripe_id, "pm_card_mastercard")
    assert not hear()
    answer = api("PUT", "/subscription/seats", {"quantity": 8})

    assert (answer.status, answer.json["seats"]) == (200, 8)


@pytest.mark.parametrize("flow", ["payment_method_update", "subscription_cancel"])
def test_a_flow_is_one_task_and_leads_back(api, subscribed, stripe, flow):
    answer = api("POST", "/portal", VISIT | {"flow": flow})
    (asked,) = [call.params for call in stripe.calls if call.path == "/v1/billing_portal/sessions"]

    assert answer.status == 200 and asked["flow_data"]["type"] == flow
    assert asked["flow_data"]["after_completion"]["redirect"]["return_url"] == VISIT["return_url"]
    if flow == "subscription_cancel":
        assert asked["flow_data"][flow] == {"subscription": subscribed["id"]}


def test_there_is_nothing_to_cancel_without_a_subscription(api, plans, stripe):
    answer = api("POST", "/portal", VISIT | {"flow": "subscription_cancel"})

    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("url", ["https://evil.io/", "https://app.example.com@evil.io/", "javascript:alert(1)", ""])
def test_the_pages_lead_back_to_no_other_host(api, plans, stripe, url):
    answer = api("POST", "/portal", {"return_url": url})

    assert (answer.status, answer.json["code"], len(stripe.customers)) == (422, "return_url_refused", 0)


@pytest.mark.parametrize("body", [{}, VISIT | {"flow": "subscription_update"}, VISIT | {"customer": "bob"}])
def test_what_is_no_visit_is_refused(api, plans, body):
    assert api("POST", "/portal", body).status == 400


def test_the_backend_asks_for_a_customer(api, subscribed, stripe):
    answer = api("POST", "/customers/ada/portal", VISIT, claims={"scope": "billing/service"})

    assert answer.status == 200


def test_the_portal_makes_no_customer_for_a_visit_it_refuses(api, plans, stripe):
    answer = api("POST", "/portal", {"return_url": "https://localhost/", "flow": "subscription_cancel"})
    assert (answer.status, len(stripe.customers)) == (404, 0)


def test_a_portal_configuration_that_the_operator_switched_off_is_made_anew(api, subscribed, stripe):
    api("POST", "/portal", {"return_url": "https://localhost/"})
    for id in list(stripe._account.tables["billing_portal.configuration"]):
        stripe.handle("POST", f"/v1/billing_portal/configurations/{id}", {"active": "false"})
    assert api("POST", "/portal", {"return_url": "https://localhost/"}).status == 200
