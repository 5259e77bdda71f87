import pytest

TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
YEARLY = TRIAL | {"name": "Yearly", "billing_interval": "year", "base_price_cents": 30_000}


@pytest.fixture
def trial(api, stripe):
    for slug, plan in {"trial": TRIAL, "yearly": YEARLY}.items():
        assert api("PUT", f"/plans/{slug}", plan).status == 200


def test_a_trial_gives_access_and_charges_nothing(api, trial, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})

    assert (answer.json["status"], answer.json["access"]) == ("trialing", True)
    assert answer.json["trial_ends_at"] == answer.json["current_period_end"]
    assert sum(invoice["total"] for invoice in stripe.invoices.values()) == 0


def test_a_trial_without_a_card_asks_for_one(api, trial, stripe):
    answer = api("POST", "/subscription", {"plan_slug": "trial"})

    assert (answer.json["status"], bool(answer.json["payment"]["client_secret"])) == ("trialing", True)


def test_a_trial_is_had_once(api, trial, stripe):
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    api("POST", "/subscription/cancel", {"immediately": True})
    again = api("POST", "/subscription", {"plan_slug": "trial"})

    assert (again.json["status"], again.json["trial_ends_at"]) == ("active", None)  # the card on file was charged
    assert [invoice["total"] for invoice in stripe.invoices.values() if invoice["total"]] == [3000]


def test_a_change_during_the_trial_costs_nothing_and_the_trial_goes_on(api, trial, stripe):
    before = api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"}).json
    for answer in (
        api("PUT", "/subscription/seats", {"quantity": 3}),
        api("PUT", "/subscription/plan", {"plan_slug": "yearly"}),
    ):
        assert (answer.status, answer.json["status"]) == (200, "trialing")
        assert answer.json["trial_ends_at"] == before["trial_ends_at"]
        assert (answer.json["proration"]["net_cents"], answer.json["billed"]) == (0, "next_invoice")
    assert sum(invoice["total"] for invoice in stripe.invoices.values()) == 0
