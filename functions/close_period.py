"""Half an hour after a period has ended: what was used in it is stated, and billed."""

import time

from billing import closing


def handler(event: dict, _) -> None:
    """
    `{"customer", "subscription", "start"}`, from a schedule for one time. What fails is tried again by Lambda, then by
    the sweep; whatever was done already is not done twice.
    """
    closing.close(event["customer"], event["subscription"], event["start"], int(time.time()))
