"""The door to a deployed Tollgate: its HTTP API, asked again where it says that this is of use."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 35  # API Gateway gives up after 30
TRIES = 6
LONGEST_S = 120  # that an answer can make us wait
PASSING = {429, 502, 503, 504}  # beside any answer that says when to come again
HERE = {"localhost", "127.0.0.1", "::1"}


class Answer(NamedTuple):
    status: int
    content: Any  # JSON; None where there is none
    retry_after: float | None = None  # seconds


type Send = Callable[[str, str, dict | None, str | None], Answer]  # method, path, body, Idempotency-Key


class Wrong(Exception):
    """What the operator has to put right before anything can be done."""


class Refused(Exception):
    """An answer that is no 2xx, and that asking again has not changed. `code` is Tollgate's own, if it gave one."""

    def __init__(self, status: int, code: str, detail: str):
        super().__init__(f"{status} {code}{detail and ': '}{detail}")
        self.status, self.code, self.detail = status, code, detail

    @property
    def of_token(self) -> bool:
        """Whether nothing else that is asked with this token will be answered either."""
        return self.status in (401, 403)


class Tollgate:
    def __init__(self, send: Send, pause: Callable[[float], None] = time.sleep):
        self.send, self.pause = send, pause

    def ask(self, method: str, path: str, body: dict | None = None, key: str | None = None) -> Any:
        """
        What is answered. Whoever asks may be asked to come again, after `Retry-After` or ever longer: so whatever is
        asked must be safe to ask twice.
        """
        for patience in range(TRIES):
            answer = self.send(method, path, body, key)
            if 200 <= answer.status < 300:
                return answer.content
            if answer.retry_after is None and answer.status not in PASSING:
                break
            if patience < TRIES - 1:
                self.pause(min(LONGEST_S, 2**patience if answer.retry_after is None else answer.retry_after))
        said = answer.content if isinstance(answer.content, dict) else {}
        raise Refused(answer.status, said.get("code", "refused"), said.get("detail") or said.get("message") or "")


def over_http(url: str, token: str) -> Send:
    """The token goes to that host alone, encrypted unless it is this machine; no redirection is followed."""
    base = urlsplit(url)
    if base.scheme not in ("https", "http") or not base.hostname or base.username or base.query:
        raise Wrong("TOLLGATE_URL is the stack's output ApiUrl: https://...")
    if base.scheme == "http" and base.hostname not in HERE:
        raise Wrong("TOLLGATE_URL is not https, and a token is not sent in the clear")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise Wrong("TOLLGATE_TOKEN is no token: one line, without spaces")  # and is not repeated here
    connect = HTTPSConnection if base.scheme == "https" else HTTPConnection

    def send(method: str, path: str, body: dict | None, key: str | None) -> Answer:
        headers = ({"authorization": f"Bearer {token}"} if token else {}) | ({"idempotency-key": key} if key else {})
        said = None if body is None else json.dumps(body)
        if said is not None:
            headers["content-type"] = "application/json"
        connection = connect(base.netloc, timeout=TIMEOUT_S)
        try:
            connection.request(method, base.path.rstrip("/") + path, said, headers)
            answer = connection.getresponse()
            return Answer(answer.status, _json(answer.read()), _seconds(answer.headers.get("retry-after")))
        except (OSError, HTTPException) as failure:
            return Answer(503, {"code": "unreachable", "detail": f"{base.netloc}: {type(failure).__name__}"})
        finally:
            connection.close()

    return send


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise Wrong(message)  # argparse would exit with 2, which means differences


def operate(work: Callable[[Tollgate], int]) -> int:
    """Does an operator's work at TOLLGATE_URL with TOLLGATE_TOKEN. Its exit code; 1, and why, if it cannot be done."""
    try:
        url, token = (os.environ.get(f"TOLLGATE_{name}", "") for name in ("URL", "TOKEN"))
        if not token:
            raise Wrong("TOLLGATE_TOKEN is missing: a token of scope billing/admin")
        tollgate = Tollgate(over_http(url, token))
        say(url)
        return work(tollgate)
    except (Wrong, Refused) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def say(line: str) -> None:
    print(line, flush=True)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _seconds(said: str | None) -> float | None:
    """A date, which Tollgate never sends, counts as not said."""
    return float(said) if said and said.isascii() and said.isdigit() else None
