"""What a body may say, and how it is told what is wrong with it."""

from typing import Annotated, Any

import pytest
from msgspec import Meta, field

from billing.bodies import Body, Name, matching
from billing.errors import Malformed


class Part(Body):
    size: Annotated[int, Meta(ge=1)]


class Order(Body):
    name: Name
    code: Annotated[str, matching(r"^[a-z]+$", max_length=3)] | None = None
    parts: list[Part] = field(default_factory=list)
    other: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.name == self.code:
            raise ValueError("a code is no name")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("{}", "name"),
        ('{"name": 1}', "name"),
        ('{"name": ""}', "name"),
        ('{"name": "ada\\n"}', "name"),
        ('{"name": "ada", "code": "abc\\n"}', "code"),
        ('{"name": "ada", "code": "abcd"}', "code"),
        ('{"name": "ada", "colour": "red"}', "colour"),
        ('{"name": "ada", "parts": [{"size": 1}, {"size": 0}]}', "parts.1.size"),
        ('{"name": "ada", "parts": [{"size": true}]}', "parts.0.size"),
        ('{"name": "ada", "parts": [{"size": "1"}]}', "parts.0.size"),
        ('{"name": "ada", "parts": [{"size": 1.0}]}', "parts.0.size"),
        ('{"name": "ada", "parts": [{}]}', "parts.0.size"),
        ('{"name": "ada", "parts": [{"size": 1, "colour": 1}]}', "parts.0.colour"),
        ('{"name": "ada", "parts": {}}', "parts"),
        ('{"name": "ada", "code": "ada"}', "body"),
        ('{"name": "ada"} ', None),
        ('{"name": "ada"} {}', "body"),
        ('{"name": "ada"', "body"),
        ('{"name": "\\ud800"}', "body"),
        ('{"name": "ada", "other": ["\\ud800"]}', "body"),
        ('{"name": "ada", "other": [NaN]}', "body"),
        ('{"name": "ada", "other": ' + "[" * 100_000, "body"),
        ("[]", "body"),
        ("null", "body"),
        ("", "body"),
    ],
)
def test_the_first_thing_that_is_wrong_is_told_by_its_place(given, place):
    if place is None:
        assert Order.read(given.encode()) == Order("ada")
        return
    with pytest.raises(Malformed) as wrong:
        Order.read(given.encode())
    assert [each["field"] for each in wrong.value.fields] == [place]


@pytest.mark.parametrize("given", [b"\xff", b'{"name": "\xff"}', b'{"name": "ada", "other": ["\xff"]}'])
def test_what_is_no_utf8_is_refused(given):
    with pytest.raises(Malformed):
        Order.read(given)


def test_what_is_of_any_kind_is_taken_as_it_is():
    read = Order.read(b'{"name": "ada", "other": [1e400, 123456789012345678901234567890, 1.0, {"a": null}]}')

    assert read.other == [float("inf"), 123456789012345678901234567890, 1.0, {"a": None}]


def test_the_same_is_said_the_same_however_it_was_written():
    assert Order.read(b' {"code": null, "name": "\\u0061da"}').said() == Order.read(b'{"name":"ada"}').said()
    assert Order.read(b'{"name":"ada"}').said() != Order.read(b'{"name":"bob"}').said()
