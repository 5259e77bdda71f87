"""Every 15 minutes: events that never came are enqueued, changes whose makers died are settled, and all is counted."""

import os
import time
from random import shuffle

from aws_lambda_powertools import Logger

from billing import customer_table, run_table, scheduler, sweeping, webhook_table
from billing.api import counted
from billing.errors import Stale, Unavailable

# Seconds in which work is begun. One call more, at Stripe's slowest, takes 17 s, and the worker is killed: what is on
# record after each page stands, and the next sweep goes on from there.
SLICE = 12
SPARE = 3  # for periods that nobody has closed, whatever else there was to do
OLD = 3600  # seconds: a hold of which nothing has come gives way after half of that
LATE = 180  # seconds after its time that a period is closed by its schedule
STALLED = 600  # seconds: a reconciliation is carried on every minute
MOST = 1000  # are counted

logger = Logger()


@logger.inject_lambda_context
def handler(event: dict, context) -> None:
    """
    `{"after": place}` carries on with the holds from there, a minute after a sweep that was not through. What has
    failed is tried again by the regular ones, and before the holds: one that takes all the time does not keep it.
    """
    at, deadline, after = int(time.time()), time.monotonic() + SLICE, event.get("after")
    try:
        through = sweeping.events(at, deadline)
        if "after" not in event:
            sweeping.innocents(at, deadline)
        while through and (through := time.monotonic() < deadline):
            done, after = sweeping.holds(at, deadline, after)
            if done:
                break
    except Stale:
        logger.info("swept_by_another")
        return
    except Unavailable as failure:  # the next sweep
        logger.error("refused", code=failure.code)
        return
    if not through:
        scheduler.carry_on(f"sweep-{at}", context.invoked_function_arn, {"after": after}, at)
    _carry_on_runs(at)
    _close_late(at)
    counted("FailedEvents", len(webhook_table.unfinished("failed", 0, MOST)[0]))
    counted("OldHolds", len(customer_table.holding(at - OLD, None, MOST)[0]))
    counted("SweepRan", 1 if through else 0)


def _close_late(at: int) -> None:
    """
    Periods whose schedules have not come, or have come to nothing, and those whose rest waits for a renewal: that is a
    draft for an hour. What cannot be arranged now is the next one's: in any order, so that those that fail each time
    keep no other from its turn.
    """
    late, _ = customer_table.closing(at - LATE, None, MOST)
    shuffle(late)
    until = time.monotonic() + SPARE
    try:
        for customer, subscription, start in late:
            if time.monotonic() >= until:
                break
            about = {"customer": customer, "subscription": subscription, "start": start}
            scheduler.carry_on(f"close-{subscription}-{start}-{at}", os.environ["CLOSE_FUNCTION"], about, at)
    except Unavailable as failure:
        logger.error("not_scheduled", code=failure.code)
    counted("OldClosings", len(customer_table.closing(at - OLD, None, MOST)[0]))


def _carry_on_runs(at: int) -> None:
    """Of the reconciliation, whose makers died before they could see to it."""
    for run in run_table.latest(MOST):
        if run.finished_at is None and not run.abandoned(at) and max(run.touched_at, run.started_at) < at - STALLED:
            scheduler.carry_on(f"{run.id}-{run.version}", os.environ["RECONCILE_FUNCTION"], {"run": run.id}, at)
