"""An account that was made past Tollgate is adopted: what is placed, what is left and why, and that it is so once."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import process_webhook
from billing import customer_table, dynamodb, gateway, webhook_table
from billing.webhooks import WebhookEvent
from local.adopt import Wishes, adopt, listed, matched, read
from local.stripe_account import reached
from local.tables import TABLES
from local.tollgate import Answer, Refused, Tollgate, Wrong
from tests.adoption.conftest import CARRIED, FLAT, LEFT
from tests.functions.at_stripe import Death, ask

OFFER = {"name": "Old", "billing_interval": "month", "currency": "usd", "base_price_cents": 900}
OFFER |= {"price_per_seat_cents": 900, "included_seats": 1}
ORDER = {"plan_slug": "team", "payment_method": "pm_card_visa"}


def records():
    """All that is on record."""
    found = {}
    for table in TABLES.values():
        found[table] = dynamodb.db().scan(TableName=table)["Items"]
    return found


def at_stripe(stripe):
    """All that Stripe has."""
    tables = ("customers", "subscriptions", "prices", "products", "invoices", "events")
    return {table: dict(getattr(stripe, table)) for table in tables}


def reasons(told):
    """Of whom is left: Stripe's id to the first word of the reason."""
    left = [line.split() for line in told if line.startswith("  ") and line.split()[1] == "left"]
    return {id: why.rstrip(":") for id, _, why, *_ in left}


def linked(old):
    """Kinds of customers that are on record, each as the one it was said to be."""
    found = set()
    for kind, id in old.customers.items():
        try:
            owner = customer_table.owner(id)
        except Exception:
            continue
        assert owner == kind
        found.add(kind)
    return found


def test_a_dry_run_tells_all_of_it_and_changes_nothing(run, old, stripe, told, asked):
    before = records(), at_stripe(stripe)

    assert run(apply=False) == 1
    assert (records(), at_stripe(stripe)) == before
    assert {call.method for call in stripe.calls} == {"GET"} and {each.split()[0] for each in asked} == {"GET"}
    left = reasons(told)
    assert {kind: left.get(id) for kind, id in old.customers.items() if id in left} == LEFT
    would = {line.split()[0] for line in told if " would be done" in line}
    assert {kind for kind, id in old.customers.items() if id in would} == CARRIED
    assert told[-3:] == [
        "prices: would be done 4, already there 0, left 5",
        "customers: would be done 22, already there 0, left 16, without an id and a subscription 1",
        "nothing has been done: APPLY=1 does it",
    ]


def test_what_is_done_is_what_was_told(run, old, told):
    run(apply=False)
    would = {line.split()[0] for line in told if " would be done" in line}
    why = reasons(told)

    assert run() == 1
    assert ({line.split()[0] for line in told if " done " in f"{line} "}, reasons(told)) == (would, why)
    assert linked(old) == CARRIED
    assert told[-2:] == [
        "prices: done 4, already there 0, left 5",
        "customers: done 22, already there 0, left 16, without an id and a subscription 1",
    ]


def test_what_is_placed_can_be_used_at_once(run, old, api):
    run()

    for kind, (plan, version, seats) in {
        "plain3": ("team", 2, 4),
        "yearly0": ("yearly", 1, 7),
        "older1": ("team", 1, 1),
        "on trial": ("team", 2, 1),
        "cancelling": ("team", 2, 1),
    }.items():
        mine = api("GET", "/subscription", customer=kind).json
        assert (mine["plan"], mine["plan_version"], mine["seats"], mine["access"]) == (plan, version, seats, True), kind
        assert api("GET", "/entitlements/reports", customer=kind).json["allowed"] is True
    assert api("GET", "/plans/team").json["version"] == 2
    assert api("GET", "/subscription", customer="cancelling").json["cancel_at_period_end"] is True
    changed = api("PUT", "/subscription/seats", {"quantity": 9}, customer="plain3").json
    assert (changed["seats"], changed["proration"]["net_cents"]) == (9, 4500)
    assert api("GET", "/subscription", customer="classic").status == 404


def test_what_is_left_is_as_it_was(run, old, stripe):
    before = at_stripe(stripe)
    run()
    after = at_stripe(stripe)

    assert after["subscriptions"] == before["subscriptions"] and after["invoices"] == before["invoices"]
    for kind in set(old.customers) - CARRIED:
        assert after["customers"][old.customers[kind]] == before["customers"][old.customers[kind]]
    assert after["prices"] == before["prices"] and after["products"] == before["products"]


def test_a_second_run_changes_nothing_and_asks_once_about_each(run, old, stripe, told, asked):
    run()
    before = records(), at_stripe(stripe)
    stripe.calls.clear()
    asked.clear()

    assert run() == 1
    assert (records(), at_stripe(stripe)) == before
    assert told[-2:] == [
        "prices: done 0, already there 4, left 5",
        "customers: done 0, already there 22, left 16, without an id and a subscription 1",
    ]
    assert {each.split()[0] for each in asked} == {"GET"} and len(asked) == 9 + 36
    assert {call.method for call in stripe.calls} == {"GET"} and len(stripe.calls) == 2 + 5  # two lists, five prices


def test_whatever_moment_a_run_dies_at_the_next_one_ends_the_same(run, old, stripe, moments, told):
    class Death(BaseException): ...

    deaths = 0
    for moment in (3, 9, 20, 21, 22, 23, 24, 25, 26, 40, 41, 42, 43, 60, 77, 94, 111, 150, 199):
        passed = iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            run()
        except Death:
            deaths += 1
        finally:
            moments.remove(die)
    assert deaths >= 10

    run()
    assert linked(old) == CARRIED and records_by_kind(old) == wanted_by_kind(old, stripe)
    assert run() == 1 and told[-1].startswith("customers: done 0, already there 22")


def records_by_kind(old):
    found = {}
    for kind in CARRIED:
        ours = customer_table.find(kind, 0)
        found[kind] = (ours.stripe_id, ours.subscription and (ours.subscription.theirs.id, ours.subscription.plan))
    return found


def wanted_by_kind(old, stripe):
    plans = {old.prices[name]: slug for name, slug in (("flat", "team"), ("older", "team"), ("tiered", "yearly"))}
    plans[old.prices["euros"]] = "euros"
    found = {}
    for kind in CARRIED:
        id = old.customers[kind]
        living = [each for each in stripe.subscriptions.values() if each["customer"] == id and not each["ended_at"]]
        newest = living[-1] if living else None
        found[kind] = (id, newest and (newest["id"], plans[newest["items"]["data"][0]["price"]["id"]]))
    return found


def test_a_classic_subscription_is_migrated_only_if_that_is_said(run, old, stripe, api):
    (classic,) = [each["id"] for each in stripe.subscriptions.values() if each["customer"] == old.customers["classic"]]
    run()
    run(apply=False, migrate=True)
    assert stripe.subscriptions[classic]["billing_mode"]["type"] == "classic"

    run(migrate=True)
    assert stripe.subscriptions[classic]["billing_mode"]["type"] == "flexible"
    changed = api("PUT", "/subscription/seats", {"quantity": 2}, customer="classic").json
    assert (changed["id"], changed["seats"]) == (classic, 2)


def test_none_is_migrated_that_is_not_linked(run, old, stripe, past):
    theirs = past.customer("plain0")
    second = past.subscribe(theirs, old.prices["flat"], billing_mode={"type": "classic"})
    unplaced = past.subscribe(old.customers["weekly"], old.prices["flat"], billing_mode={"type": "classic"})
    run(migrate=True)
    assert {stripe.subscriptions[each]["billing_mode"]["type"] for each in (second, unplaced)} == {"classic"}


def test_a_migration_that_stripe_refuses_leaves_the_customer(run, old, stripe, told, account, monkeypatch):
    def refuse(subscription):
        raise gateway.errors.StripeRefused("no")

    monkeypatch.setattr(account, "migrate", refuse)
    run(migrate=True)
    assert reasons(told)[old.customers["classic"]] == "migration_refused"
    assert "classic" not in linked(old)


def test_the_e_mail_address_may_be_the_id_and_is_told_nowhere(run, old, past, told, stripe):
    theirs = past.customer(None, email="ada@example.com", name="Ada")
    past.subscribe(theirs, old.prices["flat"])
    for _ in range(2):
        past.customer(None, email="twice@example.com")

    run(ids=matched("email"), apply=False)
    run(ids=matched("email"))
    assert customer_table.owner(theirs) == "ada@example.com"
    assert (stripe.customers[theirs]["metadata"], list(reasons(told).values()).count("duplicate")) == (
        {"customer": "ada@example.com"},
        2,
    )
    said = told.text()
    assert "@" not in said and "Ada" not in said and theirs in said


def test_a_file_says_whose_they_are(run, old, told, past, stripe):
    clock = ask(stripe, "POST", "/v1/test_helpers/test_clocks", frozen_time="1800000000")["id"]
    timed = past.customer(None, test_clock=clock)
    kinds = ("plain0", "nobody pays", "twin", "several")
    rows = {old.customers[kind]: kind for kind in kinds} | {"cus_none": "x", timed: "timed"}
    text = "\n".join(["stripe_customer, customer", *(f"{id},{who}" for id, who in rows.items()), "", "cus_none,x"])

    ids = {id: said for id, (said,) in listed(text).items()}
    run(ids=lambda customer: ids.get(customer.id), named=set(ids))
    assert linked(old) == {"plain0", "nobody pays", "twin"}
    why = reasons(told)
    assert (why["cus_none"], why[timed], why[old.customers["several"]]) == (
        "no_such_stripe_customer",
        "test_clock",
        "several_items",
    )
    assert why[old.customers["plain1"]] == "no_id"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "first line"),
        ("customer,stripe_customer\na,cus_1", "first line"),
        ("stripe_customer,customer\ncus_1", "line 2"),
        ("stripe_customer,customer\ncus_1,a,b", "line 2"),
        ("stripe_customer,customer\ncus_1,a\nada@example.com,cus_2", "line 3"),
        ("stripe_customer,customer\ncus_1,é", "line 2"),
        ("stripe_customer,customer\ncus_1,a\ncus_1,b", "two things of cus_1"),
    ],
)
def test_a_file_that_says_something_else_is_not_begun_with(text, wrong):
    with pytest.raises(Wrong, match=wrong) as refused:
        listed(text)
    assert "@" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("price_1: {slug: Team}", "price_1.slug"),
        ("price_1: {slug: team, base_price_cents: 1}", "price_1.base_price_cents: is as Stripe has it"),
        ("price_1: {slug: team, currency: usd}", "price_1.currency"),
        ("price_1: {slug: team, on_sale: true}\nprice_2: {slug: team, on_sale: true}", "team: only one"),
        ("price_1: team", "the file is"),
        ("- price_1", "the file is"),
        ("price_1: {slug: team}\nprice_1: {slug: pro}", "said twice"),
    ],
)
def test_a_file_of_prices_that_cannot_be_is_not_begun_with(text, wrong):
    with pytest.raises(Wrong, match=wrong):
        read(text)


def test_what_a_plan_may_not_say_leaves_its_price_and_whoever_has_it(run, old, told):
    old.said[old.prices["tiered"]] |= {"max_seats": 2}
    old.said[old.prices["older"]] |= {"on_sale": True}
    old.said[old.prices["flat"]] |= {"on_sale": False}
    run()
    assert not {"yearly0", "older0"} & linked(old) and "plain0" in linked(old)
    assert "more seats are included than the plan allows" in " ".join(told) and "it is archived" in " ".join(told)


def test_a_customer_who_is_another_stripe_customer_already_is_left(run, old, api, told):
    api("PUT", "/customer", {"name": "Ada"}, customer="plain0")
    run(apply=False)
    assert reasons(told)[old.customers["plain0"]] == "already_linked"
    run()
    assert reasons(told)[old.customers["plain0"]] == "already_linked"
    assert linked(old) == CARRIED - {"plain0"}


def test_a_twin_of_one_that_is_linked_is_a_duplicate_and_the_one_stays(run, old, past, told):
    run()
    twin = past.customer("plain0")
    run()
    assert reasons(told)[twin] == "duplicate" and old.customers["plain0"] not in reasons(told)


def test_what_becomes_a_plan_later_is_placed_by_a_later_run(run, old, api, told):
    run()
    old.said[old.prices["unnamed"]] = {"slug": "unnamed", "name": "Unnamed"}
    run()
    assert linked(old) == CARRIED | {"unnamed"}
    assert api("GET", "/plans/unnamed").status == 404
    assert api("GET", "/subscription", customer="unnamed").json["plan"] == "unnamed"


def test_a_linked_customer_of_whom_our_record_has_too_little_is_linked_again(run, old, api, past):
    run()
    bought = past.subscribe(old.customers["nothing"], old.prices["flat"])
    assert api("GET", "/subscription", customer="nothing").status == 404
    run()
    assert api("GET", "/subscription", customer="nothing").json["id"] == bought


def test_whoever_is_busy_is_waited_for(run, old, stripe, send, waited, told, account, monkeypatch):
    monkeypatch.setattr("billing.gateway.time.sleep", lambda seconds: None)
    stripe.fault("rate_limit", path="/v1/customers", times=4)
    turned = iter([Answer(429, {"message": "Too Many Requests"}), Answer(503, {"code": "stripe_busy"}, 5.0)])

    def busy(method, path, body, key):
        return next(turned, None) or send(method, path, body, key)

    run(by=Tollgate(busy, waited.append))
    assert waited == [1, 1, 5.0] and linked(old) == CARRIED


def test_a_run_ends_where_the_token_is_not_taken(run, old):
    def deny(method, path, body, key):
        return Answer(403, {"message": "Forbidden"})

    with pytest.raises(Refused):
        run(by=Tollgate(deny))


@pytest.mark.parametrize("by", ["", "metadata", "metadata:", "name", "e-mail"])
def test_where_an_id_is_read_is_said_right(by):
    with pytest.raises(Wrong, match="MATCH"):
        matched(by)


@pytest.mark.parametrize(
    ("key", "base"),
    [("", ""), ("pk_test_x", ""), ("sk_test x", ""), ("sk_test_é", ""), ("sk_test_x", "http://example.com")],
)
def test_a_key_is_a_secret_one_and_not_sent_in_the_clear(key, base):
    with pytest.raises(Wrong, match="STRIPE_API") as refused:
        reached(key, base)
    assert not key or key not in str(refused.value)


def test_the_command_says_what_it_found_and_by_its_code_whether_all_is_placed(url, old, past, tmp_path, stripe):
    prices, customers = tmp_path / "prices.yaml", tmp_path / "map.csv"
    flat, mine = old.prices["flat"], old.customers["plain0"]
    prices.write_text(f"{flat}: {{slug: team, name: Team, on_sale: true}}\n")
    customers.write_text(f"stripe_customer,customer\n{mine},ada\n")

    def command(*said, **environment):
        known = {"PATH": os.environ["PATH"], "TOLLGATE_URL": url, "TOLLGATE_TOKEN": "s3cret"}
        known |= {"STRIPE_API_KEY": "sk_test_x", "STRIPE_API_BASE": os.environ["STRIPE_API_BASE"]} | environment
        asked = [sys.executable, "-m", "local.adopt", "--prices", str(prices), "--customers", str(customers), *said]
        return subprocess.run(asked, env=known, capture_output=True, text=True, timeout=60)

    dry, done = command(), command("--apply")
    assert (dry.returncode, done.returncode) == (1, 1) and customer_table.owner(mine) == "ada"
    assert "customers: would be done 1" in dry.stdout and "customers: done 1" in done.stdout
    for id, each in stripe.subscriptions.items():
        if each["customer"] != mine and not each["ended_at"]:
            ask(stripe, "DELETE", f"/v1/subscriptions/{id}")
    placed = command("--apply")
    assert (placed.returncode, placed.stderr) == (0, "")
    assert command(TOLLGATE_TOKEN="").returncode == 1 and command("--match", "email").returncode == 1
    assert "STRIPE_API_KEY" in command(STRIPE_API_KEY="").stderr


def test_a_customer_that_cannot_be_asked_about_does_not_keep_the_others_from_being_placed(run, old, send, told):
    def broken(method, path, body, key):
        if method == "GET" and path == "/customers/over/stripe-customer":
            return Answer(500, {"message": "Internal Server Error"})
        return send(method, path, body, key)

    try:
        run(by=Tollgate(broken, lambda seconds: None))
    except Refused:
        pass  # what it comes to is asserted
    assert customer_table.owner(old.customers["plain0"]) == "plain0"
    assert [line for line in told if old.customers["over"] in line]


def test_whoever_became_a_customer_here_is_none_that_was_left(tollgate, account, past, told, api, plans):
    """The account is placed whole; from then on people subscribe here, and a run tells that all is placed."""
    assert api("POST", "/subscription", ORDER, customer="new").status == 200
    wishes = Wishes(matched("metadata:tenant"), set(), {}, apply=True)

    assert adopt(tollgate, account, wishes, told.append) == 0, told


def test_a_price_that_is_to_be_on_sale_now_is_put_on_sale_or_told_not_to_be(run, old, api, told):
    flat = next(price for price, said in old.said.items() if said["slug"] == "team" and said.get("on_sale"))
    del old.said[flat]["on_sale"]
    run()
    assert api("GET", "/plans/team").status == 404
    old.said[flat]["on_sale"] = True
    run()

    on_sale = api("GET", "/plans/team").status == 200
    assert on_sale or [line for line in told if line.split()[0] == flat]


def test_a_record_that_says_what_stripe_does_not_is_no_customer_that_is_there_already(
    tollgate,
    account,
    past,
    told,
    api,
    stripe,
    moments,
    context,
):
    """
    Cancelled between Stripe's answer and the link, whose maker died before he asked again: the event was nobody's.
    The Stripe customer has named ours all along.
    """
    price = past.price(**FLAT)
    customer = past.customer(None, metadata={"customer": "ada"})
    subscription = past.subscribe(customer, price)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    assert api("PUT", "/plans/old", OFFER | {"stripe_price": price}).status == 200

    def cancelled():
        ask(stripe, "DELETE", f"/v1/subscriptions/{subscription}")
        event = WebhookEvent(
            "evt_1", "customer.subscription.deleted", 1, subscription, customer, subscription, False, None
        )
        (sample,) = json.loads(Path("events/sqs.json").read_text())["Records"]
        process_webhook.handler({"Records": [sample | {"body": json.dumps(asdict(event))}]}, context)
        assert webhook_table.find("evt_1").outcome == "ignored"

        def die():
            raise Death

        moments.once("after TransactWriteItems", die)

    moments.once("before TransactWriteItems", cancelled)
    with pytest.raises(Death):
        api("PUT", "/customers/ada/stripe-customer", {"stripe_customer": customer}, claims={"scope": "billing/admin"})
    assert customer_table.find("ada", 0).live().theirs.status == "active"

    adopt(tollgate, account, Wishes(matched("metadata:customer"), set(), said, apply=True), told.append)
    assert api("GET", "/subscription").status == 404, told


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ({"billing_thresholds": {"amount_gte": 1000, "reset_billing_cycle_anchor": False}}, "threshold"),
        ({"on_behalf_of": "acct_1"}, "connect"),
        ({"application_fee_percent": 10.0}, "connect"),
    ],
    ids=repr,
)
def test_what_cannot_be_carried_is_left_with_its_reason(tollgate, account, past, told, stripe, field, why):
    price, customer = past.price(**FLAT), past.customer("ada")
    past.is_so("subscription", past.subscribe(customer, price), **field)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}

    assert adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said, apply=True), told.append) == 1
    assert [line.split()[2] for line in told if line.split()[0] == customer] == [why]


def test_a_price_that_is_left_is_told_by_the_exit_code_though_nobody_has_it(tollgate, account, past, told, stripe):
    price = past.price(**FLAT | {"recurring": {"interval": "week"}})
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    assert adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said, apply=True), told.append) == 1


def test_that_more_than_one_lives_is_told_before_anything_is_done(tollgate, account, past, told, stripe):
    price, customer = past.price(**FLAT), past.customer("ada")
    for _ in range(2):
        past.subscribe(customer, price)
    said = {price: {"slug": "old", "name": "Old", "on_sale": True}}
    adopt(tollgate, account, Wishes(matched("metadata:tenant"), set(), said), told.append)
    assert [line for line in told if line.split()[0] == customer and "more than one lives" in line]


def test_addresses_that_differ_only_in_case_are_two_ids_and_both_are_left(run, old, past, told):
    both = [past.customer(None, email=each) for each in ("Ada@example.com", "ada@example.com")]
    run(ids=matched("email"))
    assert [reasons(told).get(each) for each in both] == ["duplicate", "duplicate"]


def test_what_prices_says_otherwise_of_a_version_is_told_and_not_done(run, old, api, told):
    run()
    flat, older, tiered = (old.prices[each] for each in ("flat", "older", "tiered"))
    old.said[flat] |= {"features": []}
    old.said[tiered].pop("on_sale")
    assert api("DELETE", "/plans/euros").status == 200
    run(apply=False)
    before = reasons(told)
    run()
    assert before == reasons(told) and {before.get(each) for each in (flat, tiered, old.prices["euros"])} == {"differs"}
    assert older not in before
    assert api("GET", "/plans/euros").status == 404 and api("GET", "/plans/team").json["features"] == ["reports"]


def test_what_stripe_does_not_answer_about_is_left_and_the_others_go_on(run, old, stripe, told, monkeypatch):
    monkeypatch.setattr("billing.gateway.time.sleep", lambda seconds: None)
    stripe.fault("failed", method="GET", path=f"/v1/prices/{old.prices['tiered']}", times=99)
    run()
    assert reasons(told)[old.prices["tiered"]] == "not_answered" and "plain0" in linked(old)
