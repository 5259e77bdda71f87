"""Many callers at once, in threads of their own, against MiniStack's DynamoDB: moto is not made for threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from local.ministack import ministack


@pytest.fixture
def aws(furnish, monkeypatch):
    with ministack() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with furnish():
            yield


@pytest.fixture
def latency():
    return 0.02


@pytest.fixture
def at_once():
    """Calls all of them in the same moment, each in a thread of its own; answers in their order."""

    def race(*calls):
        barrier = Barrier(len(calls))

        def run(call):
            barrier.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(run, calls))

    return race
