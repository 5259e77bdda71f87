"""POST /usage/explain: every line of a charge, worked out again from its events; what was meddled with is told."""

import pytest

from billing import dynamodb, explaining, usage
from billing.periods import rfc3339
from tests.functions import metered
from tests.functions.at_stripe import ask
from tests.functions.metered import ADMIN, DAY

ada = metered.ada


@pytest.fixture
def explain(ada):
    def ask(metric="calls", at=None, status=200, **said):
        body = {"customer_id": "ada", "metric_id": metric, "at": at or rfc3339(int(ada.stated()[0].start + DAY))}
        answer = ada.api("POST", "/usage/explain", body | said, claims=ADMIN)
        assert answer.status == status, answer.json
        return answer.json

    return ask


@pytest.fixture
def billed(ada):
    """30 calls on two days, 14 tokens."""
    ada.passes(days=3)
    ada.uses("calls", 18, key="first")
    ada.uses("tokens", 9)
    ada.passes(days=2)
    ada.uses("calls", 12, key="second")
    ada.uses("tokens", 5)
    ada.ends()
    ada.closes()
    return ada


def alter(key, change, **values):
    pk = f"E#{usage.id_of('ada', key)}"
    dynamodb.transact([dynamodb.update("Usage", {"pk": pk, "sk": "event"}, change, **values)])


def proven(told):
    return [each["proven"] for each in told["statements"]]


def test_every_line_of_a_charge_is_told_and_worked_out_again(billed, explain):
    told = explain("tokens")
    (statement,) = told["statements"]
    assert (statement["plan"], statement["plan_version"], statement["quantity"]) == ("metered", 1, 14)
    assert statement["lines"] == [
        {"quantity": 10, "unit_amount": "5", "flat_amount": "0", "amount": "50"},
        {"quantity": 4, "unit_amount": "1.5", "flat_amount": "0", "amount": "6"},
    ]
    assert statement["rate"]["model"] == "graduated"
    assert [(each["n"], each["used"]) for each in statement["days"]] == [(1, 9), (1, 5)]
    assert statement["recomputed"] == {"quantity": 14, "events": 2, "amount_cents": 56}
    assert (statement["amount_cents"], statement["due_cents"], statement["proven"]) == (56, 56, True)
    assert statement["billed"] in billed.stripe.invoices
    assert [each["quantity"] for each in told["events"]] == [9, 5] and told["events_omitted"] == 0


def test_the_lines_of_a_charge_are_what_is_on_the_invoice(billed, explain):
    for metric in ("calls", "exports", "tokens"):
        (statement,) = explain(metric)["statements"]
        item = [each for mark, each in billed.lines() if mark.split(":")[1] == metric]
        assert item == ([statement["due_cents"]] if statement["due_cents"] else [])


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("SET quantity = :n", {"n": 11}),
        ("SET metric = :other", {"other": "exports"}),
        ("SET #at = #at + :n", {"n": 1}),
        ("SET series = :gone", {"gone": "ada#calls#2020-01-01"}),
        ("SET statement = :n", {"n": 1}),
        ("SET corrected_by = :by, corrected_in = :n", {"by": "x", "n": 0}),
    ],
)
def test_an_event_that_someone_has_altered_proves_nothing(billed, explain, change, values):
    names = {"#at": "at"} if "#at" in change else None
    alter("second", change, names=names, **values)
    assert proven(explain()) == [False]


def test_nor_does_one_that_is_gone(billed, explain):
    key = {"pk": {"S": f"E#{usage.id_of('ada', 'first')}"}, "sk": {"S": "event"}}
    dynamodb.db().delete_item(TableName="Usage", Key=key)
    (statement,) = explain()["statements"]
    assert (statement["proven"], statement["recomputed"]["quantity"], statement["quantity"]) == (False, 12, 30)


def test_an_event_that_someone_has_added_proves_nothing(billed, explain):
    found = dynamodb.get("Usage", pk=f"E#{usage.id_of('ada', 'first')}", sk="event")
    added = (found or {}) | {"pk": f"E#{usage.id_of('ada', 'third')}", "key": "third"}
    dynamodb.transact([dynamodb.put("Usage", added)])
    assert proven(explain()) == [False]


def test_adjustments_are_told_by_the_number_of_their_statement(billed, explain):
    start = billed.stated()[0].start
    billed.corrects("first", quantity=8)
    billed.uses("calls", 7, key="late", at=start + 4 * DAY)
    billed.closes_now(start)
    billed.corrects("second")
    billed.closes_now(start)

    told = explain()
    assert [(each["number"], each["quantity"], each["due_cents"]) for each in told["statements"]] == [
        (0, 30, 40),
        (1, 27, -6),
        (2, 15, -24),
    ]
    assert proven(told) == [True] * 3
    events = {each["idempotency_key"]: each for each in told["events"]}
    assert {key: each["statement"] for key, each in events.items()} == {
        "first": 0,
        "fix-first": 1,
        "second": 0,
        "late": 1,
    }
    assert (events["first"]["corrected_by"], events["fix-first"]["corrects"]) == ("fix-first", "first")
    assert (events["fix-first"]["reason"], events["second"]["corrected_by"]) == ("wrong", "fix-second")


def test_what_is_recorded_after_the_statement_does_not_make_it_wrong(billed, explain):
    billed.uses("calls", 7, at=billed.stated()[0].start + DAY)
    billed.corrects("first")
    assert proven(explain()) == [True]


def test_what_was_used_before_anybody_had_heard_that_the_period_is_over_is_proven(ada, explain):
    """Somebody has begun a new period in Stripe's dashboard."""
    ada.passes(days=5)
    ask(ada.stripe, "POST", f"/v1/subscriptions/{ada.id}", billing_cycle_anchor={"type": "now"})
    ada.passes(days=2)
    ada.uses("calls", 30)
    ada.hears()
    for start in ada.waiting():
        ada.passes(hours=1)
        ada.closes_now(start)
    (statement,) = explain()["statements"]
    assert (statement["quantity"], statement["proven"]) == (30, True)


def test_of_a_trial_nothing_is_charged(ada, explain):
    ada.cancels(immediately=True)
    ada.hears()
    ada.passes(hours=1)
    ada.on_schedule()
    ada.subscribes("free")
    ada.passes(days=1)
    ada.uses("calls", 300)
    then = rfc3339(int(ada.now))
    ada.ends()
    ada.closes()
    (statement,) = explain(at=then)["statements"]
    assert (statement["free"], statement["lines"], statement["recomputed"]["amount_cents"]) == (True, [], 0)
    assert statement["proven"]


@pytest.mark.parametrize(
    "asked",
    [{"customer_id": "bob"}, {"metric_id": "views"}, {"metric_id": "call"}, {"at": "2020-01-01T00:00:00Z"}],
)
def test_what_was_never_billed_cannot_be_explained(billed, explain, asked):
    assert explain(status=404, **asked)["code"] == "not_found"


@pytest.mark.parametrize(("at", "status"), [("yesterday", 400), (None, 400)])
def test_an_instant_is_said_in_full(billed, api, at, status):
    body = {"customer_id": "ada", "metric_id": "calls", "at": at}
    assert api("POST", "/usage/explain", body, claims=ADMIN).status == status


def test_more_events_than_can_be_read_are_refused_and_more_than_can_be_shown_are_counted(billed, explain, monkeypatch):
    monkeypatch.setattr(explaining, "SHOWN", 1)
    told = explain()
    assert (len(told["events"]), told["events_omitted"], proven(told)) == (1, 1, [True])
    monkeypatch.setattr(explaining, "MOST", 1)
    assert explain(status=422)["code"] == "range_too_large"
