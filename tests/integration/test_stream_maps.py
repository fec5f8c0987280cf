"""Stream maps: of streams that are not selected they do nothing, and wrong ones stop a run before any request."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from braze_simulator import seeded
from support.runs import assert_exact, config_for

NAME, STREAM, STATUS = "tap-braze-sms", "invalid_phone_numbers", "phone_number_status"
KEYS = ["phone", "invalid_detected_at"]
UNTIL = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
SHOP = {"workspace": "'shop'"}


@pytest.fixture(scope="module")
def entries():
    return seeded(100, days=20, until=UNTIL)


@pytest.fixture
def config(simulator, entries):
    simulator.add(entries)
    return config_for(simulator, start_date="2026-02-01", end_date="2026-03-02")


@pytest.mark.parametrize(
    "maps, columns",
    [
        ({STREAM: SHOP, STATUS: SHOP}, [*KEYS, "reason", "workspace"]),
        ({"*": SHOP}, [*KEYS, "reason", "workspace"]),
        ({STATUS: {"__alias__": "status"}}, [*KEYS, "reason"]),
        ({STATUS: {"__filter__": "is_invalid"}}, [*KEYS, "reason"]),
        ({"copy": {"__source__": STATUS, "__key_properties__": ["is_invalid"]}}, [*KEYS, "reason"]),
        # Nor is it looked at.
        ({STATUS: {"phone": "md5(", "checked": "checked", "phone_number": None}}, [*KEYS, "reason"]),
        ({STATUS: None}, [*KEYS, "reason"]),
    ],
)
def test_a_map_of_a_stream_that_is_not_selected_does_nothing(command, config, entries, maps, columns):
    run = command(NAME, config=config | {"stream_maps": maps})
    assert run.code == 0, run.log
    assert_exact(run, entries)
    (schema,) = run.of("SCHEMA")
    assert (schema["stream"], schema["key_properties"], [*schema["schema"]["properties"]]) == (STREAM, KEYS, columns)
    assert run.errors == run.logged("WARNING") == []


def test_a_map_of_the_list_does_nothing_where_only_lookups_are_selected(command, config):
    config |= {"phone_numbers": ["+15555550100"], "stream_maps": {STREAM: {"phone": "md5("}, STATUS: SHOP}}
    catalog = json.loads(command.text(NAME, "--discover", config=config).stdout)
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if not item["breadcrumb"]:
                item["metadata"]["selected"] = entry["stream"] == STATUS
    run = command(NAME, config=config, catalog=catalog)
    assert run.code == 0, run.log
    (record,) = run.records
    assert (record["phone"], record["workspace"]) == ("+15555550100", "shop")


@pytest.mark.parametrize("options", [["--test"], ["--test=schema"]])
def test_a_test_run_applies_maps_to_streams_that_are_not_selected(command, config, options):
    run = command(NAME, *options, config=config | {"stream_maps": {"*": SHOP}})
    assert run.code == 0, run.log
    schemas = {schema["stream"]: schema["schema"]["properties"] for schema in run.of("SCHEMA")}
    assert schemas.keys() == {STREAM, STATUS, "read_windows"}
    assert {"phone", "workspace"} <= schemas[STATUS].keys() & schemas[STREAM].keys()
    assert all("workspace" in properties for properties in schemas.values())


@pytest.mark.parametrize("keys", [None, []])
def test_a_map_that_names_no_keys_leaves_them_as_they_are_and_that_is_said(command, config, entries, keys):
    run = command(NAME, config=config | {"stream_maps": {STREAM: {"__key_properties__": keys}}})
    assert run.code == 0, run.log
    assert_exact(run, entries)
    assert run.of("SCHEMA")[0]["key_properties"] == KEYS
    assert run.logged("WARNING") == [
        f"stream_maps: __key_properties__ of {STREAM} names none, so its keys stay: phone, invalid_detected_at"
    ]


def mapped(**definition):
    return {"stream_maps": {STREAM: definition}}


THERE = "which there is not"
WRONG = [
    ({"stream_maps": {f"{STREAM}x": SHOP}}, f"stream_maps: got '{STREAM}x', takes the name of a stream: "),
    ({"stream_maps": {"x": {"__source__": "phones"}}}, "stream_maps: got 'phones', takes the name of a stream: "),
    (mapped(phone=None), f"stream_maps: {STREAM} loses its key phone; takes __key_properties__, a list of what "),
    (mapped(phone="__NULL__", __key_properties__=None), f"stream_maps: {STREAM} loses its key phone; takes "),
    (mapped(phoen="md5(phoen)"), f"stream_maps: phoen of {STREAM} uses phoen, {THERE}"),
    (mapped(__filter__="resaon == 'deactivated'"), f"stream_maps: __filter__ of {STREAM} uses resaon, {THERE}"),
    (mapped(x="'a' if reason else self"), f"stream_maps: x of {STREAM} uses self, {THERE}"),
    (mapped(phone="sha512(phone)"), f"stream_maps: phone of {STREAM} uses sha512, {THERE}"),
    (mapped(x="fake.name()"), f"stream_maps: x of {STREAM} uses fake, {THERE} without the package faker"),
    (mapped(x="(lambda: 1)()"), f"stream_maps: x of {STREAM} uses what expressions cannot have here (Lambda)"),
    (mapped(x="sha256(config['salt'] + phone)"), f"stream_maps: x of {STREAM} uses config['salt'], which stream_map_"),
    (mapped(x="sha256('pepper' + phone"), "stream_maps: Failed to parse expression sha256(… + phone"),
    (mapped(x="import os"), "stream_maps: Failed to parse expression import os"),
    (mapped(x="y = 1"), "stream_maps: Failed to parse expression y = 1"),
    (mapped(x="phone; reason"), "stream_maps: Failed to parse expression phone; reason"),
    (mapped(x=""), "stream_maps: Failed to parse expression"),
    (mapped(__filter__=""), "stream_maps: Failed to parse expression"),
    (mapped(__filtre__="reason"), f"stream_maps: got __filtre__ in a map of {STREAM}, takes __alias__, __else__, "),
    (
        {"stream_maps": {"x": {"__source__": STREAM, "__alias__": "y"}}},
        f"stream_maps: got __alias__ in a map of {STREAM}, takes __else__, __filter__, __key_properties__, __source__",
    ),
    ({"stream_maps": {STREAM: {"__source__": STREAM}}}, f"stream_maps: got 2 streams called {STREAM}, takes a name "),
    (
        {"stream_maps": {"*": {"__alias__": "numbers"}}, "phone_numbers": ["+15555550100"]},
        "stream_maps: got 2 streams called numbers, takes a name of its own for each",
    ),
    (
        {"flattening_enabled": True, "flattening_max_depth": 1, "flattening_max_key_length": 8},
        "flattening_max_key_length: got 8, which shortens invalid_detected_at; takes more",
    ),
]


@pytest.mark.parametrize("settings, expected", WRONG)
def test_a_map_that_can_mean_nothing_stops_the_run_before_any_request(command, simulator, config, settings, expected):
    run = command(NAME, config=config | settings)
    assert (run.code, run.out) == (78, b"")
    (error,) = run.errors
    assert error.startswith(expected.strip())
    assert "Traceback" not in run.log
    assert simulator.requests == []


@pytest.mark.parametrize(
    "expression, settings",
    [
        ("[sign for sign in phone if sign in '0123456789']", {}),
        ("record['phone'] + _['reason'] if reason else __original_stream_name__", {}),
        ("self if reason else str(bool(reason))", {}),
        ("config['salt'] + config.get('pepper', '') + md5(phone)", {"stream_map_config": {"salt": "a"}}),
        ("datetime.datetime.fromisoformat(invalid_detected_at).isoformat()", {}),
        ("json.dumps({'phone': phone})", {}),
        ("config['salt'] + phone if 'salt' in config else phone", {}),
        ("f'{phone}'[1:4]", {}),
    ],
)
def test_what_an_expression_may_use_is_not_refused(command, config, entries, expression, settings):
    name = "reason" if expression.startswith("self") else "made"
    run = command(NAME, config=config | mapped(**{name: expression}) | settings)
    assert run.code == 0, run.log
    assert len(run.records) == len(entries)
