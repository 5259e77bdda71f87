"""POST /usage/explain: every line of a charge, with its plan version, rate, days and events, worked out again."""

from billing import explaining, usage
from billing.api import Request, endpoint
from billing.bodies import Body, Name
from billing.errors import Malformed
from billing.usage import Unfit


class Asked(Body):
    customer_id: Name
    metric_id: Name
    at: str  # any instant of the period


@endpoint(body=Asked, of_customer=False)
def handler(request: Request, asked: Asked) -> dict:
    try:
        at = usage.instant(asked.at)
    except Unfit as unfit:
        raise Malformed.of([("at", str(unfit))]) from unfit
    return explaining.explain(asked.customer_id, asked.metric_id, at)
