"""What the tests share: the simulator, and ways to run the tap against it."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from simulator import Simulator

from tap_braze_sms.tap import TapBrazeSMS

ROOT = Path(__file__).parent.parent
KEY = "simulator-key"

#: The installed commands of the environment the tests run in.
BIN = Path(sys.executable).parent


@dataclass
class Run:
    """What a run of a plugin left behind."""

    code: int
    out: bytes
    log: str
    messages: list[dict] = field(init=False)

    def __post_init__(self):
        self.messages = [json.loads(line) for line in self.out.splitlines()]

    def of(self, kind: str) -> list[dict]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def records(self) -> list[dict]:
        return [message["record"] for message in self.of("RECORD")]

    @property
    def state(self) -> dict | None:
        states = self.of("STATE")
        return states[-1]["value"] if states else None

    @property
    def bookmark(self) -> str | None:
        return bookmark_of(self.state)


def bookmark_of(state: dict | None) -> str | None:
    stream = (state or {}).get("bookmarks", {}).get("invalid_phone_numbers", {})
    return stream.get("replication_key_value")


def state_of(bookmark: str) -> dict:
    return {
        "bookmarks": {
            "invalid_phone_numbers": {
                "replication_key": "invalid_detected_at",
                "replication_key_value": bookmark,
            }
        }
    }


@pytest.fixture
def simulator():
    """An empty simulator, serving."""
    with Simulator(api_key=KEY) as serving:
        yield serving


def config_for(serving: Simulator, **settings: object) -> dict:
    return {"api_key": KEY, "api_url": serving.url, "start_date": "2020-01-01", **settings}


def run_here(config: dict, *, state: dict | None = None, catalog: dict | None = None) -> Run:
    """Run the tap in this process; an error is raised as it is."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        TapBrazeSMS(config=config, state=state, catalog=catalog).sync_all()
    return Run(0, out.getvalue().encode(), "")


@pytest.fixture
def command(tmp_path):
    """Run an installed command with files made from dicts: `command("tap-braze-sms", config=…)`."""
    return Command(tmp_path)


class Command:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def arguments(self, name: str, *options: str, **files: object) -> list[str]:
        arguments = [str(BIN / name)]
        for option, content in files.items():
            self.number += 1
            path = self.folder / f"{option}-{self.number}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            arguments += [f"--{option}", str(path)]
        return [*arguments, *options]

    def __call__(self, name: str, *options: str, env: dict | None = None, stdin: bytes = b"", **files: object) -> Run:
        done = subprocess.run(
            self.arguments(name, *options, **files),
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=env,
        )
        return Run(done.returncode, done.stdout, done.stderr.decode())

    def text(self, name: str, *options: str, **files: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.arguments(name, *options, **files), capture_output=True, check=False, cwd=self.folder, text=True
        )
