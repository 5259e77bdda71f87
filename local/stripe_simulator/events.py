"""Events looked up, and the endpoints they are sent to."""

from secrets import token_hex
from typing import Any

from local.stripe_simulator.account import API_VERSION, Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import invalid
from local.stripe_simulator.forms import Shape, flag, free, merged, need, text
from local.stripe_simulator.periods import DAY
from local.stripe_simulator.routes import route

KEPT = 30 * DAY


@route("GET", "/v1/events/{event}", "event")
def retrieve(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("event", id)


@route("GET", "/v1/events", "event", {"delivery_success": flag, "type": text, "types": [text]}, listed=True)
def list_all(account: Account, params: dict[str, Any]) -> Record:
    """Newest first, of the last 30 days. `delivery_success=false` are those that an endpoint has not acknowledged."""
    types = params.get("types") or ([params["type"]] if "type" in params else None)
    if types and len(types) > 20:
        raise invalid("You may only specify up to 20 types.", "types")
    wanted = params.get("delivery_success")

    def fits(event: Record) -> bool:
        named = not types or any(matches(pattern, event["type"]) for pattern in types)
        return named and wanted in (None, event["pending_webhooks"] == 0)

    oldest = account.now() - KEPT
    kept = (event for event in account.all("event") if event["created"] > oldest)
    return page("/v1/events", kept, params, fits)


def matches(pattern: str, type: str) -> bool:
    return pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1]))


ENDPOINT: dict[str, Shape] = {"description": text, "enabled_events": [text], "metadata": free, "url": text}


@route("POST", "/v1/webhook_endpoints", "webhook_endpoint", ENDPOINT | {"api_version": text}, shows=("secret",))
def create_endpoint(account: Account, params: dict[str, Any]) -> Record:
    """The only answer that shows its secret."""
    if params.get("api_version", API_VERSION) != API_VERSION:
        raise invalid(f"This account only speaks {API_VERSION}.", "api_version")
    endpoint: Record = {
        "id": new_id("webhook_endpoint"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": account.now(),
        "description": params.get("description"),
        "enabled_events": need(params, "enabled_events"),
        "livemode": False,
        "metadata": params.get("metadata") or {},
        "secret": f"whsec_{token_hex(16)}",
        "status": "enabled",
        "url": need(params, "url"),
    }
    return account.add(endpoint)


@route("GET", "/v1/webhook_endpoints/{endpoint}", "webhook_endpoint")
def retrieve_endpoint(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get("webhook_endpoint", id)


@route("GET", "/v1/webhook_endpoints", "webhook_endpoint", listed=True)
def list_endpoints(account: Account, params: dict[str, Any]) -> Record:
    return page("/v1/webhook_endpoints", account.all("webhook_endpoint"), params, lambda endpoint: True)


@route("POST", "/v1/webhook_endpoints/{endpoint}", "webhook_endpoint", ENDPOINT | {"disabled": flag})
def update_endpoint(account: Account, id: str, params: dict[str, Any]) -> Record:
    endpoint = account.get("webhook_endpoint", id)
    if "disabled" in params:
        endpoint["status"] = "disabled" if params.pop("disabled") else "enabled"
    endpoint["metadata"] = merged(endpoint["metadata"], params.pop("metadata", {}))
    endpoint.update(params)
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{endpoint}", "webhook_endpoint")
def delete_endpoint(account: Account, id: str, params: dict[str, Any]) -> Record:
    account.remove(account.get("webhook_endpoint", id))
    return {"id": id, "object": "webhook_endpoint", "deleted": True}
