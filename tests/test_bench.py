"""What the bench computes is AWS's arithmetic, and what it holds true can be broken."""

from fractions import Fraction
from xml.etree import ElementTree

import pytest

from bench import chart
from bench.bounds import (
    BATCH,
    CHEAPER,
    GROWS,
    LIGHTER,
    SLOWER,
    Counted,
    Grown,
    Handled,
    Started,
    Warm,
    broken,
    cold,
    growing,
    slow_pipeline,
    warm,
)
from bench.costs import (
    MILLION,
    index_units,
    read_units,
    request_dollars,
    size,
    storage_dollars,
    store_dollars,
    write_units,
)
from bench.report import Part, entry, keep, kept
from bench.sandbox import runtime, sandbox

KB = 1024
ALONE, TOGETHER, MANY = (
    Counted(Fraction(writes), Fraction(0), cpu, 2 * cpu)
    for writes, cpu in (("5", 1000.0), ("3.08", 100.0), ("3.04", 90.0))
)
OURS = {1: ALONE, 25: TOGETHER, 99: MANY}
FLAT, GROWING = [Fraction(2)] * 3, [Fraction(3), Fraction(21), Fraction(206)]


def test_the_documented_shirt_is_23_bytes():
    assert size({"shirt-color": "R", "shirt-size": "M"}) == 23  # docs: Quotas in Amazon DynamoDB, items


@pytest.mark.parametrize(
    ("value", "bytes_of_it"),
    [
        ("", 0),
        ("Müller", 7),  # UTF-8
        (b"123", 3),
        (None, 1),
        (True, 1),
        (0, 1),
        (7, 2),
        (10**12, 2),  # zeroes at either end are trimmed
        (12345, 4),  # a byte for two digits, and one
        (-42, 2),
        ([], 3),
        ({}, 3),
        (["ab", 7], 3 + (1 + 2) + (1 + 2)),
        ({"a": "b"}, 3 + (1 + 1 + 1)),
    ],
)
def test_a_value_takes_what_the_documented_rule_says_beside_its_name(value, bytes_of_it):
    assert size({"name": value}) == 4 + bytes_of_it  # docs: DynamoDB item sizes and formats


def test_what_has_no_documented_size_is_not_guessed():
    with pytest.raises(TypeError):
        size({"share": 0.5})


@pytest.mark.parametrize(
    ("bytes_of_it", "alone", "in_a_transaction"),
    [(1, 1, 2), (KB, 1, 2), (KB + 1, 2, 4), (2 * KB, 2, 4), (3 * KB + 512, 4, 8)],
)
def test_a_write_takes_a_unit_for_each_kb_begun_and_two_in_a_transaction(bytes_of_it, alone, in_a_transaction):
    assert write_units(bytes_of_it, transactional=False) == alone
    assert write_units(bytes_of_it, transactional=True) == in_a_transaction


def test_three_items_of_500_bytes_in_a_transaction_take_six_units():
    # docs: Amazon DynamoDB Transactions, capacity management
    assert sum(write_units(500, transactional=True) for _ in range(3)) == 6


def test_an_entry_of_an_index_is_written_once():
    assert (index_units(371), index_units(KB), index_units(KB + 1)) == (1, 1, 2)


@pytest.mark.parametrize(
    ("bytes_of_it", "units"),
    [(0, 1), (3500, 1), (4 * KB, 1), (8 * KB, 2), (10 * KB, 3), (int(40.8 * KB), 11), (1500 * 64, 24)],
)
def test_a_read_takes_a_unit_for_each_4_kb_begun_of_an_answer_and_half_if_it_may_be_old(bytes_of_it, units):
    # docs: DynamoDB read and write operations
    assert read_units(bytes_of_it) == units
    assert read_units(bytes_of_it, consistent=False) == Fraction(units, 2)


def test_a_million_events_that_come_alone_cost_their_units_and_their_requests():
    assert store_dollars(Fraction(5), Fraction(0)) == Fraction("3.125")
    assert store_dollars(Fraction(1), Fraction(1)) == Fraction("0.75")
    seconds = Fraction(12, 1000)
    computed = MILLION * seconds / 2 * Fraction("0.0000133334")  # GB-seconds of 512 MB
    assert request_dollars(seconds, 512) == Fraction("1.20") + computed


def test_a_million_events_are_kept_twice_with_an_index_each_with_a_hundred_bytes_more():
    once = Fraction(MILLION * 471, KB**3) * Fraction("0.25")
    assert storage_dollars(371, indexes=0) == once
    assert storage_dollars(371, indexes=1) == 2 * once


def test_what_was_measured_breaks_no_bound():
    assert broken(OURS, FLAT, GROWING) == []


@pytest.mark.parametrize(
    ("ours", "our_reads", "naive_reads"),
    [
        (OURS | {1: ALONE._replace(writes=Fraction("5.01"))}, FLAT, GROWING),
        (OURS | {25: TOGETHER._replace(writes=Fraction("3.24"))}, FLAT, GROWING),
        (OURS | {99: MANY._replace(writes=Fraction("3.21"))}, FLAT, GROWING),
        (OURS | {25: TOGETHER._replace(cpu_us=ALONE.cpu_us / CHEAPER + 1)}, FLAT, GROWING),
        (OURS, [Fraction(2), Fraction(2), Fraction(3)], GROWING),
        (OURS, FLAT, [Fraction(3), Fraction(21), Fraction(3 * GROWS - 1)]),
    ],
)
def test_each_bound_can_be_broken_and_is_told_in_one_line(ours, our_reads, naive_reads):
    assert len(broken(ours, our_reads, naive_reads)) == 1


ONE = Handled(Fraction(1), Fraction(1), Fraction(15), 900.0, [800.0, 1000.0], 2000.0)
IN_BATCH = ONE._replace(transactions=Fraction(1, BATCH), fetches=Fraction(1, BATCH), cpu_us=300.0)
NAIVE = ONE._replace(transactions=Fraction(0), cpu_us=300.0 * LIGHTER)


def test_a_batch_of_one_customer_that_takes_one_fetch_and_one_transaction_breaks_no_bound():
    assert slow_pipeline(ONE, IN_BATCH, NAIVE) == []


@pytest.mark.parametrize(
    ("alone", "together"),
    [
        (ONE._replace(fetches=Fraction(2)), IN_BATCH),
        (ONE._replace(transactions=Fraction(2)), IN_BATCH),
        (ONE, IN_BATCH._replace(transactions=Fraction(2, BATCH))),
        (ONE, IN_BATCH._replace(fetches=Fraction(2, BATCH))),
        (ONE, IN_BATCH._replace(cpu_us=301.0)),
    ],
)
def test_each_bound_of_the_pipeline_can_be_broken_and_is_told_in_one_line(alone, together):
    assert len(slow_pipeline(alone, together, NAIVE)) == 1


SMALL = Grown(Fraction(77), Fraction(0), 1, 20.0)


def test_what_takes_the_same_at_every_size_and_at_most_the_time_allowed_has_not_grown():
    assert growing({"count": {10: SMALL, 1000: SMALL, 100_000: SMALL._replace(ms=20.0 * SLOWER)}}) == []


@pytest.mark.parametrize(
    "large",
    [
        SMALL._replace(writes=Fraction(78)),
        SMALL._replace(reads=Fraction(1, 2)),
        SMALL._replace(calls=2),
        SMALL._replace(ms=20.0 * SLOWER + 1),
    ],
)
def test_what_takes_more_of_more_is_told_in_one_line(large):
    assert len(growing({"count": {10: SMALL, 100_000: large}})) == 1


def test_less_at_the_largest_size_is_told_too_for_one_of_the_two_was_not_measured_alike():
    assert len(growing({"count": {10: SMALL._replace(reads=Fraction(1), calls=2), 100_000: SMALL}})) == 1


def test_what_is_kept_of_a_part_is_read_again_with_three_digits_and_whole_units(tmp_path):
    found = Part("growth", [], {"count": {10: {"ms": 20.456, "reads": Fraction(3, 2), "writes": Fraction(77)}}}, ["no"])
    keep({"growth": entry(found, 2, 1.6)}, tmp_path / "results.json")
    told = kept(tmp_path / "results.json")["growth"]
    assert told["numbers"] == {"count": {"10": {"ms": 20.5, "reads": 1.5, "writes": 77}}}
    assert (told["seed"], told["seconds"], told["broken"]) == (2, 2, ["no"])


def test_the_chart_that_is_committed_is_drawn_from_the_results_that_are():
    assert chart.CHART.read_text() == chart.drawn(kept())


@pytest.mark.parametrize("parts", [[], ["pipeline"], ["usage", "growth"]])
def test_a_chart_is_of_the_parts_that_are_there(parts):
    drawn = ElementTree.fromstring(chart.drawn({name: kept()[name] for name in parts}))
    titles = [each for each in drawn.iter("{http://www.w3.org/2000/svg}text") if each.get("class") == "title"]
    assert len(titles) == len(parts)


def started(**ratios):
    return {name: Started(ratio * 40, ratio, [ratio, ratio]) for name, ratio in ratios.items()}


def test_a_cold_start_may_take_as_many_times_a_bare_one_as_is_said():
    at_most = started(
        receive_webhook=7.0, check_entitlement=7.0, get_entitlements=7.0, record_usage=9.0, quote_change=10.0
    )
    assert cold(at_most | started(get_plan=99.0), {"quote_change"}) == []


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("receive_webhook", 7.1), ("get_entitlements", 7.1), ("record_usage", 9.1), ("quote_change", 10.1)],
)
def test_one_that_starts_more_slowly_is_named(name, ratio):
    (told,) = cold(started(**{name: ratio}), {"quote_change"})
    assert name in told and f"{ratio:.2f}" in told


def test_a_warm_request_takes_half_of_what_the_naive_one_does():
    heavy, light = Warm(1000.0, [], 1200.0), Warm(500.0, [], 700.0)
    assert warm({"record_usage": (light, heavy), "check_entitlement": (heavy, light)}) == []
    (told,) = warm({"record_usage": (Warm(501.0, [], 700.0), heavy)})
    assert "record_usage" in told and "501" in told


def test_a_function_is_started_asked_and_timed_as_lambda_does(tmp_path):
    (tmp_path / "twice.py").write_text("def handler(event, context):\n    return {'twice': 2 * event['n']}\n")
    with sandbox("twice.handler", [str(tmp_path), runtime(tmp_path / "runtime")], {}) as process:
        answers = [process.ask({"n": n}) for n in (1, 21)]
        assert [answer for _, answer in answers] == [{"twice": 2}, {"twice": 42}]
        assert process.began < process.ready < answers[0][0] < answers[1][0]
        assert 0 < process.cpu() < 60


def test_what_a_function_raises_is_its_answer(tmp_path):
    (tmp_path / "fails.py").write_text("def handler(event, context):\n    raise KeyError('n')\n")
    with sandbox("fails.handler", [str(tmp_path), runtime(tmp_path / "runtime")], {}) as process:
        _, answer = process.ask({})
    assert answer["errorType"] == "KeyError"
