"""What is told when its time has come: that a trial or a card comes to its end, and that access has."""

from billing import customer_table, log, records, standing, timers
from billing.customers import Customer, Revision
from billing.domain_events import Happened, told
from billing.errors import Stale
from billing.periods import month_end
from billing.plans import Plan
from billing.timers import Timer


def remind(customer: str, kind: str, subject: str, step: str, at: int) -> None:
    """Once; of what is not so any more, nothing."""
    for _ in range(records.TRIES):
        ours = customer_table.find(customer, at)
        plan = standing.bought(ours)
        waiting = timers.of(ours, plan)
        timer = waiting.get(f"{kind}#{subject}#{step}")
        if not timer or (kind == "access" and at < timer.due):
            log.info("nothing_to_remind_of", kind=kind, subject=subject, step=step)
            return
        later = [each for each in waiting.values() if each.kind == kind and timer.due < each.due <= at]
        happened = [] if later else _happened(ours, timer, plan, at)
        try:
            records.commit(ours, Revision(ours).telling(at, *happened).reminding(timer.name, at))
        except Stale:
            continue
        log.counted("Reminders", kind=kind, subject=subject)
        return
    raise Stale("the customer keeps moving")


def _happened(ours: Customer, timer: Timer, plan: Plan | None, at: int) -> list[Happened]:
    """Of access nothing is said here: that it has ended shows by itself."""
    if timer.kind == "trial":
        return [Happened("subscription.trial_ending", told(ours.live(), plan, at))]
    if timer.kind == "card":
        expires, days = timer.step.split(":")
        about = {"subscription": timer.subject, "expires": expires, "days": int(days)}
        return [Happened("payment_method.expiring", about)] if at < month_end(expires) else []
    return []
