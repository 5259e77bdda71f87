"""The door to the product's own URL, which is told of what happens."""

import logging
import re
from functools import cache
from typing import NamedTuple

import requests

from billing.errors import Unavailable

TIMEOUT = 2, 8  # seconds to connect, and to be answered

logging.getLogger("urllib3").setLevel(logging.WARNING)  # it tells whole URLs, and the query may be a secret


class Answer(NamedTuple):
    status: int
    retry_after: int  # seconds; 0: it has not said

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


@cache
def session() -> requests.Session:
    """Knows nothing of proxies or passwords that the environment might name."""
    session = requests.Session()
    session.trust_env = False
    return session


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """What it answers, whatever; Unavailable if it does not. Nobody is followed elsewhere, and no body is read."""
    headers = headers | {"content-type": "application/json", "user-agent": "tollgate"}
    sent = {"data": body, "headers": headers, "timeout": TIMEOUT, "allow_redirects": False, "stream": True}
    try:
        with session().post(url, **sent) as answer:
            later = answer.headers.get("retry-after", "")
            return Answer(answer.status_code, int(later) if re.fullmatch("[0-9]{1,9}", later) else 0)
    except requests.RequestException:
        raise Unavailable("the product's URL did not answer") from None  # it would tell the URL
