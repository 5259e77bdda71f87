"""Every 15 minutes: events that never came are enqueued, changes whose makers died are settled, and all is counted."""

import os
import time

from billing import customer_table, log, mail_table, outbox, run_table, scheduler, sweeping, timer_table, webhook_table
from billing.errors import Stale, Unavailable

# Seconds in which work is begun. One call more, at Stripe's slowest, takes 17 s, and the worker is killed: what is on
# record after each page stands, and the next sweep goes on from there.
SLICE = 12
SPARE = 3  # for what nobody has come to do in its time, whatever else there was to do
OLD = 3600  # seconds: a hold of which nothing has come gives way after half of that
STALLED = 600  # seconds: a reconciliation is carried on every minute
MOST = 1000  # are counted


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
        log.info("swept_by_another")
        return
    except Unavailable as failure:  # the next sweep
        log.error("refused", code=failure.code)
        return
    if not through:
        scheduler.carry_on(f"sweep-{at}", context.invoked_function_arn, {"after": after}, at)
    _carry_on_runs(at)
    sweeping.waiting(at, time.monotonic() + SPARE)
    log.counted("FailedEvents", len(webhook_table.unfinished("failed", 0, MOST)[0]))
    log.counted("OldHolds", len(customer_table.holding(at - OLD, None, MOST)[0]))
    log.counted("OldClosings", len(customer_table.closing(at - OLD, None, MOST)[0]))
    log.counted("OldEvents", len(outbox.waiting(at - OLD, None, MOST)[0]))
    log.counted("OldMails", len(mail_table.waiting(at - OLD, None, MOST)[0]))
    log.counted("OldTimers", len(timer_table.waiting(at - OLD, None, MOST)[0]))
    log.counted("SweepRan", 1 if through else 0)


def _carry_on_runs(at: int) -> None:
    """Of the reconciliation, whose makers died before they could see to it."""
    for run in run_table.latest(MOST):
        if run.finished_at is None and not run.abandoned(at) and max(run.touched_at, run.started_at) < at - STALLED:
            scheduler.carry_on(f"{run.id}-{run.version}", os.environ["RECONCILE_FUNCTION"], {"run": run.id}, at)
