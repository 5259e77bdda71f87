"""GET /reconcile/{run}: how far a run has come, what it has found to differ, and what it has repaired, page by page."""

from billing import run_table
from billing.api import Request, endpoint
from billing.errors import Malformed
from billing.runs import named

PAGE = 50


@endpoint(of_customer=False)
def handler(request: Request) -> dict:
    if unknown := request.query.keys() - {"cursor"}:
        raise Malformed.of([(min(unknown), "no such parameter")])
    run = run_table.find(named(request.path["run"]))
    drifts, after = run_table.findings(run.id, PAGE, request.query.get("cursor"))
    return run.public() | {"drift": [drift.public() for drift in drifts], "next": after}
