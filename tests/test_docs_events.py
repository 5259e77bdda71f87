"""docs/events.md says of every event what it holds: tests/functions holds all that happens there against it."""

import ast
import re
from pathlib import Path

import pytest

from billing import bus, endpoints, signatures
from billing.domain_events import DomainEvent
from tests.events_page import EXAMPLES, PAGE, SCHEMAS, SECTIONS
from tests.test_openapi import faults

TYPE = re.compile(r"(subscription|access|invoice|dunning|usage|payment_method|customer)\.[a-z_]+")


def told():
    """What the code may tell: the types that are written where something is said to have happened."""
    for path in Path("layers/core/billing").glob("*.py"):
        text = path.read_text()
        if "Happened(" in text:
            texts = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
            yield from (each for each in texts if isinstance(each, str) and TYPE.fullmatch(each))


def test_every_type_that_may_be_told_is_on_the_page_and_no_other():
    types = set(told())
    assert types == SECTIONS.keys() and len(types) > 15


@pytest.mark.parametrize("type", SECTIONS)
def test_its_schema_has_its_name_and_its_example_is_as_that_says(type):
    schema, example = SECTIONS[type]
    at = {"type": "string", "format": "date-time"}
    assert (schema["$id"], example["type"]) == (type, type)
    assert example["id"] == f"{example['customer']}:{example['sequence']}"
    assert faults(SCHEMAS[type], example["data"]) == [] and faults(at, example["at"]) == []
    assert example.keys() == DomainEvent("ada", 1, "t", {}, 0).public().keys()


@pytest.mark.parametrize("type", SECTIONS)
def test_a_field_too_many_or_too_few_is_a_fault(type):
    data = EXAMPLES[type]["data"]
    assert faults(SCHEMAS[type], data | {"hosted_invoice_url": "x"})
    assert faults(SCHEMAS[type], dict(list(data.items())[1:]))


def test_what_the_page_says_of_the_bus_and_of_the_url_is_so():
    assert f"`source` is `{bus.SOURCE}`" in PAGE and '{"source": ["tollgate"]' in PAGE
    said = re.search(r"after 5 seconds, 5 and 30\s+minutes, 2, 5, 10 and 10 hours", PAGE)
    assert said and endpoints.AGAIN == (5, 5 * 60, 30 * 60, *(3600 * hours for hours in (2, 5, 10, 10)))
    assert signatures.name("a.b:1") == "a%2Eb:1" and "a full stop is `%2E`" in PAGE
    assert (endpoints.FEWEST, endpoints.PATIENCE) == (10, 5 * 86_400)


def test_the_recipe_for_order_drops_doubles_and_loses_nothing():
    (recipe,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict = {}
    exec(recipe, scope)
    seen, aside, applied = 0, {}, []
    for sequence in (2, 1, 1, 4, 2, 5, 3, 3, 6):
        seen = scope["take"]({"sequence": sequence}, seen, aside, lambda event: applied.append(event["sequence"]))
    assert (applied, seen, aside) == ([1, 2, 3, 4, 5, 6], 6, {})
