"""The container's recipe, proven without a container engine: linted, consistent, and its build carried out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.paths import BIN, ROOT

PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"

#: Each instruction of the Dockerfile on one line: its name, and its arguments.
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"^#.*\n|\\\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).splitlines()
    if line
]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def stage(name):
    """Return the instructions of a stage; the last one has no name."""
    starts = [at for at, (instruction, _) in enumerate(INSTRUCTIONS) if instruction == "FROM"]
    stages = [INSTRUCTIONS[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    (found,) = (one for one in stages if one[0][1].partition(" AS ")[2] == name)
    return found


def ignores(path):
    """Whether a build does not get to see a file: to Docker, the last pattern counts that fits it or a folder of it."""
    ignored = False
    for line in IGNORED:
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", path.as_posix()):
            ignored = not line.startswith("!")
    return ignored


def copy(names, folder):
    """Do what COPY does: of a folder, it copies what is in it."""
    for name in names:
        found = [path for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
        sent = [path for path in found if not ignores(path.relative_to(ROOT))]
        assert sent, f"{name} is not there, or .dockerignore keeps it out"
        for path in sent:
            place = folder / (path.name if path == ROOT / name else path.relative_to(ROOT / name))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def run(*arguments, **options):
    ended = subprocess.run(
        arguments, **options, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_the_linter_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=PATH)
    if not hadolint:
        pytest.skip("needs hadolint: `make test` installs it")
    assert not run(hadolint, ROOT / "Dockerfile")


def test_secrets_state_and_caches_stay_out_of_the_build():
    for name in (".env", ".git/config", ".meltano/meltano.db", "output/verified.csv", "schemas/a/__pycache__/b.pyc"):
        assert ignores(Path(name)), name


def test_the_image_says_of_itself_what_the_package_does():
    labels = dict(word.split("=", 1) for word in shlex.split(dict(stage(""))["LABEL"]))
    package = importlib.metadata.metadata("tap-braze-sms")
    assert labels == {
        "org.opencontainers.image.title": package["Name"],
        "org.opencontainers.image.description": package["Summary"],
        "org.opencontainers.image.licenses": package["License-Expression"],
    }


def test_the_image_starts_what_was_built_as_an_ordinary_user():
    built = re.search(r"-m venv .*?(/\S+)", dict(stage("build"))["RUN"])[1]
    last = dict(stage(""))
    assert last["COPY"] == f"--from=build {built} {built}"
    assert last["ENV"] == f"PATH={built}/bin:$PATH"
    assert json.loads(last["ENTRYPOINT"]) == ["tap-braze-sms"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])


def test_the_build_stage_installs_both_commands_from_what_it_copies(tmp_path):
    """Without an index: what the plugins need is found where the tests find it."""
    for needed in ("hatchling", "pip"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"needs {needed}: `make test` installs it")
    source = tmp_path / "source"
    source.mkdir()
    environment = {**os.environ, "PATH": PATH, "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    for instruction, arguments in stage("build"):
        if instruction == "COPY":
            *names, target = arguments.split()
            copy(names, source / target)
        # The build backend comes from the index; here it is installed.
        elif instruction == "RUN" and not arguments.startswith("python -m pip install"):
            run("/bin/sh", "-ec", re.sub(r"\s/(?=opt|wheels)", f" {tmp_path}/", arguments), cwd=source, env=environment)
    (commands,) = tmp_path.glob("opt/*/bin")
    for name in ("tap-braze-sms", "target-braze-sms"):
        said = run(commands / name, "--version", env={"PYTHONPATH": sysconfig.get_path("purelib")})
        assert said.startswith(f"{name} v")
