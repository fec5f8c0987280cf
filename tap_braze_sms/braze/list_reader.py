"""The list reader: one of Braze's lists, whole and oldest first, for a Singer stream, a notebook or any other program.

for record in read_records(api_key="…", instance="US-06", since=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)):
    print(record["phone"], record["invalid_detected_at"], record["reason"])
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import signal
import typing as t

from tap_braze_sms.braze.client import LARGEST_PAGE, BrazeClient
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
from tap_braze_sms.braze.instances import INSTANCES, check_connection
from tap_braze_sms.braze.lists import INVALID_PHONE_NUMBERS
from tap_braze_sms.braze.responses import ResponseParser
from tap_braze_sms.concurrency.cancellation import CancelToken
from tap_braze_sms.concurrency.scheduler import WindowScheduler
from tap_braze_sms.concurrency.workers import WorkerPool
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import RefusedStretchError
from tap_braze_sms.reading.time_order import EXACT
from tap_braze_sms.reading.windows import Planner

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.braze.lists import BrazeList
    from tap_braze_sms.concurrency.deadline import Deadline
    from tap_braze_sms.reading.page import Page, Row
    from tap_braze_sms.reading.time_order import TimeOrder

#: What a reading takes, from least to most, both included but for 0: as the tap's settings of the same names.
BOUNDS: dict[str, tuple[int, int]] = {
    "rate_limit_share": (0, 1),
    "request_timeout": (0, 86_400),
    "max_attempts": (1, 20),
    "max_parallel_requests": (1, 64),
    "window_days": (1, 366),
    "page_size": (2, LARGEST_PAGE),
}


class ListReader:
    """Reads a list, each record once, in order of time, with all that Braze's documents leave open allowed for.

    Args:
        client: Makes the requests.
        braze_list: What is read.
        pool: Keeps requests in flight; ended with the iteration.
        since: Earliest wanted instant, inclusive.
        until: Latest wanted instant, exclusive; None: as late as Braze has any.
        now: The current time.
        settings: ``window_days``, ``page_size`` and ``skip_bad_records`` of the tap's.
        known_order: How earlier runs saw the list descend by time.
        deadline: When nothing more is begun.
    """

    def __init__(
        self,
        client: BrazeClient,
        braze_list: BrazeList,
        *,
        pool: WorkerPool,
        since: dt.datetime,
        until: dt.datetime | None,
        now: dt.datetime,
        settings: t.Mapping[str, t.Any],
        known_order: TimeOrder = EXACT,
        deadline: Deadline | None = None,
    ) -> None:
        self.parser = ResponseParser(braze_list, skip_unusable=settings["skip_bad_records"])
        self.scheduler = WindowScheduler(
            Planner(since, until, today=now.date(), widest=settings["window_days"]),
            self._fetch,
            identify=braze_list.identify,
            page_size=settings["page_size"],
            largest=LARGEST_PAGE,
            pool=pool,
            known_order=known_order,
            deadline=deadline,
        )
        self._client = client
        self._list = braze_list
        self._told_unusable = 0

    def __iter__(self) -> Iterator[tuple[list[Row], str]]:
        """Yield rows in order of time, each time with the instant before which nothing is left to yield then.

        Raises:
            ReadingError: a request failed for good, or what came cannot be used or proven complete; all before its
                window was yielded.
        """
        return iter(self.scheduler)

    def new_unusable(self) -> list[str]:
        """Return what is wrong with records that were left out since this was asked last, without their numbers."""
        new = [*self.parser.unusable.values()][self._told_unusable :]
        self._told_unusable += len(new)
        return new

    def differences(self) -> Iterator[str]:
        """Say what was found that Braze's documents do not say, a line each, once all is read."""
        scheduler, found = self.scheduler, []
        if scheduler.order.precision < timestamps.SECOND:
            how = f", so that {scheduler.log.in_passes} of {scheduler.windows} windows took two readings or more"
            found.append(f"its list is {scheduler.order}{how if scheduler.log.in_passes else ''}")
        if scheduler.answer_size.is_cut:
            found.append(f"answers hold {scheduler.answer_size.largest} records at most, whatever is asked for")
        if scheduler.widest:
            found.append(f"it refuses ranges of many days, so that some {scheduler.widest} were asked for at a time")
        if found:
            yield f"Braze differs from its documents, which was allowed for: {'; '.join(found)}"
        if scheduler.conflicts:
            key, others = self._list.key_field, " or ".join(self._list.other_fields)
            yield (
                f"One {key} at one instant was listed with another {others}, {scheduler.conflicts} times: "
                "what Braze lists first is kept"
            )
        yield from self.parser.surprises()

    def _fetch(self, dates: tuple[str, str], offset: int, limit: int, where: str) -> Page:
        # On other lists of Braze's an offset of 0 is refused; left out, it is 0 on all. `reason` is never sent: where
        # pages are cut before they are filtered, it would hide what lies behind a page without it.
        params = {"start_date": dates[0], "end_date": dates[1], "limit": limit, "offset": offset or None}
        read = functools.partial(self.parser.parse_page, offset=offset, limit=limit, dates=dates)
        try:
            return self._client.get(self._list.path, params, read, what=where)
        except RequestRefusedError as error:
            if error.status != BAD_REQUEST:
                raise
            refused = RefusedStretchError(str(error), kind=error.kind)
        raise refused


def read_records(
    *,
    api_key: str,
    since: dt.datetime,
    until: dt.datetime | None = None,
    instance: str | None = None,
    api_url: str | None = None,
    braze_list: BrazeList = INVALID_PHONE_NUMBERS,
    logger: logging.Logger | None = None,
    rate_limit_share: float = 0.5,
    request_timeout: float = 60,
    max_attempts: int = 8,
    max_parallel_requests: int = 8,
    window_days: int = 60,
    page_size: int = LARGEST_PAGE,
    skip_bad_records: bool = False,
) -> Iterator[dict[str, str | None]]:
    """Read one of Braze's lists without Singer, with the guarantees of the tap.

    Nothing is requested before the first record is asked for, and nothing more once the iterator is closed.

    Args:
        api_key: REST API key with the permission of the list.
        since: Earliest wanted instant, inclusive, with a time zone.
        until: Latest wanted instant, exclusive, with a time zone; None: up to now.
        instance: Braze's instance, such as US-06; this or `api_url`.
        api_url: Another REST endpoint of Braze.
        braze_list: What is read.
        logger: Takes retries, pauses and what differs from Braze's documents.
        rate_limit_share: The part of the workspace's hourly rate limit that may be used.
        request_timeout: Seconds without a sign of life after which a request is given up.
        max_attempts: Tries of one request before the reading fails.
        max_parallel_requests: Requests in flight at once.
        window_days: Most days of one request.
        page_size: Records of an ordinary request.
        skip_bad_records: Leave out records that cannot be used, instead of stopping.

    Returns:
        An iterator of records, oldest first, each once; times in UTC, always in the same form. It raises `ReadingError`
        as `ListReader` does.

    Raises:
        ValueError: an argument is wrong; said before the first request.
    """
    config = {
        "api_key": api_key,
        **{name: value for name, value in (("instance", instance), ("api_url", api_url)) if value is not None},
        "rate_limit_share": rate_limit_share,
        "request_timeout": request_timeout,
        "max_attempts": max_attempts,
        "max_parallel_requests": max_parallel_requests,
        "window_days": window_days,
        "page_size": page_size,
        "skip_bad_records": skip_bad_records,
    }
    for name, problem in _check_arguments(config, since=since, until=until):
        msg = f"{name}: {problem}"
        raise ValueError(msg)
    return _read(config, braze_list, since, until, logger or logging.getLogger(__name__))


def _check_arguments(config: t.Mapping[str, t.Any], **instants: object) -> Iterator[tuple[str, str]]:
    yield from check_connection(config)
    if (instance := config.get("instance", "US-01")) not in INSTANCES:
        yield "instance", f"got {instance!r}, takes one of {', '.join(INSTANCES)}"
    for name, (least, most) in BOUNDS.items():
        if not config[name] or not least <= config[name] <= most:
            yield (
                name,
                f"got {config[name]!r}, takes a number {f'from {least} to' if least else 'above 0 and at most'} {most}",
            )
    for name, instant in instants.items():
        # Without a zone it would be taken for this machine's.
        if instant is not None and not (isinstance(instant, dt.datetime) and instant.utcoffset() is not None):
            yield name, f"got {instant}, takes a datetime with a time zone, such as datetime.timezone.utc"


def _read(
    config: t.Mapping[str, t.Any],
    braze_list: BrazeList,
    since: dt.datetime,
    until: dt.datetime | None,
    logger: logging.Logger,
) -> Iterator[dict[str, str | None]]:
    cancel_token = CancelToken()
    client = BrazeClient(config, cancel_token=cancel_token, logger=logger, user_agent="tap-braze-sms")
    now = dt.datetime.now(timestamps.UTC)
    pool = WorkerPool(config["max_parallel_requests"], cancel_token)
    reader = ListReader(client, braze_list, pool=pool, since=since, until=until, now=now, settings=config)
    try:
        for rows, _ in reader:
            yield from braze_list.records(rows)
    finally:
        # Whoever leaves early leaves requests under way, which would be tried again for minutes.
        cancel_token.set(signal.SIGTERM)
    for line in reader.differences():
        logger.warning("%s", line)
