"""The command `braze-simulator`."""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import shlex
import signal
import socket
import sys
import typing as t
from pathlib import Path

from braze_simulator.behaviour import DEFAULTS, FIELDS, coerced
from braze_simulator.control import CONTROL_PATH
from braze_simulator.endpoints import LIST_PATH
from braze_simulator.entries import DAY
from braze_simulator.seeds import PLUS_SHARES, generated, odd
from braze_simulator.server import Simulator
from braze_simulator.strange import strange

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from braze_simulator.entries import Entry


def arguments() -> argparse.Namespace:
    """Read the command line: every Behaviour field is an option too."""
    # Without abbreviations: --strange has to be found again in what was written.
    parser = argparse.ArgumentParser(
        "braze-simulator", description="A stand-in for Braze on localhost.", allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--port-file", type=Path, help="gets the port's number once the simulator serves")
    parser.add_argument("--api-key", default="simulator-key")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--until", type=instant, help="ISO 8601; default: the last midnight UTC")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--burst-share", type=float, default=0.0, help="share of the records on one day")
    parser.add_argument("--ties", type=float, default=0.02, help="share of the records with their neighbour's time")
    parser.add_argument("--spelling", choices=PLUS_SHARES, default="mixed", help="of the numbers: with or without +")
    parser.add_argument("--repeats", type=int, default=0, help="entries more: a number again, at the same instant")
    parser.add_argument("--empty-phones", type=int, default=0, help="entries more: their phone is an empty text")
    parser.add_argument("--unusable", type=int, default=0, help="entries more: of them nothing can be made")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument(
        "--strange",
        type=int,
        metavar="SEED",
        help="draw options of reading and of comparing numbers that the documents do not rule out, and print them",
    )
    how = f"also while it serves: GET {CONTROL_PATH} shows it, PATCH {CONTROL_PATH}/behaviour changes it"
    group = parser.add_argument_group("behaviour", how)
    for name in DEFAULTS:
        if name != "latency":
            group.add_argument(option(name), **declaration(name))
    return parser.parse_args()


def option(name: str) -> str:
    """Return a field's option."""
    return "--" + name.replace("_", "-")


def declaration(name: str) -> dict[str, t.Any]:
    """Return how argparse is told of a field of Behaviour."""
    default, metadata = DEFAULTS[name], FIELDS[name].metadata
    shown = " ".join(default) if isinstance(default, tuple) else default
    told = metadata["meaning"] + (f" ({shown})" if shown else "")
    options: dict[str, t.Any] = {"default": argparse.SUPPRESS, "help": told}
    if isinstance(default, bool):
        return options | {"action": argparse.BooleanOptionalAction}
    if isinstance(default, (list, tuple, set)):
        return options | {"nargs": "+", "metavar": "VALUE"}
    if metadata["choices"]:
        return options | {"choices": metadata["choices"]}
    return options | {"type": metadata["kind"] or type(default), "metavar": "VALUE"}


def as_options(behaviour: Mapping[str, t.Any]) -> list[str]:
    """Return keywords of Behaviour as they are written on the command line."""
    words: list[str] = []
    for name, value in behaviour.items():
        if isinstance(value, bool):
            words.append(option(name) if value else option(f"no_{name}"))
        else:
            values = sorted(value) if isinstance(value, set) else value if isinstance(value, (list, tuple)) else [value]
            words += [option(name), *map(str, values)]
    return words


def again(words: list[str], drawn: Mapping[str, t.Any]) -> str:
    """Return a command line that has what --strange drew in place of --strange."""
    kept = [
        word
        for before, word in itertools.pairwise(["", *words])
        if "--strange" not in {before, word} and not word.startswith("--strange=")
    ]
    return shlex.join([*kept, *as_options(drawn)])


def instant(text: str) -> dt.datetime:
    """Read a time; UTC unless it says otherwise."""
    when = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return when if when.tzinfo else when.replace(tzinfo=dt.timezone.utc)


def seeds(args: argparse.Namespace) -> Iterable[Entry]:
    """Return the entries that the command line asks for."""
    options = ("days", "until", "seed", "burst_share", "ties", "spelling")
    entries = generated(args.records, **{name: getattr(args, name) for name in options})
    strangers = {"repeats": args.repeats, "empty_phones": args.empty_phones, "unusable_entries": args.unusable}
    if not any(strangers.values()):
        return entries
    kept = list(entries)
    return kept + odd(kept, seed=args.seed, **strangers)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    args = arguments()
    # Not an Event: a signal that comes just before the wait begins sets it only when another one ends the wait.
    stopped, stop = socket.socketpair()
    stop.settimeout(0)
    signal.set_wakeup_fd(stop.fileno())
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)
    drawn = {} if args.strange is None else strange(args.strange)
    behaviour = {name: coerced(name, getattr(args, name)) for name in DEFAULTS if hasattr(args, name)}
    drawn = {name: value for name, value in drawn.items() if name not in behaviour}
    behaviour = {"detect_spelling": "plus" if args.spelling == "mixed" else args.spelling, **drawn, **behaviour}
    behaviour["latency"] = args.latency_ms / 1000
    where = {name: getattr(args, name) for name in ("host", "port", "seed", "api_key")}
    try:
        simulator = Simulator(seeds(args), **where, **behaviour)
    except OSError as error:
        sys.exit(f"port {args.port}: {error.strerror}")
    with simulator as braze:
        if args.port_file:
            draft = args.port_file.with_name(args.port_file.name + ".part")
            draft.write_text(f"{braze.port}\n", encoding="ascii")
            draft.replace(args.port_file)  # A reader sees the whole number or no file.
        start, end = ((braze.now() + days * DAY).date() for days in (-30, 1))
        print(f"Braze simulator: {braze.url}  (api key: {args.api_key}, {args.records} records)", flush=True)
        print(
            f"curl -H 'Authorization: Bearer {args.api_key}'"
            f" '{braze.url}{LIST_PATH}?start_date={start}&end_date={end}&limit=5'",
            flush=True,
        )
        if args.strange is not None:
            print(f"Again: {again(['braze-simulator', *sys.argv[1:]], drawn)}", flush=True)
        stopped.recv(1)
