"""Customers on record, each with everything that is written along with it (docs/data.md)."""

import os
from dataclasses import asdict, replace
from typing import Any

from billing import dynamodb
from billing.customers import Customer, Profile, Revision
from billing.errors import NotFound
from billing.holds import Change, Settled, Step, Wish
from billing.invoices import Invoice
from billing.proration import Line, Proration
from billing.subscriptions import Awaited, Subscription, Theirs

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
DAY = 86_400


def find(id: str, at: int) -> Customer:
    """The customer as it stands now; one that has never been here is new, and on no record."""
    found = dynamodb.get(TABLE, pk=_pk(id), sk="customer")
    return _customer(found) if found else Customer(id, created_at=at, updated_at=at)


def owner(stripe_id: str) -> str:
    found = dynamodb.get(TABLE, pk=f"stripe#{stripe_id}", sk="customer")
    if not found:
        raise NotFound(f"no customer of ours is {stripe_id}")
    return found["customer"]


def aside(id: str, subscription: str) -> Subscription | None:
    """A subscription that is not the customer's one."""
    found = dynamodb.get(TABLE, pk=_pk(id), sk=f"subscription#{subscription}")
    return _subscription(_fields(found)) if found else None


def settled(id: str, change_id: str) -> Settled | None:
    found = dynamodb.get(TABLE, pk=_pk(id), sk=f"change#{change_id}")
    return Settled(change_id, found["fingerprint"], found["answer"]) if found else None


def invoices(id: str, most: int) -> list[Invoice]:
    """The newest first."""
    return [Invoice(**_fields(item)) for item in dynamodb.query(TABLE, _pk(id), "invoice#", newest=most)]


def writes(revision: Revision) -> list[dict]:
    """The customer first, on condition that its version is the one this one grew from; then what goes with it."""
    if not revision.moved:
        return []
    customer, at = revision.customer, revision.customer.updated_at
    pk, written = _pk(customer.id), [_put(customer)]
    if revision.names:
        written.append(_item(f"stripe#{revision.names}", "customer", {"customer": customer.id}))
    for subscription in revision.aside:
        written.append(_item(pk, f"subscription#{subscription.theirs.id}", asdict(_kept(subscription))))
    if settled := revision.settled:
        answer = {"fingerprint": settled.fingerprint, "answer": settled.answer, "expires": at + DAY}
        written.append(_item(pk, f"change#{settled.id}", answer))
    for invoice in revision.invoices:
        written.append(_item(pk, f"invoice#{invoice.created:012}#{invoice.id}", asdict(replace(invoice, links={}))))
    return written


def unmoved(id: str, terms: int) -> dict:
    """A check that these are still the terms; one who is on no record has those of number 0."""
    new = "attribute_not_exists(pk) OR " if terms == 0 else ""
    return dynamodb.check(TABLE, {"pk": _pk(id), "sk": "customer"}, f"{new}terms = :terms", terms=terms)


def _put(customer: Customer) -> dict:
    subscription = customer.subscription and _kept(customer.subscription)
    item = {"pk": _pk(customer.id), "sk": "customer"} | asdict(replace(customer, subscription=subscription))
    if customer.version == 1:
        return dynamodb.put(TABLE, item, "attribute_not_exists(pk)")
    return dynamodb.put(TABLE, item, "version = :before", before=customer.version - 1)


def _item(pk: str, sk: str, fields: dict) -> dict:
    return dynamodb.put(TABLE, {"pk": pk, "sk": sk} | fields)


def _kept(subscription: Subscription) -> Subscription:
    """Without the client secret, which confirms a payment."""
    return replace(subscription, theirs=replace(subscription.theirs, client_secret=None))


def _pk(id: str) -> str:
    return f"customer#{id}"


def _fields(item: dict) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("pk", "sk")}


def _customer(item: dict) -> Customer:
    fields = _fields(item)
    fields["profile"] = Profile(**fields["profile"])
    fields["subscription"] = fields["subscription"] and _subscription(fields["subscription"])
    fields["pending"] = fields["pending"] and _change(fields["pending"])
    return Customer(**fields)


def _subscription(fields: dict[str, Any]) -> Subscription:
    theirs = fields["theirs"]
    theirs["awaited"] = theirs["awaited"] and Awaited(**theirs["awaited"])
    fields["theirs"] = Theirs(**theirs)
    return Subscription(**fields)


def _change(fields: dict[str, Any]) -> Change:
    fields["wish"] = Wish(**fields["wish"])
    fields["steps"] = [Step(**step) for step in fields["steps"]]
    if proration := fields["proration"]:
        proration["lines"] = [Line(**line) for line in proration["lines"]]
        fields["proration"] = Proration(**proration)
    return Change(**fields)
