"""The door that what an action is given comes in by: JSON with nothing unknown in it, and no text for a number."""

import re
from typing import Annotated, Self

import msgspec
from msgspec import Meta

from billing.errors import Malformed
from billing.holds import NAMEABLE


def matching(pattern: str, max_length: int | None = None) -> Meta:
    """As JSON Schema has it: Python's `$` would let the end of a line follow."""
    return Meta(pattern=pattern.removesuffix("$") + r"\Z", max_length=max_length)


Name = Annotated[str, matching(NAMEABLE)]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Its fields are what may be given. What makes no sense together, __post_init__ raises as a ValueError."""

    @classmethod
    def read(cls, given: bytes) -> Self:
        """Malformed, with the first field that is wrong."""
        try:
            return msgspec.json.Decoder(cls, float_hook=float).decode(given)
        except ValueError as wrong:  # msgspec's own is one, and so is what is no UTF-8
            raise Malformed.of([_fault(str(wrong))]) from wrong
        except RecursionError as wrong:
            raise Malformed.of([("body", "is nested too deeply")]) from wrong

    def said(self) -> str:
        """The same for the same, however it was written."""
        return msgspec.json.encode(self).decode()


def _fault(told: str) -> tuple[str, str]:
    """The field and what is wrong with it: "Expected `int` >= 1 - at `$.items[0].quantity`" (docs: msgspec)."""
    what, at, path = told.rpartition(" - at `$")
    if not at:
        what, path = told, ""
    place = re.sub(r"\[(\d+)\]", r".\1", path.rstrip("`")).removeprefix(".")
    missing_or_unknown = re.search(r"field `(.*)`$", what)
    named = missing_or_unknown[1] if missing_or_unknown else ""
    return ".".join(filter(None, (place, named))) or "body", what
