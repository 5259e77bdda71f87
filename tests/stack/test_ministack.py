"""What `local/ministack_boot.py` changes about MiniStack, and what every user of it alone relies on."""

import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from local.ministack import ministack

WHERE = (
    "import os, shared\ndef handler(event, context):\n    print('here')\n    return os.path.realpath(shared.__file__)\n"
)


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


def test_all_functions_read_one_copy_of_a_layer(aws):
    functions = aws.client("lambda")
    role = aws.client("iam").create_role(RoleName="anyone", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    layer = functions.publish_layer_version(LayerName="l", Content={"ZipFile": archive(python__shared="")})
    common = {"Runtime": "python3.13", "Role": role, "Handler": "where.handler", "Layers": [layer["LayerVersionArn"]]}
    places = set()
    for name in ("one", "other"):
        functions.create_function(FunctionName=name, Code={"ZipFile": archive(where=WHERE)}, **common)
        places.add(json.loads(functions.invoke(FunctionName=name)["Payload"].read()))
    [place] = places
    assert place.endswith("/python/shared.py")


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
