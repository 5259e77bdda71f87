"""What DynamoDB may answer, and neither emulator ever does, enters through botocore's event hooks."""

from types import SimpleNamespace

import pytest

from billing import dynamodb
from billing.errors import Contended, Unavailable

PAIR = [dynamodb.put("Subscriptions", {"pk": pk, "sk": "x"}, "attribute_not_exists(pk)") for pk in "ab"]


@pytest.fixture
def answers(aws, monkeypatch):
    """The next answers to an operation, by status and code; then DynamoDB's own."""
    monkeypatch.setattr(dynamodb.time, "sleep", lambda seconds: None)

    def script(operation, *coming, reasons=()):
        waiting = list(coming)

        def say(**_):
            if waiting:
                status, code = waiting.pop(0)
                said = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
                return SimpleNamespace(status_code=status), said | {"CancellationReasons": list(reasons)}

        dynamodb.db().meta.events.register(f"before-call.dynamodb.{operation}", say)
        return waiting

    return script


def stands(pk):
    return dynamodb.get("Subscriptions", pk=pk, sk="x") is not None


def test_the_newest_are_read_from_a_place_on_be_there_anything_or_not(aws):
    for sk in ("a#1", "a#3", "a#5", "b#2"):
        dynamodb.transact([dynamodb.put("Subscriptions", {"pk": "p", "sk": sk})])

    def read(most, before=None):
        return [item["sk"] for item in dynamodb.query("Subscriptions", "p", "a#", newest=most, before=before)]

    assert (read(2), read(2, "a#5"), read(9, "a#4"), read(9, "a#1")) == (
        ["a#5", "a#3"],
        ["a#3", "a#1"],
        ["a#3", "a#1"],
        [],
    )


CONFLICT = [{"Code": "TransactionConflict"}, {"Code": "None"}]


def test_a_conflict_passes_and_is_tried_again(answers):
    waiting = answers("TransactWriteItems", *[(400, "TransactionCanceledException")] * 3, reasons=CONFLICT)

    assert dynamodb.transact(PAIR) == [] and waiting == []
    assert stands("a") and stands("b")


def test_a_conflict_that_does_not_pass_is_contended_and_nothing_is_written(answers):
    answers("TransactWriteItems", *[(400, "TransactionCanceledException")] * 9, reasons=CONFLICT)

    with pytest.raises(Contended):
        dynamodb.transact(PAIR)
    assert not stands("a") and not stands("b")


def test_throttling_is_tried_again_and_then_contended(answers):
    waiting = answers("PutItem", *[(400, "ThrottlingException")] * 2)
    assert dynamodb.transact(PAIR[:1]) == [] and waiting == []

    answers("PutItem", *[(400, "ProvisionedThroughputExceededException")] * 9)
    with pytest.raises(Contended):
        dynamodb.transact(PAIR[1:])


def test_a_failure_of_the_store_is_unavailable(answers):
    answers("GetItem", *[(500, "InternalServerError")] * 9)

    with pytest.raises(Unavailable):
        dynamodb.get("Subscriptions", pk="a", sk="x")


def test_a_refused_write_is_told_by_its_place_with_what_stood_there(aws):
    assert dynamodb.transact(PAIR[1:]) == []

    assert dynamodb.transact(PAIR) == [dynamodb.Refusal(1, {"pk": "b", "sk": "x"})] and not stands("a")
    assert dynamodb.transact(PAIR[1:]) == [dynamodb.Refusal(0, {"pk": "b", "sk": "x"})]


def test_a_write_that_makes_no_sense_is_not_tried_again(answers):
    answers("TransactWriteItems", (400, "TransactionCanceledException"), reasons=[{"Code": "ValidationError"}])

    with pytest.raises(dynamodb.ClientError):
        dynamodb.transact(PAIR)


def test_no_float_is_ever_written(aws):
    with pytest.raises(TypeError):
        dynamodb.put("Subscriptions", {"pk": "a", "sk": "x", "cents": 1.5})


def test_a_query_reads_all_pages(aws):
    for n in range(30):
        dynamodb.transact([dynamodb.put("Subscriptions", {"pk": "p", "sk": f"s{n:02}", "text": "x" * 100_000})])

    assert [item["sk"] for item in dynamodb.query("Subscriptions", "p", "s")] == [f"s{n:02}" for n in range(30)]
    assert [item["sk"] for item in dynamodb.query("Subscriptions", "p", "s", newest=2)] == ["s29", "s28"]
