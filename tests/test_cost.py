"""What docs/cost.md says that a month costs is what bench/bill.py computes of the calls on record and the template."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from bench import bill, calls, costs
from bench.bill import Load, Stack
from billing import usage
from billing.periods import DAY

PAGE = Path("docs/cost.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
LOADS = [Load(0), Load(1000), Load(100_000), Load(10_000_000)]
CITED = re.findall(r"`bill\.([A-Z_]+)` \(([\d,]+)\)", PAGE)
STACK = Stack.deployed()
PER_USE = ["API Gateway", "DynamoDB, storage", "DynamoDB, backups", "EventBridge", "Scheduler"]


def test_the_page_has_what_it_comes_to():
    rows = bill.rows(LOADS, STACK)
    assert [row for row in ROWS if len(row) == 5][1:] == rows, "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_page_has_every_price_with_its_source():
    assert costs.PRICED_ON in PAGE
    prices = [[bill.quoted(price), price.of, price.source] for price in bill.PRICES]
    assert [row for row in ROWS if len(row) == 3][1:] == prices


@pytest.mark.parametrize(("name", "value"), CITED)
def test_what_is_assumed_is_as_the_page_says(name, value):
    assert getattr(bill, name) == int(value.replace(",", ""))


def test_the_page_cites_what_is_assumed():
    assert {name for name, _ in CITED} >= {"CPU", "AWS_CALL", "STRIPE_CALL", "INIT", "LOGS", "KEPT", "RETENTION"}


def test_idle_is_what_stands_there_and_what_runs_by_itself(template):
    idle, taken = bill.bill(Load(0), STACK), calls.table()
    alarms = [each for each in template["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    standing = [each for each in alarms if "Condition" not in each]

    assert 0 < len(standing) < len(alarms)
    assert idle["CloudWatch, alarms"] == len(standing) * Fraction("0.10")
    assert {service: idle[service] for service in PER_USE} == dict.fromkeys(PER_USE, 0)
    writes = 4 * 24 * 30 * taken["sweep"].writes + 30 * taken["reconcile"].writes
    assert idle["DynamoDB, writes"] == writes * Fraction("0.625") / 1_000_000
    assert idle["Lambda, calls"] == (4 * 24 * 30 + 30) * Fraction("0.20") / 1_000_000


@pytest.mark.parametrize("what", ["events", "checks"])
def test_twice_as_many_events_or_checks_add_the_same_again(what):
    none, once, twice = (bill.bill(Load(1000)._replace(**{what: n}), STACK) for n in (0, 1000, 2000))
    assert {each: twice[each] - once[each] for each in none} == {each: once[each] - none[each] for each in none}
    assert sum(once.values()) > sum(none.values())


def test_events_are_written_with_the_units_of_their_batch():
    none = bill.bill(Load(1000, events=0), STACK)["DynamoDB, writes"]
    for batch, units in ((1, Fraction(5)), (25, Fraction(77, 25))):
        written = bill.bill(Load(1000, batch=batch), STACK)["DynamoDB, writes"] - none
        assert written == units * Fraction("0.625")  # a million events


def test_a_renewal_is_two_calls_of_one_function():
    (one,) = [each for each in bill.work(Load(1), STACK) if each.action == bill.RENEWAL]
    assert (one.function, one.batches) == ("process_webhook", 2)
    assert one.seconds > one._replace(batches=1).seconds


def test_a_secret_is_read_once_a_minute_however_many_ask_for_it():
    busy = max(bill.work(Load(10_000), STACK), key=lambda each: each.secrets)
    assert busy.function == "receive_webhook" and busy.secrets == bill.MINUTES < busy.times


def test_a_request_beyond_the_first_300_million_is_cheaper():
    few, many = (bill.bill(Load(100_000, checks=n), STACK)["API Gateway"] for n in (0, 10_000))
    millions = few + 1000  # a dollar each
    assert few < 300 and many == 300 + (millions - 300) * Fraction("0.90")


def test_events_are_kept_as_long_as_the_code_keeps_them():
    assert bill.RETENTION * DAY == usage.RETENTION


def test_a_schedule_that_nobody_knows_is_no_guess():
    with pytest.raises(ValueError, match="how often"):
        bill._runs("rate(2 hours)")
