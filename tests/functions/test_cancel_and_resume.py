from billing import customer_table

ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def test_cancelling_at_the_end_of_the_period_keeps_access_until_then(api, subscribed, stripe):
    answer = api("POST", "/subscription/cancel", {})

    assert (answer.status, answer.json["status"], answer.json["access"]) == (200, "active", True)
    assert answer.json["cancel_at_period_end"] is True
    assert stripe.subscriptions[subscribed["id"]]["cancel_at_period_end"] is True
    assert api("POST", "/subscription/cancel", {}).json == answer.json


def test_a_cancellation_is_undone(api, subscribed, stripe):
    api("POST", "/subscription/cancel", {})
    answer = api("POST", "/subscription/resume")

    assert (answer.status, answer.json["cancel_at_period_end"]) == (200, False)
    assert stripe.subscriptions[subscribed["id"]]["cancel_at_period_end"] is False
    assert api("POST", "/subscription/resume").json["code"] == "nothing_to_resume"


def test_what_stripes_portal_has_scheduled_is_undone_too(api, subscribed, stripe):
    end = stripe.subscriptions[subscribed["id"]]["items"]["data"][0]["current_period_end"]
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"cancel_at": str(end)})
    ours = customer_table.find("ada", 0)
    assert ours.subscription is not None
    api("PUT", "/subscription/seats", {"quantity": 6})  # brings the record up to Stripe's

    assert api("GET", "/subscription").json["cancel_at_period_end"] is True
    assert api("POST", "/subscription/resume").json["cancel_at_period_end"] is False
    assert stripe.subscriptions[subscribed["id"]]["cancel_at"] is None


def test_cancelling_now_ends_it_and_the_customer_may_come_back(api, subscribed, stripe):
    answer = api("POST", "/subscription/cancel", {"immediately": True})

    assert (answer.status, answer.json["status"], answer.json["access"]) == (200, "canceled", False)
    assert answer.json["cancelled_at"] and api("GET", "/subscription").status == 404
    back = api("POST", "/subscription", ORDER)
    assert (back.json["status"], back.json["id"] != subscribed["id"]) == ("active", True)
    assert customer_table.aside("ada", subscribed["id"]).theirs.status == "canceled"


def test_an_unpaid_first_payment_is_cancelled_at_once(api, plans, stripe):
    unpaid = api("POST", "/subscription", {"plan_slug": "team"}).json

    assert api("POST", "/subscription/cancel", {}).json["status"] in ("canceled", "incomplete_expired")
    assert stripe.subscriptions[unpaid["id"]]["status"] in ("canceled", "incomplete_expired")


def test_only_a_true_or_a_false_is_understood(api, subscribed, stripe):
    answer = api("POST", "/subscription/cancel", {"immediately": "yes"})

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, "immediately")
