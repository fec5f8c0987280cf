"""The definitions for Meltano Hub say what the plugins say of themselves, and Meltano runs the plugins by them."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import yaml
from test_documented import PROJECT, in_meltano, own_settings

from braze_simulator import Simulator, digits, seeded
from support.meltano_project import Project, executable
from support.paths import ROOT

KEY = "simulator-key"
DAYS = 20
DEFINITIONS = {
    "tap-braze-sms": ROOT / "hub" / "extractors" / "tap-braze-sms.yml",
    "target-braze-sms": ROOT / "hub" / "loaders" / "target-braze-sms.yml",
}

#: Kinds of the settings whose schema allows more than one type, as the Hub has them for every plugin.
KINDS = {"faker_config.seed": "string", "faker_config.locale": "array"}

each_plugin = pytest.mark.parametrize("name", DEFINITIONS)


def defined(name):
    return yaml.safe_load(DEFINITIONS[name].read_text())


@pytest.fixture
def about(command, name):
    return json.loads(command.text(name, "--about", "--format=json").stdout)


def leaves(properties, path=""):
    """Yield settings by the names that Meltano gives them: what is inside of an object is a setting of its own."""
    for name, schema in properties.items():
        # Its properties are the user's streams.
        if schema.get("properties") and name != "stream_maps":
            yield from leaves(schema["properties"], f"{path}{name}.")
        else:
            yield f"{path}{name}", schema


def of_the_sdk(name, schema):
    """Return the Hub's form of a setting that the SDK adds."""
    setting = {"name": name, "label": schema["title"], "description": schema["description"]}
    if "enum" in schema:
        # The Hub writes abbreviations in capitals.
        labels = {"jsonl": "JSONL", "gzip": "GZIP"}
        options = [{"label": labels.get(value, value.title()), "value": value} for value in schema["enum"]]
        return {**setting, "kind": "options", "options": options}
    (kind,) = [KINDS[name]] if name in KINDS else {*schema["type"]} - {"null"}
    return {**setting, "kind": kind}


@each_plugin
def test_the_hub_knows_the_settings_of_the_plugin(name, about):
    """The project's own as in meltano.yml, with their defaults, which the Hub shows; then the SDK's."""
    properties = about["settings"]["properties"]
    own = []
    for setting in own_settings(name):
        default = properties.pop(setting["name"]).get("default")
        own.append(setting if default is None else {**setting, "value": default})
    assert defined(name)["settings"] == own + [of_the_sdk(*leaf) for leaf in leaves(properties)]


@each_plugin
def test_the_hub_knows_the_plugin_as_it_describes_itself(name, about):
    definition, plugin = defined(name), in_meltano(name)
    for key in ("name", "namespace", "label", "executable", "capabilities", "settings_group_validation"):
        assert definition[key] == plugin[key], key
    assert definition.get("commands") == plugin.get("commands")
    for key in ("name", "description", "supported_python_versions"):
        assert definition[key] == about[key], key


@pytest.fixture
def braze():
    with Simulator(seeded(300, days=DAYS), api_key=KEY) as serving:
        yield serving


@pytest.fixture
def project(tmp_path, braze):
    """A project without a plugin."""
    settings = {
        f"{prefix}_{name}": value
        for prefix in ("TAP_BRAZE_SMS", "TARGET_BRAZE_SMS")
        for name, value in {"API_KEY": KEY, "API_URL": braze.url, "RATE_LIMIT_SHARE": 0.75}.items()
    }
    start = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=DAYS + 1)
    settings |= {"TAP_BRAZE_SMS_START_DATE": start, "TARGET_BRAZE_SMS_ALLOW_WHOLE_LIST": "true"}
    made = Project(tmp_path / "project", settings)
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
    yield made
    made.end()


@pytest.mark.timeout(240)
def test_meltano_adds_and_runs_the_plugins_by_their_definitions(project, braze):
    """The whole list is read, and handed back."""
    for name, path in DEFINITIONS.items():
        kind = path.parent.name.removesuffix("s")
        project("add", "--no-install", "--plugin-type", kind, "--from-ref", str(path), name)
    listed = {digits(entry.phone) for entry in braze.entries()}

    project("run", "--no-install", "tap-braze-sms", "target-braze-sms")

    assert len(listed) == 300
    assert {digits(phone) for post in braze.removal_posts for phone in post} == listed
    assert braze.entries() == []
