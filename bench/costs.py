"""
What a request takes of the store, and what that costs: by the documented rules, for emulators report it wrongly.

Sizes are bytes, units those of DynamoDB's on-demand mode, money US dollars at list prices.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

KB = 1024  # docs: Quotas in Amazon DynamoDB
GB = KB**3
MILLION = 10**6
OVERHEAD = 100  # bytes of storage, of each item and of each entry of an index (docs: DynamoDB item sizes and formats)


class Price(NamedTuple):
    dollars: Fraction
    of: str
    source: str


PRICED_ON = "2026-11-23"  # us-east-1, without free tiers and volume discounts
WRITES = Price(Fraction("0.625"), "million write units", "cited at second hand, since November 2024")
READS = Price(Fraction("0.125"), "million read units", "cited at second hand, since November 2024")
STORAGE = Price(Fraction("0.25"), "GB and month of a table", "from memory")
HTTP = Price(
    Fraction("1.00"), "million requests", "cited: AWS's whitepaper on private APIs, table 4, first 300 million"
)
CALLS = Price(Fraction("0.20"), "million calls of a Lambda", "from memory")
COMPUTE = Price(Fraction("0.0000133334"), "GB-second of a Lambda, arm64", "from memory")
PRICES = (WRITES, READS, STORAGE, HTTP, CALLS, COMPUTE)


class Units(NamedTuple):
    """What calls of the store have taken."""

    writes: Fraction
    reads: Fraction
    calls: int


def size(item: Mapping[str, Any]) -> int:
    """
    Names and values of an item. Of a number this is AWS's own approximation; whole ones only.

    Source: docs, DynamoDB item sizes and formats.
    """
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def write_units(size: int, transactional: bool) -> int:
    """
    One for each KB begun; twice that in a transaction, which prepares each item and commits it. A check of a condition
    counts as a write.

    Source: docs, Amazon DynamoDB Transactions: capacity management.
    """
    return _begun(size, KB) * (2 if transactional else 1)


def index_units(size: int) -> int:
    """
    Of a new entry of an index: once, in a transaction too, for indexes follow when that is done. The docs say no more
    than that; it was measured by others on AWS (dynamodb-conformance, dynoxide pull request 188).
    """
    return _begun(size, KB)


def read_units(size: int, consistent: bool = True) -> Fraction:
    """Of one answer; that there is nothing is read, too. Source: docs, DynamoDB read consistency."""
    return Fraction(_begun(size, 4 * KB), 1 if consistent else 2)


def store_dollars(writes: Fraction, reads: Fraction) -> Fraction:
    """Of a million of what takes so many units."""
    return writes * WRITES.dollars + reads * READS.dollars


def request_dollars(seconds: Fraction, memory_mb: int) -> Fraction:
    """Of a million requests that each keep a function busy for so long."""
    return HTTP.dollars + CALLS.dollars + MILLION * seconds * Fraction(memory_mb, KB) * COMPUTE.dollars


def storage_dollars(size: int, indexes: int) -> Fraction:
    """Of a million items a month, each with its entry in so many indexes that have all of it."""
    return Fraction(MILLION * (size + OVERHEAD) * (1 + indexes), GB) * STORAGE.dollars


def _begun(size: int, block: int) -> int:
    return max(1, -(-size // block))


def _value(value: Any) -> int:
    match value:
        case None | bool():
            return 1
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case int():
            return (len(str(abs(value)).strip("0")) + 1) // 2 + 1
        case dict():
            return 3 + size(value) + len(value)
        case list():
            return 3 + sum(1 + _value(each) for each in value)
    raise TypeError(f"nobody knows the size of a {type(value).__name__}")
