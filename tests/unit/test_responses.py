"""Records: what an answer says, and how little of it is kept (promises 2, 3, 12 to 14)."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_simulator import seeded
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import RetryableError, UnusableDataError
from tap_braze_sms.reading.page import DEEP, LATEST, Page, ascending

PHONE = "+12125550123"
TIME = "2026-03-01T04:05:06.789Z"
FIXED = "2026-03-01T04:05:06.789000+00:00"


def body(*entries: object) -> bytes:
    return json.dumps({"sms": entries, "message": "success"}).encode()


def entry(**changed: object) -> dict:
    return {"phone": PHONE, "invalid_detected_at": TIME, "reason": "deactivated", **changed}


def without(name: str) -> dict:
    return {key: value for key, value in entry().items() if key != name}


# What a record holds


def test_a_record_is_read_as_it_is_but_for_its_time():
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(entry())) == [(FIXED, PHONE, "deactivated")]


@pytest.mark.parametrize("given", [without("reason"), entry(reason=None)])
def test_a_reason_may_be_missing(given):
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(given)) == [(FIXED, PHONE, None)]


@pytest.mark.parametrize("reason", ["", "landline", "провайдер", "line\nbreak", "🙃"])
def test_an_unheard_of_reason_passes_through(reason):
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(entry(reason=reason))) == [(FIXED, PHONE, reason)]


@pytest.mark.parametrize("phone", ["12183095514", "+12183095514", "+1 (218) 309-5514", "0"])
def test_a_phone_keeps_its_spelling(phone):
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(entry(phone=phone))) == [(FIXED, phone, "deactivated")]


def test_an_empty_list_has_no_rows():
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body()) == []
    assert (
        ResponseParser(INVALID_PHONE_NUMBERS)
        .parse_page(body(), offset=0, limit=500, dates=("2026-03-01", "2026-03-02"))
        .count
        == 0
    )


@pytest.mark.parametrize("answer", [{"errors": []}, {"errors": None}, {"message": None}, {"message": "success"}])
def test_an_empty_list_may_come_with_what_says_nothing_else(answer):
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(json.dumps({"sms": []} | answer).encode()) == []


@pytest.mark.parametrize("sms", [[], [entry()]])
def test_an_answer_with_errors_is_none(sms):
    with pytest.raises(RetryableError):
        ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(
            json.dumps({"sms": sms, "message": "success", "errors": ["internal"]}).encode()
        )


def test_what_an_answer_says_beside_its_list_is_nobodys_business():
    parser = ResponseParser(INVALID_PHONE_NUMBERS)
    assert parser.parse_rows(json.dumps({"message": "ok", "sms": [entry()], "next": {"phone": 1}}).encode())
    assert parser.unknown == set()


# Fields the schema does not know


def test_every_unknown_field_is_noted_once_whenever_it_comes():
    parser = ResponseParser(INVALID_PHONE_NUMBERS)
    pages = [
        body(entry(), entry(carrier="x"), entry()),
        body(entry(carrier="y"), entry(carrier=None)),
        body(entry()),
        body(entry(), entry(carrier="z", country={"iso": ["US"]})),
        body(entry(**{'odd "name"': 1})),
    ]
    rows = [row for page in pages for row in parser.parse_rows(page)]
    assert rows == [(FIXED, PHONE, "deactivated")] * 9
    assert parser.unknown == {"carrier", "country", 'odd "name"'}


def test_fields_that_never_end_are_read_all_the_same():
    parser = ResponseParser(INVALID_PHONE_NUMBERS)
    for number in range(100):
        assert parser.parse_rows(body(entry(**{f"field {number}": number}))) == [(FIXED, PHONE, "deactivated")]
    assert len(parser.unknown) > 50


# Records that cannot be used


@pytest.mark.parametrize("unknown", [{}, {"carrier": "x"}])
@pytest.mark.parametrize(
    "bad, problem",
    [
        (without("phone"), "it has no phone"),
        (entry(phone=None), "it has no phone"),
        (entry(phone=12125550123), "it has no phone"),
        (entry(phone=["+12125550123"]), "it has no phone"),
        (without("invalid_detected_at"), "its invalid_detected_at cannot be read as a time"),
        (entry(invalid_detected_at=None), "its invalid_detected_at cannot be read as a time"),
        (entry(invalid_detected_at=""), "its invalid_detected_at cannot be read as a time"),
        (entry(invalid_detected_at=1772337906), "its invalid_detected_at cannot be read as a time"),
        (entry(invalid_detected_at="+12125550123"), "its invalid_detected_at cannot be read as a time"),
        (entry(invalid_detected_at="9999-12-31T23:59:59-05:00"), "its invalid_detected_at cannot be read as a time"),
        (entry(reason=12125550123), "its reason is neither text nor null"),
        (entry(reason=["+12125550123"]), "its reason is neither text nor null"),
        ("+12125550123", "it is not an object"),
        (None, "it is not an object"),
        ([entry()], "it is not an object"),
    ],
)
def test_a_record_that_cannot_be_used_is_named_by_position_and_never_by_number(bad, problem, unknown):
    parser = ResponseParser(INVALID_PHONE_NUMBERS)
    parser.parse_rows(body(entry(**unknown)))
    with pytest.raises(UnusableDataError) as raised:
        parser.parse_rows(body(entry(), entry(), bad, entry()), 1500)
    assert str(raised.value).startswith(f"the record at position 1502 cannot be used: {problem}")
    assert "555" not in str(raised.value)
    assert raised.value.__context__ is raised.value.__cause__ is None


# Answers that are none


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b" ",
        b"<html></html>",
        b"null",
        b"[]",
        b'"sms"',
        b"{}",
        b'{"message": "success"}',
        b'{"sms": null}',
        b'{"sms": {}}',
        b'{"sms": "none"}',
        b'{"SMS": []}',
        b'{"sms": []} trailing',
        b'{"sms": ["\xff"]}',
        b"\xff\xfe",
        body(entry())[:-1],
        body(entry(), entry())[:100],
        b"1" * 5000,
        b'{"sms": ' + b"[" * 100_000,
        b'{"sms": [' + b'{"x":' * 100_000,
    ],
)
def test_an_answer_without_a_list_is_broken_and_not_quoted(broken):
    with pytest.raises(RetryableError, match=r"^the answer is not JSON with a list `sms`$") as raised:
        ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(broken)
    assert raised.value.__context__ is raised.value.__cause__ is None


@given(keep=st.integers(0, len(body(entry(), entry(carrier="x"), entry())) - 1))
def test_an_answer_that_is_cut_off_anywhere_is_broken(keep):
    with pytest.raises(RetryableError):
        ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(entry(), entry(carrier="x"), entry())[:keep])


# Digits


@pytest.mark.parametrize(
    "phone, expected",
    [
        ("+12183095514", "12183095514"),
        ("12183095514", "12183095514"),
        ("+1 (218) 309-55.14", "12183095514"),
        ("tel:+12183095514", "tel:+12183095514"),
        ("", ""),
        ("+", "+"),
        ("anonymous", "anonymous"),
    ],
)
def test_the_digits_decide_what_is_one_number(phone, expected):
    assert normalize(phone) == expected


# Pages


def page_of(rows, *, offset=0, limit=500) -> Page:
    return Page.of(rows, offset=offset, limit=limit)


@pytest.mark.parametrize("offset", [0, DEEP])
def test_a_page_gives_its_rows_back(offset):
    rows = [(timestamps.format_utc(e.detected_at), e.phone, e.reason) for e in reversed(seeded(500))]
    page = page_of(rows, offset=offset)
    assert page.rows() == rows
    assert (page.count, page.newest, page.oldest) == (500, rows[0][0], rows[-1][0])
    assert page.max_ties == max(Counter(row[0] for row in rows).values())


def test_a_page_deep_in_a_window_takes_less_than_30_bytes_a_row():
    rows = [(timestamps.format_utc(e.detected_at), e.phone, e.reason) for e in reversed(seeded(500, days=2))]
    deep = page_of(rows, offset=DEEP)
    assert len(deep._packed) < 30 * 500
    assert len(page_of(rows)._packed) < 70 * 500


def test_an_empty_phone_is_a_record_like_any_other():
    assert ResponseParser(INVALID_PHONE_NUMBERS).parse_rows(body(entry(phone=""))) == [(FIXED, "", "deactivated")]


LATER = "2026-03-01T05:00:00.000000+00:00"


@pytest.mark.parametrize(
    "bad", [entry(phone=None), entry(invalid_detected_at="soon"), without("phone"), "+12125550123"]
)
def test_a_record_that_is_left_out_keeps_its_position_and_is_the_same_in_every_answer(bad):
    parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=True)
    later = entry(invalid_detected_at=LATER)
    answers = [later, bad, entry()], [bad, entry()], [later, bad], [bad]
    rows = [parser.parse_rows(body(*entries)) for entries in answers]
    assert [len(found) for found in rows] == [3, 2, 2, 1]
    # One without a time has that of a neighbour, which may be another one elsewhere.
    places = [row[0] for found in rows for row in found if row[1] != PHONE]
    assert all(FIXED <= place <= LATER for place in places)
    assert len({INVALID_PHONE_NUMBERS.identify(row) for found in rows for row in found}) == 3
    assert len(parser.unusable) == 1
    page = Page.of(rows[0], offset=0, limit=500, has_unusable=True)
    joined = [row for rows in ascending([page], since="", identify=INVALID_PHONE_NUMBERS.identify) for row in rows]
    assert joined == [(FIXED, PHONE, "deactivated"), (LATER, PHONE, "deactivated")]


def test_one_whose_own_time_can_be_read_stands_there_in_every_answer():
    parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=True)
    later = entry(invalid_detected_at=LATER)
    for answer in ([later, entry(phone=None)], [entry(phone=None), later]):
        assert {row[0] for row in parser.parse_rows(body(*answer))} == {LATER, FIXED}


def test_an_answer_in_which_no_record_can_be_used_is_an_error_even_so():
    parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=True)
    with pytest.raises(UnusableDataError, match="nor can any other of its answer"):
        parser.parse_rows(body(entry(phone=None), entry(invalid_detected_at="soon")))


def test_what_a_lookup_says_of_a_number_that_is_listed_is_as_much_as_can_be_read():
    parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=True)
    odd = [entry(invalid_detected_at=None), entry(reason=7), without("reason")]
    rows = parser.parse_lookup(body(*odd))
    assert rows == [("", PHONE, "deactivated"), (FIXED, PHONE, None), (FIXED, PHONE, None)]


@pytest.mark.parametrize("skips", [False, True])
def test_a_lookup_that_tells_of_no_number_may_be_about_any_of_those_asked_about(skips):
    parser = ResponseParser(INVALID_PHONE_NUMBERS, skip_unusable=skips)
    with pytest.raises(UnusableDataError, match="it has no phone") as raised:
        parser.parse_lookup(body(entry(), entry(phone=None)))
    assert "skip_bad_records" not in str(raised.value)


# Pages joined


INSTANTS = [
    timestamps.format_utc(dt.datetime(2026, 3, 1, tzinfo=timestamps.UTC) + dt.timedelta(hours=h)) for h in range(30)
]


@st.composite
def overlapping_pages(draw) -> tuple[list[tuple], list[Page]]:
    """Return a list, newest first, and pages that cover it in any order, overlapping as they like."""
    chosen = draw(st.lists(st.sampled_from(INSTANTS), max_size=60))
    numbers = random.Random(draw(st.integers(0, 99))).sample(range(10**6), len(chosen))
    rows = [
        (instant, f"{'+' if number % 2 else ''}1212{number:07}", None if number % 3 else "deactivated")
        for instant, number in zip(sorted(chosen, reverse=True), numbers, strict=True)
    ]
    cuts = sorted({0, len(rows), *draw(st.lists(st.integers(0, len(rows)), max_size=8))})
    spans = [
        (max(0, start - draw(st.integers(0, 9))), min(len(rows), end + draw(st.integers(0, 9))))
        for start, end in itertools.pairwise(cuts)
    ]
    spans += draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=3))
    depth = draw(st.sampled_from([0, DEEP]))
    pages = [page_of(rows[start:end], offset=depth + start) for start, end in spans]
    return rows, draw(st.permutations(pages))


@given(
    drawn=overlapping_pages(),
    since=st.sampled_from(["", INSTANTS[0], INSTANTS[7], INSTANTS[29]]),
    until=st.sampled_from([LATEST, INSTANTS[7], INSTANTS[20]]),
)
def test_joined_pages_are_the_list_once_oldest_first(drawn, since, until):
    rows, pages = drawn
    joined = [
        row
        for part in ascending(pages, since=since, identify=INVALID_PHONE_NUMBERS.identify, until=until)
        for row in part
    ]
    wanted = [row for row in rows if since <= row[0] < until]
    assert sorted(joined) == sorted(wanted)
    assert [row[0] for row in joined] == sorted(row[0] for row in wanted)


@given(drawn=overlapping_pages())
def test_parts_of_joined_pages_never_share_an_instant(drawn):
    _, pages = drawn
    parts = [{row[0] for row in part} for part in ascending(pages, since="", identify=INVALID_PHONE_NUMBERS.identify)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts))


def test_one_number_at_one_instant_comes_once_however_it_is_spelled():
    first, second = INSTANTS[:2]
    spellings = [
        (second, PHONE, None),
        (first, PHONE, None),
        (first, PHONE[1:], None),
        (first, "+1 212 555 0123", "deactivated"),
    ]
    joined = [
        row
        for part in ascending([page_of(spellings)], since="", identify=INVALID_PHONE_NUMBERS.identify)
        for row in part
    ]
    assert [row[0] for row in joined] == [first, second]


def test_joining_holds_a_few_pages_not_all():
    rows = [(timestamps.format_utc(e.detected_at), e.phone, e.reason) for e in reversed(seeded(5_000, days=3))]
    pages = [page_of(rows[start : start + 104], offset=start) for start in range(0, 5_000, 100)]
    assert max(map(len, ascending(pages, since="", identify=INVALID_PHONE_NUMBERS.identify))) <= 2 * 104
