"""Stripe's lists of all it has, page by page, the newest first: for the sweep, the reconciliation and the catalogue."""

from collections.abc import Callable
from typing import Any

from billing import gateway, translation
from billing.customers import TheirCustomer
from billing.errors import Malformed, Unreadable
from billing.invoices import Invoice
from billing.theirs import Theirs
from billing.translation import EXPAND
from billing.webhooks import WebhookEvent, envelope

WHOLE = 50  # subscriptions on a page: with all that is expanded, an answer takes its time


def subscribers(price: str, after: str | None) -> tuple[list[Theirs], str | None]:
    """
    A page of the live subscriptions to a price, and what the next page comes after; None: no more.

    Stripe leaves out those that live on test clocks (docs: List subscriptions).
    """
    said, after = _page(gateway.client().v1.subscriptions.list, {"price": price}, after)
    return [theirs for each in said if (theirs := translation.theirs(each)).fills_slot], after


def subscriptions(after: str | None) -> tuple[list[Theirs | Unreadable], str | None]:
    """All there ever were, but for those on test clocks."""
    asked = {"status": "all", "limit": WHOLE, "expand": [f"data.{path}" for path in EXPAND]}
    said, after = _page(gateway.client().v1.subscriptions.list, asked, after)
    return [_read(translation.theirs, each) for each in said], after


def customers(after: str | None) -> tuple[list[TheirCustomer | Unreadable], str | None]:
    said, after = _page(gateway.client().v1.customers.list, {}, after)
    return [_read(translation.their_customer, each) for each in said], after


def open_invoices(after: str | None) -> tuple[list[Invoice | Unreadable], str | None]:
    said, after = _page(gateway.client().v1.invoices.list, {"status": "open"}, after)
    return [_read(translation.invoice, each) for each in said], after


def events(since: int, after: str | None) -> tuple[list[WebhookEvent], str | None]:
    """Of whatever type, made since then: Stripe keeps them for 30 days (docs: List events). Only envelopes are kept."""
    said, after = _page(gateway.client().v1.events.list, {"created": {"gte": since}}, after)
    return [event for each in said if (event := _envelope(each.to_dict(for_json=True)))], after


def _envelope(said: dict) -> WebhookEvent | None:
    try:
        return envelope(said)
    except Malformed:  # of a kind that is about nothing: the endpoint refuses it likewise
        return None


def _read[T](translate: Callable[[Any], T], said: Any) -> T | Unreadable:
    try:
        return translate(said)
    except Exception:  # of another use of the account, or of a day to come: the others are to be compared all the same
        return Unreadable(said.id, getattr(said, "customer", said.id))


def _page(listed: Callable, asked: dict[str, Any], after: str | None) -> tuple[list, str | None]:
    """NotFound: what the page would begin after is there no more."""
    page = gateway.ask(listed, {"limit": 100} | asked | ({"starting_after": after} if after else {}))
    return page.data, page.data[-1].id if page.has_more else None
