"""Phone numbers: what is one number, and the numbers someone asks about, as they wrote them."""

from __future__ import annotations

import csv
import io
import re
import typing as t
from pathlib import Path

from tap_braze_sms import encodings
from tap_braze_sms.reading.errors import UnusableInputError

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeGuard

#: The column of a CSV file that holds the number.
COLUMN = "phone"

#: What may stand between the columns.
SEPARATORS = ",;\t"

#: Of a phone number with its country code, by E.164. More are two numbers, or something else beside one.
LEAST_DIGITS, MOST_DIGITS = 7, 15

_SEPARATORS = re.compile(r"[\s()./\u2010-\u2015-]")

# Digits and what people put between them. Not an extension, nor what has other digits than the number:
_WRITTEN = re.compile(
    r"(?![0-9]+\.[0-9]+$)"  # 15555550100.0, as which a spreadsheet writes a number that it took for one
    r"(?!.*[0-9]\s*\(0\))"  # the (0) that is dialled at home alone
    r"(?![0-9]{4}-[0-9]{2}-[0-9]{2}$)"  # a date, of another column
    r"\+?\s*\(?[0-9][0-9\s()./\u2010-\u2015-]*"
)


def normalize(phone: str) -> str:
    """Return what decides whether two spellings are one number: the digits, of a text of digits and separators."""
    bare = phone.removeprefix("+")
    if bare.isdecimal():
        return bare
    digits = _SEPARATORS.sub("", phone.strip().removeprefix("+"))
    return digits if digits.isdecimal() else phone


def is_number(text: object) -> TypeGuard[str]:
    """Whether a text has the digits that make it one number."""
    if not isinstance(text, str) or not _WRITTEN.fullmatch(text.strip()):
        return False
    return LEAST_DIGITS <= len(normalize(text)) <= MOST_DIGITS


def are_configured(config: Mapping[str, t.Any]) -> bool:
    """Whether any numbers are asked about."""
    return bool(config.get("phone_numbers") or config.get("phone_numbers_file"))


def load(config: Mapping[str, t.Any]) -> list[str]:
    """Return every configured number once, as it was spelled first; digits decide.

    Raises:
        UnusableInputError: names the setting and the position or line, never the number.
    """
    spelled: dict[str, str] = {}
    for where, text in _configured(config):
        if not is_number(text):
            wanted = f"every number has {LEAST_DIGITS} to {MOST_DIGITS} digits, as in +15555550100"
            if where.startswith("phone_numbers_file"):
                wanted += f"; a CSV has them in a column {COLUMN}"
            msg = f"{where} holds no phone number; {wanted}"
            raise UnusableInputError(msg)
        spelled.setdefault(normalize(text), text)
    return list(spelled.values())


def _configured(config: Mapping[str, t.Any]) -> Iterator[tuple[str, str]]:
    for index, text in enumerate(config.get("phone_numbers") or ()):
        yield f"phone_numbers: entry {index + 1}", text
    if path := config.get("phone_numbers_file"):
        try:
            content = Path(path).read_bytes()
            # Whatever else a file holds, such as names in an encoding of Windows, is not used.
            file = io.StringIO(content.decode(encodings.detect(content), "replace"), newline="")
            yield from ((f"phone_numbers_file: line {line} of {path}", text) for line, text in _lines(file))
        except (OSError, ValueError, csv.Error) as error:
            why = error.strerror if isinstance(error, OSError) else error
            problem = f"got {path!r}, which cannot be read: {why}; takes numbers, one a line, or a CSV of them"
            msg = f"phone_numbers_file: {problem}"
            raise UnusableInputError(msg) from None


def _lines(file: t.TextIO) -> Iterator[tuple[int, str]]:
    """Yield line number and number of each line, or of each row with a `phone` column."""
    head = next((line for line in file if line.strip()), "")
    file.seek(0)
    # A spreadsheet separates by what the decimal comma of its country leaves free.
    separator = next((sign for sign in SEPARATORS if COLUMN in _names(head.split(sign))), ",")
    rows = csv.reader(file, strict=True, delimiter=separator)
    filled = (row for row in rows if any(cell.strip() for cell in row))
    column: int | None = None
    for index, row in enumerate(filled):
        if index == 0 and COLUMN in (names := _names(row)):
            column = names.index(COLUMN)
        elif column is None:
            # A plain line may hold commas of its own; a number never does.
            yield rows.line_num, ",".join(row).strip()
        else:
            yield rows.line_num, row[column].strip() if column < len(row) else ""


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]
