"""kubectl asks the lab what it asked the real server, command by command, and is answered with the same status and type."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from broker.lab.api import ApiServer
from broker.lab.objects import Objects
from tests.broker.lab.captures import FOLDER, Json
from tests.broker.lab.replay import Credentials, planted_world, serving

NOT_ASKED = {
    "kubectl apply": "writes",
    "kubectl auth": "protobuf bodies",
}
"""Beginnings of captured commands that this issue's lab is not asked, each with its reason."""
WATCHING = re.compile(r" (-w|--watch-only)\b")
LIMIT_S = 30
VMS = "virtualmachines.kubevirt.io"


@dataclass(slots=True)
class Log:
    """The requests that a server answered, in their order."""

    entries: list[Json] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, request: web.Request, response: web.StreamResponse) -> None:
        """Note one."""
        kind = response.headers.get("Content-Type") if response.status != 304 else None
        self.entries.append(
            {
                "method": request.method,
                "path": str(request.rel_url.raw_path_qs),
                "accept": ",".join(request.headers.getall("Accept", [])),
                "status": response.status,
                "content_type": kind,
            }
        )
        self.stirred.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One kubectl on a lab that holds the captured world."""

    program: Path
    home: Path
    log: Log

    async def run(self, command: str) -> tuple[int, list[Json]]:
        """Run a captured command as the captured administrator and return its exit status and its requests."""
        self.log.entries.clear()
        words = shlex.split(command)[1:]
        environment = {**os.environ, "KUBECONFIG": str(self.home / "config"), "HOME": str(self.home)}
        pipe = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            str(self.program), *words, env=environment, stdout=pipe, stderr=pipe, cwd=self.home
        )
        async with asyncio.timeout(LIMIT_S):
            if WATCHING.search(command):
                while not any("watch=true" in entry["path"] for entry in self.log.entries):
                    self.log.stirred.clear()
                    await self.log.stirred.wait()
                process.terminate()
                await process.wait()
                return 1, list(self.log.entries)
            return await process.wait(), list(self.log.entries)


@asynccontextmanager
async def judging(program: Path, home: Path, credentials: Credentials) -> AsyncIterator[Judge]:
    """Serve the captured world and give kubectl a kubeconfig for it."""
    objects = planted_world()
    _plant_named(objects)
    log = Log()
    apis: list[ApiServer] = []
    async with serving(objects, credentials, made=apis.append) as world:
        apis[0].heard = log.heard
        (home / "config").write_text(yaml.safe_dump(_kubeconfig(world.url, credentials)))
        (home / "vm-c.yaml").write_text(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {name: k-3, namespace: team-d}\n"
        )
        yield Judge(program=program, home=home, log=log)


def _plant_named(objects: Objects) -> None:
    """What the captured commands name and no capture of the world holds."""
    for name in ("team-a", "team-d", "kube-system"):
        if objects.get("namespaces", None, name) is None:
            objects.put("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    objects.put(
        VMS, {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "k-1", "namespace": "team-d"}}
    )
    metadata = {"name": "s-ssh", "namespace": "team-d"}
    objects.put("services", {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 22}]}})


def _kubeconfig(url: str, credentials: Credentials) -> Json:
    (credentials.directory / "ca.pem").write_bytes(credentials.authority.certificate_pem)
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": str(credentials.directory / "ca.pem")}}],
        "users": [{"name": "u", "user": {"token": "token-of-admin"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }


def _captured() -> Json:
    whole: Json = json.loads((FOLDER / "kubectl-requests.json").read_text())
    return whole


def _is_asked(command: Mapping[str, Any]) -> bool:
    if any(request["method"] != "GET" and "--dry-run=client" not in command["command"] for request in command["requests"]):
        return False
    return not any(command["command"].startswith(beginning) for beginning in NOT_ASKED)


def _without_one_run(path: str) -> str:
    """A path without what is of one run: versions, tokens, uids, hashes, the watch's time."""
    for pattern, word in (
        (r"(resourceVersion=)[1-9]\d*", r"\1N"),
        (r"(continue=)[^&]+", r"\1TOKEN"),
        (r"(involvedObject.uid%3D)[^%&]*", r"\1UID"),
        (r"(hash=)[^&]+", r"\1HASH"),
        (r"(timeoutSeconds=)\d+", r"\1N"),
    ):
        path = re.sub(pattern, word, path)
    # The parts of an events selector come out of a map of Go's, in no order.
    return re.sub(r"(fieldSelector=)([^&]+)", lambda found: found[1] + "%2C".join(sorted(found[2].split("%2C"))), path)


def _expected(command: Json, accepts: Mapping[str, str]) -> list[Json]:
    kept: Json = {"method": "GET", "accept": accepts["discovery"], "status": 304, "content_type": None}
    found = [{**kept, "path": f"/{word}?timeout=32s"} for _ in range(command.get("discovery", 0)) for word in ("api", "apis")]
    for request in command["requests"]:
        kind = request["content_type"]
        if kind == "application/vnd.kubernetes.protobuf":
            # The lab speaks JSON alone, which kubectl's protobuf Accept lists too.
            kind = "application/json"
        found.append(
            {
                **{key: request[key] for key in ("method", "path", "status")},
                "accept": accepts[request["accept"]],
                "content_type": kind,
            }
        )
    return found


def _comparable(requests: list[Json]) -> list[str]:
    found = []
    for request in requests:
        shown = {**request, "path": _without_one_run(request["path"])}
        if shown["path"].startswith("/openapi/v3?"):
            # Whether the index is still the cached one hangs on the second in which it was read.
            shown |= {"status": "200 or 304", "content_type": "-"}
        found.append(json.dumps(shown, sort_keys=True))
    return sorted(found)


def _programs() -> dict[str, Path | None]:
    """The captured lists that a kubectl of this machine can be judged by; None stands for the fixture's kubectl."""
    here = shutil.which("kubectl")
    if here is None:
        return {"commands": None}
    told = subprocess.run(
        [here, "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    is_captured = json.loads(told.stdout)["clientVersion"]["gitVersion"] == "v1.32.4-dispatcher"
    return {"commands": None, **({"commands_v1_32_4": Path(here)} if is_captured else {})}


FEWEST = {"commands": 31, "commands_v1_32_4": 8}


@pytest.mark.parametrize(("captured", "program"), _programs().items())
async def test_each_reading_command_makes_the_captured_requests(
    captured: str, program: Path | None, shared: Path, kubectl: Path, tmp_path: Path
) -> None:
    whole = _captured()
    commands = [command for command in whole[captured] if _is_asked(command)]
    assert len(commands) >= FEWEST[captured]
    wrong: dict[str, object] = {}
    async with judging(program or kubectl, tmp_path, Credentials.make(tmp_path)) as judge:
        for number, command in enumerate(commands):
            if number == 1:
                # In the capture the document lay in kubectl's cache since a `create`.
                await judge.run("kubectl explain vm")
            status, requests = await judge.run(command["command"])
            expected, found = _comparable(_expected(command, whole["accept"])), _comparable(requests)
            if (status, found) != (command["exit"], expected):
                missing = [line for line in expected if line not in found]
                more = [line for line in found if line not in expected]
                wrong[f"{number} {command['command']}"] = {
                    "status": (command["exit"], status),
                    "missing": missing,
                    "more": more,
                }
    assert wrong == {}, json.dumps(wrong, indent=1)


@pytest.mark.parametrize("beginning", NOT_ASKED)
def test_no_reason_stands_for_a_command_that_is_gone(shared: Path, beginning: str) -> None:
    assert any(command["command"].startswith(beginning) for command in _captured()["commands"])
