"""After the demo: dbt's tables from what it loaded, tested, by Meltano; `make marts` calls this."""

from __future__ import annotations

import json
import re
import sys

import run
import warehouse
from run import DemoError, headline, say, table

#: Where dbt writes what it did, as meltano.yml has it.
TARGET = warehouse.PROJECT / "output" / "transform"


def main() -> None:
    """Build the marts, and say what is in them and what was warned of."""
    if not (warehouse.FOLDER / "PG_VERSION").exists():
        sys.exit("There is no warehouse yet: `make demo` fills one.")
    headline("dbt makes tables that answer questions, and tests them")
    say("$ meltano run dbt-postgres:build")
    try:
        with warehouse.serving(warehouse.FOLDER) as held:
            run.meltano("run", "dbt-postgres:build")
            manifest, results = (
                json.loads((TARGET / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("manifest", "run_results")
            )
            marts = {
                node["name"]: re.split("[:,.]", node["description"])[0].strip()
                for node in manifest["nodes"].values()
                if node["resource_type"] == "model" and "marts" in node["fqn"]
            }
            counts = {name: run.rows_in(f"braze_marts.{name}", held) for name in marts}
            table(
                ("braze_marts.", "rows", "what it holds"), [(name, counts[name], marts[name]) for name in sorted(marts)]
            )
    except DemoError as error:
        sys.exit(f"{error}; see {run.shown(run.LOG)}")
    tests = [result for result in results["results"] if result["unique_id"].split(".")[0] in {"test", "unit_test"}]
    warned = [result["unique_id"].split(".")[2] for result in tests if result["status"] == "warn"]
    say(f"{len(tests)} tests passed" + (f", {len(warned)} with a warning: {', '.join(warned)}." if warned else "."))
    print("\nTo look further")
    say("a question      make warehouse ARGS=\"-c 'SELECT * FROM braze_marts.to_reverify LIMIT 5'\"")
    say("the models      transform/, told about in docs/transform.md")


if __name__ == "__main__":
    main()
