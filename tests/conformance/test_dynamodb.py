"""What the doors take for granted of DynamoDB."""

from types import SimpleNamespace

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from billing import dynamodb
from billing.dynamodb import Refusal
from billing.errors import Contended

TABLE = "Subscriptions"
NEW = "attribute_not_exists(pk)"

pytestmark = pytest.mark.usefixtures("aws")


def key(pk, sk="x"):
    return {"pk": pk, "sk": sk}


def put(pk, condition=None, sk="x", **attributes):
    return dynamodb.put(TABLE, key(pk, sk) | attributes, condition)


def update(pk, change, condition=None, **values):
    return dynamodb.update(TABLE, key(pk), change, condition, **values)


def read(pk, sk="x"):
    return dynamodb.get(TABLE, **key(pk, sk))


def have(*writes):
    for write in writes:
        assert dynamodb.transact([write]) == []


@pytest.fixture
def hinder():
    """Instead of the next calls of an operation: an answer of DynamoDB's that no emulator gives."""

    def instead(operation, times, code, reasons=()):
        left = [code] * times

        def say(**_):
            if left:
                said = {"Error": {"Code": left.pop(), "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}
                return SimpleNamespace(status_code=400), said | {"CancellationReasons": [{"Code": r} for r in reasons]}

        dynamodb.db().meta.events.register(f"before-call.dynamodb.{operation}", say)
        return left

    return instead


def test_all_is_written_or_nothing():
    have(put("b"))

    assert dynamodb.transact([put("a", NEW), put("b", NEW), put("c", NEW)]) == [Refusal(1, key("b"))]
    assert (read("a"), read("c")) == (None, None)
    assert dynamodb.transact([put("a", NEW), put("c", NEW)]) == []
    assert (read("a"), read("c")) == (key("a"), key("c"))


def test_every_refusal_is_told_by_its_place_with_what_stood_there():
    have(put("b", n=2), put("d", n=4))
    writes = [
        put("a", NEW),
        put("b", NEW, n=9),
        update("c", "SET n = :n", "attribute_exists(pk)", n=9),
        dynamodb.check(TABLE, key("d"), "n = :n", n=9),
        update("e", "ADD n :n", n=9),
    ]

    refused = [Refusal(1, key("b") | {"n": 2}), Refusal(2, None), Refusal(3, key("d") | {"n": 4})]
    assert dynamodb.transact(writes) == refused
    assert [read(pk) for pk in "abcde"] == [None, key("b") | {"n": 2}, None, key("d") | {"n": 4}, None]


def test_one_write_alone_is_refused_as_in_a_transaction():
    have(put("a", n=1))

    assert dynamodb.transact([put("a", NEW, n=2)]) == [Refusal(0, key("a") | {"n": 1})]
    assert dynamodb.transact([update("a", "SET n = :n", "n < :least", n=2, least=1)]) == [
        Refusal(0, key("a") | {"n": 1})
    ]
    assert dynamodb.transact([update("b", "SET n = :n", "attribute_exists(pk)", n=2)]) == [Refusal(0, None)]
    assert (read("a"), read("b")) == (key("a") | {"n": 1}, None)


def test_a_check_alone_writes_nothing():
    have(put("a", n=1))

    assert dynamodb.transact([dynamodb.check(TABLE, key("a"), "n = :n", n=1)]) == []
    assert dynamodb.transact([dynamodb.check(TABLE, key("a"), "n = :n", n=2)]) == [Refusal(0, key("a") | {"n": 1})]
    assert dynamodb.transact([dynamodb.check(TABLE, key("b"), NEW)]) == [] and read("b") is None


def test_a_hundred_writes_are_one_transaction_and_one_more_is_none():
    hundred = [put(str(n), NEW) for n in range(100)]

    with pytest.raises(dynamodb.ClientError):
        dynamodb.transact([*hundred, put("100")])
    have(put("99", n=7))
    assert dynamodb.transact(hundred) == [Refusal(99, key("99") | {"n": 7})] and read("0") is None
    assert dynamodb.transact([*hundred[:99], put("100", NEW)]) == []
    assert len(dynamodb.several(TABLE, [key(str(n)) for n in range(100)])) == 100


def test_no_item_is_written_twice_in_a_transaction():
    with pytest.raises(dynamodb.ClientError):
        dynamodb.transact([put("a"), update("a", "ADD n :n", n=1)])
    assert read("a") is None


def test_writes_to_several_tables_stand_or_fall_together():
    def marked(pk):
        return [put(pk, NEW), dynamodb.put("WebhookEvents", {"id": "evt_1"}, "attribute_not_exists(id)")]

    assert dynamodb.transact(marked("a")) == []
    assert dynamodb.transact(marked("b")) == [Refusal(1, {"id": "evt_1"})] and read("b") is None


def test_what_is_added_to_is_made_with_all_its_parts_and_may_sink_below_nothing():
    for amount, worth in ((5, 5), (2, 7), (-9, -2)):
        have(update("a", "SET terms = :terms ADD used :used, n :n", terms="1", used=amount, n=1))
        assert read("a")["used"] == worth
    assert read("a") == key("a") | {"terms": "1", "used": -2, "n": 3}


def test_what_is_there_already_is_kept_and_what_is_removed_is_gone():
    change = "SET used = if_not_exists(used, :nothing), n = if_not_exists(n, :nothing) REMOVE terms"
    have(put("a", used=7, terms="1"), update("a", change, nothing=0))

    assert read("a") == key("a") | {"used": 7, "n": 0}


CONDITIONS = {
    "used <= :eight": False,  # what is not there compares with nothing
    "used > :eight": False,
    "used = :eight": False,
    "used <> :eight": True,
    "NOT used IN (:eight, :nine)": True,
    "attribute_not_exists(used) OR used <= :eight": True,
    "attribute_not_exists(used) AND n <= :eight": True,
    "n <= :eight AND (attribute_not_exists(terms) OR terms = :eight)": True,
    "n < :eight": False,
    "n IN (:nine, :eight)": True,
}


@pytest.mark.parametrize("others", [[], [put("b")]])
def test_a_condition_means_the_same_everywhere(others):
    for condition, holds in CONDITIONS.items():
        have(put("a", n=8))
        values = {name: worth for name, worth in {"eight": 8, "nine": 9}.items() if f":{name}" in condition}
        refused = dynamodb.transact([update("a", "SET told = n", condition, **values), *others])
        assert refused == ([] if holds else [Refusal(0, key("a") | {"n": 8})]), condition


def test_what_is_written_is_read_as_it_was():
    worth = {
        "whole": 10**37 + 1,
        "below": -(10**12),
        "text": "",
        "told": "Zoë 漢 🂡",
        "list": [1, [], {"a": None}],
        "no": False,
        "deep": {"er": {"est": ["x", 0]}},
        "nothing": None,
    }
    have(put("a", **worth))

    assert read("a") == key("a") | worth and read("a")["no"] is False


def test_numbers_are_added_to_the_unit_beyond_what_a_float_holds():
    have(put("a", used=2**53))
    one_more = update("a", "ADD used :one", "used <= :most", one=1, most=2**53 + 1)
    have(one_more, one_more)

    assert dynamodb.transact([one_more]) == [Refusal(0, key("a") | {"used": 2**53 + 2})]


def test_a_partition_is_read_in_the_order_of_its_bytes():
    names = ["a#1", "a#10", "a#2", "a#B", "a#b", "a#é", "a#漢", "a$", "b#1"]
    assert dynamodb.transact([put("p", sk=sk) for sk in reversed(names)]) == []

    def found(*asked, **how):
        return [item["sk"] for item in dynamodb.query(TABLE, "p", *asked, **how)]

    assert (found(), found("a#"), found("a#b"), found("c")) == (names, names[:7], ["a#b"], [])
    assert (found("a#", newest=2), found("a#", newest=9, before="a#2")) == (["a#漢", "a#é"], ["a#10", "a#1"])
    assert found("a#", newest=9, before="a#3") == ["a#2", "a#10", "a#1"]  # no such place: from where it would be


def test_a_partition_of_more_than_a_page_is_read_to_its_end():
    for n in range(4):
        have(put("p", sk=str(n), text="x" * 380_000))

    assert [item["sk"] for item in dynamodb.query(TABLE, "p")] == list("0123")


def test_an_item_that_is_too_large_is_no_item():
    with pytest.raises(dynamodb.ClientError):
        dynamodb.transact([put("a", text="x" * 410_000)])
    assert read("a") is None


def test_those_of_many_that_are_there_are_read():
    assert dynamodb.transact([put("a"), put("b", sk="y")]) == []

    found = dynamodb.several(TABLE, [key("a"), key("b"), key("b", "y"), key("c")])
    assert sorted(found, key=lambda item: item["pk"]) == [key("a"), key("b", "y")]


def walk(most, **asked):
    """All pages of the index of what waits, joined; and how many there were."""
    found, after, pages = [], None, 0
    while pages == 0 or after:
        page = dynamodb.indexed(TABLE, "held", "waits = :hold AND since <= :until", most, after, hold="hold", **asked)
        found, after, pages = found + [(item["since"], item["pk"]) for item in page.items], page.after, pages + 1
    return found, pages


def test_an_index_is_walked_page_by_page_each_of_its_items_met_once():
    waiting = [put(pk, waits="hold", since=since) for pk, since in zip("abcde", (5, 3, 3, 9, 1), strict=True)]
    assert dynamodb.transact([*waiting, put("f", waits="close", since=2), put("g", since=2)]) == []

    found, pages = walk(2, until=5)
    assert [since for since, _ in found] == [1, 3, 3, 5] and sorted(pk for _, pk in found) == ["a", "b", "c", "e"]
    assert pages in (2, 3)  # the last may be empty
    assert [since for since, _ in walk(1, until=9, newest=True)[0]] == [9, 5, 3, 3, 1]
    assert walk(2, until=9, where="pk = :a", a="a")[0] == [(5, "a")]  # most of what is looked at is not told


def test_what_waits_no_more_is_in_the_index_no_more():
    have(put("a", waits="hold", since=5))
    have(update("a", "REMOVE waits, since"))

    assert walk(9, until=9)[0] == []


def test_a_walk_through_a_table_meets_every_item_once():
    assert dynamodb.transact([put(f"{n:02}", n=n % 2, status="open") for n in range(30)]) == []

    found, after, pages = [], None, 0
    while pages == 0 or after:
        where, names = "n = :odd AND #status = :open", {"#status": "status"}
        page = dynamodb.scan(TABLE, where, 7, after, names=names, odd=1, open="open")
        found, after, pages = found + [item["pk"] for item in page.items], page.after, pages + 1
    assert sorted(found) == [f"{n:02}" for n in range(1, 30, 2)] and pages >= 5


def test_a_conflict_passes_and_leaves_one_effect(hinder):
    left = hinder("TransactWriteItems", 3, "TransactionCanceledException", ["None", "TransactionConflict"])

    assert dynamodb.transact([update("a", "ADD n :n", n=1), put("b", NEW)]) == [] and left == []
    assert (read("a")["n"], read("b")) == (1, key("b"))


def test_a_refusal_is_told_be_there_a_conflict_or_not(hinder):
    hinder("TransactWriteItems", 1, "TransactionCanceledException", ["TransactionConflict", "ConditionalCheckFailed"])

    assert dynamodb.transact([put("a", NEW), put("b", NEW)]) == [Refusal(1, None)]
    assert (read("a"), read("b")) == (None, None)


@pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_throttling_passes_or_nothing_is_written(hinder, code, monkeypatch):
    monkeypatch.setattr(dynamodb.time, "sleep", lambda seconds: None)
    left = hinder("PutItem", 2, code)
    assert dynamodb.transact([put("a", NEW)]) == [] and (read("a"), left) == (key("a"), [])

    hinder("TransactWriteItems", 99, code)
    with pytest.raises(Contended):
        dynamodb.transact([put("b", NEW), put("c", NEW)])
    assert (read("b"), read("c")) == (None, None)


@pytest.mark.parametrize("store", ["ministack", "dynamodb_local"])  # on its way to moto nothing can be lost
def test_a_transaction_whose_answer_was_lost_is_not_carried_out_again():
    sender, lost = URLLib3Session(), []

    def lose(request, **_):
        if not lost and b"TransactWriteItems" in request.headers["X-Amz-Target"]:
            lost.append(sender.send(request).status_code)
            raise ReadTimeoutError(endpoint_url=request.url)

    dynamodb.db().meta.events.register_first("before-send.dynamodb", lose)
    assert dynamodb.transact([update("a", "ADD n :n", n=1), put("b", NEW)]) == []
    assert (read("a")["n"], lost) == (1, [200])
