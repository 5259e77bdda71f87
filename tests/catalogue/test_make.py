"""What `make` hands on: only what its own command line says decides whom it speaks to, and whether anybody is moved."""

import os
import subprocess

import pytest


@pytest.fixture
def recipe():
    def of(*said, **environment):
        dry = ["make", "--dry-run", "--assume-old=.venv/installed", *said]
        outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        done = subprocess.run(dry, env=outside | environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split("\n")[-2].split()

    return of


def test_the_command_line_says_where_who_and_what(recipe):
    said = ["URL=https://example.com", "TOKEN=t", "PLAN=pro", "FROM=1", "EFFECTIVE=now", "APPLY=1"]
    tool = [".venv/bin/python", "-m", "local.plans"]
    reached = ["TOLLGATE_URL='https://example.com'", "TOLLGATE_TOKEN='t'"]

    assert recipe("plans-move", *said) == [*reached, *tool, "move", "pro", "1", "--effective", "now", "--apply"]
    assert recipe("plans-diff") == [*tool, "diff"]
    assert recipe("plans-apply", "PLANS=other.yaml") == [*tool, "apply", "--file", "other.yaml"]


def test_what_is_replayed_and_what_is_compared(recipe):
    said, python = ["URL=https://example.com", "TOKEN=t"], [".venv/bin/python", "-m"]
    reached = ["TOLLGATE_URL='https://example.com'", "TOLLGATE_TOKEN='t'"]

    assert recipe("redrive", *said) == [*reached, *python, "local.redrive"]
    narrowed = ["--type", "invoice.paid", "--since", "2026-11-23T00:00:00Z"]
    assert recipe("redrive", "TYPE=invoice.paid", "SINCE=2026-11-23T00:00:00Z") == [
        *python,
        "local.redrive",
        *narrowed,
    ]
    assert recipe("reconcile", *said) == [*reached, *python, "local.reconcile"]
    assert recipe("reconcile", "APPLY=1", "RUN=r1") == [*python, "local.reconcile", "--apply", "--run", "r1"]


@pytest.mark.parametrize("apply", ["0", "", "no"])
def test_nobody_is_moved_and_nothing_repaired_but_by_apply_1(recipe, apply):
    assert "--apply" not in recipe("plans-move", "PLAN=pro", "FROM=1", f"APPLY={apply}")
    assert "--apply" not in recipe("reconcile", f"APPLY={apply}")


def test_the_environment_moves_nobody_and_sends_nothing_elsewhere(recipe):
    chance = {
        "PLAN": "team",
        "FROM": "7",
        "APPLY": "1",
        "URL": "https://elsewhere.example",
        "TOKEN": "t",
        "EFFECTIVE": "now",
        "PLANS": "x",
        "TYPE": "invoice.paid",
        "SINCE": "2026-11-23T00:00:00Z",
        "RUN": "r1",
    }

    assert recipe("plans-move", **chance) == [".venv/bin/python", "-m", "local.plans", "move"]
    assert recipe("redrive", **chance) == [".venv/bin/python", "-m", "local.redrive"]
    assert recipe("reconcile", **chance) == [".venv/bin/python", "-m", "local.reconcile"]


def test_an_account_is_adopted_only_as_the_command_line_says(recipe):
    tool = [".venv/bin/python", "-m", "local.adopt"]
    said = ["URL=https://example.com", "TOKEN=t", "CUSTOMERS=map.csv", "PRICES=p.yaml", "MIGRATE=1", "APPLY=1"]
    reached = ["TOLLGATE_URL='https://example.com'", "TOLLGATE_TOKEN='t'"]

    files = ["--customers", "map.csv", "--prices", "p.yaml"]
    assert recipe("adopt", *said) == [*reached, *tool, *files, "--migrate", "--apply"]
    assert recipe("adopt", "MATCH=metadata:tenant_id") == [*tool, "--match", "metadata:tenant_id"]
    chance = {
        "CUSTOMERS": "x",
        "MATCH": "email",
        "PRICES": "x",
        "MIGRATE": "1",
        "APPLY": "1",
        "URL": "https://x.example",
    }
    assert recipe("adopt", **chance) == recipe("adopt", "APPLY=0", "MIGRATE=no") == tool
