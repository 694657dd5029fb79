"""The table of resources that the pretend cluster serves: Kubernetes 1.36's own and those of the operators around KubeVirt.

Names, short names, categories and subresources are those that the captures' discovery documents list.
"""

from __future__ import annotations

from broker.lab.deprecations import DEPRECATIONS
from broker.lab.resources import (
    BUILT_IN_VERBS,
    CUSTOM_VERBS,
    Catalogue,
    Column,
    Resource,
    Subresource,
    custom_subresources,
)

__all__ = ["SUBRESOURCE_GROUP", "VIRT_SUBRESOURCES", "standard_catalogue"]

SUBRESOURCE_GROUP = "subresources.kubevirt.io"
"""The group that virt-api serves behind the API server."""

VIRT_SUBRESOURCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("expand-vm-spec", ()),
    (
        "virtualmachineinstances",
        (
            "vnc", "vnc/screenshot", "console", "portforward", "backup", "redefine-checkpoint", "pause", "unpause", "freeze",
            "unfreeze", "reset", "softreboot", "guestosinfo", "userlist", "filesystemlist", "addvolume", "removevolume",
            "objectgraph", "sev/fetchcertchain", "sev/querylaunchmeasurement", "sev/setupsession", "sev/injectlaunchsecret",
            "evacuate/cancel",
        ),
    ),
    ("virtualmachines", ("start", "stop", "restart", "migrate", "expand-spec", "objectgraph", "evacuate/cancel")),
)  # fmt: skip
"""What virt-api's own discovery lists: resource and its subresources (virtualmachines/portforward is not in it)."""

_GROUPS: tuple[tuple[str, str], ...] = (
    ("", "v1"), ("apiregistration.k8s.io", "v1"), ("apps", "v1"), ("events.k8s.io", "v1"), ("authentication.k8s.io", "v1"),
    ("authorization.k8s.io", "v1"), ("autoscaling", "v2 v1"), ("batch", "v1"), ("certificates.k8s.io", "v1"),
    ("networking.k8s.io", "v1"), ("policy", "v1"), ("rbac.authorization.k8s.io", "v1"), ("storage.k8s.io", "v1"),
    ("admissionregistration.k8s.io", "v1"), ("apiextensions.k8s.io", "v1"), ("scheduling.k8s.io", "v1"),
    ("coordination.k8s.io", "v1"), ("node.k8s.io", "v1"), ("discovery.k8s.io", "v1"), ("resource.k8s.io", "v1"),
    ("flowcontrol.apiserver.k8s.io", "v1"), ("export.kubevirt.io", "v1 v1beta1"), ("hco.kubevirt.io", "v1 v1beta1"),
    ("k8s.cni.cncf.io", "v1"), ("k8s.ovn.org", "v1 v1alpha1"), ("kubevirt.io", "v1 v1alpha3"),
    ("networkaddonsoperator.network.kubevirt.io", "v1 v1alpha1"), ("nmstate.io", "v1 v1beta1"),
    ("sriovnetwork.openshift.io", "v1"), (SUBRESOURCE_GROUP, "v1 v1alpha3"), ("backup.kubevirt.io", "v1alpha1"),
    ("cdi.kubevirt.io", "v1beta1 v1alpha1"), ("clone.kubevirt.io", "v1beta1 v1alpha1"), ("migrations.kubevirt.io", "v1alpha1"),
    ("plugin.kubevirt.io", "v1alpha1"), ("pool.kubevirt.io", "v1beta1 v1alpha1"), ("snapshot.kubevirt.io", "v1beta1 v1alpha1"),
    ("instancetype.kubevirt.io", "v1beta1"),
)  # fmt: skip

# group, versions, kind, plural, namespaced (N) or cluster-wide (C), short names, categories, subresources
_BUILT_IN = """
- v1 Binding bindings N - - - create
- v1 ComponentStatus componentstatuses C cs - - get,list
- v1 ConfigMap configmaps N cm - -
- v1 Endpoints endpoints N ep - -
- v1 Event events N ev - -
- v1 LimitRange limitranges N limits - -
- v1 Namespace namespaces C ns - finalize:update,status create,delete,get,list,patch,update,watch
- v1 Node nodes C no - proxy!NodeProxyOptions,status
- v1 PersistentVolumeClaim persistentvolumeclaims N pvc - status
- v1 PersistentVolume persistentvolumes C pv - status
- v1 Pod pods N po all attach!PodAttachOptions,binding!Binding,ephemeralcontainers,eviction!Eviction,exec!PodExecOptions,log:get,portforward!PodPortForwardOptions,proxy!PodProxyOptions,resize,status
- v1 PodTemplate podtemplates N - - -
- v1 ReplicationController replicationcontrollers N rc all scale,status
- v1 ResourceQuota resourcequotas N quota - status
- v1 Secret secrets N - - -
- v1 ServiceAccount serviceaccounts N sa - token!TokenRequest
- v1 Service services N svc all proxy!ServiceProxyOptions,status
apiregistration.k8s.io v1 APIService apiservices C - api-extensions status
apps v1 ControllerRevision controllerrevisions N - - -
apps v1 DaemonSet daemonsets N ds all status
apps v1 Deployment deployments N deploy all scale,status
apps v1 ReplicaSet replicasets N rs all scale,status
apps v1 StatefulSet statefulsets N sts all scale,status
events.k8s.io v1 Event events N ev - -
authentication.k8s.io v1 SelfSubjectReview selfsubjectreviews C - - - create
authentication.k8s.io v1 TokenReview tokenreviews C - - - create
authorization.k8s.io v1 LocalSubjectAccessReview localsubjectaccessreviews N - - - create
authorization.k8s.io v1 SelfSubjectAccessReview selfsubjectaccessreviews C - - - create
authorization.k8s.io v1 SelfSubjectRulesReview selfsubjectrulesreviews C - - - create
authorization.k8s.io v1 SubjectAccessReview subjectaccessreviews C - - - create
autoscaling v2,v1 HorizontalPodAutoscaler horizontalpodautoscalers N hpa all status
batch v1 CronJob cronjobs N cj all status
batch v1 Job jobs N - all status
certificates.k8s.io v1 CertificateSigningRequest certificatesigningrequests C csr - approval,status
networking.k8s.io v1 IngressClass ingressclasses C - - -
networking.k8s.io v1 Ingress ingresses N ing - status
networking.k8s.io v1 IPAddress ipaddresses C ip - -
networking.k8s.io v1 NetworkPolicy networkpolicies N netpol - -
networking.k8s.io v1 ServiceCIDR servicecidrs C - - status
policy v1 PodDisruptionBudget poddisruptionbudgets N pdb - status
rbac.authorization.k8s.io v1 ClusterRoleBinding clusterrolebindings C - - -
rbac.authorization.k8s.io v1 ClusterRole clusterroles C - - -
rbac.authorization.k8s.io v1 RoleBinding rolebindings N - - -
rbac.authorization.k8s.io v1 Role roles N - - -
storage.k8s.io v1 CSIDriver csidrivers C - - -
storage.k8s.io v1 CSINode csinodes C - - -
storage.k8s.io v1 CSIStorageCapacity csistoragecapacities N - - -
storage.k8s.io v1 StorageClass storageclasses C sc - -
storage.k8s.io v1 VolumeAttachment volumeattachments C - - status
storage.k8s.io v1 VolumeAttributesClass volumeattributesclasses C vac - -
admissionregistration.k8s.io v1 MutatingWebhookConfiguration mutatingwebhookconfigurations C - api-extensions -
admissionregistration.k8s.io v1 ValidatingAdmissionPolicy validatingadmissionpolicies C - api-extensions status
admissionregistration.k8s.io v1 ValidatingAdmissionPolicyBinding validatingadmissionpolicybindings C - api-extensions -
admissionregistration.k8s.io v1 ValidatingWebhookConfiguration validatingwebhookconfigurations C - api-extensions -
apiextensions.k8s.io v1 CustomResourceDefinition customresourcedefinitions C crd,crds api-extensions status
scheduling.k8s.io v1 PriorityClass priorityclasses C pc - -
coordination.k8s.io v1 Lease leases N - - -
node.k8s.io v1 RuntimeClass runtimeclasses C - - -
discovery.k8s.io v1 EndpointSlice endpointslices N - - -
resource.k8s.io v1 DeviceClass deviceclasses C - - -
resource.k8s.io v1 ResourceClaim resourceclaims N - - status
resource.k8s.io v1 ResourceClaimTemplate resourceclaimtemplates N - - -
resource.k8s.io v1 ResourceSlice resourceslices C - - -
flowcontrol.apiserver.k8s.io v1 FlowSchema flowschemas C - - status
flowcontrol.apiserver.k8s.io v1 PriorityLevelConfiguration prioritylevelconfigurations C - - status
"""  # noqa: E501

_CUSTOM = """
kubevirt.io v1,v1alpha3 KubeVirt kubevirts N kv,kvs all status
kubevirt.io v1,v1alpha3 VirtualMachineInstanceMigration virtualmachineinstancemigrations N vmim,vmims all status
kubevirt.io v1,v1alpha3 VirtualMachineInstancePreset virtualmachineinstancepresets N vmipreset,vmipresets all -
kubevirt.io v1,v1alpha3 VirtualMachineInstanceReplicaSet virtualmachineinstancereplicasets N vmirs,vmirss all status,scale
kubevirt.io v1,v1alpha3 VirtualMachineInstance virtualmachineinstances N vmi,vmis all -
kubevirt.io v1,v1alpha3 VirtualMachine virtualmachines N vm,vms all status
export.kubevirt.io v1,v1beta1 VirtualMachineExport virtualmachineexports N vmexport,vmexports all status
hco.kubevirt.io v1,v1beta1 HyperConverged hyperconvergeds N hco,hcos all status
k8s.cni.cncf.io v1 NetworkAttachmentDefinition network-attachment-definitions N net-attach-def - -
k8s.ovn.org v1 AdminPolicyBasedExternalRoute adminpolicybasedexternalroutes C apbexternalroute - status
k8s.ovn.org v1 ClusterNetworkConnect clusternetworkconnects C cnc - status
k8s.ovn.org v1 ClusterUserDefinedNetwork clusteruserdefinednetworks C cudn - status
k8s.ovn.org v1 EgressFirewall egressfirewalls N - - status
k8s.ovn.org v1 EgressIP egressips C eip - -
k8s.ovn.org v1 EgressQoS egressqoses N - - status
k8s.ovn.org v1 EgressService egressservices N - - status
k8s.ovn.org v1 RouteAdvertisements routeadvertisements C ra - status
k8s.ovn.org v1 UserDefinedNetwork userdefinednetworks N udn - status
k8s.ovn.org v1 VTEP vteps C - - status
k8s.ovn.org v1alpha1 NetworkQoS networkqoses N - - status
k8s.ovn.org v1alpha1 Uplink uplinks C uplink - status
k8s.ovn.org v1alpha1 UplinkState uplinkstates C - - -
networkaddonsoperator.network.kubevirt.io v1,v1alpha1 NetworkAddonsConfig networkaddonsconfigs C - - status
nmstate.io v1,v1beta1 NMState nmstates C - - status
nmstate.io v1,v1beta1 NodeNetworkConfigurationPolicy nodenetworkconfigurationpolicies C nncp - status
nmstate.io v1beta1 NodeNetworkConfigurationEnactment nodenetworkconfigurationenactments C nnce - status
nmstate.io v1beta1 NodeNetworkState nodenetworkstates C nns - status
sriovnetwork.openshift.io v1 OVSNetwork ovsnetworks N - - status
sriovnetwork.openshift.io v1 SriovIBNetwork sriovibnetworks N - - status
sriovnetwork.openshift.io v1 SriovNetworkNodePolicy sriovnetworknodepolicies N - - status
sriovnetwork.openshift.io v1 SriovNetworkNodeState sriovnetworknodestates N - - status
sriovnetwork.openshift.io v1 SriovNetworkPoolConfig sriovnetworkpoolconfigs N - - status
sriovnetwork.openshift.io v1 SriovNetwork sriovnetworks N - - status
sriovnetwork.openshift.io v1 SriovOperatorConfig sriovoperatorconfigs N - - status
backup.kubevirt.io v1alpha1 VirtualMachineBackup virtualmachinebackups N vmbackup,vmbackups all status
backup.kubevirt.io v1alpha1 VirtualMachineBackupTracker virtualmachinebackuptrackers N vmbackuptracker,vmbackuptrackers all status
cdi.kubevirt.io v1beta1,v1alpha1 CDI cdis C cdi,cdis - -
clone.kubevirt.io v1beta1,v1alpha1 VirtualMachineClone virtualmachineclones N vmclone,vmclones all status
migrations.kubevirt.io v1alpha1 MigrationPolicy migrationpolicies C - - status
plugin.kubevirt.io v1alpha1 Plugin plugins C - - -
pool.kubevirt.io v1beta1,v1alpha1 VirtualMachinePool virtualmachinepools N vmpool,vmpools all status,scale
snapshot.kubevirt.io v1beta1,v1alpha1 VirtualMachineRestore virtualmachinerestores N vmrestore,vmrestores all status
snapshot.kubevirt.io v1beta1,v1alpha1 VirtualMachineSnapshotContent virtualmachinesnapshotcontents N vmsnapshotcontent,vmsnapshotcontents all status
snapshot.kubevirt.io v1beta1,v1alpha1 VirtualMachineSnapshot virtualmachinesnapshots N vmsnapshot,vmsnapshots all status
instancetype.kubevirt.io v1beta1 VirtualMachineClusterInstancetype virtualmachineclusterinstancetypes C vmclusterinstancetype,vmclusterinstancetypes,vmcf,vmcfs - -
instancetype.kubevirt.io v1beta1 VirtualMachineClusterPreference virtualmachineclusterpreferences C vmcp,vmcps - -
instancetype.kubevirt.io v1beta1 VirtualMachineInstancetype virtualmachineinstancetypes N vminstancetype,vminstancetypes,vmf,vmfs all -
instancetype.kubevirt.io v1beta1 VirtualMachinePreference virtualmachinepreferences N vmpref,vmprefs,vmp,vmps all -
"""  # noqa: E501

_READY = ".status.conditions[?(@.type=='Ready')].status"
_TRUE = '.status.conditions[?(@.status=="True")]'

# plural -> columns as "Name type path", an @1 in front of the name for wide ones; spaces in names written as _
_COLUMNS: dict[str, str] = {
    "virtualmachines": f"Age date .metadata.creationTimestamp|Status string .status.printableStatus|Ready string {_READY}",
    "virtualmachineinstances": (
        "Age date .metadata.creationTimestamp|Phase string .status.phase|IP string .status.interfaces[0].ipAddress"
        f"|NodeName string .status.nodeName|Ready string {_READY}"
        "|@1Live-Migratable string .status.conditions[?(@.type=='LiveMigratable')].status"
        "|@1Paused string .status.conditions[?(@.type=='Paused')].status"
    ),
    "kubevirts": "Age date .metadata.creationTimestamp|Phase string .status.phase",
    "cdis": "Age date .metadata.creationTimestamp|Phase string .status.phase",
    "hyperconvergeds": "Age date .metadata.creationTimestamp",
    "virtualmachineinstancemigrations": "Phase string .status.phase|VMI string .spec.vmiName",
    "virtualmachineinstancereplicasets": (
        "Desired integer .spec.replicas|Current integer .status.replicas|Ready integer .status.readyReplicas"
        "|Age date .metadata.creationTimestamp"
    ),
    "virtualmachinepools": (
        "Desired integer .spec.replicas|Current integer .status.replicas|Ready integer .status.readyReplicas"
        "|Age date .metadata.creationTimestamp"
    ),
    "virtualmachinesnapshots": (
        "SourceKind string .spec.source.kind|SourceName string .spec.source.name|Phase string .status.phase"
        "|ReadyToUse boolean .status.readyToUse|CreationTime date .status.creationTime|Error string .status.error.message"
    ),
    "virtualmachinesnapshotcontents": (
        "ReadyToUse boolean .status.readyToUse|CreationTime date .status.creationTime|Error string .status.error.message"
    ),
    "virtualmachinerestores": (
        "TargetKind string .spec.target.kind|TargetName string .spec.target.name|Complete boolean .status.complete"
        "|RestoreTime date .status.restoreTime"
    ),
    "virtualmachineclones": (
        "Phase string .status.phase|SourceVirtualMachine string .spec.source.name|TargetVirtualMachine string .spec.target.name"
    ),
    "virtualmachineexports": (
        "SourceKind string .spec.source.kind|SourceName string .spec.source.name|Phase string .status.phase"
    ),
    "virtualmachinebackups": (
        "SourceKind string .spec.source.kind|SourceName string .spec.source.name|Type string .status.type"
        "|CheckpointName string .status.checkpointName"
    ),
    "virtualmachinebackuptrackers": (
        "SourceKind string .spec.source.kind|SourceName string .spec.source.name"
        "|LatestCheckpoint string .status.latestCheckpoint.name|CheckpointTime date .status.latestCheckpoint.creationTime"
    ),
    "nmstates": f"Status string {_TRUE}.type|Reason string {_TRUE}.reason",
    "nodenetworkconfigurationpolicies": f"Status string {_TRUE}.type|Reason string {_TRUE}.reason",
    "nodenetworkconfigurationenactments": (
        f"Status string {_TRUE}.type|Status_Age date {_TRUE}.lastTransitionTime|Reason string {_TRUE}.reason"
    ),
    "adminpolicybasedexternalroutes": "Last_Update date .status.lastTransitionTime|Status string .status.status",
    "clusternetworkconnects": "Age date .metadata.creationTimestamp|Status string .status.status",
    "egressfirewalls": "EgressFirewall_Status string .status.status",
    "egressips": (
        "EgressIPs string .spec.egressIPs[*]|Assigned_Node string .status.items[*].node"
        "|Assigned_EgressIPs string .status.items[*].egressIP"
    ),
    "egressqoses": "Status string .status.status",
    "egressservices": "Assigned_Host string .status.host",
    "networkqoses": "Status string .status.status",
    "routeadvertisements": "Status string .status.status",
    "uplinks": f"Ready string {_READY}",
    "vteps": (
        "Accepted string .status.conditions[?(@.type=='Accepted')].status"
        "|Reason string .status.conditions[?(@.type=='Accepted')].reason"
    ),
    "ovsnetworks": f"Ready string {_READY}|Age date .metadata.creationTimestamp",
    "sriovibnetworks": f"Ready string {_READY}|Age date .metadata.creationTimestamp",
    "sriovnetworks": f"Ready string {_READY}|Age date .metadata.creationTimestamp",
    "sriovoperatorconfigs": f"Ready string {_READY}|Age date .metadata.creationTimestamp",
    "sriovnetworknodestates": (
        "Sync_Status string .status.syncStatus"
        "|Desired_Sync_State string .metadata.annotations.sriovnetwork\\.openshift\\.io/desired-state"
        "|Current_Sync_State string .metadata.annotations.sriovnetwork\\.openshift\\.io/current-state"
        "|Age date .metadata.creationTimestamp"
    ),
}

_DESCRIPTIONS = {("virtualmachines", "Status"): "Human Readable Status"}
_STORED_IN_OTHER = {"virtualmachineinstancepresets": "v1alpha3"}
_SINGULAR = {"endpoints": "endpoints"}
_GROUP_OF_KIND = {"Eviction": "policy", "Scale": "autoscaling", "TokenRequest": "authentication.k8s.io"}
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")
_SUBRESOURCE_VERBS = {
    "proxy": _PROXY_VERBS, "attach": ("create", "get"), "exec": ("create", "get"), "portforward": ("create", "get"),
    "binding": ("create",), "eviction": ("create",), "token": ("create",),
}  # fmt: skip


def standard_catalogue() -> Catalogue:
    """Return a fresh catalogue of everything in the table; callers may add CRDs to it."""
    catalogue = Catalogue()
    for group, versions in _GROUPS:
        catalogue.add_group(group, versions.split())
    for line in _BUILT_IN.split("\n"):
        if line:
            catalogue.add(_built_in(line.split()))
    for line in _CUSTOM.split("\n"):
        if line:
            catalogue.add(_custom(line.split()))
    return catalogue


def _words(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))


def _singular(kind: str, plural: str) -> str:
    return _SINGULAR.get(plural, kind.lower())


def _built_in(words: list[str]) -> Resource:
    group, versions, kind, plural, scope, short, categories, subresources, *verbs = words
    served = _words(versions)
    return Resource(
        group="" if group == "-" else group,
        versions=served,
        storage_version=served[0],
        kind=kind,
        plural=plural,
        singular=_singular(kind, plural),
        namespaced=scope == "N",
        short_names=_words(short),
        categories=_words(categories),
        verbs=_words(verbs[0]) if verbs else BUILT_IN_VERBS,
        subresources=tuple(_subresource(word, kind) for word in _words(subresources)),
        deprecations=DEPRECATIONS.get(plural, {}),
    )


def _subresource(word: str, kind: str) -> Subresource:
    """Read `name`, `name!Kind` or `name:verb`."""
    name, _, verb = word.partition(":")
    name, _, own_kind = name.partition("!")
    shown = own_kind or ("Scale" if name == "scale" else kind)
    group = _GROUP_OF_KIND.get(shown, "")
    verbs = (verb,) if verb else _SUBRESOURCE_VERBS.get(name, ("get", "patch", "update"))
    return Subresource(name=name, kind=shown, verbs=verbs, group=group, version="v1" if group else "")


def _custom(words: list[str]) -> Resource:
    group, versions, kind, plural, scope, short, categories, subresources = words
    served = _words(versions)
    declared = _words(subresources)
    return Resource(
        group=group,
        versions=served,
        storage_version=_STORED_IN_OTHER.get(plural, served[0]),
        kind=kind,
        plural=plural,
        singular=_singular(kind, plural).replace("networkattachment", "network-attachment-")
        if plural == "network-attachment-definitions"
        else _singular(kind, plural),
        namespaced=scope == "N",
        short_names=_words(short),
        categories=_words(categories),
        verbs=CUSTOM_VERBS,
        subresources=custom_subresources(kind, status="status" in declared, scale="scale" in declared),
        columns=tuple(_column(plural, text) for text in _COLUMNS.get(plural, "").split("|") if text),
        is_custom=True,
        deprecations=DEPRECATIONS.get(plural, {}),
    )


def _column(plural: str, text: str) -> Column:
    name, kind, path = text.split(" ", 2)
    wide = name.startswith("@1")
    name = name.removeprefix("@1").replace("_", " ")
    described = _DESCRIPTIONS.get((plural, name), f"Custom resource definition column (in JSONPath format): {path}")
    return Column(name=name, type=kind, path=path, priority=int(wide), description=described)
