"""The real functions behind the tools' door, and what the tools say."""

import pytest

from local.tollgate import Answer, Tollgate


@pytest.fixture
def asked():
    """Every request that the tools have made, as "METHOD /path"."""
    return []


@pytest.fixture
def send(api, asked):
    def to_functions(method, path, body, key):
        asked.append(f"{method} {path}")
        answer = api(method, path, body, key=key, claims={"scope": "billing/admin billing/service"})
        later = answer.headers.get("retry-after")
        return Answer(answer.status, answer.json, float(later) if later else None)

    return to_functions


@pytest.fixture
def waited():
    return []


@pytest.fixture
def tollgate(send, waited):
    return Tollgate(send, waited.append)


class Told(list):
    def text(self):
        """What has been said since the last time, in words that one space parts."""
        words = " ".join(" ".join(line.split()) for line in self)
        self.clear()
        return words


@pytest.fixture
def told():
    return Told()
