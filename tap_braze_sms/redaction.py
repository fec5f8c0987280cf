"""What is personal or secret in a text, cut out of it: for errors and log lines, whoever wrote them."""

from __future__ import annotations

import re

# What a message can quote of a record: text in quotes, and words with digits.
_QUOTATION = re.compile(r"""(['"]).*\1|\S*\d\S*""", re.DOTALL)

# Of an expression: text, which can be a salt, and what can be a phone number.
_LITERAL = re.compile(r"""(['"]).*?\1|\d{5,}""", re.DOTALL)

# A phone number as an answer may echo it: with what people put between its digits, or as part of an address.
_LONG_NUMBER = re.compile(r"\+?\d(?:(?:%20|[\s()./\u2010-\u2015\u200b-]){0,3}\d){5,}")

# Of the lines of libraries: queries, headers, what a stream map's filter gives.
_PERSONAL_PARTS = re.compile(r"(?<=\?)\S+|(?<=stream: ).+|(?<=unparsed data: ).+", re.DOTALL)


# Braze's REST API keys, wherever one was put by mistake.
_API_KEY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def redact_value(value: object) -> str:
    """Return what was given for a setting as an error may show it: no API key, which was meant for another one."""
    return _API_KEY.sub("[api_key]", repr(value)[:80])


def redact_message(message: str) -> str:
    """Return the message of an error that may quote a record, without what it may quote."""
    return _QUOTATION.sub("…", message)


def redact_expression(expression: str) -> str:
    """Return an expression of a stream map without its literals."""
    return _LITERAL.sub("…", expression)


def redact_answer(text: str, api_key: str) -> str:
    """Return what Braze says in an error, which may echo the request, without the key and phone numbers."""
    return _LONG_NUMBER.sub("[number]", text.replace(api_key, "[api_key]"))


def redact_log_line(line: str) -> str:
    """Return a library's log line without what can hold a number."""
    return _PERSONAL_PARTS.sub("…", line)
