"""Nobody is woken by an alarm that the runbook does not explain, and no alarm watches what is never said."""

import ast
import re
from pathlib import Path

import pytest

from billing import metrics

RUNBOOK = Path("docs/runbook.md").read_text()
FILES = [path for folder in ("functions", "layers/core/billing") for path in sorted(Path(folder).glob("*.py"))]
DOOR = "log.py"  # where `counted` and `alarmed` are
PARTS = ["Means", "Meanwhile", "Look", "Do", "Clears"]


@pytest.fixture
def alarms(template):
    resources = template["Resources"].items()
    return {name: each["Properties"] for name, each in resources if each["Type"] == "AWS::CloudWatch::Alarm"}


def anchor(title):
    """As GitHub makes it of a heading."""
    return re.sub(r"[^a-z0-9_-]", "", title.lower().replace(" ", "-"))


def calls(name):
    """All calls of that name in the code; not those of the rule in `usage` that has the name of one of the door."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        imported = [
            node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "billing.usage"
        ]
        if path.name == DOOR or name in {each.name for node in imported for each in node.names}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name in (
                getattr(node.func, "attr", None),
                getattr(node.func, "id", None),
            ):
                yield node


def said(calls):
    """What calls begin with: codes and metrics are written out where they are said."""
    for call in calls:
        first = call.args[0]
        for each in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
            assert isinstance(each, ast.Constant), ast.unparse(call)
            yield each.value


def test_every_alarm_names_its_entry_of_the_runbook_and_every_entry_is_of_an_alarm(alarms):
    entries = [anchor(title) for title in re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE)]
    named = [each["AlarmDescription"].rpartition(" Runbook: docs/runbook.md#")[2] for each in alarms.values()]

    assert named == entries
    assert [name.removesuffix("Alarm").lower() for name in alarms] == [entry.replace("-", "") for entry in entries]


def test_every_entry_says_what_it_means_and_what_is_to_be_done():
    for entry in re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]:
        said = re.findall(r"^- \*\*(\w+)", entry, re.MULTILINE)
        assert said == (["Means", "Clears"] if entry.startswith("Anomalies") else PARTS), entry


def test_every_anomaly_that_the_code_may_raise_is_explained_and_no_other():
    raised = set(said(calls("alarmed")))
    # Where there is no Powertools: an ERROR line that has the metric among its extras.
    raised |= set(said(call for call in calls("error") if "ANOMALIES" in ast.unparse(call)))

    assert raised == set(re.findall(r"^### `([a-z_]+)`$", RUNBOOK, re.MULTILINE))


def test_every_metric_that_an_alarm_watches_is_said_somewhere(alarms):
    told = set(said(calls("counted"))) | {metrics.ANOMALIES}
    told |= set(said(call for call in calls("warning") if "_measured" in ast.unparse(call)))
    watched = {each["MetricName"] for each in alarms.values() if each["Namespace"] == "Tollgate"}

    assert watched - told == set()


def test_whoever_is_told_is_told_of_the_end_too_and_by_every_alarm(alarms):
    told = {"If": ["Told", [{"Ref": "AlarmTopic"}], []]}
    assert alarms and all(each["AlarmActions"] == each["OKActions"] == told for each in alarms.values())


def test_what_is_our_own_is_watched_in_this_stack_alone(alarms):
    for alarm in alarms.values():
        [dimension] = alarm["Dimensions"]
        assert (dimension == {"Name": "Stack", "Value": {"Ref": "AWS::StackName"}}) == (
            alarm["Namespace"] == "Tollgate"
        )


def test_cloudwatch_takes_the_periods(alarms):
    for alarm in alarms.values():
        span = alarm["Period"] * alarm["EvaluationPeriods"]
        assert span <= (7 * 86_400 if alarm["Period"] >= 3600 else 86_400)  # docs: PutMetricAlarm, Period
        assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]


def test_only_what_has_to_be_heard_of_alarms_by_its_silence(alarms):
    silent = {name for name, each in alarms.items() if each["TreatMissingData"] == "breaching"}
    assert silent == {"SilentSweepAlarm", "SilentReconcileAlarm"}
