"""The door to the product's own URL, which is told of what happens."""

import logging
import re
from functools import cache
from typing import NamedTuple

import certifi
import urllib3

from billing.errors import Unavailable

PATIENCE = urllib3.Timeout(connect=2, read=8)  # seconds

logging.getLogger("urllib3").setLevel(logging.WARNING)  # it tells whole URLs, and the query may be a secret


class Answer(NamedTuple):
    status: int
    retry_after: int  # seconds; 0: it has not said

    @property
    def taken(self) -> bool:
        return 200 <= self.status < 300


@cache
def pool() -> urllib3.PoolManager:
    return urllib3.PoolManager(ca_certs=certifi.where())


def post(url: str, body: bytes, headers: dict[str, str]) -> Answer:
    """What it answers, whatever; Unavailable if it does not. Nobody is followed elsewhere, and no body is read."""
    headers = headers | {"content-type": "application/json", "user-agent": "tollgate"}
    try:
        sent = {"body": body, "headers": headers, "timeout": PATIENCE, "retries": False, "preload_content": False}
        answer = pool().request("POST", url, **sent)
        answer.close()
        later = answer.headers.get("retry-after", "")
        return Answer(answer.status, int(later) if re.fullmatch("[0-9]{1,9}", later) else 0)
    except urllib3.exceptions.HTTPError:
        raise Unavailable("the product's URL did not answer") from None  # it would tell the URL
