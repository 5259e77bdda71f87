"""The door to the log: a line for each thing that has happened. Lambda writes it as JSON, with all that it is told."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from billing.metrics import ANOMALIES, embedded

_logger = logging.getLogger("tollgate")
_request: ContextVar[str | None] = ContextVar("request", default=None)


def info(what: str, **keys) -> None:
    _say(logging.INFO, what, keys)


def warning(what: str, **keys) -> None:
    _say(logging.WARNING, what, keys)


def error(what: str, **keys) -> None:
    _say(logging.ERROR, what, keys)


def exception(what: str, **keys) -> None:
    """An error, with the exception that is being handled."""
    _say(logging.ERROR, what, keys, exc_info=True)


def counted(what: str, value: float = 1, **keys) -> None:
    """
    A metric's value: what has happened so often, or how much there is of it; `what` is in CamelCase.

    It is a WARNING, so that a log level that leaves out what is usual does not leave out the metrics.
    """
    warning(what, **keys | _measured(what, value))


def alarmed(what: str, **keys) -> None:
    """Something that somebody has to look at. What is to be done about `what` stands in docs/runbook.md."""
    error(what, **keys | _measured(ANOMALIES, 1))


@contextmanager
def of_request(id: str) -> Iterator[None]:
    """What is said meanwhile is of this request of API Gateway's."""
    before = _request.set(id)
    try:
        yield
    finally:
        _request.reset(before)


def _say(level: int, what: str, keys: dict, exc_info: bool = False) -> None:
    about = {"function_name": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"), "correlation_id": _request.get()}
    extra = {name: value for name, value in about.items() if value is not None} | keys
    _logger.log(level, what, extra=extra, exc_info=exc_info)


def _measured(metric: str, value: float) -> dict:
    return embedded(metric, value, os.environ["STACK"], time.time())
