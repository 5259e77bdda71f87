"""The customer portal: what a customer may do there, and the page. Its other side, the browser's, is at the end."""

from typing import Any

from local.stripe_simulator import payments, subscribing, subscriptions
from local.stripe_simulator.account import Account, new_id
from local.stripe_simulator.answers import Record, page
from local.stripe_simulator.errors import absent, invalid
from local.stripe_simulator.forms import Shape, choice, clearable, flag, free, merged, need, text, whole
from local.stripe_simulator.routes import route

CONFIGURATIONS, CONFIGURATION = "/v1/billing_portal/configurations", "billing_portal.configuration"
SESSIONS, SESSION = "/v1/billing_portal/sessions", "billing_portal.session"
BEHAVIORS = choice("always_invoice", "create_prorations", "none")
REASONS = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)
FEATURES: dict[str, Shape] = {
    "customer_update": {
        "allowed_updates": [choice("address", "email", "name", "phone", "shipping", "tax_id")],
        "enabled": flag,
    },
    "invoice_history": {"enabled": flag},
    "payment_method_update": {"enabled": flag},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": flag, "options": [choice(*REASONS)]},
        "enabled": flag,
        "mode": choice("at_period_end", "immediately"),
        "proration_behavior": BEHAVIORS,
    },
    "subscription_pause": {"enabled": flag},
    "subscription_update": {
        "billing_cycle_anchor": choice("now", "unchanged"),
        "default_allowed_updates": [choice("price", "promotion_code", "quantity")],
        "enabled": flag,
        "products": [
            {
                "adjustable_quantity": {"enabled": flag, "maximum": whole, "minimum": whole},
                "prices": [text],
                "product": text,
            }
        ],
        "proration_behavior": BEHAVIORS,
        "schedule_at_period_end": {
            "conditions": [{"type": choice("decreasing_item_amount", "shortening_interval")}],
        },
    },
}
DEFAULTS: dict[str, Record] = {
    "customer_update": {"allowed_updates": [], "enabled": False},
    "invoice_history": {"enabled": False},
    "payment_method_update": {"enabled": False, "payment_method_configuration": None},
    "subscription_cancel": {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": False,
        "mode": "at_period_end",
        "proration_behavior": "none",
    },
    "subscription_pause": {"duration": {"interval_options": [], "type": "indefinite"}, "enabled": False},
    "subscription_update": {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": False,
        "products": [],
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": []},
        "trial_update_behavior": "end_trial",
    },
}
SAVED: Record = {  # what an account has that once saved the portal's page in the dashboard
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True},
}
CREATE: dict[str, Shape] = {
    "business_profile": {"headline": text, "privacy_policy_url": text, "terms_of_service_url": text},
    "default_return_url": text,
    "features": FEATURES,
    "metadata": free,
    "name": text,
}


@route("POST", CONFIGURATIONS, CONFIGURATION, CREATE)
def create_configuration(account: Account, params: dict[str, Any]) -> Record:
    need(params, "features")
    return _configuration(account, params)


def _configuration(account: Account, params: dict[str, Any], default: bool = False) -> Record:
    now = account.now()
    configuration: Record = {
        "id": new_id(CONFIGURATION),
        "object": CONFIGURATION,
        "active": True,
        "application": None,
        "business_profile": dict.fromkeys(("headline", "privacy_policy_url", "terms_of_service_url")),
        "created": now,
        "default_return_url": None,
        "features": {name: dict(feature) for name, feature in DEFAULTS.items()},
        "is_default": default,
        "livemode": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": {},
        "name": None,
        "updated": now,
    }
    _write(configuration, params)
    account.emit(f"{CONFIGURATION}.created", account.add(configuration))
    return configuration


def _write(configuration: Record, params: dict[str, Any]) -> None:
    for name, said in params.get("features", {}).items():
        feature = configuration["features"][name] | said
        nested = {key: DEFAULTS[name][key] | value for key, value in said.items() if isinstance(value, dict)}
        if feature["enabled"] and name == "subscription_update" and not feature["products"]:
            raise absent("features[subscription_update][products]")
        for product in feature.get("products", []):
            product["adjustable_quantity"] = {
                "enabled": False,
                "maximum": None,
                "minimum": 0,
                **product.get("adjustable_quantity", {}),
            }
        configuration["features"][name] = feature | nested
    configuration["business_profile"] |= {
        name: value or None for name, value in params.get("business_profile", {}).items()
    }
    configuration.update({name: params[name] or None for name in ("default_return_url", "name") if name in params})
    configuration["metadata"] = merged(configuration["metadata"], params.get("metadata", {}))


@route("GET", CONFIGURATIONS + "/{configuration}", CONFIGURATION)
def retrieve_configuration(account: Account, id: str, params: dict[str, Any]) -> Record:
    return account.get(CONFIGURATION, id, "configuration")


@route("GET", CONFIGURATIONS, CONFIGURATION, {"active": flag, "is_default": flag}, listed=True)
def list_configurations(account: Account, params: dict[str, Any]) -> Record:
    def fits(configuration: Record) -> bool:
        return all(params.get(name) in (None, configuration[name]) for name in ("active", "is_default"))

    return page(CONFIGURATIONS, account.all(CONFIGURATION), params, fits)


@route("POST", CONFIGURATIONS + "/{configuration}", CONFIGURATION, CREATE | {"active": flag})
def update_configuration(account: Account, id: str, params: dict[str, Any]) -> Record:
    configuration = account.get(CONFIGURATION, id, "configuration")
    with account.changing(configuration):
        _write(configuration, params)
        configuration["active"] = params.get("active", configuration["active"])
        configuration["updated"] = account.now()
    return configuration


# Sessions

OF_ONE: Shape = {"subscription": text}
FLOWS = (  # each needs the feature of its name
    "customer_update",
    "payment_method_update",
    "subscription_cancel",
    "subscription_pause",
    "subscription_update",
)
FLOW: dict[str, Shape] = {
    "after_completion": {
        "redirect": {"return_url": text},
        "type": choice("hosted_confirmation", "portal_homepage", "redirect"),
    },
    "subscription_cancel": OF_ONE,
    "subscription_pause": OF_ONE,
    "subscription_update": OF_ONE,
    "type": choice(*FLOWS),
}
OPEN: dict[str, Shape] = {
    "configuration": text,
    "customer": text,
    "flow_data": FLOW,
    "locale": text,
    "return_url": clearable(text),
}


@route("POST", SESSIONS, SESSION, OPEN)
def create(account: Account, params: dict[str, Any]) -> Record:
    """Without a configuration, the account's default one."""
    customer = account.get("customer", need(params, "customer"), "customer", 400)
    said = params.get("configuration")
    configuration = account.get(CONFIGURATION, said, "configuration", 400) if said else _default(account)
    if not configuration["active"]:
        raise invalid("This portal configuration is inactive.", "configuration")
    id = new_id(SESSION)
    session: Record = {
        "id": id,
        "object": SESSION,
        "configuration": configuration["id"],
        "created": account.now(customer),
        "customer": customer["id"],
        "customer_account": None,
        "flow": _flow(account, customer, configuration, params["flow_data"]) if "flow_data" in params else None,
        "livemode": False,
        "locale": params.get("locale"),
        "on_behalf_of": None,
        "return_url": params.get("return_url") or configuration["default_return_url"],
        "url": f"https://billing.stripe.com/p/session/{id}",
    }
    account.emit(f"{SESSION}.created", account.add(session))
    return session


def _default(account: Account) -> Record:
    found = [one for one in account.all(CONFIGURATION) if one["is_default"]]
    return found[0] if found else _configuration(account, {"features": SAVED}, default=True)


def _flow(account: Account, customer: Record, configuration: Record, said: dict[str, Any]) -> Record:
    type = need(said, "type")
    if not configuration["features"][type]["enabled"]:
        raise invalid(f"This portal configuration has `{type}` disabled.", "flow_data[type]")
    flow: Record = {
        "after_completion": {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"}
        | said.get("after_completion", {}),
        **dict.fromkeys((*FLOWS, "subscription_update_confirm")),
        "type": type,
    }
    del flow["payment_method_update"]
    if type.startswith("subscription_"):
        id = need(said.get(type, {}), "subscription")
        if account.get("subscription", id, f"flow_data[{type}][subscription]", 400)["customer"] != customer["id"]:
            raise invalid("This subscription is of another customer.", f"flow_data[{type}][subscription]")
        flow[type] = {"subscription": id} | ({"retention": None} if type == "subscription_cancel" else {})
    return flow


# The browser


def cancel(account: Account, id: str) -> None:
    """A flexible subscription then has a `cancel_at`, and no `cancel_at_period_end`."""
    subscription = account.get("subscription", id)
    feature = _allowed(account, subscription["customer"], "subscription_cancel")
    if feature["mode"] == "at_period_end":
        subscribing.update(account, id, {"cancel_at": "max_period_end"})
        return
    behavior = feature["proration_behavior"]
    subscribing.cancel(account, id, {"invoice_now": behavior == "always_invoice", "prorate": behavior != "none"})


def put_card(account: Account, id: str, method: str) -> None:
    """It becomes the one on file, and of each subscription that lives."""
    customer = account.get("customer", id)
    _allowed(account, id, "payment_method_update")
    card = payments.give(account, payments.issue(account, method, customer), customer)["id"]
    with account.changing(customer):
        customer["invoice_settings"]["default_payment_method"] = card
    for subscription in account.of("subscription", id):
        if subscription["status"] not in subscriptions.ENDED:
            with account.changing(subscription):
                subscription["default_payment_method"] = card


def _allowed(account: Account, customer: str, feature: str) -> Record:
    """As the page says that the customer opened last."""
    opened = account.of(SESSION, customer)
    if not opened:
        raise invalid("This customer has not opened the portal.")
    found = account.tables[CONFIGURATION][opened[-1]["configuration"]]["features"][feature]
    if not found["enabled"]:
        raise invalid(f"The portal that this customer has opened does not offer `{feature}`.")
    return found
