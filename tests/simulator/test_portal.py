"""The customer portal: its configurations, its sessions, and what a customer does there."""

import pytest
import stripe

from local.stripe_simulator.errors import Refused
from local.stripe_simulator.periods import DAY

START = 1_800_000_000
RENEWAL = START + 31 * DAY
CANCEL = {"subscription_cancel": {"enabled": True}}


@pytest.fixture
def subscribed(world):
    world.of = world.customer()
    world.sub = world.subscribe(world.of, world.price(1000)).id
    return world


def configure(world, features, **params):
    return world.v1.billing_portal.configurations.create({"features": features, **params}).id


def enter(world, configuration=None, **params):
    chosen = {"configuration": configuration} if configuration else {}
    return world.v1.billing_portal.sessions.create({"customer": world.of, **chosen, **params})


def test_a_configuration_says_all_its_features_and_keeps_those_that_are_not_mentioned(world):
    made = configure(world, CANCEL, business_profile={"headline": "Bills"}, metadata={"of": "tollgate"})
    said = world.v1.billing_portal.configurations.retrieve(made)
    assert (said.active, said.is_default, said.metadata["of"]) == (True, False, "tollgate")
    assert (said.features.subscription_cancel.enabled, said.features.subscription_cancel.mode) == (
        True,
        "at_period_end",
    )
    assert not said.features.subscription_update.enabled and not said.features.subscription_pause.enabled
    changed = world.v1.billing_portal.configurations.update(
        made, {"features": {"payment_method_update": {"enabled": True}}, "active": False}
    )
    assert changed.features.payment_method_update.enabled and changed.features.subscription_cancel.enabled
    assert changed.business_profile.headline == "Bills"
    assert not world.v1.billing_portal.configurations.list({"active": True}).data
    assert [one.id for one in world.v1.billing_portal.configurations.list({"active": False}).data] == [made]


def test_a_session_is_a_url_for_one_customer(subscribed):
    made = enter(subscribed, configure(subscribed, CANCEL), return_url="https://app.example.com/", locale="de")
    assert made.customer == subscribed.of and made.url.endswith(made.id)
    assert (made.return_url, made.locale, made.flow) == ("https://app.example.com/", "de", None)


def test_a_session_can_lead_straight_to_the_cancellation(subscribed):
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": subscribed.sub}}
    made = enter(subscribed, configure(subscribed, CANCEL), flow_data=flow)
    assert (made.flow.type, made.flow.subscription_cancel.subscription) == ("subscription_cancel", subscribed.sub)


@pytest.mark.parametrize(
    ("features", "params"),
    [
        (CANCEL, {"customer": "cus_0"}),
        (CANCEL, {"configuration": "bpc_0"}),
        ({"invoice_history": {"enabled": True}}, {"flow_data": {"type": "subscription_cancel"}}),
        (CANCEL, {"flow_data": {"type": "subscription_cancel"}}),
        (CANCEL, {"flow_data": {"type": "subscription_cancel", "subscription_cancel": {"subscription": "sub_0"}}}),
    ],
)
def test_a_session_that_cannot_be_is_refused(subscribed, features, params):
    made = configure(subscribed, features)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        subscribed.v1.billing_portal.sessions.create({"customer": subscribed.of, "configuration": made, **params})
    assert refused.value.http_status == 400


def test_an_inactive_configuration_opens_no_page_and_updates_need_products(subscribed):
    made = configure(subscribed, CANCEL)
    subscribed.v1.billing_portal.configurations.update(made, {"active": False})
    with pytest.raises(stripe.InvalidRequestError):
        enter(subscribed, made)
    with pytest.raises(stripe.InvalidRequestError):
        configure(subscribed, {"subscription_update": {"enabled": True, "default_allowed_updates": ["price"]}})


def test_a_cancellation_in_the_portal_is_a_date_and_no_flag(subscribed):
    enter(subscribed, configure(subscribed, CANCEL))
    subscribed.simulator.portal_cancel(subscribed.sub)
    now = subscribed.v1.subscriptions.retrieve(subscribed.sub)
    assert (now.status, now.cancel_at, now.cancel_at_period_end) == ("active", RENEWAL, False)
    assert now.cancellation_details.reason == "cancellation_requested"
    event = list(subscribed.simulator.events.values())[-1]
    assert (event["type"], event["request"]["id"]) == ("customer.subscription.updated", None)
    subscribed.now[0] = RENEWAL
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"


def test_a_configuration_can_cancel_at_once(subscribed):
    enter(subscribed, configure(subscribed, {"subscription_cancel": {"enabled": True, "mode": "immediately"}}))
    subscribed.simulator.portal_cancel(subscribed.sub)
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).status == "canceled"


def test_the_portal_does_only_what_the_page_opened_last_offers(subscribed):
    with pytest.raises(Refused):
        subscribed.simulator.portal_cancel(subscribed.sub)
    enter(subscribed)
    enter(subscribed, configure(subscribed, {"invoice_history": {"enabled": True}}))
    with pytest.raises(Refused):
        subscribed.simulator.portal_cancel(subscribed.sub)
    with pytest.raises(Refused):
        subscribed.simulator.portal_card(subscribed.of, "pm_card_mastercard")
    assert subscribed.v1.subscriptions.retrieve(subscribed.sub).cancel_at is None


def test_the_portal_cannot_cancel_what_a_schedule_manages(subscribed):
    enter(subscribed)
    subscribed.v1.subscription_schedules.create({"from_subscription": subscribed.sub})
    with pytest.raises(Refused):
        subscribed.simulator.portal_cancel(subscribed.sub)


def test_a_card_given_in_the_portal_is_the_one_on_file_and_of_the_subscription(subscribed):
    enter(subscribed)
    subscribed.simulator.portal_card(subscribed.of, "pm_card_mastercard")
    card = subscribed.v1.subscriptions.retrieve(subscribed.sub).default_payment_method
    assert subscribed.v1.customers.retrieve(subscribed.of).invoice_settings.default_payment_method == card
    assert subscribed.v1.payment_methods.retrieve(card).card.brand == "mastercard"
    with pytest.raises(Refused):
        subscribed.simulator.portal_card(subscribed.of, "pm_card_chargeDeclined")
