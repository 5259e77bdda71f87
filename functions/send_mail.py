"""Something has happened that a mail is sent of."""

import time

from billing import mailing


def handler(event: dict, _) -> None:
    """
    The domain event, from our bus; or `{"customer", "sequence"}`, from a schedule of the sweep. What fails is tried
    again by Lambda, then by the sweep; what has been sent is not sent again.
    """
    about = event.get("detail", event)
    mailing.send(about["customer"], about["sequence"], int(time.time()))
