import pytest

from billing import dynamodb, plan_table
from billing.plans import Metric
from billing.rating import Tier

TEAM = {"name": "Team", "billing_interval": "month", "currency": "usd", "base_price_cents": 2000}
TEAM |= {"price_per_seat_cents": 1000, "included_seats": 3}


def test_a_plan_is_sold_with_a_stripe_price_of_its_own(api, stripe):
    answer = api("PUT", "/plans/team", TEAM)

    assert (answer.status, answer.json["version"], answer.json["slug"]) == (200, 1, "team")
    (price,) = stripe.prices.values()
    assert (price["lookup_key"], price["billing_scheme"], price["tiers_mode"]) == (
        "tollgate_team",
        "tiered",
        "graduated",
    )
    assert price["id"] == plan_table.version("team", 1).price
    assert len(stripe.products) == 1


def test_defaults_open_nothing_that_was_not_said(api, stripe):
    plan = api("PUT", "/plans/team", TEAM).json

    assert plan["limits"] == {"max_storage_mb": 5120}
    assert (plan["features"], plan["metrics"], plan["trial_days"], plan["max_seats"]) == ([], {}, 0, None)


def test_a_metric_names_its_limit_and_how_it_is_enforced(api, stripe):
    plan = api("PUT", "/plans/team", TEAM | {"metrics": {"api_calls": {"enforcement": "soft"}}}).json

    assert plan["metrics"]["api_calls"] == {
        "limit": "max_api_calls",
        "enforcement": "soft",
        "aggregation": "sum",
        "kind": "consumed",
        "reset": "period",
        "late": "adjust",
        "shards": 1,
        "alerts": [50, 80, 100],
        "unavailable": "deny",
        "price": None,
    }


PRICE = {"model": "graduated", "included": 1000, "unit_amount": None, "package_size": None}
PRICE |= {
    "tiers": [
        {"up_to": 5000, "unit_amount": "0.15", "flat_amount": "0"},
        {"up_to": None, "unit_amount": "0.1", "flat_amount": "500"},
    ]
}
SOLD = {"limit": "max_api_calls", "enforcement": "soft", "aggregation": "sum", "kind": "consumed", "reset": "period"}
SOLD |= {"late": "next_period", "shards": 15, "alerts": [90, 100], "unavailable": "allow", "price": PRICE}


def test_all_that_is_said_of_a_metric_is_on_record_and_told_and_the_same_again_is_no_new_version(api, stripe):
    offer = TEAM | {"metrics": {"api_calls": SOLD}}
    answers = [api("PUT", "/plans/team", offer).json]
    plan_table.version.cache_clear()
    answers += [api("GET", "/plans/team").json, api("PUT", "/plans/team", offer).json]

    assert [(answer["version"], answer["metrics"]) for answer in answers] == [(1, {"api_calls": SOLD})] * 3
    assert plan_table.version("team", 1).metrics["api_calls"].price.tiers[1] == Tier(None, "0.1", "500")


def test_an_amount_is_the_same_however_many_zeros_it_ends_with(api, stripe):
    def price(amount):
        metrics = {"api_calls": {"price": {"model": "unit", "unit_amount": amount}}}
        return api("PUT", "/plans/team", TEAM | {"metrics": metrics}).json

    assert {price(amount)["version"] for amount in ("0.15", "0.150", "0.150000000000")} == {1}
    assert [price(amount)["metrics"]["api_calls"]["price"]["unit_amount"] for amount in ("20.00", "20", "0.0")] == [
        "20",
        "20",
        "0",
    ]


def test_a_version_from_before_usage_had_a_price_is_read_as_it_was_meant_and_stands_for_the_same_offer(api, stripe):
    offer = TEAM | {"metrics": {"api_calls": {"enforcement": "soft"}}}
    api("PUT", "/plans/team", offer)
    item = dynamodb.get("Plans", pk="plan#team", sk="version#000001") or {}
    for later in ("late", "shards", "alerts", "unavailable", "price"):
        del item["metrics"]["api_calls"][later]
    dynamodb.transact([dynamodb.put("Plans", item)])
    plan_table.version.cache_clear()

    assert plan_table.version("team", 1).metrics == {"api_calls": Metric("max_api_calls", enforcement="soft")}
    assert api("PUT", "/plans/team", offer).json["version"] == 1


HELD = {"kind": "held", "reset": "never"}
UNIT = {"model": "unit", "unit_amount": "1"}
TWO = [{"up_to": 5}, {"up_to": None}]


@pytest.mark.parametrize(
    ("metric", "field", "message"),
    [
        (HELD | {"aggregation": "max"}, "", "what is held is a sum"),
        (HELD | {"reset": "period"}, "", "what is held is a sum that is never reset"),
        (HELD | {"shards": 2, "enforcement": "soft"}, "", "in one shard"),
        (HELD | {"price": UNIT}, "", "without a price"),
        ({"shards": 2}, "", "a hard limit needs one total"),
        ({"shards": 2, "enforcement": "observe", "aggregation": "max"}, "", "shards are of sums"),
        ({"shards": 16, "enforcement": "soft"}, ".shards", "less than or equal to 15"),
        ({"price": UNIT, "reset": "month"}, "", "reset with the period that it is billed for"),
        ({"price": UNIT, "reset": "never"}, "", "reset with the period that it is billed for"),
        ({"alerts": [80, 50]}, "", "alerts ascend"),
        ({"alerts": [50, 50]}, "", "each said once"),
        ({"alerts": [0]}, ".alerts.0", "greater than or equal to 1"),
        ({"alerts": [1001]}, ".alerts.0", "less than or equal to 1000"),
        ({"alerts": list(range(1, 12))}, ".alerts", "at most 10"),
        ({"price": {"model": "unit"}}, ".price", "unit_amount is missing"),
        ({"price": UNIT | {"tiers": TWO}}, ".price", "tiers are of graduated and volume alone"),
        ({"price": UNIT | {"package_size": 10}}, ".price", "package_size is of packages alone"),
        ({"price": UNIT | {"model": "package"}}, ".price", "package_size is missing"),
        ({"price": {"model": "volume"}}, ".price", "tiers are missing"),
        ({"price": UNIT | {"model": "graduated", "tiers": TWO}}, ".price", "unit_amount is said by the tiers"),
        ({"price": {"model": "volume", "tiers": TWO[:1]}}, ".price", "the last tier has no end"),
        ({"price": {"model": "volume", "tiers": [TWO[0], *TWO]}}, ".price", "ends after the one before"),
        ({"price": {"model": "volume", "tiers": [{"up_to": 6}, *TWO]}}, ".price", "ends after the one before"),
        ({"price": {"model": "volume", "tiers": [TWO[1], TWO[1]]}}, ".price", "only the last has no end"),
        ({"price": {"model": "volume", "tiers": [{"unit_amount": "1"}]}}, ".price.tiers.0.up_to", "required"),
        ({"price": UNIT | {"unit_amount": 0.15}}, ".price.unit_amount", "valid string"),
        ({"price": UNIT | {"unit_amount": "-1"}}, ".price.unit_amount", "match pattern"),
        ({"price": UNIT | {"unit_amount": "1/3"}}, ".price.unit_amount", "match pattern"),
        ({"price": UNIT | {"unit_amount": "1e3"}}, ".price.unit_amount", "match pattern"),
        ({"price": UNIT | {"unit_amount": "0.1234567890123"}}, ".price.unit_amount", "match pattern"),
        ({"price": UNIT | {"unit_amount": "1\n"}}, ".price.unit_amount", "match pattern"),
        ({"price": UNIT | {"included": -1}}, ".price.included", "greater than or equal to 0"),
    ],
    ids=str,
)
def test_a_metric_that_makes_no_sense_is_refused_by_its_field_and_told_why(api, stripe, metric, field, message):
    answer = api("PUT", "/plans/team", TEAM | {"metrics": {"calls": metric}})

    (fault,) = answer.json["fields"]
    assert (answer.status, fault["field"]) == (400, f"metrics.calls{field}")
    assert message in fault["message"]
    assert len(stripe.prices) == 0


def test_a_plan_counts_in_fifteen_totals_whatever_metrics_they_are_of(api, stripe):
    def put(*shards):
        metrics = {f"m{n}": {"enforcement": "soft", "shards": each} for n, each in enumerate(shards)}
        return api("PUT", "/plans/team", TEAM | {"metrics": metrics})

    assert [put(*shards).status for shards in ((15,), (7, 8), [1] * 15, (8, 8), [1] * 14 + [2])] == [
        200,
        200,
        200,
        400,
        400,
    ]
    assert "at most 15 totals" in put(8, 8).json["fields"][0]["message"]


def test_the_same_offer_again_is_the_same_version(api, stripe):
    first, again = (api("PUT", "/plans/team", TEAM) for _ in range(2))

    assert (again.json, len(stripe.prices)) == (first.json, 1)


def test_another_offer_is_the_next_version_and_the_old_one_stays_as_it_is(api, stripe):
    api("PUT", "/plans/team", TEAM)
    second = api("PUT", "/plans/team", TEAM | {"base_price_cents": 2500})

    assert (second.json["version"], api("GET", "/plans/team").json["base_price_cents"]) == (2, 2500)
    assert plan_table.version("team", 1).base_price_cents == 2000
    moved = [price["metadata"]["version"] for price in stripe.prices.values() if price["lookup_key"] == "tollgate_team"]
    assert (moved, len(stripe.products)) == (["2"], 1)


def test_records_that_begin_anew_take_no_older_price_of_stripes_for_theirs(api, stripe):
    api("PUT", "/plans/team", TEAM)
    for item in dynamodb.db().scan(TableName="Plans")["Items"]:
        dynamodb.db().delete_item(TableName="Plans", Key={name: item[name] for name in ("pk", "sk")})
    plan_table.version.cache_clear()
    plan_table.forget()
    answer = api("PUT", "/plans/team", TEAM | {"base_price_cents": 9900})

    assert (answer.status, answer.json["version"]) == (200, 1)
    assert stripe.prices[plan_table.version("team", 1).price]["metadata"]["version"] == "1"
    assert len({price["id"] for price in stripe.prices.values()}) == 2


def test_a_subscription_stays_on_its_version(api, plans, subscribed):
    api("PUT", "/plans/team", TEAM)

    assert api("GET", "/subscription").json["plan_version"] == 1
    assert api("PUT", "/subscription/seats", {"quantity": 6}).json["plan_version"] == 1
    assert api("PUT", "/subscription/plan", {"plan_slug": "team"}).json["plan_version"] == 2


def test_the_catalogue_lists_what_can_be_bought(api, plans):
    assert [plan["slug"] for plan in api("GET", "/plans").json["plans"]] == ["pro", "team"]
    api("DELETE", "/plans/pro")

    assert [plan["slug"] for plan in api("GET", "/plans").json["plans"]] == ["team"]
    assert api("GET", "/plans/pro").status == 404


def test_the_catalogue_is_remembered_for_a_minute_and_versions_for_good(api, plans, moments, monkeypatch):
    now, heard = [1000.0], []
    monkeypatch.setattr(plan_table.time, "monotonic", lambda: now[0])
    plan_table.forget()
    plan_table.version.cache_clear()
    moments.append(heard.append)

    def asked(seconds):
        now[0] += seconds
        heard.clear()
        assert api("GET", "/plans/team").status == 200
        return [moment.split()[1] for moment in heard if moment.startswith("before")]

    assert [asked(0), asked(59), asked(1)] == [["Query", "GetItem"], [], ["Query"]]


@pytest.mark.parametrize(
    ("currency", "base", "seat"), [("kwd", 12_340, 1010), ("isk", 2000, 100), ("jpy", 1999, 501), ("huf", 1999, 501)]
)
def test_a_plan_is_sold_in_what_stripe_can_charge(api, stripe, currency, base, seat):
    offer = TEAM | {"currency": currency, "base_price_cents": base, "price_per_seat_cents": seat}

    assert api("PUT", "/plans/team", offer).status == 200
    (price,) = stripe.prices.values()
    assert price["currency"] == currency


def test_of_a_currency_that_cannot_be_read_only_the_currency_is_said_to_be_wrong(api, stripe):
    answer = api("PUT", "/plans/team", TEAM | {"currency": "KWD", "base_price_cents": 12_345})

    assert (answer.status, [each["field"] for each in answer.json["fields"]]) == (400, ["currency"])


def test_what_is_bought_moved_to_or_compared_is_never_a_remembered_price(api, plans, subscribed, monkeypatch):
    remembered = plan_table.in_force()

    def elsewhere(method, path, body=None, **request):
        """Answered by a process that has not heard of the change."""
        monkeypatch.setattr(plan_table, "_catalogue", (plan_table.time.monotonic(), remembered))
        return api(method, path, body, **request).json

    api("PUT", "/plans/team", TEAM)
    order = {"plan_slug": "team", "payment_method": "pm_card_visa"}
    assert elsewhere("GET", "/plans/team")["version"] == 1
    assert elsewhere("GET", "/plans")["plans"][1]["version"] == 2
    assert elsewhere("POST", "/subscription", order, customer="bob")["plan_version"] == 2
    assert elsewhere("PUT", "/subscription/plan", {"plan_slug": "team"})["plan_version"] == 2

    api("DELETE", "/plans/team")
    assert elsewhere("POST", "/subscription", order, customer="eve")["code"] == "plan_retired"


def test_a_retired_plan_is_sold_again_when_it_is_put_again(api, stripe):
    api("PUT", "/plans/team", TEAM)
    assert [api("DELETE", "/plans/team").json["retired"] for _ in range(2)] == [True, True]

    assert (api("PUT", "/plans/team", TEAM).json["version"], api("GET", "/plans/team").status) == (1, 200)
    assert api("DELETE", "/plans/nosuch").status == 404


def test_a_key_means_one_offer(api, stripe):
    first, again = (api("PUT", "/plans/team", TEAM, key="k") for _ in range(2))
    other = api("PUT", "/plans/team", TEAM | {"name": "Other"}, key="k")

    assert again.json == first.json
    assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")


def test_a_late_retry_is_told_its_version_and_sells_nothing_again(api, stripe):
    assert api("PUT", "/plans/team", TEAM, key="k1").json["version"] == 1
    assert api("PUT", "/plans/team", TEAM | {"base_price_cents": 9000}, key="k2").json["version"] == 2
    again = api("PUT", "/plans/team", TEAM, key="k1")

    assert (again.json["version"], again.json["base_price_cents"]) == (1, 2000)
    assert api("GET", "/plans/team").json["base_price_cents"] == 9000


def test_death_at_any_moment_and_a_retry_make_one_price(api, stripe, moments):
    class Death(BaseException): ...

    for moment in range(100):
        slug, passed = f"team-{moment}", iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            api("PUT", f"/plans/{slug}", TEAM)
        except Death:
            moments.remove(die)
        else:
            moments.remove(die)
            break
        answer = api("PUT", f"/plans/{slug}", TEAM)
        prices = [price for price in stripe.prices.values() if price["product"] == f"tollgate_{slug}"]
        assert (answer.status, answer.json["version"], len(prices)) == (200, 1, 1), moment
    assert moment >= 16


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_price_cents": -1},
        {"base_price_cents": 19.99},
        {"currency": "USD"},
        {"base_price_cents": 12_345, "currency": "kwd"},
        {"base_price_cents": 2050, "currency": "isk"},
        {"price_per_seat_cents": 10, "currency": "ugx"},
        {"billing_interval": "week"},
        {"limits": {"max_api_calls": "many"}},
        {"metrics": {"api_calls": {"enforcement": "maybe"}}},
        {"nosuch": 1},
    ],
    ids=str,
)
def test_an_offer_that_cannot_be_read_is_refused_by_its_field(api, stripe, wrong):
    answer = api("PUT", "/plans/team", TEAM | wrong)

    assert (answer.status, answer.json["fields"][0]["field"].split(".")[0]) == (400, next(iter(wrong)))
    assert len(stripe.prices) == 0


def test_a_price_of_someone_elses_in_the_account_keeps_its_lookup_key(api, stripe):
    _, product = stripe.handle("POST", "/v1/products", {"name": "Of another system"})
    wish = {"product": product["id"], "currency": "usd", "unit_amount": "500", "recurring": {"interval": "month"}}
    status, other = stripe.handle("POST", "/v1/prices", wish | {"lookup_key": "pro"})
    assert status == 200
    assert api("PUT", "/plans/pro", TEAM).status == 200
    assert stripe.prices[other["id"]]["lookup_key"] == "pro"


@pytest.mark.parametrize(
    "offer",
    [
        {"included_seats": 10, "max_seats": 5},
        {"trial_days": 731},
        {"currency": "isk", "base_price_cents": 150},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_and_takes_no_number(api, stripe, offer):
    answer = api("PUT", "/plans/p", TEAM | offer)
    items = dynamodb.db().scan(TableName="Plans")["Items"]
    assert (answer.status in (400, 422), items) == (True, [])
