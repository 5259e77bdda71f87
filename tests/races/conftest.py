"""Many callers at once, in threads of their own, against a DynamoDB of its own: moto is not made for threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest


@pytest.fixture
def aws(apart):
    with apart("ministack"):
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
