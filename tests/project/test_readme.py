"""README.md and the pages beside it: every block of code is parsed, and run where that takes no account."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from braze_simulator import digits, generated
from support.meltano_project import executable, variables
from support.paths import DATA, ROOT
from support.runs import KEY, config_for, row_of, rows_of
from tap_braze_sms import settings
from tap_braze_sms.tap import TapBrazeSMS

BASH = shutil.which("bash") or "bash"
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
PAGES += sorted(page for folder in ("docs", "examples/*") for page in ROOT.glob(f"{folder}/*.md"))
SECURITY = PAGES[1]
GUIDES = [PAGES[0], *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

PROJECT = yaml.safe_load((ROOT / "meltano.yml").read_text())


def blocks(language, pages=PAGES):
    """Return the blocks in a language, of all pages or of some."""
    found = [
        (path.name, re.sub(f"^{indent}", "", code, flags=re.MULTILINE))
        for path in pages
        for indent, kind, code in _BLOCK.findall(path.read_text())
        if kind == language
    ]
    return [pytest.param(code, id=f"{name}-{number}") for number, (name, code) in enumerate(found)]


def block(marker, language="shell"):
    """Return the one block of README.md and docs/ that has something in it."""
    (code,) = [param.values[0] for param in blocks(language, GUIDES) if marker in param.values[0]]
    return code


def test_every_block_says_what_it_is():
    kinds = {kind for page in PAGES for _, kind, _ in _BLOCK.findall(page.read_text())}
    assert kinds <= {"shell", "json", "yaml", "sql", "python", "dockerfile", "text", ""}


@pytest.mark.parametrize("code", blocks("json"))
def test_json_is_json(code):
    json.loads(code)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_is_python(code):
    compile(code, "README.md", "exec")


@pytest.mark.parametrize("code", blocks("shell"))
def test_shell_is_shell(code):
    done = subprocess.run([BASH, "-n"], input=code, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def plugins_to_add():
    """Return the plugins in the guides; other YAML in them is a mapping."""
    written = [yaml.safe_load(param.values[0]) for param in blocks("yaml", GUIDES)]
    return [plugin for block in written if isinstance(block, list) for plugin in block]


def test_recipes_run_jobs_that_there_are_with_settings_that_there_are():
    (page,) = (path for path in GUIDES if path.name == "where-it-runs.md")
    recipes = {kind: [param.values[0] for param in blocks(kind, [page])] for kind in ("yaml", "python")}
    actions, cron_job = map(yaml.safe_load, recipes["yaml"])
    jobs = {job["name"] for job in PROJECT["jobs"]}
    *_, step = actions["jobs"]["load"]["steps"]
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    commands = [
        step["run"].split(),
        container["command"],
        *re.findall(r"meltano (--env\S+ run \S+)\"", recipes["python"][0]),
    ]
    assert [(command.split() if isinstance(command, str) else command)[-1] in jobs for command in commands] == [
        True
    ] * 3
    known = {f"TAP_BRAZE_SMS_{name}".upper() for name in settings.TAP.to_dict()["properties"]}
    named = {name for name in step["env"] if name.startswith("TAP_BRAZE_SMS_")}
    assert named <= known
    assert len(named) == 4


def test_variables_of_dbt_are_those_that_its_project_has():
    written = [yaml.safe_load(param.values[0]) for param in blocks("yaml", GUIDES)]
    told = [block["vars"] for block in written if "vars" in block]
    project = yaml.safe_load((ROOT / "transform" / "dbt_project.yml").read_text())["vars"]
    staging = (ROOT / "transform" / "models" / "staging" / "stg_braze__detections.sql").read_text()
    macros = (ROOT / "transform" / "macros" / "loaded.sql").read_text()
    assert told
    for of_page in told:
        assert of_page.keys() <= project.keys()
        for entry in of_page["workspaces"]:
            assert all(f"entry.{key}" in staging + macros for key in entry)
            assert all(f"entry.full_run.{key}" in macros for key in entry.get("full_run", ()))


def test_the_commands_name_what_there_is():
    names = {plugin["name"] for plugins in PROJECT["plugins"].values() for plugin in plugins}
    names |= {plugin["name"] for plugin in plugins_to_add()}
    names |= {
        f"{plugin['name']}:{command}" for plugin in PROJECT["plugins"]["utilities"] for command in plugin["commands"]
    }
    jobs = {job["name"] for job in PROJECT["jobs"]}
    schedules = {schedule["name"] for schedule in PROJECT["schedules"]}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shell = "\n".join(param.values[0] for param in [*blocks("shell", GUIDES), *blocks("text", GUIDES)])
    shell = re.sub(r"\s#.*", "", shell)
    run = {word for line in re.findall(r"meltano run (.*)", shell) for word in line.split()}
    assert run
    assert {word for word in run if word not in names | jobs} <= {"--state-id-suffix", "backfill-2025-q1"}
    assert set(re.findall(r"schedule run (\S+)", shell)) == {"hourly-braze-postgres"} <= schedules
    prose = "\n".join(page.read_text() for page in GUIDES)
    assert set(re.findall(r"`make ([a-z-]+)", prose) + re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE)) <= targets


def test_the_configuration_is_one():
    config = json.loads(block("your-rest-api-key", "json"))
    assert settings.apply_defaults_and_validate(config, settings.TAP.to_dict()) == []


SALT = "a salt for tests, and nothing else"


def salted(phone):
    return hashlib.sha256((SALT + phone.removeprefix("+")).encode()).hexdigest()


@pytest.mark.parametrize("batched", [False, True], ids=["records", "batches"])
def test_the_stream_map_hashes_numbers_before_they_leave_the_tap(command, simulator, tmp_path, batched):
    entries = list(generated(200, days=20))
    simulator.add(entries)
    asked = [entries[0].phone, "+12005559876"]
    (config,) = [json.loads(param.values[0]) for param in blocks("json", [SECURITY])]
    keyed = config["stream_maps"]["invalid_phone_numbers"]
    config["stream_maps"]["phone_number_status"] = keyed | {"__key_properties__": ["phone_hash"]}
    config |= config_for(simulator, phone_numbers=asked)
    if batched:
        encoding, storage = {"format": "jsonl", "compression": "gzip"}, {"root": str(tmp_path / "batches")}
        config["batch_config"] = {"encoding": encoding, "storage": storage}
    name, salt = re.search(r"export (\w+)='(.*)'", SECURITY.read_text()).groups()
    run = command("tap-braze-sms", "--config=ENV", config=config, env={**os.environ, name: salt.replace("…", SALT)})
    assert run.code == 0, run.log
    schemas = {message["stream"]: message for message in run.of("SCHEMA")}
    assert schemas["invalid_phone_numbers"]["key_properties"] == ["phone_hash", "invalid_detected_at"]
    assert schemas["phone_number_status"]["key_properties"] == ["phone_hash"]
    assert not any("phone" in message["schema"]["properties"] for message in schemas.values())
    files = b"".join(gzip.decompress(path.read_bytes()) for path in tmp_path.glob("batches/*/*.gz"))
    records = [json.loads(line) for line in files.splitlines()] if batched else run.records
    assert len(run.of("BATCH")) == 2 * batched
    listed, found = ([r for r in records if ("checked_at" in r) == looked_up] for looked_up in (False, True))
    assert {tuple(sorted(record)) for record in listed} == {("invalid_detected_at", "phone_hash", "reason")}
    rows = rows_of([record | {"phone": record["phone_hash"]} for record in listed])
    assert sorted(rows) == sorted(row_of(entry._replace(phone=salted(entry.phone))) for entry in entries)
    assert {r["phone_hash"]: r["is_invalid"] for r in found} == {salted(asked[0]): True, salted(asked[1]): False}
    told = run.out.decode() + files.decode() + run.log
    assert not [phone for phone in (*asked, *(entry.phone for entry in entries)) if digits(phone) in told]
    assert SALT not in told


def test_a_hashed_number_is_found_by_hashing_it_the_same_way():
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    (line,) = re.findall(r"`(printf .*)`", SECURITY.read_text())
    (phone,) = re.findall(r"\d{11}", line)
    done = subprocess.run([BASH, "-c", line], env={**os.environ, "salt": SALT}, capture_output=True, check=True)
    assert done.stdout.split()[0].decode() == salted(phone)


def test_plugins_to_add_fit_the_project():
    known = {plugin["name"]: plugin for plugins in PROJECT["plugins"].values() for plugin in plugins}
    added = plugins_to_add()
    assert len(added) > 2
    for plugin in added:
        parent = known.get(plugin.get("inherit_from"))
        assert parent or {"name", "namespace", "pip_url", "executable"} <= plugin.keys()
        assert plugin["name"] not in known
        if parent:
            # Some are another account, the others read that of their parent.
            account = {} if "api_key" in plugin["config"] else {"api_key": "key", "instance": "US-01"}
            config = {"start_date": "2026-01-01", **account, **plugin["config"]}
            assert settings.apply_defaults_and_validate(config, settings.TAP.to_dict()) == []
            TapBrazeSMS(config=config, parse_env_config=False)


class Shell:
    """Runs the pages' lines in a folder, with the project's commands and loaders to be found."""

    def __init__(self, folder):
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        (programs / "target-braze-sms").symlink_to(Path(sys.executable).with_name("target-braze-sms"))
        (programs / "meltano").symlink_to(Path(sys.executable).with_name("meltano"))
        foreign = re.compile("(MELTANO|TAP|TARGET)_")
        self.environment = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        self.environment |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def __call__(self, code, folder=None):
        done = subprocess.run(
            [BASH, "-e", "-o", "pipefail", "-c", code],
            cwd=folder or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environments(self, loader):
        """Have the folders tap and loader, as README makes them, with commands that `make` installed."""
        for folder, kind, name in (("tap", "extractors", "tap-braze-sms"), ("loader", "loaders", loader)):
            (self.folder / folder / "bin").mkdir(parents=True)
            (self.folder / folder / "bin" / name).symlink_to(executable(kind, name))
        python = self.folder / "loader" / "bin" / "python"
        # Not a link: a Python looks for its packages beside the name by which it was called.
        python.write_text(f'#!/bin/sh\nexec {executable("loaders", loader).with_name("python")} "$@"\n')
        python.chmod(0o755)

    def write(self, name, **config):
        (self.folder / name).write_text(json.dumps(config))


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def in_duckdb(folder):
    import duckdb

    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute("SELECT phone, invalid_detected_at FROM braze.invalid_phone_numbers").fetchall()


def in_csv_files(folder):
    rows = [row for file in folder.glob("*.csv") for row in csv.DictReader(file.read_text().splitlines())]
    return {(row["phone"], row["invalid_detected_at"]) for row in rows}


@pytest.mark.parametrize("loader, rows", [("target-duckdb", in_duckdb), ("target-csv", in_csv_files)])
def test_the_first_load_needs_no_server_and_the_next_goes_on_from_its_state(shell, simulator, loader, rows):
    simulator.add(generated(300, days=20))
    # The same versions as under Meltano.
    (pinned,) = (plugin["pip_url"] for plugin in PROJECT["plugins"]["loaders"] if plugin["name"] == loader)
    _, *load = block(f"pip install {pinned}").splitlines()
    shell.environments(loader)
    shell.write("config.json", **config_for(simulator))
    shell("\n".join(load))
    assert len(rows(shell.folder)) == 300
    if loader == "target-duckdb":
        assert "provider_error" in shell(block("import duckdb"))
    simulator.detect(5, minutes=3)
    simulator.requests.clear()
    shell(block("--state state.json").replace("target-duckdb", loader))
    assert len(simulator.requests) <= 2
    assert len(rows(shell.folder)) == 305


@pytest.mark.timeout(240)
def test_without_a_runner_each_run_goes_on_from_the_state_of_the_last(shell, simulator, database):
    simulator.add(generated(300, days=20))
    shell.environments("target-postgres")
    shell.write("config.json", **config_for(simulator))
    shell.write("target.json", sqlalchemy_url=database.url, default_target_schema="by_hand", use_copy=True)
    first, following = (
        block(marker).replace("target-duckdb", "target-postgres")
        for marker in ("install target-duckdb", "--state state.json")
    )
    shell(first.splitlines()[-1])
    simulator.detect(5, minutes=3)
    simulator.requests.clear()
    shell(following)
    assert len(simulator.requests) <= 2
    assert database.ask("SELECT count(*) FROM by_hand.invalid_phone_numbers") == [(305,)]


@pytest.mark.timeout(240)
def test_a_backfill_beside_the_schedule_reads_its_range_and_leaves_the_schedules_state_alone(
    tmp_path, meltano_project, shell, simulator, database
):
    backfill = block("--state-id-suffix")
    simulator.add(generated(400, days=200, until=dt.datetime(2025, 6, 1, tzinfo=dt.timezone.utc)))
    first, end = (
        dt.datetime.fromisoformat(day).replace(tzinfo=dt.timezone.utc) for day in ("2025-01-01", "2025-04-01")
    )
    assert all(str(moment.date()) in backfill for moment in (first, end))
    project = meltano_project(
        variables(simulator, days=900)
        | {
            "TARGET_POSTGRES_SQLALCHEMY_URL": database.url,
            "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": "backfilled",
            "MELTANO_STATE_BACKEND_URI": f"file://{tmp_path / 'state'}",
        }
    )
    shell(backfill, project.folder)
    wanted = sorted(entry.detected_at for entry in simulator.entries() if first <= entry.detected_at < end)
    assert 100 < len(wanted) < 300
    loaded = database.ask(
        "SELECT invalid_detected_at AT TIME ZONE 'UTC' FROM backfilled.invalid_phone_numbers ORDER BY 1"
    )
    assert [moment for (moment,) in loaded] == wanted
    states = [path.parent.name for path in (tmp_path / "state").rglob("state.json")]
    assert states == ["dev:tap-braze-sms-to-target-postgres:backfill-2025-q1"]


def test_curl_reaches_the_simulator(shell, simulator):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    # Within the days that the line asks for.
    simulator.add(generated(50, days=20, until=dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc)))
    lines = block("curl").partition("\n")[2].replace("http://127.0.0.1:8123", simulator.url)
    answers = shell(lines.replace("simulator-key", KEY))
    listed, changed = json.JSONDecoder().raw_decode(answers)[0], simulator.behaviour
    assert len(listed["sms"]) == 5
    assert (changed.removals_per_page, changed.fault_rate) == (0.4, 0.1)


def test_verified_numbers_go_back_from_a_file(shell, simulator):
    entries = generated(3, days=2)
    simulator.add(entries)
    shutil.copy(DATA / "reverified.singer", shell.folder / "verified.singer")
    shell.write("target.json", api_key=KEY, api_url=simulator.url)
    (line,) = [line for line in block("target-braze-sms --config target.json").splitlines() if "target-braze" in line]
    shell(line)
    text = (shell.folder / "verified.singer").read_text()
    named = {digits(phone) for phone in re.findall(r'"phone": ?"([^"]+)"', text)}
    assert {digits(phone) for post in simulator.removal_posts for phone in post} == named
