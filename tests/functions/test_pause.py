"""A pause: no money is taken until a date, or until it is resumed; whether it gives access meanwhile, the plan says."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from tests.functions.at_stripe import Death, ask


@pytest.fixture
def selling(api, plans):
    """The team plan, with other terms, and Ada on it."""

    def sell(**terms):
        team = api("GET", "/plans/team").json
        offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
        assert api("PUT", "/plans/team", offer | terms).status == 200
        order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
        return api("POST", "/subscription", order).json

    return sell


def after(clock, **span):
    """As we tell times."""
    moment = datetime.fromtimestamp(int(clock.now()), UTC) + timedelta(**span)
    return moment.isoformat().replace("+00:00", "Z")


def renewals(stripe):
    return [each["status"] for each in stripe.invoices.values() if each["billing_reason"] == "subscription_cycle"]


def test_a_pause_takes_no_money_and_is_resumed(api, subscribed, stripe, clock):
    paused = api("POST", "/subscription/pause", {})
    assert (paused.status, paused.json["collection_paused"], paused.json["status"]) == (200, True, "active")
    clock.pass_by(days=3)
    resumed = api("POST", "/subscription/resume").json

    assert (resumed["collection_paused"], resumed["access"]) == (False, True)
    assert resumed["current_period_end"] == subscribed["current_period_end"]
    clock.pass_by(days=29)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    assert renewals(stripe) == ["paid"]


def test_one_that_is_resumed_in_a_period_that_was_void_begins_a_new_one_and_pays_it(api, subscribed, stripe, clock):
    api("POST", "/subscription/pause", {})
    clock.pass_by(days=35)
    stripe.tick()
    before = after(clock)
    resumed = api("POST", "/subscription/resume").json

    assert (renewals(stripe), resumed["collection_paused"], resumed["access"]) == (["void"], False, True)
    assert before <= resumed["current_period_start"] <= after(clock)
    assert [each["total"] for each in stripe.invoices.values() if each["status"] == "paid"] == [6000, 6000]


def test_if_that_is_declined_it_stays_paused(api, subscribed, stripe, clock):
    api("POST", "/subscription/pause", {})
    clock.pass_by(days=35)
    stripe.tick()
    theirs = stripe.subscriptions[subscribed["id"]]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": theirs})
    stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", {"default_payment_method": card["id"]})
    declined = api("POST", "/subscription/resume")

    assert (declined.status, declined.json["code"]) == (402, "payment_declined")
    assert api("GET", "/subscription").json["collection_paused"] is True
    assert [each["total"] for each in stripe.invoices.values() if each["status"] == "paid"] == [6000]


def test_in_a_period_that_nobody_has_paid_for_more_begins_a_new_one_and_less_gives_nothing_back(
    api, subscribed, stripe, clock
):
    until = after(clock, days=35)
    api("POST", "/subscription/pause", {"resumes_at": until})
    clock.pass_by(days=36)
    stripe.tick()
    less = api("PUT", "/subscription/seats", {"quantity": 2}).json
    assert (less["seats"], less["billed"], less["proration"]["net_cents"]) == (2, None, 0)
    assert not stripe.invoice_items
    quoted = api("POST", "/subscription/quote", {"quantity": 8}).json
    before = after(clock)
    more = api("PUT", "/subscription/seats", {"quantity": 8, "quote_id": quoted["quote_id"]}).json

    assert (more["seats"], more["billed"]) == (8, "now")
    assert before <= more["current_period_start"] <= after(clock)
    assert more["proration"]["net_cents"] == quoted["total_cents"] == 9000
    assert [each["total"] for each in stripe.invoices.values() if each["status"] == "paid"] == [6000, 9000]


@pytest.mark.parametrize("access", [True, False])
def test_whether_it_gives_access_meanwhile_the_plan_says(api, stripe, selling, access):
    selling(access_while_paused=access)
    paused = api("POST", "/subscription/pause", {}).json

    assert (paused["access"], paused["access_reason"]) == (access, "paused")
    assert api("GET", "/entitlements/reports").json["allowed"] is access
    assert api("GET", "/subscription").json["access"] is access
    assert api("POST", "/subscription/resume").json["access_reason"] == "active"
    assert api("GET", "/entitlements/reports").json["allowed"] is True


def test_a_pause_that_has_an_end_is_over_by_then_though_nobody_has_told_us(api, subscribed, stripe, clock):
    until = after(clock, days=3)
    paused = api("POST", "/subscription/pause", {"resumes_at": until}).json
    assert (paused["resumes_at"], paused["access"]) == (until, False)
    clock.pass_by(days=3)

    assert api("GET", "/subscription").json["access"] is True


def test_usage_that_was_counted_before_is_counted_against_no_older_terms(api, subscribed, stripe):
    count = {"customer_id": "ada", "metric_id": "api_calls", "quantity": 1}

    def use(key):
        event = {"events": [count | {"idempotency_key": key}]}
        return api("POST", "/usage", event, claims={"scope": "billing/service"}).json["events"][0]

    assert use("1")["status"] == "recorded"
    api("POST", "/subscription/pause", {})
    refused = use("2")
    assert (refused["status"], refused["reason"]) == ("rejected", "no_access")
    api("POST", "/subscription/resume")
    assert use("3")["status"] == "recorded"
    assert api("GET", "/usage?metric=api_calls").json["used"] == 2


def test_the_same_pause_again_is_answered_and_another_date_is_another_pause(api, subscribed, stripe, clock, said):
    first = api("POST", "/subscription/pause", {}).json
    stripe.calls.clear()
    again = api("POST", "/subscription/pause", {}).json
    assert (again["collection_paused"], said()) == (first["collection_paused"], {})

    until = after(clock, days=3)
    assert api("POST", "/subscription/pause", {"resumes_at": until}).json["resumes_at"] == until


def test_what_is_cancelled_going_to_be_or_not_paid_is_not_paused(api, subscribed, stripe):
    api("POST", "/subscription/cancel", {})
    going = api("POST", "/subscription/pause", {})
    api("POST", "/subscription/cancel", {"immediately": True})
    gone = api("POST", "/subscription/pause", {})
    api("POST", "/subscription", {"plan_slug": "team"}, customer="bob")
    unpaid = api("POST", "/subscription/pause", {}, customer="bob")

    for refused in (going, gone, unpaid):
        assert (refused.status, refused.json["code"]) == (422, "not_pausable")


def test_what_has_ended_is_not_resumed_and_one_who_never_bought_has_nothing_to_pause(api, subscribed):
    api("POST", "/subscription/cancel", {"immediately": True})
    ended = api("POST", "/subscription/resume")

    assert (ended.status, ended.json["code"]) == (422, "nothing_to_resume")
    assert api("POST", "/subscription/pause", {}, customer="bob").status == 404


def test_what_is_paused_and_going_to_be_cancelled_is_resumed_from_both(api, subscribed, stripe):
    api("POST", "/subscription/pause", {})
    assert api("POST", "/subscription/cancel", {}).json["cancel_at_period_end"] is True
    resumed = api("POST", "/subscription/resume").json

    assert (resumed["cancel_at_period_end"], resumed["collection_paused"]) == (False, False)
    assert api("POST", "/subscription/resume").json["code"] == "nothing_to_resume"


def test_a_change_while_paused_is_made_and_priced(api, subscribed, stripe):
    api("POST", "/subscription/pause", {})
    answer = api("PUT", "/subscription/seats", {"quantity": 2})

    assert (answer.status, answer.json["seats"], answer.json["collection_paused"]) == (200, 2, True)


@pytest.mark.parametrize("until", ["yesterday", "2026-01-01T00:00:00Z", "2099-01-01T00:00:00", 5, ""])
def test_an_end_that_is_none_is_malformed(api, subscribed, until):
    answer = api("POST", "/subscription/pause", {"resumes_at": until})

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, "resumes_at")


def test_a_trial_that_ended_without_a_card_is_paused_if_the_plan_says_so_and_begins_anew_when_it_is_paid(
    api, stripe, plans, selling, clock
):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/trial", offer | {"trial_days": 14, "trial_without_card": "pause"})
    trial = api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5}).json
    assert (trial["status"], trial["access"]) == ("trialing", True)
    clock.pass_by(days=15)
    stripe.tick()
    assert api("POST", "/subscription/pause", {}).json["code"] == "not_pausable"
    seen = api("GET", "/subscription").json
    assert (seen["status"], seen["access"], seen["access_reason"]) == ("paused", False, "paused")

    theirs = stripe.subscriptions[trial["id"]]["customer"]
    _, card = stripe.handle("POST", "/v1/payment_methods/pm_card_visa/attach", {"customer": theirs})
    stripe.handle("POST", f"/v1/customers/{theirs}", {"invoice_settings": {"default_payment_method": card["id"]}})
    resumed = api("POST", "/subscription/resume")

    assert (resumed.status, resumed.json["status"], resumed.json["access"]) == (200, "active", True)
    assert [each["total"] for each in stripe.invoices.values() if each["status"] == "paid"][-1] == 6000


def test_one_that_cannot_be_paid_yet_stays_paused_and_says_what_to_confirm(api, stripe, plans, clock):
    team = api("GET", "/plans/team").json
    offer = {name: value for name, value in team.items() if name not in ("slug", "version")}
    api("PUT", "/plans/trial", offer | {"trial_days": 14, "trial_without_card": "pause"})
    trial = api("POST", "/subscription", {"plan_slug": "trial", "quantity": 5}).json
    clock.pass_by(days=15)
    stripe.tick()
    resumed = api("POST", "/subscription/resume")

    assert (resumed.status, resumed.json["status"], resumed.json["access"]) == (200, "paused", False)
    assert resumed.json["payment"]["client_secret"]
    assert stripe.subscriptions[trial["id"]]["status"] == "paused"


@pytest.fixture
def kept(api, subscribed, stripe, clock, hear):
    """Paused in Stripe's dashboard until its invoices are drafts that stay drafts: the newest."""
    paused = {"behavior": "keep_as_draft"}
    ask(stripe, "POST", f"/v1/subscriptions/{subscribed['id']}", pause_collection=paused)
    hear()
    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    hear()
    (draft,) = [id for id, each in stripe.invoices.items() if each["status"] == "draft"]
    return draft


def test_a_pause_that_keeps_its_invoices_as_drafts_gives_no_period_away(api, kept, stripe, clock):
    """It was made in Stripe's dashboard. Those drafts stay drafts when it ends (docs: Pause payment collection)."""
    assert api("GET", "/subscription").json["access"] is False

    assert api("POST", "/subscription/resume").json["access"] is True
    clock.pass_by(hours=3)
    stripe.tick()
    assert [each["amount_paid"] for each in stripe.invoices.values() if each["status"] == "paid"] == [6000, 6000]
    assert stripe.invoices[kept]["status"] == "void"


@pytest.mark.parametrize("posts", range(1, 5))
def test_whoever_dies_while_a_kept_draft_is_discarded_leaves_it_to_be_discarded(
    api, kept, stripe, clock, moments, posts
):
    passed = iter(range(1, posts))

    def die(now):
        if now == "after post" and next(passed, None) is None:
            raise Death

    moments.append(die)
    with contextlib.suppress(Death):
        api("POST", "/subscription/resume")
    moments.remove(die)
    clock.pass_by(minutes=2)
    api("POST", "/subscription/resume")

    assert api("GET", "/subscription").json["access"] is True
    assert [each["amount_paid"] for each in stripe.invoices.values() if each["status"] == "paid"] == [6000, 6000]
    assert stripe.invoices[kept]["status"] == "void"


def test_a_kept_draft_that_the_balance_pays_is_not_paid_by_it(api, kept, stripe):
    customer = stripe.invoices[kept]["customer"]
    ask(stripe, "POST", f"/v1/customers/{customer}/balance_transactions", amount="-20000", currency="usd")
    assert api("POST", "/subscription/resume").json["access"] is True
    assert stripe.customers[customer]["balance"] == -14000 and stripe.invoices[kept]["status"] != "paid"


def test_a_kept_draft_of_which_the_new_period_cannot_be_paid_stays_one(api, kept, stripe):
    customer = stripe.invoices[kept]["customer"]
    card = ask(stripe, "POST", "/v1/payment_methods/pm_card_chargeCustomerFail/attach", customer=customer)["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{api('GET', '/subscription').json['id']}", default_payment_method=card)

    assert api("POST", "/subscription/resume").json["code"] == "payment_declined"
    assert stripe.invoices[kept]["status"] == "draft"
    assert api("GET", "/subscription").json["collection_paused"] is True
