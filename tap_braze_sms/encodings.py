"""Text files as editors and other systems write them: the encoding that their first bytes name."""

from __future__ import annotations

import codecs

_MARKS = (
    # The first begins like the third.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect(beginning: bytes) -> str:
    """Return the encoding of a text by its byte order mark; without one it is UTF-8."""
    return next((encoding for mark, encoding in _MARKS if beginning.startswith(mark)), "utf-8-sig")
