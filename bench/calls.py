"""
What each action asks of AWS and of Stripe: the table of docs/performance.md, which tests/functions/test_calls.py holds
the code to, and bench/bill.py counts by.
"""

import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from local.ministack import ROOT

PAGE = ROOT / "docs/performance.md"
SECTION = "## Calls per action"
NONE = "none"


class Calls(NamedTuple):
    """Of one call of an action: how often each operation of AWS's, and each method of Stripe's."""

    aws: Counter[str]
    stripe: Counter[str]


class Taken(NamedTuple):
    """Of an action in a Lambda that has just started, and of the next one there. Units are those of the next one."""

    cold: Calls
    warm: Calls
    writes: Fraction
    reads: Fraction


def table() -> dict[str, Taken]:
    """By the name of the action: the function's, and after a comma what is special about it."""
    _, _, after = PAGE.read_text().partition(SECTION)
    section, *_ = after.split("\n## ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"]
    return {name.replace("`", ""): _read(*cells) for name, *cells in rows}


def row(name: str, taken: Taken) -> str:
    """As it has to stand on the page."""
    function, comma, special = name.partition(",")
    units = (f"{float(each):g}" for each in (taken.writes, taken.reads))
    calls = (_said(each) for each in (taken.cold.aws, taken.warm.aws, taken.cold.stripe, taken.warm.stripe))
    return f"| `{function}`{comma}{special} | {' | '.join((*calls, *units))} |"


def _read(aws_cold: str, aws_warm: str, stripe_cold: str, stripe_warm: str, writes: str, reads: str) -> Taken:
    cold, warm = (
        Calls(_counts(aws), _counts(stripe)) for aws, stripe in ((aws_cold, stripe_cold), (aws_warm, stripe_warm))
    )
    return Taken(cold, warm, Fraction(writes), Fraction(reads))


def _counts(said: str) -> Counter[str]:
    return Counter({name: int(times) for times, name in re.findall(r"(\d+) (\w+)", said)})


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{times} {name}" for name, times in sorted(counts.items())) or NONE
