"""What is on record is compared with all that Stripe has; what differs is told, and made equal."""

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

import reconcile
from billing import customer_table, dynamodb, reconciliation, records, run_table
from billing.customers import Revision
from billing.holds import digest
from tests.functions.at_stripe import Death, ask, pays_with
from tests.functions.test_nothing_lost import at_call

ADMIN = {"scope": "billing/admin"}
TRIAL = {"name": "Trial", "billing_interval": "month", "currency": "usd", "base_price_cents": 3000, "trial_days": 14}
ORDER = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}


def record(customer="ada"):
    return customer_table.find(customer, 0)


def version(customer="ada"):
    return record(customer).version


def seats(stripe, subscription, quantity):
    item = stripe.subscriptions[subscription]["items"]["data"][0]["id"]
    ask(stripe, "POST", f"/v1/subscriptions/{subscription}", items={"0": {"id": item, "quantity": str(quantity)}})


def drift(report):
    return {each["object"]: (each["classes"], each["repaired"], each["why_not"]) for each in report["drift"]}


@pytest.fixture
def settled(hear, subscribed, clock):
    """All has been heard of, a while ago."""
    hear()
    clock.pass_by(minutes=5)
    return subscribed


def test_where_nothing_differs_nothing_is_found_and_nothing_moves(reconciled, settled):
    before = version()
    report = reconciled()

    assert (report["found"], report["repaired"], report["under_way"], report["drift"]) == (0, 0, 0, [])
    assert report["compared"] == 2 and report["stage"] == "done"  # the subscription and its customer
    assert version() == before


@pytest.mark.parametrize(
    ("change", "classes"),
    [
        (lambda stripe, id: seats(stripe, id, 9), ["quantity"]),
        (lambda stripe, id: ask(stripe, "DELETE", f"/v1/subscriptions/{id}"), ["status"]),
        (lambda stripe, id: ask(stripe, "POST", f"/v1/subscriptions/{id}", cancel_at_period_end="true"), ["cancel_at"]),
        (lambda stripe, id: ask(stripe, "POST", f"/v1/subscriptions/{id}", metadata={"change_id": "x"}), ["other"]),
        (
            lambda stripe, id: ask(stripe, "POST", f"/v1/subscriptions/{id}", pause_collection={"behavior": "void"}),
            ["status"],
        ),
    ],
    ids=["seats", "cancelled", "cancelling", "metadata", "paused"],
)
def test_what_stripe_never_told_of_is_found_told_and_repaired(reconciled, settled, stripe, clock, change, classes):
    change(stripe, settled["id"])
    clock.pass_by(minutes=5)
    before = record().subscription.theirs

    told = reconciled(dry_run=True)
    assert drift(told) == {settled["id"]: (classes, False, None)}
    assert record().subscription.theirs == before  # a dry run only looks

    assert drift(reconciled()) == {settled["id"]: (classes, True, None)}
    assert record().subscription.theirs != before
    assert drift(reconciled()) == {}


def test_the_report_says_what_our_record_said_and_what_stripe_says(reconciled, settled, stripe, clock):
    seats(stripe, settled["id"], 9)
    clock.pass_by(minutes=5)

    (told,) = reconciled()["drift"]
    assert told["customer"] == "ada"
    assert (told["before"]["quantity"], told["after"]["quantity"]) == (5, 9)
    assert told["before"]["status"] == told["after"]["status"] == "active"


def test_a_renewal_that_was_never_told_of(reconciled, settled, stripe, clock):
    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    clock.pass_by(minutes=5)

    found = drift(reconciled())
    assert found.pop(settled["id"]) == (["period"], True, None)
    assert drift(reconciled()) == {}


def test_an_invoice_that_is_open_there_and_unknown_here(api, reconciled, settled, stripe, clock):
    pays_with(stripe, settled["id"], "pm_card_chargeCustomerFail")
    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    clock.pass_by(minutes=5)
    open_ones = [id for id, each in stripe.invoices.items() if each["status"] == "open"]

    found = drift(reconciled())
    assert found[open_ones[0]] == (["missing_here", "invoice"], True, None)
    assert found[settled["id"]][1]
    (kept,) = [each for each in customer_table.invoices("ada", 50) if each.status == "open"]
    assert kept.id == open_ones[0]
    assert drift(reconciled()) == {}


def test_an_invoice_that_is_open_here_and_paid_there_is_mended_with_its_subscription(
    hear, reconciled, settled, stripe, clock
):
    pays_with(stripe, settled["id"], "pm_card_chargeCustomerFail")
    clock.pass_by(days=31)
    stripe.tick()
    clock.pass_by(hours=2)
    stripe.tick()
    hear()
    (invoice,) = [id for id, each in stripe.invoices.items() if each["status"] == "open"]
    method = pays_with(stripe, settled["id"], "pm_card_visa")
    ask(stripe, "POST", f"/v1/invoices/{invoice}/pay", payment_method=method)
    clock.pass_by(minutes=5)

    assert len(record().cases) == 1
    assert drift(reconciled()) == {settled["id"]: (["status"], True, None)}
    assert record().cases == []
    assert {each.status for each in customer_table.invoices("ada", 50)} == {"paid"}
    assert record().subscription.theirs.status == "active"
    assert drift(reconciled()) == {}


def test_a_customer_that_stripe_has_deleted(reconciled, settled, stripe, clock):
    stripe_id = record().stripe_id
    ask(stripe, "DELETE", f"/v1/customers/{stripe_id}")
    clock.pass_by(minutes=5)

    found = drift(reconciled())
    assert found[settled["id"]] == (["status"], True, None)
    assert found[stripe_id] == (["missing_there"], True, None)
    assert not record().lives() and record().stripe_id is None
    assert drift(reconciled()) == {}


def test_a_subscription_that_stripe_does_not_know_is_told_and_not_taken_for_cancelled(reconciled, settled, clock):
    ours = record()
    assert ours.subscription
    lost = replace(ours.subscription, theirs=replace(ours.subscription.theirs, id="sub_of_another_account"))
    records.commit(ours, Revision(replace(ours, version=ours.version + 1, subscription=lost), moved=True))

    found = drift(reconciled())
    assert found["sub_of_another_account"] == (["missing_there"], False, "not_found")
    assert record().subscription.theirs.status == "active"


def test_one_made_beside_the_live_one_is_put_aside(reconciled, settled, stripe, clock):
    ours = record()
    price = {"price": ours.subscription.theirs.price, "quantity": "1"}
    second = ask(stripe, "POST", "/v1/subscriptions", customer=ours.stripe_id, items={"0": price})
    clock.pass_by(minutes=5)

    assert drift(reconciled())[second["id"]] == (["missing_here"], True, None)
    assert customer_table.aside("ada", second["id"]).theirs.status == "active"
    assert record().subscription.theirs.id == settled["id"]
    ask(stripe, "DELETE", f"/v1/subscriptions/{second['id']}")
    clock.pass_by(minutes=5)
    assert drift(reconciled())[second["id"]] == (["status"], True, None)
    assert customer_table.aside("ada", second["id"]).theirs.status == "canceled"


def test_a_customer_whose_maker_died_before_it_was_on_record(reconciled, stripe, aws, clock, api):
    at = int(clock.now())
    revision = record().begins_registration(at)
    records.commit(record(), replace(revision, customer=replace(revision.customer, version=1)))
    made = ask(stripe, "POST", "/v1/customers", metadata={"customer": "ada"})
    clock.pass_by(minutes=5)

    assert drift(reconciled()) == {made["id"]: (["missing_here"], True, None)}
    assert record().stripe_id == made["id"] and customer_table.owner(made["id"]) == "ada"


def test_what_belongs_to_nobody_of_ours_is_left_alone(reconciled, settled, stripe, clock):
    stranger = ask(stripe, "POST", "/v1/customers", email="someone@example.com")
    namesake = ask(stripe, "POST", "/v1/customers", metadata={"customer": "zoe"})
    price = {"price": record().subscription.theirs.price, "quantity": "1"}
    for each in (stranger, namesake):
        card = ask(stripe, "POST", "/v1/payment_methods/pm_card_visa/attach", customer=each["id"])
        bought = {"customer": each["id"], "items": {"0": price}, "default_payment_method": card["id"]}
        ask(stripe, "POST", "/v1/subscriptions", **bought)
    clock.pass_by(minutes=5)

    assert drift(reconciled()) == {namesake["id"]: (["missing_here"], False, "not_linked")}
    assert record("zoe").version == 0


def test_what_is_changing_just_now_is_judged_another_time(reconciled, settled, stripe):
    seats(stripe, settled["id"], 9)

    report = reconciled()
    assert (report["found"], report["under_way"]) == (0, 2)  # in Stripe's list, and in ours
    assert record().subscription.theirs.quantity == 5


def test_what_a_repair_leads_to_is_no_news_that_puts_off_the_rest(api, hear, reconciled, settled, stripe, clock):
    """A change is never paid: what it had put aside is put back at Stripe, and its void invoice is told of, too."""
    api("PUT", "/subscription/seats", {"quantity": 3, "effective": "period_end"})
    pays_with(stripe, settled["id"], "pm_card_chargeCustomerFail")
    api("PUT", "/subscription/seats", {"quantity": 8})
    hear()
    clock.pass_by(hours=24)
    stripe.tick()
    clock.pass_by(minutes=5)
    (void,) = [id for id, each in stripe.invoices.items() if each["status"] == "void"]

    report = reconciled()
    assert drift(report) == {settled["id"]: (["other"], True, None), void: (["invoice"], True, None)}
    assert report["under_way"] == 0
    clock.pass_by(minutes=5)
    assert drift(reconciled()) == {}


def test_what_is_seen_at_stripe_is_not_asked_for_by_its_name(reconciled, settled, stripe):
    stripe.calls.clear()
    reconciled()

    assert {call.path.split("?")[0] for call in stripe.calls} == {"/v1/subscriptions", "/v1/customers", "/v1/invoices"}


@pytest.fixture
def hurried(monkeypatch):
    """Every look at the clock finds that five seconds have passed: a few objects at a time."""
    monkeypatch.setattr(reconciliation, "time", SimpleNamespace(monotonic=count(step=5).__next__))


@pytest.fixture
def carried_on(schedules, context):
    """The schedules for one time come true, one after the other; answers how many."""

    def run():
        done = set()
        while left := schedules().keys() - done:
            name = min(left)
            reconcile.handler(json.loads(schedules()[name]["Target"]["Input"]), context)
            done.add(name)
        return len(done)

    return run


def test_a_run_of_many_slices_is_the_same_run(api, plans, hear, stripe, clock, context, hurried, carried_on):
    customers = [f"customer{n}" for n in range(9)]
    ids = {name: api("POST", "/subscription", ORDER, customer=name).json["id"] for name in customers}
    hear()
    for name in customers[::2]:
        seats(stripe, ids[name], 9)
    clock.pass_by(minutes=5)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert carried_on() > 3
    run = run_table.find("nightly-20261124T030000Z")
    assert (run.found, run.repaired, run.stage) == (5, 5, "done") and run.finished_at
    assert {record(name).subscription.theirs.quantity for name in customers[::2]} == {9}


def test_the_nightly_event_handed_in_twice_is_one_run(settled, context, stripe, clock, schedules):
    seats(stripe, settled["id"], 9)
    clock.pass_by(minutes=5)
    for _ in range(2):
        reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)

    assert [run.repaired for run in run_table.latest(9)] == [1]


def test_stripe_being_busy_ends_the_slice_and_is_no_finding(settled, stripe, clock, context, schedules, carried_on):
    seats(stripe, settled["id"], 9)
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="rate_limit", method="GET", path="/v1/subscriptions/sub_.*", times=6)

    reconcile.handler({"time": "2026-11-24T03:00:00Z"}, context)
    assert run_table.latest(1)[0].finished_at is None
    carried_on()
    (run,) = run_table.latest(9)
    assert (run.found, run.repaired) == (1, 1)


def test_one_object_that_stripe_cannot_show_does_not_keep_the_others(api, hear, reconciled, settled, stripe, clock):
    other = api("POST", "/subscription", ORDER, customer="bob").json["id"]
    hear()
    for each in (settled["id"], other):
        seats(stripe, each, 9)
    clock.pass_by(minutes=5)
    stripe.faults.add(kind="failed", method="GET", path=f"/v1/subscriptions/{settled['id']}", times=99)

    found = drift(reconciled())
    assert found[settled["id"]] == (["other"], False, "stripe_failed")
    assert found[other] == (["quantity"], True, None)


def test_a_repair_stays_on_record_though_stripe_fails_when_it_is_asked_again(
    reconciled, settled, stripe, clock, moments
):
    """What was repaired in Stripe's list comes once more by its name, with all that this run has not seen."""
    path = f"/v1/subscriptions/{settled['id']}"
    seats(stripe, settled["id"], 9)
    clock.pass_by(minutes=5)
    at_call(stripe, moments, "GET", path, lambda: stripe.fault("failed", method="GET", path=path, times=2))

    report = reconciled()
    assert drift(report) == {settled["id"]: (["quantity"], True, None)}
    assert (report["found"], report["repaired"]) == (1, 1)
    assert not stripe.faults.of_call("GET", path), "it was asked once"


def die():
    raise Death


@pytest.fixture
def second(api, hear, stripe, clock):
    """Eve's trial, on a card that has had its trial with Ada; nothing is heard of it, and it is no news any more."""
    assert api("PUT", "/plans/trial", TRIAL).status == 200
    api("POST", "/subscription", {"plan_slug": "trial", "payment_method": "pm_card_visa"})
    hear()
    pages = {"success_url": "https://app.example.com/done", "cancel_url": "https://app.example.com/"}
    session = api("POST", "/checkout", {"plan_slug": "trial"} | pages, customer="eve").json["id"]
    bought = stripe.complete_checkout(session)
    clock.pass_by(minutes=5)
    return bought


def test_two_repairs_of_an_object_in_a_run_are_told_as_what_both_did(reconciled, second, stripe, clock, moments, api):
    """Whoever died after the end of a second trial left it to be recorded, by the same run."""
    run = {"key": "k", "claims": ADMIN}
    moments.once("after post", die)
    with pytest.raises(Death):
        api("POST", "/reconcile", {"dry_run": False}, **run)
    clock.pass_by(minutes=5)
    begun = api("POST", "/reconcile", {"dry_run": False}, **run).json

    (told,) = api("GET", f"/reconcile/{begun['run']}", claims=ADMIN).json["drift"]
    assert (told["object"], told["repaired"], told["before"]) == (second, True, {})
    assert told["classes"] == ["missing_here", "status", "period"] and told["after"]["status"] == "active"


def test_a_second_trial_is_ended_the_next_night_if_the_night_died_before(
    reconciled, second, stripe, clock, context, moments
):
    at_call(
        stripe, moments, "GET", f"/v1/subscriptions/{second}", lambda: moments.once("after TransactWriteItems", die)
    )
    with pytest.raises(Death):
        reconciled()
    assert record("eve").subscription.theirs.status == stripe.subscriptions[second]["status"] == "trialing"
    clock.pass_by(minutes=5)

    reconciled()
    assert stripe.subscriptions[second]["status"] == "active"


def test_what_stripe_refuses_of_what_a_repair_leads_to_does_not_stop_the_run(reconciled, second, stripe):
    stripe.fault("card_declined", method="POST", path=f"/v1/subscriptions/{second}$", times=1)

    report = reconciled()
    assert report["finished_at"] and drift(report)[second] == (["missing_here"], True, None)


def test_a_run_of_yesterday_is_given_up(settled, context, clock, schedules, caplog):
    run_table.begin(run_table.Run("nightly-1", dry_run=False, started_at=int(clock.now())))
    clock.pass_by(days=1)

    reconcile.handler({"run": "nightly-1"}, context)
    assert "abandoned" in caplog.text and not schedules()


def test_the_same_key_is_the_same_run_and_another_wish_under_it_is_refused(api, settled, stripe, clock):
    first = api("POST", "/reconcile", key="k", claims=ADMIN).json
    seats(stripe, settled["id"], 9)
    clock.pass_by(minutes=5)

    assert first["dry_run"] is True
    assert api("POST", "/reconcile", key="k", claims=ADMIN).json == first
    refused = api("POST", "/reconcile", {"dry_run": False}, key="k", claims=ADMIN)
    assert (refused.status, refused.json["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("run", ["no-such-run", digest("x")])
def test_a_run_that_never_was(api, aws, run):
    assert api("GET", f"/reconcile/{run}", claims=ADMIN).status == 404


@pytest.mark.parametrize("path", ["/reconcile/a b", "/reconcile/" + "x" * 99, "/reconcile/x?page=2"])
def test_rubbish_is_400(api, aws, path):
    assert api("GET", path, claims=ADMIN).status == 400


def test_findings_come_page_by_page(api, aws, clock):
    run = run_table.begin(run_table.Run("r", dry_run=True, started_at=0))
    for n in range(120):
        found = run_table.Drift(f"sub_{n:03}", "ada", ["status"])
        dynamodb.transact([run_table.finding(run, found, int(clock.now()))])
    seen, cursor = [], ""
    while cursor is not None:
        page = api("GET", f"/reconcile/r{cursor and '?cursor=' + cursor}", claims=ADMIN).json
        seen += [each["object"] for each in page["drift"]]
        cursor = page["next"]

    assert len(seen) == len(set(seen)) == 120


def test_a_dry_run_settles_no_hold_and_says_nothing_to_stripe_and_a_run_does(dead_hold, stripe, reconciled, hear):
    hear()
    dead_hold("before", 3600)

    reconciled(dry_run=True)
    assert record().pending and {call.method for call in stripe.calls} == {"GET"}
    reconciled()
    assert record().pending is None and record().live().theirs.quantity == 5


def test_when_the_one_on_record_has_ended_the_one_beside_it_takes_its_place(
    reconciled, stripe, subscribed, hear, clock
):
    theirs = stripe.subscriptions[subscribed["id"]]
    item = {"price": theirs["items"]["data"][0]["price"]["id"], "quantity": "2"}
    card = theirs["default_payment_method"]
    said = {"customer": theirs["customer"], "items": {"0": item}, "default_payment_method": card}
    second = ask(stripe, "POST", "/v1/subscriptions", **said)["id"]
    hear()
    assert customer_table.aside("ada", second)
    ask(stripe, "DELETE", f"/v1/subscriptions/{subscribed['id']}")
    clock.pass_by(minutes=5)

    reconciled()
    assert record().live().theirs.id == second


def test_a_stripe_customer_that_stripe_does_not_know_is_told_and_not_taken_for_deleted(
    api, reconciled, stripe, subscribed, hear, clock
):
    """As with the key of another account: whoever is let go of would be made anew."""
    api("POST", "/subscription/cancel", {"immediately": True})
    hear()
    clock.pass_by(minutes=5)
    customer = record().stripe_id
    stripe._account.tables["customer"].pop(customer)

    assert drift(reconciled())[customer] == (["missing_there"], False, "not_found")
    assert record().stripe_id == customer


def test_one_that_is_only_not_listed_is_not_taken_for_deleted(
    api, reconciled, stripe, subscribed, hear, clock, monkeypatch
):
    """Stripe leaves out of its lists whoever is on a test clock."""
    api("POST", "/subscription/cancel", {"immediately": True})
    hear()
    clock.pass_by(minutes=5)
    customer = record().stripe_id
    stripe._account.tables["customer"][customer]["test_clock"] = "clock_1"

    assert drift(reconciled()) == {} and record().stripe_id == customer


def test_a_namesake_is_no_customer_of_ours_though_ours_is_on_record_without_one(
    api, reconciled, stripe, subscribed, hear, clock
):
    ask(stripe, "DELETE", f"/v1/customers/{record().stripe_id}")
    hear()
    assert record().version and record().stripe_id is None
    (price,) = [id for id, each in stripe.prices.items() if each["lookup_key"] == "tollgate_team"]
    paying = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    namesake = ask(stripe, "POST", "/v1/customers", metadata={"customer": "ada"}, **paying)["id"]
    ask(stripe, "POST", "/v1/subscriptions", customer=namesake, items=[{"price": price, "quantity": "1"}])
    clock.pass_by(minutes=5)

    assert drift(reconciled()) == {namesake: (["missing_here"], False, "not_linked")}
    assert record().stripe_id is None
