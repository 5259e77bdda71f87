"""Tests that take longer than all others together: what reaches the functions is as in theirs."""

from moto.dynamodb.models.dynamo_type import DynamoType

from tests.functions.conftest import drain, hear, swept

__all__ = ["drain", "hear", "swept"]

# moto copies all that is on record for each transaction. Values are never changed in place, so they need no copies.
DynamoType.__deepcopy__ = lambda self, memo: self
