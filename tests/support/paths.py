"""Where things are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The installed commands of the environment the tests run in.
BIN = Path(sys.executable).parent

#: Files that tests read.
DATA = ROOT / "tests" / "data"
