"""What one run of the program was asked for, and how its commands come by settings and a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.cli import exits
from broker.cli.arguments import Parsed

if TYPE_CHECKING:
    from broker.config.settings import Settings
    from broker.kube.endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LabUse:
    """The running lab that `--lab` stands for: its kubeconfig, the key its guests know, where their host keys are kept."""

    kubeconfig: str
    identity: str
    known_hosts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run: the command line, the name we were called by, the environment, the lab where `--lab` was said."""

    parsed: Parsed
    program: str
    environ: Mapping[str, str]
    lab: LabUse | None = None

    @property
    def kubeconfig(self) -> str | None:
        """The one kubeconfig file to read, as an absolute path; None leaves it to KUBECONFIG and ~/.kube/config."""
        if self.lab is not None:
            return self.lab.kubeconfig
        given = self.parsed.text("kubeconfig")
        if not given:
            return None
        from broker.kube.kubefiles import absolute

        return str(absolute(os.path.expanduser(given)))  # noqa: PTH111

    @property
    def namespace(self) -> str | None:
        """The namespace of -n, checked; None where none was given."""
        from broker.refs import parse_namespace

        given = self.parsed.text("namespace")
        return parse_namespace(given) if given else None

    def settings(self, context: str | None = None) -> Settings:
        """Load the settings for a context; warnings go to stderr."""
        from broker.config.load import load_settings

        settings = load_settings(
            self.environ, context=context, sets=self.parsed.many("sets"), no_color=self.parsed.has("no_color")
        )
        if not self.parsed.has("unwarned"):
            exits.warn(settings.warnings)
        return settings

    def endpoint(self, *, stdin_is_ours: bool = True, context: str | None = None) -> Endpoint:
        """Open the cluster that the flags name; its warnings go to stderr, once for a whole `ssh` and its ProxyCommand."""
        from broker.kube.endpoint import open_endpoint

        endpoint = open_endpoint(
            kubeconfig=self.kubeconfig,
            context=context or self.parsed.text("context"),
            namespace=self.namespace,
            as_user=self.parsed.text("as_user"),
            as_groups=self.parsed.many("as_groups"),
            as_uid=self.parsed.text("as_uid"),
            stdin_is_ours=stdin_is_ours,
            environ=self.environ,
        )
        if not self.parsed.has("unwarned"):
            exits.warn(endpoint.warnings)
        return endpoint

    def carried(self) -> tuple[str, ...]:
        """Return the global flags, in their long form, that another run of us needs to mean the same cluster and person."""
        words: list[str] = []
        if self.lab is None and self.kubeconfig:
            words += ["--kubeconfig", self.kubeconfig]
        for flag, dest in (
            ("--context", "context"),
            ("--namespace", "namespace"),
            ("--as", "as_user"),
            ("--as-uid", "as_uid"),
        ):
            value = self.parsed.text(dest)
            if value:
                words += [flag, value]
        for flag, dest in (("--as-group", "as_groups"), ("--set", "sets")):
            for value in self.parsed.many(dest):
                words += [flag, value]
        if self.parsed.has("lab"):
            words.append("--lab")
        if self.parsed.has("debug"):
            words.append("--debug")
        return tuple(words)


def own_words() -> tuple[str, ...]:
    """Return the argv that starts this program again, from any directory.

    `-P` keeps the working directory off sys.path: ssh may run us inside a directory that somebody else wrote.
    """
    return (sys.executable, "-P", "-m", "broker.main")
