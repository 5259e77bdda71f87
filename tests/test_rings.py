"""The architecture, as a test: who may import whom."""

import ast
import re
from pathlib import Path

import pytest

RULES = {"errors", "plans", "periods", "proration", "holds", "subscriptions", "invoices", "customers"}
RULES |= {"entitlements", "usage", "webhooks", "theirs", "discounts", "quotes", "refunds", "checkouts", "return_urls"}
RULES |= {"dunning", "domain_events", "mails", "timers", "signatures", "endpoints", "wording"}
RULES |= {"tallies", "corrections", "closings", "statements"}
RULES |= {"runs", "metrics", "prices", "rating", "currencies"}
TABLES = {
    "timer_table",
    "mail_table",
    "outbox",
    "endpoint_table",
    "plan_table",
    "customer_table",
    "usage_table",
    "webhook_table",
    "run_table",
    "statement_table",
    "alert_table",
}
DOORS = {
    "api": set(),
    "log": {"logging"},
    "aws": {"botocore", "logging"},
    "gateway": {"stripe", "urllib3", "logging"},
    "translation": {"stripe"},
    "steps": set(),
    "overage": set(),
    "dynamodb": {"botocore"},
}
DOORS |= {"offers": {"pydantic"}, "listings": set(), "scheduler": {"botocore"}, "queue": {"botocore"}}
DOORS |= {"bodies": {"msgspec"}}
DOORS |= {"bus": {"botocore"}, "product": {"urllib3", "certifi", "logging"}}
DOORS |= {"ses": {"botocore"}, "letters": {"jinja2", "markupsafe"}}
DOORS |= {"secrets": {"botocore"}} | {table: set() for table in TABLES}
SHARED_DOORS = {"log", "aws", "secrets", "dynamodb", "gateway", "translation", "api"}  # those to Stripe are three
PROCEDURES = {"records", "catalogue", "registration", "changes", "pricing", "trials", "sync", "standing", "metering"}
PROCEDURES |= {"mailing", "subscribing", "collecting", "reminding", "timing", "publishing"}
PROCEDURES |= {"sweeping", "reconciliation", "adoption", "closing", "correcting", "history", "explaining", "alerting"}
OUTSIDE = {"boto3", "botocore", "stripe", "pydantic", "os", "time", "random", "requests", "urllib3", "certifi"}
OUTSIDE |= {"msgspec", "jinja2", "markupsafe", "local", "logging", "datetime.now", "secrets"}
PASSING = {"os", "time", "random"}  # a door reads its settings, keeps its memory fresh and waits with jitter
MODULES = sorted(Path("layers/core/billing").glob("[!_]*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "billing")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_import_only_inward(path):
    found = set(imports(path))
    inner = {name.split(".")[1] for name in found if name.startswith("billing.")} - {path.stem}
    outer = {name.split(".")[0] for name in found} & OUTSIDE
    if path.stem in RULES:
        assert inner <= RULES and not outer
    elif path.stem in DOORS:
        assert inner <= RULES | SHARED_DOORS and outer - PASSING <= DOORS[path.stem]
    else:
        assert path.stem in PROCEDURES and inner <= RULES | DOORS.keys() | PROCEDURES and outer <= PASSING


def test_the_rings_are_all_there_is():
    assert {path.stem for path in MODULES} == RULES | DOORS.keys() | PROCEDURES


@pytest.mark.parametrize("path", sorted(Path("functions").glob("*.py")), ids=lambda path: path.stem)
def test_actions_are_short_and_never_import_each_other(path):
    assert not {other.stem for other in Path("functions").glob("*.py")} & set(imports(path))
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("from ", "import "))]
    reasons = [line for line in lines if re.match(r'    "[a-z_.]+": [a-z_.]+,  # ', line)]  # a table is to be read down
    assert len(lines) - len(reasons) <= 75


@pytest.mark.parametrize("path", [*MODULES, *sorted(Path("functions").glob("*.py"))], ids=lambda path: path.stem)
def test_nothing_deployed_knows_of_the_tests(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"local", "tests", "moto", "pytest"}
