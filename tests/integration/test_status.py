"""phone_number_status: given numbers, looked up."""

from __future__ import annotations

import datetime as dt
import json
import random

import pytest

from braze_simulator import Entry, seeded, spell, unusable
from support.runs import config_for

WHEN = dt.datetime(2026, 3, 1, 4, 5, 6, 789_000, tzinfo=dt.timezone.utc)


def only_status(command, config):
    """Run with nothing but the stream of lookups selected."""
    catalog = json.loads(command.text("tap-braze-sms", "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"]["selected"] = stream["stream"] == "phone_number_status"
    return command("tap-braze-sms", config=config, catalog=catalog)


def test_every_number_asked_about_gets_one_record_spelled_as_given(simulator, command):
    simulator.add(
        [Entry("+12025550100", WHEN, "deactivated", spell(WHEN)), Entry("12025550101", WHEN, None, spell(WHEN))]
    )
    asked = ["1 (202) 555-0100", "+12025550101", "12025550102", "+1-202-555-0100"]
    run = only_status(command, config_for(simulator, phone_numbers=asked))
    assert run.code == 0, run.log
    found = {record["phone"]: record for record in run.records}
    assert list(found) == asked[:3], "digits decide what is one number, and the first spelling stays"
    assert found["1 (202) 555-0100"] | {"checked_at": ""} == {
        "phone": "1 (202) 555-0100",
        "is_invalid": True,
        "reason": "deactivated",
        "invalid_detected_at": "2026-03-01T04:05:06.789000+00:00",
        "checked_at": "",
    }
    assert (found["+12025550101"]["is_invalid"], found["+12025550101"]["reason"]) == (True, None)
    assert found["12025550102"] | {"checked_at": ""} == {
        "phone": "12025550102",
        "is_invalid": False,
        "reason": None,
        "invalid_detected_at": None,
        "checked_at": "",
    }
    assert all(len(record["checked_at"]) == 32 for record in run.records)


def test_the_latest_detection_of_a_number_counts(simulator, command):
    later = WHEN + dt.timedelta(days=3)
    simulator.add(
        [
            Entry("+12025550100", WHEN, "deactivated", spell(WHEN)),
            Entry("12025550100", later, "provider_error", spell(later)),
        ]
    )
    run = only_status(command, config_for(simulator, phone_numbers=["+12025550100"]))
    assert [(r["reason"], r["invalid_detected_at"][:10]) for r in run.records] == [("provider_error", "2026-03-04")]


def test_the_reason_setting_does_not_make_other_numbers_look_valid(simulator, command):
    simulator.add(Entry("+12025550100", WHEN, "deactivated", spell(WHEN)))
    config = config_for(simulator, phone_numbers=["+12025550100"], reason="provider_error")
    assert [r["is_invalid"] for r in only_status(command, config).records] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "+12025550100\n12025550101\n\n  +1 202 555 0102  \n",
        "name,phone,city\nA,+12025550100,X\n\nB,12025550101,\nC,+1 202 555 0102,Z\n",
        'Phone\n"+12025550100"\n12025550101\n+1 202 555 0102\n',
        "\ufeffphone\r\n+12025550100\r\n12025550101\r\n+1 202 555 0102\r\n",
        '\n"Name";"Phone";"paid"\nA;+12025550100;1,5\n"B;C";12025550101;2\nD;+1 202 555 0102;\n',
        "paid\tphone\n1,5\t+12025550100\n2\t12025550101\n\t+1 202 555 0102\n",
    ],
)
def test_numbers_come_from_plain_lines_or_a_csv_column(simulator, command, tmp_path, text):
    file = tmp_path / "numbers"
    file.write_text(text, encoding="utf-8", newline="")
    run = only_status(command, config_for(simulator, phone_numbers_file=str(file), phone_numbers=["12025550109"]))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records] == ["12025550109", "+12025550100", "12025550101", "+1 202 555 0102"]


@pytest.mark.parametrize(
    "text,line",
    [
        ("+12025550100\nnone\n", "line 2"),
        ("phone,name\n+12025550100,A\n\n,B\n", "line 4"),
        ("a,phone\nA\n", "line 2"),
        # Two numbers, or a number and a day, are no number.
        ("+12025550100\n+12025550100, +12025550101\n", "line 2"),
        ("+12025550100,2026-03-01\n", "line 1"),
        ('phone\n"+12025550100\n+12025550101\n', "which cannot be read: unexpected end of data"),
        ('phone\n"+12025550100"7\n', "which cannot be read: ',' expected after"),
    ],
)
def test_a_bad_line_is_named_before_any_request(simulator, command, tmp_path, text, line):
    file = tmp_path / "numbers.txt"
    file.write_text(text)
    run = command("tap-braze-sms", config=config_for(simulator, phone_numbers_file=str(file)))
    assert run.code == 78
    assert line in run.log
    assert "2025550100" not in run.log
    assert "Traceback" not in run.log
    assert not simulator.requests


def test_a_file_that_is_not_there_is_named_before_any_request(simulator, command):
    run = command("tap-braze-sms", config=config_for(simulator, phone_numbers_file="/nowhere/numbers.txt"))
    assert run.code == 78
    assert "phone_numbers_file: got '/nowhere/numbers.txt'" in run.log
    assert not simulator.requests


def test_without_numbers_the_stream_is_not_selected_whatever_the_catalog_says(simulator, command):
    config = config_for(simulator)
    catalog = json.loads(command.text("tap-braze-sms", "--discover", config=config).stdout)
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = True
    run = command("tap-braze-sms", config=config, catalog=catalog)
    assert run.code == 0
    assert {m["stream"] for m in run.of("SCHEMA")} == {"invalid_phone_numbers"}
    with_numbers = command("tap-braze-sms", config=config_for(simulator, phone_numbers=["+12025550100"]))
    assert {m["stream"] for m in with_numbers.of("SCHEMA")} == {"invalid_phone_numbers", "phone_number_status"}


def test_an_answer_that_cannot_be_used_ends_the_run_with_the_position_not_the_number(simulator, command):
    asked = [f"+1202555{n:04}" for n in range(120)]
    simulator.add([Entry(asked[n], WHEN, None, spell(WHEN)) for n in (70, 80)])
    simulator.add(Entry(asked[60], WHEN - dt.timedelta(days=1), None, "never"))
    run = only_status(command, config_for(simulator, phone_numbers=asked))
    assert run.code == 65
    assert run.errors == [
        (
            "numbers 51 to 75: the record at position 1 cannot be used: its invalid_detected_at cannot be read as a "
            "time; to go on without what cannot be read of it, set skip_bad_records"
        ),
    ]
    assert "Traceback" not in run.log
    assert "202555" not in run.log
    # What came before it is told.
    assert [record["phone"] for record in run.records] == asked[:50]


@pytest.mark.parametrize("kind", ["no_time", "null_time", "unreadable_time"])
def test_a_number_whose_time_cannot_be_read_is_on_the_list_all_the_same(simulator, command, kind):
    simulator.add(unusable(WHEN, kind))
    config = config_for(simulator, phone_numbers=["+12005550100", "+12005550101"], skip_bad_records=True)
    run = only_status(command, config)
    assert run.code == 0, run.log
    assert [(r["phone"], r["is_invalid"], r["invalid_detected_at"]) for r in run.records] == [
        ("+12005550100", True, None),
        ("+12005550101", False, None),
    ]
    assert "Of 1 number on the list the time cannot be read, and is null" in run.log


def test_a_field_that_is_not_known_is_named(simulator, command):
    simulator.add_raw(WHEN, {"phone": "+12025550100", "invalid_detected_at": spell(WHEN), "carrier": "x"})
    run = only_status(command, config_for(simulator, phone_numbers=["+12025550100"]))
    assert run.code == 0, run.log
    assert [record["is_invalid"] for record in run.records] == [True]
    assert run.logged("WARNING") == [
        "Braze's records have fields that this version of the tap does not know and leaves out: carrier"
    ]


def test_a_file_of_25_000_numbers_is_looked_up_exactly_and_in_modest_batches(simulator, command, tmp_path):
    listed = seeded(7_500, days=30, ties=0)
    simulator.add(listed)
    invalid = {e.phone.lstrip("+") for e in listed}
    valid = {f"1{area}556{n:04}" for area in (200, 201) for n in range(10_000)}
    asked = random.Random(1).sample(sorted(invalid), 5_000) + sorted(valid)
    file = tmp_path / "numbers.txt"
    file.write_text("\n".join(asked))
    run = only_status(command, config_for(simulator, phone_numbers_file=str(file), rate_limit_share=1))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records] == asked
    assert [r["phone"] for r in run.records if r["is_invalid"]] == asked[:5_000]
    # One in both spellings each, until one is known to be enough; and now and then, whether an answer was cut off.
    assert 500 < len(simulator.requests) < 550
    assert all(len(request.params["phone_numbers[]"]) <= 50 for request in simulator.requests)
    assert simulator.max_under_way <= 8


def test_lookups_pass_faults_and_stay_within_the_budget(simulator, command):
    simulator.behaviour.fault_rate = 0.125
    simulator.behaviour.rate_limit = 20
    simulator.behaviour.rate_window = 1
    asked = [f"1202555{n:04}" for n in range(1_000)]
    run = only_status(command, config_for(simulator, phone_numbers=asked, rate_limit_share=0.5))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records] == asked
    assert 429 not in {request.status for request in simulator.requests}
    assert "Rate limit" in run.log


# A Braze that differs


@pytest.fixture
def half_listed(simulator):
    """Numbers of which every other is on the list, in either spelling, and what is listed."""
    asked = [f"1202555{n:04}" for n in range(200)]
    simulator.add([Entry("+" * (n % 3 == 0) + asked[n], WHEN, None, spell(WHEN)) for n in range(0, 200, 2)])
    return asked, asked[::2]


@pytest.mark.parametrize("parallel", [1, 8])
@pytest.mark.parametrize("cap", [None, 10, 1])
@pytest.mark.parametrize("compare", ["digits", "plus", "bare", "stored"])
def test_a_number_is_found_however_braze_compares_and_however_few_it_shows(
    simulator, command, half_listed, compare, cap, parallel
):
    asked, listed = half_listed
    simulator.behaviour.compare_numbers = compare
    simulator.behaviour.page_cap = cap
    run = only_status(command, config_for(simulator, phone_numbers=asked, max_parallel_requests=parallel))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records] == asked
    assert [r["phone"] for r in run.records if r["is_invalid"]] == listed


@pytest.mark.parametrize("refused", ["plus", "bare"])
def test_a_number_is_found_where_braze_refuses_one_spelling(simulator, command, half_listed, refused):
    asked, listed = half_listed
    simulator.behaviour.refuse_spelling = refused
    run = only_status(command, config_for(simulator, phone_numbers=asked, max_parallel_requests=1))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records if r["is_invalid"]] == listed
    assert [request.status for request in simulator.requests].count(400) == 2


@pytest.mark.parametrize("what", ["empty", "refused"])
def test_numbers_stand_alone_in_their_request(simulator, command, half_listed, what):
    asked, listed = half_listed
    simulator.behaviour.limit_beside_numbers = what
    run = only_status(command, config_for(simulator, phone_numbers=asked))
    assert run.code == 0, run.log
    assert [r["phone"] for r in run.records if r["is_invalid"]] == listed
    assert {tuple(request.params) for request in simulator.requests} == {("phone_numbers[]",)}


def test_where_braze_compares_by_digits_one_spelling_is_enough_once_that_is_seen(simulator, command, half_listed):
    asked, _ = half_listed
    run = only_status(command, config_for(simulator, phone_numbers=asked, max_parallel_requests=1))
    assert run.code == 0, run.log
    texts = [request.params["phone_numbers[]"] for request in simulator.requests]
    # Both; whether all came; one number by the other spelling than Braze stores; and from then on that alone.
    assert [len(text) for text in texts[:3]] == [50, 24, 1]
    assert len({text.startswith("+") for request in texts[2:] for text in request}) == 1
    assert "compares numbers as they are spelled" not in run.log


def test_a_braze_that_compares_spellings_is_told_once(simulator, command, half_listed):
    asked, _ = half_listed
    simulator.behaviour.compare_numbers = "stored"
    run = only_status(command, config_for(simulator, phone_numbers=asked))
    assert run.log.count("Braze compares numbers as they are spelled: each is looked up with + and without") == 1


def test_a_number_that_is_stored_in_both_spellings_does_not_make_braze_look_lenient(simulator, command):
    asked = [f"1202555{n:04}" for n in range(60)]
    simulator.behaviour.compare_numbers = "stored"
    simulator.add([Entry(phone, WHEN, None, spell(WHEN)) for phone in (f"+{asked[0]}", asked[0])])
    simulator.add([Entry(f"+{asked[30]}", WHEN, None, spell(WHEN)), Entry(asked[59], WHEN, None, spell(WHEN))])
    run = only_status(command, config_for(simulator, phone_numbers=asked, max_parallel_requests=1))
    assert [r["phone"] for r in run.records if r["is_invalid"]] == [asked[0], asked[30], asked[59]]


def test_an_answer_as_long_as_the_documented_cap_is_not_taken_for_complete(simulator, command):
    asked = [f"1202555{n:04}" for n in range(50)]
    # Fifty numbers with four detections each.
    moments = [WHEN + dt.timedelta(days=day) for day in range(4)]
    simulator.add([Entry(phone, moment, None, spell(moment)) for phone in asked for moment in moments])
    simulator.behaviour.page_cap = 100
    run = only_status(command, config_for(simulator, phone_numbers=asked, max_parallel_requests=1))
    assert {(r["is_invalid"], r["invalid_detected_at"][:10]) for r in run.records} == {(True, "2026-03-04")}
    assert len(run.records) == 50
