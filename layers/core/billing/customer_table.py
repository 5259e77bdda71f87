"""Customers on record, each with everything that is written along with it (docs/data.md)."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple
from uuid import uuid4

from billing import dynamodb
from billing.checkouts import Checkout
from billing.closings import Closing
from billing.customers import Customer, Profile, Revision
from billing.discounts import Discount
from billing.dunning import Case
from billing.errors import NotFound, Unreadable
from billing.holds import Change, Draft, Settled, Step, Wish
from billing.invoices import Invoice, Place
from billing.proration import Line, Proration
from billing.quotes import Quote, Reckoning
from billing.subscriptions import Subscription
from billing.theirs import Awaited, Schedule, Theirs

TABLE = os.environ["SUBSCRIPTIONS_TABLE"]
DAY = 86_400
HOLD, CLOSE = "hold", "close"  # what an item of the index `held` waits for
LEASE = 60  # seconds: more than a function lives
ASIDE_FROM_FIELDS = {"pk", "sk", "waits", "since", "seen", "leased_until", "leased_by"}  # keys, and how it is worked on


def find(id: str, at: int) -> Customer:
    """The customer as it stands now; one that has never been here is new, and on no record."""
    found = dynamodb.get(TABLE, pk=_pk(id), sk="customer")
    return _customer(found) if found else Customer(id, created_at=at, updated_at=at)


def several(ids: Sequence[str]) -> dict[str, Customer | Unreadable]:
    """Those of at most a hundred customers that are on record."""
    found = dynamodb.several(TABLE, [{"pk": _pk(id), "sk": "customer"} for id in ids])
    return {item["pk"].removeprefix("customer#"): _read(_customer, item) for item in found}


def owners(stripe_ids: Iterable[str]) -> dict[str, str]:
    """Of at most a hundred customers of Stripe's, those that are ours."""
    found = dynamodb.several(TABLE, [{"pk": f"stripe#{id}", "sk": "customer"} for id in sorted(set(stripe_ids))])
    return {item["pk"].removeprefix("stripe#"): item["customer"] for item in found}


def holding(until: int, after: dict | None, most: int = 100) -> tuple[list[tuple[str, int]], dict | None]:
    """
    Customers with a change that was held until then, each with when, the oldest first; and what the next page comes
    after. The index is a moment behind: what it tells has to be looked at.
    """
    page = dynamodb.indexed(TABLE, "held", "waits = :hold AND since <= :until", most, after, hold=HOLD, until=until)
    return [(item["pk"].removeprefix("customer#"), item["since"]) for item in page.items], page.after


def held_key(id: str, since: int) -> dict:
    """What a page that comes after that hold begins after."""
    return {"pk": _pk(id), "sk": "customer", "waits": HOLD, "since": since}


def closing(until: int, after: dict | None, most: int = 100) -> tuple[list[tuple[str, str, int]], dict | None]:
    """Periods to be closed that were due until then, by customer, subscription and start; as `holding`."""
    page = dynamodb.indexed(TABLE, "held", "waits = :close AND since <= :until", most, after, close=CLOSE, until=until)
    found = [(item["pk"].removeprefix("customer#"), *item["sk"].split("#")[1:]) for item in page.items]
    return [(customer, subscription, int(start)) for customer, subscription, start in found], page.after


class Asked(NamedTuple):
    """A period that is to be closed, and how often that has been asked for."""

    closing: Closing
    times: int


def closed(id: str, subscription: str, start: int) -> Asked | None:
    """None: it waits no longer, or never did."""
    found = dynamodb.get(TABLE, **_ended(id, subscription, start))
    if not found or found.get("waits") != CLOSE:
        return None
    times = found.pop("times")
    return Asked(Closing(**_fields(found)), times)


def closings(id: str) -> list[Closing]:
    """All periods of a customer that have ended and are billed by usage, closed yet or not: the first to end first."""
    found = dynamodb.query(TABLE, _pk(id), "closing#")
    told = [{name: value for name, value in _fields(item).items() if name != "times"} for item in found]
    return sorted((Closing(**each) for each in told), key=lambda each: each.end)


def unclosed(id: str, subscription: str) -> list[int]:
    """Starts of the periods of a subscription that have ended and wait to be closed, now or later."""
    found = dynamodb.query(TABLE, _pk(id), f"closing#{subscription}#")
    return [item["start"] for item in found if item.get("waits") == CLOSE]


def closes_again(id: str, subscription: str, start: int, due: int) -> dict:
    """A write along with what is told of a period that has been closed: that is to be billed, too."""
    change = "SET waits = :close, since = if_not_exists(since, :due) ADD times :one"
    key = _ended(id, subscription, start)
    return dynamodb.update(TABLE, key, change, "attribute_exists(pk)", close=CLOSE, due=due, one=1)


def lease(id: str, asked: Asked, at: int) -> bool:
    """Whether it is ours alone to close, for a minute: a closer that is killed keeps it no longer from the others."""
    key = _ended(id, asked.closing.subscription, asked.closing.start)
    free = (
        "attribute_not_exists(leased_until) OR leased_until <= :at OR leased_by = :me"  # by the same call, said twice
    )
    values = {"close": CLOSE, "at": at, "until": at + LEASE, "me": uuid4().hex}
    change = "SET leased_until = :until, leased_by = :me"
    return not dynamodb.transact([dynamodb.update(TABLE, key, change, f"waits = :close AND ({free})", **values)])


def closes(id: str, asked: Asked) -> dict:
    """Nothing of it is left to be billed; refused if it has been asked for meanwhile."""
    return _as_asked(id, asked, "REMOVE waits, since, leased_until, leased_by")


def postpone(id: str, asked: Asked, until: int) -> None:
    """What is left of it is to be billed then; what was asked for meanwhile, now."""
    if dynamodb.transact([_as_asked(id, asked, "SET since = :until REMOVE leased_until, leased_by", until=until)]):
        let_go(id, asked)


def let_go(id: str, asked: Asked) -> None:
    """It is no longer ours alone, and waits."""
    key = _ended(id, asked.closing.subscription, asked.closing.start)
    dynamodb.transact([dynamodb.update(TABLE, key, "REMOVE leased_until, leased_by", "attribute_exists(pk)")])


def _as_asked(id: str, asked: Asked, change: str, **values) -> dict:
    key = _ended(id, asked.closing.subscription, asked.closing.start)
    return dynamodb.update(TABLE, key, change, "times = :times", times=asked.times, **values)


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


def quote(id: str, quote_id: str) -> Quote | None:
    """One that was given to this customer, used or not; None: there is no such, or it is long void."""
    found = dynamodb.get(TABLE, pk=_pk(id), sk=f"quote#{quote_id}")
    return _quote(_fields(found)) if found else None


def promise(id: str, quote: Quote) -> None:
    item = _quoted(id, quote.id) | asdict(quote) | {"expires": quote.valid_until + DAY}
    dynamodb.transact([dynamodb.put(TABLE, item)])


def trialed(fingerprint: str) -> str | None:
    """The customer whose card has had its trial."""
    found = dynamodb.get(TABLE, **_trial(fingerprint))
    return found.get("customer") if found else None


def invoices(id: str, most: int, after: Place | None = None) -> list[Invoice]:
    """The newest first, of those that come after a place."""
    found = dynamodb.query(TABLE, _pk(id), "invoice#", newest=most, before=after and _placed(after))
    return [Invoice(**_fields(item)) for item in found]


def invoice(id: str, place: Place) -> Invoice | None:
    found = dynamodb.get(TABLE, pk=_pk(id), sk=_placed(place))
    return Invoice(**_fields(found)) if found else None


def case_closed(id: str, invoice: str) -> bool:
    """Of dunning: one that has been closed is never opened again."""
    return dynamodb.get(TABLE, pk=_pk(id), sk=f"case#{invoice}") is not None


class Kept(NamedTuple):
    """Something on record that Stripe should know of, too."""

    key: dict
    customer: str
    what: Customer | Subscription | Invoice | Unreadable  # a subscription only if it stands aside


def unseen(run: str, after: dict | None, most: int) -> tuple[list[Kept], dict | None]:
    """
    A page of what is on record and has not been seen at Stripe by a run: customers, subscriptions aside that have not
    ended, invoices that are open; and what the next page comes after.
    """
    known = "sk = :customer OR begins_with(sk, :aside) OR (begins_with(sk, :invoice) AND #status = :open)"
    where = f"begins_with(pk, :mine) AND ({known}) AND (attribute_not_exists(seen) OR seen <> :run)"
    values = {"customer": "customer", "aside": "subscription#", "invoice": "invoice#", "open": "open", "run": run}
    names = {"#status": "status"}
    page = dynamodb.scan(TABLE, where, most, after, names=names, mine="customer#", **values)
    return [kept for item in page.items if (kept := _kept_as(item))], page.after


def see(key: dict, run: str) -> None:
    """What is there has been seen at Stripe: no news of the customer, so its version stays."""
    dynamodb.transact([dynamodb.update(TABLE, key, "SET seen = :run", "attribute_exists(pk)", run=run)])


def key_of(id: str, aside: str | None = None, invoice: Place | None = None) -> dict:
    """Of a customer, or of what is kept beside it."""
    sk = f"subscription#{aside}" if aside else _placed(invoice) if invoice else "customer"
    return {"pk": _pk(id), "sk": sk}


def writes(revision: Revision) -> list[dict]:
    """The customer first, on condition that its version is the one this one grew from; then what goes with it."""
    if not revision.moved:
        return []
    customer, at = revision.customer, revision.customer.updated_at
    pk, written = _pk(customer.id), [_put(customer)]
    free = "attribute_not_exists(customer) OR customer = :me"
    if revision.names:
        item = {"pk": f"stripe#{revision.names}", "sk": "customer", "customer": customer.id}
        written.append(dynamodb.put(TABLE, item, free, me=customer.id))
    for subscription in revision.aside:
        written.append(_item(pk, f"subscription#{subscription.theirs.id}", asdict(_kept(subscription))))
    for settled in filter(None, (revision.settled, *revision.answers)):
        answer = {"fingerprint": settled.fingerprint, "answer": settled.answer, "expires": at + DAY}
        written.append(_item(pk, f"change#{settled.id}", answer))
    if revision.uses:
        unused = "attribute_exists(pk) AND used = :no"
        key = _quoted(customer.id, revision.uses)
        written.append(dynamodb.update(TABLE, key, "SET used = :yes", unused, yes=True, no=False))
    if revision.frees:
        key = _quoted(customer.id, revision.frees)
        written.append(dynamodb.update(TABLE, key, "SET used = :no", "attribute_exists(pk)", no=False))
    if revision.claims:
        item = _trial(revision.claims) | {"customer": customer.id}
        written.append(dynamodb.put(TABLE, item, free, me=customer.id))
    if revision.disclaims:
        key = _trial(revision.disclaims)
        written.append(dynamodb.update(TABLE, key, "REMOVE customer", free, me=customer.id))
    for closing in revision.closings:
        waits = {"waits": CLOSE, "since": closing.due, "times": 1}
        key = _ended(customer.id, closing.subscription, closing.start)
        written.append(dynamodb.put(TABLE, key | asdict(closing) | waits))
    for _, invoice in revision.invoices:
        written.append(_item(pk, _placed(invoice.place), asdict(replace(invoice, links={}))))
    for case in revision.closed:
        written.append(_item(pk, f"case#{case.invoice}", asdict(case)))
    return written


def unmoved(id: str, terms: int) -> dict:
    """A check that these are still the terms; one who is on no record has those of number 0."""
    new = "attribute_not_exists(pk) OR " if terms == 0 else ""
    return dynamodb.check(TABLE, {"pk": _pk(id), "sk": "customer"}, f"{new}terms = :terms", terms=terms)


def _put(customer: Customer) -> dict:
    subscription = customer.subscription and _kept(customer.subscription)
    item = {"pk": _pk(customer.id), "sk": "customer"} | asdict(replace(customer, subscription=subscription))
    item |= {"waits": HOLD, "since": customer.pending.held_at} if customer.pending else {}
    if customer.version == 1:
        return dynamodb.put(TABLE, item, "attribute_not_exists(pk)")
    grown = "version = :before AND (told <= :told OR attribute_not_exists(told))"
    return dynamodb.put(TABLE, item, grown, before=customer.version - 1, told=customer.told)


def _item(pk: str, sk: str, fields: dict) -> dict:
    return dynamodb.put(TABLE, {"pk": pk, "sk": sk} | fields)


def _kept(subscription: Subscription) -> Subscription:
    """Without the client secret, which confirms a payment."""
    return replace(subscription, theirs=replace(subscription.theirs, client_secret=None))


def _quoted(id: str, quote_id: str) -> dict:
    return {"pk": _pk(id), "sk": f"quote#{quote_id}"}


def _ended(id: str, subscription: str, start: int) -> dict:
    return {"pk": _pk(id), "sk": f"closing#{subscription}#{start:012}"}


def _trial(fingerprint: str) -> dict:
    return {"pk": f"card#{fingerprint}", "sk": "trial"}


def _placed(place: Place) -> str:
    return f"invoice#{place.created:012}#{place.id}"


def _pk(id: str) -> str:
    return f"customer#{id}"


def _fields(item: dict) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ASIDE_FROM_FIELDS}


def _kept_as(item: dict) -> Kept | None:
    kind, customer = item["sk"].partition("#")[0], item["pk"].removeprefix("customer#")
    readers = {"customer": _customer, "invoice": _invoice, "subscription": lambda item: _subscription(_fields(item))}
    what = _read(readers[kind], item)
    ended = isinstance(what, Subscription) and what.theirs.ended
    return None if ended else Kept({name: item[name] for name in ("pk", "sk")}, customer, what)


def _read[T](reader: Callable[[dict], T], item: dict) -> T | Unreadable:
    try:
        return reader(item)
    except Exception:  # written by another version, or by hand: the others are to be looked at all the same
        customer, about = item["pk"].removeprefix("customer#"), item["sk"].rpartition("#")[2]
        return Unreadable(item.get("stripe_id") or customer if about == "customer" else about, customer)


def _invoice(item: dict) -> Invoice:
    return Invoice(**_fields(item))


def _customer(item: dict) -> Customer:
    fields = _fields(item)
    fields["profile"] = Profile(**fields["profile"])
    fields["subscription"] = fields["subscription"] and _subscription(fields["subscription"])
    fields["pending"] = fields["pending"] and _change(fields["pending"])
    fields["checkout"] = (checkout := fields.get("checkout")) and Checkout(**checkout)
    fields["ending"] = (ending := fields.get("ending")) and Closing(**ending)
    fields["cases"] = [Case(**case) for case in fields.get("cases", [])]
    return Customer(**fields)


def _subscription(fields: dict[str, Any]) -> Subscription:
    theirs = fields["theirs"]
    theirs["awaited"] = theirs["awaited"] and Awaited(**theirs["awaited"])
    theirs["schedule"] = (schedule := theirs.get("schedule")) and Schedule(**schedule)
    theirs["discounts"] = [Discount(**discount) for discount in theirs.get("discounts", [])]
    fields["theirs"] = Theirs(**theirs)
    fields["awaiting"] = (awaiting := fields.get("awaiting")) and _change(awaiting)
    return Subscription(**fields)


def _change(fields: dict[str, Any]) -> Change:
    draft = fields["draft"]
    for part in ("steps", "follow", "restore"):
        draft[part] = [Step(**step) for step in draft[part]]
    return Change(**fields | {"wish": Wish(**fields["wish"]), "draft": Draft(**draft)})


def _quote(fields: dict[str, Any]) -> Quote:
    del fields["expires"]
    reckoned = fields["reckoned"]
    for part in ("lines", "waiting"):
        reckoned["proration"][part] = [Line(**line) for line in reckoned["proration"][part]]
    reckoned["proration"] = Proration(**reckoned["proration"])
    fields["reckoned"] = Reckoning(**reckoned)
    return Quote(**fields)
