"""Death at every moment of what is done later, then once more; all of it twice, and late: the same has become of it."""

import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

import process_webhook
import remind
import set_timer
import take_dunning_step
from billing import customer_table, dynamodb, scheduler, timer_table
from tests.functions import boundaries
from tests.functions.at_stripe import ask, batch
from tests.functions.boundaries import Trouble, calls_worth, differences
from tests.functions.later import ACTIONS, DAY, HOUR, events
from tests.functions.later import mails as mailed
from tests.functions.test_dunning import has_access, new_card

HANDLERS = {"take_dunning_step": take_dunning_step.handler, "remind": remind.handler}
ENDS = {
    "end_access": {"dunning_ends": "end_access", "grace_days": 30},
    "cancel": {"dunning_ends": "cancel"},
    "free_plan": {"dunning_ends": "free_plan", "dunning_plan": "free"},
}
IDS, TIMES = re.compile(r"\b([a-z]{2,5})_[0-9a-f]{20}\b"), re.compile(r"T\d\d:\d\d:\d\dZ")

world = boundaries.world


@pytest.fixture
def clock(clock):
    clock.stopped = datetime(2027, 1, 4, 6, tzinfo=UTC).timestamp()  # a day is the same one some hours later
    clock.stop = lambda: None
    return clock


@pytest.fixture
def dies(world, later):
    """
    What it comes to when an action dies at any moment, and is told to happen again as whoever invoked it does, is what
    it comes to when nobody dies; answers that.
    """

    def walk(live, least):
        world.keep()
        quiet = world.trouble = Trouble(world.stripe)
        wanted = lived(live)
        assert not world.crashes
        numbers = calls_worth("dies", quiet.calls)
        for number in numbers:
            world.back()
            trouble = world.trouble = Trouble(world.stripe, "dies", number)
            found = lived(live)
            assert trouble.came and world.crashes
            assert differences(wanted, found) == {}, quiet.calls[max(number - 3, 0) : number]
        assert len(numbers) >= least, quiet.calls
        return wanted

    def lived(live):
        world.stripe.calls.clear()
        live()
        world.calms()
        comes_to_rest(world)
        return state(world, later.api)

    return walk


def fires(world, timer):
    about = {"customer": "ada", "kind": timer.kind, "subject": timer.subject, "step": timer.step}
    world.invoke(HANDLERS[ACTIONS[timer.kind]], about, ACTIONS[timer.kind])


def hears(world):
    world.sends()
    while world.delivers():
        pass


def comes_to_rest(world):
    """The news of it, and the timers that the sweep finds."""
    for _ in range(4):
        hears(world)
        world.clock.pass_by(minutes=15)
        for _, timer in timer_table.waiting(int(world.clock.now()), None)[0]:
            fires(world, timer)
    assert timer_table.waiting(int(world.clock.now()), None)[0] == [] == world.unheard()


def masked(said):
    """Ids differ from life to life; and who died is late by less than a day."""
    told = json.loads(TIMES.sub("", IDS.sub(r"\1", json.dumps(said, default=str))))
    return told | {"events": sorted(told["events"], key=json.dumps)}


def state(world, api):
    now, stripe = int(world.clock.now()), world.stripe
    ours = customer_table.find("ada", now)
    cases = dynamodb.query("Subscriptions", "customer#ada", "case#")
    paid = [each for each in stripe.calls if each.path.endswith("/pay") and each.status != 400 and not each.replayed]
    return masked(
        {
            "events": [[each["type"], each["data"]] for each in events()],
            "sequence": [each["sequence"] for each in events()] == list(range(1, ours.told + 1)),
            "mails": sorted(mailed()),
            "cases": [
                [case.taken, case.outcome, case.ending, case.due and case.due - case.since] for case in ours.cases
            ],
            "closed": sorted(each["outcome"] for each in cases),
            "timers": sorted([timer.kind, timer.step] for _, timer in timer_table.waiting(2**40, None)[0]),
            "charges": sorted(each["amount"] for each in stripe.charges.values()),
            "pays": len(paid),
            "invoices": sorted([each["status"], each["total"]] for each in stripe.invoices.values()),
            "subscriptions": sorted(each["status"] for each in stripe.subscriptions.values()),
            "ours": [ours.subscription.theirs.status, ours.subscription.plan, ours.subscription.theirs.quantity],
            "access": has_access(api) if ours.lives() else ours.access,
            "pending": ours.pending and ours.pending.wish.action,
        }
    )


def due(kind):
    return min((timer for _, timer in timer_table.waiting(2**40, None)[0] if timer.kind == kind), key=lambda t: t.due)


def until_step(world, later, step):
    """The steps before it have been taken; its time has come, and it is heard of all that was before."""
    while (timer := due("dunning")).step != str(step):
        later.passes(hours=max(1, (timer.due - later.now) // HOUR + 2), step=30 * DAY)
    later.goes(max(0, timer.due - later.now) + 60)
    hears(world)
    return timer


@pytest.mark.parametrize(
    "ends, step, least", [("end_access", 1, 1), ("end_access", 4, 2), ("cancel", 4, 6), ("free_plan", 4, 10)]
)
def test_a_step_of_dunning(world, later, fails, dies, ends, step, least):
    fails(**ENDS[ends])
    timer = until_step(world, later, step)
    came_to = dies(lambda: fires(world, timer), least)
    taken = [data["step"] for type, data in came_to["events"] if type == "dunning.step_taken"]
    assert sorted(taken) == list(range(step + 1))


def test_a_step_of_what_has_been_paid(world, later, fails, stripe, dies):
    invoice = fails()
    timer = until_step(world, later, 1)
    stripe.pay_on_page(invoice, new_card(stripe))
    assert dies(lambda: fires(world, timer), 1)["mails"].count("payment_recovered") == 1


def test_a_failing_renewal_is_heard_of(world, later, subscribe, stripe, dies):
    id = subscribe()
    stripe.card_behaves(stripe.subscriptions[id]["default_payment_method"], "generic_decline")
    later.clock.pass_by(seconds=later.record().subscription.theirs.current_period_end - later.now + 2 * HOUR)
    stripe.tick()
    came_to = dies(lambda: hears(world), 1)
    assert came_to["mails"].count("payment_failed") == 1 and came_to["cases"] == [[1, None, False, 3 * DAY]]


@pytest.mark.parametrize("token, charges", [("pm_card_mastercard", 2), ("pm_card_chargeCustomerFail", 1)])
def test_a_new_payment_method_is_tried(world, later, fails, stripe, dies, token, charges):
    fails("lost_card")
    hears(world)
    (theirs,) = stripe.customers
    ask(stripe, "POST", f"/v1/payment_methods/{token}/attach", customer=theirs)
    came_to = dies(lambda: hears(world), 3)
    assert (len(came_to["charges"]), came_to["pays"]) == (charges, 1)


@pytest.mark.parametrize("kind, plan", [("trial", {"trial_days": 14}), ("card", {"billing_interval": "year"})])
def test_a_reminder(world, later, subscribe, dies, kind, plan):
    subscribe(**plan)
    timer = due(kind)
    later.clock.pass_by(seconds=timer.due - later.now + 60)
    if kind == "card":
        later.stripe.tick()
    hears(world)
    came_to = dies(lambda: fires(world, timer), 1)
    assert came_to["mails"].count({"trial": "trial_ending", "card": "card_expiring"}[kind]) == 1


def test_the_end_of_the_grace(world, later, fails, dies):
    fails(dunning_days=[0, 20])
    timer = due("access")
    later.goes(timer.due - later.now + 60)
    hears(world)
    assert dies(lambda: fires(world, timer), 1)["access"] == [False, "past_due"]


def test_a_timer_gets_its_schedule(world, later, fails):
    fails()
    (sample,) = json.loads(Path("events/dynamodb.json").read_text())["Records"]
    timers = [each for each in dynamodb.query("Subscriptions", "customer#ada", "timer#") if "waits" in each]
    images = [sample["dynamodb"] | {"NewImage": dynamodb.encode(each)} for each in timers]
    records = [sample | {"dynamodb": each | {"SequenceNumber": str(n)}} for n, each in enumerate(images)]
    world.keep()
    made = {}
    for number in range(len(records) + 1):
        world.back()
        world.trouble = Trouble(world.stripe, "dies", number)
        for _ in range(2):  # a stream's batch comes again until it is through
            world.call(set_timer.handler, {"Records": records}, world.context)
        world.calms()
        group = scheduler.scheduler().list_schedules(GroupName="schedules")["Schedules"]
        made[number] = sorted(each["Name"] for each in group)
        assert world.crashes == 1 and len(made[number]) == len(records) >= 2
    assert len({tuple(names) for names in made.values()}) == 1


# Twice, and late


@pytest.mark.parametrize("becomes", [*ENDS, "paid by a retry", "paid with another card"])
def test_every_timer_and_message_twice_and_late(world, later, fails, stripe, becomes):
    invoice = fails("lost_card" if "another" in becomes else "generic_decline", **ENDS.get(becomes, {}))
    hears(world)
    old = stripe.invoices[invoice]
    world.keep()

    def live(times, late):
        world.back()
        stripe.calls.clear()
        begun = later.now
        while later.now < begun + 17 * DAY or world.unheard():
            later.clock.pass_by(hours=12)
            stripe.tick()
            if begun + 4 * DAY <= later.now < begun + 4 * DAY + 12 * HOUR:
                recovers(old)
            came = [each for each in world.unheard() if each["created"] <= later.now - late]
            for _ in range(times):
                if came:
                    assert process_webhook.handler(batch(came), later.context) == {"batchItemFailures": []}
            for _, timer in timer_table.waiting(later.now - late, None)[0]:
                for _ in range(times):
                    fires(world, timer)
        assert not world.crashes
        return state(world, later.api)

    def recovers(old):
        if becomes == "paid by a retry":
            for id in [id for id, each in stripe.payment_methods.items() if each["customer"]]:
                stripe.card_behaves(id)
        elif becomes == "paid with another card":
            new_card(stripe)

    def said(came_to):
        """What depends on when it was heard is left out."""
        kinds = Counter(kind for kind in came_to["mails"] if kind != "subscription_changed")
        dunning = [
            [type, data["step"], data["problem"], data["outcome"]]
            for type, data in came_to["events"]
            if type.startswith("dunning.")
        ]
        return came_to | {"mails": kinds, "events": dunning}

    wanted = live(times=1, late=0)
    assert differences(wanted, live(times=2, late=0)) == {}
    assert differences(said(wanted), said(live(times=2, late=DAY))) == {}
    assert [type for type, _ in wanted["events"]].count("dunning.ended") == 1
