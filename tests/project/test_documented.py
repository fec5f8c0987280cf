"""What stands in two places says the same: variables of .env.example, schemas, modules, errors, exit statuses."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from tap_braze_sms.concurrency.cancellation import SIGNALED
from tap_braze_sms.reading.errors import Kind
from tap_braze_sms.singer import cli
from tap_braze_sms.tap import TapBrazeSMS

PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text())
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_every_variable_of_the_example_sets_something():
    names = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    plugins = {plugin["name"]: plugin for plugins in PROJECT["plugins"].values() for plugin in plugins}
    plugins |= {lock["name"]: lock for lock in (json.loads(path.read_text()) for path in ROOT.glob("plugins/*/*.lock"))}
    known = {
        f"{name}_{setting['name']}".replace("-", "_").upper()
        for name, plugin in plugins.items()
        for setting in plugins[plugin.get("inherit_from", name)].get("settings", ())
    }
    assert names
    assert set(names) <= known | {"MELTANO_STATE_BACKEND_URI"}


def test_every_stream_has_its_schema_file(tmp_path):
    streams = TapBrazeSMS(config={"api_key": "k", "instance": "US-06", "start_date": "2026-01-01"}).streams
    files = {path.stem: json.loads(path.read_text()) for path in (ROOT / "schemas").glob("*.json")}
    assert files.keys() == streams.keys()
    for name, stream in streams.items():
        assert stream.schema["properties"] == files[name]["properties"]
        assert set(stream.primary_keys) <= files[name]["properties"].keys()
        assert all(prop["description"] for prop in files[name]["properties"].values())


def test_the_wheel_has_the_schemas_and_the_commands(tmp_path):
    pytest.importorskip("hatchling")
    arguments = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as wheel:
        names = wheel.namelist()
        (commands,) = (wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
        schemas = {Path(name).name: wheel.read(name) for name in names if name.startswith("tap_braze_sms/schemas/")}
    assert schemas == {path.name: path.read_bytes() for path in (ROOT / "schemas").glob("*.json")}
    assert {"tap-braze-sms", "target-braze-sms"} <= set(re.findall(r"^([\w-]+) =", commands, re.MULTILINE))


def test_contributing_knows_every_module():
    modules = [path.stem for path in (ROOT / "tap_braze_sms").rglob("*.py") if path.stem != "__init__"]
    _, _, section = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Modules\n")
    table = re.findall(r"^\|[^|]*\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(table) == sorted(modules)


def test_the_guide_knows_the_exit_statuses_of_the_code():
    told = {
        int(status): meaning for status, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", TROUBLESHOOTING, re.MULTILINE)
    }
    assert told.keys() == set(cli._STATUSES.values())
    for kind, word in {Kind.SETTING: "setting", Kind.ACCESS: "key", Kind.PASSING: "pass", Kind.DATA: "came"}.items():
        assert word in told[cli._STATUSES[kind]]
    assert f"| {SIGNALED} + a signal's number |" in TROUBLESHOOTING


def test_the_code_says_what_the_guide_explains():
    """In parts: what stands for a name, a number or a text of Braze's is filled in when it is said."""
    code = [ast.walk(ast.parse(path.read_text())) for path in (ROOT / "tap_braze_sms").rglob("*.py")]
    texts = [node.value for nodes in code for node in nodes if isinstance(node, ast.Constant)]
    said = "\n".join(text for text in texts if isinstance(text, str))
    rows = re.findall(r"^\| (`.*?) \|", TROUBLESHOOTING, re.MULTILINE)
    lines = [line for row in rows for line in re.findall(r"`([^`]*)`", row)]
    assert len(lines) > 30
    parts = [part.strip(" ,-") for line in lines for part in re.split(r"…|:|\d+|[A-Z_]{5,}", line)]
    assert [part for part in parts if part not in said] == []
