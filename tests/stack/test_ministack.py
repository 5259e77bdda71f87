"""What `local/ministack_boot.py` changes about MiniStack, and what every user of it alone relies on."""

import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from local.ministack import ministack

WHERE = """
import os, shared
def handler(event, context):
    return os.path.realpath(shared.__file__)
"""
TALK = """
import logging
def handler(event, context):
    logging.getLogger().debug("asked")
    logging.getLogger().info("changed", extra={"seats": 7, "customer": "ada"})
"""


@pytest.fixture(scope="module")
def aws():
    with ministack() as aws:
        yield aws


def archive(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in files.items():
            file.writestr(name.replace("__", "/") + ".py", text)
    return content.getvalue()


@pytest.fixture(scope="module")
def made(aws):
    """A function of one file, `main.py`, called once; answers what it answered."""
    functions = aws.client("lambda")
    role = aws.client("iam").create_role(RoleName="anyone", AssumeRolePolicyDocument="{}")["Role"]["Arn"]

    def call(name: str, main: str, layers: Sequence[str] = ()):
        common = {"Runtime": "python3.13", "Role": role, "Handler": "main.handler", "Layers": layers}
        functions.create_function(FunctionName=name, Code={"ZipFile": archive(main=main)}, **common)
        return json.loads(functions.invoke(FunctionName=name)["Payload"].read())

    return call


def test_all_functions_read_one_copy_of_a_layer(aws, made):
    files = archive(python__shared="")
    layer = aws.client("lambda").publish_layer_version(LayerName="l", Content={"ZipFile": files})["LayerVersionArn"]
    [place] = {made(name, WHERE, [layer]) for name in ("one", "other")}
    assert place.endswith("/python/shared.py")


def test_what_a_function_logs_is_kept_as_json_with_its_extras(aws, made):
    made("talker", TALK)
    logs, deadline = aws.client("logs"), time.monotonic() + 5
    lines: list[str] = []
    while time.monotonic() < deadline and not lines:
        events = logs.filter_log_events(logGroupName="/aws/lambda/talker")["events"]
        lines = [event["message"] for event in events if event["message"].startswith("{")]
    assert [json.loads(line) for line in lines] == [
        {"level": "INFO", "message": "changed", "logger": "root", "seats": 7, "customer": "ada"}
    ]


def test_lists_among_the_parameters_reach_sam_as_lists(stack):
    # SAM writes CORS into the API, and knows no origins but the parameter's; the rest is API Gateway's own.
    [api] = stack.client("apigatewayv2").get_apis()["Items"]
    assert api["CorsConfiguration"]["AllowOrigins"] == ["https://app.example.com"]


def test_iam_is_enforced(aws):
    keys = {"aws_access_key_id": "AKIAUNKNOWN000000000", "aws_secret_access_key": "x"}
    stranger = aws.client("dynamodb", **keys)
    with pytest.raises(stranger.exceptions.ClientError, match=r"UnrecognizedClient|InvalidClientTokenId|AccessDenied"):
        stranger.list_tables()


def test_nothing_outlives_whoever_started_it():
    killed = """
import os
from local.ministack import ministack
with ministack() as aws:
    print(aws.endpoint, aws.home, flush=True)
    os.kill(os.getpid(), 9)
"""
    run = subprocess.run([sys.executable, "-c", killed], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    endpoint, home = run.stdout.split()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (Path(home).exists() or _answers(endpoint)):
        time.sleep(0.05)
    assert not Path(home).exists() and not _answers(endpoint)


def _answers(endpoint: str) -> bool:
    try:
        urlopen(f"{endpoint}/_ministack/ready", timeout=1).close()
    except (URLError, ConnectionError):
        return False
    return True
