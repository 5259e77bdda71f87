"""The constants that docs/scaling.md cites are the code's and the template's."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path("docs/scaling.md").read_text()
CITED = re.findall(r"`(\w+)\.([A-Z]\w*)` \(([\d,]+)\)", PAGE)
PARAMETERS = re.findall(r"`([A-Z]\w+)` \(([\d,]+)\)", PAGE)


@pytest.mark.parametrize(("module", "name", "value"), CITED)
def test_a_constant_is_as_the_page_says(module, name, value):
    assert getattr(importlib.import_module(f"billing.{module}"), name) == int(value.replace(",", ""))


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
def test_a_parameter_of_the_template_is_as_the_page_says(template, name, value):
    assert template["Parameters"][name]["Default"] == int(value.replace(",", ""))


def test_the_page_cites_them():
    assert {name for _, name, _ in CITED} >= {"ACTIONS", "MOST", "MOST_METRICS", "PATIENCE"}
    assert {name for name, _ in PARAMETERS} == {"UsageThrottleRate", "UsageThrottleBurst"}
