"""Which function answers which call: each noun's module registers its own with `route`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.stripe_simulator.account import Account
from local.stripe_simulator.answers import Record, check
from local.stripe_simulator.errors import unrecognized
from local.stripe_simulator.forms import PAGE, Shape, read, text

type Action = Callable[..., Record]


@dataclass(frozen=True)
class Route:
    action: Action
    takes: dict[str, Shape]
    kind: str
    listed: bool
    shows: tuple[str, ...]

    def call(self, account: Account, ids: list[str], params: dict[str, Any]) -> Record:
        said = read(params, self.takes)
        paths = said.pop("expand", [])
        check(self.kind, paths, self.listed)
        record = self.action(account, *ids, said)
        return account.show(record, paths) | {name: record[name] for name in self.shows}


ROUTES: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}


def route(
    method: str,
    path: str,
    kind: str,
    takes: dict[str, Shape] | None = None,
    listed: bool = False,
    shows: tuple[str, ...] = (),
) -> Callable[[Action], Action]:
    """
    Register an action. It is called with the account, the {ids} of the path and the typed parameters.

    `kind` is what it answers, one or a page of them; `shows` are fields that no other call's answer shows.
    """

    def register(action: Action) -> Action:
        parts = path.split("/")
        fields = {"expand": [text], **(takes or {}), **(PAGE if listed else {})}
        ROUTES.setdefault((method, len(parts)), []).append((parts, Route(action, fields, kind, listed, shows)))
        return action

    return register


def find(method: str, path: str) -> tuple[Route, list[str]]:
    """The route of a call, and the ids in its path; fixed words win over ids."""
    said = path.split("/")
    best: tuple[Route, list[str]] | None = None
    for parts, found in ROUTES.get((method, len(said)), []):
        pairs = list(zip(parts, said, strict=True))
        ids = [word for part, word in pairs if part.startswith("{")]
        if all(part.startswith("{") or part == word for part, word in pairs) and (not best or len(ids) < len(best[1])):
            best = found, ids
    if not best:
        raise unrecognized(method, path)
    return best
