"""The two endpoints: what a request asks for, what is refused, and the page that is answered."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
import typing as t
from http import HTTPStatus

from braze_simulator.entries import DAY, MICROSECOND, REASONS, holding, micros, spelling
from braze_simulator.listing import Part
from braze_simulator.messages import RefusedError, Reply, error, success

if t.TYPE_CHECKING:
    from braze_simulator.behaviour import Behaviour
    from braze_simulator.messages import Exchange, Message, Request
    from braze_simulator.workspace import Workspace

LIST_PATH = "/sms/invalid_phone_numbers"
REMOVE_PATH = "/sms/invalid_phone_numbers/remove"
#: Records of an answer: the most that limit may ask for, and without it.
MAX_PAGE, DEFAULT_PAGE = 500, 100
#: Numbers of one request to take them off.
MAX_REMOVALS = 50
#: Bytes.
MAX_URL = 64 * 1024
_whole = re.compile("[0-9]{1,12}").fullmatch


class Endpoints:
    """What a workspace answers to requests that reach it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turns = itertools.count()

    def knows(self, message: Message) -> bool:
        """Whether a request comes with the key."""
        return message.headers.get("authorization") == f"Bearer {self._workspace.api_key}"

    @property
    def _behaviour(self) -> Behaviour:
        """What it is now: it may be another one for each request."""
        return self._workspace.behaviour

    def answer(self, exchange: Exchange) -> Reply:
        """Return what a request is answered; how it was read goes into the log."""
        message, request = exchange.message, exchange.request
        endpoint = {("GET", LIST_PATH): self._list, ("POST", REMOVE_PATH): self._remove}.get(
            (request.method, request.path),
        )
        if len(message.target) > MAX_URL:
            return error(HTTPStatus.REQUEST_URI_TOO_LONG, f"the URL is longer than {MAX_URL} bytes")
        if endpoint is None:
            return error(HTTPStatus.NOT_FOUND, f"no such endpoint: {request.method} {request.path}")
        if not self.knows(message):
            return error(HTTPStatus.UNAUTHORIZED, "Invalid API key")
        if exchange.budget.remaining < 0:
            return error(HTTPStatus.TOO_MANY_REQUESTS, "rate limit exceeded")
        try:
            return endpoint(message, request)
        except RefusedError as refused:
            return refused.reply

    def _list(self, _message: Message, request: Request) -> Reply:
        params = {name: values[-1] for name, values in request.params.items()}
        limit, offset = self._slice(params)
        reason = params.get("reason")
        if reason is not None and reason not in REASONS and self._behaviour.refuse_reasons:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"reason must be one of {', '.join(REASONS)}")
        phones = request.params.get("phone_numbers[]")
        start, end = (0, 0) if phones else self._dates(params)
        if phones:
            self._check_spelling(phones)
        beside = bool(phones) and not params.keys().isdisjoint({"limit", "offset"})
        if beside and self._behaviour.limit_beside_numbers == "refused":
            raise RefusedError(HTTPStatus.BAD_REQUEST, "limit and offset cannot be combined with phone_numbers[]")
        request.limit, request.offset = limit, offset
        self._workspace.move()
        before, after = self._filters(reason)
        size = min(limit, self._cap())
        if phones:
            empty = beside and self._behaviour.limit_beside_numbers == "empty"
            rows = [] if empty else self._rows_of(phones, before)[offset : offset + size]
        else:
            rows = self._page(start, end, before, offset, size)
        if after:
            rows = [row for row in rows if holding(after) in row]
        body = b'{"sms":[' + b",".join(rows) + b'],"message":"success"}'
        return Reply(200, body, returned=len(rows))

    def _slice(self, params: dict[str, str]) -> tuple[int, int]:
        """Return limit and offset as asked for."""
        limit = whole_number(params, "limit", DEFAULT_PAGE, 1, MAX_PAGE)
        offset = whole_number(params, "offset", 0, 0, 10**12)
        if self._behaviour.refuse_zero_offset and "offset" in params and offset == 0:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "Offset must be greater than 0.")
        if self._behaviour.max_offset is not None and offset > self._behaviour.max_offset:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"offset must be at most {self._behaviour.max_offset}")
        return limit, offset

    def _filters(self, reason: str | None) -> tuple[str | None, str | None]:
        """Return the reasons by which to select before and after the page is cut."""
        when = self._behaviour.reason_filters
        return reason if when == "before" else None, reason if when == "after" else None

    def _cap(self) -> int:
        """Return the most records of this answer."""
        cap, spread = self._behaviour.page_cap, self._behaviour.page_cap_spread
        if cap is None or not spread:
            return cap or MAX_PAGE
        return self._workspace.random.randint(max(1, math.ceil(cap * (1 - spread))), cap)

    def _dates(self, params: dict[str, str]) -> tuple[int, int]:
        if not {"start_date", "end_date"} <= params.keys():
            raise RefusedError(HTTPStatus.BAD_REQUEST, "either start_date and end_date or phone_numbers[] is required")
        start, end = midnight(params, "start_date"), midnight(params, "end_date")
        if start >= end:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "start_date must be earlier than end_date")
        longest = self._behaviour.max_range_days
        if longest is not None and end - start > longest * DAY:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the date range must be at most {longest} days")
        return micros(start), micros(end) + self._behaviour.end_inclusive * (DAY // MICROSECOND)

    def _check_spelling(self, phones: list[str]) -> None:
        refused = self._behaviour.refuse_spelling
        if any(spelling(phone) == refused for phone in phones):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "phone numbers must be in E.164 format")

    def _rows_of(self, phones: list[str], reason: str | None) -> list[bytes]:
        rows, wanted = self._workspace.listing.rows, holding(reason)
        found = self._workspace.listing.positions(phones, self._behaviour.compare_numbers)
        return [rows[position] for position in found if wanted in rows[position]]

    def _page(self, start: int, end: int, reason: str | None, offset: int, size: int) -> list[bytes]:
        listing = self._workspace.listing
        replica = self._answering(listing.order.replicas)
        columns, low, high = listing.between(Part(start, end, reason, replica))
        top = high - offset
        if top <= low:
            return []
        bottom = max(low, top - size)
        if self._behaviour.shuffle_ties:
            columns.shuffle_ties(self._workspace.random, bottom, top)
        page = columns.rows[bottom:top]
        page.reverse()
        return page

    def _answering(self, replicas: int) -> int:
        """Return which replica answers."""
        if replicas > 1 and self._behaviour.replica_choice == "random":
            return self._workspace.random.randrange(replicas)
        return next(self._turns) % replicas

    def _remove(self, message: Message, _request: Request) -> Reply:
        try:
            content = message.json()
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
        phones = content.get("phone_numbers") if isinstance(content, dict) else None
        if not isinstance(phones, list) or not all(isinstance(phone, str) for phone in phones):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "phone_numbers must be a list of strings")
        if not 1 <= len(phones) <= MAX_REMOVALS:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"phone_numbers takes 1 to {MAX_REMOVALS} numbers")
        self._check_spelling(phones)
        self._workspace.take_off(phones, self._behaviour.compare_numbers)
        self._workspace.removal_posts.append(phones)
        return success(201, message="success")


def whole_number(params: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a parameter that is a whole number, or refuse it."""
    text = params.get(name, str(default))
    if not _whole(text) or not low <= int(text) <= high:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def offset_of(request: Request) -> int:
    """Return how deep in the list a request asks; 0 where that cannot be read."""
    offset = request.params.get("offset", [""])[-1]
    return int(offset) if _whole(offset) else 0


def midnight(params: dict[str, str], name: str) -> dt.datetime:
    """Return the midnight a date parameter names, or refuse it."""
    text = params[name]
    # fromisoformat alone takes 20260301 on newer Pythons, which the API does not.
    spelled = text if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else ""
    try:
        return dt.datetime.fromisoformat(f"{spelled}T00:00:00+00:00")
    except ValueError:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} must be a date, YYYY-MM-DD") from None
