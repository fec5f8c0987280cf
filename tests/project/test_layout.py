"""Tests stand where what they need says: those in tests/unit wait for nothing that they do not use."""

from __future__ import annotations

import subprocess
import sys

from support.paths import ROOT

#: A stream's declaration is the SDK's.
USE_THE_SDK = ["tests/unit/test_hard_bounces_by_declaration.py"]

COLLECT = """
import sys, pytest
status = pytest.main(["--collect-only", "-q", "tests/unit", *(f"--ignore={path}" for path in sys.argv[1:])])
print([name for name in ("singer_sdk", "meltano", "duckdb", "psycopg", "support.fixtures") if name in sys.modules])
sys.exit(status)
"""


def test_unit_tests_import_neither_the_sdk_nor_warehouses_nor_what_runs_commands():
    arguments = [sys.executable, "-c", COLLECT, *USE_THE_SDK]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
    assert "test_ties.py" in done.stdout
