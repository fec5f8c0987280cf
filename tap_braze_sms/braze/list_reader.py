"""The list reader: one of Braze's lists, whole and oldest first, for a Singer stream, a notebook or any other program.

for record in read_records(api_key="…", instance="US-06", since=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)):
    print(record["phone"], record["invalid_detected_at"], record["reason"])
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import typing as t

from tap_braze_sms.braze.client import BrazeClient
from tap_braze_sms.braze.errors import BAD_REQUEST, RequestRefusedError
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
    from tap_braze_sms.reading.page import Page, Row
    from tap_braze_sms.reading.time_order import TimeOrder

#: What the client and the reader are told, unless something else is said.
DEFAULTS: dict[str, t.Any] = {
    "rate_limit_share": 0.5,
    "request_timeout": 60,
    "max_attempts": 8,
    "max_parallel_requests": 8,
    "window_days": 60,
    "page_size": 500,
    "skip_bad_records": False,
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
    ) -> None:
        self.parser = ResponseParser(braze_list, skip_unusable=settings["skip_bad_records"])
        self.scheduler = WindowScheduler(
            Planner(since, until, today=now.date(), widest=settings["window_days"]),
            self._fetch,
            identify=braze_list.identify,
            page_size=settings["page_size"],
            pool=pool,
            known_order=known_order,
        )
        self._client = client
        self._list = braze_list

    def __iter__(self) -> Iterator[tuple[list[Row], str]]:
        """Yield rows in order of time, each time with the instant before which nothing is left to yield then.

        Raises:
            ReadingError: a request failed for good, or what came cannot be used or proven complete; all before its
                window was yielded.
        """
        return iter(self.scheduler)

    def differences(self) -> Iterator[str]:
        """Say what was found that Braze's documents do not say, a line each, once all is read."""
        scheduler, found = self.scheduler, []
        if scheduler.order.precision < timestamps.SECOND:
            how = f", so that {scheduler.in_passes} of {scheduler.windows} windows took two readings or more"
            found.append(f"its list is {scheduler.order}{how if scheduler.in_passes else ''}")
        if scheduler.answer_size.is_cut:
            found.append(f"answers hold {scheduler.answer_size.largest} records at most, whatever is asked for")
        if scheduler.widest:
            found.append(f"it refuses ranges of many days, so that some {scheduler.widest} were asked for at a time")
        if found:
            yield f"Braze differs from its documents, which was allowed for: {'; '.join(found)}"
        if scheduler.conflicts:
            yield (
                f"One name at one instant was listed with different details, {scheduler.conflicts} times: "
                "what Braze lists first is kept"
            )
        if self.parser.unknown:
            names = ", ".join(sorted(self.parser.unknown))
            yield f"Braze's records have fields that this version of the tap does not know and leaves out: {names}"

    def _fetch(self, dates: tuple[str, str], offset: int, limit: int, where: str) -> Page:
        # On other lists of Braze's an offset of 0 is refused; left out, it is 0 on all. `reason` is never sent: where
        # pages are cut before they are filtered, it would hide what lies behind a page without it.
        params = {"start_date": dates[0], "end_date": dates[1], "limit": limit, "offset": offset or None}
        read = functools.partial(self.parser.parse_page, offset=offset, limit=limit, dates=dates)
        try:
            return self._client.get(params, read, what=where, path=self._list.path)
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
    braze_list: BrazeList = INVALID_PHONE_NUMBERS,
    logger: logging.Logger | None = None,
    **settings: t.Any,  # noqa: ANN401 (each of another type)
) -> Iterator[dict[str, str | None]]:
    """Read one of Braze's lists without Singer, with the guarantees of the tap.

    Args:
        api_key: REST API key with the permission of the list.
        since: Earliest wanted instant, inclusive, with a time zone.
        until: Latest wanted instant, exclusive; None: up to now.
        braze_list: What is read.
        logger: Takes retries, pauses and what differs from Braze's documents.
        settings: ``instance`` or ``api_url``, and any of `DEFAULTS`, as the tap's settings of the same names.

    Yields:
        Records, oldest first, each once; times in UTC, always in the same form.

    Raises:
        ReadingError: as `ListReader`.
    """
    config = {**DEFAULTS, **settings, "api_key": api_key}
    log = logger or logging.getLogger(__name__)
    cancel_token = CancelToken()
    client = BrazeClient(config, cancel_token=cancel_token, logger=log, user_agent="tap-braze-sms")
    now = dt.datetime.now(timestamps.UTC)
    pool = WorkerPool(config["max_parallel_requests"], cancel_token)
    reader = ListReader(client, braze_list, pool=pool, since=since, until=until, now=now, settings=config)
    for rows, _ in reader:
        yield from braze_list.records(rows)
    for line in reader.differences():
        log.warning("%s", line)
