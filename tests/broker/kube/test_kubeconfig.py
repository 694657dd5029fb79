"""A corpus of kubeconfigs: kubectl and we read the same, and where kubectl refuses so do we."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SettingsError
from broker.kube.kubeconfig import Cluster, Kubeconfig, Resolved, User, decode, merge, resolve
from broker.kube.kubefiles import read_files

BASE = """apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://h:1"%s}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: ns1}}]
users: [{name: u, user: {%s}}]
"""
ONE = """current-context: first
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
contexts: [{name: first, context: {cluster: c, user: u, namespace: a}}]
users: [{name: u, user: {token: one}}]
"""
TWO = """current-context: second
clusters: [{name: c, cluster: {server: "https://192.0.2.2:6443", tls-server-name: x.example}}]
contexts: [{name: second, context: {cluster: c, user: u, namespace: b}}, {name: first, context: {cluster: zz, user: zz}}]
users: [{name: u, user: {token: two, as: someone}}]
"""
ODD_NAMES = """current-context: "shop/api-example-test:6443/Some Body"
clusters: [{name: c, cluster: {server: "https://h"}}]
users: [{name: u, user: {token: t}}]
contexts:
- {name: "shop/api-example-test:6443/Some Body", context: {cluster: c, user: u, namespace: shop}}
- {name: "arn:aws:eks:eu-test-1:000000000000:cluster/lab", context: {cluster: c, user: u}}
- {name: "dev/titan", context: {cluster: c, user: u}}
"""
API = "client.authentication.k8s.io"


def cl(more: str, user: str = "") -> list[str]:
    return [BASE % (", " + more, user)]


def us(user: str) -> list[str]:
    return [BASE % ("", user)]


PEM_DATA = base64.b64encode(b"pem").decode()
CORPUS: dict[str, tuple[list[str], str | None]] = {
    "token": (us("token: a"), None),
    "two files": ([ONE, TWO], None),
    "two files, second context": ([ONE, TWO], "second"),
    "two files, other way": ([TWO, ONE], None),
    "holes": (["", ONE, ""], None),
    "odd name": ([ODD_NAMES], None),
    "odd name by flag": ([ODD_NAMES], "dev/titan"),
    "arn": ([ODD_NAMES], "arn:aws:eks:eu-test-1:000000000000:cluster/lab"),
    "key twice": (us("token: a, token: b"), None),
    "more documents": ([BASE % ("", "token: a") + "---\nfoo: bar\n"], None),
    "no kind": ([ONE.replace("current-context", "foo: 1\ncurrent-context")], None),
    "date": (us("token: 2020-01-01"), None),
    "base 60": (us("token: 12:34:56"), None),
    "null": (us("token: null"), None),
    "tilde": (us("token: ~"), None),
    "explicit tag": (us("token: !!str 123"), None),
    "null entry": ([(BASE % ("", "")).replace("users: [", "users: [null, ")], None),
    "null user": ([(BASE % ("", "")).replace("user: {}", "user: null")], None),
    "wrong case": (us("Token: a"), None),
    "yes": (cl("insecure-skip-tls-verify: yes"), None),
    "merge key": (us("<<: {token: z}, token: y1"), None),
    "anchors": ([(BASE % ("", "token: &t abc, as: *t"))], None),
    "broken lines in data": (cl('certificate-authority-data: "YWJj\\nZGVm"'), None),
    "mark": (["\ufeff" + BASE % ("", "token: a")], None),
    "carriage returns": ([(BASE % ("", "token: a")).replace("\n", "\r\n")], None),
    "json": (['{"current-context":"c",\n\t"contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],"clusters":[{"name":"c","cluster":{"server":"https://x"}}],"users":[{"name":"u","user":{}}]}'], None),  # noqa: E501
    "all of a cluster": (cl('tls-server-name: n, proxy-url: "socks5://p:1", disable-compression: true, certificate-authority: ca.pem'), None),  # noqa: E501
    "certificate files": (us("client-certificate: ca.pem, client-key: ./ca.pem"), None),
    "certificate data": (us(f"client-certificate-data: {PEM_DATA}, client-key-data: {PEM_DATA}"), None),
    "basic": (us("username: u, password: p"), None),
    "impersonation": (us("token: a, as: x, as-uid: u1, as-groups: [g1, g2], as-user-extra: {k: [v, w]}"), None),
    "plugin": (us(f"exec: {{apiVersion: {API}/v1, command: p, args: [a], env: [{{name: N, value: v}}], interactiveMode: Never, installHint: h, provideClusterInfo: true}}"), None),  # noqa: E501
    "plugin beta": (us(f"exec: {{apiVersion: {API}/v1beta1, command: p, args: null, env: null}}"), None),
    "oidc": (us("auth-provider: {name: oidc, config: {idp-issuer-url: u, client-id: i}}"), None),
    "text in a block": ([ONE.replace("{token: one}", "{token: 'o''ne'}")], None),
    # refused by both
    "number as token": (us("token: 123"), None),
    "float as token": (us("token: 1e3"), None),
    "boolean as token": (us("token: y"), None),
    "boolean as namespace": ([(BASE % ("", "")).replace("ns1", "on")], None),
    "number as name": ([(BASE % ("", "")).replace("users: [{name: u", "users: [{name: 5")], None),
    "text as boolean": (cl('insecure-skip-tls-verify: "true"'), None),
    "name twice": ([(BASE % ("", "")).replace("users: [", "users: [{name: u, user: {token: b}}, ")], None),
    "kind": (["kind: Foo\n" + ONE], None),
    "version": (["apiVersion: v2\nkind: Config\n" + ONE], None),
    "mapping for list": ([ONE.replace("users: [{name: u, user: {token: one}}]", "users: {}")], None),
    "scalar": (["hello"], None),
    "list": (["- a"], None),
    "tab": (["a:\n\t- b"], None),
    "no base64": (cl('certificate-authority-data: "###"'), None),
    "broken second": ([ONE, "a: ["], None),
    "no such context": ([ONE], "frist"),
    "no such current": ([ONE.replace("current-context: first", "current-context: q")], None),
    "no current": ([ONE.replace("current-context: first", "")], None),
    "no such cluster": ([TWO], "first"),
    "authority file and data": (cl(f"certificate-authority: ca.pem, certificate-authority-data: {PEM_DATA}"), None),
    "certificate file and data": (us(f"client-certificate: ca.pem, client-certificate-data: {PEM_DATA}, client-key: ca.pem"), None),  # noqa: E501
}  # fmt: skip


def laid(texts: list[str], folder: Path) -> str:
    paths = []
    for position, text in enumerate(texts):
        inside = folder / f"d{position}"
        inside.mkdir()
        (inside / "ca.pem").write_bytes(b"pem")
        (inside / "config").write_bytes(text.encode())
        paths.append(str(inside / "config"))
    return os.pathsep.join(["", *paths, str(folder / "missing")])


def shown(found: Resolved, config: Kubeconfig, context: str | None) -> dict[str, object]:
    """Our value in the shape of `kubectl config view --minify --flatten --raw -o json`."""
    user, cluster = found.user, found.cluster
    acted, plugin, provider = user.impersonation, user.exec_plugin, user.auth_provider
    return {
        "context": (context or config.current, found.context.cluster, found.context.user, found.context.namespace),
        "cluster": (
            cluster.server, cluster.tls_server_name, cluster.skips_verification, cluster.proxy_url, cluster.disables_compression,  # noqa: E501
            _held(cluster.authority_data, cluster.authority_file),
        ),
        "user": (
            user.token, user.token_file, user.username, user.password,
            _held(user.certificate_data, user.certificate_file), _held(user.key_data, user.key_file),
            acted.user, acted.uid, list(acted.groups), {k: list(v) for k, v in acted.extra},
        ),
        "exec": plugin and (plugin.api_version, plugin.command, list(plugin.args), list(plugin.env), plugin.install_hint, plugin.provides_cluster_info, plugin.interactive_mode),  # noqa: E501
        "provider": provider and (provider.name, dict(provider.config)),
    }  # fmt: skip


def _held(data: bytes, path: str) -> bytes:
    return data or (Path(path).read_bytes() if path else b"")


def told(document: dict[str, list[dict[str, dict[str, object]]]]) -> dict[str, object]:
    """kubectl's JSON in the same shape."""
    context, cluster = document["contexts"][0]["context"], document["clusters"][0]["cluster"]
    user = document["users"][0]["user"] if document["users"] else {}
    plugin, provider = user.get("exec"), user.get("auth-provider")

    def data(entry: dict[str, object], key: str) -> bytes:
        return base64.b64decode(str(entry.get(key, "")))

    return {
        "context": (document["current-context"], context["cluster"], context["user"], context.get("namespace", "")),
        "cluster": (
            cluster["server"], cluster.get("tls-server-name", ""), cluster.get("insecure-skip-tls-verify", False), cluster.get("proxy-url", ""),  # noqa: E501
            cluster.get("disable-compression", False), data(cluster, "certificate-authority-data"),
        ),
        "user": (
            user.get("token", ""), user.get("tokenFile", ""), user.get("username", ""), user.get("password", ""),
            data(user, "client-certificate-data"), data(user, "client-key-data"),
            user.get("as", ""), user.get("as-uid", ""), user.get("as-groups", []), user.get("as-user-extra", {}),
        ),
        "exec": (isinstance(plugin, dict) and (
            plugin["apiVersion"], plugin["command"], plugin["args"] or [], [(e["name"], e["value"]) for e in plugin["env"] or []],  # noqa: E501
            plugin.get("installHint", ""), plugin["provideClusterInfo"], plugin.get("interactiveMode", ""),
        )) or None,
        "provider": (isinstance(provider, dict) and (provider["name"], provider["config"])) or None,
    }  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_reads_as_kubectl_reads(name: str, kubectl: Path, tmp_path: Path) -> None:
    texts, context = CORPUS[name]
    environ = {"KUBECONFIG": laid(texts, tmp_path), "HOME": str(tmp_path)}
    words = ["--context", context] if context else []
    done = subprocess.run(
        [kubectl, *words, "config", "view", "--minify", "--flatten", "--raw", "-o", "json"],
        capture_output=True, text=True, env={**environ, "PATH": os.environ["PATH"]}, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode != 0:
        with pytest.raises(SettingsError) as caught:
            resolve(read_files(None, environ).config, context)
        assert "\n" not in caught.value.message and str(tmp_path) in caught.value.message
        return
    config = read_files(None, environ).config
    assert shown(resolve(config, context), config, context) == told(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: [", 2), ("a:\n\t- b", 2), ("x: 1\nusers:\n- {name: u, user: {token: 5}}", 3), ("a\x00", 1)]
)
def test_broken_yaml_names_file_and_line(text: str, line: int) -> None:
    with pytest.raises(SettingsError) as caught:
        decode(text.encode(), Path("/k/config"))
    assert f"/k/config, line {line}" in caught.value.message


def test_unknown_context_gets_the_nearest_name() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(decode(ODD_NAMES.encode(), Path("/k")), "dev/titam")
    assert "dev/titan" in str(caught.value.next_step)


def test_relative_paths_belong_to_their_file() -> None:
    text = BASE % (
        ", certificate-authority: x/ca",
        f"tokenFile: ../t, exec: {{apiVersion: {API}/v1, command: ./p, interactiveMode: Never}}",
    )
    found = resolve(decode(text.encode(), Path("/a/b/config")))
    assert (found.cluster.authority_file, found.user.token_file) == ("/a/b/x/ca", "/a/t")
    assert found.user.exec_plugin is not None and found.user.exec_plugin.command == "/a/b/p"


def test_a_key_that_stands_twice_is_said() -> None:
    assert "stands twice" in decode((BASE % ("", "token: a, token: b")).encode(), Path("/k")).warnings[0]


SOURCES = st.sampled_from([Path("/one"), Path("/two"), Path("/three")])


@st.composite
def configs(draw: st.DrawFn) -> Kubeconfig:
    source = draw(SOURCES)
    names = draw(st.sets(st.sampled_from("abc")))
    return Kubeconfig(
        current=(current := draw(st.sampled_from(["", "a", "b"]))),
        current_source=source if current else None,
        clusters={n: Cluster(name=n, source=source, server=draw(st.sampled_from("xyz"))) for n in sorted(names)},
        users={n: User(name=n, source=source, token=draw(st.sampled_from("xyz"))) for n in sorted(names)},
        sources=(source,),
    )


@given(st.lists(configs(), max_size=4), st.integers(0, 4))
def test_first_file_wins_and_holes_do_not_matter(listed: list[Kubeconfig], hole: int) -> None:
    merged = merge(listed)
    assert merged.current == next((c.current for c in listed if c.current), "")
    for name, cluster in merged.clusters.items():
        assert cluster is next(c.clusters[name] for c in listed if name in c.clusters)
    assert set(merged.users) == {name for c in listed for name in c.users}
    assert merge([merged, merged]) == merge([merged]) == merged
    assert merge([*listed[:hole], Kubeconfig(), *listed[hole:]]) == merged
    for left, right in pairwise([listed[:i] for i in range(len(listed) + 1)]):
        assert merge([merge(left), *right[len(left) :]]) == merge(right)
