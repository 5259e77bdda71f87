"""What the bench computes is AWS's arithmetic, and what it holds true can be broken."""

from fractions import Fraction

import pytest

from bench.bounds import CHEAPER, GROWS, Counted, broken
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
