"""Moving a cohort to the version in force."""

import pytest

from billing import gateway
from local import cohort
from local.tollgate import Answer, Refused, Tollgate, Wrong

PRO = {"name": "Pro", "billing_interval": "month", "currency": "usd", "base_price_cents": 10_000}
DEARER = PRO | {"base_price_cents": 12_000}


@pytest.fixture
def on(api):
    """Who is on a version of the plan."""

    def listed(version):
        answer = api("GET", f"/plans/pro/versions/{version}/subscriptions")
        return {each["customer"] for each in answer.json["subscriptions"]}

    return listed


@pytest.fixture
def buy(api):
    def subscribe(customer, slug="pro", **order):
        order |= {"plan_slug": slug, "payment_method": "pm_card_visa"}
        return api("POST", "/subscription", order, customer=customer).json["id"]

    return subscribe


@pytest.fixture
def bought(api, buy, stripe):
    """Ada, Bob and Eve are on version 1 of pro; version 2 is in force, and dearer."""
    api("PUT", "/plans/pro", PRO)
    ids = {customer: buy(customer, quantity=seats) for customer, seats in (("ada", 1), ("bob", 3), ("eve", 1))}
    api("PUT", "/plans/pro", DEARER)
    stripe.calls.clear()
    return ids


@pytest.fixture
def run(tollgate, told):
    def moved(effective="now", apply=True, by=tollgate):
        told.clear()
        return cohort.move(by, "pro", 1, effective, apply, told.append)

    return moved


def invoices(stripe, subscription):
    of = [each["parent"]["subscription_details"] for each in stripe.invoices.values()]
    return [each["subscription"] for each in of].count(subscription)


def test_a_dry_run_tells_what_it_would_cost_each_and_moves_nobody(run, bought, on, asked, told):
    assert run(apply=False) == 0

    assert [line.split()[0] for line in told[1:-1]] == ["eve", "bob", "ada"]
    costs = [int(line.split("due_now_cents")[1].split()[0]) for line in told[1:-1]]
    assert all(1990 <= cents <= 2000 for cents in costs), costs
    counts = f"would move 3, already there 0, refused 0, due_now_cents {sum(costs)} usd"
    assert told[-1] == f"{counts}; nobody has been moved: APPLY=1 does it"
    assert not [each for each in asked if each.startswith("PUT")]
    assert (on(1), on(2)) == ({"ada", "bob", "eve"}, set())


def test_all_are_moved_each_with_the_seats_they_have(run, bought, on, api, told):
    assert run() == 0

    assert told[-1].startswith("moved 3, scheduled 0, already there 0, refused 0")
    assert (on(1), on(2)) == (set(), {"ada", "bob", "eve"})
    assert [api("GET", "/subscription", customer=each).json["seats"] for each in bought] == [1, 3, 1]


def test_a_second_run_finds_nobody_to_move(run, bought, stripe, told):
    run()
    made = [invoices(stripe, id) for id in bought.values()]
    assert made == [2, 2, 2]
    assert run() == 0

    assert told[-1] == "moved 0, scheduled 0, already there 0, refused 0"
    assert [invoices(stripe, id) for id in bought.values()] == made


def test_only_the_cohort_is_moved(run, bought, buy, api, on):
    api("PUT", "/plans/team", PRO | {"name": "Team"})
    buy("kim", slug="team")
    buy("lee")
    run()

    assert on(2) == {"ada", "bob", "eve", "lee"}
    assert api("GET", "/subscription", customer="kim").json["plan"] == "team"


def test_whoever_dies_half_way_is_completed_by_the_next_run_and_nobody_pays_twice(run, bought, send, stripe, on, told):
    class Death(BaseException): ...

    puts = []

    def dying(method, path, body, key):
        answer = send(method, path, body, key)
        if method == "PUT":
            puts.append(path)
            if len(puts) == 2:
                raise Death
        return answer

    with pytest.raises(Death):
        run(by=Tollgate(dying))
    assert len(on(2)) == 2
    assert run() == 0
    assert told[-1].startswith("moved 1, scheduled 0, already there 0, refused 0")
    assert [invoices(stripe, id) for id in bought.values()] == [2, 2, 2]


def test_an_answer_that_is_lost_is_asked_for_again_and_nobody_pays_twice(run, bought, send, stripe, told, waited):
    lost = iter([Answer(504, None)])

    def losing(method, path, body, key):
        answer = send(method, path, body, key)
        return next(lost, answer) if method == "PUT" else answer

    assert run(by=Tollgate(losing, waited.append)) == 0
    assert (told[-1].split(",")[0], waited) == ("moved 3", [1])
    assert [invoices(stripe, id) for id in bought.values()] == [2, 2, 2]


def test_whoever_is_refused_is_told_apart_with_the_code_and_the_others_are_moved(run, bought, api, on, told):
    api("PUT", "/plans/pro", DEARER | {"max_seats": 2})

    assert run() == 1
    (line,) = [line for line in told if "bob" in line]
    assert "refused  seats_out_of_range" in line
    assert told[-1].startswith("moved 2, scheduled 0, already there 0, refused 1")
    assert (on(1), on(3)) == ({"bob"}, {"ada", "eve"})


def test_whoever_cannot_pay_is_not_moved_and_is_told_apart(run, bought, stripe, on, told):
    theirs = stripe.subscriptions[bought["bob"]]["customer"]
    card = gateway.client().v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": theirs})
    gateway.client().v1.subscriptions.update(bought["bob"], {"default_payment_method": card.id})

    for _ in range(2):
        assert run() == 1
        (line,) = [line for line in told if "bob" in line]
        assert "refused  awaiting_payment" in line
        assert on(1) == {"bob"}


def test_whoever_has_chosen_something_else_since_the_quote_is_not_brought_back(run, bought, send, api, told):
    api("PUT", "/plans/max", PRO | {"name": "Max", "base_price_cents": 50_000})

    def late(method, path, body, key):
        if (method, path) == ("PUT", "/customers/bob/subscription/plan"):
            assert api("PUT", "/subscription/plan", {"plan_slug": "max"}, customer="bob").status == 200
        return send(method, path, body, key)

    assert run(by=Tollgate(late)) == 1
    (line,) = [line for line in told if "bob" in line]
    assert "refused  quote_stale" in line
    assert api("GET", "/subscription", customer="bob").json["plan"] == "max"


def test_at_the_end_of_the_period_it_is_scheduled_once(run, bought, api, on, stripe, told):
    assert run("period_end") == 0
    assert told[-1].startswith("moved 0, scheduled 3, already there 0, refused 0, due_now_cents 0 usd")
    stripe.calls.clear()
    assert run("period_end") == 0

    assert told[-1] == "moved 0, scheduled 0, already there 3, refused 0"
    assert not [call for call in stripe.calls if call.method == "POST"]
    assert on(1) == {"ada", "bob", "eve"}
    assert api("GET", "/subscription").json["scheduled_change"]["plan"] == "pro"


def test_what_an_earlier_run_has_scheduled_gives_way_to_a_later_one(run, bought, api, on, told):
    run("period_end")
    api("PUT", "/plans/pro", DEARER | {"base_price_cents": 13_000})

    assert run("period_end") == 0
    assert told[-1].startswith("moved 0, scheduled 3, already there 0, refused 0")
    assert run("now") == 0
    assert told[-1].startswith("moved 3, scheduled 0, already there 0, refused 0")
    assert on(3) == {"ada", "bob", "eve"}
    assert api("GET", "/subscription").json["scheduled_change"] is None


@pytest.mark.parametrize("effective", ["now", "period_end"])
def test_a_change_of_their_own_that_is_to_come_is_left_to_come(run, bought, api, told, effective):
    api("PUT", "/plans/basic", PRO | {"name": "Basic", "base_price_cents": 1000})
    wish = {"plan_slug": "basic", "effective": "period_end"}
    assert api("PUT", "/subscription/plan", wish, customer="bob").json["scheduled_change"]["plan"] == "basic"

    assert run(effective) == 1
    (line,) = [line for line in told if "bob" in line]
    assert "refused  change_scheduled" in line
    assert api("GET", "/subscription", customer="bob").json["scheduled_change"]["plan"] == "basic"


def test_a_subscription_beside_the_customers_one_moves_neither(run, bought, api, buy, stripe, told):
    api("PUT", "/plans/team", PRO | {"name": "Team"})
    team = buy("kim", slug="team")
    price = stripe.subscriptions[bought["ada"]]["items"]["data"][0]["price"]["id"]
    order = {"customer": stripe.subscriptions[team]["customer"], "items": [{"price": price, "quantity": 1}]}
    gateway.client().v1.subscriptions.create(order)  # pyright: ignore[reportArgumentType]

    assert run() == 1
    (line,) = [line for line in told if "kim" in line]
    assert f"refused  other_subscription: the customer's one is {team}" in line
    assert api("GET", "/subscription", customer="kim").json["plan"] == "team"


def test_the_command_moves_nobody_but_when_told_to(command, bought, on):
    dry, applied, again = (command("move", "pro", "1", "--effective", "now", *said) for said in ([], ["--apply"], []))

    assert [each.returncode for each in (dry, applied, again)] == [0, 0, 0], (dry.stderr, applied.stderr)
    assert "would move 3" in dry.stdout and "moved 3" in applied.stdout and "would move 0" in again.stdout
    assert on(2) == {"ada", "bob", "eve"}
    assert command("move", "pro", "1", token="").returncode == 1


def test_a_token_that_ends_ends_the_run(run, bought, send, on):
    def expiring(method, path, body, key):
        return Answer(401, {"message": "Unauthorized"}) if method == "PUT" else send(method, path, body, key)

    with pytest.raises(Refused, match="401"):
        run(by=Tollgate(expiring))
    assert on(2) == set()


def test_there_is_a_version_to_move_from_and_one_to_move_to(tollgate, bought, api, told):
    with pytest.raises(Wrong, match="version 2 of pro is the one in force"):
        cohort.move(tollgate, "pro", 2, "now", True, told.append)
    with pytest.raises(Refused, match="404 not_found"):
        cohort.move(tollgate, "pro", 7, "now", True, told.append)
    api("DELETE", "/plans/pro")
    with pytest.raises(Wrong, match="pro is not on sale"):
        cohort.move(tollgate, "pro", 1, "now", True, told.append)
