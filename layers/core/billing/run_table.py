"""Runs of the reconciliation on record, and where the sweep has come to; kept in the table of the subscriptions."""

import os
from dataclasses import asdict, replace
from typing import Any

from billing import dynamodb
from billing.errors import NotFound, Stale
from billing.runs import Drift, Run

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
MEMORY = 90 * 86_400  # seconds


def begin(run: Run) -> Run:
    """That run, or as far as it has come, if it was begun before."""
    item = _key(run.id) | asdict(run) | {"expires": run.started_at + MEMORY}
    refused = dynamodb.transact([dynamodb.put(TABLE, item, "attribute_not_exists(pk)")])
    return find(run.id) if refused else run


def find(id: str) -> Run:
    found = dynamodb.get(TABLE, **_key(id))
    if not found:
        raise NotFound(f"there is no run {id}")
    return _run(found)


def latest(most: int) -> list[Run]:
    """The newest first."""
    runs = [_run(item) for item in dynamodb.query(TABLE, "runs")]
    return sorted(runs, key=lambda run: run.started_at, reverse=True)[:most]


def save(run: Run, at: int) -> Run:
    """Stale if someone else has carried it on meanwhile."""
    saved = replace(run, version=run.version + 1, touched_at=at)
    item = _key(run.id) | asdict(saved) | {"expires": run.started_at + MEMORY}
    if dynamodb.transact([dynamodb.put(TABLE, item, "version = :before", before=run.version)]):
        raise Stale("the run is being carried on by someone else")
    return saved


def finding(run: Run, drift: Drift, at: int) -> dict:
    """
    The write that puts it on record: with the repair, if there is one. Of two in a run the later counts, but nothing
    that is only found covers a repair: then it is refused. A repair that follows another says what both did.
    """
    item = {"pk": f"run#{run.id}", "sk": f"drift#{drift.object}"} | asdict(drift) | {"expires": at + MEMORY}
    if drift.repaired:
        return dynamodb.put(TABLE, item)
    return dynamodb.put(TABLE, item, "attribute_not_exists(pk) OR repaired = :no", no=False)


def found(run: Run, object: str) -> Drift | None:
    """What the run has on record of an object."""
    item = dynamodb.get(TABLE, pk=f"run#{run.id}", sk=f"drift#{object}")
    return Drift(**_fields(item)) if item else None


def findings(run: str, most: int, after: str | None = None) -> tuple[list[Drift], str | None]:
    """By the ids of their objects, backwards, after one of them; and the last of the page, if more may come."""
    found = dynamodb.query(TABLE, f"run#{run}", "drift#", newest=most, before=after and f"drift#{after}")
    drifts = [Drift(**_fields(item)) for item in found]
    return drifts, drifts[-1].object if len(drifts) == most else None


def swept() -> dict[str, Any]:
    """How far the sweep has come: {until, since, after, version}; empty: it has never been."""
    found = dynamodb.get(TABLE, pk="sweep", sk="sweep")
    return _fields(found) if found else {}


def sweeps(before: dict[str, Any], **now) -> None:
    """Stale if another sweep has come further meanwhile."""
    version = before.get("version", 0)
    item = {"pk": "sweep", "sk": "sweep", "version": version + 1} | now
    condition, values = ("version = :before", {"before": version}) if version else ("attribute_not_exists(pk)", {})
    if dynamodb.transact([dynamodb.put(TABLE, item, condition, **values)]):
        raise Stale("another sweep is under way")


def _key(id: str) -> dict[str, str]:
    return {"pk": "runs", "sk": id}


def _run(item: dict) -> Run:
    return Run(**_fields(item) | {"id": item["sk"]})


def _fields(item: dict) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("pk", "sk", "expires")}
