"""BATCH files: records that a loader reads from files, written by the encoder that the messages are written by.

The files of a run lie in a folder of its own, which nobody but its user may enter, and which is locked for as long as
the tap lives. The next run of its workspace takes it away, whether that writes BATCH files or messages. Runs of other
workspaces may begin at any time, and where the tap has ended well its loader may still be reading: they take the folder
away after an hour, or at once where its tap has died.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import time
import typing as t
import weakref
from pathlib import Path
from uuid import uuid4

from singer_sdk.contrib.msgspec import encoder
from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig, StorageTarget

from tap_braze_sms.braze.instances import url_of
from tap_braze_sms.singer.progress import pluralize

if sys.platform != "win32":
    import fcntl

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from singer_sdk.helpers.types import Record

#: Records of a file. Each is merged with the whole table: of 2,500 records a file, target-postgres takes a third longer
#: than of these, of up to 100,000 no less; and the first row and the bookmark wait for a whole file.
BATCH_SIZE = 25_000

#: What `batch_config` leaves out.
ENCODING = {"format": "jsonl", "compression": "none"}

#: Of gzip, whose levels cost up to ten times as much for a file that is a third smaller.
LEVEL = 1

#: What the folders of runs are called in their root; the file in them that is locked while the run lives, and the one
#: that is there once the loader has got word of everything.
FOLDER, LOCK, COMPLETE = "tap-braze-sms-batches-", "lock", "complete"

#: Seconds for which a loader may still be reading what is complete, as far as other workspaces' runs are concerned.
LOADER_TIME = 3_600.0


def tag_of(config: Mapping[str, t.Any]) -> str:
    """Return what tells the folders of one workspace from those of others."""
    return hashlib.sha256(f"{url_of(config)} {config['api_key']}".encode()).hexdigest()[:8]


def storage_of(config: Mapping[str, t.Any]) -> StorageTarget:
    """Return where these settings have BATCH files."""
    return StorageTarget(**{"root": tempfile.gettempdir()} | _part(config, "storage"))


def _part(config: Mapping[str, t.Any], name: str) -> dict[str, t.Any]:
    """Return a part of `batch_config`, as far as it is given: Meltano hands empty variables on as empty texts."""
    given = (config.get("batch_config") or {}).get(name) or {}
    return {key: value for key, value in given.items() if value}


def configured(config: Mapping[str, t.Any]) -> BatchConfig | None:
    """Return how BATCH files are written by these settings; None: records are written as messages."""
    given = config.get("batch_config") or {}
    if not config.get("batch_files", bool(given)):
        return None
    encoding = BaseBatchFileEncoding(**ENCODING | _part(config, "encoding"))
    return BatchConfig(encoding, storage_of(config), given.get("batch_size", BATCH_SIZE))


def check_installed(config: BatchConfig) -> None:
    """Find out before the first request whether files can be written.

    Raises:
        ImportError: what the storage or the format needs is not installed.
        ValueError: there is no such storage.
    """
    import fsspec.utils  # type: ignore[import-untyped]  # noqa: PLC0415 (of use here alone)

    fsspec.get_filesystem_class(fsspec.utils.get_protocol(config.storage.root))
    if config.encoding.format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        msg = "install singer-sdk[parquet]"
        raise ImportError(msg)


def roots(config: Mapping[str, t.Any]) -> list[Path]:
    """Return where folders of runs may lie: in those for temporary files, and where these settings have them."""
    return [Path(tempfile.gettempdir()), *filter(None, [_local(storage_of(config))])]


def _local(storage: StorageTarget) -> Path | None:
    """Return the folder that a storage is; None: it is not on this machine."""
    scheme, is_url, path = storage.root.rpartition("://")
    return Path(path).expanduser().absolute() if not is_url or scheme in {"file", "local"} else None


class BatchFolder:
    """Where the files of one run lie: in a folder of its own, made with the first file.

    Args:
        workspace: Whose run it is, as `tag_of` has it.
        storage: Its root. One that is not on this machine, in a bucket say, has no folders, locks or permissions: there
            files lie beside those of other runs, and stay.
    """

    def __init__(self, workspace: str, storage: StorageTarget) -> None:
        self._workspace = workspace
        self._storage = storage
        self._root = _local(storage)
        self._folder: Path | None = None
        self._run = f"{uuid4()}-"

    @property
    def storage(self) -> StorageTarget:
        """The folder, as the SDK's own writers of files take it."""
        if self._root is None:
            return self._storage
        return StorageTarget(_url(self._made(self._root)), self._storage.prefix)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[t.BinaryIO]:
        """Make a file that only its user may read."""
        if self._root is None:
            with self._storage.open(self._named(name), "wb") as file:
                yield t.cast("t.BinaryIO", file)
            return
        path = self._made(self._root) / self._named(name)
        (path.parent / COMPLETE).unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file

    def url(self, name: str) -> str:
        """Return where a loader finds a file."""
        if self._root is None:
            return self._storage.get_url(self._named(name))
        return _url(self._made(self._root) / self._named(name))

    def _named(self, name: str) -> str:
        return f"{self._storage.prefix or ''}{'' if self._root else self._run}{name}"

    def protect(self, urls: Sequence[str]) -> None:
        """Let only its user read files that somebody else's code has written."""
        for url in urls if self._root else ():
            Path(url.removeprefix("file://")).chmod(0o600)

    def complete(self) -> None:
        """Note that the loader gets all of this: it may be reading when the tap has ended."""
        if self._folder is not None:
            (self._folder / COMPLETE).touch(mode=0o600)

    def _made(self, root: Path) -> Path:
        if self._folder is None:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = Path(tempfile.mkdtemp(prefix=f"new-{FOLDER}{self._workspace}-", dir=root))
            lock = os.open(made / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _lock(lock)
            # Closed with the process, if not before: that frees the lock.
            weakref.finalize(self, os.close, lock)
            # Only now, as one by this name that is not locked is a dead run's.
            self._folder = made.rename(root / made.name.removeprefix("new-"))
        return self._folder


def _url(path: Path) -> str:
    # As it is: loaders built on the SDK take a URL's %20 for a part of the name.
    return f"file://{path.as_posix()}"


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as this process lives; return whether it was free."""
    if sys.platform == "win32":
        return False  # nobody there can tell, so what is not handed over counts as in use
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class BatchWriter:
    """Writes the records of a stream into one file after another.

    Args:
        folder: Where to.
        config: How.
        stream: Its name.
    """

    def __init__(self, folder: BatchFolder, config: BatchConfig, stream: str) -> None:
        #: Records in the file that is being written, and whether it cannot be written.
        self.count = 0
        self.has_failed = False
        self.encoding = config.encoding
        self._folder = folder
        self._config = config
        self._stream = stream
        self._number = 0
        self._opened = contextlib.ExitStack()
        self._file: t.BinaryIO | None = None

    @property
    def room(self) -> int:
        """Records that the file still takes."""
        return self._config.batch_size - self.count

    @property
    def _name(self) -> str:
        suffix = ".gz" if self.encoding.compression == "gzip" else ""
        return f"{self._stream}-{self._number}.json{suffix}"

    def write(self, records: Sequence[Record]) -> None:
        """Write records, as many as there is room for.

        Raises:
            OSError: they cannot be written.
        """
        if not records:
            return
        with self._failing():
            (self._file or self._create()).write(encoder.encode_lines(records))
        self.count += len(records)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Note a failure, and name the file in its error."""
        self.has_failed = True
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._folder.url(self._name)
            raise
        self.has_failed = False

    def _create(self) -> t.BinaryIO:
        self._number += 1
        self._file = self._opened.enter_context(self._folder.create(self._name))
        if self.encoding.compression == "gzip":
            zipped = gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=LEVEL, filename="", mtime=0)
            self._file = t.cast("t.BinaryIO", self._opened.enter_context(zipped))
        return self._file

    def finish(self) -> list[str]:
        """Finish the file that is being written; return it as the manifest of a BATCH message.

        Raises:
            OSError: the rest of it cannot be written.
        """
        with self._failing():
            self._opened.close()
        self._file, self.count = None, 0
        return [self._folder.url(self._name)]


class Cleared(t.NamedTuple):
    """What became of the folders of runs."""

    #: Taken away; left, as their tap lives; left, as a loader may be reading them.
    removed: int = 0
    in_use: int = 0
    complete: int = 0

    def __str__(self) -> str:
        """Say what was done."""
        return f"Took away the BATCH files of {pluralize(self.removed, 'run')}; {self.in_use} more under way"


def clear(roots: Sequence[Path], workspace: str = "") -> Cleared:
    """Take away the folders of runs that nobody needs any more.

    Args:
        roots: Where they lie.
        workspace: Whose loaders are not reading any more, as `tag_of` has it; empty: nobody's are.
    """
    found = [
        _clear(folder, is_read=not folder.name.startswith(f"{FOLDER}{workspace}"))
        for root in dict.fromkeys(roots)
        for folder in root.glob(f"{FOLDER}*")
    ]
    return Cleared(*(found.count(what) for what in Cleared._fields))


def _clear(folder: Path, *, is_read: bool) -> str:
    """Take away a folder, unless it is needed; return which of these it was, and nothing for a stranger's."""
    with contextlib.ExitStack() as opened:
        try:
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or (sys.platform != "win32" and found.st_uid != os.getuid()):
                return ""
            lock = os.open(folder / LOCK, os.O_RDWR)
            opened.callback(os.close, lock)
            if not _lock(lock):
                return "in_use"
            if is_read and time.time() < (folder / COMPLETE).stat().st_mtime + LOADER_TIME:
                return "complete"
        except FileNotFoundError:
            pass  # its run died before it was complete, or another run is taking it away
        shutil.rmtree(folder, ignore_errors=True)
    return "removed"
