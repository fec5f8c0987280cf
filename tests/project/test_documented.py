"""What is written down twice says the same: settings in the code, in meltano.yml and in docs/settings.md; schemas."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from tap_braze_sms import settings
from tap_braze_sms.tap import TapBrazeSMS
from tap_braze_sms.target import TargetBrazeSMS

PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text())
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
PLUGINS = {
    "tap-braze-sms": ("extractors", TapBrazeSMS, settings.TAP.to_dict()),
    "target-braze-sms": ("loaders", TargetBrazeSMS, settings.TARGET.to_dict()),
}

each_plugin = pytest.mark.parametrize("name", PLUGINS)


def in_meltano(name):
    (plugin,) = (plugin for plugin in PROJECT["plugins"][PLUGINS[name][0]] if plugin["name"] == name)
    return plugin


def own_settings(name):
    """Return what meltano.yml says of settings, without those of the SDK's that .env must be able to give."""
    return [s for s in in_meltano(name)["settings"] if s["name"] not in {"stream_maps", "stream_map_config"}]


def meltano_kind(name, schema):
    """Return the kind that Meltano has for a setting of this type."""
    if name.endswith("_date"):
        return "date_iso8601"
    (kind,) = {*([schema["type"]] if isinstance(schema["type"], str) else schema["type"])} - {"null"}
    # Nor "options" where there is a choice: meltano.yml says why.
    return "string" if kind == "number" else kind


@each_plugin
def test_meltano_knows_the_settings_of_the_code(name):
    _, _, schema = PLUGINS[name]
    documented = {setting["name"]: setting for setting in own_settings(name)}
    assert documented.keys() == schema["properties"].keys()
    for setting, prop in schema["properties"].items():
        expected = {
            "name": setting,
            "kind": meltano_kind(setting, prop),
            "label": prop["title"],
            "description": prop["description"],
        }
        if prop.get("secret"):
            expected["sensitive"] = True
        assert documented[setting] == expected


@each_plugin
def test_meltano_knows_the_capabilities_of_the_code(name):
    _, plugin, _ = PLUGINS[name]
    assert sorted(in_meltano(name)["capabilities"]) == sorted(capability.value for capability in plugin.capabilities)


@each_plugin
def test_meltano_asks_for_what_the_code_requires(name):
    _, _, schema = PLUGINS[name]
    groups = in_meltano(name)["settings_group_validation"]
    required = set(schema["required"])
    assert [set(group) - required for group in groups] == [{"instance"}, {"api_url"}]
    assert all(required < set(group) for group in groups)


def test_every_variable_of_the_example_sets_something():
    names = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    plugins = {plugin["name"]: plugin for plugins in PROJECT["plugins"].values() for plugin in plugins}
    known = {
        f"{name}_{setting['name']}".replace("-", "_").upper()
        for name, plugin in plugins.items()
        for setting in plugins[plugin.get("inherit_from", name)]["settings"]
    }
    assert names
    assert set(names) <= known | {"MELTANO_STATE_BACKEND_URI"}


def tables_of_settings():
    """Return the tables of docs/settings.md: each a dict of rows by the name in backticks."""
    tables = [{}]
    for line in SETTINGS.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            tables += [{}] if tables[-1] else []
        elif named := re.fullmatch("`([a-z_]+)`", cells[0]):
            tables[-1][named[1]] = cells[1]
    return [table for table in tables if table]


@each_plugin
def test_the_guide_knows_the_settings_of_the_code(name):
    """The first table is the tap's; the target's may leave out what it shares with the tap."""
    _, _, schema = PLUGINS[name]
    properties = schema["properties"]
    tables = tables_of_settings()
    if name == "tap-braze-sms":
        table = tables[0]
        assert table.keys() == properties.keys()
    else:
        table = tables[1]
        assert table.keys() <= properties.keys()
        assert table.keys() >= properties.keys() - settings.TAP.to_dict()["properties"].keys()
    for setting, described in table.items():
        words = re.split(r"[\s,`]+", described)
        default = properties[setting].get("default")
        spelled = default if isinstance(default, str) else json.dumps(default)
        assert default is None or spelled in words, f"{setting}: the guide says {described!r}, not {default!r}"
        assert ("required" in words) is (setting in schema["required"]), setting


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
    assert set(PLUGINS) <= set(re.findall(r"^([\w-]+) =", commands, re.MULTILINE))


def test_contributing_knows_every_module():
    modules = [path.stem for path in (ROOT / "tap_braze_sms").rglob("*.py") if path.stem != "__init__"]
    _, _, section = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Modules\n")
    table = re.findall(r"^\|[^|]*\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(table) == sorted(modules)
