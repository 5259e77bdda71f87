"""
The catalogue as code: `plans.yaml` is what is to be on sale, a deployed Tollgate is asked what is, and the difference
is told, or made so. All of it goes through the HTTP API; no table and no Stripe is spoken to.

A plan's next version is made only where something of it has changed, and whoever has an older one keeps it. A plan that
is not in the file is left as it is: only `retire: true` retires.

    python -m local.plans diff     exits with 0: no difference, 2: differences, 1: an error
    python -m local.plans apply    0: it is so now; whatever died half way is completed by the next run
    python -m local.plans move     0: all were moved (or would be), 1: some were refused
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml
from pydantic import ValidationError

from local import cohort
from local.contract import SLUG, Offer
from local.tollgate import Parser, Refused, Tollgate, Wrong, over_http, say

NEW, CHANGED, UNCHANGED, RETIRE, RETIRED, APART = "new", "changed", "unchanged", "retire", "retired", "apart"
ABSENT = object()

type Catalogue = dict[str, Offer | None]  # by slug; None: it is to be retired
type Change = tuple[str, Any, Any]  # field by its dotted path, before, after; ABSENT where nothing is


@dataclass(frozen=True)
class Fate:
    """What the file makes of a plan. `version` is the one in force; None: nothing is on sale under that name."""

    slug: str
    what: str
    version: int | None = None
    changes: list[Change] | None = None
    offer: Offer | None = None

    @property
    def moves(self) -> bool:
        return self.what in (NEW, CHANGED, RETIRE)


class Loader(yaml.SafeLoader):
    """Plain numbers only, for YAML takes 0100 for 64 and 1:30 for 90; and nothing is said twice, the later unheard."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise yaml.MarkedYAMLError(problem=f"{min(twice)} is said twice", problem_mark=node.start_mark)
        return node

    def plain_number(self, node):
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)", node.value):
            raise yaml.MarkedYAMLError(problem=f"{node.value} is no plain number", problem_mark=node.start_mark)
        return int(node.value)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.plain_number)


def read(text: str) -> Catalogue:
    """The file, whole and in order; Wrong names every plan and field that PUT /plans/{slug} would not take."""
    try:
        said = yaml.load(text, Loader)
    except yaml.YAMLError as unreadable:
        raise Wrong(str(unreadable)) from unreadable
    if not isinstance(said, dict) or not said:
        raise Wrong("the file names no plan: it is slugs, each with its offer")
    wanted, wrong = {}, []
    for slug, entry in said.items():
        if not isinstance(slug, str) or not re.fullmatch(SLUG, slug):
            wrong.append(f"{slug}: a plan's name is as {SLUG}")
        elif isinstance(entry, dict) and "retire" in entry:
            wanted[slug] = None
            if entry["retire"] is not True or len(entry) > 1:
                wrong.append(f"{slug}.retire: is true, and stands alone")
        elif isinstance(entry, dict) and (adopted := entry.keys() & {"stripe_price", "on_sale"}):
            wrong += [f"{slug}.{name}: is said when an account is adopted, not here" for name in sorted(adopted)]
        else:
            try:
                wanted[slug] = Offer.model_validate(entry)
            except ValidationError as invalid:
                wrong += [f"{'.'.join(map(str, (slug, *each['loc'])))}: {each['msg']}" for each in invalid.errors()]
    if wrong:
        raise Wrong("\n".join(wrong))
    return wanted


def compare(wanted: Catalogue, sold: dict[str, dict]) -> list[Fate]:
    """`sold`: what GET /plans lists, by slug. In the order of the file; last, what is on sale and not in it."""
    fates = [_fate(slug, offer, sold.get(slug)) for slug, offer in wanted.items()]
    apart = [Fate(slug, APART, plan["version"]) for slug, plan in sold.items() if slug not in wanted]
    return fates + apart


def _fate(slug: str, offer: Offer | None, sold: dict | None) -> Fate:
    version = sold["version"] if sold else None
    if not offer:
        return Fate(slug, RETIRE if sold else RETIRED, version)
    before, after = (dict(_flat(_content(plan))) for plan in (sold or {}, offer.plan(slug).public()))
    changes = [(name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in {**after, **before}]
    changes = [(name, old, new) for name, old, new in changes if old is ABSENT or new is ABSENT or old != new]
    what = NEW if not sold else CHANGED if changes else UNCHANGED
    return Fate(slug, what, version, changes, offer)


def _content(plan: dict) -> dict:
    return {name: value for name, value in plan.items() if name not in ("slug", "version")}


def _flat(value: dict, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, dict):
            yield from _flat(each, f"{path}{name}.")
        else:
            yield f"{path}{name}", each


def on_sale(tollgate: Tollgate) -> dict[str, dict]:
    answer = tollgate.ask("GET", "/plans")
    if not isinstance(answer, dict) or "plans" not in answer:
        raise Wrong("what answers there is no Tollgate")
    return {plan["slug"]: plan for plan in answer["plans"]}


def diff(tollgate: Tollgate, wanted: Catalogue, say: Callable[[str], None] = print) -> int:
    """Tells what `apply` would do; answers 0 if that is nothing, else 2."""
    fates = compare(wanted, on_sale(tollgate))
    for fate in fates:
        _tell(fate, say)
    return 2 if any(fate.moves for fate in fates) else 0


def apply(tollgate: Tollgate, wanted: Catalogue, say: Callable[[str], None] = print) -> int:
    """Makes it so, plan by plan in the order of the file; Refused at the first that is not taken."""
    run = token_hex(8)
    for fate in compare(wanted, on_sale(tollgate)):
        _tell(fate, say)
        if fate.what == RETIRE:
            tollgate.ask("DELETE", f"/plans/{fate.slug}")
            say(f"{'':16}done: version {fate.version} is on sale no more")
        elif fate.moves and fate.offer:
            # Of this run: a key that was made of the content would, for a day, answer what it had led to, and leave a
            # plan that is to be again as it once was as it is. Between runs PUT is idempotent by content.
            key = f"plans-apply:{run}:{fate.slug}"
            sold = tollgate.ask("PUT", f"/plans/{fate.slug}", fate.offer.model_dump(mode="json"), key)
            say(f"{'':16}done: version {sold['version']} is on sale")
    return 0


def _tell(fate: Fate, say: Callable[[str], None]) -> None:
    what = {
        NEW: "new",
        CHANGED: f"changed: a new version; whoever has version {fate.version} stays on it",
        UNCHANGED: f"unchanged, version {fate.version}",
        RETIRE: f"to be retired: nobody can buy it any more; whoever has version {fate.version} keeps it",
        RETIRED: "not on sale, as the file says",
        APART: f"on sale (version {fate.version}) and not in the file: left as it is; `retire: true` would retire it",
    }
    say(f"{fate.slug:<15} {what[fate.what]}")
    for name, before, after in fate.changes or []:
        said = _said(after) if fate.what == NEW else f"{_said(before)} -> {_said(after)}"
        say(f"{'':16}{name:<32} {said}")


def _said(value: Any) -> str:
    return "(absent)" if value is ABSENT else json.dumps(value)


def main(said: list[str] | None = None) -> int:
    try:
        return _run(_asked(said))
    except (Wrong, Refused) as wrong:
        print(wrong, file=sys.stderr)
        return 1


def _asked(said: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="local.plans", description="TOLLGATE_URL says where, TOLLGATE_TOKEN who asks.")
    actions = parser.add_subparsers(dest="action", required=True)
    for action in (diff, apply):
        one = actions.add_parser(action.__name__)
        one.add_argument("--file", default="plans.yaml", help="the catalogue")
    one = actions.add_parser("move")
    one.add_argument("plan", help="PLAN=pro")
    one.add_argument("version", type=int, help="FROM=1: the version they are on")
    one.add_argument("--effective", choices=("now", "period_end"), default="period_end")
    one.add_argument("--apply", action="store_true", help="APPLY=1: without it nobody is moved")
    return parser.parse_args(said)


def _run(asked: argparse.Namespace) -> int:
    wanted = read(text_of(asked.file)) if "file" in asked else {}
    url, token = (os.environ.get(f"TOLLGATE_{name}", "") for name in ("URL", "TOKEN"))
    if not token and asked.action != "diff":  # the catalogue is public
        raise Wrong("TOLLGATE_TOKEN is missing: a token of scope billing/admin, to move a cohort billing/service too")
    tollgate = Tollgate(over_http(url, token))
    say(url)
    if asked.action == "move":
        return cohort.move(tollgate, asked.plan, asked.version, asked.effective, asked.apply, say)
    return (diff if asked.action == "diff" else apply)(tollgate, wanted, say)


def text_of(file: str) -> str:
    try:
        return Path(file).read_text()
    except (OSError, UnicodeError) as unreadable:
        raise Wrong(f"{file} cannot be read: {type(unreadable).__name__}") from unreadable


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
