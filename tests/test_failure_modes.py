"""docs/failure-modes.md names, for every failure, tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

LINES = Path("docs/failure-modes.md").read_text().splitlines()
ROWS = [line for line in LINES if line.startswith("| ") and not line.startswith("| What happens |")]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
NOT_SHOWN = re.compile(r"\| No test here yet: .{10,} \|$")  # which says who owes it, or why there is none


@cache
def defined(file: str) -> set[str]:
    tree = ast.parse(Path("tests", file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_what_is_said_to_be_shown_is(row):
    assert len(row.split(" | ")) == 4
    named = NAMED.findall(row)
    assert named or NOT_SHOWN.search(row)
    for file, test in named:
        assert test in defined(file)


def test_it_is_about_every_part_that_may_fail():
    assert len(ROWS) > 50
    parts = (
        "receiver",
        "worker dies",
        "sweep",
        "reconciliation",
        "schedule cannot",
        "DynamoDB",
        "Stripe is busy",
        "SQS",
    )
    parts += (
        "Poison",
        "dead-letter",
        "deploy in the middle",
        "clock",
        "Two at once",
        "secret is rotated",
        "wrong scope",
    )
    text = "\n".join(LINES)
    assert [part for part in parts if part not in text] == []
