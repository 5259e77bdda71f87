"""How often a subscription may be billed and changed. Past that, Stripe answers 429 and does nothing."""

from local.stripe_simulator import invoices
from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record
from local.stripe_simulator.errors import busy
from local.stripe_simulator.periods import DAY, HOUR

INVOICES = ((10, 60), (20, DAY))  # so many new ones within so many seconds
QUANTITIES = 200  # changes within an hour


def new_invoice(account: Account, subscription: Record) -> None:
    """To be asked before an invoice is made. Those made by renewals count too, and are never refused."""
    if not account.settings.limits_invoices:
        return
    now = account.now(subscription)
    made = [
        invoice["created"]
        for invoice in account.of("invoice", subscription["customer"])
        if invoices.subscription_of(account, invoice) is subscription
    ]
    for most, seconds in INVOICES:
        if sum(created > now - seconds for created in made) >= most:
            raise busy("rate_limit")


def new_quantities(account: Account, subscription: Record, after: list[Record]) -> None:
    """To be asked, and counted, before items are changed."""
    before = {one["id"]: one["quantity"] for one in subscription["items"]["data"]}
    if all(before.get(one["id"], one["quantity"]) == one["quantity"] for one in after):
        return
    book, now = account.books[subscription["id"]], account.now(subscription)
    book.quantity_changes = [at for at in book.quantity_changes if at > now - HOUR]
    if account.settings.limits_quantities and len(book.quantity_changes) >= QUANTITIES:
        raise busy("rate_limit")
    book.quantity_changes.append(now)
