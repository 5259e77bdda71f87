"""Subscription schedules: what changes at the end of a period, or of a phase."""

import pytest
import stripe

from local.stripe_simulator.periods import DAY, HOUR

START = 1_800_000_000
RENEWAL = START + 31 * DAY
MONTH = {"interval": "month", "interval_count": 1}


@pytest.fixture
def scheduled(world):
    """On a clock: 3 seats of 10 a month, with a schedule that has only the phase it starts with."""
    world.on = world.clock()
    world.of = world.customer(test_clock=world.on)
    world.big = world.price(1000)
    world.sub = world.subscribe(world.of, world.big, 3, metadata={"a": "1", "b": "2"}).id
    world.schedule = world.v1.subscription_schedules.create({"from_subscription": world.sub})
    return world


def running(world, **fields):
    """The phase that runs, as it must be said again."""
    phase = world.schedule.phases[0]
    items = [{"price": one.price, "quantity": one.quantity} for one in phase["items"]]
    return {"items": items, "start_date": phase.start_date, "end_date": phase.end_date, **fields}


def then(world, *phases, **params):
    said = {"phases": [running(world), *phases], **params}
    return world.v1.subscription_schedules.update(world.schedule.id, said)


def next_phase(price, quantity=1, **fields):
    return {"items": [{"price": price, "quantity": quantity}], "duration": MONTH, **fields}


def subscription(world):
    return world.v1.subscriptions.retrieve(world.sub)


def test_a_schedule_begins_as_the_subscription_is(scheduled):
    made, phase = scheduled.schedule, scheduled.schedule.phases[0]
    assert (made.status, made.end_behavior, made.subscription) == ("active", "release", scheduled.sub)
    assert (phase.start_date, phase.end_date, phase.trial_end) == (START, RENEWAL, None)
    assert [(one.price, one.quantity) for one in phase["items"]] == [(scheduled.big, 3)]
    assert (phase.metadata.to_dict(), phase.discounts) == ({}, [])
    assert (made.current_phase.start_date, made.current_phase.end_date) == (START, RENEWAL)
    assert subscription(scheduled).schedule == made.id
    assert scheduled.v1.subscriptions.retrieve(scheduled.sub, {"expand": ["schedule"]}).schedule.phases
    listed = scheduled.v1.subscriptions.list({"customer": scheduled.of, "expand": ["data.schedule"]}).data[0]
    assert listed.schedule.id == made.id
    assert [one.id for one in scheduled.v1.subscription_schedules.list({"customer": scheduled.of}).data] == [made.id]


def test_a_schedule_from_a_subscription_takes_no_other_parameter_and_is_the_only_one(scheduled):
    create = scheduled.v1.subscription_schedules.create
    other = scheduled.subscribe(scheduled.of, scheduled.big).id
    for params in ({"from_subscription": other, "metadata": {"a": "b"}}, {"from_subscription": scheduled.sub}, {}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            create(params)
        assert refused.value.http_status == 400
    assert len(scheduled.v1.subscription_schedules.list({"customer": scheduled.of}).data) == 1


def test_the_next_phase_is_billed_by_the_renewal_and_then_the_subscription_is_released(scheduled):
    small = scheduled.price(500)
    then(scheduled, next_phase(small, 2, metadata={"b": "3", "c": "4"}), proration_behavior="none")
    assert subscription(scheduled).items.data[0].price.id == scheduled.big
    scheduled.advance(scheduled.on, RENEWAL)
    now, draft = subscription(scheduled), scheduled.invoices(scheduled.sub)[-1]
    item = now.items.data[0]
    assert (item.price.id, item.quantity, item.plan.id) == (small, 2, small)
    assert (item.current_period_start, item.current_period_end) == (RENEWAL, RENEWAL + 28 * DAY)
    assert now.metadata.to_dict() == {"a": "1", "b": "3", "c": "4"}
    assert (draft.status, draft.total, draft.billing_reason) == ("draft", 1000, "subscription_cycle")
    assert len(draft.lines.data) == 1 and draft.parent.subscription_details.metadata.c == "4"
    schedule = scheduled.v1.subscription_schedules.retrieve(scheduled.schedule.id)
    assert (schedule.status, schedule.current_phase.start_date, now.schedule) == ("active", RENEWAL, schedule.id)
    scheduled.advance(scheduled.on, RENEWAL + 28 * DAY + HOUR)
    over, now = scheduled.v1.subscription_schedules.retrieve(schedule.id), subscription(scheduled)
    assert (over.status, over.subscription, over.released_subscription) == ("released", None, scheduled.sub)
    assert (over.current_phase, over.released_at, now.schedule) == (None, RENEWAL + 28 * DAY, None)
    assert [one.total for one in scheduled.invoices(scheduled.sub)] == [3000, 1000, 1000]
    assert now.items.data[0].price.id == small and now.items.data[0].id == item.id


def test_the_wall_clock_moves_a_schedule_too(world):
    sub = world.subscribe(world.customer(), world.price(1000)).id
    world.sub, world.schedule = sub, world.v1.subscription_schedules.create({"from_subscription": sub})
    then(world, next_phase(world.price(700)))
    world.now[0] = RENEWAL + HOUR
    world.simulator.tick()
    assert [one.amount_paid for one in world.invoices(sub)] == [1000, 700]


def test_a_schedule_tells_of_what_happens_to_it_with_its_customer_and_subscription(scheduled):
    then(scheduled, next_phase(scheduled.big))
    scheduled.advance(scheduled.on, RENEWAL)
    scheduled.advance(scheduled.on, RENEWAL + 28 * DAY)
    told = [one for one in scheduled.simulator.events.values() if one["type"].startswith("subscription_schedule.")]
    names = ["created", "updated", "updated", "released"]
    assert [one["type"] for one in told] == [f"subscription_schedule.{name}" for name in names]
    objects = [one["data"]["object"] for one in told]
    assert {one["customer"] for one in objects} == {scheduled.of}
    assert {one["subscription"] or one["released_subscription"] for one in objects} == {scheduled.sub}


def test_another_interval_needs_the_anchor_to_be_reset(scheduled):
    yearly = scheduled.price(9000, interval="year")
    year = {"interval": "year", "interval_count": 1}
    with pytest.raises(stripe.InvalidRequestError, match="phase_start"):
        then(scheduled, next_phase(yearly, duration=year))
    scheduled.advance(scheduled.on, START + DAY)
    then(scheduled, next_phase(yearly, duration=year, billing_cycle_anchor="phase_start"))
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    now, invoice = subscription(scheduled), scheduled.invoices(scheduled.sub)[-1]
    item = now.items.data[0]
    assert (now.billing_cycle_anchor, item.current_period_start) == (RENEWAL, RENEWAL)
    assert item.current_period_end == RENEWAL + 365 * DAY
    assert (invoice.status, invoice.total) == ("paid", 9000)


@pytest.mark.parametrize(
    "phases",
    [
        lambda world: [running(world, start_date=START + 1)],
        lambda world: [running(world, start_date=START - DAY)],
        lambda world: [{name: value for name, value in running(world).items() if name != "start_date"}],
        lambda world: [running(world), next_phase(world.big, start_date=RENEWAL + 1)],
        lambda world: [running(world, duration=MONTH)],
        lambda world: [running(world), next_phase(world.big, end_date=RENEWAL + DAY)],
        lambda world: [running(world), {"items": [{"price": world.big}]}],
        lambda world: [running(world, end_date=START)],
        lambda world: [running(world), next_phase("price_0")],
        lambda world: [running(world), next_phase(world.price(5, currency="eur"))],
        lambda world: [running(world), next_phase(world.price(5, interval=None))],
        lambda world: [running(world), next_phase(world.big, iterations=1)],
        lambda world: [running(world), next_phase(world.big, trial_end=RENEWAL + DAY)],
    ],
)
def test_phases_that_cannot_be_are_refused_and_change_nothing(scheduled, phases):
    before = scheduled.simulator.subscription_schedules[scheduled.schedule.id], scheduled.told("subscription_schedule")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        scheduled.v1.subscription_schedules.update(scheduled.schedule.id, {"phases": phases(scheduled)})
    assert refused.value.http_status == 400
    after = scheduled.simulator.subscription_schedules[scheduled.schedule.id], scheduled.told("subscription_schedule")
    assert after == before


def test_phases_follow_one_another_and_those_that_are_over_may_be_left_out(scheduled):
    said = then(scheduled, next_phase(scheduled.big, 4), next_phase(scheduled.big, 5))
    ends = [(phase.start_date, phase.end_date) for phase in said.phases]
    assert ends == [(START, RENEWAL), (RENEWAL, RENEWAL + 28 * DAY), (RENEWAL + 28 * DAY, RENEWAL + 59 * DAY)]
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    second = {"start_date": RENEWAL, "end_date": RENEWAL + 28 * DAY, "items": [{"price": scheduled.big, "quantity": 4}]}
    said = scheduled.v1.subscription_schedules.update(scheduled.schedule.id, {"phases": [second]})
    assert [phase.start_date for phase in said.phases] == [START, RENEWAL]
    scheduled.advance(scheduled.on, RENEWAL + 28 * DAY)
    assert subscription(scheduled).schedule is None


@pytest.mark.parametrize(
    "change",
    [
        {"cancel_at_period_end": True},
        {"cancel_at": RENEWAL + DAY},
        {"pause_collection": {"behavior": "void"}},
        {"trial_end": RENEWAL + DAY},
        {"billing_cycle_anchor": {"type": "now"}},
        {"items": [{"price": "price_1"}]},
    ],
)
def test_while_a_schedule_is_attached_the_subscription_is_changed_by_nobody_else(scheduled, change):
    before = scheduled.simulator.subscriptions[scheduled.sub]
    with pytest.raises(stripe.InvalidRequestError, match=scheduled.schedule.id) as refused:
        scheduled.v1.subscriptions.update(scheduled.sub, change)
    assert refused.value.http_status == 400
    assert scheduled.simulator.subscriptions[scheduled.sub] == before


def test_metadata_and_the_card_pass_a_schedule(scheduled):
    card = scheduled.v1.payment_methods.attach("pm_card_mastercard", {"customer": scheduled.of}).id
    said = scheduled.v1.subscriptions.update(scheduled.sub, {"metadata": {"x": "y"}, "default_payment_method": card})
    assert (said.metadata["x"], said.default_payment_method) == ("y", card)


def test_a_released_subscription_is_free_to_change_and_keeps_its_terms(scheduled):
    then(scheduled, next_phase(scheduled.price(500)))
    said = scheduled.v1.subscription_schedules.release(scheduled.schedule.id)
    assert (said.status, said.subscription, said.released_subscription) == ("released", None, scheduled.sub)
    assert subscription(scheduled).schedule is None
    scheduled.v1.subscriptions.update(scheduled.sub, {"cancel_at_period_end": True})
    scheduled.v1.subscriptions.update(scheduled.sub, {"cancel_at_period_end": False})
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    assert scheduled.invoices(scheduled.sub)[-1].amount_paid == 3000
    for again in (scheduled.v1.subscription_schedules.release, scheduled.v1.subscription_schedules.cancel):
        with pytest.raises(stripe.InvalidRequestError):
            again(scheduled.schedule.id)
    second = scheduled.v1.subscription_schedules.create({"from_subscription": scheduled.sub})
    assert subscription(scheduled).schedule == second.id


def test_cancelling_the_schedule_or_the_subscription_cancels_both(scheduled):
    other = scheduled.subscribe(scheduled.of, scheduled.big).id
    schedule = scheduled.v1.subscription_schedules.create({"from_subscription": other}).id
    scheduled.v1.subscription_schedules.cancel(schedule)
    scheduled.v1.subscriptions.cancel(scheduled.sub)
    for sub, one in ((other, schedule), (scheduled.sub, scheduled.schedule.id)):
        assert scheduled.v1.subscriptions.retrieve(sub).status == "canceled"
        over = scheduled.v1.subscription_schedules.retrieve(one)
        assert (over.status, over.canceled_at, over.current_phase) == ("canceled", START, None)
    assert scheduled.told("subscription_schedule.canceled") == ["subscription_schedule.canceled"] * 2
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    assert len(scheduled.invoices(scheduled.sub)) == 1


def test_a_schedule_can_end_with_the_cancellation_of_its_subscription(scheduled):
    then(scheduled, end_behavior="cancel")
    scheduled.advance(scheduled.on, RENEWAL)
    over = scheduled.v1.subscription_schedules.retrieve(scheduled.schedule.id)
    assert (over.status, over.completed_at) == ("completed", RENEWAL)
    assert subscription(scheduled).status == "canceled" and len(scheduled.invoices(scheduled.sub)) == 1
    assert scheduled.told("subscription_schedule")[-1] == "subscription_schedule.completed"


def test_a_subscription_that_is_given_up_aborts_its_schedule(scheduled):
    scheduled.simulator.configure(after_retries="cancel")
    then(scheduled, next_phase(scheduled.big, duration={"interval": "month", "interval_count": 3}))
    bad = scheduled.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": scheduled.of}).id
    scheduled.v1.subscriptions.update(scheduled.sub, {"default_payment_method": bad})
    scheduled.advance(scheduled.on, RENEWAL + 20 * DAY)
    assert subscription(scheduled).status == "canceled"
    assert scheduled.v1.subscription_schedules.retrieve(scheduled.schedule.id).status == "canceled"
    assert scheduled.told("subscription_schedule")[-1] == "subscription_schedule.aborted"


def test_a_change_of_the_running_phase_is_made_at_once_as_it_says(scheduled):
    half = START + 31 * DAY // 2
    scheduled.advance(scheduled.on, half)
    more = running(scheduled, items=[{"price": scheduled.big, "quantity": 5}])
    params = {"phases": [more], "proration_behavior": "always_invoice"}
    scheduled.v1.subscription_schedules.update(scheduled.schedule.id, params)
    invoice = scheduled.invoices(scheduled.sub)[-1]
    assert [line.amount for line in invoice.lines.data] == [-1500, 2500] and invoice.status == "paid"
    assert subscription(scheduled).items.data[0].quantity == 5


def test_a_phase_that_begins_within_a_period_is_prorated_as_it_says(scheduled):
    half = START + 31 * DAY // 2
    first = running(scheduled, end_date=half)
    later = next_phase(scheduled.big, 1, proration_behavior="create_prorations")
    scheduled.v1.subscription_schedules.update(scheduled.schedule.id, {"phases": [first, later]})
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    renewal = scheduled.invoices(scheduled.sub)[-1]
    assert [line.amount for line in renewal.lines.data] == [-1500, 500, 1000]


def test_a_schedule_on_trial_keeps_the_trial_and_changes_at_its_end(world):
    world.on = world.clock()
    sub = world.subscribe(world.customer(test_clock=world.on), world.price(1000), trial_period_days=14).id
    world.sub, world.schedule = sub, world.v1.subscription_schedules.create({"from_subscription": sub})
    end = START + 14 * DAY
    assert (world.schedule.phases[0].trial_end, world.schedule.phases[0].end_date) == (end, end)
    with pytest.raises(stripe.InvalidRequestError, match="trial"):
        then(world, next_phase(world.price(400)))
    phases = [running(world, trial_end=end), next_phase(world.price(400))]
    world.v1.subscription_schedules.update(world.schedule.id, {"phases": phases})
    world.advance(world.on, end + HOUR)
    assert (subscription(world).status, world.invoices(sub)[-1].amount_paid) == ("active", 400)


# Discounts


def coupon(world, percent, duration="forever", **params):
    return world.v1.coupons.create({"percent_off": percent, "duration": duration, **params}).id


def test_a_schedule_begins_with_the_discounts_and_drops_what_is_not_said_again(scheduled):
    kept = scheduled.subscribe(scheduled.of, scheduled.big, discounts=[{"coupon": coupon(scheduled, 10)}])
    schedule = scheduled.v1.subscription_schedules.create({"from_subscription": kept.id})
    [held] = schedule.phases[0].discounts
    assert (held.discount, held.coupon) == (kept.discounts[0], None)
    scheduled.schedule = schedule
    path = scheduled.v1.subscription_schedules
    path.update(schedule.id, {"phases": [running(scheduled, discounts=[{"discount": held.discount}])]})
    assert scheduled.v1.subscriptions.retrieve(kept.id).discounts == kept.discounts
    path.update(schedule.id, {"phases": [running(scheduled)]})
    assert not scheduled.v1.subscriptions.retrieve(kept.id).discounts


def test_the_discounts_of_a_phase_are_redeemed_when_it_begins_and_are_in_its_preview(scheduled):
    half = coupon(scheduled, 50, "repeating", duration_in_months=3)
    then(scheduled, next_phase(scheduled.big, 2, discounts=[{"coupon": half}]))
    assert scheduled.v1.coupons.retrieve(half).times_redeemed == 0
    preview = scheduled.v1.invoices.create_preview({"subscription": scheduled.sub})
    assert (preview.subtotal, preview.total) == (2000, 1000)
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    invoice = scheduled.invoices(scheduled.sub)[-1]
    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (2000, 1000, 1000)
    now = scheduled.v1.subscriptions.retrieve(scheduled.sub, {"expand": ["discounts"]})
    assert now.discounts[0].start == RENEWAL
    assert scheduled.v1.coupons.retrieve(half).times_redeemed == 1
    with pytest.raises(stripe.InvalidRequestError, match=scheduled.schedule.id):
        scheduled.v1.subscriptions.update(scheduled.sub, {"discounts": ""})
    with pytest.raises(stripe.InvalidRequestError, match=scheduled.schedule.id):
        scheduled.v1.subscriptions.delete_discount(scheduled.sub)


def test_a_discount_that_can_no_longer_be_redeemed_is_left_out(scheduled):
    gone = coupon(scheduled, 50)
    with pytest.raises(stripe.InvalidRequestError):
        then(scheduled, next_phase(scheduled.big, discounts=[{"coupon": "none"}]))
    then(scheduled, next_phase(scheduled.big, discounts=[{"coupon": gone}]))
    scheduled.v1.coupons.delete(gone)
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    assert scheduled.invoices(scheduled.sub)[-1].amount_paid == 1000


def test_the_preview_of_the_renewal_is_that_of_the_next_phase(scheduled):
    yearly, year = scheduled.price(9000, interval="year"), {"interval": "year", "interval_count": 1}
    then(scheduled, next_phase(yearly, duration=year, billing_cycle_anchor="phase_start"))
    preview = scheduled.v1.invoices.create_preview({"subscription": scheduled.sub})
    scheduled.advance(scheduled.on, RENEWAL + HOUR)
    invoice = scheduled.invoices(scheduled.sub)[-1]
    assert preview.total == invoice.total == 9000
    assert preview.lines.data[0].period == invoice.lines.data[0].period


def test_the_preview_of_a_schedule_that_ends_in_cancellation_has_nothing(scheduled):
    then(scheduled, end_behavior="cancel")
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        scheduled.v1.invoices.create_preview({"subscription": scheduled.sub})
    assert nothing.value.code == "invoice_upcoming_none"
