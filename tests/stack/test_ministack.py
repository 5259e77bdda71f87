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

TASTE = """
import logging
def handler(event, context):
    records = [record["dynamodb"] for record in event["Records"]]
    names = [record["Keys"]["pk"]["S"] for record in records]
    logging.getLogger().info("tasted", extra={"names": names})
    if "death" in names:
        raise RuntimeError
    bad = [record["SequenceNumber"] for record, name in zip(records, names) if name == "poison"]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in bad]}
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


def test_numbers_are_added_with_all_their_digits(aws):
    tables = aws.client("dynamodb")
    keys = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    keys |= {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
    tables.create_table(TableName="numbers", **keys)
    most = 10**38 - 2
    for number in (most, 1):
        change = {"UpdateExpression": "ADD h :h", "ExpressionAttributeValues": {":h": {"N": str(number)}}}
        update = {"Update": {"TableName": "numbers", "Key": {"pk": {"S": "sum"}}} | change}
        tables.transact_write_items(TransactItems=[update])
    assert tables.get_item(TableName="numbers", Key={"pk": {"S": "sum"}})["Item"]["h"] == {"N": str(most + 1)}


@pytest.fixture
def logged(aws):
    """What a function has logged under a message, so far."""
    logs = aws.client("logs")

    def read(function: str, message: str) -> list[dict]:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        lines = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
        return [line for line in lines if line["message"] == message]

    return read


@pytest.mark.parametrize("bad", ["poison", "death"])
def test_what_fails_in_a_stream_is_tried_as_often_as_is_said_and_holds_nothing_up(aws, made, logged, bad):
    tables, queues, functions = aws.client("dynamodb"), aws.client("sqs"), aws.client("lambda")
    keys = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    keys |= {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    table = tables.create_table(TableName=bad, **keys, StreamSpecification=stream)["TableDescription"]
    dead = queues.create_queue(QueueName=bad)["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for name in ("before", bad, "after", "T#last", "passed over"):
        tables.put_item(TableName=bad, Item={"pk": {"S": name}})
    functions.create_function(
        FunctionName=bad,
        Code={"ZipFile": archive(main=TASTE)},
        Runtime="python3.13",
        Role=aws.client("iam").create_role(RoleName=bad, AssumeRolePolicyDocument="{}")["Role"]["Arn"],
        Handler="main.handler",
    )
    wanted = [{"prefix": name} for name in ("before", bad, "after", "T#")]
    functions.create_event_source_mapping(
        EventSourceArn=table["LatestStreamArn"],
        FunctionName=bad,
        StartingPosition="TRIM_HORIZON",
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"dynamodb": {"Keys": {"pk": {"S": wanted}}}})}]},
        FunctionResponseTypes=["ReportBatchItemFailures"],
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=2,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    [message] = queues.receive_message(QueueUrl=dead, WaitTimeSeconds=15)["Messages"]
    lost = json.loads(message["Body"])
    assert (lost["requestContext"]["condition"], lost["DDBStreamBatchInfo"]["batchSize"]) == (
        "RetryAttemptsExhausted",
        1,
    )
    deadline = time.monotonic() + 10
    batches: list[list[str]] = []
    while time.monotonic() < deadline and batches[-1:] != [["after", "T#last"]]:
        batches = [line["names"] for line in logged(bad, "tasted")]
    assert batches[0] == ["before", bad, "after", "T#last"] and batches[-1] == ["after", "T#last"]
    assert batches.count([bad]) == 3  # once, and two retries


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
