"""What docs/proration.md says is what the code does: every table is read out of the page and computed again."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from billing.currencies import chargeable
from billing.proration import discounted, prorate

PAGE = Path("docs/proration.md").read_text()
LINE = ("Line", "Total", "Seconds left", "Seconds of the period", "Exactly", "Stripe's")
CHANGE = ("Change", "Old", "New", "Seconds left", "Seconds of the period", "Credit", "Charge", "Net")
COUPON = ("Coupon", "Total", "Percent off", "Amount off", "Leaves")
CURRENCIES = ("Currencies", "Multiples of", "Source (Stripe's docs, Supported currencies)")
KNOWLEDGE = ("What", "How we know")


def rows():
    """(header, cells) of each row of each table."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        header, _, *found = (tuple(cell.strip() for cell in line[1:-1].split("|")) for line in table.splitlines())
        yield from ((header, cells) for cells in found)


ROWS = list(rows())


def of(header):
    found = [cells for kind, cells in ROWS if kind == header]
    return pytest.mark.parametrize(header[0].lower(), found, ids=lambda cells: cells[0])


def share(total, left, length):
    """Of a total of what is credited (negative) or charged."""
    credit, charge = prorate(max(0, -total), max(0, total), 0, length, length - left)
    return (credit if total < 0 else charge).amount_cents


def test_every_table_but_that_of_sources_is_computed_again():
    assert {header for header, _ in ROWS} == {LINE, CHANGE, COUPON, CURRENCIES, KNOWLEDGE}
    assert len(ROWS) == sum(line.startswith("|") for line in PAGE.splitlines()) - 2 * PAGE.count("\n|---")


@of(LINE)
def test_a_line_of_stripes_is_what_the_rule_makes_it(line):
    total, left, length, said = (int(line[place]) for place in (1, 2, 3, 5))

    assert f"{Fraction(total * left, length):.2f}" == line[4]
    assert share(total, left, length) == said


@of(CHANGE)
def test_a_change_comes_to_the_lines_and_the_net_that_the_page_says(change):
    old, new, left, length, credit, charge, net = map(int, change[1:])
    lines = [line.amount_cents for line in prorate(old, new, 0, length, length - left)]

    assert (lines, sum(lines)) == ([credit, charge], net)


@of(COUPON)
def test_a_coupon_leaves_what_the_page_says(coupon):
    total, percent, amount, left = coupon[1:]

    assert discounted(int(total), float(percent) if percent else None, int(amount) if amount else None) == Fraction(
        left
    )


@of(CURRENCIES)
def test_a_currency_is_charged_in_the_multiples_that_the_page_says(currencies):
    assert {chargeable(code.lower()) for code in currencies[0].split(", ")} == {int(currencies[1])}


@pytest.mark.parametrize(
    ("total", "left", "length", "said"),
    [
        (-1000, 1_599_427_688 - 1_598_982_148, 1_599_427_688 - 1_596_749_288, -166),
        (3252, 1_599_427_688 - 1_598_982_148, 1_599_427_688 - 1_596_749_288, 541),
        (-1000, 6480, 2_592_000, -3),
        (1800, 6480, 2_592_000, 4),
        (3000, 6480, 2_592_000, 7),
    ],
)
def test_the_lines_that_decide_how_stripe_rounds_are_on_the_page(total, left, length, said):
    told = [tuple(int(cells[place]) for place in (1, 2, 3, 5)) for header, cells in ROWS if header == LINE]

    assert (total, left, length, said) in told
