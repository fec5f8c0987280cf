"""The tap that the SDK's cookiecutter template leads to, its to-dos filled in as its comments suggest."""

from __future__ import annotations

import decimal
import sys
import typing as t

from singer_sdk import RESTStream, Stream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.helpers.jsonpath import extract_jsonpath
from singer_sdk.pagination import OffsetPaginator

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    import requests
    from singer_sdk.streams.rest import HTTPRequest, PageContext

PAGE_SIZE = 500
DAY = len("2026-03-01")


class Paginator(OffsetPaginator):
    """Goes on while pages are full."""

    @override
    def has_more(self, response: requests.Response) -> bool:
        return len(response.json()["sms"]) == self.page_size


class InvalidPhoneNumbersStream(RESTStream[int]):
    """The list of invalid phone numbers."""

    name = "invalid_phone_numbers"
    path = "/sms/invalid_phone_numbers"
    primary_keys = ("phone", "invalid_detected_at")
    replication_key = "invalid_detected_at"
    records_jsonpath = "$.sms[*]"
    schema: t.ClassVar[dict[str, t.Any]] = th.PropertiesList(
        th.Property("phone", th.StringType, required=True),
        th.Property("invalid_detected_at", th.DateTimeType, required=True),
        th.Property("reason", th.StringType),
    ).to_dict()

    @property
    @override
    def url_base(self) -> str:
        return str(self.config["api_url"])

    @property
    @override
    def authenticator(self) -> BearerTokenAuthenticator:
        return BearerTokenAuthenticator(token=self.config["api_key"])

    @override
    def get_new_paginator(self) -> Paginator:
        return Paginator(start_value=0, page_size=PAGE_SIZE)

    @override
    def get_http_request(self, *, page: PageContext[int]) -> HTTPRequest:
        request = super().get_http_request(page=page)
        request.params["start_date"] = str(self.get_starting_replication_key_value(page.stream_context))[:DAY]
        request.params["end_date"] = self.config["end_date"]
        request.params["limit"] = PAGE_SIZE
        request.params["offset"] = page.next_page_token or 0
        return request

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, t.Any]]:
        yield from extract_jsonpath(self.records_jsonpath, input=response.json(parse_float=decimal.Decimal))


class TapTemplate(Tap):
    """The tap."""

    name = "tap-template"
    config_jsonschema: t.ClassVar[dict[str, t.Any]] = th.PropertiesList(
        th.Property("api_key", th.StringType, required=True, secret=True),
        th.Property("api_url", th.StringType, required=True),
        th.Property("start_date", th.DateType, required=True),
        th.Property("end_date", th.DateType, required=True),
    ).to_dict()

    @override
    def discover_streams(self) -> list[Stream]:
        return [InvalidPhoneNumbersStream(self)]


if __name__ == "__main__":
    TapTemplate.cli()
