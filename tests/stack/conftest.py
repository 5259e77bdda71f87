"""The real template on a local AWS, once for all tests of this folder: they run in one worker of pytest-xdist."""

import json
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from local.stack import Stack, local_stack

ORIGIN = "https://app.example.com"


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("stack"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with local_stack(AllowedOrigins=ORIGIN) as stack:
        yield stack


class Answer(NamedTuple):
    status: int
    headers: HTTPMessage
    json: Any


@pytest.fixture(scope="session")
def call(stack) -> Callable[..., Answer]:
    """call("PUT", "/subscription/seats", token, {"quantity": 3}, {"idempotency-key": "k"}): any status is an answer."""

    def send(method: str, path: str, token: str | None = None, body: Any = None, headers: dict | None = None) -> Answer:
        said = {"authorization": f"Bearer {token}"} if token else {}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(stack.api_url + path, content, said | (headers or {}), method=method)
        try:
            answer: Any = urlopen(request, timeout=40)
        except HTTPError as refused:
            answer = refused
        with answer:
            text = answer.read()
        return Answer(answer.status, answer.headers, json.loads(text) if text else None)

    return send
