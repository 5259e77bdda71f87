"""
A reconciliation from beginning to end: all of Tollgate's records are compared with all that Stripe has, and what
differs is told, with what our record said and what Stripe says. Without `apply` nothing is repaired.

The run is Tollgate's own: it goes on whoever waits for it, and `--run` waits for one that was begun before.

    python -m local.reconcile    exits with 0: no drift, or all repaired, 2: drift that is not repaired, 1: an error
"""

import json
import sys
from collections.abc import Callable
from secrets import token_hex
from urllib.parse import quote

from local.tollgate import Parser, Tollgate, Wrong, operate, say

LOOK_S = 10  # between two looks; a run is carried on every minute
STANDS_STILL_S = 40 * 60  # a sweep carries on, after ten minutes, what no schedule did; it comes every fifteen


def reconcile(tollgate: Tollgate, apply: bool, run: str | None = None, say: Callable[[str], None] = print) -> int:
    """Begins a run, or takes up `run`; waits until it is through, and tells what it has found."""
    # A key of its own: whoever asks twice, for an answer was lost, has begun one run.
    begun = None if run else tollgate.ask("POST", "/reconcile", {"dry_run": not apply}, f"reconcile:{token_hex(8)}")
    path = f"/reconcile/{quote(begun['run'] if begun else run or '', safe='')}"
    told = _finished(tollgate, path, say)
    left = 0
    for drift in _drifts(tollgate, path, told):
        left += not drift["repaired"]
        _tell(drift, told["dry_run"], say)
    counts = "  ".join(f"{name} {told[name]}" for name in ("compared", "under_way", "found", "repaired"))
    say(counts + ("; nothing has been repaired: APPLY=1 does it" if told["dry_run"] and left else ""))
    return 2 if left else 0


def _finished(tollgate: Tollgate, path: str, say: Callable[[str], None]) -> dict:
    seen, still = None, 0
    while True:
        told = tollgate.ask("GET", path)
        if not isinstance(told, dict) or "run" not in told:
            raise Wrong("what answers there is no Tollgate")
        moved = {name: told[name] for name in ("run", "stage", "compared", "found", "repaired")}
        if moved != seen:
            say("  ".join(f"{name} {value}" for name, value in moved.items()))
        if told["finished_at"]:
            return told
        still = 0 if moved != seen else still + LOOK_S
        if still >= STANDS_STILL_S:
            raise Wrong(f"run {told['run']} stands still: see docs/runbook.md")
        seen = moved
        tollgate.pause(LOOK_S)


def _drifts(tollgate: Tollgate, path: str, told: dict) -> list[dict]:
    found, cursor = list(told["drift"]), told["next"]
    while cursor:
        page = tollgate.ask("GET", f"{path}?cursor={quote(cursor, safe='')}")
        found, cursor = found + page["drift"], page["next"]
    return found


def _tell(drift: dict, dry_run: bool, say: Callable[[str], None]) -> None:
    outcome = "repaired" if drift["repaired"] else f"not repaired: {drift['why_not'] or 'a dry run'}"
    say(f"  {drift['object']:<32} {drift['customer']:<24} {', '.join(drift['classes']):<24} {outcome}")
    before, after = drift["before"], drift["after"]
    for name in {**before, **after}:
        old, new = (json.dumps(each[name]) if name in each else "(absent)" for each in (before, after))
        if old != new:
            say(f"{'':6}{name:<32} {old} -> {new}")


def main(said: list[str] | None = None) -> int:
    def work(tollgate: Tollgate) -> int:
        parser = Parser(prog="local.reconcile", description="TOLLGATE_URL says where, TOLLGATE_TOKEN who asks.")
        parser.add_argument("--apply", action="store_true", help="APPLY=1: without it nothing is repaired")
        parser.add_argument("--run", help="RUN=...: waits for that one, and begins none")
        asked = parser.parse_args(said)
        return reconcile(tollgate, asked.apply, asked.run, say)

    return operate(work)


if __name__ == "__main__":
    sys.exit(main())
