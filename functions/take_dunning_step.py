"""On the days of a dunning case: what is said, or done, about an invoice that is not paid."""

import time

from billing import collecting


def handler(event: dict, _) -> None:
    """
    `{"customer", "subject": invoice, "step"}`, from a schedule for one time. What fails is tried again by Lambda, then
    by the sweep; a step that was taken already is not taken twice.
    """
    collecting.take_step(event["customer"], event["subject"], int(event["step"]), int(time.time()))
