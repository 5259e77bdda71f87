"""A reconciliation from the operator's desk: what differs is told, and repaired only if that is asked for."""

import json
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest

import reconcile as deployed
from billing import customer_table, dynamodb, reconciliation, run_table
from billing.runs import Drift, Run
from local.reconcile import reconcile
from local.tollgate import Answer, Tollgate, Wrong


@pytest.fixture
def tool():
    return "local.reconcile"


@pytest.fixture
def differs(hear, subscribed, seats, clock):
    """Stripe has nine seats, of which it has never told."""
    hear()
    seats(subscribed["id"], 9)
    clock.pass_by(minutes=5)
    return subscribed


def quantity():
    return customer_table.find("ada", 0).subscription.theirs.quantity


def test_without_apply_it_only_tells(tollgate, differs, told):
    assert reconcile(tollgate, apply=False, say=told.append) == 2
    assert quantity() == 5
    said = told.text()
    assert f"{differs['id']} ada quantity not repaired: a dry run quantity 5 -> 9" in said
    assert said.endswith("found 1 repaired 0; nothing has been repaired: APPLY=1 does it")


def test_with_apply_it_is_repaired_and_told(tollgate, differs, told):
    assert reconcile(tollgate, apply=True, say=told.append) == 0
    assert quantity() == 9
    assert f"{differs['id']} ada quantity repaired quantity 5 -> 9" in told.text()
    assert reconcile(tollgate, apply=False, say=told.append) == 0
    assert told.text().endswith("found 0 repaired 0")


def test_what_cannot_be_repaired_is_told_with_the_reason(tollgate, differs, stripe, told):
    stripe.faults.add(kind="failed", method="GET", path=f"/v1/subscriptions/{differs['id']}", times=99)
    assert reconcile(tollgate, apply=True, say=told.append) == 2
    assert "not repaired: stripe_failed" in told.text()


@pytest.fixture
def slices(send, context, schedules, monkeypatch):
    """A Tollgate whose runs take several slices: while one waits, what is scheduled for a minute later happens."""
    monkeypatch.setattr(reconciliation, "time", SimpleNamespace(monotonic=count(step=7).__next__))
    done, waits = set(), []

    def pause(seconds):
        waits.append(seconds)
        for name in schedules().keys() - done:
            deployed.handler(json.loads(schedules()[name]["Target"]["Input"]), context)
            done.add(name)

    return Tollgate(send, pause), waits


@pytest.fixture
def three(api, plans, hear, seats, clock):
    """Three customers, of whose nine seats we were never told."""
    order = {"plan_slug": "team", "quantity": 5, "payment_method": "pm_card_visa"}
    ids = [api("POST", "/subscription", order, customer=name).json["id"] for name in ("ada", "bob", "eve")]
    hear()
    for id in ids:
        seats(id, 9)
    clock.pass_by(minutes=5)
    return ids


def test_it_waits_until_the_run_is_through(slices, three, told):
    tollgate, waits = slices
    assert reconcile(tollgate, apply=True, say=told.append) == 0
    assert len(waits) > 1 and told[-1].endswith("found 3  repaired 3")
    assert {line.split()[0] for line in told if line.endswith(" repaired")} == set(three)


def test_who_is_killed_meanwhile_may_take_the_run_up_again(slices, three, send, told):
    def killed(seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconcile(Tollgate(send, killed), apply=True, say=told.append)
    [begun] = run_table.latest(9)
    assert not begun.finished_at and f"run {begun.id} " in told.text()

    assert reconcile(slices[0], apply=False, run=begun.id, say=told.append) == 0  # that one repairs, whoever looks on
    assert told[-1].endswith("found 3  repaired 3") and len(run_table.latest(9)) == 1


def test_an_answer_that_is_lost_is_asked_for_again_and_one_run_begun(send, differs, told):
    lost = []

    def losing(*request):
        answer = send(*request)
        if request[0] == "POST" and not lost:
            lost.append(answer)
            return Answer(503, {"code": "unreachable"})
        return answer

    assert reconcile(Tollgate(losing, lambda _: None), apply=True, say=told.append) == 0
    assert lost and len(run_table.latest(9)) == 1


def test_all_pages_of_the_report_are_told(tollgate, aws, clock, told):
    run = run_table.begin(Run("r", dry_run=True, started_at=1))
    for number in range(120):
        found = Drift(f"sub_{number:03}", "ada", ["status"], {"status": "active"}, {"status": "canceled"})
        dynamodb.transact([run_table.finding(run, found, int(clock.now()))])
    run_table.save(replace(run, finished_at=2, stage="done", found=120), 2)

    assert reconcile(tollgate, apply=False, run="r", say=told.append) == 2
    assert len([line for line in told if "a dry run" in line]) == 120
    assert len([line for line in told if line.endswith('"active" -> "canceled"')]) == 120


def test_a_run_that_stands_still_is_not_waited_for_for_ever(send, aws, told):
    run_table.begin(Run("r", dry_run=True, started_at=1))
    waited = []
    with pytest.raises(Wrong, match="run r stands still"):
        reconcile(Tollgate(send, waited.append), apply=False, run="r", say=told.append)
    assert 2 * 60 * 15 < sum(waited) < 3600  # a sweep has been, and what it scheduled


def test_the_command_exits_with_what_there_is_to_repair_and_never_tells_the_token(command, differs):
    found = command()
    assert found.returncode == 2 and "not repaired" in found.stdout
    assert quantity() == 5
    repaired = command("--apply")
    assert (repaired.returncode, repaired.stderr) == (0, "") and quantity() == 9

    for wrong in (command(token=""), command(token="wr0ng"), command("--aply"), command("--run", "never")):
        assert wrong.returncode == 1 and wrong.stderr
        assert "wr0ng" not in wrong.stdout + wrong.stderr and "s3cret" not in wrong.stdout + wrong.stderr
