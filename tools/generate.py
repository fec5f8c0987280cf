"""Writes what is told of the plugins elsewhere from what their code says: definitions for Meltano, tables of settings.

`make generate` does it; `--check` only says which of the files is not as it would be written, and fails: `make check`.

- `plugins/*/*.lock` is what Meltano reads of a plugin beside its name, variant and pip_url in meltano.yml.
- `hub/*/*.yml` is the same in the form of Meltano Hub, for `meltano add --from-ref` and for the Hub itself.
- In some pages, cog puts in what the comments there ask for: tables of settings, and what benchmarks/ measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from click.testing import CliRunner

from tap_braze_sms import settings
from tap_braze_sms.braze.instances import INSTANCES
from tap_braze_sms.tap import TapBrazeSMS
from tap_braze_sms.target import TargetBrazeSMS

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/comparison.md", "docs/settings.md")


class Plugin(t.NamedTuple):
    """A plugin, and what Meltano is told of it that its code does not say."""

    code: type[TapBrazeSMS | TargetBrazeSMS]
    name: str
    #: As Meltano has it, in the plural.
    kind: str
    label: str
    keywords: list[str]
    #: The permission that its key needs.
    permission: str
    settings: dict[str, t.Any]
    commands: dict[str, dict[str, str]]


PLUGINS = {
    plugin.name: plugin
    for plugin in (
        Plugin(
            TapBrazeSMS,
            "tap-braze-sms",
            "extractors",
            "Braze invalid phone numbers",
            ["api", "braze", "marketing", "meltano_sdk", "phone_numbers", "sms"],
            "sms.invalid_phone_numbers",
            settings.TAP.to_dict(),
            {
                "check": {
                    "args": "--config=ENV --check",
                    "description": (
                        "Say what the configured Braze is like, in at most 20 requests and nothing personal"
                    ),
                },
                "clean": {
                    "args": "--config=ENV --clean-batch-files",
                    "description": "Take away the BATCH files of runs that have ended. No loader may be reading them",
                },
            },
        ),
        Plugin(
            TargetBrazeSMS,
            "target-braze-sms",
            "loaders",
            "Braze invalid phone numbers, removal",
            ["api", "braze", "marketing", "meltano_sdk", "phone_numbers", "reverse_etl", "sms"],
            "sms.invalid_phone_numbers.remove",
            settings.TARGET.to_dict(),
            {},
        ),
    )
}

#: The Hub names a variant after the owner of its repository.
VARIANT = "tap-braze-sms"

#: Of these a plugin needs one beside what is required.
ONE_OF = ("instance", "api_url")

#: Kinds of the SDK's settings that may be of several types, as the Hub has them for every plugin.
KINDS = {"faker_config.seed": "string", "faker_config.locale": "array"}

#: Words that the Hub writes in capitals.
ABBREVIATIONS = {"jsonl": "JSONL", "gzip": "GZIP"}

#: What a definition holds for the Hub alone; Meltano has no use for it.
FOR_THE_HUB = ("domain_url", "keywords", "log_parser", "maintenance_status", "prereq")

HEADER = """\
# Written by `make generate` from the plugin's code, in the form of Meltano Hub (its _data/meltano/{kind}/).
# Without the Hub:
#
#     meltano add --plugin-type {singular} --from-ref hub/{kind}/{name}.yml {name}
#
# For the Hub, `variant` becomes the owner of the repository, and `repo` is added, its address.
"""


def about(plugin: Plugin) -> dict[str, t.Any]:
    """Return what a plugin tells of itself, the SDK's settings included."""
    told = CliRunner().invoke(plugin.code.cli, ["--about", "--format=json"], catch_exceptions=False)
    return t.cast("dict[str, t.Any]", json.loads(told.stdout))


def leaves(properties: dict[str, t.Any], path: str = "") -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield settings by the names that Meltano gives them: what is inside of an object is a setting of its own."""
    for name, schema in properties.items():
        if name == "batch_config":
            # Whole as well: by one variable, as the SDK has it.
            yield name, schema
        # Its properties are the user's streams.
        if schema.get("properties") and name != "stream_maps":
            yield from leaves(schema["properties"], f"{path}{name}.")
        else:
            yield f"{path}{name}", schema


def kind_of(name: str, schema: dict[str, t.Any], *, is_ours: bool) -> str:
    """Return the kind that Meltano has for a setting."""
    if name in KINDS:
        return KINDS[name]
    if "enum" in schema:
        # Of an option that there is not, Meltano makes a traceback: of an empty variable too, as a container's
        # environment has it for `instance` beside `api_url`. The plugin says what it takes, in one line.
        return "string" if is_ours else "options"
    (kind,) = {*([schema["type"]] if isinstance(schema["type"], str) else schema["type"])} - {"null"}
    # The plugin reads out of the text what it means. Meltano 4.4.1 makes a Decimal of the text of a `decimal`, and
    # cannot write that into a plugin's configuration; of a mistyped `boolean` it makes false, and a dry run a real one.
    if kind == "number" or (kind == "boolean" and is_ours):
        return "string"
    return "date_iso8601" if name.endswith("_date") else str(kind)


def setting(name: str, schema: dict[str, t.Any], *, is_ours: bool) -> dict[str, t.Any]:
    """Return a setting in Meltano's form; with its default, which `meltano config list` shows."""
    kind = kind_of(name, schema, is_ours=is_ours)
    told = {"name": name, "kind": kind, "value": schema.get("default"), "label": schema["title"]}
    told["description"] = schema["description"]
    if kind == "options":
        told["options"] = [
            {"label": ABBREVIATIONS.get(value, value.title()), "value": value} for value in schema["enum"]
        ]
    # Of a list that is to be hidden, `meltano config print` makes a traceback: it reads its own asterisks as JSON.
    if name in settings.SENSITIVE and kind != "array":
        told["sensitive"] = True
    return {key: value for key, value in told.items() if value is not None}


def define(plugin: Plugin) -> dict[str, t.Any]:
    """Return a plugin's definition in the form of Meltano Hub."""
    told = about(plugin)
    ours = plugin.settings["properties"]
    found = [setting(*leaf, is_ours=leaf[0] in ours) for leaf in leaves(told["settings"]["properties"])]
    return {
        "name": plugin.name,
        "namespace": plugin.name.replace("-", "_"),
        "variant": VARIANT,
        "label": plugin.label,
        "description": told["description"],
        "logo_url": "/assets/logos/extractors/braze.png",
        "domain_url": "https://www.braze.com/",
        "pip_url": "tap-braze-sms",
        "executable": plugin.name,
        "capabilities": sorted(told["capabilities"]),
        "settings_group_validation": [[*plugin.settings["required"], one] for one in ONE_OF],
        "settings": sorted(found, key=lambda one: one["name"] not in ours),
        "commands": plugin.commands,
        "supported_python_versions": told["supported_python_versions"],
        "keywords": plugin.keywords,
        "log_parser": "singer-sdk",
        "maintenance_status": "beta",
        "prereq": f"- A REST API key of Braze with the permission `{plugin.permission}`\n",
    }


def as_lock(plugin: Plugin, definition: dict[str, t.Any]) -> str:
    """Return a definition as Meltano locks it."""
    kept = {key: value for key, value in definition.items() if value and key not in FOR_THE_HUB}
    return json.dumps({"plugin_type": plugin.kind, **kept}, indent=2) + "\n"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines line by line."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None),
)


def as_hub(plugin: Plugin, definition: dict[str, t.Any]) -> str:
    """Return a definition as the Hub's files have it: sorted, each text in one line."""
    header = HEADER.format(kind=plugin.kind, singular=plugin.kind.removesuffix("s"), name=plugin.name)
    kept = {key: value for key, value in definition.items() if value}
    return header + yaml.dump(kept, Dumper=_Dumper, width=sys.maxsize, allow_unicode=True)


def definitions() -> dict[Path, str]:
    """Return what is to be in each file of definitions."""
    files = {}
    for plugin in PLUGINS.values():
        definition = define(plugin)
        files[ROOT / "plugins" / plugin.kind / f"{plugin.name}--{VARIANT}.lock"] = as_lock(plugin, definition)
        files[ROOT / "hub" / plugin.kind / f"{plugin.name}.yml"] = as_hub(plugin, definition)
    return files


# For cog


def table(name: str) -> str:
    """Return the settings of a plugin as a table in Markdown."""
    schema = PLUGINS[name].settings
    rows = ["| setting | type, default | meaning |", "|---|---|---|"]
    for setting_name, told in schema["properties"].items():
        words = [kind for kind in told["type"] if kind != "null"]
        words += ["secret"] * bool(told.get("secret")) + ["required"] * (setting_name in schema["required"])
        if (default := told.get("default")) is not None:
            words.append(f"`{default if isinstance(default, str) else json.dumps(default)}`")
        rows.append(f"| `{setting_name}` | {', '.join(words)} | {told['description']} |")
    return "\n".join(rows)


def instances() -> str:
    """Return a sentence with Braze's instances."""
    *most, last = (f"`{name}`" for name in INSTANCES)
    return f"Instances are {', '.join(most)} and {last}."


def main() -> None:
    """Write what is not up to date, or fail where something is not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, but fail where a file is not up to date")
    check = parser.parse_args().check
    stale = {
        path: text
        for path, text in definitions().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'not up to date' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    folders = ("-I", "tools", "-I", "benchmarks")
    cog = [sys.executable, "-m", "cogapp", "-U", "--verbosity=1", *folders, "-p", "import figures, generate"]
    cogged = subprocess.run([*cog, "--check" if check else "-r", *PAGES], cwd=ROOT, check=False)
    if (check and stale) or cogged.returncode:
        sys.exit("Some files are not what `make generate` writes: say `make generate`, and change the code, not them.")


if __name__ == "__main__":
    main()
