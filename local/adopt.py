"""
Adopting an existing Stripe account: its prices become versions of plans, its customers ours, and what they have comes
on our record. Stripe is only read here, and the deployed Tollgate does the rest, through its HTTP API.

What cannot be carried is told with its reason, and left as it is at Stripe, whole: a customer is linked if all that
lives there can be. Nothing is guessed, and without `--apply` nothing is done. A run that died is run again: what is
done is asked about and passed over. Only Stripe's ids are told: ours may be e-mail addresses.

    python -m local.adopt     exits with 0: all is placed (or would be), 1: something was left, or an error
"""

import argparse
import csv
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

import yaml
from pydantic import ValidationError

from local.contract import ENDED, SLUG, Offer, errors, nameable, prices
from local.plans import Loader, Parser, say, text_of
from local.stripe_account import Account, Customer, Living, Unanswered, reached
from local.tollgate import Refused, Tollgate, Wrong, over_http

THERE, DONE, WOULD, LEFT = "already there", "done", "would be done", "left"
AMOUNTS = Offer.model_fields.keys() & prices.Cost._fields

type Said = dict[str, dict[str, Any]]  # of the file of prices: by Stripe's price, what Stripe does not know of the plan

WHY = {
    "no_id": "nothing says which customer of ours it is",
    "unfit_id": "what is to be its id is not 1 to 255 printable ASCII characters",
    "duplicate": "another Stripe customer is said to be the same customer of ours",
    "names_another": "metadata.customer names another customer of ours",
    "already_linked": "the customer of ours is another Stripe customer already",
    "no_such_stripe_customer": "Stripe has none of that name, or has deleted it",
    "test_clock": "it lives in the time of a test clock",
    "several_items": "it has several items",
    "metered": "it is billed by usage",
    "by_invoice": "its invoices are sent, not charged (collection_method: send_invoice)",
    "connect": "others share in it (Connect)",
    "threshold": "it has billing thresholds",
    "no_seats": "its quantity is 0",
    "no_plan": "its price is of no plan",
    "currency": "it is paid in another currency than its plan",
    "classic": "its billing mode is classic; MIGRATE=1 makes it flexible, for good",
    "not_answered": "Tollgate or Stripe has not answered about it: run it again",
    "differs": "it is a version already, and PRICES says something else of it",
    "migration_refused": "Stripe does not make its billing mode flexible",
}


class Version(NamedTuple):
    """Of a plan. Number None: it would be made."""

    slug: str
    number: int | None
    currency: str


@dataclass(frozen=True)
class Wishes:
    ids: Callable[[Customer], str | None]  # our id of a Stripe customer; None: not said
    named: set[str]  # Stripe customers that are said to be there
    said: Said
    migrate: bool = False
    apply: bool = False


@dataclass(frozen=True)
class Fate:
    outcome: str
    why: list[str]


def adopt(tollgate: Tollgate, account: Account, wishes: Wishes, say: Callable[[str], None] = print) -> int:
    """Prices first, for a subscription is known by its price. Answers 0, or 1 if anything was left."""
    customers, living = list(account.customers()), _by_customer(account.living())
    missing = wishes.named - {each.id for each in customers}
    customers += [found for id in sorted(missing) if (found := account.customer(id))]
    used = {price: None for theirs in living.values() for each in theirs for price in each.prices}
    versions, priced = _place(tollgate, account, wishes, used, say)
    fates = []
    for id in sorted(missing - {each.id for each in customers}):
        fates.append(Fate(LEFT, ["no_such_stripe_customer"]))
        say(_line(id, fates[-1]))
    said = {each.id: wishes.ids(each) for each in customers}
    shared = Counter(_alike(id) for id in said.values() if id)
    passed = 0
    for each in customers:
        theirs, id = living.get(each.id, []), said[each.id]
        if not id and not theirs:
            passed += 1
            continue
        fate = _answered(
            lambda each=each, id=id, theirs=theirs: _one(
                tollgate, account, wishes, each, id, shared[_alike(id or "")] > 1, theirs, versions
            )
        )
        fates.append(fate)
        if fate.outcome != THERE:
            say(_line(each.id, fate))
    told = {reason.split()[0].rstrip(":") for fate in fates if fate.outcome == LEFT for reason in fate.why}
    for reason in (reason for reason in WHY if reason in told):
        say(f"{reason}: {WHY[reason]}")
    say(f"prices: {_sum(priced, wishes.apply)}")
    say(f"customers: {_sum(fates, wishes.apply)}, without an id and a subscription {passed}")
    if not wishes.apply:
        say("nothing has been done: APPLY=1 does it")
    return 1 if any(fate.outcome == LEFT for fate in [*priced, *fates]) else 0


def _answered(judge: Callable[[], Fate]) -> Fate:
    """What goes wrong with one leaves that one, and the others go on; only a token that is refused ends the run."""
    try:
        return judge()
    except Refused as refusal:
        if refusal.of_token:
            raise
        return Fate(LEFT, [f"not_answered: {refusal.status} {refusal.code}"])
    except Unanswered as silent:
        return Fate(LEFT, [f"not_answered: {silent}"])


def _alike(id: str) -> str:
    """Addresses that differ only in case are one mailbox, and two ids: whose it is, is for the operator to say."""
    return id.casefold() if "@" in id else id


def _by_customer(living: Iterable[Living]) -> dict[str, list[Living]]:
    found: dict[str, list[Living]] = {}
    for each in living:
        found.setdefault(each.customer, []).append(each)
    return found


# Prices


def read(text: str) -> Said:
    """The file of prices, whole; Wrong names what is not as it should be."""
    try:
        said = yaml.load(text, Loader)
    except yaml.YAMLError as unreadable:
        raise Wrong(str(unreadable)) from unreadable
    if not isinstance(said, dict) or not all(isinstance(each, dict) for each in said.values()):
        raise Wrong("the file is Stripe's prices, each with its slug and what Stripe does not know of the plan")
    wrong = []
    for price, plan in said.items():
        if not re.fullmatch(SLUG, str(plan.get("slug", ""))):
            wrong.append(f"{price}.slug: a plan's name is as {SLUG}")
        for name in plan.keys() & {"stripe_price", "currency", "billing_interval", *AMOUNTS}:
            wrong.append(f"{price}.{name}: is as Stripe has it, and not said here")
    sold = Counter(plan.get("slug") for plan in said.values() if plan.get("on_sale"))
    wrong += [f"{slug}: only one price of a plan is on_sale" for slug, times in sold.items() if times > 1]
    if wrong:
        raise Wrong("\n".join(wrong))
    return said


def _place(
    tollgate: Tollgate, account: Account, wishes: Wishes, used: Iterable[str], say: Callable[[str], None]
) -> tuple[dict[str, Version], list[Fate]]:
    """The version that each price belongs to, now or by what is to be done. What is on sale comes last of a plan."""
    order = sorted({**dict.fromkeys(wishes.said), **dict.fromkeys(used)}, key=lambda price: _on_sale(wishes, price))
    versions, fates = {}, []
    for price in order:
        fate = _answered(lambda price=price: _price(tollgate, account, wishes, price, versions))
        fates.append(fate)
        if fate.outcome != THERE:
            say(_line(price, fate))
    return versions, fates


def _on_sale(wishes: Wishes, price: str) -> bool:
    return bool(wishes.said.get(price, {}).get("on_sale"))


def _price(tollgate: Tollgate, account: Account, wishes: Wishes, price: str, versions: dict[str, Version]) -> Fate:
    """What becomes of a price; which version it belongs to goes into `versions`."""
    known = _found(tollgate, f"/stripe-prices/{quote(price, safe='')}/plan")
    if known:
        versions[price] = Version(known["slug"], known["version"], known["currency"])
        return _known(tollgate, wishes, price, known)
    theirs = account.price(price)
    if not theirs:
        return Fate(LEFT, ["price_unfit: Stripe has no such price"])
    try:
        cost = prices.cost(theirs)
    except errors.PriceUnfit as unfit:
        return Fate(LEFT, [str(unfit)])
    terms = {"currency": theirs.currency, "billing_interval": theirs.interval, **cost._asdict()}
    shown = ", ".join(f"{name} {value}" for name, value in terms.items())
    if price not in wishes.said:
        return Fate(LEFT, [f"no_plan: PRICES does not name it; {shown}, of the product {theirs.product}"])
    said = {name: value for name, value in wishes.said[price].items() if name != "slug"}
    slug = wishes.said[price]["slug"]
    try:
        offer = Offer.model_validate({"on_sale": False} | said | terms | {"stripe_price": price})
    except ValidationError as invalid:
        return Fate(LEFT, [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in invalid.errors()])
    if offer.on_sale and not theirs.active:
        return Fate(LEFT, ["price_unfit: it is archived, or its product is, and cannot be on sale"])
    if offer.on_sale and theirs.others:
        return Fate(LEFT, [f"price_unfit: it has amounts in {', '.join(theirs.others)}, too, and cannot be on sale"])
    told = f"{slug}{', on sale' if offer.on_sale else ', for those who have it'}: {shown}"
    if not wishes.apply:
        versions[price] = Version(slug, None, theirs.currency)
        return Fate(WOULD, [told])
    try:
        made = tollgate.ask("PUT", f"/plans/{slug}", offer.model_dump(mode="json"))
    except Refused as refusal:
        if refusal.of_token:
            raise
        return Fate(LEFT, [f"{refusal.code}: {refusal.detail}"])
    versions[price] = Version(slug, made["version"], theirs.currency)
    return Fate(DONE, [f"version {made['version']} of {told}"])


def _known(tollgate: Tollgate, wishes: Wishes, price: str, known: dict) -> Fate:
    """
    A price that is a version already, against what PRICES says of it. It is put on sale only where nothing was ever
    sold under the slug: what has taken its place, or was retired, is not undone by a file that is older.
    """
    if price not in wishes.said:
        return Fate(THERE, [])
    said = {name: value for name, value in wishes.said[price].items() if name != "slug"}
    slug, sold = wishes.said[price]["slug"], known["sold"]
    terms = {name: known[name] for name in (*AMOUNTS, "currency", "billing_interval")}
    try:
        offer = Offer.model_validate({"on_sale": False} | said | terms | {"stripe_price": price})
    except ValidationError as invalid:
        return Fate(LEFT, [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in invalid.errors()])
    offered = offer.plan(slug).public()
    if differing := sorted(name for name, value in offered.items() if name != "version" and value != known[name]):
        return Fate(LEFT, [f"differs: {', '.join(differing)}"])
    on_sale = sold == {"version": known["version"], "retired": False}
    if on_sale == offer.on_sale:
        return Fate(THERE, [])
    if on_sale or sold:
        stands = f"version {sold['version']}{', retired' if sold['retired'] else ' is on sale'}"
        return Fate(LEFT, [f"differs: {stands}, of {slug}"])
    if not wishes.apply:
        return Fate(WOULD, [f"version {known['version']} of {slug}, on sale"])
    try:
        tollgate.ask("PUT", f"/plans/{slug}", offer.model_dump(mode="json"))
    except Refused as refusal:
        if refusal.of_token:
            raise
        return Fate(LEFT, [f"{refusal.code}: {refusal.detail}"])
    return Fate(DONE, [f"version {known['version']} of {slug}, on sale"])


# Customers


def matched(by: str) -> Callable[[Customer], str | None]:
    """Where our id is read: `metadata:<key>`, or `email`, which is then the id itself."""
    if by == "email":
        return lambda customer: customer.email
    kind, _, key = by.partition(":")
    if kind != "metadata" or not key:
        raise Wrong("MATCH is metadata:<key>, or email")
    return lambda customer: customer.metadata.get(key) or None


def listed(text: str) -> dict[str, set[str]]:
    """A CSV of `stripe_customer,customer`: whom each Stripe customer is said to be, once if all is well."""
    rows = list(csv.reader(text.splitlines()))
    if not rows or [name.strip() for name in rows[0]] != ["stripe_customer", "customer"]:
        raise Wrong("the first line of CUSTOMERS is stripe_customer,customer")
    found: dict[str, set[str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2 or not re.fullmatch(r"cus_[A-Za-z0-9]+", row[0].strip()) or not nameable(row[1].strip()):
            raise Wrong(
                f"line {number} of CUSTOMERS is not a Stripe customer (cus_...) and an id of 1 to 255 characters"
            )
        found.setdefault(row[0].strip(), set()).add(row[1].strip())
    if twice := [id for id, said in found.items() if len(said) > 1]:
        raise Wrong(f"CUSTOMERS says two things of {', '.join(sorted(twice))}")
    return found


def unfit(each: Living, versions: dict[str, Version]) -> str | None:
    """Why a subscription cannot be carried, but for its billing mode; None: it can."""
    if len(each.prices) != 1:
        return "several_items"
    if each.metered:
        return "metered"
    if each.by_invoice:
        return "by_invoice"
    if each.connect:
        return "connect"
    if each.threshold:
        return "threshold"
    if not each.seats:
        return "no_seats"
    version = versions.get(each.prices[0])
    if not version:
        return "no_plan"
    return None if version.currency == each.currency else "currency"


def _one(
    tollgate: Tollgate,
    account: Account,
    wishes: Wishes,
    customer: Customer,
    id: str | None,
    shared: bool,
    living: list[Living],
    versions: dict[str, Version],
) -> Fate:
    if not id:
        return Fate(THERE if _came_by_itself(tollgate, customer) else LEFT, ["no_id"])
    if not nameable(id):
        return Fate(LEFT, ["unfit_id"])
    if customer.on_test_clock:
        return Fate(LEFT, ["test_clock"])
    path = _link_of(id)
    known = _found(tollgate, path)
    linked = known is not None and known["stripe_customer"] == customer.id
    if known and linked and _stands(known, customer, id, living, versions):
        return Fate(THERE, [])
    if shared and not linked:
        return Fate(LEFT, ["duplicate"])
    if known and not linked:
        return Fate(LEFT, ["already_linked"])
    if not linked and customer.metadata.get("customer") not in (None, id):
        return Fate(LEFT, ["names_another"])
    reasons = [(each, reason) for each in living if (reason := unfit(each, versions))]
    if not wishes.migrate:
        reasons += [(each, "classic") for each in living if each.classic]
    if reasons:
        return Fate(LEFT, [f"{reason} {each.id} ({each.status})" for each, reason in reasons])
    return _linked(tollgate, account, wishes, customer, path, living)


def _came_by_itself(tollgate: Tollgate, customer: Customer) -> bool:
    """Whether it became a customer through Tollgate, which names ours in its metadata, and knows of it."""
    ours = customer.metadata.get("customer")
    known = _found(tollgate, _link_of(ours)) if ours and nameable(ours) else None
    return known is not None and known["stripe_customer"] == customer.id


def _link_of(id: str) -> str:
    return f"/customers/{quote(id, safe='')}/stripe-customer"


def _linked(
    tollgate: Tollgate, account: Account, wishes: Wishes, customer: Customer, path: str, living: list[Living]
) -> Fate:
    carried = [f"{each.id} ({each.status}{', classic: to be migrated' if each.classic else ''})" for each in living]
    if len([each for each in living if each.status != "incomplete"]) > 1:
        carried.append("more than one lives: one is the customer's, the others stand aside")
    if not wishes.apply:
        return Fate(WOULD, carried)
    for each in living:
        if each.classic:
            try:
                account.migrate(each.id)
            except (errors.Rejected, errors.NotFound):
                return Fate(LEFT, [f"migration_refused {each.id} ({each.status})"])
    try:
        tollgate.ask("PUT", path, {"stripe_customer": customer.id})
    except Refused as refusal:
        if refusal.of_token:
            raise
        return Fate(LEFT, [refusal.code])
    return Fate(DONE, carried)


def _stands(known: dict, customer: Customer, id: str, living: list[Living], versions: dict[str, Version]) -> bool:
    """Whether all that linking does is so already: it says so at Stripe, and our record has what lives there."""
    if customer.metadata.get("customer") != id:
        return False
    told = known["subscription"]
    if not living:
        return told is None or told["status"] in ENDED
    mine = next((each for each in living if told and each.id == told["id"]), None)
    if not mine or (told["status"], told["seats"]) != (mine.status, mine.seats):
        return False
    version = versions.get(mine.prices[0])
    return version is None or (told["plan"], told["plan_version"]) == (version.slug, version.number)


def _found(tollgate: Tollgate, path: str) -> Any:
    """What stands there; None: nothing."""
    try:
        return tollgate.ask("GET", path)
    except Refused as refusal:
        if refusal.code != "not_found":
            raise
        return None


# What is told


def _line(id: str, fate: Fate) -> str:
    return f"  {id:<32} {fate.outcome:<14} {'; '.join(fate.why)}".rstrip()


def _sum(fates: list[Fate], apply: bool) -> str:
    counts = Counter(fate.outcome for fate in fates)
    return ", ".join(f"{outcome} {counts[outcome]}" for outcome in (DONE if apply else WOULD, THERE, LEFT))


def main(said: list[str] | None = None) -> int:
    try:
        return _run(_asked(said))
    except (Wrong, Refused, errors.BillingError) as wrong:
        print(wrong, file=sys.stderr)
        return 1


def _asked(said: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="local.adopt", description="TOLLGATE_URL, TOLLGATE_TOKEN; STRIPE_API_KEY says which account.")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--customers", help="CUSTOMERS=map.csv: stripe_customer,customer")
    whose.add_argument("--match", default="metadata:customer", help="MATCH=metadata:<key>, or email")
    parser.add_argument("--prices", help="PRICES=prices.yaml: what plans the prices are")
    parser.add_argument(
        "--migrate", action="store_true", help="MIGRATE=1: classic billing mode becomes flexible, for good"
    )
    parser.add_argument("--apply", action="store_true", help="APPLY=1: without it nothing is done")
    return parser.parse_args(said)


def _run(asked: argparse.Namespace) -> int:
    whom = {id: said for id, (said,) in listed(text_of(asked.customers)).items()} if asked.customers else {}
    ids = (lambda customer: whom.get(customer.id)) if asked.customers else matched(asked.match)
    said = read(text_of(asked.prices)) if asked.prices else {}
    url, token = (os.environ.get(f"TOLLGATE_{name}", "") for name in ("URL", "TOKEN"))
    if not token:
        raise Wrong("TOLLGATE_TOKEN is missing: a token of scope billing/admin")
    tollgate = Tollgate(over_http(url, token))
    account = reached(os.environ.get("STRIPE_API_KEY", ""), os.environ.get("STRIPE_API_BASE", ""))
    say(url)
    return adopt(tollgate, account, Wishes(ids, set(whom), said, asked.migrate, asked.apply), say)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
