"""
What `sam build` made is made lean: `python -m local.artifacts [FOLDER]`. What Lambda has to load on a cold start is
there compiled, and what no function uses is not there at all.

Nothing may be written next to the code on Lambda, and the times of a zip's files do not match: a module that is not
compiled, or whose .pyc asks for its source's time, is compiled anew by every cold start, which takes as long again.
"""

import argparse
import compileall
import gzip
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from local.ministack import ROOT

BUILT = ROOT / ".aws-sam/build"
LAYERS = ("Core", "Vendor")
UNUSED = ("requests", "charset_normalizer")  # Stripe's library asks for them, and calls by urllib3 (gateway.Wire)
SERVICES = re.compile(r'aws\.client\("([a-z0-9]+)"')
CALLED = re.compile(r"\b(?:db|sqs|events|scheduler|ses|manager)\(\)\.(?!exceptions)([a-z_]+)\b")
UNREAD = """
class ClientMethodDocstring(str):
    def __new__(cls, *_, **__):
        return super().__new__(cls)


PaginatorDocstring = WaiterDocstring = ClientMethodDocstring
"""
LATER = (  # what is imported at the top of a file, and the one line there that it is for, which nobody comes to
    ("stripe/_http_client.py", "import asyncio", "return asyncio.sleep(secs)"),
    ("urllib3/http2/__init__.py", "from importlib.metadata import version", 'h2_version = version("h2")'),
)
ROOTS = "aws-roots.pem"  # AWS_CA_BUNDLE of the template
AMAZON = re.compile(r"^# Subject: CN=(Amazon Root CA \d|Starfield Services Root Certificate Authority - G2) O=", re.M)
KEPT = {"endpoints.json", "partitions.json", "sdk-default-configuration.json", "_retry.json"}
SAID = ("examples-1.json", "paginators-1.json", "waiters-2.json")  # of a service, and never asked for


def made_lean(built: Path, everyone: bool = False) -> None:
    """Again is no harm. `everyone`: of AWS, every root certificate is trusted that others trust, not Amazon's alone."""
    vendor = built / "Vendor/python"
    for name in UNUSED:
        shutil.rmtree(vendor / name, ignore_errors=True)
    shutil.rmtree(vendor / "bin", ignore_errors=True)
    _trust(vendor, everyone)
    for name, statement, use in LATER:
        _import_later(vendor / name, statement, use)
    _trim(vendor / "botocore/data")
    _without_docs(vendor / "botocore/docs")
    for layer in LAYERS:
        _compile(built / layer / "python", "/opt/python")
    first, *others = functions(built)
    _compile(first, "/var/task")
    for other in others:  # all have the same folder
        shutil.copytree(first / "__pycache__", other / "__pycache__", dirs_exist_ok=True)


def functions(built: Path) -> list[Path]:
    """A folder for each."""
    return sorted(path for path in built.iterdir() if path.is_dir() and path.name not in LAYERS)


@cache
def services() -> frozenset[str]:
    """Those of AWS's that our doors open, by botocore's names."""
    doors = (ROOT / "layers/core/billing").glob("*.py")
    return frozenset(found for door in doors for found in SERVICES.findall(door.read_text()))


@cache
def operations() -> frozenset[str]:
    """Those that our doors call, of whatever service, in CamelCase."""
    doors = (ROOT / "layers/core/billing").glob("*.py")
    found = {name for door in doors for name in CALLED.findall(door.read_text())}
    return frozenset("".join(part.capitalize() for part in name.split("_")) for name in found)


def sizes(built: Path) -> list[tuple[str, int, int]]:
    """What is in the layers, by package, and one function: name, bytes of it, and files; the largest first."""
    found: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for layer in LAYERS:
        for path in _files(built / layer / "python"):
            name = path.relative_to(built / layer / "python").parts[0]
            found[name] += path.stat().st_size
            files[name] += 1
    for path in _files(functions(built)[0]):
        found["(a function)"] += path.stat().st_size
        files["(a function)"] += 1
    return [(name, size, files[name]) for name, size in found.most_common()]


def _trust(vendor: Path, everyone: bool) -> None:
    """
    Those whom botocore trusts. To read all root certificates takes 15 ms, for each service's first connection; AWS's
    certificates are signed by Amazon's five alone (docs: Amazon Trust Services, repository).
    """
    known = re.split(r"^(?=# Issuer: )", (vendor / "certifi/cacert.pem").read_text(), flags=re.MULTILINE)
    trusted = [each for each in known if everyone or AMAZON.search(each)]
    if len(trusted) < 5:
        raise SystemExit("certifi lacks roots of Amazon's: make build ROOTS=all")
    (vendor / ROOTS).write_text("".join(trusted))


def _import_later(file: Path, statement: str, use: str) -> None:
    text, there = file.read_text(), re.compile(rf"^( +)({re.escape(use)})$", re.MULTILINE)
    if len(there.findall(text)) != 1:
        raise SystemExit(f"{file}: is not as it was")
    if f"\n{statement}\n" in text:
        file.write_text(there.sub(rf"\1{statement}\n\n\1\2", text.replace(f"\n{statement}\n", "\n")))


def _compile(source: Path, place: str) -> None:
    """For where it will be: what a traceback tells is a path of Lambda's."""
    mode = PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(
        source, quiet=1, stripdir=str(source), prependdir=place, invalidation_mode=mode, workers=0
    ):
        raise SystemExit(f"{source}: cannot be compiled")


def _trim(data: Path) -> None:
    """botocore knows 400 services, and looks through all their folders for each client that it makes."""
    for path in data.iterdir():
        if path.is_dir() and path.name not in services():
            shutil.rmtree(path)
        elif path.is_dir():
            *older, _ = sorted(path.iterdir())
            for version in older:
                shutil.rmtree(version)
            for name in SAID:
                for file in path.glob(f"*/{name}*"):
                    file.unlink()
        elif path.name.removesuffix(".gz") not in KEPT:
            path.unlink()
    for service in services():
        _only_what_is_called(data / service)
    known = _read(data, "endpoints.json")
    prefixes = {_prefix(data / service) for service in services()}
    for partition in known["partitions"]:
        partition["services"] = {name: said for name, said in partition["services"].items() if name in prefixes}
    for file in data.glob("endpoints.json*"):
        file.unlink()
    (data / "endpoints.json").write_text(json.dumps(known, separators=(",", ":"), sort_keys=True))


def _only_what_is_called(service: Path) -> None:
    """Of a service's model, which is read whole for each client: our operations, and the shapes that they name."""
    (version,) = service.iterdir()
    model = _read(version, "service-2.json")
    model["operations"] = {name: said for name, said in model["operations"].items() if name in operations()}
    kept: dict[str, dict] = {}
    named = list(_shapes(model["operations"]))
    while named:
        if (name := named.pop()) not in kept:
            kept[name] = model["shapes"][name]
            named += _shapes(kept[name])
    model["shapes"] = kept
    for file in version.glob("service-2.json*"):
        file.unlink()
    (version / "service-2.json").write_text(json.dumps(_undocumented(model), separators=(",", ":"), sort_keys=True))


def _shapes(said: Any) -> Iterator[str]:
    """Names of shapes, wherever one is meant."""
    if isinstance(said, dict):
        if isinstance(said.get("shape"), str):
            yield said["shape"]
        for each in said.values():
            yield from _shapes(each)
    elif isinstance(said, list):
        for each in said:
            yield from _shapes(each)


def _undocumented(said: Any) -> Any:
    """A member may be called `documentation`, too: then it is no text."""
    match said:
        case dict():
            kept = {name: each for name, each in said.items() if name != "documentation" or isinstance(each, dict)}
            return {name: _undocumented(each) for name, each in kept.items()}
        case list():
            return [_undocumented(each) for each in said]
    return said


def _without_docs(docs: Path) -> None:
    """botocore writes documentation for whoever asks a client's method for it; to load that is a sixth of its time."""
    for path in docs.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "utils.py":
            path.unlink()
    (docs / "__init__.py").touch()
    (docs / "docstring.py").write_text(UNREAD.lstrip())


def _prefix(service: Path) -> str:
    (version,) = service.iterdir()
    return _read(version, "service-2.json")["metadata"]["endpointPrefix"]


def _read(folder: Path, name: str) -> dict:
    (file,) = folder.glob(f"{name}*")
    said = file.read_bytes()
    return json.loads(gzip.decompress(said) if file.suffix == ".gz" else said)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser("python -m local.artifacts", description=__doc__)
    parser.add_argument("built", nargs="?", type=Path, default=BUILT, metavar="FOLDER", help="what `sam build` made")
    parser.add_argument("--roots", choices=["amazon", "all"], default="amazon", help="who signs for AWS")
    parser.add_argument("--sizes", action="store_true", help="only tell what is in it")
    chosen = parser.parse_args()
    built = chosen.built
    if not (built / "Vendor").is_dir():
        sys.exit(f"{built} holds no build: make build")
    if not chosen.sizes:
        made_lean(built, everyone=chosen.roots == "all")
    rows = sizes(built)
    for name, size, files in rows:
        print(f"{size / 1024:>9.0f} KiB  {files:>5} files  {name}")
    print(f"{sum(size for _, size, _ in rows) / 1024:>9.0f} KiB  {sum(files for *_, files in rows):>5} files  in all")


if __name__ == "__main__":
    main()
