"""The simulator told what to do over HTTP, by shells and other processes."""

from __future__ import annotations

import dataclasses
import typing as t
from collections import Counter
from urllib.parse import parse_qs, urlsplit

from braze_simulator.messages import Message, Reply, error, success

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from braze_simulator.entries import Entry
    from braze_simulator.workspace import Workspace

#: Below which the simulator itself is spoken to.
CONTROL_PATH = "/_simulator"


class Control:
    """What a workspace tells of itself and lets be changed."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def answer(self, message: Message) -> Reply:
        """Answer a request to the simulator itself."""
        url = urlsplit(message.target)
        routes: dict[tuple[str, str], Callable[[dict[str, t.Any]], Reply]] = {
            ("GET", ""): lambda _: self._totals(),
            ("GET", "/entries"): lambda body: self._shown(self._workspace.entries(int(body.get("limit", 100)))),
            ("PATCH", "/behaviour"): self._change,
            ("POST", "/behaviour"): self._change,
            ("POST", "/detect"): lambda body: self._shown(self._detected(body)),
            ("POST", "/remove"): self._gone,
            ("POST", "/reset_log"): lambda _: self._reset_log(),
        }
        route = routes.get((message.method, url.path[len(CONTROL_PATH) :].rstrip("/")))
        if route is None:
            return error(404, f"the simulator has {', '.join(f'{verb} {CONTROL_PATH}{path}' for verb, path in routes)}")
        try:
            given = {name: values[-1] for name, values in parse_qs(url.query).items()}
            with self._workspace.lock:
                return route({**given, **message.json()})
        except (TypeError, ValueError) as problem:
            return error(400, str(problem))

    def _totals(self) -> Reply:
        workspace = self._workspace
        return success(
            entries=len(workspace.listing),
            reasons={reason or "none": count for reason, count in workspace.listing.reasons.items()},
            added=len(workspace.added),
            removed=len(workspace.removed),
            requests=len(workspace.requests),
            statuses=Counter(str(request.status) for request in workspace.requests),
            under_way=len(workspace.under_way),
            max_under_way=workspace.max_under_way,
            removal_posts=len(workspace.removal_posts),
            now=workspace.now().isoformat(),
            behaviour=dataclasses.asdict(workspace.behaviour),
        )

    def _change(self, body: dict[str, t.Any]) -> Reply:
        self._workspace.behaviour.change(body)
        return self._totals()

    def _detected(self, body: dict[str, t.Any]) -> list[Entry]:
        return self._workspace.detect(int(body.get("count", 1)), float(body.get("minutes", 5)))

    def _gone(self, body: dict[str, t.Any]) -> Reply:
        before = len(self._workspace.removed)
        self._workspace.remove(body.get("phones", ()))
        self._workspace.remove_any(int(body.get("count", 0)))
        return self._shown(self._workspace.removed[before:])

    def _reset_log(self) -> Reply:
        self._workspace.requests.clear()
        self._workspace.removal_posts.clear()
        self._workspace.max_under_way = len(self._workspace.under_way)
        return self._totals()

    def _shown(self, entries: list[Entry]) -> Reply:
        shown = ((entry.payload(), entry.detected_at.isoformat()) for entry in entries)
        records = [
            {**(record if isinstance(record, dict) else {"raw": record}), "detected_at": at} for record, at in shown
        ]
        return success(entries=records)
