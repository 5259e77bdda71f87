"""POST /reconcile: compare our records with Stripe's now; repair what differs only if that is asked for."""

import os
from uuid import uuid4

from billing import reconciliation, run_table, scheduler
from billing.api import Request, endpoint
from billing.bodies import Body
from billing.errors import KeyReused
from billing.holds import digest
from billing.runs import Run


class Wanted(Body):
    dry_run: bool = True


@endpoint(body=Wanted, of_customer=False)
def handler(request: Request, wanted: Wanted) -> dict:
    """The first of it is done here; what is left is carried on every minute. `GET /reconcile/{run}` tells of it."""
    id = digest("run", request.key) if request.key else uuid4().hex
    run = run_table.begin(Run(id, wanted.dry_run, request.at))
    if run.dry_run != wanted.dry_run:
        raise KeyReused("this Idempotency-Key has been used for another run")
    run = reconciliation.work(run, request.at)
    if run.finished_at is None:
        scheduler.carry_on(f"{run.id}-{run.version}", os.environ["RECONCILE_FUNCTION"], {"run": run.id}, request.at)
    return run.public()
