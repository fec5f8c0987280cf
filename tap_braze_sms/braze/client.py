"""The client: the only place that speaks HTTP with Braze."""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.cookiejar
import json
import math
import time
import typing as t
from http import HTTPStatus
from urllib.parse import urlsplit

import backoff
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.models import REDIRECT_STATI
from typing_extensions import override

from tap_braze_sms.braze.concurrency_limit import ConcurrencyLimit
from tap_braze_sms.braze.connection_errors import explain
from tap_braze_sms.braze.errors import HardlyPassingError, OverloadError, RequestRefusedError
from tap_braze_sms.braze.instances import url_of
from tap_braze_sms.braze.rate_limit import LONGEST_PAUSE, MARGIN, budget_of, server_time
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import Kind, RetryableError, UnusableDataError
from tap_braze_sms.redaction import redact_answer

if t.TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from tap_braze_sms.braze.concurrency_limit import Ticket
    from tap_braze_sms.concurrency.cancellation import CancelToken
    from tap_braze_sms.reading.errors import ReadingError

T = t.TypeVar("T")

REMOVE_PATH = "/sms/invalid_phone_numbers/remove"

#: Most records Braze returns in one answer, and most numbers it takes in one removal.
LARGEST_PAGE, LARGEST_REMOVAL = 500, 50

#: Seconds of the waits between tries: 0.5, 2, 8, 32, then 90, each drawn from zero up.
FIRST_WAIT, WAIT_BASE, LONGEST_WAIT = 0.5, 4, 90

#: Seconds after which to look again whether a request may be made, where Braze bears only some at once.
TURN = 0.02

#: Seconds of the waits where a failure hardly passes: three tries within ten seconds.
SHORT_WAITS = (2.0, 6.0)

#: Characters of an error text of Braze's that are passed on.
ERROR_TEXT = 200

#: What an answer means that asking again may change; those from 500 on are Braze's errors.
_PASSING: dict[int, str] = {
    HTTPStatus.ACCEPTED: "Braze only queued the request",
    HTTPStatus.TOO_MANY_REQUESTS: "Braze says the rate limit is reached",
}

#: What to do about an answer that asking again would not change.
_ADVICE: dict[int, str] = {
    **dict.fromkeys(REDIRECT_STATI, "it points elsewhere, where the API key is not sent: check instance or api_url"),
    HTTPStatus.BAD_REQUEST: "it does not accept the request: {text}",
    HTTPStatus.UNAUTHORIZED: (
        "it does not accept the API key: check api_key, that instance or api_url is the one the key belongs to, "
        "that the key has the permission {permission}, and its IP allowlist"
    ),
    HTTPStatus.FORBIDDEN: (
        "the API key may not do this: give it the permission {permission}, and check that the workspace's "
        "SMS plan is active"
    ),
    HTTPStatus.NOT_FOUND: "there is no such endpoint: check instance or api_url",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: (
        "a proxy on the way wants a user and a password: put them into HTTPS_PROXY, as http://user:password@host:port"
    ),
}

#: Refusals that a page may tell of, too: a web server's without such a path, and a proxy's.
_BEFORE_BRAZE = (HTTPStatus.NOT_FOUND, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)

#: Braze words every refusal in JSON.
_NOT_BRAZE = (
    "it is a page (HTML), which Braze does not answer with: a firewall or a proxy on the way refuses; ask those who "
    "run it to let requests to {host} pass"
)

#: What a scheduler should make of a refusal.
_KINDS: dict[int, Kind] = {
    **dict.fromkeys(REDIRECT_STATI, Kind.SETTING),
    HTTPStatus.BAD_REQUEST: Kind.SETTING,
    HTTPStatus.UNAUTHORIZED: Kind.ACCESS,
    HTTPStatus.FORBIDDEN: Kind.ACCESS,
    HTTPStatus.NOT_FOUND: Kind.SETTING,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: Kind.SETTING,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: Kind.ACCESS,
}


class _BearerAuth(AuthBase):
    """Sends the API key. As the session's own way to authenticate, nothing of ``.netrc`` replaces it."""

    def __init__(self, api_key: str) -> None:
        self._header = f"Bearer {api_key}"

    @override
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class BrazeClient:
    """Makes requests within a budget, again where that may help. Thread-safe.

    Args:
        config: Validated settings.
        cancel_token: Ends every wait when it is set.
        logger: Takes retries and pauses.
        user_agent: Names this program to Braze.
    """

    def __init__(
        self, config: Mapping[str, t.Any], *, cancel_token: CancelToken, logger: logging.Logger, user_agent: str
    ) -> None:
        self.request_count = 0
        #: Seconds by which our clock is ahead of Braze's, by the quickest answer; infinite before the first.
        self.clock_skew = math.inf
        self._config = config
        self._parallel = config.get("max_parallel_requests", 1)
        self._url = url_of(config)
        self._host = urlsplit(self._url).netloc
        self._budget = budget_of(self._url, config["api_key"])
        self._cancel_token = cancel_token
        self._logger = logger
        self._paused_until = 0.0
        self._limit = ConcurrencyLimit(self._parallel)
        #: The fewest requests at once that were told of.
        self._fewest = self._parallel
        #: Whether anything ever answered: then what refuses connections is being restarted, rather than not there.
        self.has_answered = False
        self._session = requests.Session()
        self._session.headers["User-Agent"] = user_agent
        # No cache's answer, and no cookies: those of something in between would pile up.
        self._session.headers["Cache-Control"] = "no-cache"
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self._session.auth = _BearerAuth(config["api_key"])
        # Proxies and certificates from the environment: looked up once, as it takes a while.
        self._settings = self._session.merge_environment_settings(self._url, {}, stream=False, verify=None, cert=None)
        self._session.trust_env = False
        self._session.mount(self._url, HTTPAdapter(pool_maxsize=self._parallel))

    @property
    def requests_remaining(self) -> int | None:
        """Requests that this plugin may still make before the rate limit's reset; None: not known yet."""
        return self._budget.remaining(self._config["rate_limit_share"])

    @property
    def pause(self) -> float:
        """Seconds for which the rate limit keeps everything waiting; 0: it does not."""
        return self._budget.pause(time.monotonic(), self._config["rate_limit_share"])

    @property
    def rate_limit(self) -> tuple[int | None, int | None]:
        """Requests an hour of the workspace, and how many of these are left to everyone; None: not known yet."""
        return self._budget.limit, self._budget.remaining(1.0)

    def get(self, path: str, params: Mapping[str, t.Any], read: Callable[[bytes], T], *, what: str) -> T:
        """Ask for a list.

        Args:
            path: Of the list's endpoint.
            params: Of the query; those that are None are left out.
            read: Turns the body into the result.
            what: Names the request in messages.

        Raises:
            RequestRefusedError: Braze refuses, or every try failed.
        """
        return self._perform(functools.partial(self._session.get, self._url + path, params=params), read, what)

    def remove(self, phones: Sequence[str], *, what: str) -> None:
        """Take numbers, 50 at most, off the list; those not on it are no error.

        Raises:
            RequestRefusedError: Braze refuses, or every try failed.
        """
        body = {"phone_numbers": list(phones)}
        self._perform(functools.partial(self._session.post, self._url + REMOVE_PATH, json=body), _check_success, what)

    def _perform(self, send: Callable[..., requests.Response], read: Callable[[bytes], T], what: str) -> T:
        ticket = self._limit.enter()
        try:
            return self._try_again_and_again(send, read, what, ticket)
        finally:
            self._limit.leave(ticket)

    def _try_again_and_again(
        self, send: Callable[..., requests.Response], read: Callable[[bytes], T], what: str, ticket: Ticket
    ) -> T:
        attempts = self._config["max_attempts"]
        waits = backoff.expo(base=WAIT_BASE, factor=FIRST_WAIT, max_value=LONGEST_WAIT)
        next(waits)  # primes the generator
        hopeless, failure = 0, RetryableError("no try was made")
        for attempt in range(1, attempts + 1):
            try:
                # The last try is made alone: no run fails because too many were made at once.
                is_last = attempt == attempts and isinstance(failure, OverloadError)
                return read(self._try(send, ticket, alone=is_last))
            except RetryableError as error:
                failure = error
            except RequestRefusedError as error:
                msg = f"{what}: {error}"
                raise RequestRefusedError(msg, error.kind, error.status) from None
            except UnusableDataError as error:
                msg = f"{what}: {error}"
                raise type(error)(msg) from None
            hopeless = hopeless + 1 if isinstance(failure, HardlyPassingError) else 0
            left = min(attempts - attempt, len(SHORT_WAITS) + 1 - hopeless if hopeless else attempts)
            if not left:
                break
            wait = SHORT_WAITS[hopeless - 1] if hopeless else next(waits)
            if attempt < attempts - 1 and not hopeless:
                # The last wait is taken whole: by default a run outlasts an outage of a
                # minute however the dice fall.
                wait = backoff.full_jitter(wait)
            wait = max(wait, failure.wait)
            again = f"trying again in {timestamps.format_duration(wait)} (try {attempt + 1} of {attempt + left})"
            self._logger.warning("%s: %s; %s", what, failure, again)
            self._cancel_token.wait(wait)
        # Raised outside the handler, so that no library's message, which can quote the
        # query, comes along as context.
        problem = f"{failure}, {attempt} times in a row" if attempt > 1 else str(failure)
        self._limit.leave(ticket, problem)
        msg = f"{what}: {problem}"
        raise RequestRefusedError(msg, failure.kind)

    def _try(self, send: Callable[..., requests.Response], ticket: Ticket, *, alone: bool) -> bytes:
        """Return the body of a success, as one of those that may be in flight at once."""
        self._wait_for_turn(ticket, alone=alone)
        overloaded = False
        try:
            return self._exchange(send)
        except OverloadError:
            overloaded = True
            raise
        finally:
            self._report_limit(self._limit.release(ticket, overloaded=overloaded))

    def _wait_for_turn(self, ticket: Ticket, *, alone: bool) -> None:
        while True:
            if self._limit.is_over(ticket):
                raise RequestRefusedError(self._limit.problem, Kind.PASSING)
            if self._limit.try_acquire(ticket, alone=alone):
                return
            self._cancel_token.wait(TURN)

    def _report_limit(self, limit: int | None) -> None:
        """Say how many requests are made at once from now on, where that is news."""
        if limit is None:
            return
        if limit < self._fewest:
            self._fewest = limit
            self._logger.warning("Braze has trouble with so many requests at once: making %d, until it recovers", limit)
        elif limit == self._parallel:
            self._fewest = limit
            self._logger.info("Braze has recovered: making up to %d requests at once again", limit)

    def _exchange(self, send: Callable[..., requests.Response]) -> bytes:
        """Return the body of a success."""
        self._wait_for_budget()
        self.request_count += 1
        headers = None
        try:
            # A redirect would carry the key to an address nobody configured.
            response = send(timeout=self._config["request_timeout"], allow_redirects=False, **self._settings)
            headers = response.headers
            self.has_answered = True
            self.clock_skew = min(self.clock_skew, time.time() - server_time(headers))
        except requests.Timeout:
            problem = f"no answer within {self._config['request_timeout']:g} s"
            raise OverloadError(problem) from None
        # OSError: whatever requests raises, and a CA bundle that is not there. ValueError: a redirect
        # whose address cannot be read.
        except (OSError, ValueError) as error:
            raise self._explained(error) from None
        finally:
            self._budget.release(headers, time.monotonic())
        status = response.status_code
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES and status != HTTPStatus.ACCEPTED:
            return response.content  # of any success, what came decides
        wait = _retry_after(headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = self._budget.on_rate_limited(wait, time.monotonic())
        if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status < HTTPStatus.OK:
            problem = f"{_PASSING.get(status, 'Braze had an error')} ({status})"
            overload = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise (OverloadError if overload else RetryableError)(problem, wait)
        # Braze names a permission after the path that needs it.
        permission = urlsplit(response.url).path.strip("/").replace("/", ".")
        advice, kind = _ADVICE.get(status, "{text}"), _KINDS.get(status, Kind.OTHER)
        if status not in REDIRECT_STATI and _is_page(response):
            advice = _ADVICE[status] if status in _BEFORE_BRAZE else _NOT_BRAZE
            kind = _KINDS[status] if status in _BEFORE_BRAZE else Kind.ACCESS
        said = advice.format(permission=permission, host=self._host, text=self._error_text(response))
        msg = f"{self._host} answered {status}: {said}"
        raise RequestRefusedError(msg, kind, status)

    def _explained(self, error: Exception) -> ReadingError:
        return explain(
            error,
            host=self._host,
            bundle=self._settings["verify"],
            answered=self.has_answered,
            custom="api_url" in self._config,
        )

    def _error_text(self, response: requests.Response) -> str:
        """Return Braze's own words, without anything personal or secret they echo."""
        try:
            body = response.json()
            errors = body.get("errors") or []
            words = [str(body.get("message") or ""), *map(str, errors if isinstance(errors, list) else [errors])]
        except (ValueError, AttributeError, TypeError, RecursionError):
            words = []
        text = " ".join("; ".join(filter(None, words)).split())
        return redact_answer(text, self._config["api_key"])[:ERROR_TEXT] or "without saying why"

    def _wait_for_budget(self) -> None:
        share = self._config["rate_limit_share"]
        while (wait := self._budget.try_acquire(now := time.monotonic(), share)) > 0:
            # What only waits for a first answer to tell the limit is no pause.
            if wait > MARGIN and now + wait > self._paused_until + 1:
                self._paused_until = now + wait
                self._logger.info(
                    "Rate limit: none of the workspace's %s requests is left for this plugin (rate_limit_share %g); "
                    "pausing %s, until %s",
                    self._budget.limit,
                    share,
                    timestamps.format_duration(wait),
                    time.strftime("%H:%M:%S %Z", time.localtime(time.time() + wait)),
                )
            self._cancel_token.wait(wait)


def _check_success(body: bytes) -> None:
    """Take for accepted only what Braze calls so: a proxy's page has the same status.

    Raises:
        RetryableError: it is something else; ask again.
    """
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(body)
        if isinstance(answer, dict) and answer.get("message") == "success" and not answer.get("errors"):
            return
    msg = 'the answer is not JSON with the message "success"'
    raise RetryableError(msg)


def _is_page(response: requests.Response) -> bool:
    """Whether an answer is HTML, whatever it is called."""
    begins = response.content.lstrip()[:1]
    return begins == b"<" or (begins != b"{" and "html" in response.headers.get("Content-Type", "").lower())


def _retry_after(headers: Mapping[str, str]) -> float:
    """Read how long to wait, in seconds or as a date, as no more seconds than Braze's window has; 0: it is not said."""
    return max(_seconds(headers.get(name, ""), headers) for name in ("Retry-After", "X-RateLimit-Retry-After"))


def _seconds(given: str, headers: Mapping[str, str]) -> float:
    seconds = 0.0
    with contextlib.suppress(ValueError, TypeError):
        seconds = email.utils.parsedate_to_datetime(given).timestamp() - server_time(headers)
    with contextlib.suppress(ValueError):
        seconds = float(given)
    return min(max(0.0, seconds), LONGEST_PAUSE)
