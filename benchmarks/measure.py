"""Measuring: one command, run and timed; what the simulator saw of it; whether its output is complete.

Run as a script, this is the small process between `run.py` and a contender: the kernel counts the memory of whoever
starts a program into that program's peak, so the one that starts it must be smaller than any contender.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

#: Seconds after which a run is ended: something hangs.
LONGEST_RUN = 1200


def run(
    command: Sequence[str | Path], *, environment: dict[str, str], output: Path, log: Path, folder: Path | None = None
) -> dict[str, t.Any]:
    """Run a command, in a folder, its output in a file; return its exit code, seconds, CPU seconds and peak memory."""
    import subprocess  # noqa: PLC0415  (the script below stays small)

    words = [sys.executable, "-IS", __file__, output, log, *command]
    done = subprocess.run(
        words, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    measured: dict[str, t.Any] = json.loads(done.stdout)
    return measured


def numbers(outputs: Iterable[Path]) -> Iterator[bytes]:
    """Yield the numbers in a run's output, JSON of any shape, by their digits."""
    import re  # noqa: PLC0415  (the script below stays small)

    phones = re.compile(rb'"phone": ?"\+?(\d+)"')
    for path in outputs:
        with path.open("rb") as lines:
            for line in lines:
                yield from phones.findall(line)


def complete(found: Iterable[bytes], listed: frozenset[bytes]) -> dict[str, int]:
    """Hold what a run wrote against what is listed, each once."""
    written = 0
    seen: set[bytes] = set()
    for one in found:
        written += 1
        seen.add(one)
    return {
        "written": written,
        "lost": len(listed - seen),
        "doubled": written - len(seen),
        "strange": len(seen - listed),
    }


def pages_per_second(host: str, port: int, request: bytes, seconds: float = 2.0) -> float:
    """Return how many pages a second one connection gets that does nothing but ask and count bytes."""
    import socket  # noqa: PLC0415  (the script below stays small)

    pages = 0
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            connection.sendall(request)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(1 << 20)
            head, _, body = answer.partition(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length:")[1].split()[0]) - len(body)
            while left:
                left -= len(connection.recv(1 << 20))
            pages += 1
        return pages / (time.monotonic() - started)


def main(output: str, log: str, *command: str) -> None:
    """Start the command, wait for its end and print what it cost."""
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [(os.POSIX_SPAWN_OPEN, fd, path, create, 0o644) for fd, path in ((1, output), (2, log))]
    started = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(LONGEST_RUN)
    _, status, usage = os.wait4(pid, 0)
    ended = time.monotonic()
    kibi = 1 if sys.platform == "darwin" else 1024
    measured = {
        "exit": os.waitstatus_to_exitcode(status),
        "started": started,
        "ended": ended,
        "wall": ended - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "rss": usage.ru_maxrss * kibi,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
