"""What has been billed, page by page, and what will be: the record and Stripe tell it together."""

import time
from datetime import datetime

import pytest

from billing import customer_table, records
from billing.customers import Revision
from billing.invoices import Billing, Invoice
from tests.functions import metered

SOON = int(time.time()) + 600


def asked(stripe, path, **params):
    status, answer = stripe.handle("POST", path, params)
    assert status == 200, answer
    return answer


@pytest.fixture
def bill(stripe, clock, customer):
    """Makes an invoice of Ada's at Stripe, at that second. Its id."""

    def make(created):
        clock.ahead = created + 0.1 - time.time()
        invoice = asked(stripe, "/v1/invoices", customer=customer)
        assert invoice["created"] == created
        return invoice["id"]

    return make


def keep(*placed, status="paid"):
    """Invoices that only our record knows: they are of a Stripe customer that has been deleted."""
    before = customer_table.find("ada", SOON)
    kept = (Invoice(id, "cus_gone", None, status, "manual", "usd", created, 1, 1, 1, 0) for id, created in placed)
    records.commit(before, Revision(before).billing(tuple(Billing(None, each) for each in kept), SOON))


@pytest.fixture
def customer(api, stripe):
    """Ada has nothing but her profile. Her id at Stripe."""
    assert api("PUT", "/customer", {"name": "Ada"}).status == 200
    return next(iter(stripe.customers))


@pytest.fixture
def walk(api):
    """The ids of all pages, one list for each; `meanwhile` is done after the first."""

    def pages(limit, meanwhile=lambda: None):
        found, following = [], ""
        while following is not None:
            answer = api("GET", f"/invoices?limit={limit}{following and f'&cursor={following}'}")
            assert answer.status == 200, answer.json
            found.append([invoice["id"] for invoice in answer.json["invoices"]])
            if len(found) == 1:
                meanwhile()
            following = answer.json["next"]
        return found

    return pages


@pytest.fixture
def many(bill):
    """Invoices, most of them of one second, where Stripe has an order of its own; the newest first, then by id."""
    placed = [(bill(created), created) for created in (SOON + s for s in (10, *[20] * 9, 30, 40, 40))]
    return [id for id, created in sorted(placed, key=lambda one: (one[1], one[0]), reverse=True)]


@pytest.mark.parametrize("limit", [1, 2, 3, 12, 13, 14, 100])
def test_every_invoice_is_on_one_page_the_newest_first(walk, many, limit):
    pages = walk(limit)

    assert [id for page in pages for id in page] == many
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1) and 0 < len(pages[-1]) <= limit


@pytest.mark.parametrize("limit", [1, 2, 3, 15, 16, 17])
def test_what_only_the_record_knows_stands_among_stripes_own(walk, many, stripe, limit):
    old = {"in_0": SOON + 20, "in_z": SOON + 20, "in_5": SOON + 50}
    keep(*old.items())
    created = {id: stripe.invoices[id]["created"] for id in many} | old

    told = [id for page in walk(limit) for id in page]
    assert told == sorted(created, key=lambda id: (created[id], id), reverse=True)


def test_what_comes_while_paging_moves_nothing(walk, many, bill):
    pages = walk(2, meanwhile=lambda: [bill(SOON + later) for later in (50, 60, 70)])

    assert [id for page in pages for id in page] == many


def test_of_an_invoice_on_record_stripes_word_counts_and_its_links_are_fresh(api, bill, stripe):
    id = bill(SOON)
    asked(stripe, f"/v1/invoices/{id}/finalize")
    keep((id, SOON), ("in_Old", SOON - 5), status="draft")
    theirs, ours = api("GET", "/invoices").json["invoices"]

    assert (theirs["id"], theirs["status"]) == (id, stripe.invoices[id]["status"])
    assert theirs["hosted_invoice_url"] and theirs["hosted_invoice_url"] == stripe.invoices[id]["hosted_invoice_url"]
    assert theirs["invoice_pdf"] == stripe.invoices[id]["invoice_pdf"]
    assert (ours["id"], ours["hosted_invoice_url"], ours["invoice_pdf"]) == ("in_Old", None, None)


def test_without_a_stripe_customer_there_is_what_is_on_record(api, stripe, plans):
    assert api("GET", "/invoices").json == {"invoices": [], "next": None}
    assert not [call for call in stripe.calls if "/v1/invoices" in call.path]


def test_a_page_has_twenty_unless_said(api, bill):
    for _ in range(21):
        bill(SOON)

    answer = api("GET", "/invoices").json
    assert (len(answer["invoices"]), len(api("GET", f"/invoices?cursor={answer['next']}").json["invoices"])) == (20, 1)


def test_a_cursor_opens_no_one_elses_invoices(api, many):
    cursor = api("GET", "/invoices?limit=1").json["next"]

    assert api("GET", f"/invoices?cursor={cursor}", customer="bob").json == {"invoices": [], "next": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=-1", "limit"),
        ("limit=%C2%B2", "limit"),
        ("cursor=10", "cursor"),
        ("cursor=in_1", "cursor"),
        ("cursor=10.cus_1", "cursor"),
        ("cursor=10.in_1%0A", "cursor"),
        ("cursor=1e9.in_1", "cursor"),
        (f"cursor={'9' * 13}.in_1", "cursor"),
        (f"cursor=1.in_{'x' * 300}", "cursor"),
        ("page=2", "page"),
    ],
)
def test_what_no_page_can_be_of_is_refused_by_its_name(api, customer, query, field):
    answer = api("GET", f"/invoices?{query}")

    assert (answer.status, answer.json["fields"][0]["field"]) == (400, field)


@pytest.mark.parametrize("path", ["/invoices", "/invoices/upcoming"])
def test_nothing_is_told_while_stripe_does_not_answer(api, subscribed, stripe, path):
    stripe.fault("unreachable", times=2)
    answer = api("GET", path)

    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "unavailable", "5")


def promote(stripe, **coupon):
    made = asked(stripe, "/v1/coupons", duration="forever", **coupon)
    asked(stripe, "/v1/promotion_codes", promotion={"type": "coupon", "coupon": made["id"]}, code="HALF")


def as_it_is(api, stripe, subscribed): ...


def credited(api, stripe, subscribed):
    assert api("PUT", "/subscription/seats", {"quantity": 2}).json["billed"] == "next_invoice"


def discounted(api, stripe, subscribed):
    promote(stripe, percent_off="50")
    assert api("PUT", "/subscription/discount", {"promotion_code": "HALF"}).status == 200


def in_credit(api, stripe, subscribed):
    customer = stripe.subscriptions[subscribed["id"]]["customer"]
    asked(stripe, f"/v1/customers/{customer}/balance_transactions", amount="-2500", currency="usd")


def to_be_fewer(api, stripe, subscribed):
    answer = api("PUT", "/subscription/seats", {"quantity": 2, "effective": "period_end"})
    assert answer.json["scheduled_change"]["seats"] == 2


def to_be_another_plan(api, stripe, subscribed):
    answer = api("PUT", "/subscription/plan", {"plan_slug": "pro", "effective": "period_end"})
    assert answer.json["scheduled_change"]["plan"] == "pro"


@pytest.mark.parametrize("stands", [as_it_is, credited, discounted, in_credit, to_be_fewer, to_be_another_plan])
def test_the_next_invoice_is_what_it_was_said_to_be(api, subscribed, stripe, clock, stands):
    stands(api, stripe, subscribed)
    coming = api("GET", "/invoices/upcoming").json
    known = set(stripe.invoices)
    clock.pass_by(days=32)
    stripe.tick()
    (renewal,) = [stripe.invoices[id] for id in stripe.invoices if id not in known]

    assert coming["at"] == subscribed["current_period_end"]
    assert datetime.fromisoformat(coming["at"]).timestamp() == renewal["period_end"]
    told = ("currency", "subtotal_cents", "total_cents", "starting_balance_cents", "amount_due_cents")
    assert [coming[name] for name in told] == [renewal[name.removesuffix("_cents")] for name in told]
    assert sorted(line["amount_cents"] for line in coming["lines"]) == sorted(
        line["amount"] for line in renewal["lines"]["data"]
    )


def test_its_lines_add_up_and_its_discounts_are_named(api, subscribed, stripe):
    discounted(api, stripe, subscribed)
    credited(api, stripe, subscribed)
    coming = api("GET", "/invoices/upcoming").json

    lines = coming["lines"]
    assert sum(line["amount_cents"] for line in lines) == coming["subtotal_cents"]
    assert sum(line["discount_cents"] for line in lines) == coming["discount_cents"] == 1500
    assert coming["subtotal_cents"] - coming["discount_cents"] + coming["tax_cents"] == coming["total_cents"]
    assert coming["discounts"] == [
        {
            "promotion_code": "HALF",
            "percent_off": "50.0",
            "amount_off_cents": None,
            "duration": "forever",
            "ends_at": None,
        }
    ]


def test_to_look_ahead_changes_nothing(api, subscribed, stripe):
    before = (dict(stripe.invoices), customer_table.find("ada", 0))
    api("GET", "/invoices/upcoming")

    assert (dict(stripe.invoices), customer_table.find("ada", 0)) == before


def test_without_a_subscription_there_is_no_next_invoice(api, plans, subscribed):
    assert api("POST", "/subscription/cancel", {"immediately": True}).status == 200

    for customer in ("ada", "bob"):
        answer = api("GET", "/invoices/upcoming", customer=customer)
        assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_of_what_is_going_to_end_nothing_more_is_billed(api, subscribed):
    assert api("POST", "/subscription/cancel", {}).status == 200

    answer = api("GET", "/invoices/upcoming")
    assert (answer.status, answer.json["code"]) == (422, "nothing_upcoming")


def test_of_what_is_going_to_end_what_waits_is_billed(api, subscribed, stripe):
    credited(api, stripe, subscribed)
    waits = sum(item["amount"] for item in stripe.invoice_items.values())
    ends = {"cancel_at_period_end": "true"}  # in the portal: here what waits would have been credited at once
    assert stripe.handle("POST", f"/v1/subscriptions/{subscribed['id']}", ends)[0] == 200

    answer = api("GET", "/invoices/upcoming")
    assert (answer.status, answer.json["total_cents"], answer.json["amount_due_cents"]) == (200, waits, 0)


def test_of_what_is_cancelled_here_what_waited_is_credited_and_nothing_is_billed(api, subscribed, stripe):
    credited(api, stripe, subscribed)
    waits = sum(item["amount"] for item in stripe.invoice_items.values())
    assert api("POST", "/subscription/cancel", {}).json["given_back"]["credited_cents"] == -waits

    assert api("GET", "/invoices/upcoming").json["code"] == "nothing_upcoming"


def test_an_invoice_that_falls_into_a_pause_is_said_to(api, subscribed, clock):
    told = [api("GET", "/invoices/upcoming").json["collection_paused"]]
    ends = datetime.fromisoformat(subscribed["current_period_end"])
    for resumes_at in (ends.replace(year=ends.year + 1).isoformat(), None, ends.isoformat()):
        assert api("POST", "/subscription/pause", {"resumes_at": resumes_at}).status == 200
        told.append(api("GET", "/invoices/upcoming").json["collection_paused"])

    assert told == [False, True, True, False]  # what ends in time does not touch it


def test_what_has_been_used_is_told_as_far_as_it_has_come(api, metered_plan, use, clock):
    use({"metric_id": "calls", "quantity": 25, "idempotency_key": "a"})
    use({"metric_id": "tokens", "quantity": 12, "idempotency_key": "b"})
    coming = api("GET", "/invoices/upcoming").json

    assert coming["usage"] == [
        {
            "metric": "calls",
            "quantity": 25,
            "amount_cents": 30,
            "lines": [{"quantity": 15, "unit_amount": "2", "flat_amount": "0", "amount": "30"}],
        },
        {"metric": "exports", "quantity": 0, "amount_cents": 0, "lines": []},
        {
            "metric": "tokens",
            "quantity": 12,
            "amount_cents": 53,
            "lines": [
                {"quantity": 10, "unit_amount": "5", "flat_amount": "0", "amount": "50"},
                {"quantity": 2, "unit_amount": "1.5", "flat_amount": "0", "amount": "3"},
            ],
        },
    ]
    assert (coming["usage_cents"], coming["total_cents"], len(coming["lines"])) == (83, 1000, 1)


def test_of_a_plan_before_that_had_it_too(api, metered_plan, use):
    use({"metric_id": "calls", "quantity": 25, "idempotency_key": "a"})
    use({"metric_id": "exports", "quantity": 1, "idempotency_key": "b"})
    assert api("PUT", "/subscription/plan", {"plan_slug": "other"}).status == 200
    told = {each["metric"]: each["amount_cents"] for each in api("GET", "/invoices/upcoming").json["usage"]}
    assert told == {"calls": 75, "exports": 50, "tokens": 0}


def test_on_trial_it_costs_nothing(api, plans, use):
    assert api("PUT", "/plans/free", metered.PLANS["free"]).status == 200
    assert api("POST", "/subscription", {"plan_slug": "free", "payment_method": "pm_card_visa"}).status == 200
    use({"metric_id": "calls", "quantity": 25, "idempotency_key": "a"})
    coming = api("GET", "/invoices/upcoming").json
    assert [(each["quantity"], each["amount_cents"]) for each in coming["usage"]] == [(25, 0), (0, 0), (0, 0)]
    assert coming["usage_cents"] == 0


def test_without_a_price_for_usage_none_is_told(api, subscribed):
    coming = api("GET", "/invoices/upcoming").json
    assert (coming["usage"], coming["usage_cents"]) == ([], 0)


@pytest.fixture
def metered_plan(api):
    for slug in ("metered", "other"):
        assert api("PUT", f"/plans/{slug}", metered.PLANS[slug]).status == 200
    assert api("POST", "/subscription", {"plan_slug": "metered", "payment_method": "pm_card_visa"}).status == 200


def test_a_draft_that_was_deleted_at_stripe_is_on_no_page(api, subscribed, stripe, hear):
    customer = customer_table.find("ada", 0).stripe_id
    _, draft = stripe.handle("POST", "/v1/invoices", {"customer": customer})
    hear()
    assert stripe.handle("DELETE", f"/v1/invoices/{draft['id']}")[0] == 200
    assert draft["id"] not in [each["id"] for each in api("GET", "/invoices").json["invoices"]]
