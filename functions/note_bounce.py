"""A mail has come back, or was not wanted: nothing more is sent to that address."""

import time

from billing import customer_table, log, mails, records
from billing.customers import Customer, Revision
from billing.errors import NotFound


def handler(event: dict, _) -> None:
    """
    SES's events `Email Bounced` and `Email Complaint Received`, from the account's bus. Each mail of ours has one
    address, and names its Stripe customer in a tag. A full mailbox and the like are SES's to try again.
    """
    at, told = int(time.time()), event["detail"]
    reason = "complaint" if told["eventType"] == "Complaint" else "bounce"
    if reason == "bounce" and told["bounce"]["bounceType"] != "Permanent":
        return
    if told.get("complaint", {}).get("complaintFeedbackType") == "not-spam":  # it was taken for spam, and is none
        return
    address, named = told["mail"]["destination"][0], told["mail"]["tags"].get("stripe_customer", [""])[0]
    try:
        ours = customer_table.find(customer_table.owner(named), at)
    except NotFound:
        log.warning("bounce_of_nobody", stripe_customer=named)
        return

    def bounces(customer: Customer) -> Revision:
        return customer.bounces(mails.named(address), reason, at)

    records.update(ours, bounces, at)
    log.counted("EmailBounces", stripe_customer=named, reason=reason)
