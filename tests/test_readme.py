"""What the README says is so."""

import re
from pathlib import Path

import process_webhook
from billing import errors

README = Path("README.md").read_text()


def test_every_route_and_its_function_are_listed(routes):
    table = README[README.index("## Routes") : README.index("### Errors")]
    for method, _, path, function in routes:
        own = path.removeprefix("/customers/{id}")
        if own == path or (method, own) not in {(verb, each) for verb, _, each, _ in routes}:
            (line,) = [line for line in table.splitlines() if f"`{function}`" in line]
            assert method in line and path.split("/{")[0] in line


def test_every_code_that_a_caller_may_meet_is_listed():
    section = README[README.index("### Errors") : README.index("## How a change travels")]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.BillingError]
    bases = {errors.Conflict, errors.Rejected}  # only their kinds are raised
    codes = {kind.code for kind in kinds if issubclass(kind, errors.BillingError) and kind not in bases}

    assert codes == set(re.findall(r"`([a-z_]+)`", section)) - {"code", "events", "fields", "quote"}


def test_stripes_endpoint_is_told_to_send_what_is_handled():
    assert set(re.findall(r"enabled_events\[\]=([a-z_.]+)", README)) == process_webhook.HANDLED.keys()
