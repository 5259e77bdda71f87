"""
Stripe's forms: `items[0][price]=price_1&expand[]=customer` becomes nested values, checked against what a call takes.

A shape is a dict (an object with these fields and no others), a list of one shape (an array of it), or a reader: a
function of a value and its name that answers the value, typed, or refuses it. A cleared field arrives as "".
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from local.stripe_simulator.errors import absent, invalid

type Reader = Callable[[Any, str], Any]
type Shape = Reader | dict[str, "Shape"] | list["Shape"]


def decode(form: str) -> dict[str, Any]:
    """Nested dicts of strings; arrays are still dicts, by position: only a shape can tell them from metadata."""
    decoded: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        head, *rest = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        at, place = decoded, head
        for part in rest:
            at = at.setdefault(place, {})
            if not isinstance(at, dict):
                raise invalid(f"Invalid form: {name}", name)
            place = part or str(len(at))
        at[place] = value
    return decoded


def read(params: dict[str, Any], fields: dict[str, Shape], within: str = "") -> dict[str, Any]:
    """What a caller sent, typed. A field that the call does not know is refused, as Stripe refuses it."""
    said = {}
    for name, value in params.items():
        full = f"{within}[{name}]" if within else name
        if name not in fields:
            raise invalid(f"Received unknown parameter: {full}", full, "parameter_unknown")
        if value is not None:
            said[name] = _typed(value, fields[name], full)
    return said


def _typed(value: Any, shape: Shape, name: str) -> Any:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {name} must be a hash", name, "parameter_invalid_object")
        return read(value, shape, name)
    if isinstance(shape, list):
        if value == "":
            return []
        if isinstance(value, dict) and all(place.isdigit() for place in value):
            value = [value[place] for place in sorted(value, key=int)]
        if not isinstance(value, list):
            raise invalid(f"Invalid array: {name} must be an array", name, "parameter_invalid_array")
        return [_typed(one, shape[0], f"{name}[{place}]") for place, one in enumerate(value)]
    return shape(value, name)


def text(value: Any, name: str) -> str:
    if isinstance(value, (dict, list)):
        raise invalid(f"Invalid string: {name}", name)
    return str(value)


def whole(value: Any, name: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer") from None


def flag(value: Any, name: str) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return str(value).lower() == "true"


def free(value: Any, name: str) -> Any:
    """Metadata: up to 50 names of up to 40 characters, all values strings of up to 500; "" clears all of it."""
    if value == "":
        return ""
    if not isinstance(value, dict):
        raise invalid(f"Invalid hash: {name}", name)
    said = {key: text(one, f"{name}[{key}]") for key, one in value.items()}
    if len(said) > 50:
        raise invalid(f"You can have up to 50 keys, but you passed in {len(said)}.", name)
    for key, one in said.items():
        if len(key) > 40 or len(one) > 500:
            raise invalid("Metadata keys can have up to 40 characters, and values up to 500.", f"{name}[{key}]")
    return said


def choice(*allowed: str) -> Reader:
    def reader(value: Any, name: str) -> str:
        if value not in allowed:
            raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
        return value

    return reader


def clearable(shape: Shape) -> Reader:
    return lambda value, name: "" if value == "" else _typed(value, shape, name)


def either(first: Reader, second: Shape) -> Reader:
    """A scalar read by the first, anything nested by the second."""
    return lambda value, name: _typed(value, second if isinstance(value, (dict, list)) else first, name)


SPAN = either(whole, {"gt": whole, "gte": whole, "lt": whole, "lte": whole})
PAGE: dict[str, Shape] = {"limit": whole, "starting_after": text, "ending_before": text, "created": SPAN}
ADDRESS: dict[str, Shape] = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text)


def need(params: dict[str, Any], name: str) -> Any:
    if params.get(name) in (None, ""):
        raise absent(name)
    return params[name]


def merged(metadata: dict[str, str], said: dict[str, str] | str) -> dict[str, str]:
    """Metadata is merged by key: an empty value removes its key, "" removes all."""
    if said == "" or isinstance(said, str):
        return {}
    return {key: value for key, value in (metadata | said).items() if value != ""}


def inside(at: int, span: int | dict[str, int] | None) -> bool:
    if span is None:
        return True
    if isinstance(span, int):
        return at == span
    return (
        span.get("gte", at) <= at <= span.get("lte", at)
        and span.get("gt", at - 1) < at < span.get("lt", at + 1)
    )  # fmt: skip
