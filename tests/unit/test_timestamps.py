"""Times: every shape Braze writes, in one fixed form (promises 3 and 4)."""

from __future__ import annotations

import contextlib
import datetime as dt
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tap_braze_sms.reading import timestamps

#: Everything the calendar holds in UTC, whatever offset it is written with.
INSTANTS = st.datetimes(
    min_value=dt.datetime(1, 1, 3),  # noqa: DTZ001 (hypothesis wants it so)
    max_value=dt.datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.just(dt.timezone.utc),
)

OFFSETS = st.timedeltas(
    min_value=dt.timedelta(hours=-23, minutes=-59), max_value=dt.timedelta(hours=23, minutes=59)
).map(lambda span: dt.timezone(dt.timedelta(seconds=span // dt.timedelta(seconds=1))))


@pytest.mark.parametrize(
    "text",
    [
        # BRAZE_API names these three.
        "2016-08-25 15:24:32 +0000",
        "2016-08-25T15:24:32.000Z",
        "2016-08-25T15:24:32Z",
        # Whatever else datetime.fromisoformat takes on Python 3.11.
        "2016-08-25T15:24:32",
        "2016-08-25 15:24:32",
        "2016-08-25T15:24:32+00:00",
        "2016-08-25T15:24:32-00:00",
        "2016-08-25T15:24:32.0+00:00",
        "2016-08-25T15:24:32.000000000Z",
        "2016-08-25T15:24:32,000Z",
        "2016-08-25T17:24:32+02:00",
        "2016-08-25T17:24:32+02",
        "2016-08-25T20:54:32.000+0530",
        "2016-08-25T15:25:02+00:00:30",
        "2016-08-25 10:24:32.000 -0500",
        "2016-08-25 17:24:32 +02:00",
        "2016-08-26T00:24:32+09:00",
        "20160825T152432Z",
        "20160825T152432.000000",
        "2016-W34-4T15:24:32Z",
        "2016W344T152432Z",
    ],
)
def test_every_shape_of_a_time_is_read(text):
    assert timestamps.normalize(text) == "2016-08-25T15:24:32.000000+00:00"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2026-03-01T04:05:06.789Z", "2026-03-01T04:05:06.789000+00:00"),
        ("2026-03-01T04:05:06.7Z", "2026-03-01T04:05:06.700000+00:00"),
        ("2026-03-01T04:05:06.123456Z", "2026-03-01T04:05:06.123456+00:00"),
        ("2026-03-01T04:05:06.123456999Z", "2026-03-01T04:05:06.123456+00:00"),
        ("2026-03-01T04:05Z", "2026-03-01T04:05:00.000000+00:00"),
        ("2026-03-01T04Z", "2026-03-01T04:00:00.000000+00:00"),
        ("2026-03-01", "2026-03-01T00:00:00.000000+00:00"),
        ("20260301", "2026-03-01T00:00:00.000000+00:00"),
        ("2026-03-01x04:05:06.789Z", "2026-03-01T04:05:06.789000+00:00"),
        # As long as what Braze writes most, and something else.
        ("2026-03-01T04:05:06+0100", "2026-03-01T03:05:06.000000+00:00"),
        ("2026-03-01T04:05:06,789Z", "2026-03-01T04:05:06.789000+00:00"),
        ("20260301T040506.1234567Z", "2026-03-01T04:05:06.123456+00:00"),
        ("2026-W09-7T04:05:06.789Z", "2026-03-01T04:05:06.789000+00:00"),
        ("2026-03-01T040506+002233", "2026-03-01T03:42:33.000000+00:00"),
        ("0001-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000000+00:00"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999000+00:00"),
    ],
)
def test_a_time_is_rewritten_exactly(text, expected):
    assert timestamps.normalize(text) == expected


def test_midnight_written_as_24_is_the_next_days_where_python_reads_it():
    with contextlib.suppress(ValueError):  # from Python 3.14 on
        assert timestamps.normalize("2026-03-01T24:00:00.000Z") == "2026-03-02T00:00:00.000000+00:00"


@given(
    instant=INSTANTS,
    offset=OFFSETS,
    precision=st.sampled_from(["auto", "hours", "minutes", "seconds", "milliseconds", "microseconds"]),
    separator=st.sampled_from("T _t"),
    decimal=st.sampled_from(".,"),
)
def test_the_fixed_form_is_what_arithmetic_says(instant, offset, precision, separator, decimal):
    written = instant.astimezone(offset).isoformat(separator, precision).replace(".", decimal)
    told = dt.datetime.fromisoformat(written.replace(decimal, ".")).astimezone(dt.timezone.utc)
    fixed = timestamps.normalize(written)
    assert dt.datetime.fromisoformat(fixed) == told
    assert len(fixed) == 32
    assert fixed.endswith("+00:00")
    assert (
        timestamps.format_utc(instant.astimezone(offset))
        == timestamps.normalize(timestamps.format_utc(instant))
        == timestamps.format_utc(instant)
    )
    assert timestamps.parse(written) == told


@given(instant=INSTANTS, milliseconds=st.integers(0, 999))
def test_what_braze_writes_most_is_what_arithmetic_says(instant, milliseconds):
    instant = instant.replace(microsecond=milliseconds * 1000)
    assert timestamps.normalize(
        f"{instant:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z".rjust(24, "0")
    ) == timestamps.format_utc(instant)


@given(one=INSTANTS, other=INSTANTS)
def test_text_order_is_time_order(one, other):
    assert (timestamps.format_utc(one) < timestamps.format_utc(other)) == (one < other)


@given(instant=INSTANTS)
def test_a_day_begins_at_its_midnight(instant):
    fixed = timestamps.format_utc(instant)
    assert timestamps.midnight(instant.date()) <= fixed < timestamps.midnight(instant.date() + dt.timedelta(days=1))


ALMOST_TIMES = st.from_regex(
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9][T ][0-2][0-9](:[0-6][0-9]){1,2}([.,][0-9]{1,7})?( ?[+-][0-9]{2}:?[0-9]{2}|Z)?\Z"
)


@given(text=st.one_of(st.text(), st.text("0123456789-:.TWZ+ ", min_size=8, max_size=35), ALMOST_TIMES))
@example("")
@example("+12125550001")
@example("2026-13-01T04:05:06.789Z")
@example("2026-02-29T04:05:06.789Z")
@example("2026-03-01T25:05:06.789Z")
@example("2026-03-01T04:05:06.789Z and more")
@example("0001-01-01T00:00:00+05:00")
@example("9999-12-31T23:59:59-05:00")
@example("1772337906789")
@example("\ud800-03-01")
def test_what_is_no_time_is_said_so_without_quoting_it(text):
    try:
        told = dt.datetime.fromisoformat(re.sub(r" ([+-]\d\d:?\d\d)$", r"\1", text, flags=re.ASCII))
        expected = told.replace(tzinfo=told.tzinfo or dt.timezone.utc).astimezone(dt.timezone.utc)
    except (ValueError, OverflowError):
        expected = None
    for read, wanted in (
        (timestamps.parse, expected),
        (timestamps.normalize, expected and timestamps.format_utc(expected)),
    ):
        if wanted:
            assert read(text) == wanted
            continue
        with pytest.raises(ValueError, match=r"^not a time in ISO 8601$") as raised:
            read(text)
        assert raised.value.__context__ is raised.value.__cause__ is None


@pytest.mark.parametrize(
    "seconds, said",
    [(0.04, "0.0 s"), (9.5, "9.5 s"), (10, "10 s"), (90, "90 s"), (120, "2 min"), (3015, "50 min"), (9000, "2.5 h")],
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert timestamps.format_duration(seconds) == said


@pytest.mark.parametrize("value", [None, 1772337906, 1.5, b"2026-03-01", ["2026-03-01"], {}])
def test_what_is_no_text_is_no_time(value):
    with pytest.raises(ValueError, match=r"^not a time in ISO 8601$"):
        timestamps.parse(value)
