"""A Meltano project like the one a user has: this repository's meltano.yml with its plugins, and settings in a .env.

The plugins are those that `make` installed into the repository's .meltano; state, logs and output are its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import sys
import typing as t
from pathlib import Path

import psutil
import pytest

from support.commands import Started, execute
from support.paths import ROOT
from support.runs import KEY

if t.TYPE_CHECKING:
    from braze_simulator import Simulator
    from support.commands import Launch

MELTANO = Path(sys.executable).with_name("meltano")
INSTALLED = ROOT / ".meltano"

#: Settings of the machine the tests run on, which Meltano would prefer to the project's.
FOREIGN = re.compile("(MELTANO|TAP|TARGET)_")


def variables(serving: Simulator, *, days: int) -> dict[str, object]:
    """Return how both plugins reach a simulator, and that the tap reads so many days and today."""
    connection = {"API_KEY": KEY, "API_URL": serving.url}
    return {
        **{
            f"{plugin}_{name}": value
            for plugin in ("TAP_BRAZE_SMS", "TARGET_BRAZE_SMS")
            for name, value in connection.items()
        },
        "TAP_BRAZE_SMS_START_DATE": dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=days + 1),
    }


def executable(kind: str, name: str) -> Path:
    """Return the command of a plugin that `make` installed, or skip the test where make did not run."""
    path = INSTALLED / kind / name / "venv" / "bin" / name
    if not MELTANO.exists() or not path.exists():
        pytest.skip(f"needs Meltano and {name}: `make test` installs them")
    return path


class Project:
    def __init__(self, folder: Path, settings: dict[str, object], launch: Launch = execute) -> None:
        for kind, name in {"extractors": "tap-braze-sms", "loaders": "target-postgres"}.items():
            executable(kind, name)
        self.folder = folder
        (folder / ".meltano").mkdir(parents=True)
        (folder / "output").mkdir()
        for kind in ("extractors", "loaders", "utilities"):
            (folder / ".meltano" / kind).symlink_to(INSTALLED / kind)
        shutil.copy(ROOT / "meltano.yml", folder)
        shutil.copytree(ROOT / "plugins", folder / "plugins")
        self.settings: dict[str, object] = {}
        self.env(**settings)
        self.launch = launch
        self.started: list[MeltanoRun] = []

    def env(self, **settings: object) -> None:
        """Put settings into .env, in place of what they were."""
        self.settings |= settings
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def start(self, *arguments: str) -> MeltanoRun:
        if arguments[0] == "run":
            # A plugin that is not as meltano.yml wants it is make's to install, not a test's to break. (There is the
            # setting auto_install, too, which Meltano 4.4 reads and ignores.)
            arguments = ("run", "--no-install", *arguments[1:])
        log = self.folder / f"log-{len(self.started)}"
        environment = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
        with log.open("wb") as file, Path(os.devnull).open("rb") as nothing:
            descriptors = (nothing.fileno(), file.fileno(), file.fileno())
            command = [str(MELTANO), *arguments]
            launched = self.launch(command, {**environment, "NO_COLOR": "1"}, self.folder, descriptors)
        self.started.append(MeltanoRun(*launched, log))
        return self.started[-1]

    def fails(self, *arguments: str) -> str:
        """Run a command of Meltano's that reports a failure; give its log."""
        return self.start(*arguments).ends(failing=True)

    def __call__(self, *arguments: str) -> str:
        """Run a command of Meltano's that succeeds; give what it printed, its log included."""
        return self.start(*arguments).ends()

    def end(self) -> None:
        for started in self.started:
            started.kill()


class MeltanoRun(Started):
    """A command of Meltano's that runs."""

    patience = 150

    def ends(self, *, failing: bool = False) -> str:
        code = self.wait()
        assert bool(code) is failing, f"exit code {code}:\n{self.log}"
        return self.log

    def plugin(self, name: str, option: str = "--config") -> psutil.Process:
        """Find the process of a plugin that is being run, not asked for its catalog."""
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if option in words and any(word.endswith(f"/{name}") for word in words):
                    return process
        pytest.fail(f"{name} does not run:\n{self.log}")

    def kill(self) -> None:
        if not self.has_ended():
            own = psutil.Process(self.pid)
            for process in [*own.children(recursive=True), own]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            self.wait()
