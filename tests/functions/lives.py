"""
Lives of the functions that heal, each a world and what happens in it: what the function is given, and given again
until it is through, then what comes by itself (the next sweeps). Told by names for the tests that make trouble.
"""

import json
import time

from stripe import WebhookSignature

import bury_webhook
import receive_webhook
from billing import customer_table, queue, records, run_table, webhook_table
from billing.holds import PATIENCE
from billing.runs import Run
from billing.webhooks import envelope
from tests.functions.at_stripe import Death, ask, pays_with
from tests.functions.boundaries import rows

ADMIN = {"scope": "billing/admin"}
TEAM = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
PAGE = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}


# What they find


def subscribes(w, customer, order=TEAM):
    answer = w.api("POST", "/subscription", order, customer=customer)
    assert answer.status == 200, answer.json
    return answer.json["id"]


def seats(w, customer, quantity):
    subscription = stripe_subscription(customer)
    item = w.stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    wanted = {"items": {"0": {"id": item, "quantity": str(quantity)}}, "proration_behavior": "none"}
    ask(w.stripe, "POST", f"/v1/subscriptions/{subscription}", **wanted)


def stripe_subscription(customer):
    return customer_table.find(customer, 0).subscription.theirs.id


def befall(w, *troubles):
    """Each comes to its customer; up to where it says `yield` all that Stripe has told is heard."""
    begun = [trouble(w, customer) for trouble, customer in troubles]
    for each in begun:
        next(each)
    w.sends()
    w.settles()
    assert not w.crashes and not w.unheard()
    for each in begun:
        next(each, None)


def dies_at(w, moment, nth, *request, **more):
    """The maker of a change dies there; Stripe's events of it are not heard yet."""
    seen = []

    def listen(now):
        seen.append(now)
        if seen.count(moment) == nth:
            raise Death

    w.moments.append(listen)
    try:
        w.api(*request, **more)
    except Death:
        pass
    else:
        raise AssertionError(f"{moment} came {seen.count(moment)} times")
    finally:
        w.moments.remove(listen)


def cancelled_and_not_refunded(w, customer):
    """Its maker died when Stripe had cancelled it: the money is owed."""
    subscribes(w, customer)
    yield
    refund = {"immediately": True, "unused_time": "refund"}
    dies_at(w, "after delete", 1, "POST", "/subscription/cancel", refund, customer=customer)
    w.clock.pass_by(seconds=PATIENCE)
    assert customer_table.find(customer, 0).pending


def on_a_second_trial(w, customer):
    """By a card that had its trial with another customer, on a page of Checkout."""
    assert w.api("PUT", "/plans/trial", TRIAL).status == 200
    subscribes(w, "first", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    yield
    session = w.api("POST", "/checkout", {"plan_slug": "trial"} | PAGE, customer=customer).json["id"]
    w.stripe.complete_checkout(session)


def with_a_lost_change(w, customer):
    """What was to come had been put aside for a change that was never paid, and has to come again."""
    id = subscribes(w, customer)
    later = {"quantity": 3, "effective": "period_end"}
    assert w.api("PUT", "/subscription/seats", later, customer=customer).status == 200
    pays_with(w.stripe, id, "pm_card_chargeCustomerFail")
    assert w.api("PUT", "/subscription/seats", {"quantity": 8}, customer=customer).json["pending_change"]
    yield
    w.clock.pass_by(hours=24)
    w.stripe.tick()
    assert not w.stripe.subscriptions[id]["pending_update"]


def open_and_paid(w, customer):
    """A renewal that was declined, heard of, and paid since."""
    id = subscribes(w, customer)
    pays_with(w.stripe, id, "pm_card_chargeCustomerFail")
    w.clock.pass_by(days=31)
    w.stripe.tick()
    w.clock.pass_by(hours=2)
    w.stripe.tick()
    yield
    (invoice,) = [id for id, each in w.stripe.invoices.items() if each["status"] == "open"]
    method = pays_with(w.stripe, id, "pm_card_visa")
    ask(w.stripe, "POST", f"/v1/invoices/{invoice}/pay", payment_method=method)


def deleted(w, customer):
    subscribes(w, customer)
    yield
    ask(w.stripe, "DELETE", f"/v1/customers/{customer_table.find(customer, 0).stripe_id}")


def registered_by_the_dead(w, customer):
    yield
    at, before = int(w.clock.now()), customer_table.find(customer, int(w.clock.now()))
    records.commit(before, before.begins_registration(at))
    ask(w.stripe, "POST", "/v1/customers", metadata={"customer": customer})


def with_another_beside(w, customer):
    subscribes(w, customer)
    yield
    ours = customer_table.find(customer, 0)
    price = {"price": ours.subscription.theirs.price, "quantity": "1"}
    ask(w.stripe, "POST", "/v1/subscriptions", customer=ours.stripe_id, items={"0": price})


def missed(w, customer):
    subscribes(w, customer)
    yield
    seats(w, customer, 9)


def silence(w):
    """What Stripe told in it is beyond the sweep: the reconciliation's."""
    w.silence = set(w.stripe.events)
    w.clock.pass_by(hours=3)
    run_table.sweeps(run_table.swept(), since=int(w.clock.now()), to=int(w.clock.now()), until=int(w.clock.now()))


# Lives


def hearing(*troubles, later=None):
    """All that Stripe has told of them comes in the queue."""

    def build(w):
        befall(w, *troubles)

    def live(w):
        w.sends()
        w.delivers()
        if later:
            later(w)
            w.sends()
        w.settles()
        w.calms()
        w.sends()  # of what has been done meanwhile Stripe tells, too
        w.settles()

    return build, live, [customer for _, customer in troubles]


def receiving():
    def build(w):
        befall(w, (missed, "ada"))

    def live(w):
        (event, *_) = [each for each in w.unheard() if each["type"] == "customer.subscription.updated"]
        body = json.dumps(event)

        def send():
            signature = WebhookSignature.generate_signature_header(body, "whsec_test", int(time.time()))
            return receive_webhook.handler({"headers": {"stripe-signature": signature}, "body": body}, None)

        for _ in range(9):
            if (w.call(send) or {}).get("statusCode") == 200:
                break
        assert w.waiting() == [1, 0]
        w.settles()

    return build, live, ["ada"]


def burying():
    def build(w):
        befall(w, (missed, "ada"))

    def live(w):
        done = next(iter(rows().values()))
        queue.send(webhook_table.find(done["id"]).event, replay=1)
        w.sends()
        for _ in range(9):
            if not w.delivers(bury_webhook.handler):
                break

    return build, live, ["ada"]


def replaying():
    def build(w):
        befall(w, (missed, "ada"))
        for event in w.unheard():
            for _ in range(5):
                webhook_table.failed(envelope(event), "it was rotten")

    def live(w):
        failed = [id for id, row in rows().items() if row["outcome"] == "failed"]
        for id in failed:
            for _ in range(5):
                w.call(lambda id=id: w.api("POST", f"/webhook-events/{id}/replay", claims=ADMIN))
                w.settles()
                if webhook_table.find(id).outcome != "failed":
                    break

    return build, live, ["ada"]


def sweeping(*troubles, run=False):
    def build(w):
        befall(w, *troubles)
        if run:
            silence(w)
            begun = run_table.begin(Run("nightly-0", dry_run=False, started_at=int(w.clock.now()) - 700))
            assert not begun.finished_at

    def live(w):
        w.sweeps()
        w.sees_to_the_cursor()
        w.settles()
        the_next_sweeps(w)
        if run:
            w.reconciles("2026-11-25T03:00:00Z")
            w.settles()

    return build, live, [customer for _, customer in troubles]


def reconciling(*troubles, asked=False):
    def build(w):
        befall(w, *troubles)
        silence(w)

    def live(w):
        if asked:
            request = ("POST", "/reconcile", {"dry_run": False})
            for _ in range(9):
                answer = w.call(lambda: w.api(*request, key="k", claims=ADMIN))
                if answer and answer.status == 200:
                    break
                w.clock.pass_by(seconds=60)
        else:
            w.reconciles("2026-11-24T03:00:00Z")
        w.settles()
        the_next_sweeps(w)
        w.reconciles("2026-11-25T03:00:00Z")
        w.settles()
        the_next_sweeps(w)  # what that has done at Stripe is heard of

    return build, live, [customer for _, customer in troubles]


def the_next_sweeps(w):
    w.calms()
    for _ in range(2):
        w.clock.pass_by(minutes=15)
        w.sweeps()
        w.sees_to_the_cursor()
        w.settles()


def changes_again(w):
    seats(w, "ada", 7)


LIVES = {
    "receive an event": receiving,
    "process an update": lambda: hearing((missed, "ada"), later=changes_again),
    "process an invoice": lambda: hearing((open_and_paid, "gus")),
    "process a cancellation whose refund is owed": lambda: hearing((cancelled_and_not_refunded, "bob")),
    "process a second trial": lambda: hearing((on_a_second_trial, "eve")),
    "process a change that is to be restored": lambda: hearing((with_a_lost_change, "cal")),
    "process a deleted customer": lambda: hearing((deleted, "dan")),
    "process all of them": lambda: hearing(
        (on_a_second_trial, "eve"), (with_a_lost_change, "cal"), (cancelled_and_not_refunded, "bob"), (deleted, "dan"),
        (missed, "ada"),
    ),
    "bury events": burying,
    "replay events": replaying,
    "sweep missed events": lambda: sweeping((missed, "ada")),
    "sweep a hold": lambda: sweeping((cancelled_and_not_refunded, "bob")),
    "sweep with a run that stands still": lambda: sweeping((missed, "ada"), run=True),
    "reconcile a change and a dead registration": lambda: reconciling(
        (missed, "ada"), (registered_by_the_dead, "fay")
    ),
    "reconcile an invoice": lambda: reconciling((open_and_paid, "gus")),
    "reconcile one beside": lambda: reconciling((with_another_beside, "hal")),
    "reconcile a deleted customer": lambda: reconciling((deleted, "dan")),
    "reconcile a hold": lambda: reconciling((cancelled_and_not_refunded, "bob")),
    "reconcile a second trial": lambda: reconciling((on_a_second_trial, "eve")),
    "reconcile a change that is to be restored": lambda: reconciling((with_a_lost_change, "cal")),
    "reconcile on demand": lambda: reconciling((missed, "ada"), asked=True),
}  # fmt: skip
