"""PUT /customer: who pays, and where to; as Stripe prints it on invoices."""

from typing import Annotated

from msgspec import Meta, to_builtins

from billing import changes, registration
from billing.api import Request, endpoint
from billing.bodies import Body, matching
from billing.customers import Customer
from billing.holds import Draft, Wish

Text = Annotated[str, Meta(min_length=1, max_length=255)]


class Address(Body):
    line1: Text | None = None
    line2: Text | None = None
    city: Text | None = None
    state: Text | None = None
    postal_code: Text | None = None
    country: Annotated[str, matching(r"^[A-Z]{2}$")] | None = None


class TaxId(Body):
    type: Annotated[str, matching(r"^[a-z]{2}_[a-z]{2,20}$")]
    value: Text


class Profile(Body):
    email: Annotated[str, matching(r"^[^@\s]+@[^@\s]+$", max_length=255)] | None = None
    name: Text | None = None
    phone: Annotated[str, Meta(max_length=20)] | None = None
    address: Address | None = None
    tax_id: TaxId | None = None
    locale: Annotated[str, matching(r"^[a-z]{2}(-[A-Z]{2})?$")] | None = None


@endpoint(body=Profile)
def handler(request: Request, profile: Profile) -> dict:
    """The whole profile: what is not named is emptied."""

    def decide(ours: Customer) -> Wish:
        return ours.describe(to_builtins(profile))

    def draft(ours: Customer, wish: Wish, mark: str) -> Draft:
        registration.required(ours, request.at)
        return Draft(ours.profile_steps(wish, mark))

    return changes.carry_out(request, decide, draft)
