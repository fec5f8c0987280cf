"""CI runs what the project says: the Pythons it supports, and targets that the Makefile has."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess

import pytest
import yaml

from support.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="not in an sdist")


@pytest.fixture
def supported() -> list[str]:
    classifiers = importlib.metadata.metadata("tap-braze-sms").get_all("Classifier")
    return [name.split(" :: ")[2] for name in classifiers if re.search(r":: 3\.\d+$", name)]


def test_every_supported_python_is_tested(tmp_path, supported):
    steps = WORKFLOWS["test.yml"]["jobs"]["pythons"]["steps"]
    (script,) = (step["run"] for step in steps if step.get("id") == "read")
    output = tmp_path / "output"
    environment = {"GITHUB_OUTPUT": str(output), "PATH": "/usr/bin:/bin"}
    subprocess.run(["/bin/bash", "-e", "-c", script], cwd=ROOT, env=environment, check=True)
    name, _, versions = output.read_text().strip().partition("=")
    assert name == "versions"
    assert json.loads(versions) == supported
    assert supported


def test_make_takes_the_pythons_that_all_is_tested_on(supported):
    (step,) = (step for step in WORKFLOWS["test.yml"]["jobs"]["test"]["steps"] if step.get("run") == "make test-all")
    tested = [version for version in supported if version not in re.findall(r"!= '([\d.]+)'", step["if"])]
    taken = re.search(r"\((3, \d+)\) <= sys\.version_info\[:2\] <= \((3, \d+)\)", MAKEFILE)
    assert [bound.replace(", ", ".") for bound in taken.groups()] == [tested[0], tested[-1]]
    assert importlib.metadata.metadata("tap-braze-sms")["Requires-Python"] == f">={supported[0]}"


def test_workflows_make_what_the_makefile_has():
    steps = [step for flow in WORKFLOWS.values() for job in flow["jobs"].values() for step in job.get("steps", [])]
    made = [re.findall(r"^make ([\w-]+)", step["run"]) for step in steps if "make " in step.get("run", "")]
    targets = re.findall(r"^([\w-]+):.*## ", MAKEFILE, re.MULTILINE)
    assert made
    assert {target for targets in made for target in targets} <= set(targets)
