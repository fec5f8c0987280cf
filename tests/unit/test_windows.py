"""A range in windows that cover it, each as wide as its records suggest (promises 1, 6, 7 and 10)."""

from __future__ import annotations

import datetime as dt
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.windows import FIRST_DAYS, WINDOW_RECORDS, Planner, Window

#: Noon of a day in March, and the days around it.
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=timestamps.UTC)
TODAY = NOON.date()
YESTERDAY, TOMORROW = TODAY - dt.timedelta(days=1), TODAY + dt.timedelta(days=1)
LONG_AGO = NOON - dt.timedelta(days=1_000)


def windows_of(planner: Planner, *, density: float = 0.0) -> list[Window]:
    """Take all windows of a plan, each with as many records a day."""
    windows = []
    while (window := planner.next()) is not None:
        windows.append(window)
        planner.learn(window, round(density * window.days))
    return windows


def second_of(*, density: float, widest: int = 366) -> Window:
    """Return the window planned when the first is known to have held so many records a day."""
    planner = Planner(LONG_AGO, None, today=TODAY, widest=widest)
    first = planner.next()
    planner.learn(first, round(density * first.days))
    return planner.next()


@given(
    since=st.datetimes(dt.datetime(2024, 1, 1), dt.datetime(2026, 3, 4), timezones=st.timezones()),  # noqa: DTZ001
    span=st.none() | st.timedeltas(dt.timedelta(0), dt.timedelta(days=900)),
    widest=st.integers(1, 366),
    density=st.sampled_from([0.0, 0.01, 3.0, 700.0, 13_000.0, 1e6]),
)
def test_windows_touch_and_keep_every_wanted_instant_once(since, span, widest, density):
    until = None if span is None else since.astimezone(timestamps.UTC) + span
    planner = Planner(since, until, today=TODAY, widest=widest)
    windows = windows_of(planner, density=density)
    assert planner.days == sum(window.days for window in windows)
    begin = since.astimezone(timestamps.UTC)
    last = TODAY if until is None else min(TODAY, (until - dt.timedelta(microseconds=1)).date())
    if begin.date() > last or span == dt.timedelta(0):
        assert windows == []
        return
    assert windows[0].first == begin.date()
    assert windows[-1].last == last
    assert windows[0].since == timestamps.format_utc(begin)
    assert windows[-1].until == (None if until is None else timestamps.format_utc(until))
    for window, following in itertools.pairwise(windows):
        assert following.first == window.last + dt.timedelta(days=1)
        assert window.until == following.since == timestamps.midnight(following.first)
    assert all(1 <= window.days <= widest for window in windows)
    assert all(window.since >= timestamps.midnight(window.first) for window in windows)


def test_the_last_window_keeps_what_braze_dates_into_its_tomorrow():
    assert windows_of(Planner(NOON, None, today=TODAY, widest=30)) == [
        Window(TODAY, 1, timestamps.format_utc(NOON), None)
    ]


def test_an_end_after_today_asks_for_nothing_after_today():
    (window,) = windows_of(Planner(NOON, NOON + dt.timedelta(days=9), today=TODAY, widest=30))
    assert (window.last, window.until) == (TODAY, "2026-03-11T12:00:00.000000+00:00")


def test_a_day_that_only_its_first_instant_belongs_to_is_not_left_out():
    midnight = NOON.replace(hour=0)
    before, after = midnight - dt.timedelta(hours=1), midnight + dt.timedelta(microseconds=1)
    assert [window.last for window in windows_of(Planner(before, midnight, today=TODAY, widest=30))] == [YESTERDAY]
    assert [window.last for window in windows_of(Planner(before, after, today=TODAY, widest=30))] == [TODAY]


@pytest.mark.parametrize("until", [NOON, NOON - dt.timedelta(microseconds=1), NOON - dt.timedelta(days=40)])
def test_a_range_that_ends_before_it_begins_has_no_windows(until):
    assert Planner(NOON, until, today=TODAY, widest=30).next() is None


def test_a_range_that_begins_tomorrow_has_no_windows():
    assert Planner(NOON + dt.timedelta(days=1), None, today=TODAY, widest=30).next() is None


def test_a_plan_that_is_at_its_end_stays_there():
    planner = Planner(NOON, None, today=TODAY, widest=30)
    assert planner.next() is not None
    assert [planner.next(), planner.next()] == [None, None]


@pytest.fixture(params=["UTC0", "EAST-14", "WEST+12"])
def zone(request, monkeypatch):
    """Time zone of the machine."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_the_days_of_a_range_are_days_in_utc_wherever_the_machine_is():
    east = dt.timezone(dt.timedelta(hours=14))
    since = dt.datetime(2026, 3, 2, 1, tzinfo=east)
    (window,) = windows_of(Planner(since, since + dt.timedelta(hours=1), today=TODAY, widest=30))
    assert window == Window(
        dt.date(2026, 3, 1), 1, "2026-03-01T11:00:00.000000+00:00", "2026-03-01T12:00:00.000000+00:00"
    )


def test_the_first_window_holds_a_bookmark_of_yesterday_and_today():
    planner = Planner(NOON - dt.timedelta(days=1), None, today=TODAY, widest=30)
    window = planner.next()
    assert (window.first, window.last, planner.next()) == (YESTERDAY, TODAY, None)
    assert Planner(LONG_AGO, None, today=TODAY, widest=30).next().days == FIRST_DAYS


@pytest.mark.parametrize("density, days", [(0, 30), (100, 30), (WINDOW_RECORDS / 4, 4), (WINDOW_RECORDS / 2 + 1, 1)])
def test_a_window_is_as_wide_as_its_records_fit(density, days):
    assert second_of(density=density, widest=30).days == days


def test_one_record_in_a_window_does_not_narrow_the_next():
    assert second_of(density=0.5).days == 366


def test_the_busiest_day_is_still_a_window():
    assert second_of(density=WINDOW_RECORDS * 80).days == 1


def test_width_follows_the_window_read_last():
    planner = Planner(LONG_AGO, None, today=TODAY, widest=300)
    planner.learn(planner.next(), 0)
    quiet = planner.next()
    planner.learn(quiet, 1_000 * quiet.days)
    busy = planner.next()
    planner.learn(busy, 0)
    assert [quiet.days, busy.days, planner.next().days] == [300, WINDOW_RECORDS // 1_000, 300]


@pytest.mark.parametrize(
    "days, assume_end_inclusive, dates",
    [
        (1, False, ("2026-03-02", "2026-03-03")),
        (3, False, ("2026-03-02", "2026-03-05")),
        # Braze wants start_date to lie before end_date.
        (1, True, ("2026-03-01", "2026-03-02")),
        (2, True, ("2026-03-02", "2026-03-03")),
        (3, True, ("2026-03-02", "2026-03-04")),
    ],
)
def test_a_window_asks_for_its_days_however_braze_counts_the_end(days, assume_end_inclusive, dates):
    window = Window(TODAY, days, timestamps.midnight(TODAY), None)
    assert window.dates(assume_end_inclusive=assume_end_inclusive) == dates


def test_a_window_names_its_first_and_last_day():
    window = Window(TODAY, 3, timestamps.midnight(TODAY), None)
    assert str(window) == "window 2026-03-02 to 2026-03-04"
    assert window.end == "2026-03-05T00:00:00.000000+00:00"
