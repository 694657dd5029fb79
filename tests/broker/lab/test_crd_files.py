"""CustomResourceDefinitions from files: what is wrong is told by file and field, and no file is waited for."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.lab import crd_files
from broker.lab.crd_files import read_definitions

GOOD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wg"]},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    },
}
ABSENT = object()


def changed(field: str, value: object) -> dict[str, Any]:
    """The good definition with one field put in or taken out; `field` is words and numbers with dots between."""
    crd = copy.deepcopy(GOOD)
    *way, last = field.split(".")
    at: Any = crd
    for word in way:
        at = at[int(word) if word.isdigit() else word]
    if value is ABSENT:
        del at[last]
    else:
        at[last] = value
    return crd


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("spec", ABSENT, "spec is missing"),
        ("spec", 7, "spec is a number, not a map"),
        ("spec.versions", 7, "spec.versions is a number, not a list"),
        ("spec.versions", [], "spec.versions is empty"),
        ("spec.versions", ["v1"], r"spec.versions\[0\] is a text, not a map"),
        ("spec.versions.0.name", 1, r"spec.versions\[0\].name is a number, not a text"),
        ("spec.versions.0.served", False, "spec.versions: none of them is served"),
        ("spec.versions.0.schema", "x", r"spec.versions\[0\].schema is a text, not a map"),
        ("spec.versions.0.additionalPrinterColumns", [{"name": "A"}], r"additionalPrinterColumns\[0\].type is missing"),
        ("spec.names", None, "spec.names is nothing, not a map"),
        ("spec.names.plural", ABSENT, "spec.names.plural is missing"),
        ("spec.names.kind", "", "spec.names.kind is empty"),
        ("spec.names.shortNames", 5, "spec.names.shortNames is a number, not a list"),
        ("spec.scope", "Everywhere", "spec.scope is neither Namespaced nor Cluster"),
        ("spec.group", ["a"], "spec.group is a list, not a text"),
        ("metadata", ABSENT, "metadata is missing"),
        ("metadata.name", "widgets.example.org", "metadata.name is not widgets.example.com"),
        ("metadata.labels", {"a": 1}, "labels.* is a number, not a text"),
    ],
)
def test_a_mistake_is_told_by_file_and_field_without_a_word_of_python(
    field: str, value: object, said: str, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(changed(field, value)))
    with pytest.raises(ValueError, match=r"^x\.yaml, CustomResourceDefinition .*: .*" + said) as raised:
        read_definitions(tmp_path)
    for word in ("object is", "NoneType", "`", "'int'", "$"):
        assert word not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", r"x\.yaml, line 2 is no YAML"),
        ("a: 2024-13-45", r"x\.yaml holds a value that cannot be read"),
        ("? {a: b}\n: c", r"x\.yaml, line 1 is no YAML"),
        ("[" * 20_000, r"x\.yaml"),
        ("\x00", r"x\.yaml is no YAML"),
        ("just words", "holds no CustomResourceDefinition"),
    ],
)
def test_a_file_that_is_no_definition_is_told_by_name(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_definitions(tmp_path)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(GOOD))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "absent")
    assert [resource.plural for resource in read_definitions(tmp_path).resources] == ["widgets"]
    monkeypatch.setattr(crd_files, "_ALL_LIMIT_BYTES", 100)
    with pytest.raises(ValueError, match="are larger than"):
        read_definitions(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(crd_files, "_FILE_LIMIT_BYTES", 100)
    with pytest.raises(ValueError, match=r"good\.yaml is larger than"):
        read_definitions(tmp_path)
