"""Instances: where each of Braze's clusters has its REST endpoint."""

from __future__ import annotations

import typing as t

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


def url_of(config: t.Mapping[str, t.Any]) -> str:
    """Return the address of the REST endpoint that a validated configuration names."""
    return str(config.get("api_url") or INSTANCES[config["instance"]]).rstrip("/")
