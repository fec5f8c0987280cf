"""Connection errors: why there was no answer, in words that say what to do, and whether trying again can help.

Never an error's own text, which can quote the query with its numbers: only its types and codes, and what OpenSSL
says of a certificate.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import typing as t

from requests import exceptions

from tap_braze_sms.braze.errors import HardlyPassingError, OverloadError, RequestRefusedError
from tap_braze_sms.reading.errors import Kind, RetryableError

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_braze_sms.reading.errors import ReadingError

#: What names a file of certificates to trust, and what names proxies, for requests; the first is named in advice.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

#: No such name. EAI_NODATA, a name without an address, is not everywhere; EAI_AGAIN, a resolver that fails, is no such.
_UNKNOWN_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

#: OpenSSL's codes for the certificate of another name or address.
_OF_ANOTHER_HOST = {62, 64}

#: OpenSSL's reasons where the other side speaks something else than TLS, or no version of it that we do.
_NO_TLS = re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|HTTPS_PROXY_REQUEST|PROTOCOL|RECORD_LAYER|PACKET_LENGTH")

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")

Found = t.TypeVar("Found", bound=BaseException)


def explain(error: Exception, *, host: str, bundle: object, answered: bool, custom: bool) -> ReadingError:
    """Return what to raise instead of an error of the connection.

    Args:
        error: What requests raised, or one of Python's own.
        host: That was called.
        bundle: The file or folder of certificates to trust, if one is set.
        answered: Whether anything answered at that address in this run.
        custom: Whether the address is one that someone wrote.
    """
    causes = list(_causes(error))
    if cause := _wrong_setting(error, causes, bundle):
        return _refused(host, cause, Kind.SETTING)
    if isinstance(error, exceptions.ProxyError) or any("SOCKS" in repr(linked) for linked in causes):
        return _at_the_proxy(host, causes, answered=answered)
    if unresolved := _first(causes, socket.gaierror):
        return _unresolved(host, unresolved, answered=answered, custom=custom)
    if insecure := _first(causes, ssl.SSLError):
        return _insecure(host, insecure, answered=answered)
    if _first(causes, ConnectionRefusedError):
        # Something that restarts refuses for some seconds; what never answered hardly will.
        return (OverloadError if answered else HardlyPassingError)(_failed(host, "connection refused"))
    dropped = type(error) is exceptions.ConnectionError
    return (OverloadError if dropped else RetryableError)(_failed(host, type(error).__name__))


def _unresolved(host: str, error: socket.gaierror, *, answered: bool, custom: bool) -> ReadingError:
    # What was known a moment ago does exist: then it is the resolver that fails.
    if error.errno in _UNKNOWN_NAME and not answered:
        kind = Kind.SETTING if custom else Kind.PASSING
        return HardlyPassingError(_failed(host, "no such host; check instance or api_url"), kind)
    return RetryableError(_failed(host, "its name could not be resolved"))


def _insecure(host: str, error: ssl.SSLError, *, answered: bool) -> ReadingError:
    if _NO_TLS.search(error.reason or "") and not answered:
        return HardlyPassingError(_failed(host, "it does not speak TLS; check instance or api_url"), Kind.SETTING)
    return RetryableError(_failed(host, "TLS was broken off"))


def _wrong_setting(error: Exception, causes: list[BaseException], bundle: object) -> str | None:
    """Return what of the settings or the environment cannot work, however often it is tried."""
    if isinstance(error, (exceptions.InvalidProxyURL, exceptions.InvalidSchema)) or any(
        type(linked).__name__ == "ProxySchemeUnknown" for linked in causes
    ):
        return f"the proxy that {_variable(_PROXIES)} names cannot be used: takes http://host:port"
    if isinstance(error, exceptions.InvalidURL):
        return "it is no address that can be called; check instance or api_url"
    if untrusted := _first(causes, ssl.SSLCertVerificationError):
        return _untrusted(untrusted)
    # Of the bundle requests says that it is not there, in an OSError of its own; the rest is found out here.
    if isinstance(bundle, str) and (type(error) is OSError or _first(causes, ssl.SSLError)):
        return _wrong_bundle(bundle)
    if "only use HTTP and not HTTPS" in repr(error):
        return f"the proxy that {_variable(_PROXIES)} names takes no TLS itself: write it as http://host:port"
    return None


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OF_ANOTHER_HOST:
        return "its certificate is another host's; check instance or api_url, and what lies between"
    why = f"its certificate is not trusted: {error.verify_message}"
    return f"{why}; {_BUNDLES[0]} names the file of certificates to trust"


def _wrong_bundle(path: str) -> str | None:
    variable = _variable(_BUNDLES)
    if not os.path.exists(path):  # noqa: PTH110 (a text, as requests has it)
        return f"{variable}: got {path}, which is not there"
    try:
        if os.path.isfile(path):  # noqa: PTH113 (the same)
            ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return f"{variable}: got {path}, which holds no certificates; takes a file of them in PEM form"
    except OSError as unreadable:
        return f"{variable}: got {path}, which cannot be read: {unreadable.strerror}"
    return None


def _at_the_proxy(host: str, causes: list[BaseException], *, answered: bool) -> ReadingError:
    proxy = f"the proxy that {_variable(_PROXIES)} names"
    refused = next(filter(None, (_TUNNEL.search(str(linked)) for linked in causes)), None)
    status = int(refused[1]) if refused else 0
    if status == 407:  # noqa: PLR2004 (Proxy Authentication Required)
        return _refused(host, f"{proxy} wants a user and a password: http://user:password@host:port", Kind.SETTING)
    if 400 <= status < 500:  # noqa: PLR2004 (refusals)
        return _refused(host, f"{proxy} does not let it pass ({status}); ask those who run it to", Kind.ACCESS)
    if status:
        return RetryableError(_failed(host, f"{proxy} answered {status}"))
    unresolved = _first(causes, socket.gaierror)
    if unresolved and unresolved.errno in _UNKNOWN_NAME and not answered:
        return HardlyPassingError(_failed(host, f"{proxy} does not exist"), Kind.SETTING)
    if _first(causes, ConnectionRefusedError) and not answered:
        return HardlyPassingError(_failed(host, f"{proxy} refuses connections"))
    return RetryableError(_failed(host, f"at {proxy}"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it, wherever the libraries keep that."""
    waiting, met = [error], {id(error)}
    while waiting:
        linked = waiting.pop(0)
        yield linked
        for found in (linked.__cause__, linked.__context__, getattr(linked, "reason", None), *linked.args):
            if isinstance(found, BaseException) and id(found) not in met:
                met.add(id(found))
                waiting.append(found)


def _first(causes: list[BaseException], kind: type[Found]) -> Found | None:
    return next((linked for linked in causes if isinstance(linked, kind)), None)


def _variable(names: tuple[str, ...]) -> str:
    """Return which of the variables that mean the same is set."""
    return next((name for name in names if os.environ.get(name)), names[0])


def _failed(host: str, cause: str) -> str:
    return f"the connection to {host} failed ({cause})"


def _refused(host: str, cause: str, kind: Kind) -> RequestRefusedError:
    return RequestRefusedError(_failed(host, cause), kind)
