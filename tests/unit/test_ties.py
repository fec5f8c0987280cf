"""Instants with more records than any answer: what proves them, and what does not (promise 1)."""

from __future__ import annotations

import dataclasses
import random

import pytest

from support.moving_list import MovingList, assert_true_to, identify
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.answer_size import AnswerSize
from tap_braze_sms.reading.page import Page, Row
from tap_braze_sms.reading.ties import Tie
from tap_braze_sms.reading.window_reader import WindowReader

INSTANT = "2026-03-02T04:05:06.000000+00:00"
NEWER, OLDER = INSTANT.replace("T04", "T05"), INSTANT.replace("T04", "T03")

#: Braze's largest page, shrunk.
LARGEST = 8


def rows(count: int, *, moment: str = INSTANT, first: int = 0) -> list[Row]:
    return [(moment, f"+1212555{number:04}", None) for number in range(first, first + count)]


def page(listed: list[Row], offset: int) -> Page:
    made = Page.of(listed[offset : offset + LARGEST], offset=offset, limit=LARGEST)
    return dataclasses.replace(made, ends_list=made.count < LARGEST)


def tie(*passes: list[Page]) -> Tie:
    """Return a tie that has seen these passes; none but the last may have proven it."""
    made = Tie(INSTANT, lambda moment: moment, identify, AnswerSize(), LARGEST)
    for pages in passes:
        assert not made.proven
        made.add_pass(pages)
    return made


def a_pass(*lists: list[Row]) -> list[Page]:
    """Pages that share two positions with the next, each of the list as it then was."""
    return [page(listed, index * (LARGEST - 2)) for index, listed in enumerate(lists)]


def moved(listed: list[Row], *moves: tuple[int, int]) -> list[Row]:
    """Let pairs of positions change places."""
    listed = listed[:]
    for one, other in moves:
        listed[one], listed[other] = listed[other], listed[one]
    return listed


def follow(made: Tie, listed: list[Row]) -> int:
    """Let the tie ask for passes over a list at rest until it is proven; give their number."""
    for passes in range(1, 20):
        made.add_pass([page(listed, offset) for offset, _ in made.requests()])
        if made.proven:
            return passes
    pytest.fail("never proven")


@pytest.mark.parametrize("newer", [0, 3])
@pytest.mark.parametrize("older", [0, 4])
def test_one_pass_over_a_list_at_rest_is_enough(newer, older):
    listed = rows(newer, moment=NEWER) + rows(20) + rows(older, moment=OLDER)
    assert tie(a_pass(*[listed] * 5)).proven


def test_a_number_detected_twice_within_the_instant_is_two_records():
    # The list shows microseconds, and is sorted by seconds.
    listed = rows(20)
    listed[7] = (INSTANT.replace("06.0", "06.5"), *listed[2][1:])
    made = Tie(
        INSTANT[: timestamps.SECOND], lambda moment: moment[: timestamps.SECOND], identify, AnswerSize(), LARGEST
    )
    made.add_pass(a_pass(*[listed] * 4))
    assert made.proven


def test_pages_that_share_no_record_prove_nothing():
    before = rows(22)
    after = before[6:]  # what is now between the two pages was on neither
    pages = [page(before, 0), *(page(after, offset) for offset in (7, 14))]
    made = tie(pages)
    assert not made.proven
    assert follow(made, after) <= 2


def test_a_record_hidden_by_a_change_of_places_beside_a_removal_is_not_lost():
    before = rows(16)
    after = [before[0], before[1], *before[3:6], before[15], before[7], before[6], *before[8:15]]
    made = tie([page(before, 0), page(after, 6), page(after, 12)])
    assert not made.proven


def test_the_same_order_in_two_linked_passes_is_enough_whatever_leaves_meanwhile():
    first = rows(20)
    second, third = first[1:], first[2:]
    # In each pass one record stands at two positions.
    assert tie(a_pass(first, second, second, second), a_pass(second, third, third, third)).proven


def test_another_order_in_the_second_pass_is_not():
    first = rows(20)
    second, third = first[1:], first[2:]
    other = moved(third, (1, 2))
    assert not tie(a_pass(first, second, second, second), a_pass(moved(second, (1, 2)), other, other, other)).proven


@pytest.mark.parametrize("newer", [[], rows(1, moment=NEWER)])
def test_passes_over_a_stretch_that_stays_prove_it_once_they_found_all_and_one_finds_nothing_new(newer):
    listed = newer + rows(20)
    shift = len(newer)
    hides_19 = a_pass(listed, *[moved(listed, (shift, shift + 19))] * 3)
    hides_18 = a_pass(listed, *[moved(listed, (shift + 1, shift + 18))] * 3)
    # The same record hides twice, and the order is another: two passes are no better than one.
    also_19 = a_pass(listed, *[moved(listed, (shift + 1, shift + 19), (9, 10))] * 3)
    assert not tie(hides_19, also_19).proven
    assert not tie(hides_19, hides_18).proven
    assert tie(hides_19, hides_18, hides_19).proven
    assert tie(hides_19, also_19, hides_18, hides_19).proven


def test_a_record_that_arrived_does_not_make_up_for_one_that_hides():
    listed = rows(20)
    hides_19 = a_pass(listed, *[moved(listed, (0, 19))] * 3)
    other = [*listed[:5], *rows(21)[20:], *listed[6:]]  # one has left, another came to its place
    hides_19_again = a_pass(other, *[moved(other, (1, 19), (9, 10))] * 3)
    assert not tie(hides_19, hides_19_again).proven


def test_records_met_again_in_another_order_show_that_places_change():
    listed = rows(20)
    hides_19 = a_pass(listed, *[moved(listed, (0, 19))] * 3)
    hides_19_again = a_pass(listed, *[moved(listed, (1, 19))] * 3)
    assert not tie(hides_19, hides_19_again).proven


def test_what_was_found_in_a_stretch_that_has_moved_counts_no_more():
    listed = rows(20)
    shorter = listed[:2] + listed[3:]  # one that was found has left, and the same one hides again
    hides = a_pass(listed, *[moved(listed, (0, 19))] * 3)
    hides_again = a_pass(shorter, *[moved(shorter, (1, 18), (8, 9))] * 3)
    hides_once_more = a_pass(shorter, *[moved(shorter, (3, 18), (9, 10))] * 3)
    assert not tie(hides, hides_again, hides_once_more).proven


def test_a_stretch_that_was_only_guessed_proves_nothing():
    # One full page from the top: the instant may well go on for another.
    before = rows(22)
    after = before[6:]
    made = tie([page(before, 0)], [page(before, 0), page(after, 7), page(after, 14)])
    assert not made.proven


def test_a_stretch_that_ends_where_it_begins_proves_nothing():
    before = rows(7, moment=NEWER) + rows(2)
    after = rows(6, moment=NEWER) + rows(1, first=5) + rows(9, moment=OLDER)
    contradiction = [page(before, 0), page(after, 6)]
    assert not tie(contradiction, contradiction).proven


@pytest.mark.parametrize("seen", [[30, 36], [6], [54]])
def test_an_instant_of_which_only_the_middle_was_seen_is_found_whole(seen):
    listed = rows(3, moment=NEWER) + rows(60) + rows(5, moment=OLDER)
    made = tie([page(listed, offset) for offset in seen])
    assert follow(made, listed) <= 15


def test_a_pass_asks_for_the_whole_stretch_and_hardly_anything_twice():
    listed = rows(3, moment=NEWER) + rows(400) + rows(5, moment=OLDER)
    made = Tie(INSTANT, lambda moment: moment, identify, AnswerSize(), 100)
    made.add_pass([Page.of(listed[offset : offset + 100], offset=offset, limit=100) for offset in range(0, 408, 90)])
    requests = made.requests()
    asked = {offset + place for offset, limit in requests for place in range(limit)}
    assert asked >= set(range(408))
    assert len(requests) <= 5


def test_a_pass_sees_both_ends_though_some_arrive_or_leave_before_it():
    listed = rows(3, moment=NEWER) + rows(20) + rows(9, moment=OLDER)
    shuffled = listed[:3] + random.Random(1).sample(listed[3:23], 20) + listed[23:]
    for now in (rows(3, moment=NEWER, first=50) + listed, listed[3:]):
        made = tie(a_pass(listed, shuffled, listed, shuffled))
        assert follow(made, now) == 1


@pytest.mark.parametrize("leaving", [1, 5, 20])
def test_an_instant_that_thousands_share_is_read_truly_while_many_leave_between_two_answers(leaving):
    moving = MovingList(1, records=5_000, instants=1)
    reader = WindowReader(moving.window, identify=identify, page_size=500, largest=500)
    while not reader.done:
        request = reader.next_request()
        for _ in range(leaving):
            moving.remove()
        reader.add_page(request, moving.answer(reader.dates, request.offset, request.limit))
    assert_true_to(moving, [row for rows in reader.rows() for row in rows])
    # And some that look for the end, which moves up meanwhile.
    assert moving.requests <= 6 * 5_000 / 500 + 4
