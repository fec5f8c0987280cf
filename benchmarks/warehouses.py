"""The warehouses that runs load: emptied before each, and asked afterwards what is in them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import typing as t
from dataclasses import dataclass

import psycopg
from contenders import PROJECT

# As the demo runs it: Postgres that came in a wheel.
sys.path.append(str(PROJECT / "demo"))

import warehouse as postgres

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contenders import Warehouse

TABLE = "braze.invalid_phone_numbers"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A database on a running server, made anew for each run."""

    server: postgres.Warehouse
    name: str = "postgres"
    loader: str = "target-postgres"
    database: str = "benchmark"

    @property
    def address(self) -> str:
        """Return its URL."""
        return self.server.uri.replace("/postgres?", f"/{self.database}?")

    @property
    def settings(self) -> dict[str, str]:
        """Return what Meltano's loader is told."""
        return {"TARGET_POSTGRES_SQLALCHEMY_URL": postgres.Warehouse(self.address).loader_url}

    @property
    def for_dlt(self) -> str:
        """Return the URL as dlt takes it: it wants a password and a host, though a socket needs neither."""
        return self.address.replace("postgres:@/", "postgres:none@localhost/")

    def empty(self) -> None:
        """Make it anew, and let the server be done with what the run before it left to write."""
        with psycopg.connect(self.server.uri, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {self.database}".encode())
            connection.execute("CHECKPOINT")

    def rows(self, _python: Path) -> Iterator[bytes]:
        """Yield the rows, if there is a table: a number's digits, and microseconds since the epoch."""
        with psycopg.connect(self.address, options="-c timezone=UTC") as connection:
            if connection.execute(f"SELECT to_regclass('{TABLE}')").fetchone() == (None,):
                return
            epoch = "(extract(epoch FROM invalid_detected_at) * 1000000)::bigint"
            query = f"COPY (SELECT ltrim(phone, '+') || ' ' || {epoch} FROM {TABLE}) TO STDOUT"  # noqa: S608
            with connection.cursor().copy(query.encode()) as rows:
                for row in rows:
                    yield bytes(row).rstrip()


#: Prints the same of a DuckDB file.
DUCKDB_ROWS = f"""
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
try:
    rows = connection.execute("SELECT ltrim(phone, '+') || ' ' || epoch_us(invalid_detected_at) FROM {TABLE}")
except duckdb.CatalogException:
    sys.exit()
while chunk := rows.fetchmany(10_000):
    sys.stdout.write("".join(row + chr(10) for row, in chunk))
"""  # noqa: S608  (of constants)


@dataclass(frozen=True, slots=True)
class DuckDB:
    """A file, made anew by each run."""

    file: Path
    name: str = "duckdb"
    loader: str = "target-duckdb"

    @property
    def settings(self) -> dict[str, str]:
        """Return what Meltano's loader is told."""
        return {"TARGET_DUCKDB_FILEPATH": str(self.file)}

    @property
    def for_dlt(self) -> str:
        """Return what dlt takes for an address."""
        return str(self.file)

    def empty(self) -> None:
        """Take the file away, and what DuckDB may have left beside it."""
        for path in (self.file, self.file.with_name(f"{self.file.name}.wal")):
            path.unlink(missing_ok=True)

    def rows(self, python: Path) -> Iterator[bytes]:
        """Yield the rows, read by the DuckDB of a Python: an older one cannot read what a newer one wrote."""
        if not self.file.exists():
            return
        command = [python, "-c", DUCKDB_ROWS, self.file]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for line in t.cast("t.IO[bytes]", process.stdout):
                yield line.rstrip()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "reading DuckDB's rows")


@contextlib.contextmanager
def opened(name: str, folder: Path) -> Iterator[Warehouse]:
    """Have a warehouse, what it holds in a folder."""
    if name == "postgres":
        with postgres.serving(folder / "postgres") as server:
            yield Postgres(server)
    else:
        # The loader does not take a file that is named as the schema.
        yield DuckDB(folder / "warehouse.duckdb")
