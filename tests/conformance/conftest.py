"""What we ask of the store is so of three that know nothing of each other: moto, MiniStack and DynamoDB Local."""

from pathlib import Path

import pytest
from moto import mock_aws

from tests.functions import conftest as shared

buy, sell, use, used = shared.buy, shared.sell, shared.use, shared.used


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("conformance"))


@pytest.fixture(params=["moto", "ministack", "dynamodb_local"])
def store(request):
    return request.param


@pytest.fixture
def aws(store, request, furnish):
    if store == "moto":
        with mock_aws(), furnish():
            yield
    else:
        with request.getfixturevalue("apart")(store):
            yield
