"""What one Braze is like, told from a distance (promise 23)."""

from __future__ import annotations

import json
import re

import pytest

from braze_simulator import Simulator, seeded
from support.runs import KEY, config_for
from tap_braze_sms.check import MOST_REQUESTS, MOST_TRIES

NAME = "tap-braze-sms"


@pytest.fixture(scope="module")
def entries():
    return seeded(3_000, days=365)


def check(command, entries, *options, **behaviour):
    """Check a simulated Braze; return the run, and the number of requests it took."""
    with Simulator(entries, api_key=KEY, **behaviour) as braze:
        run = command(NAME, "--check", *options, config=config_for(braze))
        return run, len(braze.requests)


def report(run) -> dict:
    return json.loads(run.out)


@pytest.mark.parametrize(
    "behaviour, name, said",
    [
        ({"page_cap": 100}, "records of an answer", "100, though 500 were asked for"),
        ({"order": "number"}, "order", "none by time"),
        ({"order": "ascending"}, "order", "none by time"),
        ({"delay_seconds": 90_000.0}, "order", "newest first but for "),
        ({"compare_numbers": "plus"}, "compares numbers", "only with +"),
        ({"compare_numbers": "bare"}, "compares numbers", "only without +"),
        ({"refuse_spelling": "bare"}, "compares numbers", "only with +; without + refused"),
        ({"refuse_zero_offset": True}, "offset=0", "refused"),
        ({"max_range_days": 7}, "range of days", "5 taken, 22 refused"),
        ({"max_offset": 10_000}, "offset in the depth", "50000 refused"),
        ({"limit_beside_numbers": "empty"}, "limit beside phone_numbers[]", "gives an empty answer"),
        ({"limit_beside_numbers": "refused"}, "limit beside phone_numbers[]", "refused"),
    ],
)
def test_what_differs_from_the_documents_is_told_with_how_it_is_coped_with(command, entries, behaviour, name, said):
    run, requests = check(command, entries, "--format", "json", **behaviour)
    assert run.code == 0, run.log
    assert requests <= MOST_REQUESTS
    told = report(run)
    assert told["findings"][name].startswith(said)
    assert [line for line in told["copes_with"] if line.startswith(f"{name}: {said}")]
    assert told["does_not_cope_with"] == []


@pytest.mark.parametrize(
    "behaviour, name, said",
    [
        ({"end_inclusive": True}, "end_date means", "that day counts"),
        ({}, "end_date means", "midnight before that day"),
        ({"reason_filters": "after"}, "reason filters", "after paging, or no more have it"),
        ({}, "reason filters", "before paging"),
        ({}, "order", "newest first"),
        ({}, "records of an answer", "as asked for (500)"),
    ],
)
def test_what_the_documents_leave_open_is_told(command, entries, behaviour, name, said):
    run, _ = check(command, entries, "--format", "json", **behaviour)
    told = report(run)
    assert told["findings"][name] == said
    assert told["copes_with"] == []


def test_nothing_in_a_report_is_personal(command, entries):
    for options in ((), ("--format", "json")):
        run, _ = check(command, entries, *options)
        assert run.code == 0
        assert KEY not in run.out.decode() + run.log
        assert not re.search(r"\d{7}", run.out.decode()), "seven digits could be a number"
        assert not re.search(r"\d{7}", re.sub(r"(?m)^\S+ \S+ \|", "", run.log).replace("tap-braze-sms v", ""))


def test_a_report_reads_at_a_glance_and_ends_with_the_verdict(command, entries):
    run, requests = check(command, entries)
    lines = run.out.decode().splitlines()
    assert f"requests                      {requests}" in lines
    assert lines[-1] == "Nothing that was seen differs from Braze's documents."


def test_of_an_empty_list_most_is_not_known(command):
    run, requests = check(command, [], "--format", "json")
    assert (run.code, requests <= MOST_REQUESTS) == (0, True)
    findings = report(run)["findings"]
    assert findings["reached"] is True
    for name in ("order", "records of an answer", "end_date means", "compares numbers", "limit beside phone_numbers[]"):
        assert findings[name] == "not known"


@pytest.mark.parametrize(
    "status, code, reached", [("401", 77, True), ("403", 77, True), ("503", 75, True), ("down", 75, False)]
)
def test_a_check_that_is_not_let_in_says_so_and_how_far_it_came(command, entries, status, code, reached):
    def behaviour():
        return {"down": True} if status == "down" else {"fail_next": [status] * MOST_TRIES}  # used up by one check

    run, requests = check(command, entries, "--format", "json", **behaviour())
    assert (run.code, len(run.errors)) == (code, 1)
    assert "STATE" not in run.errors[0]
    findings = report(run)["findings"]
    assert findings["reached"] is reached
    assert findings["key and permission"] == ("refused" if code == 77 else "not known")
    assert requests <= MOST_REQUESTS
    run, _ = check(command, entries, **behaviour())
    assert run.out.decode().startswith("version")
    assert "Nothing that was seen differs" not in run.out.decode()


def check_until_it_fails(command, entries):
    """Check a Braze that answers the first request alone; return the run."""
    with Simulator(entries, api_key=KEY, latency=0.2) as braze:
        run = command.start(NAME, "--check", "--format", "json", config=config_for(braze))
        run.until(lambda: braze.requests)
        braze.behaviour.change({"fault_rate": 1.0, "fault_kinds": ["503"], "latency": 0.0})
        done = run.finish()
        assert len(braze.requests) <= MOST_REQUESTS
        return done


def test_what_is_not_answered_is_not_known(command, entries):
    run = check_until_it_fails(command, entries)
    assert run.code == 0
    findings = report(run)["findings"]
    assert findings["order"] == "newest first"
    for name in ("records of an answer", "reason filters", "offset=0", "end_date means", "compares numbers"):
        assert findings[name] == "not known"


def test_what_is_answered_once_and_then_no_more_was_reached(command):
    # It has no record, so that earlier days are asked for at once.
    run = check_until_it_fails(command, [])
    assert run.code == 75
    findings = report(run)["findings"]
    assert (findings["reached"], findings["key and permission"]) == (True, "accepted")


@pytest.mark.parametrize(
    "bad", ['{"phone": null, "invalid_detected_at": "soon"}', '{"phone": "1", "reason": 7, "at": 1}']
)
def test_records_that_cannot_be_used_are_a_failure_that_names_the_setting(command, entries, bad):
    bad = [entries[-1]._replace(raw=bad)]
    run, _ = check(command, [*entries, *bad], "--format", "json")
    assert run.code == 65
    assert run.errors == ["check: this version does not cope with this Braze; the report says with what"]
    assert report(run)["findings"]["records that cannot be used"] == 1
    assert "skip_bad_records" in report(run)["does_not_cope_with"][0]


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--discover"], "got --check and --discover, takes one of them at a time"),
        (["--test"], "got --check and --test, takes one of them at a time"),
        (["--test=schema"], "got --check and --test, takes one of them at a time"),
        (["--about"], "got --about and --check, takes one of them at a time"),
        (["--clean-batch-files"], "got --check and --clean-batch-files, takes one of them at a time"),
        (["--format", "markdown"], "--format: got markdown, takes json, or nothing for text, beside --check"),
    ],
)
def test_nothing_else_is_done_beside_a_check(command, entries, options, problem):
    run, requests = check(command, entries, *options)
    assert (run.code, run.errors, requests) == (78, [problem], 0)
