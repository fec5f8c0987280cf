"""Instances: where each of Braze's clusters has its REST endpoint, and what a connection to one is made of."""

from __future__ import annotations

import re
import typing as t

from tap_braze_sms.redaction import redact_value

#: REST endpoint of each instance, from Braze's API overview. There is no US-09.
INSTANCES = {
    **{f"US-{n:02}": f"https://rest.iad-{n:02}.braze.com" for n in range(1, 9)},
    "US-10": "https://rest.us-10.braze.com",
    "EU-01": "https://rest.fra-01.braze.eu",
    "EU-02": "https://rest.fra-02.braze.eu",
    "AU-01": "https://rest.au-01.braze.com",
    "ID-01": "https://rest.id-01.braze.com",
    "JP-01": "https://rest.jp-01.braze.com",
    "KR-01": "https://rest.kr-01.braze.com",
}


#: TLS, except to this machine: the simulator's. No path, no user, no password.
_URL = re.compile(
    r"(https://([\w-]+\.)*[\w-]+|https://\[[\da-f:]+\]|http://(localhost|127\.0\.0\.1|\[::1\]))(:\d{1,5})?/?",
    re.ASCII | re.IGNORECASE,
)


def check_connection(config: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """Yield what is wrong with key, endpoint and User-Agent, each with the name of its setting."""
    # What HTTP could not send; its own error would quote it.
    # No quotes in a key either: they came along with it, and Braze would refuse it only after a request.
    for name, fitting, wanted in (("api_key", "[!#-&(-~]*", "the key alone"), ("user_agent", "[ -~]*", "plain ASCII")):
        if not re.fullmatch(fitting, str(config.get(name, ""))):
            yield name, f"got a string with a character that does not belong there, takes {wanted}"
    if not config.get("api_key"):
        yield "api_key", "got an empty string, takes the key alone"
    given = [name for name in ("instance", "api_url") if name in config]
    if len(given) != 1:
        got = "both" if given else "neither"
        choice = f"an instance ({', '.join(INSTANCES)}) or the URL of another REST endpoint"
        yield "instance", f"got {got} of instance and api_url, takes exactly one: {choice}"
    elif "api_url" in config and not _URL.fullmatch(url := str(config["api_url"])):
        got = "a URL with a user or password in it" if "@" in url else redact_value(url)
        yield "api_url", f"got {got}, takes https://host, or http://localhost:port for a simulator"


def url_of(config: t.Mapping[str, t.Any]) -> str:
    """Return the address of the REST endpoint that a validated configuration names."""
    return str(config.get("api_url") or INSTANCES[config["instance"]]).rstrip("/")
