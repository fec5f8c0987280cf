"""Braze on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import typing as t
import weakref
from http import HTTPStatus
from urllib.parse import parse_qs

from braze_simulator import faults
from braze_simulator.connection import Connection
from braze_simulator.control import Control
from braze_simulator.endpoints import LIST_PATH, Endpoints, offset_of
from braze_simulator.messages import Exchange, Request
from braze_simulator.rate_limit import RateLimit
from braze_simulator.workspace import Workspace

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    from braze_simulator.entries import Entry
    from braze_simulator.messages import Budget, Message, Reply


class Simulator(Workspace):
    """Braze on a port of its own: bound when constructed, served inside `with`.

    Args:
        entries: Of its list.
        api_key: That requests have to come with.
        port: 0: any free one.
        host: To listen on.
        seed: Of what moves by chance.
        behaviour: Fields of Behaviour.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        *,
        api_key: str = "simulator-key",
        port: int = 0,
        host: str = "127.0.0.1",
        seed: int = 0,
        **behaviour: t.Any,
    ) -> None:
        super().__init__(entries, api_key=api_key, seed=seed, **behaviour)
        self.rate_limit = RateLimit()
        self.connections: set[Connection] = set()
        self.failures: list[BaseException] = []
        self._endpoints = Endpoints(self)
        self._control = Control(self)
        self._socket = self._bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self.url = f"http://{self.host}:{self.port}"

    # Serving

    def _bind(self, host: str, port: int) -> socket.socket:
        bound = socket.socket()
        weakref.finalize(self, bound.close)  # A simulator that never served must not warn of an open socket.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        return bound

    def __enter__(self) -> Simulator:  # noqa: PYI034  (typing.Self is newer than Python 3.10)
        if self._socket.fileno() < 0:  # Served before: the address stays the same.
            self._socket = self._bind(self.host, self.port)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        serving = self._loop.create_server(lambda: Connection(self), sock=self._socket, backlog=1024)
        self._server = self._loop.run_until_complete(serving)
        self._thread = threading.Thread(target=self._loop.run_forever, name="braze-simulator", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self.failures and kind is None:
            raise self.failures[0]

    async def _close(self) -> None:
        # asyncio would leave a connection that is half accepted open for good.
        while accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        self._server.close()
        while self.connections:
            for connection in tuple(self.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, t.Any]) -> None:
        """Keep a defect of the simulator for __exit__: in a thread of its own it would go unseen."""
        self.failures.append(context.get("exception") or RuntimeError(context["message"]))
        loop.default_exception_handler(context)

    # One request

    def begin(self, message: Message, connection: Connection) -> Exchange:
        """Take a request in: log it, charge it, and settle what will go wrong with it."""
        path, _, query = message.target.partition("?")
        with self.lock:
            params = parse_qs(query, keep_blank_values=True)
            request = Request(message.method, path, params, time.monotonic())
            self.requests.append(request)
            self.under_way.add(connection)
            self.max_under_way = max(self.max_under_way, len(self.under_way))
            return Exchange(message, request, self._fault(), self._charge(message), self._delay(request))

    def _delay(self, request: Request) -> float:
        return self.behaviour.latency + offset_of(request) / 10_000 * self.behaviour.slow_offset_seconds_per_10k

    def _fault(self) -> str | None:
        behaviour = self.behaviour
        if behaviour.down:
            return "down"
        if behaviour.fail_next:
            return faults.check_fault(behaviour.fail_next.pop(0))
        if behaviour.fails_above is not None and len(self.under_way) > behaviour.fails_above:
            return behaviour.fails_above_with
        if behaviour.fault_rate and self.random.random() < behaviour.fault_rate:
            return faults.check_fault(self.random.choice(behaviour.fault_kinds))
        return None

    def _charge(self, message: Message) -> Budget:
        """Count a request against the window it falls into; a stranger's costs the workspace nothing."""
        limit, span = self.behaviour.rate_limit, self.behaviour.rate_window
        cost = int(self._endpoints.knows(message))
        return self.rate_limit.charge(cost, limit=limit, span=span, now=self.now().timestamp())

    def answer(self, exchange: Exchange) -> Reply:
        """Return what the API answers, as far as the fault lets it."""
        fault, request = exchange.fault, exchange.request
        with self.lock:
            if fault in {*faults.LOST_FAULTS, "down"}:
                reply = faults.lost(fault)
            elif fault and fault.isdecimal():
                reply = faults.refusal(int(fault), exchange)
            else:
                reply = faults.spoilt(fault, self._endpoints.answer(exchange), is_list=request.path == LIST_PATH)
            spoken = fault is None or fault.isdecimal() or reply.status >= HTTPStatus.BAD_REQUEST
            request.status = reply.status if spoken else t.cast("str", fault)
            request.returned = reply.returned
        return reply

    def control(self, message: Message) -> Reply:
        """Answer a request to the simulator itself."""
        return self._control.answer(message)
