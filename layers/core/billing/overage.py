"""
The door to Stripe for what usage costs: on a draft, on an invoice of its own, or as a credit. Never as an item that
waits: whatever Stripe takes that onto may be given up.

Whatever is billed bears the mark of its statement as metadata `usage`: `{subscription}:{metric}:{start}:{generation}`,
up to 500 characters (docs: Metadata). Stripe forgets a key after a day and an item never: whoever bills looks first.
"""

from contextlib import suppress
from typing import Any, NamedTuple

from billing import errors, translation
from billing.gateway import ask, client, invoice, key
from billing.invoices import Invoice
from billing.theirs import Theirs


class Item(NamedTuple):
    amount_cents: int  # negative: less than was billed before
    currency: str
    description: str
    period: tuple[int, int]  # [start, end) of the usage, epoch seconds
    mark: str


class Billed(NamedTuple):
    """What stands for a statement at Stripe."""

    mark: str
    kind: str  # item, balance
    id: str  # ii_..., cbtxn_...
    invoice: str | None  # that the item is on, whatever has become of it; None: its draft was deleted, and it waits
    amount_cents: int  # negative: credited

    @property
    def where(self) -> str:
        """As a statement tells it."""
        return "balance" if self.kind == "balance" else self.invoice or self.id


def billed(customer: str, since: int) -> dict[str, Billed]:
    """
    All that has been billed to a Stripe customer for usage since then, by its mark; of what was billed twice, the
    first. NotFound if the customer is deleted.
    """
    asked: Any = {"created": {"gte": since}, "limit": 100}
    items = ask(lambda: list(client().v1.invoice_items.list({"customer": customer} | asked).auto_paging_iter()))
    listed = client().v1.customers.balance_transactions.list
    booked = ask(lambda: list(listed(customer, asked).auto_paging_iter()))
    found = [_billed("balance", each, None) for each in booked if translation.usage(each.metadata)]
    for item in items:
        if translation.usage(item.metadata):
            found.append(_billed("item", item, translation.id_of(item.invoice) if item.invoice else None))
    return {each.mark: each for each in reversed(found)}


def _billed(kind: str, said, on: str | None) -> Billed:
    return Billed(said.metadata["usage"], kind, said.id, on, said.amount)


def renewal_draft(subscription: str) -> Invoice | None:
    """
    The newest renewal of a subscription that can still be added to: Stripe finalizes it about an hour after we have
    acknowledged that it was made. Not one that a pause has kept: nothing will finalize it.
    """
    asked: Any = {"subscription": subscription, "status": "draft", "limit": 100}
    drafts = ask(lambda: list(client().v1.invoices.list(asked).auto_paging_iter()))
    renewals = (each for each in drafts if each.billing_reason == "subscription_cycle" and each.auto_advance)
    newest = max(renewals, key=lambda each: each.created, default=None)
    return translation.invoice(newest) if newest else None


def charge_on(
    draft: str,
    theirs: Theirs,
    amount_cents: int,
    currency: str,
    description: str,
    period: tuple[int, int],
    mark: str,
) -> None:
    """
    An item on a draft.

    InvoiceClosed if that is no draft any more; StripeRefused if it is and takes no more (docs: 250 items at most).
    """
    item = Item(amount_cents, currency, description, period, mark)
    _put(theirs.customer, item, draft)


def _put(customer: str, item: Item, draft: str) -> None:
    """No discount applies: usage costs the same on whichever invoice it is, and a correction takes back all of it."""
    start, end = item.period
    params: Any = {
        "customer": customer,
        "invoice": draft,
        "amount": item.amount_cents,
        "currency": item.currency,
        "description": item.description,
        "discountable": False,
        "period": {"start": start, "end": end},
        "metadata": {"usage": item.mark},
    }
    try:
        ask(client().v1.invoice_items.create, params, key(f"usage:{item.mark}:{draft}"))
    except errors.StripeRefused as refused:
        if invoice(draft).status != "draft":
            raise errors.InvoiceClosed("the invoice is no draft any more") from refused
        raise


def charge_alone(theirs: Theirs, items: list[Item], mark: str, taxed: bool, since: int = 0) -> Invoice:
    """
    An invoice of its own, of the items alone, which Stripe collects as it does those of the subscription: with its
    payment method, which is not the customer's. If that is declined, the invoice is open.

    Called again it goes on where it was left: the invoice is found by the mark, among those made `since`. It advances
    by itself only once all is on it that Stripe takes; of the rest StripeRefused tells. InvoiceClosed if somebody has
    finalized it without some of the items.
    """
    customer = theirs.customer
    found = _marked(customer, mark, since) or _open(theirs, items[0].currency, mark, taxed)
    made: Any = {"invoice": found, "limit": 100}
    on_it = ask(lambda: list(client().v1.invoice_items.list(made).auto_paging_iter()))
    known = {translation.usage(each.metadata) for each in on_it}
    taken, refused = False, None
    for item in items:
        if item.mark not in known:
            try:
                _put(customer, item, found)
            except errors.StripeRefused as failure:
                refused = failure
                continue
        taken = True
    if taken and invoice(found).status == "draft":
        _finalize(found, mark)
    if refused:
        raise refused
    return invoice(found)


def given_up(id: str) -> Invoice | None:
    """
    A renewal that nobody will be charged: a draft that nothing will finalize, for its subscription has ended or its
    collection is paused; or void before anybody was charged, which is what a pause does at the end of its hour (docs:
    Pause payment collection). What is void after it was tried an operator has forgiven.
    """
    said = ask(client().v1.invoices.retrieve, id)
    kept = said.status == "draft" and not said.auto_advance
    never_tried = said.status == "void" and not said.attempt_count
    renews = said.billing_reason == "subscription_cycle"
    return translation.invoice(said) if renews and (kept or never_tried) else None


def take_off(billed: Billed) -> None:
    """An item of a draft; it is gone already: so be it."""
    with suppress(errors.NotFound):
        ask(client().v1.invoice_items.delete, billed.id)


def finish(id: str) -> None:
    """An invoice of usage alone, whose maker died when all was on it; any other is left as it is."""
    said = ask(client().v1.invoices.retrieve, id)
    if said.status == "draft" and (mark := translation.usage(said.metadata)):
        _finalize(id, mark)


def _finalize(id: str, mark: str) -> None:
    try:
        ask(client().v1.invoices.finalize_invoice, id, {"auto_advance": True}, key(f"usage:{mark}:finalize"))
    except (errors.StripeRefused, errors.PaymentDeclined):
        if invoice(id).status == "draft":
            raise


def _marked(customer: str, mark: str, since: int) -> str | None:
    """The newest first: it is mostly among the first hundred."""
    asked: Any = {"customer": customer, "created": {"gte": since}, "limit": 100}

    def find() -> str | None:
        made = client().v1.invoices.list(asked).auto_paging_iter()
        return next((each.id for each in made if translation.usage(each.metadata) == mark), None)

    return ask(find)


def _open(theirs: Theirs, currency: str, mark: str, taxed: bool) -> str:
    payer = ask(client().v1.subscriptions.retrieve, theirs.id).default_payment_method
    params: Any = {
        "customer": theirs.customer,
        "currency": currency,
        "auto_advance": False,
        "automatic_tax": {"enabled": taxed},
        "collection_method": "charge_automatically",
        "pending_invoice_items_behavior": "exclude",
        "metadata": {"usage": mark},
    }
    params |= {"default_payment_method": translation.id_of(payer)} if payer else {}
    return ask(client().v1.invoices.create, params, key(f"usage:{mark}:invoice")).id


def credit(customer: str, amount_cents: int, currency: str, description: str, mark: str) -> None:
    """So much (above zero) onto the customer's balance: Stripe takes it off what comes next (docs: Credit balance)."""
    params: Any = {"amount": -amount_cents, "currency": currency, "description": description}
    params |= {"metadata": {"usage": mark}}
    ask(client().v1.customers.balance_transactions.create, customer, params, key(f"usage:{mark}:credit"))
