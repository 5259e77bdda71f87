"""The local stack: the real template, built and deployed by the SAM CLI to a local AWS, with an issuer of tokens and a
Stripe beside it. It stands within one `with`, and leaves nothing but `.local/build`."""

import fcntl
import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from stripe import StripeClient

from local import artifacts
from local.issuer import openid_issuer
from local.ministack import ROOT, MiniStack, ministack
from local.routes import make_routes
from local.stripe_simulator import Simulator, serve

NAME = "tollgate-local"
BUCKET = "tollgate-local-artifacts"
BUILD = ROOT / ".local/build"
SAM = ROOT / ".local/venv/sam/bin/sam"
ARCH = {"aarch64": "arm64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())

logger = logging.getLogger("local.stack")


@dataclass(frozen=True)
class Stripe:
    """Whom the stack takes for Stripe. Without a webhook secret it registers its endpoint there, and learns one."""

    base: str
    api_key: str
    webhook_secret: str = ""
    simulator: Simulator | None = None


def other_stripe() -> Stripe | None:
    """The Stripe named by STRIPE_API_BASE, STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET: all three, or the simulator."""
    base, key, secret = (os.environ.get(f"STRIPE_{name}", "") for name in ("API_BASE", "API_KEY", "WEBHOOK_SECRET"))
    if not base:
        return None
    if not (key and secret):
        raise SystemExit("Another Stripe takes STRIPE_API_BASE, STRIPE_API_KEY and STRIPE_WEBHOOK_SECRET")
    if "_live_" in key:
        raise SystemExit("STRIPE_API_KEY is a live key: the local stack moves no real money")
    return Stripe(base, key, secret)


@dataclass(frozen=True)
class Stack:
    """The first nine are all that another process needs, and stand in `.local/stack.json` under these names."""

    api_url: str
    issuer: str
    audience: str
    aws_endpoint: str
    region: str
    stripe_base: str
    webhook_url: str
    webhook_secret: str
    stack_name: str
    outputs: dict[str, str]  # the template's
    client: Callable[..., Any]  # (service, **options as boto3 takes them): a boto3 client that may do everything
    token: Callable[..., str]  # (customer=None, scope=None, **claims): what Issuer.token promises
    stripe: Stripe

    @property
    def simulator(self) -> Simulator:
        """Where faults are ordered."""
        assert self.stripe.simulator, "another Stripe stands in the simulator's place"
        return self.stripe.simulator

    def published(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name) for field in fields(self)[:9]}


@contextmanager
def local_stack(stripe: Stripe | None = None, **parameters: str) -> Iterator[Stack]:
    """A fresh one. `parameters` are the template's, over those that make it local; no `stripe` means the simulator."""
    with ministack() as aws, openid_issuer() as tokens, _stripe(stripe) as theirs:
        secret = _keep(aws, theirs, [])
        with _timed("built"):
            build()
        with _timed("deployed"):
            usual = {"Stage": "local", "Arch": ARCH, "TokenIssuer": tokens.url, "TokenAudience": tokens.audience}
            usual |= {"CustomerClaim": "sub", "StripeSecret": secret, "StripeApiBase": theirs.base}
            if sender := parameters.get("MailFrom"):
                aws.client("sesv2").create_email_identity(EmailIdentity=sender)
            outputs = _deploy(aws, usual | parameters)
        with _timed("routed"):
            api = make_routes(aws, NAME)
        api_url = f"{aws.endpoint}/_aws/execute-api/{api}/$default"
        webhook_url = f"{api_url}/webhooks/stripe"
        # Before the first call: the functions remember for a minute what the secret says.
        webhook_secret = theirs.webhook_secret or _register(theirs, webhook_url)
        _keep(aws, theirs, [webhook_secret])
        yield Stack(
            api_url=api_url,
            issuer=tokens.url,
            audience=tokens.audience,
            aws_endpoint=aws.endpoint,
            region=aws.region,
            stripe_base=theirs.base,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            stack_name=NAME,
            outputs=outputs,
            client=aws.client,
            token=tokens.token,
            stripe=theirs,
        )


def build() -> None:
    """What `make build` makes of the sources as they are; nothing to do if it made it already."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may want it at once
        built, sources = BUILD / "digest", _digest()
        if built.exists() and built.read_text() == sources:
            return
        _sam("build", "--parameter-overrides", f"Arch={ARCH}", env={"AWS_DEFAULT_REGION": "eu-west-1"})
        artifacts.made_lean(BUILD / "artifacts")
        built.write_text(sources)


def _digest() -> str:
    kept = [ROOT / "template.yaml", ROOT / "samconfig.toml", ROOT / "local/artifacts.py"]
    kept += [path for folder in ("functions", "layers") for path in sorted((ROOT / folder).rglob("*"))]
    said = sha256(ARCH.encode())
    for path in kept:
        if path.is_file() and "__pycache__" not in path.parts:
            said.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return said.hexdigest()


def _deploy(aws: MiniStack, parameters: dict[str, str]) -> dict[str, str]:
    aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws.region})
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    arguments = ["--stack-name", NAME, "--s3-bucket", BUCKET, "--parameter-overrides", *overrides]
    _sam("deploy", *arguments, env=aws.environment | {"SAM_CLI_POLL_DELAY": "0.3"})
    [stack] = aws.client("cloudformation").describe_stacks(StackName=NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _sam(command: str, *arguments: str, env: dict[str, str]) -> None:
    """The caller's own AWS accounts and profiles stay out of it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = f"{SAM.parent}:{os.environ['PATH']}"  # `sam build` looks for a python3.13 with pip there
    done = subprocess.run(
        [SAM, command, "--config-env", "local", *arguments],
        cwd=ROOT,
        env=inherited | {"PATH": path, "SAM_CLI_TELEMETRY": "0"} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"sam {command} failed:\n{done.stdout}")


@contextmanager
def _stripe(other: Stripe | None) -> Iterator[Stripe]:
    if other:
        yield other
        return
    simulator = Simulator(api_key="sk_test_local")
    server = serve(simulator)
    try:
        yield Stripe(f"http://127.0.0.1:{server.server_port}", "sk_test_local", simulator=simulator)
    finally:
        server.shutdown()


def _register(stripe: Stripe, url: str) -> str:
    client = StripeClient(stripe.api_key, base_addresses={"api": stripe.base})
    endpoint = client.v1.webhook_endpoints.create(
        {"url": url, "enabled_events": ["*"], "api_version": "2026-10-28.endive"}
    )
    assert endpoint.secret  # told once, at the creation
    return endpoint.secret


def _keep(aws: MiniStack, stripe: Stripe, webhook_secrets: list[str]) -> str:
    """The secret the template's StripeSecret names, new or anew; answers its ARN."""
    secrets, said = aws.client("secretsmanager"), {"api_key": stripe.api_key, "webhook_secrets": webhook_secrets}
    try:
        return secrets.create_secret(Name="tollgate/stripe", SecretString=json.dumps(said))["ARN"]
    except secrets.exceptions.ResourceExistsException:
        return secrets.put_secret_value(SecretId="tollgate/stripe", SecretString=json.dumps(said))["ARN"]


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    logger.info("%s in %.1f s", what, time.monotonic() - start)
