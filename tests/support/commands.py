"""The installed commands, run as a user would, and what their runs left behind."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field

from support.paths import BIN

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Run the commands from a process that has imported what they import already: a tenth of the time. `EXEC_COMMANDS=1`
#: starts each as a shell would.
FORKS = hasattr(os, "fork") and not os.environ.get("EXEC_COMMANDS")

#: Seconds after which whatever is waited for will not come.
PATIENCE = 60


@dataclass
class Run:
    """What a run of a plugin left behind."""

    code: int
    out: bytes
    log: str

    @functools.cached_property
    def messages(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def errors(self) -> list[str]:
        """Messages of errors in the log."""
        return self.logged("ERROR")

    def logged(self, level: str) -> list[str]:
        """Messages of a level in the log, but for Python's own warnings."""
        lines = [line.split("|", 3) for line in self.log.splitlines() if f"| {level:8} |" in line]
        return [line[3].strip() for line in lines if line[2].strip() != "py.warnings"]

    def of(self, kind: str) -> list[dict]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def records(self) -> list[dict]:
        return [message["record"] for message in self.of("RECORD")]

    @property
    def state(self) -> dict | None:
        states = self.of("STATE")
        return states[-1]["value"] if states else None

    @property
    def bookmark(self) -> str | None:
        return bookmark_of(self.state)


def bookmark_of(state: dict | None) -> str | None:
    stream = (state or {}).get("bookmarks", {}).get("invalid_phone_numbers", {})
    return stream.get("replication_key_value")


class Command:
    def __init__(self, folder: Path, launch: Launch) -> None:
        self.folder = folder
        self.launch = launch
        self.number = 0
        self.started: list[Process] = []

    def arguments(self, name: str | Path, *options: str, **files: object) -> list[str]:
        arguments = [str(BIN / name)]
        for option, content in files.items():
            self.number += 1
            path = self.folder / f"{option}-{self.number}.json"
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            arguments += [f"--{option}", str(path)]
        return [*arguments, *options]

    def start(
        self,
        name: str | Path,
        *options: str,
        env: dict | None = None,
        stdin: bytes = b"",
        keep: bool = False,
        **files: object,
    ) -> Process:
        """Start a command and let it run; its output is a pipe, its log a file.

        Args:
            name: Of the command, or where it is.
            options: Further ones.
            env: Its environment; default: this process's.
            stdin: All of its input.
            keep: Keep the writing end of the pipe here, too, to see when it is full.
            files: Options that take a file, and what is in it.
        """
        arguments = self.arguments(name, *options, **files)
        self.number += 1
        given, log = self.folder / f"stdin-{self.number}", self.folder / f"log-{self.number}"
        given.write_bytes(stdin)
        reading, writing = os.pipe()
        with given.open("rb") as source, log.open("wb") as errors, os.fdopen(writing, "wb") as output:
            descriptors = (source.fileno(), output.fileno(), errors.fileno())
            environment = dict(os.environ) if env is None else env
            end = self.launch(arguments, environment, self.folder, descriptors)
            process = Process(*end, log, os.fdopen(reading, "rb"), os.dup(writing) if keep else None)
        self.started.append(process)
        return process

    def __call__(
        self, name: str | Path, *options: str, env: dict | None = None, stdin: bytes = b"", **files: object
    ) -> Run:
        return self.start(name, *options, env=env, stdin=stdin, **files).finish()

    def text(self, name: str, *options: str, **files: object) -> subprocess.CompletedProcess:
        """Run a command whose output are no messages."""
        process = self.start(name, *options, **files)
        with process.stdout:
            out = process.stdout.read().decode()
        return subprocess.CompletedProcess(name, process.wait(), out, process.log)

    def end(self) -> None:
        """Leave nothing running."""
        for process in self.started:
            process.end()


@dataclass
class Started:
    """A command that was started."""

    patience: t.ClassVar[float] = PATIENCE

    pid: int
    #: Waits that many seconds for its exit code; None while it runs.
    poll: Callable[[float], int | None]
    log_file: Path
    code: int | None = field(default=None, kw_only=True)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def has_ended(self, seconds: float = 0.0) -> bool:
        """Whether it has, or does within so many seconds."""
        if self.code is None:
            self.code = self.poll(seconds)
        return self.code is not None

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code as `subprocess` does: minus the signal, if one killed it."""
        seconds = self.patience if seconds is None else seconds
        assert self.has_ended(seconds), f"still running after {seconds} s:\n{self.log}"
        return t.cast("int", self.code)

    def until(self, true: Callable[[], object]) -> None:
        """Wait for a condition while it runs."""
        deadline = time.monotonic() + self.patience
        while not true():
            assert not self.has_ended(0.01), f"ended too early:\n{self.log}"
            assert time.monotonic() < deadline, f"waited in vain:\n{self.log}"


@dataclass
class Process(Started):
    """A plugin that was started; its output is a pipe."""

    stdout: t.BinaryIO
    writing: int | None = None

    def finish(self, out: bytes = b"") -> Run:
        """Read all there is to read after what was read before, until the end."""
        with self.stdout:
            out += self.stdout.read()
        return Run(self.wait(), out, self.log)

    def send(self, signum: int) -> None:
        assert self.code is None, "it has ended"
        os.kill(self.pid, signum)

    def until_held_back(self) -> None:
        """Wait until it has written all that a loader takes which does not read."""
        self.until(lambda: not select.select([], [self.writing], [], 0)[1])
        os.close(self.writing)
        self.writing = None

    def end(self) -> None:
        self.stdout.close()
        if self.writing is not None:
            os.close(self.writing)
        if not self.has_ended():
            self.send(signal.SIGKILL)
            self.wait()


#: The process, and what waits for its end.
Launched: t.TypeAlias = "tuple[int, Callable[[float], int | None]]"
Launch: t.TypeAlias = "Callable[[list[str], dict[str, str], Path, tuple[int, int, int]], Launched]"


def execute(
    arguments: list[str], environment: dict[str, str], folder: Path, descriptors: tuple[int, int, int]
) -> Launched:
    stdin, stdout, stderr = descriptors
    started = subprocess.Popen(arguments, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=folder)

    def poll(seconds: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(seconds)
        return started.returncode

    return started.pid, poll


@contextlib.contextmanager
def launcher(*modules: str, python: str | Path = sys.executable) -> Iterator[Launch]:
    """Start commands of a Python, which import these modules first of all."""
    if FORKS:
        with Forker(*modules, python=python) as forker:
            yield forker.launch
    else:
        yield execute


class Forker:
    """A Python that has imported what its commands import, and forks itself to run them."""

    def __init__(self, *modules: str, python: str | Path) -> None:
        self.modules = modules
        self.python = python

    def __enter__(self) -> Forker:  # noqa: PYI034  (typing.Self is newer than Python 3.10)
        self.control, theirs = socket.socketpair()
        code = f"{inspect.getsource(_run_script)}\n{inspect.getsource(_fork_commands)}\n_fork_commands()"
        with theirs:
            arguments = [str(self.python), "-c", code, str(theirs.fileno()), *self.modules]
            self.process = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.process.wait()

    def launch(
        self, arguments: list[str], environment: dict[str, str], folder: Path, descriptors: tuple[int, int, int]
    ) -> Launched:
        ours, theirs = socket.socketpair()
        with theirs:
            asked = json.dumps([arguments, environment, str(folder)]).encode()
            socket.send_fds(self.control, [asked], [theirs.fileno(), *descriptors])
        # Without a buffer, into which the exit code of a quick command would go, too.
        with ours.makefile("rb", buffering=0) as news:
            pid = int(news.readline())

        def poll(seconds: float) -> int | None:
            if seconds > 0:
                ours.settimeout(seconds)
            else:
                ours.setblocking(False)  # noqa: FBT003
            try:
                code = ours.recv(16)
            except (BlockingIOError, TimeoutError):
                return None
            ours.close()
            return int(code)

        return pid, poll


def _fork_commands() -> None:
    """Run what is asked for over a socket; in a process of its own, without this module."""
    import gc
    import importlib
    import json
    import os
    import signal
    import socket
    import sys

    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()  # or each fork copies what its first collection touches
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not asked:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    # The parent of one command: tells its number and its end.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    arguments, environment, folder = json.loads(asked)
    news = socket.socket(fileno=descriptors[0])
    pid = os.fork()
    if pid:
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        news.sendall(f"{pid}\n".encode())
        news.sendall(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
        os._exit(0)
    control.detach()
    news.detach()
    for standard, descriptor in enumerate(descriptors[1:]):
        os.dup2(descriptor, standard)
    os.closerange(3, 256)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    _run_script(arguments[0])


def _run_script(path: str) -> None:
    """Run a script as its Python would, and end this process without freeing all it has: half of the work of many."""
    import atexit
    import contextlib
    import os
    import runpy
    import sys
    import threading

    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        threading._shutdown()
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):  # then Python has something to say of it
            sys.stdout.flush()
            sys.stderr.flush()
            if end.code is None or isinstance(end.code, int):
                os._exit(end.code or 0)
        raise
