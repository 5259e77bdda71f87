import pytest

from billing import dynamodb

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def live(stripe):
    return [each for each in stripe.subscriptions.values() if each["status"] not in ("canceled", "incomplete_expired")]


def test_a_customer_subscribes_and_is_charged_once(api, plans, stripe):
    answer = api("POST", "/subscription", ORDER)

    assert answer.status == 200
    assert {name: answer.json[name] for name in ("plan", "plan_version", "status", "access", "seats")} == {
        "plan": "team",
        "plan_version": 1,
        "status": "active",
        "access": True,
        "seats": 5,
    }
    (subscription,) = live(stripe)
    (invoice,) = stripe.invoices.values()
    assert (subscription["id"], invoice["status"], invoice["total"]) == (answer.json["id"], "paid", 6000)
    assert api("GET", "/subscription").json == answer.json


def test_the_same_click_again_is_the_same_subscription(api, plans, stripe):
    first, again = (api("POST", "/subscription", ORDER) for _ in range(2))

    assert (again.status, again.json) == (200, first.json)
    assert len(stripe.subscriptions) == len(stripe.customers) == 1


def test_whoever_was_put_on_record_first_is_not_covered_by_one_who_knew_of_nobody(api, plans, stripe, moments):
    others = []
    pro = {"plan_slug": "pro", "payment_method": "pm_card_visa"}
    moments.once("before PutItem", lambda: others.append(api("POST", "/subscription", pro)))

    assert (api("POST", "/subscription", ORDER).json["code"], others[0].status) == ("already_subscribed", 200)
    assert len(live(stripe)) == len(stripe.customers) == 1


def test_the_same_key_is_answered_the_same_and_means_nothing_else(api, plans, stripe):
    first, again = (api("POST", "/subscription", ORDER, key="k") for _ in range(2))
    other = api("POST", "/subscription", ORDER | {"quantity": 6}, key="k")

    assert again.json == first.json
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")


def test_another_plan_is_another_wish_and_the_slot_is_taken(api, subscribed, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "pro"})

    assert (answer.status, answer.json["code"], len(stripe.subscriptions)) == (409, "already_subscribed", 1)


def test_without_a_payment_method_the_client_confirms_the_first_payment(api, plans, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "team"})

    assert (answer.status, answer.json["status"], answer.json["access"]) == (200, "incomplete", False)
    assert answer.json["payment"]["client_secret"]
    again = api("POST", "/subscription", {"plan_slug": "team"})
    assert again.json == answer.json and len(stripe.subscriptions) == 1


def test_the_secret_that_confirms_a_payment_is_on_no_record(api, plans, stripe):
    secret = api("POST", "/subscription", {"plan_slug": "team"}, key="k").json["payment"]["client_secret"]

    assert secret not in repr(dynamodb.db().scan(TableName="Subscriptions"))
    assert api("POST", "/subscription", {"plan_slug": "team"}, key="k").json["payment"]["client_secret"] == secret


def test_one_that_was_never_paid_gives_way_to_another_plan(api, plans, stripe):
    unpaid = api("POST", "/subscription", {"plan_slug": "team"}).json
    answer = api("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_visa"})

    assert (answer.json["plan"], answer.json["status"]) == ("pro", "active")
    assert stripe.subscriptions[unpaid["id"]]["status"] in ("canceled", "incomplete_expired")
    assert len(live(stripe)) == 1


def test_whoever_is_turned_away_has_put_no_card_on_file(api, plans, stripe):
    stripe.fault("unreachable", method="POST", path="/v1/subscriptions$", times=2)
    assert api("POST", "/subscription", ORDER).status == 503
    other = api("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_mastercard"})

    assert (other.status, other.json["code"]) == (409, "change_in_flight")
    assert [card["card"]["brand"] for card in stripe.payment_methods.values()] == ["visa"]
    assert api("POST", "/subscription", ORDER).json["status"] == "active"


def test_a_card_that_is_declined_for_another_plan_leaves_the_unpaid_one_as_it_is(api, plans, stripe):
    unpaid = api("POST", "/subscription", {"plan_slug": "team"}).json
    declined = api("POST", "/subscription", {"plan_slug": "pro", "payment_method": "pm_card_chargeDeclined"})

    assert (declined.status, stripe.subscriptions[unpaid["id"]]["status"]) == (402, "incomplete")
    assert api("POST", "/subscription", {"plan_slug": "team"}).json["id"] == unpaid["id"]


def test_a_card_that_is_declined_at_once_is_answered_and_nothing_is_held(api, plans, stripe):
    declined = api("POST", "/subscription", ORDER | {"payment_method": "pm_card_chargeDeclined"}, key="k")
    retried = api("POST", "/subscription", ORDER | {"payment_method": "pm_card_visa"}, key="k2")

    assert (declined.status, declined.json["code"]) == (402, "payment_declined")
    assert (retried.status, retried.json["status"], len(live(stripe))) == (200, "active", 1)


def test_a_card_that_fails_later_leaves_it_incomplete(api, plans, stripe):
    answer = api("POST", "/subscription", ORDER | {"payment_method": "pm_card_chargeCustomerFail"})

    assert (answer.status, answer.json["status"], answer.json["access"]) == (200, "incomplete", False)
    assert answer.json["payment"]["client_secret"]
    paid = api("POST", "/subscription", ORDER)
    assert (paid.json["status"], len(live(stripe))) == ("active", 1)


def test_the_backend_subscribes_a_customer_by_its_path(api, plans, stripe):
    claims = {"sub": "backend", "scope": "openid billing/service"}
    answer = api("POST", "/customers/bob/subscription", ORDER, claims=claims)

    assert answer.status == 200
    assert api("GET", "/subscription", customer="bob").json["id"] == answer.json["id"]
    assert api("GET", "/subscription", customer="ada").status == 404


def test_a_token_of_ours_is_refused_on_a_customers_route(api, plans, stripe):
    claims = {"sub": "backend", "scope": "openid billing/service"}

    assert api("POST", "/subscription", ORDER, claims=claims).status == 403


def test_a_plan_that_is_retired_or_never_was_cannot_be_bought(api, plans, stripe):
    assert api("DELETE", "/plans/pro").status == 200

    for slug, refusal in (("pro", (422, "plan_retired")), ("nosuch", (404, "not_found"))):
        answer = api("POST", "/subscription", {"plan_slug": slug})
        assert (answer.status, answer.json["code"]) == refusal


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": 10**30},
        {"quantity": "5"},
        {"quantity": 1.5},
        {"plan_slug": None},
        {"plan_slug": "../x"},
        {"customer_id": "bob"},
        {"payment_method": "pm/../x"},
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_by_its_field_and_nothing_is_written(api, plans, stripe, wrong):
    stripe.calls.clear()
    answer = api("POST", "/subscription", ORDER | wrong)

    assert (answer.status, answer.json["code"]) == (400, "malformed")
    assert answer.json["fields"][0]["field"] == next(iter(wrong))
    assert (stripe.calls, api("GET", "/subscription").status) == ([], 404)


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "{" * 100_000, "x" * 300_000], ids=lambda text: text[:5])
def test_a_body_that_is_no_object_is_refused(api, plans, text):
    answer = api("POST", "/subscription", text=text)

    assert (answer.status, answer.json["code"], answer.json["fields"][0]["field"]) == (400, "malformed", "body")


def test_seats_beyond_the_plan_are_refused(api, plans, stripe):
    answer = api("POST", "/subscription", ORDER | {"quantity": 51})

    assert (answer.status, answer.json["code"]) == (422, "seats_out_of_range")
