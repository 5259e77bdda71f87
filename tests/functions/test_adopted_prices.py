"""PUT /plans/{slug} with a price that Stripe had before us."""

import pytest

from billing import plan_table
from tests.functions.at_stripe import ask

TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 5000}
TEAM |= {"price_per_seat_cents": 900, "included_seats": 5, "features": ["reports"]}
TIERS = [{"up_to": "5", "flat_amount": "5000", "unit_amount": "0"}, {"up_to": "inf", "unit_amount": "900"}]
ADMIN = {"claims": {"scope": "billing/admin"}}


@pytest.fixture
def price(stripe):
    """A price that was made past us."""

    def made(**said):
        terms = {"recurring": {"interval": "month"}, "billing_scheme": "tiered", "tiers_mode": "graduated"}
        terms |= {"currency": "usd", "product_data": {"name": "Team"}, "tiers": TIERS}
        return ask(stripe, "POST", "/v1/prices", **terms | said)["id"]

    return made


@pytest.fixture
def put(api):
    def offered(price, slug="team", key=None, **said):
        return api("PUT", f"/plans/{slug}", TEAM | {"stripe_price": price} | said, key=key)

    return offered


def found(api, price):
    """The version that a price belongs to."""
    answer = api("GET", f"/stripe-prices/{price}/plan", **ADMIN)
    return (answer.json["slug"], answer.json["version"]) if answer.status == 200 else answer.json["code"]


def test_the_version_has_that_price_and_stripe_makes_none(api, put, price, stripe, said):
    theirs = price()
    stripe.calls.clear()

    assert (put(theirs).status, found(api, theirs)) == (200, ("team", 1))
    assert (said("POST"), len(stripe.prices)) == ({}, 1)
    assert api("GET", "/plans/team").json["base_price_cents"] == 5000


def test_what_is_bought_has_that_price(api, put, price, stripe):
    theirs = price()
    put(theirs)
    order = {"plan_slug": "team", "quantity": 7, "payment_method": "pm_card_visa"}

    bought = api("POST", "/subscription", order).json
    assert (bought["status"], bought["plan_version"]) == ("active", 1)
    (item,) = stripe.subscriptions[bought["id"]]["items"]["data"]
    assert (item["price"]["id"], [each["total"] for each in stripe.invoices.values()]) == (theirs, [6800])


@pytest.mark.parametrize("on_sale", [True, False])
def test_the_same_again_is_the_same_version(api, put, price, on_sale):
    theirs = price()
    versions = [put(theirs, on_sale=on_sale, key=key).json["version"] for key in (None, None, "k", "k", "l")]
    assert versions == [1, 1, 1, 1, 1]
    assert plan_table.latest("team").version == 1


def test_an_older_price_is_adopted_for_those_who_have_it_and_what_is_on_sale_stays(api, put, price):
    current, older = price(), price(tiers=[TIERS[0] | {"flat_amount": "4000"}, TIERS[1]], active=False)
    put(current)

    assert put(older, base_price_cents=4000, on_sale=False).json["version"] == 2
    assert api("GET", "/plans/team").json["version"] == 1
    assert found(api, older) == ("team", 2)


def test_a_plan_that_is_only_of_those_who_have_it_cannot_be_bought(api, put, price):
    assert put(price(), on_sale=False).status == 200
    assert (api("GET", "/plans").json["plans"], api("GET", "/plans/team").status) == ([], 404)
    assert api("POST", "/subscription", {"plan_slug": "team"}).json["code"] == "not_found"


def test_what_was_adopted_for_those_who_have_it_may_be_sold_later_and_again(api, put, price):
    older, newer = price(), price()
    put(older, on_sale=False)
    put(newer, name="Newer")
    assert api("GET", "/plans/team").json["version"] == 2

    assert put(older).json["version"] == 1 == api("GET", "/plans/team").json["version"]
    api("DELETE", "/plans/team")
    put(older, on_sale=False)
    assert api("GET", "/plans/team").status == 404
    put(older)
    assert api("GET", "/plans/team").json["version"] == 1


def test_a_new_version_of_an_adopted_plan_has_a_price_of_its_own(api, put, price):
    theirs = price()
    put(theirs)

    assert api("PUT", "/plans/team", TEAM).json["version"] == 1
    assert api("PUT", "/plans/team", TEAM | {"features": ["sso"]}).json["version"] == 2
    assert (found(api, theirs), plan_table.version("team", 2).price != theirs) == (("team", 1), True)


def test_the_same_offer_with_another_price_is_another_version(api, put, price):
    first, second = price(), price()
    assert [put(each).json["version"] for each in (first, second)] == [1, 2]
    assert (found(api, first), found(api, second)) == (("team", 1), ("team", 2))


@pytest.mark.parametrize(
    ("said", "offer", "code"),
    [
        ({}, {"base_price_cents": 5001}, "price_differs"),
        ({}, {"included_seats": 6}, "price_differs"),
        ({}, {"price_per_seat_cents": 901}, "price_differs"),
        ({}, {"currency": "eur"}, "price_differs"),
        ({}, {"billing_interval": "year"}, "price_differs"),
        ({"tiers_mode": "volume"}, {}, "price_unfit"),
        ({"recurring": {"interval": "week"}}, {}, "price_unfit"),
        ({"recurring": {"interval": "month", "interval_count": "3"}}, {}, "price_unfit"),
        ({"active": "false"}, {}, "price_unfit"),
    ],
    ids=repr,
)
def test_a_price_that_the_plan_does_not_say_is_refused_and_nothing_is_on_record(api, put, price, said, offer, code):
    theirs = price(**said)
    refused = put(theirs, **offer)
    assert (refused.status, refused.json["code"]) == (422, code)
    assert (found(api, theirs), plan_table.latest("team")) == ("not_found", None)


def test_a_price_that_stripe_does_not_know_is_refused(put):
    assert (put("price_none").status, put("price_none").json["code"]) == (422, "price_unfit")


def test_a_price_of_another_version_is_refused(api, put, price):
    theirs = price()
    put(theirs)
    for refused in (put(theirs, slug="pro"), put(theirs, features=["sso"]), put(theirs, slug="pro", on_sale=False)):
        assert (refused.status, refused.json["code"]) == (409, "price_taken")
    assert found(api, theirs) == ("team", 1) and api("GET", "/plans/pro").status == 404


def test_what_is_not_on_sale_names_the_price_of_those_who_have_it(api):
    assert api("PUT", "/plans/team", TEAM | {"on_sale": False}).json["code"] == "malformed"


@pytest.mark.parametrize("on_sale", [True, False])
def test_two_who_adopt_one_price_at_once_make_one_version(put, price, moments, on_sale):
    theirs = price()
    moments.once("before TransactWriteItems", lambda: put(theirs, on_sale=on_sale))

    assert (put(theirs).json["version"], plan_table.latest("team").version) == (1, 1)


def test_two_who_adopt_one_price_for_two_plans_at_once_are_one_too_many(api, put, price, moments):
    theirs = price()
    moments.once("before TransactWriteItems", lambda: put(theirs, slug="pro"))

    assert put(theirs).json["code"] == "price_taken"
    assert (found(api, theirs), plan_table.latest("team")) == (("pro", 1), None)


@pytest.mark.parametrize("on_sale", [True, False])
def test_whoever_dies_is_completed_by_the_next(api, put, price, moments, on_sale):
    class Death(BaseException): ...

    for moment in range(40):
        theirs, slug, passed = price(), f"team-{moment}", iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            put(theirs, slug=slug, on_sale=on_sale, key=slug)
        except Death:
            pass
        else:
            break
        finally:
            moments.remove(die)
        assert put(theirs, slug=slug, on_sale=on_sale, key=slug).json["version"] == 1
        assert found(api, theirs) == (slug, 1) and plan_table.latest(slug).version == 1
        assert (api("GET", f"/plans/{slug}").status == 200) == on_sale
    assert moment >= 8


def test_a_price_whose_product_is_archived_is_not_put_on_sale(api, put, price, stripe):
    theirs = price()
    ask(stripe, "POST", f"/v1/products/{stripe.prices[theirs]['product']}", active="false")

    refused = put(theirs)
    assert (refused.status, refused.json["code"], api("GET", "/plans/team").status) == (422, "price_unfit", 404)
    assert put(theirs, on_sale=False).status == 200


def test_a_price_that_costs_something_else_in_another_currency_is_not_put_on_sale(api, put, price):
    """Checkout shows whoever comes from there that amount (docs: Manual currency prices); the plan knows of one."""
    flat = {"billing_scheme": "per_unit", "tiers": None, "tiers_mode": None, "unit_amount": "900"}
    theirs = price(**flat, currency_options={"eur": {"unit_amount": "100"}})
    offer = {"base_price_cents": 900, "included_seats": 1}

    refused = put(theirs, **offer)
    assert (refused.status, refused.json["code"]) == (422, "price_unfit") and "eur" in refused.json["detail"]
    assert put(theirs, on_sale=False, **offer).status == 200
