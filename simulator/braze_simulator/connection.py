"""HTTP/1.1 on a socket, down to the faults of one."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
import typing as t
from email.utils import formatdate
from http import HTTPStatus

from braze_simulator.control import CONTROL_PATH
from braze_simulator.messages import Message, error

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from braze_simulator.behaviour import Behaviour
    from braze_simulator.messages import Budget, Exchange, Reply

#: Bytes of a request before its body.
MAX_HEAD = 1024 * 1024
_request_line = re.compile(r"[A-Z]+ /\S* HTTP/1\.1").fullmatch


class Server(t.Protocol):
    """What a connection asks of the simulator it belongs to."""

    behaviour: Behaviour
    connections: set[Connection]
    under_way: set[object]

    def begin(self, message: Message, connection: Connection) -> Exchange:
        """Take a request in."""

    def answer(self, exchange: Exchange) -> Reply:
        """Return its answer."""

    def control(self, message: Message) -> Reply:
        """Answer a request to the simulator itself."""


class Connection(asyncio.Protocol):
    """One connection: HTTP/1.1 in, answers out in the order asked for, faults down to the socket."""

    transport: asyncio.Transport

    def __init__(self, simulator: Server) -> None:
        self._simulator = simulator
        self._buffer = bytearray()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = t.cast("asyncio.Transport", transport)
        self._simulator.connections.add(self)

    def connection_lost(self, _exception: Exception | None) -> None:
        """Forget what was under way."""
        self._simulator.connections.discard(self)
        self._simulator.under_way.discard(self)
        self._busy = True
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what came; whatever is pipelined waits for the answer before it."""
        self._buffer += data
        self._proceed()

    def _proceed(self) -> None:
        while not self._busy and (message := self._take()):
            self._busy = True
            self._begin(message)

    def _take(self) -> Message | None:
        """Cut the next complete request off the buffer."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if not _request_line(first) or not length.isdecimal() or "transfer-encoding" in headers:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return None
        body_end = end + 4 + int(length)
        if len(self._buffer) < body_end:
            return None
        body = bytes(self._buffer[end + 4 : body_end])
        del self._buffer[:body_end]
        method, target, _ = first.split(" ")
        return Message(method, target, headers, body)

    def _refuse(self, status: int) -> None:
        reply = error(status, "the simulator cannot read this request")
        self._finish(self._head(reply, None, close=True) + reply.body, close=True)

    def _begin(self, message: Message) -> None:
        close = message.headers.get("connection", "").lower() == "close"
        if message.target.partition("?")[0].startswith(CONTROL_PATH):
            reply = self._simulator.control(message)
            self._finish(self._head(reply, None, close=close) + reply.body, close=close)
            return
        exchange = self._simulator.begin(message, self)
        self._after(exchange.delay, lambda: self._answer(exchange, close=close))

    def _after(self, delay: float, act: Callable[[], None]) -> None:
        if delay <= 0:
            act()
            return

        def late() -> None:
            act()
            self._proceed()

        self._timer = asyncio.get_running_loop().call_later(delay, late)

    def _answer(self, exchange: Exchange, *, close: bool) -> None:
        reply, fault = self._simulator.answer(exchange), exchange.fault
        close = close or fault == "truncated"
        # A firewall knows nothing of Braze's limits.
        head = self._head(reply, None if fault == "html_403" else exchange.budget, close=close)
        if fault == "hang":
            self._after(self._simulator.behaviour.hang_seconds, self.transport.abort)
        elif fault in {"down", "reset", "reset_after"}:
            # Closing without lingering sends RST in place of FIN.
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif fault == "truncated":
            self._finish(head + reply.body[: len(reply.body) // 2], close=close)
        elif fault == "slow":
            self.transport.write(head)
            self._dribble(reply.body, len(reply.body) // 4 + 1, close=close)
        else:
            self._finish(head + reply.body, close=close)

    def _dribble(self, body: bytes, size: int, *, close: bool) -> None:
        if len(body) > size:
            self.transport.write(body[:size])
            self._after(0.1, lambda: self._dribble(body[size:], size, close=close))
        else:
            self._finish(body, close=close)

    def _finish(self, data: bytes, *, close: bool) -> None:
        # Before the bytes leave: a client with an answer in hand must not see a count that lags behind.
        self._simulator.under_way.discard(self)
        self.transport.write(data)
        self._busy = close
        if close:
            self.transport.close()

    def _head(self, reply: Reply, budget: Budget | None, *, close: bool) -> bytes:
        behaviour = self._simulator.behaviour
        headers = {
            "Date": formatdate(time.time() + behaviour.clock_offset, usegmt=True),
            "Content-Type": reply.content_type,
            "Content-Length": len(reply.body),
            "Connection": "close" if close else "keep-alive",
        }
        if budget:
            spent = reply.status == HTTPStatus.TOO_MANY_REQUESTS or budget.remaining < 0
            headers["X-RateLimit-Limit"] = budget.limit
            headers["X-RateLimit-Remaining"] = 0 if spent else budget.remaining
            headers["X-RateLimit-Reset"] = budget.reset
        if behaviour.retry_after is not None and reply.status in {429, 503}:
            headers[behaviour.retry_after_header] = behaviour.retry_after
        cased = {"lower": str.lower, "upper": str.upper}.get(behaviour.header_case, str)
        lines = "".join(f"{cased(name)}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n{lines}\r\n".encode("latin-1")
