"""The SDK as this project relies on it: its own tests, what is overridden of it, and what the fast path replaces."""

from __future__ import annotations

import ast
import datetime as dt
import inspect
import itertools
import json
import re
import signal

import click
import pytest
import singer_sdk.mapper
import singer_sdk.plugin_base
from singer_sdk import RecordSink, Sink, Stream, Tap, Target
from singer_sdk._logging import _setup_console_logging
from singer_sdk.helpers._batch import StorageTarget
from singer_sdk.helpers._state import StateWriter
from singer_sdk.mapper import CustomStreamMap
from singer_sdk.plugin_base import BaseSingerReader, PluginBase
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from braze_simulator import Entry, Simulator, seeded, spell
from support.paths import ROOT
from support.runs import assert_exact, config_for, run_here
from tap_braze_sms import streams, tap, target
from tap_braze_sms.singer import batches, cli, plugin, redaction, stream_maps, writer
from tap_braze_sms.singer.plugin import BrazePlugin
from tap_braze_sms.singer.writer import BufferedWriter
from tap_braze_sms.tap import TapBrazeSMS

ENTRIES = seeded(400, days=9)

#: Bound here, as the SDK wants its configuration when the tests are collected; served while they run.
SIMULATOR = Simulator(ENTRIES)

CONFIG = config_for(
    SIMULATOR,
    start_date=f"{ENTRIES[0].detected_at:%Y-%m-%d}",
    page_size=50,
    phone_numbers=[ENTRIES[3].phone, ENTRIES[200].phone, "+12005559876"],
)


def _collected() -> type:
    """Have the SDK make its tests, without keeping the signal handlers of the taps it makes for that."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        return get_tap_test_class(
            TapBrazeSMS,
            config=CONFIG,
            # A stream of its own has no records: they come with those of the list.
            suite_config=SuiteConfig(max_records_limit=300, ignore_no_records_for_streams=["read_windows"]),
            parse_env_config=False,
        )
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


class TestTapBrazeSMS(_collected()):
    """The SDK's standard tests."""


@pytest.fixture(scope="module", autouse=True)
def _serving():
    with SIMULATOR:
        yield


def test_the_sdks_tests_cover_both_streams():
    tests = [name for name in dir(TestTapBrazeSMS) if name.startswith("test_")]
    assert len(tests) >= 12
    ids = {param.id for params in TestTapBrazeSMS.params.values() for param in params}
    assert {"invalid_phone_numbers", "phone_number_status", "phone_number_status.is_invalid"} <= ids


# What is overridden

#: Every private method of the SDK's, and of click's, that this project replaces: what it looks like there.
PRIVATE = {
    (PluginBase, "_env_var_config"): None,
    (PluginBase, "_validate_config"): "(self, *, raise_errors=True)",
    (PluginBase, "_handle_termination"): "(self, signum, frame)",
    (Sink, "_validate_and_parse"): "(self, record)",
    (Stream, "_sync_records"): "(self, context=None, *, write_messages=True)",
    (Stream, "_sync_batches"): "(self, batch_config, context=None)",
    (Stream, "_write_activate_version_message"): "(self, full_table_version)",
    (Stream, "_increment_stream_state"): "(self, latest_record, *, context=None)",
    (Stream, "_write_batch_message"): "(self, encoding, manifest)",
    (Target, "_write_state_message"): "(self, state)",
    (BaseSingerReader, "_process_schema_message"): "(self, message_dict)",
    (BaseSingerReader, "_process_state_message"): "(self, message_dict)",
}

#: Private things that it calls or looks at.
USED = {
    (PluginBase, "_env_var_prefix"): None,
    (Stream, "_generate_record_messages"): "(self, record)",
    (Stream, "_check_max_record_limit"): "(self, current_record_index)",
    (StateWriter, "write_state"): "(self, state)",
    (PluginBase, "cb_config"): "(ctx, param, value)",
    (RecordSink, "process_record"): "(self, record, context)",
    # Not private, but what is looked at in them is documented nowhere.
    (Tap, "catalog"): None,
    (Tap, "setup_mapper"): "(self)",
    (CustomStreamMap, "functions"): None,
    (StorageTarget, "get_url"): "(self, filename)",
    (StorageTarget, "open"): "(self, filename, mode='rb')",
}


def shape(function: object) -> str:
    """Return a signature without its types."""
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize("owner, name", [*PRIVATE, *USED], ids=lambda value: getattr(value, "__name__", value))
def test_what_is_relied_on_in_the_sdk_is_there_and_looks_the_same(owner, name):
    expected = (PRIVATE | USED)[owner, name]
    found = inspect.getattr_static(owner, name)
    if expected is not None:
        assert shape(getattr(owner, name)) == expected
    else:
        assert not inspect.isfunction(found)


def overrides() -> list[tuple[type, str, type]]:
    """Find what the project's classes replace of the SDK's or click's: class, name, whose."""
    found = []
    for module in (batches, cli, plugin, redaction, streams, tap, target, writer):
        for kind in vars(module).values():
            if not (inspect.isclass(kind) and kind.__module__ == module.__name__):
                continue
            theirs = [base for base in kind.__mro__ if base.__module__.split(".")[0] in {"singer_sdk", "click"}]
            for name in vars(kind):
                owner = next((base for base in reversed(theirs) if name in vars(base)), None)
                if owner is not None and not name.startswith("__"):
                    found.append((kind, name, owner))
    return found


def test_every_private_method_that_is_replaced_is_pinned_here():
    # `_abc_impl` and the like belong to the machinery of classes.
    replaced = {(owner, name) for _, name, owner in overrides() if re.match(r"_(?!abc_|_|logger)", name)}
    assert replaced == set(PRIVATE)
    design = (ROOT / "docs" / "design.md").read_text()
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", design, re.MULTILINE)) == {
        f"{owner.__name__}.{name}" for owner, name in PRIVATE
    }


@pytest.mark.parametrize(
    "kind, name, owner",
    [(k, n, o) for k, n, o in overrides() if inspect.isroutine(getattr(k, n, None))],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_replaced_takes_the_same_arguments(kind, name, owner):
    assert shape(getattr(kind, name)) in {shape(getattr(owner, name)), "(self, *args, **kwargs)"}


def test_other_details_of_the_sdk_are_as_relied_on():
    # Of the log: what is filtered there.
    assert "\"Filter result for '%s' in '{self.name}' stream: %s\"" in inspect.getsource(singer_sdk.mapper)
    # Of files: that click opens them.
    options = {param.name: param.type for param in super(BrazePlugin, TapBrazeSMS).get_singer_command().params}
    assert type(options["state"]) is type(options["catalog"]) is click.File
    assert Stream.ABORT_AT_RECORD_COUNT is None
    # Of a catalog: what the tap makes of it is read where the SDK looks for it first.
    applied = inspect.getsource(Stream.apply_catalog)
    for name in ("key_properties", "replication_key", "replication_method"):
        assert f"entry.{name} or " in applied
    # Of the log: the variables with its level, and with a file about it.
    level = inspect.getsource(singer_sdk.plugin_base._plugin_log_level)
    assert 'os.environ.get(f"{prefix}LOGLEVEL") or os.environ.get("LOGLEVEL")' in level
    assert f'"{plugin.LOG_CONFIG}" in os.environ' in inspect.getsource(_setup_console_logging)


def test_a_map_of_the_sdk_has_what_is_looked_at_before_a_run():
    made = CustomStreamMap("a", {}, {}, {"properties": {"b": {}}}, ["b"], {"c": "md5(b)"}, None)
    assert {"md5", "sha256", "str", "datetime", "json"} <= made.functions.keys()
    assert ast.Name in made.expr_evaluator.nodes
    assert ast.Lambda not in made.expr_evaluator.nodes
    assert made.fake is None or hasattr(made.fake, "name")
    names = set(re.findall(r'names\["(\w+)"\]', inspect.getsource(CustomStreamMap._eval)))
    assert names == stream_maps._NAMES | {"self", "fake"}


# The fast path


def standard_run(config: dict, catalog: dict | None = None) -> list[bytes]:
    """Run the tap with the SDK's own loop over the records and its own messages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.BrazeStream, "_sync_records", Stream._sync_records)
        return run_here(config, catalog=catalog).out.splitlines()


def comparable(lines: list[bytes]) -> list[bytes]:
    """Leave out when a record was read, and the STATEs: the fast path writes one for each window.

    Records of one instant come in an order that depends on which answer was there first: each run has its own.
    """
    lines = [re.sub(rb'(,"time_extracted":")[0-9T:.-]{19,26}Z"', rb"\1", line) for line in lines]
    # The version is the second in which the run began.
    lines = [re.sub(rb'"version":\d{10}', b'"version":0', line) for line in lines]
    lines = [line for line in lines if not line.startswith(b'{"type":"STATE"')]
    instants = itertools.groupby(lines, lambda line: re.findall(rb'"invalid_detected_at":"([^"]+)"', line))
    return [line for _, group in instants for line in sorted(group)]


@pytest.fixture
def odd(simulator) -> list[Entry]:
    """Records with whatever JSON has to escape, and without a reason."""
    entries = seeded(300, days=5, until=dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc))
    for i, reason in enumerate(
        ['"', "\\", "/", "\n\t\x00\x1f\x7f", "é ü", "数", "🙃", "\u2028", "</script>", "", "null"]
    ):
        entries[i * 7] = entries[i * 7]._replace(reason=reason)
    entries[1] = entries[1]._replace(reason=None, spelled=spell(entries[1].detected_at))
    simulator.add(entries)
    return entries


@pytest.mark.parametrize("versioned", [False, True])
def test_the_fast_path_writes_the_bytes_of_the_sdks_own(simulator, odd, versioned):
    config = config_for(simulator, start_date="2026-02-20", end_date="2026-03-02", page_size=50)
    catalog = None
    if versioned:
        config["emit_activate_version_messages"] = True
        del config["end_date"]
        catalog = TapBrazeSMS(config=config).catalog_dict
        catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    fast, standard = run_here(config, catalog=catalog), standard_run(config, catalog)
    assert_exact(fast, [entry._replace(reason=entry.reason or None) for entry in odd])
    assert comparable(fast.out.splitlines()) == comparable(standard)
    assert b'"time_extracted":"2' in fast.out
    states = [json.loads(line)["value"] for line in standard if line.startswith(b'{"type":"STATE"')]
    assert fast.state == states[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"stream_maps": {"invalid_phone_numbers": {"phone": "md5(phone)"}}},
        {"stream_maps": {"invalid_phone_numbers": {"__alias__": "numbers"}}},
        {"flattening_enabled": True, "flattening_max_depth": 1},
    ],
)
def test_where_the_sdk_changes_records_its_own_path_is_taken(simulator, odd, change):
    config = config_for(simulator, start_date="2026-02-20", end_date="2026-03-02", **change)
    fast, standard = run_here(config), standard_run(config)
    assert comparable(fast.out.splitlines()) == comparable(standard)


def test_the_fast_path_is_taken_where_nothing_changes(simulator, odd, monkeypatch):
    rows = []
    write_records = BufferedWriter.write_records
    monkeypatch.setattr(
        BufferedWriter,
        "write_records",
        lambda self, *given, **named: (rows.extend(given[1]), write_records(self, *given, **named)),
    )
    run_here(config_for(simulator, start_date="2026-02-20", end_date="2026-03-02"))
    assert len(rows) == len(odd)
