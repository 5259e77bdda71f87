import time
from dataclasses import replace

import pytest

from billing import customer_table, dynamodb, records
from billing.customers import Customer, Revision
from billing.errors import Stale
from billing.holds import Change, Draft, Wish
from billing.invoices import Billing, Invoice
from billing.proration import Proration
from billing.quotes import Quote, Reckoning
from billing.webhook_table import mark
from billing.webhooks import WebhookEvent

pytestmark = pytest.mark.usefixtures("aws")
NOW = int(time.time())


def new(id):
    return Customer(id, NOW, NOW)


def next_of(customer, **changes):
    return Revision(replace(customer, version=customer.version + 1, **changes), moved=True)


def save(id, changes=None, **along):
    """The customer takes a step from where it stands."""
    before = customer_table.find(id, NOW)
    records.commit(before, replace(next_of(before, **(changes or {})), **along))


def test_of_two_that_grew_from_the_same_one_stands_and_the_other_is_stale():
    for _ in range(2):
        before = customer_table.find("ada", NOW)
        records.commit(before, next_of(before, attempt=1))
        with pytest.raises(Stale):
            records.commit(before, next_of(before, attempt=2))
        assert customer_table.find("ada", NOW) == next_of(before, attempt=1).customer


def test_a_stripe_customer_is_one_of_ours_for_good():
    save("ada", names="cus_1")
    save("ada", names="cus_1")
    with pytest.raises(Stale):
        save("bob", names="cus_1")

    assert customer_table.owners(["cus_1", "cus_2"]) == {"cus_1": "ada"} and customer_table.several(["bob"]) == {}


def test_a_card_has_one_trial_until_whoever_has_it_lets_go():
    save("ada", claims="print")
    for wish in ("claims", "disclaims"):
        with pytest.raises(Stale):
            save("bob", **{wish: "print"})
    assert customer_table.trialed("print") == "ada"

    save("ada", disclaims="print")
    save("bob", claims="print")
    assert customer_table.trialed("print") == "bob"


def test_a_quote_is_used_once_and_only_one_that_was_given():
    reckoned = Reckoning("basis", "price_1", 1, "now", False, Proration("usd", NOW), None, 0)
    customer_table.promise("ada", Quote("q", NOW, NOW + 60, reckoned, None))

    save("ada", uses="q")
    for id, quote in (("ada", "q"), ("ada", "other"), ("bob", "q")):
        with pytest.raises(Stale):
            save(id, uses=quote)
    save("ada", frees="q")
    save("ada", uses="q")
    assert customer_table.quote("ada", "q").used and customer_table.find("ada", NOW).version == 3


def test_a_mark_that_stands_already_keeps_everything_else_from_being_written():
    event = WebhookEvent("evt_1", "invoice.paid", NOW, None, None, None, False, None)
    before = new("ada")
    assert records.commit(before, next_of(before), [mark(event, "done")]).refused == []

    after = customer_table.find("ada", NOW)
    assert records.commit(after, next_of(after), [mark(event, "done")]).refused == [0]
    assert customer_table.find("ada", NOW) == after


@pytest.mark.parametrize(
    ("on_record", "told", "stands"), [(None, 0, True), (None, 1, False), (0, 0, True), (2, 2, True), (2, 1, False)]
)
def test_terms_that_have_not_moved_are_proven_with_the_write(on_record, told, stands):
    if on_record is not None:
        save("ada", {"terms": on_record})
    write = dynamodb.put("Usage", {"pk": "p", "sk": "s"})

    refused = dynamodb.transact([write, customer_table.unmoved("ada", told)])
    assert (refused == []) == stands == (dynamodb.get("Usage", pk="p", sk="s") is not None)
    assert [refusal.place for refusal in refused] == ([] if stands else [1])


def test_changes_that_are_held_are_found_the_oldest_first_until_they_are_settled():
    draft = Draft([])
    for id, since in {"ada": 30, "bob": 10, "eve": 20, "mia": 40}.items():
        save(id, {"pending": Change(id, id, "f", Wish("cancel", {}), draft, since, since)})
    save("eve", {"pending": None})

    first, after = customer_table.holding(30, None, most=1)
    rest, _ = customer_table.holding(30, after)
    assert (first, rest) == ([("bob", 10)], [("ada", 30)])
    assert customer_table.holding(40, customer_table.held_key("bob", 10))[0] == [("ada", 30), ("mia", 40)]


def test_invoices_are_told_the_newest_first_from_a_place_on():
    def made(n, created):
        return Invoice(f"in_{n}", "cus_1", None, "open", "manual", "usd", created, 1, 1, 0, 0)

    bills = [made(n, created) for n, created in enumerate((5, 5, 999, 10**9))]
    save("ada", invoices=tuple(Billing(None, bill) for bill in bills))
    save("ada", invoices=(Billing(bills[1], replace(bills[1], status="paid")),))

    assert [bill.id for bill in customer_table.invoices("ada", 9)] == ["in_3", "in_2", "in_1", "in_0"]
    later = customer_table.invoices("ada", 1, bills[2].place)
    assert later == [replace(bills[1], status="paid")] == [customer_table.invoice("ada", bills[1].place)]


def test_a_run_meets_what_it_has_not_seen():
    for id in ("ada", "bob"):
        save(id, names=f"cus_{id}")
    customer_table.see(customer_table.key_of("ada"), "run")

    def met(run):
        found, after = [], None
        while True:
            page, after = customer_table.unseen(run, after, 2)
            found += [kept.customer for kept in page]
            if not after:
                return sorted(found)

    assert (met("run"), met("next")) == (["bob"], ["ada", "bob"])
    assert customer_table.find("ada", NOW).version == 1
