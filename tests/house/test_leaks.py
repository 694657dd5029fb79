"""Nothing of one machine stands in a tracked file."""

from __future__ import annotations

import re
import subprocess

from tests.house.tree import ROOT

MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root)/(?!\.?$)[\w.]+|files\.pythonhosted|//[\w.-]*(?:pypi|npmjs|artifactory|nexus)[\w.-]*/"
)


def test_no_path_of_a_machine_and_no_registry_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path == ROOT / "tests/house/test_leaks.py":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if MACHINE.search(line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert found == []
