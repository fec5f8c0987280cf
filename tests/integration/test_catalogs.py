"""Catalogs that other tools wrote: followed as the Singer specification says, or refused in one line."""

from __future__ import annotations

import copy
import datetime as dt
import json

import pytest

from braze_simulator import seeded
from support.runs import assert_exact, config_for, state_of

NAME, STREAM, STATUS = "tap-braze-sms", "invalid_phone_numbers", "phone_number_status"
KEYS, KEY = ["phone", "invalid_detected_at"], "invalid_detected_at"
UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def entries():
    return seeded(200, days=20, until=UNTIL)


@pytest.fixture
def config(simulator, entries):
    simulator.add(entries)
    return config_for(simulator, start_date="2026-02-01", end_date="2026-03-02")


@pytest.fixture
def discovered(command):
    return json.loads(command.text(NAME, "--discover").stdout)


@pytest.fixture
def read(command, config, discovered):
    """Run with a catalog, changed: by what stands in the stream itself, and in its metadata."""

    def run(beside=None, metadata=None, *, bare=False, state=None, **settings):
        catalog = copy.deepcopy(discovered)
        entry = catalog["streams"][0]
        assert entry["tap_stream_id"] == STREAM
        if bare:
            # Another tool's: what it says stands in the metadata alone, and of properties it says nothing.
            entry = {name: entry[name] for name in ("tap_stream_id", "stream", "schema")}
            entry["metadata"] = [{"breadcrumb": [], "metadata": {}}]
            catalog["streams"][0] = entry
        entry |= beside or {}
        for item in entry.get("metadata") or ():
            if not item["breadcrumb"]:
                item["metadata"] |= metadata or {}
        return command(NAME, config=config | settings, catalog=catalog, **({"state": state} if state else {}))

    return run


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_not_selected_is_followed_and_told(command, config, discovered, key):
    catalog = copy.deepcopy(discovered)
    for item in catalog["streams"][0]["metadata"]:
        if item["breadcrumb"] == ["properties", key]:
            item["metadata"] = {"inclusion": "available", "selected": False}
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    (warning,) = run.logged("WARNING")
    assert warning.endswith(f"{key} is not selected, and a key: loaders that need keys will fail")


def assert_incremental(run, entries, keys=KEYS):
    assert run.code == 0, run.log
    (schema,) = run.of("SCHEMA")
    assert (schema["key_properties"], schema["bookmark_properties"]) == (keys, [KEY])
    assert_exact(run, entries)
    assert run.bookmark == "2026-03-02T00:00:00.000000+00:00"


@pytest.mark.parametrize(
    "metadata",
    [
        {"table-key-properties": KEYS, "replication-key": KEY, "replication-method": "INCREMENTAL"},
        {"table-key-properties": KEYS, "valid-replication-keys": [KEY], "forced-replication-method": "INCREMENTAL"},
        {"table_key_properties": KEYS, "replication_key": KEY, "replication_method": "INCREMENTAL"},
        {"table-key-properties": [], "replication-key": None, "replication-method": None},
        {"replication-method": "INCREMENTAL"},
        {},
    ],
    ids=["as specified", "forced", "underscores", "empty", "method", "selected alone"],
)
def test_what_stands_in_the_metadata_alone_is_followed_and_the_rest_is_the_taps_own(read, entries, metadata):
    run = read(bare=True, metadata={"selected": True, **metadata})
    assert_incremental(run, entries)
    assert run.logged("WARNING") == []
    # And the next run goes on from its bookmark.
    assert read(bare=True, metadata={"selected": True, **metadata}, state=run.state).records == []


@pytest.mark.parametrize(
    "beside",
    [
        {"key_properties": [], "replication_key": None, "replication_method": None},
        {"key_properties": KEYS, "replication_method": "INCREMENTAL", "metadata": []},
        {"key_properties": None},
    ],
)
def test_what_stands_nowhere_is_the_taps_own(read, entries, beside):
    assert_incremental(read(beside=beside), entries)


@pytest.mark.parametrize("names", [("replication-method",), ("forced-replication-method",), ("replication_method",)])
def test_a_method_in_the_metadata_comes_before_the_one_beside_it_and_that_is_said_once(read, entries, names):
    run = read(metadata=dict.fromkeys(names, "FULL_TABLE"), state=state_of("2026-02-27T00:00:00Z"))
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert run.of("SCHEMA")[0]["key_properties"] == KEYS
    (warning,) = run.logged("WARNING")
    assert f"Catalog of {STREAM}: the metadata " in warning
    assert "(FULL_TABLE) is followed, not replication_method (INCREMENTAL)" in warning


def test_as_meltano_writes_a_method_there_is_nothing_to_say(read, entries):
    run = read(
        beside={"replication_method": "FULL_TABLE"},
        metadata={"replication-method": "FULL_TABLE"},
        state=state_of("2026-02-27T00:00:00Z"),
    )
    assert_exact(run, entries)
    assert run.logged("WARNING") == []


@pytest.mark.parametrize("beside", [{}, {"table_key_properties": ["phone"]}], ids=["metadata", "as Meltano writes"])
def test_other_keys_are_followed_and_that_is_said_once(read, entries, beside):
    run = read(beside=beside, metadata={"table-key-properties": ["phone"]})
    assert_incremental(run, entries, keys=["phone"])
    (warning,) = run.logged("WARNING")
    assert warning == (
        f"Catalog of {STREAM}: the keys are phone, not phone, invalid_detected_at: "
        "of rows that agree in them a loader keeps one"
    )


def test_a_replication_key_in_the_metadata_comes_before_the_one_beside_it(read, entries):
    run = read(beside={"replication_key": "phone"})
    assert_incremental(run, entries)
    (warning,) = run.logged("WARNING")
    assert warning.endswith(
        "the metadata replication_key (invalid_detected_at) is followed, not replication_key (phone)"
    )


WRONG = [
    ({}, {"replication-method": "LOG_BASED"}, "the replication method 'LOG_BASED'", "INCREMENTAL or FULL_TABLE"),
    ({"replication_method": "FULLTABLE"}, {}, "the replication method 'FULLTABLE'", "INCREMENTAL or FULL_TABLE"),
    ({"replication_method": "full_table"}, {}, "the replication method 'full_table'", "INCREMENTAL or FULL_TABLE"),
    ({}, {"replication-key": "updated_at"}, "the replication key 'updated_at'", KEY),
    ({}, {"replication-key": ["invalid_detected_at"]}, "the replication key ['invalid_detected_at']", KEY),
    ({}, {"table-key-properties": ["id"]}, "the key properties ['id']", "a list of phone, invalid_detected_at, reason"),
    ({}, {"table-key-properties": "phone"}, "the key properties 'phone'", "a list of phone, "),
    ({}, {"table-key-properties": ["phone", ["x"]]}, "the key properties ['phone', ['x']]", "a list of phone, "),
    (
        {"schema": {"properties": {KEY: {"type": "string"}}}},
        {},
        "the key properties ['phone', 'invalid_detected_at']",
        "a list of invalid_detected_at",
    ),
    (
        {"schema": {"properties": {"phone": {"type": "integer"}, KEY: {"type": ["string", "null"]}}}},
        {},
        "the type 'integer' for phone",
        "'string'",
    ),
    ({"stream_alias": "numbers"}, {}, "the stream_alias 'numbers'", "none: stream_maps has __alias__"),
    ({}, {"selected": "false"}, "'false' as selected", "true or false"),
    ({}, {"selected": 1}, "1 as selected", "true or false"),
]


@pytest.mark.parametrize("beside, metadata, got, takes", WRONG)
def test_what_cannot_be_followed_is_refused_in_one_line(simulator, read, beside, metadata, got, takes):
    run = read(beside, metadata)
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors + run.logged("WARNING")
    assert error.startswith(f"--catalog: got {got} ")
    assert f", takes {takes}" in error
    assert "Traceback" not in run.log
    assert simulator.requests == []


@pytest.mark.parametrize("wrong", [{"replication-method": "FULLTABLE"}, {"table-key-properties": ["id"]}])
def test_of_a_stream_that_is_not_selected_nothing_matters(read, wrong):
    run = read(metadata={"selected": False, **wrong})
    assert (run.code, run.out, run.errors) == (0, b"", [])
    assert run.logged("WARNING") == ["No stream is selected, so nothing is read"]


def test_a_stream_that_is_there_twice_is_refused(command, simulator, config, discovered):
    discovered["streams"].append(discovered["streams"][0])
    run = command(NAME, config=config, catalog=discovered)
    assert (run.code, run.out) == (78, b"")
    assert run.errors == [f"--catalog: got the stream {STREAM} twice, takes each once"]


def test_a_misspelled_stream_is_said(command, config, discovered):
    discovered["streams"] = [discovered["streams"][0] | {"tap_stream_id": "sms_invalid", "stream": "sms_invalid"}]
    discovered["streams"].append(discovered["streams"][0] | {"tap_stream_id": 5, "stream": None})
    run = command(NAME, config=config, catalog=discovered)
    assert (run.code, run.out) == (0, b"")
    assert run.logged("WARNING") == [
        "The catalog has streams that this tap has not: 5, sms_invalid",
        "No stream is selected, so nothing is read",
    ]


# As catalogs were before there was metadata


@pytest.mark.parametrize("where", ["stream", "schema"])
@pytest.mark.parametrize("selected", [True, False])
def test_a_selection_in_the_stream_or_its_schema_is_followed(read, discovered, entries, where, selected):
    schema = discovered["streams"][0]["schema"]
    said = {"selected": selected} if where == "stream" else {"schema": schema | {"selected": selected}}
    run = read({"metadata": [], **said}, bare=True)
    if selected:
        assert_incremental(run, entries)
    else:
        assert (run.code, run.out) == (0, b"")
        assert "No stream is selected" in run.log


def test_a_selection_in_the_schema_of_a_property_is_followed(read, discovered, entries):
    schema = copy.deepcopy(discovered["streams"][0]["schema"])
    schema["properties"]["reason"]["selected"] = False
    run = read({"schema": schema}, {"selected": True}, bare=True)
    assert run.code == 0, run.log
    assert {tuple(record) for record in run.records} == {tuple(KEYS)}
    assert len(run.records) == len(entries)


def test_metadata_of_properties_alone_takes_none_of_them_away(read, discovered, entries):
    metadata = [item for item in discovered["streams"][0]["metadata"] if item["breadcrumb"]]
    assert_incremental(read({"metadata": metadata}), entries)


def test_lookups_that_a_catalog_wants_incremental_are_told_to_be_whole(command, config):
    config["phone_numbers"] = ["+15555550100"]
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for entry in catalog["streams"]:
        entry["replication_method"] = "INCREMENTAL"
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    assert run.logged("WARNING") == [f"Catalog of {STATUS}: it is read whole in every run, not INCREMENTAL"]
    assert run.of("SCHEMA")[1]["key_properties"] == ["phone"]
