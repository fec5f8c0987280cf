"""What is told of the plugins for Meltano and in the guide is what `make generate` writes, and Meltano runs by it."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from braze_simulator import Simulator, digits, seeded
from support.meltano_project import executable
from support.paths import ROOT

KEY = "simulator-key"
DAYS = 20
PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text())
DEFINITIONS = {
    "tap-braze-sms": ROOT / "hub" / "extractors" / "tap-braze-sms.yml",
    "target-braze-sms": ROOT / "hub" / "loaders" / "target-braze-sms.yml",
}

#: Each file that is generated, and a text in it.
GENERATED = {
    "plugins/extractors/tap-braze-sms--tap-braze-sms.lock": '"kind": "integer"',
    "plugins/loaders/target-braze-sms--tap-braze-sms.lock": '"sensitive": true',
    "hub/extractors/tap-braze-sms.yml": "value: 500",
    "hub/loaders/target-braze-sms.yml": "- stream-maps",
    "docs/settings.md": "| `page_size` | integer, `500` |",
}


@pytest.fixture
def checkout(tmp_path):
    """What `make generate` reads and writes, in a folder of its own."""
    shutil.copy(ROOT / "README.md", tmp_path)
    for name in ("benchmarks", "docs", "hub", "plugins", "schemas", "tap_braze_sms", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def generate(folder, *options):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, folder / "tools" / "generate.py", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_what_is_generated_is_up_to_date():
    done = generate(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_edit_by_hand_of_any_copy_is_found_and_undone(checkout):
    before = {name: (checkout / name).read_text() for name in GENERATED}
    edited = {name: before[name].replace(text, text.upper(), 1) for name, text in GENERATED.items()}
    for name, text in edited.items():
        assert text != before[name]
        (checkout / name).write_text(text)
        done = generate(checkout, "--check")
        assert done.returncode == 1
        assert [known for known in GENERATED if known in done.stdout] == [name]
        assert "make generate" in done.stderr
        (checkout / name).write_text(before[name])
    for name, text in edited.items():
        (checkout / name).write_text(text)
    shutil.rmtree(checkout / "plugins")
    assert generate(checkout).returncode == 0
    assert {name: (checkout / name).read_text() for name in GENERATED} == before


def test_a_new_setting_is_declared_once_and_written_everywhere(checkout):
    code = checkout / "tap_braze_sms" / "settings.py"
    declaration = 'nickname=_Setting(_NON_EMPTY, "Bo", "What to call the workspace"),\n'
    code.write_text(code.read_text().replace("TAP = _declare(\n", f"TAP = _declare(\n    {declaration}"))
    assert generate(checkout, "--check").returncode == 1
    assert generate(checkout).returncode == 0
    assert generate(checkout, "--check").returncode == 0
    files = {name: (checkout / name).read_text() for name in GENERATED}
    told = {"name": "nickname", "kind": "string", "value": "Bo", "label": "Nickname"}
    told["description"] = "What to call the workspace"
    assert told in json.loads(files["plugins/extractors/tap-braze-sms--tap-braze-sms.lock"])["settings"]
    assert told in yaml.safe_load(files["hub/extractors/tap-braze-sms.yml"])["settings"]
    assert "| `nickname` | string, `Bo` | What to call the workspace |" in files["docs/settings.md"]
    assert "nickname" not in files["plugins/loaders/target-braze-sms--tap-braze-sms.lock"]


# Under Meltano


@pytest.fixture
def braze():
    with Simulator(seeded(300, days=DAYS), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def bare_project(braze, meltano_project):
    """A project without a plugin."""
    settings = {
        f"{prefix}_{name}": value
        for prefix in ("TAP_BRAZE_SMS", "TARGET_BRAZE_SMS")
        # Of both, Meltano would make a traceback, were they of the kinds that it has for them.
        for name, value in {"API_KEY": KEY, "API_URL": braze.url, "RATE_LIMIT_SHARE": 0.75, "INSTANCE": ""}.items()
    }
    start = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1)
    settings |= {"TAP_BRAZE_SMS_START_DATE": start, "TARGET_BRAZE_SMS_ALLOW_WHOLE_LIST": "true"}
    made = meltano_project(settings)
    shutil.rmtree(made.folder / "plugins")
    content = {key: PROJECT[key] for key in PROJECT.keys() - {"jobs", "plugins", "schedules"}}
    (made.folder / "meltano.yml").write_text(yaml.safe_dump(content))
    # Nothing is installed by a definition: its package may not be on the index yet. The commands are those that `make`
    # installed, in folders of this project's own: Meltano would empty the shared ones before it installed something.
    for name, path in DEFINITIONS.items():
        plugins = made.folder / ".meltano" / path.parent.name
        plugins.unlink()
        commands = plugins / name / "venv" / "bin"
        commands.mkdir(parents=True)
        (commands / name).symlink_to(executable(path.parent.name, name))
    return made


@pytest.mark.timeout(240)
def test_meltano_adds_and_runs_the_plugins_by_their_definitions(bare_project, braze):
    """The whole list is read, and handed back."""
    project = bare_project
    for name, path in DEFINITIONS.items():
        kind = path.parent.name.removesuffix("s")
        project("add", "--no-install", "--plugin-type", kind, "--from-ref", str(path), name)
    listed = {digits(entry.phone) for entry in braze.entries()}

    project("run", "--no-install", "tap-braze-sms", "target-braze-sms")

    assert len(listed) == 300
    assert {digits(phone) for post in braze.removal_posts for phone in post} == listed
    assert braze.entries() == []


@pytest.mark.timeout(240)
def test_settings_are_listed_set_and_inherited_as_those_of_any_plugin(meltano_project):
    project = meltano_project({"TAP_BRAZE_SMS_START_DATE": "2026-01-01"})
    before = {path: path.read_bytes() for path in (project.folder / "plugins").rglob("*.lock")}
    told = project("config", "set", "tap-braze-sms", "api_key", "a-key")
    assert "a-key" not in told
    project("config", "set", "tap-braze-sms", "page_size", "400")
    project("config", "set", "tap-braze-sms--full", "window_days", "7")
    listed = project("config", "list", "--all", "tap-braze-sms--full")
    printed = project("config", "print", "tap-braze-sms--full")
    # A secret goes where Git does not see it, anything else into the project.
    assert "TAP_BRAZE_SMS_API_KEY='a-key'" in (project.folder / ".env").read_text()
    plugins = yaml.safe_load((project.folder / "meltano.yml").read_text())["plugins"]["extractors"]
    configured = {plugin["name"]: plugin.get("config") for plugin in plugins}
    assert configured["tap-braze-sms"] == {"page_size": 400}
    assert configured["tap-braze-sms--full"] == {"emit_activate_version_messages": True, "window_days": 7}
    assert {path: path.read_bytes() for path in before} == before
    assert "a-key" not in listed + printed
    assert "How far before the bookmark an incremental run reads again" in listed
    config = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert (config["page_size"], config["window_days"], config["lookback_minutes"]) == (400, 7, 60)
    assert config["emit_activate_version_messages"] is True
