"""What can go wrong with a request, and the answers that come of it."""

from __future__ import annotations

import typing as t
from http import HTTPStatus

from braze_simulator.messages import Reply, error, success

if t.TYPE_CHECKING:
    from braze_simulator.messages import Exchange

#: Maintenance, refusals and failures, as Braze or a proxy before it sends them. Nothing was done.
STATUS_FAULTS = tuple(str(status.value) for status in HTTPStatus if status == HTTPStatus.ACCEPTED or status >= 400)
#: Nothing was done on the server's side.
LOST_FAULTS = ("html", "html_403", "reset", "hang")
#: Instead of the records: a status of 200 that is no success, and what a cache has of another question.
ANSWERS_INSTEAD: dict[str, dict[str, t.Any]] = {
    "no_sms": {"message": "success"},
    "errors": {"sms": [], "message": "error", "errors": ["internal"]},
    "queued": {"sms": [], "message": "queued"},
    "elsewhere": {
        "sms": [{"phone": "+12025550199", "invalid_detected_at": "2001-02-03T04:05:06.789Z", "reason": None}],
        "message": "success",
    },
}
#: The request was carried out, but its answer is spoilt (or only late: "slow").
ANSWER_FAULTS = ("truncated", "half_json", "slow", "reset_after", *ANSWERS_INSTEAD)
HTML = b"<!DOCTYPE html><html><body><h1>We will be right back</h1></body></html>"
FIREWALL = b"""<!DOCTYPE html>
<html><head><title>Attention Required! | Cloudflare</title></head>
<body><h1>Sorry, you have been blocked</h1><p>Cloudflare Ray ID: 8f1c2d3e4a5b6c7d</p></body></html>
"""


def check_fault(kind: str) -> str:
    """Return a fault's name, or raise ValueError where there is no such fault."""
    if kind not in STATUS_FAULTS + LOST_FAULTS + ANSWER_FAULTS:
        msg = f"no such fault: {kind}"
        raise ValueError(msg)
    return kind


def refusal(status: int, exchange: Exchange) -> Reply:
    """Return a fault that is a status; refusals echo all they were sent, as a careless server would."""
    if status == HTTPStatus.ACCEPTED:
        return success(status, message="queued")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return error(status, "please try again later")
    message = exchange.message
    sent = f"{message.method} {message.target} {exchange.request.params} {message.body.decode(errors='replace')}"
    return error(status, f"refused: {sent}", f"authorization: {message.headers.get('authorization')}")


def lost(fault: str) -> Reply:
    """Return what is answered, if at all, where nothing was done."""
    if fault == "html_403":
        return Reply(HTTPStatus.FORBIDDEN, FIREWALL, "text/html")
    return Reply(200, HTML, "text/html")


def spoilt(fault: str | None, reply: Reply, *, is_list: bool) -> Reply:
    """Return the answer to a request that was carried out, as a fault leaves it."""
    if fault == "half_json":
        return reply._replace(body=reply.body[: len(reply.body) // 2])
    if fault in ANSWERS_INSTEAD and is_list:
        return success(**ANSWERS_INSTEAD[fault])
    return reply
