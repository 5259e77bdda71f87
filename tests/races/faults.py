"""What DynamoDB does to its callers, and neither emulator ever does, enters through botocore's event hooks."""

from random import Random
from types import SimpleNamespace

from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from billing import dynamodb
from tests.functions.at_stripe import Death

CONFLICT = [{"Code": "TransactionConflict"}, {"Code": "None"}]


def hinder(seed=1, conflict=0.0, throttled=0.0, unheard=0.0, lost=0.0, death=0.0):
    """
    From now on DynamoDB is in the way of so large a part of the calls; answers the switch that ends it, and counts.

    `unheard`: done, and the answer does not come; `lost`: so, and botocore asks again by itself; `death`: of the
    caller, before the call or after it.
    """
    random, sender = Random(seed), URLLib3Session()
    switch = SimpleNamespace(on=True, **dict.fromkeys(("conflict", "throttled", "unheard", "lost", "death"), 0))

    def falls(name, part):
        if switch.on and random.random() < part:
            setattr(switch, name, getattr(switch, name) + 1)
            return True

    def refused(code, reasons=()):
        said = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        return SimpleNamespace(status_code=400), said | {"CancellationReasons": list(reasons)}

    def before(model, **_):
        if falls("death", death / 2):
            raise Death
        if falls("throttled", throttled):
            return refused("ThrottlingException")
        if model.name == "TransactWriteItems" and falls("conflict", conflict):
            return refused("TransactionCanceledException", CONFLICT)

    def sending(request, **_):
        if falls("lost", lost):
            sender.send(request)
            raise ReadTimeoutError(endpoint_url=request.url)

    def after(model, **_):
        if falls("death", death / 2):
            raise Death
        if falls("unheard", unheard):
            raise ReadTimeoutError(endpoint_url="")

    events = dynamodb.db().meta.events
    events.register("before-call.dynamodb", before)
    events.register("before-send.dynamodb", sending)
    events.register("after-call.dynamodb", after)
    return switch
