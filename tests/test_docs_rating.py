"""What docs/metering.md says that usage costs is what the code charges: the table is computed again."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from billing.rating import Rate, Tier

PAGE = Path("docs/metering.md").read_text()
HEADER = "| Rate | Included | Currency | Used | Exactly | Charged |\n|---|---|---|---|---|---|\n"
ROWS = [
    [cell.strip() for cell in line[1:-1].split("|")] for line in PAGE.split(HEADER)[1].split("\n\n")[0].splitlines()
]


def rate(said, included):
    model, rest = said.split(" ", 1)
    if model == "unit":
        return Rate(model, included, rest)
    if each := re.fullmatch(r"(\d+) each (\d+)", said):
        return Rate("package", included, each[1], int(each[2]))
    tiers = re.findall(r"(\d+|null): (\S+) \+ ([^, ]+)", rest)
    return Rate(model, included, tiers=[Tier(None if end == "null" else int(end), *of) for end, *of in tiers])


@pytest.mark.parametrize(("said", "included", "currency", "used", "exactly", "charged"), ROWS)
def test_usage_costs_what_the_page_says(said, included, currency, used, exactly, charged):
    charge = rate(said, int(included)).charge(int(used), currency)

    assert sum((Fraction(line.amount) for line in charge.lines), Fraction(0)) == Fraction(exactly)
    assert charge.amount_cents == int(charged)


def test_every_model_is_on_the_page():
    assert {rate(row[0], 0).model for row in ROWS} == {"unit", "package", "graduated", "volume"}
    assert {model for model in re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)} >= {rate(r[0], 0).model for r in ROWS}
