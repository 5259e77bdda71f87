"""Nightly, and every minute until it is through: our record becomes what Stripe has, and what differed is told."""

import re
import time

from billing import log, reconciliation, run_table, scheduler
from billing.errors import Stale
from billing.runs import Run


def handler(event: dict, context) -> None:
    """`{"run": id}` carries one on; the nightly event, which Lambda may hand in again, begins one of its own name."""
    at = int(time.time())
    if "run" in event:
        run = run_table.find(event["run"])
    else:
        run = run_table.begin(Run("nightly-" + re.sub(r"[^0-9TZ]", "", event["time"]), dry_run=False, started_at=at))
    if run.abandoned(at):
        log.error("abandoned", run=run.id, stage=run.stage)
        return
    try:
        run = reconciliation.work(run, at)
    except Stale:  # a second copy of this event: the other one is at it
        return
    if run.finished_at is None:
        scheduler.carry_on(f"{run.id}-{run.version}", context.invoked_function_arn, {"run": run.id}, at)
    log.info("reconciled", **run.public())
