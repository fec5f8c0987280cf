"""The code is in words that an engineer would search for, and in pieces that one takes in at a time."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "tap_braze_sms"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
SIMULATOR = {path.name: ast.parse(path.read_text()) for path in (ROOT / "simulator" / "braze_simulator").glob("*.py")}

#: Words that this project once had for itself, and the field's own for the same. None is defined anywhere any more.
RETIRED = {
    "crew": "workers",
    "Crew": "WorkerPool",
    "at_work": "running",
    "take_in": "on_done",
    "walk": "scheduler",
    "Walk": "WindowScheduler",
    "_askable": "_eligible",
    "Reading": "WindowReader",
    "Ask": "PageRequest",
    "_front": "_next_offset",
    "_likely": "_estimated_end",
    "_mending": "_repairs",
    "_edges": "_unproven_times",
    "PageReader": "ResponseParser",
    "AskAgainError": "RetryableError",
    "crowd": "max_ties",
    "grain": "sort_precision",
    "pace": "density",
    "per_day": "density",
    "end_included": "assume_end_inclusive or found_end_inclusive",
    "give_back": "release",
    "_under_way": "_in_flight",
    "Stop": "CancelToken",
    "Stopped": "Cancelled",
    "watched": "cooperative",
    "SLICE": "POLL_SECONDS",
    "AFTERWARDS": "RESUME_HINT",
    "discreet": "redact",
    "WithoutNumbers": "RedactingFilter",
    "DiscreetReader": "RedactingReader",
    "_IMPERSONAL": "_SAFE_ERRORS",
    "_EXPLAINED": "EXPECTED_ERRORS",
    "heed": "cap_at_server_clock",
    "lead": "skew",
    "clock_lead": "clock_skew",
    "meant": "parse_env_value",
    "_plain": "_coerce_number",
    "_sound": "_drop_null_schemas",
    "HIDDEN": "SENSITIVE",
    "_FILLED": "NON_EMPTY",
    "canonical": "normalize",
    "counted": "pluralize",
    "asked_about": "load",
    "around": "envelope",
    "while_waiting": "on_wait",
    "tell": "report",
    "_told": "_last_report",
    "_begun": "_start_progress",
    "refuse": "on_rate_limited",
}

#: Words that mean something else in other places, where they are what anyone would say: `take` is what the target does
#: with numbers, `ways` are ways to spell one, a share of the rate limit is what its setting is called, `left` and
#: `sent` are local variables, a tie has `requests`, records come `in_order`. They are retired only where they had the
#: old meaning.
RETIRED_IN = {
    "concurrency/workers.py": {"change": "locked", "in_order": "map_ordered"},
    "concurrency/scheduler.py": {"ways": "candidates", "ahead": "speculative"},
    "reading/window_reader.py": {"ask": "next_request", "receive": "add_page", "_ahead": "_speculative"},
    "reading/timestamps.py": {
        "moment": "parse",
        "fixed": "format_utc",
        "canonical": "normalize",
        "duration": "format_duration",
    },
    "braze/rate_limit.py": {"take": "try_acquire", "left": "remaining", "sent": "server_time"},
    "braze/client.py": {"requests": "request_count", "PATIENCE": "POLL_SECONDS"},
    "singer/writer.py": {"PATIENCE": "POLL_SECONDS"},
    "singer/progress.py": {"share": "fraction_done"},
    "settings.py": {"complete": "apply_defaults_and_validate"},
}

#: Functions that are retired, though their names are good for variables.
RETIRED_FUNCTIONS = {"digits": "phone_numbers.normalize"}

#: Branches of a function and attributes of an instance that a reader can still hold in mind.
MOST_BRANCHES, MOST_ATTRIBUTES = 15, 16

_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


def definitions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return the name and the line of everything that a module defines, local variables included."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def pieces(tree: ast.Module, kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[str, ast.AST]]:
    """Return functions or classes by their names, those of a class behind its own."""

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                name = f"{prefix}.{child.name}".lstrip(".")
                if isinstance(child, kinds):
                    yield name, child
            yield from inside(child, name)

    return inside(tree, "")


def branches(function: ast.AST) -> int:
    """Count where a function can go one way or another, each operand of `and` and `or` included."""
    return sum(
        isinstance(node, _BRANCHES)
        + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0)
        + (len(node.ifs) if isinstance(node, ast.comprehension) else 0)
        for node in ast.walk(function)
    )


def attributes(kind: ast.AST) -> set[str]:
    """Return what a class assigns to `self`."""
    return {
        node.attr
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def assert_at_most(measured: dict[str, int], most: int, what: str) -> None:
    above = {name: count for name, count in measured.items() if count > most}
    assert not above, f"more than {most} {what}, to be split: {above}"


@pytest.mark.parametrize("module", MODULES)
def test_no_word_that_was_retired_comes_back(module):
    retired = RETIRED | RETIRED_IN.get(module, {})
    assert Path(module).stem not in {"crew", "walk", "pages", "records", "stopping", "times", "asked_numbers"}
    found = [
        f"{module}:{line}: {name}; the code says {retired[name]}"
        for name, line in definitions(MODULES[module])
        if name in retired
    ]
    found += [
        f"{module}: {name}(); the code says {RETIRED_FUNCTIONS[function.name]}"
        for name, function in pieces(MODULES[module], (ast.FunctionDef,))
        if function.name in RETIRED_FUNCTIONS
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_say_return_rather_than_give(module):
    described = [("the module", MODULES[module]), *pieces(MODULES[module], (ast.FunctionDef, ast.ClassDef))]
    found = [name for name, node in described if (ast.get_docstring(node) or "").startswith("Give")]
    assert not found, f"{module}: the docstring of {', '.join(found)} begins with Give; say Return or Yield"


def test_no_function_has_more_branches_than_a_reader_can_follow():
    measured = {
        f"{module}: {name}": branches(function)
        for module, tree in [*MODULES.items(), *SIMULATOR.items()]
        for name, function in pieces(tree, (ast.FunctionDef,))
    }
    assert len(measured) > 200
    assert_at_most(measured, MOST_BRANCHES, "branches")


def test_no_instance_has_more_attributes_than_a_reader_can_hold():
    measured = {
        f"{module}: {name}": len(attributes(kind))
        for module, tree in [*MODULES.items(), *SIMULATOR.items()]
        for name, kind in pieces(tree, (ast.ClassDef,))
    }
    assert_at_most(measured, MOST_ATTRIBUTES, "attributes")


def test_the_simulator_needs_nothing_but_the_standard_library():
    imported = {
        name.partition(".")[0]
        for tree in SIMULATOR.values()
        for node in ast.walk(tree)
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert len(imported) > 20
    assert imported - {"braze_simulator"} <= sys.stdlib_module_names


#: Words that someone new searches for, and the module that a search for each has to lead to.
SEARCHED = {
    "worker": "concurrency/workers.py",
    "concurrency": "braze/concurrency_limit.py",
    "in flight": "concurrency/scheduler.py",
    "redact": "singer/redaction.py",
    "cancel": "concurrency/cancellation.py",
    "speculative": "reading/page_planner.py",
    "retryable": "reading/errors.py",
}


@pytest.mark.parametrize("word, module", SEARCHED.items())
def test_a_search_for_what_engineers_call_it_leads_to_its_module(word, module):
    assert word in (PACKAGE / module).read_text().lower()
    contributing = (PACKAGE.parent / "CONTRIBUTING.md").read_text().lower()
    folder, name = module.removesuffix(".py").split("/")
    assert any(word in row and f"`{folder}.{name}`" in row for row in contributing.splitlines()), (
        f"CONTRIBUTING.md: no line has {word} and leads to {folder}.{name}"
    )
