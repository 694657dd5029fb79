"""What the Warning header of an answer says of old versions, by plural and version; kubectl prints it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DEPRECATIONS"]

_OLD_API = {"v1alpha3": "kubevirt.io/v1alpha3 is now deprecated and will be removed in a future release."}
_PRESETS = "VirtualMachineInstancePresets is now deprecated and will be removed in v2."
DEPRECATIONS: Mapping[str, Mapping[str, str]] = {
    "componentstatuses": {"v1": "v1 ComponentStatus is deprecated in v1.19+"},
    "endpoints": {"v1": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"},
    "kubevirts": _OLD_API,
    "virtualmachineexports": {
        "v1beta1": "export.kubevirt.io/v1beta1 VirtualMachineExport is now deprecated and will be removed in a future version."
    },
    "virtualmachineinstancemigrations": _OLD_API,
    "virtualmachineinstancepresets": {"v1": f"kubevirt.io/v1 {_PRESETS}", "v1alpha3": f"kubevirt.io/v1alpha3 {_PRESETS}"},
    "virtualmachineinstancereplicasets": _OLD_API,
    "virtualmachineinstances": _OLD_API,
    "virtualmachines": _OLD_API,
    "nmstates": {"v1beta1": "nmstate/v1beta1 deprecated, use nmstate/v1 instead"},
    "nodenetworkconfigurationpolicies": {"v1beta1": "nmstate.io/v1beta1 NodeNetworkConfigurationPolicy is deprecated"},
}
