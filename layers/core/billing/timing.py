"""Timers get schedules, each for one time: by the stream that tells of them, or by the sweep that finds them late."""

import os

from billing import scheduler
from billing.holds import digest
from billing.timers import Timer


def arrange(customer: str, timer: Timer, at: int, again: bool = False) -> None:
    """The same timer twice is one schedule, unless `again`: the first has come to nothing."""
    function = os.environ["DUNNING_FUNCTION" if timer.kind == "dunning" else "REMIND_FUNCTION"]
    about = {"customer": customer, "kind": timer.kind, "subject": timer.subject, "step": timer.step}
    name = f"{timer.kind}-{digest(customer, timer.name, timer.due, at if again else 0)}"
    scheduler.once(name, function, about, max(timer.due, at) + scheduler.SOON)
