"""Requests and answers, before and after they are HTTP."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from http import HTTPStatus


@dataclasses.dataclass(slots=True)
class Request:
    """What the log keeps of one request to the API."""

    method: str
    path: str
    params: dict[str, list[str]]
    started: float  #: time.monotonic()
    limit: int | None = None  #: as asked, or the default; None where the request was refused or is no list request
    offset: int | None = None
    status: int | str = "unanswered"  #: or the fault's name, where it is no status
    returned: int = 0  #: records


class Message(t.NamedTuple):
    """One HTTP request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> t.Any:
        """Return the posted JSON; ValueError if it is none."""
        return json.loads(self.body or b"{}")


class Reply(t.NamedTuple):
    """An answer before it becomes HTTP."""

    status: int
    body: bytes
    content_type: str = "application/json"
    returned: int = 0


class Budget(t.NamedTuple):
    """What the rate limit headers say."""

    limit: int
    remaining: int  #: negative: over the limit
    reset: int


class Exchange(t.NamedTuple):
    """A request under way."""

    message: Message
    request: Request
    fault: str | None
    budget: Budget
    delay: float  #: seconds until its answer


class RefusedError(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, errors)
        self.reply = error(status, *errors)


def success(status: int = 200, **content: object) -> Reply:
    """Return an answer in JSON."""
    return Reply(status, json.dumps(content, default=sorted).encode())


def error(status: int, *errors: str) -> Reply:
    """Return an error as Braze words it."""
    return success(status, message=HTTPStatus(status).phrase, errors=list(errors))
