"""A trial, a card or the grace of an unpaid subscription comes to its end: that is told, once."""

import time

from billing import reminding


def handler(event: dict, _) -> None:
    """`{"customer", "kind", "subject", "step"}`, from a schedule for one time; as take_dunning_step."""
    reminding.remind(event["customer"], event["kind"], event["subject"], event["step"], int(time.time()))
