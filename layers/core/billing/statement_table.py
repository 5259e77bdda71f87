"""Statements on record: each is written once, with the close of what it states; then where it was billed."""

import os
from dataclasses import asdict

from billing import dynamodb
from billing.statements import Statement

TABLE = os.environ["USAGE_TABLE"]


def of(customer: str, counter: str, start: int) -> list[Statement]:
    """Of one period, the first first."""
    return [_statement(item) for item in dynamodb.query(TABLE, f"S#{customer}", f"{counter}#{start:012}#")]


def around(customer: str, metric: str, at: int) -> list[Statement]:
    """
    Of the period that an instant is of. That of a trial is counted back from its end, so it may begin before one of
    another subscription has ended.
    """
    asked = (f"{metric}{begins}" for begins in ("#", "~"))
    stated = [_statement(item) for begins in asked for item in dynamodb.query(TABLE, f"S#{customer}", begins)]
    found = [each for each in stated if each.start <= at < each.end]
    first = min(found, key=lambda each: each.end, default=None)
    return [each for each in found if first and each.start == first.start]


def put(statement: Statement) -> dict:
    return dynamodb.put(TABLE, _key(statement) | asdict(statement), "attribute_not_exists(pk)")


def bill(statement: Statement, where: str) -> None:
    """It is at Stripe: on an invoice, or on the balance; or it never will be."""
    dynamodb.transact(
        [dynamodb.update(TABLE, _key(statement), "SET billed = :where", "attribute_exists(pk)", where=where)]
    )


def _key(statement: Statement) -> dict:
    return {"pk": f"S#{statement.customer}", "sk": f"{statement.counter}#{statement.start:012}#{statement.number:04}"}


def _statement(item: dict) -> Statement:
    return Statement(**{name: value for name, value in item.items() if name not in ("pk", "sk")})
