"""Starts MiniStack, in its own venv. Its standard input is a pipe that the starter holds: whatever ends the starter,
even SIGKILL, ends the pipe, and with it MiniStack, its Lambda workers (its process group) and its files."""

# pyright: reportMissingImports=false

import decimal
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import zipfile
from email.utils import parseaddr
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from ministack.app import main
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import dynamodb, lambda_svc
from ministack.services.cloudformation import changesets


def end_with_starter() -> None:
    sys.stdin.read()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def parameters_reach_sam() -> None:
    """AWS gives the SAM transform the values of the stack's parameters, MiniStack none: it would see the defaults only,
    and those of lists unsplit.

    What SAM decides by a value comes out wrong then: no CORS for any AllowedOrigins. So the values become the defaults.
    """
    transform = changesets._apply_transforms

    def transform_with_values(template, provided=None, previous=None):
        values = {parameter["Key"]: parameter["Value"] for parameter in provided or []}
        for name, declared in template.get("Parameters", {}).items():
            value = values.get(name, declared.get("Default"))
            if declared["Type"] == "CommaDelimitedList" and isinstance(value, str):
                value = [each for each in value.split(",") if each]
            if value is not None:
                declared["Default"] = value
        return transform(template, provided, previous)

    changesets._apply_transforms = transform_with_values


def schedules_have_a_group() -> None:
    """
    A schedule is `schedule/<group>/<name>` to IAM. MiniStack reads its path alone, and the group of one that is made or
    changed is in the body: it would refuse whoever may make schedules in a group of their own.
    """
    resource_of = iam_actions.extract_resource_arn

    def with_group(service, method, path, headers, body, *others):
        found = resource_of(service, method, path, headers, body, *others)
        if service == "scheduler" and method in ("POST", "PUT") and body:
            return found.replace(":schedule/default/", f":schedule/{json.loads(body).get('GroupName', 'default')}/")
        return found

    iam_actions.extract_resource_arn = with_group


def mails_have_a_sender() -> None:
    """To IAM a mail is sent by an identity, from an address. MiniStack asks for the right to send any, from nowhere."""
    resource_of, known = iam_actions.extract_resource_arn, iam_evaluator._resolve_condition_key

    def with_sender(service, method, path, headers, body, query, region, account, *others):
        if service == "ses" and path == "/v2/email/outbound-emails" and method == "POST":
            _, address = parseaddr(json.loads(body).get("FromEmailAddress", ""))
            return f"arn:aws:ses:{region}:{account}:identity/{address}"
        return resource_of(service, method, path, headers, body, query, region, account, *others)

    def with_address(key, context):
        if key.lower() == "ses:fromaddress":
            return context.resource_arn.partition(":identity/")[2]
        return known(key, context)

    iam_actions.extract_resource_arn, iam_evaluator._resolve_condition_key = with_sender, with_address


def numbers_have_38_digits() -> None:
    """As DynamoDB's have. Python's have 28 unless told: MiniStack would round a sum to them, and tell 3.1E+28."""
    decimal.DefaultContext.prec = decimal.getcontext().prec = 38


class Stream:
    """
    What AWS does with a batch of a table's stream that fails, whole or from one record on: what stands before that is
    done; the rest comes again in halves, each as often as is said, and then goes to the queue of failures.

    MiniStack takes records that were answered as failures for done, and a batch that died comes for ever; all of it on
    the one thread that the queues wait for, too.
    """

    streams: ClassVar[dict[str, "Stream"]] = {}

    def __init__(self) -> None:
        self.attempts, self.most, self.later = 0, None, 0.0

    @classmethod
    def poll(cls) -> bool:
        """In place of MiniStack's own; answers whether there was anything."""
        busy = False
        for account, region, source in lambda_svc._iter_all_esms():
            scope = lambda_svc._request_account_id, lambda_svc._request_region
            tokens = scope[0].set(account), scope[1].set(region)
            try:
                if source.get("Enabled", True) and ":dynamodb:" in source["EventSourceArn"]:
                    busy = cls.streams.setdefault(source["UUID"], cls()).take(source) or busy
            finally:
                for variable, token in zip(scope, tokens, strict=True):
                    variable.reset(token)
        return busy

    def take(self, source: dict) -> bool:
        mapping, positions = source["UUID"], lambda_svc._dynamodb_stream_positions
        _, table, *_ = source["EventSourceArn"].split("/")
        function, _ = lambda_svc._get_func_record_for_qualifier(source["FunctionName"], source.get("Qualifier"))
        if not function or lambda_svc._esm_inflight.get(mapping) or time.monotonic() < self.later:
            return False
        if (dynamodb._tables.get(table) or {}).get("LatestStreamArn") != source["EventSourceArn"]:
            return False
        begins = dynamodb.stream_start_position(table)
        position = max(positions.get(mapping, begins), begins)
        batch = dynamodb.stream_records_since(table, position, self.most or source.get("BatchSize", 100))
        if batch:
            lambda_svc._dispatch_esm_batch(mapping, self.hand, source, function, batch, position)
        return bool(batch)

    def hand(self, source: dict, function: dict, batch: list, position: int) -> None:
        wanted = lambda_svc._apply_filter_criteria(batch, source)
        result = lambda_svc._execute_function(function, {"Records": wanted}) if wanted else {}
        failed = self.first_failure(source, result, batch)
        positions, mapping = lambda_svc._dynamodb_stream_positions, source["UUID"]
        positions[mapping] = position + failed
        rest = batch[failed:]
        if failed:
            self.attempts, self.most = 0, None
        if not rest:
            return
        if source.get("BisectBatchOnFunctionError") and len(rest) > 1:
            self.most = (len(rest) + 1) // 2
        else:
            self.most, self.attempts = len(rest), self.attempts + 1
        if 0 <= int(source.get("MaximumRetryAttempts", -1)) < self.attempts:
            arn = source["EventSourceArn"]
            lambda_svc._send_ddb_stream_failure_record(source, function, rest, arn, result, "RetryAttemptsExhausted")
            positions[mapping] = position + len(batch)
            self.attempts, self.most = 0, None
        self.later = time.monotonic() + min(0.05 * 2**self.attempts, 2) if self.attempts else 0.0

    def first_failure(self, source: dict, result: dict, batch: list) -> int:
        """Its place; behind the last, if there is none."""
        if result.get("error"):
            return 0
        answer = result.get("body")
        said = json.loads(answer) if isinstance(answer, str | bytes) and answer else answer
        if "ReportBatchItemFailures" not in source.get("FunctionResponseTypes", []) or not isinstance(said, dict):
            return len(batch)
        failures = {each["itemIdentifier"] for each in said.get("batchItemFailures", [])}
        places = [place for place, each in enumerate(batch) if each["dynamodb"]["SequenceNumber"] in failures]
        return min(places, default=0 if failures else len(batch))


class SharedLayer(zipfile.ZipFile):
    """AWS mounts a layer, read-only and already unpacked. MiniStack unpacks it for every worker that starts, and each
    compiles the same modules again: more than half of a cold start. So all workers get a link to the same copy."""

    unpacking = threading.Lock()

    def extractall(self, path: str, *_) -> None:
        content = hashlib.sha256(Path(str(self.filename)).read_bytes()).hexdigest()
        shared = Path(os.environ["TMPDIR"], "unpacked", content)
        with self.unpacking:
            if not shared.exists():
                super().extractall(shared)
        os.rmdir(path)
        os.symlink(shared, path)


# AWS's Python runtime hangs a handler on the root logger; with LogFormat JSON it takes INFO and up, and writes `extra`
# too. MiniStack's has none: what the functions say would be lost, and it waits 50 ms for a line of each call.
LOGGING = """
import json, logging

class Json(logging.Formatter):
    usual = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

    def format(self, record):
        said = {"level": record.levelname, "message": record.getMessage(), "logger": record.name}
        said |= {name: value for name, value in vars(record).items() if name not in self.usual}
        if record.exc_info:
            said["stackTrace"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)

handler = logging.StreamHandler()
handler.setFormatter(Json())
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.INFO)
"""


os.environ.pop("LOG_LEVEL", None)  # MiniStack has read it; Powertools would take it for the functions' own
threading.Thread(target=end_with_starter, daemon=True).start()
parameters_reach_sam()
schedules_have_a_group()
mails_have_a_sender()
numbers_have_38_digits()
lambda_svc._poll_dynamodb_streams = Stream.poll
lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": SharedLayer})
lambda_runtime._PYTHON_WORKER_SCRIPT = LOGGING + lambda_runtime._PYTHON_WORKER_SCRIPT
main()
