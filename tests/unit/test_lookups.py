"""Lookups against every Braze that compares, stores, caps and refuses as it may (promise 20), without HTTP."""

from __future__ import annotations

import json
import logging

import hypothesis.strategies as st
import pytest
from hypothesis import given

from support.examples import examples
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.lookups import LARGEST_LOOKUP, NumberLookup
from tap_braze_sms.braze.phone_numbers import normalize
from tap_braze_sms.braze.responses import ResponseParser

#: Texts of one request find a stored one by its digits, only if they come with +, only if without, or as it is stored.
COMPARISONS = {
    "digits": lambda asked, stored: asked.lstrip("+") == stored.lstrip("+"),
    "plus": lambda asked, stored: asked == "+" + stored.lstrip("+"),
    "bare": lambda asked, stored: asked == stored.lstrip("+"),
    "stored": lambda asked, stored: asked == stored,
}


class Braze:
    """The client of a Braze that has some entries, a phone and the day of its detection each."""

    def __init__(self, entries, *, compare, cap, refused=None, mixed=True):
        self.entries = sorted(entries, key=lambda entry: -entry[1])
        self.compare, self.cap, self.refused, self.mixed = COMPARISONS[compare], cap, refused, mixed
        self.requests = []

    def get(self, path, params, read, *, what):
        assert path == INVALID_PHONE_NUMBERS.path
        (texts,) = params.values()
        assert list(params) == ["phone_numbers[]"]
        assert len(texts) <= LARGEST_LOOKUP
        self.requests.append(texts)
        spellings = {"plus" if text.startswith("+") else "bare" for text in texts}
        if self.refused in spellings or (len(spellings) > 1 and not self.mixed):
            raise RequestRefusedError(what, status=BAD_REQUEST)
        found = [entry for entry in self.entries if any(self.compare(text, entry[0]) for text in texts)]
        sms = [{"phone": p, "invalid_detected_at": f"2026-03-{day:02}T00:00:00Z", "reason": None} for p, day in found]
        return read(json.dumps({"sms": sms[: self.cap], "message": "success"}).encode())


def find(braze: Braze, numbers: list[str]) -> dict[str, str]:
    """Return the day on which each number was detected last."""
    lookup = NumberLookup(braze, ResponseParser(INVALID_PHONE_NUMBERS).parse_lookup, logging.getLogger("test"))
    return {number: row[0][:10] for number, row in lookup.find(numbers).items()}


@examples(300)
@given(
    numbers=st.sets(st.integers(0, 400), min_size=1, max_size=150).map(sorted),
    listed=st.dictionaries(st.integers(0, 400), st.tuples(st.booleans(), st.integers(1, 28)), max_size=200),
    compare=st.sampled_from(sorted(COMPARISONS)),
    cap=st.sampled_from([1, 2, 3, 10, 24, 25, 49, 50, 100, 500]),
    mixed=st.booleans(),
)
def test_what_is_listed_is_found_and_nothing_else(numbers, listed, compare, cap, mixed):
    spelled = [(f"{'+' * plus}1202555{n:04}", day) for n, (plus, day) in listed.items()]
    asked = [f"1202555{n:04}" for n in numbers]
    found = find(Braze(spelled, compare=compare, cap=cap, mixed=mixed), asked)
    assert found == {normalize(p): f"2026-03-{day:02}" for p, day in spelled if normalize(p) in set(asked)}


@pytest.mark.parametrize(
    "text, number",
    [
        *(
            (text, "12025550100")
            for text in ("12025550100", "+12025550100", " +1 (202) 555-0100 ", "+ 1.202/555\u20130100")
        ),
        *((text, text) for text in ("", "+", "home 5551", "work 5551", "12025550100 ext 7", "1+2025550100", "-")),
        ("5551", "5551"),
        ("+" + "1234567890" * 3, "1234567890" * 3),
    ],
)
def test_digits_make_a_number_where_there_are_only_separators_beside_them(text, number):
    assert normalize(text) == number


@pytest.mark.parametrize("refused", ["plus", "bare"])
def test_where_one_spelling_is_refused_the_other_is_enough(refused):
    spelled = [(f"{'+' * (n % 2)}1202555{n:04}", 1) for n in range(40)]
    asked = [f"1202555{n:04}" for n in range(100)]
    braze = Braze(spelled, compare="digits", cap=100, refused=refused)
    assert set(find(braze, asked)) == set(asked[:40])
    # What the first answer lacked, a refused mixture, a refused half: and the rest in two requests of fifty.
    assert len(braze.requests) <= 6


def test_a_refusal_of_every_spelling_is_raised():
    braze = Braze([], compare="digits", cap=100, refused="plus")
    braze.mixed = False
    braze.get = lambda path, params, read, *, what: (_ for _ in ()).throw(RequestRefusedError(what, status=BAD_REQUEST))
    with pytest.raises(RequestRefusedError, match="number 1"):
        find(braze, ["12025550100"])


def test_an_ordinary_braze_is_asked_little_more_than_it_has_to_be():
    asked = [f"1202{n:07}" for n in range(3_000)]
    braze = Braze([(f"+{phone}", 1) for phone in asked[::10]], compare="digits", cap=100)
    lookup = NumberLookup(braze, ResponseParser(INVALID_PHONE_NUMBERS).parse_lookup, logging.getLogger("test"))
    found = {}
    for start in range(0, len(asked), LARGEST_LOOKUP):
        found |= lookup.find(asked[start : start + LARGEST_LOOKUP], first=start + 1)
    assert set(found) == set(asked[::10])
    assert len(braze.requests) < 1.1 * len(asked) / LARGEST_LOOKUP
