"""Sending mails: each once, if what it says is still so; whatever hinders it never hinders what is billed."""

import os
from contextlib import suppress

from billing import customer_table, gateway, letters, log, mail_table, mails, plan_table, ses, standing, wording
from billing.customers import Contact, Customer
from billing.domain_events import DomainEvent
from billing.errors import BillingError, MailRefused, NotFound, NothingUpcoming
from billing.invoices import Invoice, Upcoming
from billing.mail_table import Mail
from billing.mails import Found


def send(customer: str, sequence: int, at: int) -> None:
    """
    A mail that waits is claimed, looked at, sent and marked. Whoever dies between sending and marking, or never hears
    whether SES has taken it, leaves it to be sent again; nothing else does.

    What cannot be sent now waits on: Unavailable and the like are for Lambda to try again, a refusal for the sweep.
    """
    mail = mail_table.claim(customer, sequence, at)
    if not mail:
        log.info("no_mail_waits", sequence=sequence)
        return
    try:
        outcome = _outcome(mail, at)
    except MailRefused as refusal:
        if not mail.attempts:
            log.alarmed("mail_refused", sequence=sequence, kind=mail.kind, reason=refusal.reason)
        mail_table.release(mail, refusal.reason)
        return
    except BillingError as failure:
        mail_table.release(mail, failure.code)
        raise
    mail_table.mark(mail, outcome, at)
    log.counted("Mails", sequence=sequence, kind=mail.kind, outcome=outcome)


def _outcome(mail: Mail, at: int) -> str:
    if not ses.sender() or mail.kind not in os.environ["MAILS"].split(","):
        return "switched_off"
    if mail.at + mails.LATE <= at:
        log.alarmed("mail_late", sequence=mail.sequence, kind=mail.kind)
        return "late"
    event = mail_table.told(mail)
    found = _found(event, customer_table.find(mail.customer, at)) if event else None
    if not event or not found or mails.obsolete(mail.kind, event.type, event.data, found.ours, found.invoice, at):
        return "obsolete"
    ours = found.ours
    contact = mails.recipient(ours, _theirs(ours))
    if not contact.email:
        log.alarmed("mail_unaddressed", sequence=mail.sequence, kind=mail.kind)
        return "no_address"
    if ours.bounced == mails.named(contact.email):
        return "bounced"
    locale = wording.spoken(contact.locales, os.environ["MAIL_LOCALE"])
    found = found._replace(upcoming=_upcoming(ours)) if mail.kind == "trial_ending" else found
    about = mails.about(mail.kind, event.type, event.data, found, os.environ["BILLING_PAGE"], locale, at)
    letter = letters.write(mail.kind, locale, about)
    tags = {"sequence": str(mail.sequence)} | ({"stripe_customer": ours.stripe_id} if ours.stripe_id else {})
    ses.send(contact.email, *letter, tags)
    return "sent"


def _theirs(ours: Customer) -> Contact | None:
    known = ours.profile.email and ours.profile.locale
    return None if known or not ours.stripe_id else gateway.contact(ours.stripe_id)


def _found(event: DomainEvent, ours: Customer) -> Found:
    return Found(ours, standing.bought(ours), _names(event.data), _invoice(event))


def _invoice(event: DomainEvent) -> Invoice | None:
    """As it is now, with a link that is good now; None: it is about none, or Stripe has it no more."""
    id = mails.invoice_of(event.type, event.data)
    try:
        return gateway.invoice(id) if id else None
    except NotFound:
        return None


def _upcoming(ours: Customer) -> Upcoming | None:
    theirs = ours.live().theirs
    try:
        return None if theirs.cancelling else gateway.next_invoice(theirs)
    except NothingUpcoming:
        return None


def _names(data: dict) -> dict:
    found = {}
    for slug, version in mails.plans(data):
        with suppress(NotFound):
            found[slug, version] = plan_table.version(slug, version).name
    return found
