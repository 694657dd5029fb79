"""The cluster around the VMs: namespaces, nodes, KubeVirt itself, and one network object of each kind of OKD Virtualization."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from broker.lab.seed_machine import MADE_AT, uid_of

__all__ = ["NODES", "PRIMARY_UDN_LABEL", "cluster_objects", "network_objects"]

Json = dict[str, Any]
NODES = ("node-1", "node-2", "node-3")
PRIMARY_UDN_LABEL = "k8s.ovn.org/primary-user-defined-network"


def cluster_objects(namespaces: Iterable[str]) -> Iterable[tuple[str, Json]]:
    """Yield namespaces, nodes, the KubeVirt and HyperConverged resources and KubeVirt's own pods."""
    for name in (*namespaces, "default", "kube-system", "kubevirt"):
        labels = {"kubernetes.io/metadata.name": name, **({PRIMARY_UDN_LABEL: ""} if name == "team-b" else {})}
        yield (
            "namespaces",
            {
                **_object("v1", "Namespace", "", name, labels),
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            },
        )
    for index, name in enumerate(NODES, 1):
        yield "nodes", _node(name, index)
        yield "pods", _system_pod("virt-handler", name)
    yield "pods", _system_pod("virt-api", NODES[0])
    yield (
        "kubevirts.kubevirt.io",
        {
            **_object("kubevirt.io/v1", "KubeVirt", "kubevirt", "kubevirt"),
            "spec": {
                "configuration": {"developerConfiguration": {}},
                "workloadUpdateStrategy": {"workloadUpdateMethods": ["LiveMigrate"]},
            },
            "status": {"phase": "Deployed", "observedKubeVirtVersion": "v1.9.0-rc.0"},
        },
    )
    yield (
        "hyperconvergeds.hco.kubevirt.io",
        {
            **_object("hco.kubevirt.io/v1", "HyperConverged", "kubevirt", "kubevirt-hyperconverged"),
            "spec": {},
        },
    )


def network_objects() -> Iterable[tuple[str, Json]]:
    """Yield NADs (Linux bridge, OVN layer2, OVN localnet, SR-IOV), UDN, CUDN, NNCP and SR-IOV objects."""
    yield _nad("shop", "vlan120", {"cniVersion": "0.3.1", "name": "vlan120", "type": "bridge", "bridge": "br1", "vlan": 120})
    yield _nad(
        "infra",
        "overlay",
        {
            "cniVersion": "0.3.1",
            "name": "overlay",
            "type": "ovn-k8s-cni-overlay",
            "topology": "layer2",
            "netAttachDefName": "infra/overlay",
        },
    )
    yield _nad("infra", "lan", {"cniVersion": "0.4.0", "name": "lan", "type": "bridge", "bridge": "br1", "ipam": {}})
    yield _nad("infra", "fast", {"cniVersion": "0.3.1", "name": "fast", "type": "sriov", "vlan": 0, "spoofchk": "on"})
    yield _nad("team-a", "physnet", {
        "cniVersion": "0.4.0", "name": "localnet1", "type": "ovn-k8s-cni-overlay", "topology": "localnet",
        "netAttachDefName": "team-a/physnet",
    })  # fmt: skip
    yield (
        "userdefinednetworks.k8s.ovn.org",
        {
            **_object("k8s.ovn.org/v1", "UserDefinedNetwork", "team-b", "tenant"),
            "spec": {
                "topology": "Layer2",
                "layer2": {"role": "Primary", "subnets": ["10.200.0.0/16"], "ipam": {"lifecycle": "Persistent"}},
            },
            "status": {"conditions": [_done("NetworkCreated", "NetworkAttachmentDefinitionCreated")]},
        },
    )
    yield (
        "clusteruserdefinednetworks.k8s.ovn.org",
        {
            **_object("k8s.ovn.org/v1", "ClusterUserDefinedNetwork", "", "localnet1"),
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}},
                "network": {"topology": "Localnet", "localnet": {"role": "Secondary", "physicalNetworkName": "physnet1"}},
            },
            "status": {"conditions": [_done("NetworkCreated", "NetworkAttachmentDefinitionCreated")]},
        },
    )
    yield "nodenetworkconfigurationpolicies.nmstate.io", {
        **_object("nmstate.io/v1", "NodeNetworkConfigurationPolicy", "", "br1"),
        "spec": {
            "desiredState": {
                "interfaces": [
                    {"name": "br1", "type": "linux-bridge", "state": "up", "ipv4": {"enabled": False},
                     "bridge": {"options": {"stp": {"enabled": False}}, "port": [{"name": "ens9"}]}}
                ]
            }
        },
        "status": {
            "conditions": [{**_done("Available", "SuccessfullyConfigured"), "message": "3/3 nodes successfully configured"}]
        },
    }  # fmt: skip
    yield (
        "sriovnetworknodepolicies.sriovnetwork.openshift.io",
        {
            **_object("sriovnetwork.openshift.io/v1", "SriovNetworkNodePolicy", "kube-system", "fast-nics"),
            "spec": {
                "deviceType": "vfio-pci",
                "nicSelector": {"pfNames": ["ens8f0"]},
                "nodeSelector": {},
                "numVfs": 8,
                "resourceName": "fastnics",
            },
        },
    )
    yield (
        "sriovnetworks.sriovnetwork.openshift.io",
        {
            **_object("sriovnetwork.openshift.io/v1", "SriovNetwork", "kube-system", "fast"),
            "spec": {"networkNamespace": "infra", "resourceName": "fastnics", "spoofChk": "on"},
        },
    )


def _nad(namespace: str, name: str, config: Json) -> tuple[str, Json]:
    body = _object("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", namespace, name)
    return "network-attachment-definitions.k8s.cni.cncf.io", {**body, "spec": {"config": json.dumps(config)}}


def _node(name: str, index: int) -> Json:
    labels = {"kubernetes.io/hostname": name, "kubevirt.io/schedulable": "true", "node-role.kubernetes.io/worker": ""}
    ready = {**_done("Ready", "KubeletReady"), "message": "kubelet is posting ready status"}
    addresses = [{"type": "InternalIP", "address": f"192.0.2.{10 + index}"}, {"type": "Hostname", "address": name}]
    status = {"addresses": addresses, "conditions": [ready], "nodeInfo": dict(_NODE_INFO)}
    return {**_object("v1", "Node", "", name, labels), "spec": {}, "status": status}


_NODE_INFO: Mapping[str, str] = {
    "machineID": "",
    "systemUUID": "",
    "bootID": "",
    "kernelVersion": "6.12.0",
    "osImage": "vmbroker lab",
    "containerRuntimeVersion": "cri-o://1.36.0",
    "kubeletVersion": "v1.36.2",
    "kubeProxyVersion": "",
    "operatingSystem": "linux",
    "architecture": "amd64",
}


def _system_pod(component: str, node: str) -> Json:
    body = _object("v1", "Pod", "kubevirt", f"{component}-{node}", {"kubevirt.io": component})
    spec = {"containers": [{"name": component, "image": component}], "nodeName": node}
    return {
        **body,
        "spec": spec,
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": component, "image": component, "imageID": "", "ready": True, "restartCount": 0}],
        },
    }


def _object(api_version: str, kind: str, namespace: str, name: str, labels: Json | None = None) -> Json:
    metadata: Json = {"name": name, **({"namespace": namespace} if namespace else {}), "uid": uid_of(kind, namespace, name)}
    metadata["creationTimestamp"] = MADE_AT
    return {"apiVersion": api_version, "kind": kind, "metadata": {**metadata, **({"labels": labels} if labels else {})}}


def _done(kind: str, reason: str) -> Json:
    return {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": MADE_AT}
