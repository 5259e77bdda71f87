"""What is deployed: nothing of it is compiled on a cold start, and no function loads what it does not need."""

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from local import artifacts
from local.stack import BUILD, build
from local.tables import TABLES

FUNCTIONS = sorted(Path("functions").glob("*.py"))
NOWHERE = {"boto3", "s3transfer", "requests", "httpx", "aiohttp", "aws_xray_sdk", "aws_lambda_powertools"}
HOT = ("receive_webhook", "record_usage", "check_entitlement", "get_entitlements", "get_subscription")
DOCUMENTS = {"put_plan", "override_limits"}  # in terms of a plan's (offers.Document)
COMPILED_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: by the source's hash, and nobody looks at the source


@pytest.fixture(scope="module")
def built():
    build()
    return BUILD / "artifacts"


@pytest.fixture(scope="module")
def loaded(built):
    """The names of all modules that a function has loaded before its first request, of nothing but what is deployed."""
    folders = (artifacts.functions(built)[0], built / "Core/python", built / "Vendor/python")

    def load(function):
        paths = [str(folder) for folder in folders]
        script = f"import sys; sys.path[:0] = {paths}; import {function}, json; print(json.dumps(list(sys.modules)))"
        settings = {"PATH": os.environ["PATH"], "STACK": "s", "CUSTOMER_CLAIM": "sub", "DEFAULT_PLAN": ""} | TABLES
        done = subprocess.run([sys.executable, "-I", "-S", "-c", script], env=settings, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return {name.split(".")[0] for name in json.loads(done.stdout)} | set(json.loads(done.stdout))

    return load


def test_every_module_is_compiled_for_this_python_and_nobody_asks_its_source(built):
    sources = [path for path in built.rglob("*.py") if path.name != "template.py"]
    assert len(sources) > 2000
    for source in sources:
        compiled = Path(cache_from_source(str(source))).read_bytes()
        assert compiled[:4] == MAGIC_NUMBER and compiled[4:8] == COMPILED_UNCHECKED, source
        assert compiled[8:16] == source_hash(source.read_bytes()), source


def test_a_layer_holds_nothing_that_no_function_uses(built):
    vendor = built / "Vendor/python"
    assert not NOWHERE & {path.name for path in vendor.iterdir()}
    assert {path.name for path in (vendor / "botocore/data").iterdir() if path.is_dir()} == artifacts.services()
    assert artifacts.services() == {"dynamodb", "sqs", "secretsmanager", "scheduler", "events", "sesv2"}


def test_of_each_service_all_that_is_called_is_left_and_no_more(built):
    models = (built / "Vendor/python/botocore/data").glob("*/*/service-2.json")
    left = [json.loads(model.read_text())["operations"].keys() for model in models]
    assert len(left) == len(artifacts.services()) and all(left)
    assert frozenset().union(*left) == artifacts.operations()


@pytest.mark.parametrize("service", sorted(artifacts.services()))
@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1", "us-gov-west-1", "cn-north-1"])
def test_what_is_left_of_botocore_reaches_the_same_endpoints(built, service, region):
    script = "import sys; sys.path[:0] = sys.argv[1:2]; import botocore.session as b; "
    script += "print(b.get_session().create_client(*sys.argv[2:]).meta.endpoint_url)"
    settings = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    whole = str(Path(sys.modules["botocore"].__path__[0]).parent)
    urls = [
        subprocess.run(
            [sys.executable, "-c", script, place, service, region],
            env=settings,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for place in (str(built / "Vendor/python"), whole)
    ]
    assert urls[0] == urls[1] != ""


def test_aws_is_whom_amazon_signs_for(built, template):
    known = x509.load_pem_x509_certificates((built / "Vendor/python" / artifacts.ROOTS).read_bytes())
    names = {name.value for each in known for name in each.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    amazon = {f"Amazon Root CA {number}" for number in range(1, 5)}
    assert names == amazon | {"Starfield Services Root Certificate Authority - G2"}
    settings = template["Globals"]["Function"]["Environment"]["Variables"]
    assert settings["AWS_CA_BUNDLE"] == f"/opt/python/{artifacts.ROOTS}"


def test_or_whom_anybody_signs_for_if_that_is_wanted(tmp_path):
    shutil.copytree(BUILD / "artifacts", tmp_path / "built")
    artifacts.made_lean(tmp_path / "built", everyone=True)
    vendor = tmp_path / "built/Vendor/python"
    assert (vendor / artifacts.ROOTS).read_text() == (vendor / "certifi/cacert.pem").read_text()


@pytest.mark.parametrize("name", [name for name, *_ in artifacts.LATER])
def test_what_is_imported_later_is_missed_nowhere_else(built, name):
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", f"{built}/Vendor/python/{name}"]
    done = subprocess.run(ruff, capture_output=True, text=True)
    assert not done.returncode, done.stdout


@pytest.mark.parametrize("file", FUNCTIONS, ids=lambda file: file.stem)
def test_a_function_loads_only_what_it_needs(loaded, template, file):
    modules = loaded(file.stem)
    assert not NOWHERE & modules and "boto3.resources" not in modules
    assert ("stripe" in modules) == (file.stem != "receive_webhook" and _may_read_the_key(template, file.stem))
    assert ("pydantic" in modules) == (file.stem in DOCUMENTS)
    assert ("msgspec" in modules) == (_takes_a_body(file) and file.stem not in DOCUMENTS)
    assert "asyncio" not in modules and ("importlib.metadata" in modules) == ("pydantic" in modules)
    assert ("jinja2" in modules) == (file.stem == "send_mail")


@pytest.mark.parametrize("function", HOT)
def test_those_that_are_called_all_the_time_load_no_stripe(loaded, function):
    modules = loaded(function)
    assert not {"stripe", "boto3", "aws_xray_sdk"} & modules and "botocore.session" in modules


def _may_read_the_key(template, function):
    (resource,) = (
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource.get("Properties", {}).get("Handler") == f"{function}.handler"
    )
    return "StripeSecret" in json.dumps(resource["Policies"], default=str)


def _takes_a_body(file):
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    return any(keyword.arg == "body" for call in calls for keyword in call.keywords)
