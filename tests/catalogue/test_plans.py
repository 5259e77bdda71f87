"""`plans.yaml`: what the file says, what would change, what is changed."""

from pathlib import Path

import pytest

from local import plans
from local.tollgate import Answer, Refused, Tollgate, Wrong

TEAM = "{name: Team, billing_interval: month, currency: usd, base_price_cents: 2000}"
PRO = "{name: Pro, billing_interval: month, currency: usd, base_price_cents: 9000, metrics: {api_calls: {}}}"
TWO = plans.read(f"team: {TEAM}\npro: {PRO}")


def changed(slug="team", **content):
    """The two plans, one of them with another content."""
    return TWO | {slug: TWO[slug].model_copy(update=content)}


def versions(api):
    return {plan["slug"]: plan["version"] for plan in api("GET", "/plans").json["plans"]}


def puts(asked):
    found = [each for each in asked if not each.startswith("GET")]
    asked.clear()
    return found


def test_the_example_is_a_catalogue_that_can_be_sold(tollgate, api, told):
    wanted = plans.read(Path("plans.yaml").read_text())

    assert plans.apply(tollgate, wanted, told.append) == 0
    assert versions(api) == {"free": 1, "team": 1, "pro": 1}
    assert plans.diff(tollgate, wanted, told.append) == 0


def test_what_is_new_is_told_whole_with_what_was_not_said(tollgate, asked, told):
    assert plans.diff(tollgate, TWO, told.append) == 2

    text = told.text()
    assert "team new" in text and "base_price_cents 2000" in text and "grace_days 7" in text
    assert 'metrics.api_calls.limit "max_api_calls"' in text
    assert puts(asked) == []


def test_what_is_changed_is_told_field_by_field_and_who_stays(tollgate, asked, told):
    plans.apply(tollgate, TWO, told.append)
    told.clear()
    puts(asked)

    dearer = changed(base_price_cents=2500, limits={"max_storage_mb": 5120, "max_projects": None}, features=["sso"])
    assert plans.diff(tollgate, dearer, told.append) == 2
    assert told.text() == (
        "team changed: a new version; whoever has version 1 stays on it"
        " base_price_cents 2000 -> 2500"
        ' features [] -> ["sso"]'
        " limits.max_projects (absent) -> null"
        " pro unchanged, version 1"
    )
    assert plans.diff(tollgate, changed("pro", metrics={}), told.append) == 2
    assert 'metrics.api_calls.enforcement "hard" -> (absent)' in told.text()
    assert puts(asked) == []


METERED = """{api_calls: {alerts: [90], price: {model: unit, included: 1000, unit_amount: "0.150"}}, exports: {price:
  {model: volume, tiers: [{up_to: 10, unit_amount: "5"}, {up_to: null, flat_amount: "20.5"}]}}}"""


def test_what_usage_costs_is_sold_as_the_file_says_and_told_when_it_changes(tollgate, api, told):
    wanted = plans.read(f"team: {TEAM[:-1]}, metrics: {METERED}}}")
    assert [plans.apply(tollgate, wanted, told.append), plans.diff(tollgate, wanted, told.append)] == [0, 0]
    calls = api("GET", "/plans/team").json["metrics"]["api_calls"]
    assert (calls["alerts"], calls["price"]["unit_amount"], versions(api)) == ([90], "0.15", {"team": 1})

    told.clear()
    dearer = plans.read(f"team: {TEAM[:-1]}, metrics: {METERED.replace('0.150', '0.2')}}}")
    assert plans.diff(tollgate, dearer, told.append) == 2
    assert told.text() == (
        "team changed: a new version; whoever has version 1 stays on it"
        ' metrics.api_calls.price.unit_amount "0.15" -> "0.2"'
    )


def test_only_what_is_changed_gets_a_new_version(tollgate, api, stripe, asked, told):
    plans.apply(tollgate, TWO, told.append)
    puts(asked)

    assert plans.apply(tollgate, changed(base_price_cents=2500), told.append) == 0
    assert puts(asked) == ["PUT /plans/team"]
    assert (versions(api), len(stripe.prices)) == ({"team": 2, "pro": 1}, 3)
    assert "done: version 2 is on sale" in told.text()


def test_a_second_run_makes_nothing(tollgate, api, stripe, asked, told):
    for _ in range(2):
        assert plans.apply(tollgate, TWO, told.append) == 0

    assert puts(asked) == ["PUT /plans/team", "PUT /plans/pro"]
    assert (versions(api), len(stripe.prices)) == ({"team": 1, "pro": 1}, 2)


def test_a_plan_that_is_as_it_once_was_is_sold_again(tollgate, api, told):
    for cents in (2000, 2500, 2000):
        plans.apply(tollgate, changed(base_price_cents=cents), told.append)
    assert (versions(api)["team"], api("GET", "/plans/team").json["base_price_cents"]) == (3, 2000)

    plans.apply(tollgate, TWO | {"pro": None}, told.append)
    assert versions(api) == {"team": 3}
    plans.apply(tollgate, TWO, told.append)
    assert versions(api) == {"team": 3, "pro": 1}


def test_whatever_moment_a_run_dies_at_the_next_one_completes_it(api, send, stripe, moments, told):
    class Death(BaseException): ...

    for moment in range(0, 200, 3):
        wanted, passed = {f"{slug}-{moment}": offer for slug, offer in TWO.items()}, iter(range(moment))

        def die(_, passed=passed):
            if next(passed, None) is None:
                raise Death

        moments.append(die)
        try:
            plans.apply(Tollgate(send), wanted, told.append)
        except Death:
            moments.remove(die)
        else:
            moments.remove(die)
            break
        assert plans.apply(Tollgate(send), wanted, told.append) == 0
        assert [versions(api)[slug] for slug in wanted] == [1, 1], moment
        products = [price["product"] for price in stripe.prices.values()]
        assert [products.count(f"tollgate_{slug}") for slug in wanted] == [1, 1], moment
    assert moment >= 30


def test_a_plan_that_is_not_in_the_file_stays_on_sale(tollgate, api, told):
    plans.apply(tollgate, TWO, told.append)
    alone = {"team": TWO["team"]}
    told.clear()

    assert plans.diff(tollgate, alone, told.append) == 0
    assert "pro on sale (version 1) and not in the file: left as it is" in told.text()
    plans.apply(tollgate, alone, told.append)
    assert versions(api) == {"team": 1, "pro": 1}


def test_only_what_is_said_to_be_retired_is_retired_once(tollgate, api, asked, told):
    plans.apply(tollgate, TWO, told.append)
    puts(asked)
    ended = plans.read(f"team: {TEAM}\npro: {{retire: true}}\nnever: {{retire: true}}")

    assert plans.diff(tollgate, ended, told.append) == 2
    assert "pro to be retired" in told.text()
    assert [plans.apply(tollgate, ended, told.append) for _ in range(2)] == [0, 0]
    assert puts(asked) == ["DELETE /plans/pro"]
    assert versions(api) == {"team": 1}
    assert plans.diff(tollgate, ended, told.append) == 0


def test_a_busy_stripe_is_waited_for_as_long_as_it_says(tollgate, stripe, api, waited, told, monkeypatch):
    monkeypatch.setattr("billing.gateway.time.sleep", lambda seconds: None)
    stripe.fault("rate_limit", path="/v1/prices.*", times=3)

    assert plans.apply(tollgate, TWO, told.append) == 0
    assert (versions(api), waited) == ({"team": 1, "pro": 1}, [5.0])


def test_a_run_ends_at_the_first_plan_that_is_not_taken(send, api, told):
    def deny_pro(method, path, body, key):
        return (
            Answer(403, {"message": "Forbidden"})
            if (method, path) == ("PUT", "/plans/pro")
            else send(method, path, body, key)
        )

    three = TWO | {"last": TWO["team"]}
    with pytest.raises(Refused, match="403 refused: Forbidden"):
        plans.apply(Tollgate(deny_pro), three, told.append)
    assert versions(api) == {"team": 1}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"team: {TEAM[:-1]}, colour: red}}", ["team.colour: Extra inputs"]),
        (f"team: {TEAM.replace('2000', '19.99')}", ["team.base_price_cents: Input should be a valid integer"]),
        (f"team: {TEAM.replace('2000', '-1')}", ["team.base_price_cents"]),
        (f"team: {TEAM[:-1]}, stripe_price: price_1, on_sale: false}}", ["team.on_sale: ", "team.stripe_price: "]),
        (f"team: {TEAM.replace('usd', 'kwd').replace('2000', '12345')}", ["team.base_price_cents: "]),
        (f"team: {TEAM.replace('2000', '0100')}", ["0100 is no plain number", "line 1"]),
        (f"team: {TEAM.replace('2000', '1:40')}", ["1:40 is no plain number"]),
        (f"team: {TEAM.replace('month', 'week')}\npro: {{}}", ["team.billing_interval", "pro.name: Field required"]),
        (
            f"team: {TEAM[:-1]}, metrics: {{api_calls: {{enforcement: maybe}}}}}}",
            ["team.metrics.api_calls.enforcement"],
        ),
        (
            f"team: {TEAM[:-1]}, metrics: {METERED.replace('"0.150"', '0.15')}}}",
            ["team.metrics.api_calls.price.unit_amount: Input should be a valid string"],
        ),
        (
            f"team: {TEAM[:-1]}, metrics: {METERED.replace('null', '10')}}}",
            ["team.metrics.exports.price: Value error, the last tier has no end"],
        ),
        (f"team: {TEAM}\nteam: {PRO}", ["team is said twice"]),
        (f"team: {TEAM[:-1]}, base_price_cents: 1}}", ["base_price_cents is said twice"]),
        ("team: {retire: false}", ["team.retire: is true"]),
        (f"team: {TEAM[:-1]}, retire: true}}", ["team.retire: is true, and stands alone"]),
        (f"Team: {TEAM}", ["Team: a plan's name is as"]),
        (f"no: {TEAM}", ["False: a plan's name is as"]),
        ("team: dear", ["team: Input should be a valid dictionary"]),
        ("", ["names no plan"]),
        ("- team", ["names no plan"]),
        ("team: [", ["line 1"]),
    ],
)
def test_a_file_that_cannot_be_sold_is_refused_by_plan_and_field_before_anything_is_asked(text, names):
    with pytest.raises(Wrong) as wrong:
        plans.read(text)
    assert [name for name in names if name not in str(wrong.value)] == []


def test_what_plans_share_is_said_once_by_an_anchor():
    wanted = plans.read(f"team: &team {TEAM}\nyearly: {{<<: *team, billing_interval: year}}")

    assert (wanted["yearly"].billing_interval, wanted["yearly"].base_price_cents) == ("year", 2000)


def test_the_command_exits_with_what_there_is_to_do_and_never_tells_the_token(command, api):
    told = [command("diff", token=""), command("apply"), command("diff"), command("apply")]

    assert [each.returncode for each in told] == [2, 0, 0, 0], [each.stderr for each in told]
    assert versions(api) == {"free": 1, "team": 1, "pro": 1}
    assert not [each for each in told if "s3cret" in each.stdout + each.stderr]


def test_the_command_exits_with_1_where_something_is_wrong_and_never_tells_the_token(command, api, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("team: {name: Team}")
    told = {
        "team.currency: Field required": command("diff", "--file", str(bad)),
        "cannot be read: FileNotFoundError": command("diff", "--file", "nosuch.yaml"),
        "TOLLGATE_TOKEN is missing": command("apply", token=""),
        "TOLLGATE_TOKEN is no token": command("apply", token="s3cret\nx"),
        "401 refused: Unauthorized": command("apply", token="of-another-s3cret"),
        "not https": command("diff", at="http://example.com"),
        "is the stack's output": command("diff", at=""),
        "unrecognized arguments": command("diff", "--nosuch"),
    }

    assert {message for message, each in told.items() if each.returncode != 1 or message not in each.stderr} == set()
    assert not [each for each in told.values() if "s3cret" in each.stdout + each.stderr]
    assert versions(api) == {}
