"""The door to a deployed Tollgate: when it asks again, and how long it waits."""

import pytest

from local.tollgate import TRIES, Answer, Refused, Tollgate, over_http


@pytest.fixture
def ask(waited):
    """What becomes of a request that is answered so, time after time."""

    def through(*answers):
        said = iter(answers)
        return Tollgate(lambda *request: next(said), waited.append).ask("PUT", "/plans/team", {}, "k")

    return through


DONE = Answer(200, {"version": 1})


@pytest.mark.parametrize("status", [409, 429, 503])
def test_whoever_is_told_when_to_come_again_comes_then(ask, waited, status):
    assert ask(Answer(status, {"code": "any"}, 5.0), Answer(status, {"code": "any"}, 1.0), DONE) == {"version": 1}
    assert waited == [5, 1]


def test_whoever_is_turned_away_without_a_time_waits_ever_longer(ask, waited):
    assert ask(Answer(429, {"message": "Too Many Requests"}), Answer(504, None), Answer(503, None), DONE)
    assert waited == [1, 2, 4]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(400, {"code": "malformed", "detail": "seats"}), "malformed"),
        (Answer(409, {"code": "idempotency_key_reused"}), "idempotency_key_reused"),
        (Answer(422, {"code": "not_changeable"}), "not_changeable"),
        (Answer(403, {"message": "Forbidden"}), "refused"),
        (Answer(302, None), "refused"),
        (Answer(500, {"message": "Internal Server Error"}), "refused"),
    ],
)
def test_what_would_be_refused_again_is_not_asked_again(ask, waited, answer, code):
    with pytest.raises(Refused) as refused:
        ask(answer, DONE)
    assert (refused.value.status, refused.value.code, waited) == (answer.status, code, [])


def test_it_gives_up_in_the_end(ask, waited):
    with pytest.raises(Refused, match="503 stripe_busy"):
        ask(*[Answer(503, {"code": "stripe_busy"}, 2.0)] * TRIES)
    assert waited == [2] * (TRIES - 1)


def test_a_host_that_does_not_answer_is_asked_again(waited):
    with pytest.raises(Refused, match=r"503 unreachable: 127\.0\.0\.1:1: ConnectionRefusedError"):
        Tollgate(over_http("http://127.0.0.1:1", "x"), waited.append).ask("GET", "/plans")
    assert waited == [1, 2, 4, 8, 16]
