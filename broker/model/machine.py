"""The part of the API that a VM's template and a VMI's spec share: networks, interfaces, volumes, credentials. **Pure.**

Source: KubeVirt staging/src/kubevirt.io/api/core/v1/schema.go and types.go (v1.9).
"""

from __future__ import annotations

import msgspec

from broker.model.meta import Present, Struct


class Port(Struct, frozen=True):
    """One entry of `interfaces[].ports`: on a masquerade interface the list is a whitelist of guest ports."""

    port: int = 0
    name: str | None = None
    protocol: str | None = None


class PortRange(Struct, frozen=True):
    """One entry of `interfaces[].portRanges` (alpha gate PortRangesSpec), both ends inclusive."""

    start_port: int = 0
    end_port: int = 0
    protocol: str | None = None


class Plugin(Struct, frozen=True):
    """A network binding plugin by its registered name."""

    name: str = ""


class Interface(Struct, frozen=True):
    """`domain.devices.interfaces[]`: exactly one binding is set on objects that passed admission."""

    name: str = ""
    masquerade: Present | None = None
    bridge: Present | None = None
    sriov: Present | None = None
    passt_binding: Present | None = None
    passt: Present | None = None
    slirp: Present | None = None
    macvtap: Present | None = None
    binding: Plugin | None = None
    model: str | None = None
    mac_address: str | None = None
    state: str | None = None
    ports: list[Port] | None = None
    port_ranges: list[PortRange] | None = None

    @property
    def binding_name(self) -> str:
        """The binding as a word: masquerade, bridge, sriov, passt, slirp, macvtap, `plugin NAME`, or empty."""
        if self.masquerade is not None:
            return "masquerade"
        if self.bridge is not None:
            return "bridge"
        if self.sriov is not None:
            return "sriov"
        if self.binding is not None:
            return f"plugin {self.binding.name}".rstrip()
        if self.passt_binding is not None or self.passt is not None:
            return "passt"
        if self.slirp is not None:
            return "slirp"
        return "macvtap" if self.macvtap is not None else ""


class Multus(Struct, frozen=True):
    """A network of a NetworkAttachmentDefinition, `[NAMESPACE/]NAME`."""

    network_name: str = ""
    default: bool | None = None


class ResourceClaim(Struct, frozen=True):
    """A network device from a DRA claim (gate NetworkDevicesWithDRA)."""

    claim_name: str | None = None
    request_name: str | None = None


class PodNetwork(Struct, frozen=True):
    """The pod network; the CIDRs are those that the guest sees behind a masquerade interface."""

    vm_network_cidr: str | None = msgspec.field(name="vmNetworkCIDR", default=None)
    vm_ipv6_network_cidr: str | None = msgspec.field(name="vmIPv6NetworkCIDR", default=None)


class Network(Struct, frozen=True):
    """`networks[]`: exactly one source is set on objects that passed admission."""

    name: str = ""
    pod: PodNetwork | None = None
    multus: Multus | None = None
    resource_claim: ResourceClaim | None = None

    @property
    def source(self) -> str:
        """The source as text: `pod`, the NAD's name, `NAME (default)`, `claim NAME`, or empty."""
        if self.pod is not None:
            return "pod"
        if self.multus is not None:
            return f"{self.multus.network_name} (default)" if self.multus.default else self.multus.network_name
        if self.resource_claim is not None:
            return f"claim {self.resource_claim.claim_name or ''}".rstrip()
        return ""

    @property
    def is_default(self) -> bool:
        """Say whether the launcher pod's own default network stands behind it."""
        return self.pod is not None or (self.multus is not None and bool(self.multus.default))


class LocalSecret(Struct, frozen=True):
    """A Secret of the object's own namespace."""

    name: str = ""


class CloudInit(Struct, frozen=True):
    """`cloudInitNoCloud` or `cloudInitConfigDrive`: user data inline, in base64, or in a Secret."""

    user_data: str | None = None
    user_data_base64: str | None = None
    secret_ref: LocalSecret | None = None

    def __repr__(self) -> str:
        """Keep the user data, which may hold passwords, out of logs and tracebacks."""
        kinds = [kind for kind in ("user_data", "user_data_base64", "secret_ref") if getattr(self, kind) is not None]
        return f"CloudInit({', '.join(kinds)})"


class Volume(Struct, frozen=True):
    """One entry of `volumes`; only cloud-init is read."""

    name: str = ""
    cloud_init_no_cloud: CloudInit | None = None
    cloud_init_config_drive: CloudInit | None = None

    @property
    def cloud_init(self) -> CloudInit | None:
        """The cloud-init source of this volume, whichever of the two kinds it is."""
        return self.cloud_init_no_cloud or self.cloud_init_config_drive


class AgentUsers(Struct, frozen=True):
    """`propagationMethod.qemuGuestAgent` of an SSH key."""

    users: list[str] | None = None


class KeyPropagation(Struct, frozen=True):
    """How an SSH key reaches the guest; only the agent's way names users."""

    qemu_guest_agent: AgentUsers | None = None


class PublicKeyCredential(Struct, frozen=True):
    """`accessCredentials[].sshPublicKey`."""

    propagation_method: KeyPropagation | None = None


class AccessCredential(Struct, frozen=True):
    """One entry of `accessCredentials`; passwords are not read."""

    ssh_public_key: PublicKeyCredential | None = None


class Devices(Struct, frozen=True):
    """`domain.devices`, its interfaces."""

    interfaces: list[Interface] | None = None


class Domain(Struct, frozen=True):
    """`domain`, its devices."""

    devices: Devices | None = None


class MachineSpec(Struct, frozen=True):
    """`VirtualMachineInstanceSpec`, in a VMI and in a VM's template alike."""

    networks: list[Network] | None = None
    domain: Domain | None = None
    volumes: list[Volume] | None = None
    access_credentials: list[AccessCredential] | None = None

    @property
    def interfaces(self) -> list[Interface]:
        """`domain.devices.interfaces`, empty where any part of the way is absent."""
        if self.domain is None or self.domain.devices is None:
            return []
        return self.domain.devices.interfaces or []

    def network(self, name: str) -> Network | None:
        """Return the network of this name."""
        for network in self.networks or ():
            if network.name == name:
                return network
        return None

    def interface(self, name: str) -> Interface | None:
        """Return the interface of this name."""
        for interface in self.interfaces:
            if interface.name == name:
                return interface
        return None


NO_MACHINE = MachineSpec()
"""The empty spec, for objects that lack one."""
