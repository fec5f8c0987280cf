"""Settings: what the tap and the target can be told, and what is wrong with it."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import itertools
import json
import math
import re
import typing as t

from singer_sdk import typing as th
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_braze_sms.braze import phone_numbers
from tap_braze_sms.braze.client import LARGEST_PAGE
from tap_braze_sms.braze.instances import INSTANCES, check_connection
from tap_braze_sms.braze.list_reader import BOUNDS
from tap_braze_sms.braze.spellings import WAYS
from tap_braze_sms.reading import timestamps
from tap_braze_sms.reading.errors import UnusableInputError
from tap_braze_sms.redaction import redact_value

if t.TYPE_CHECKING:
    from jsonschema import ValidationError

_DATES = "a date (2026-03-01) or a date-time (2026-03-01T00:00:00Z)"

#: Settings whose values are never shown: those declared so, and the SDK's that holds the salt of hashes.
SENSITIVE = {"stream_map_config"}

#: How alike a name has to be to that of a setting to be meant for it, of 1: `dryrun`, `max_removal`.
MISSPELLED = 0.85

#: Ways to write true and false in the environment.
_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)

# As `docker --env-file` and shells within shells hand a value on. Not two values, each in quotes.
_QUOTED = re.compile(r"""(['"])((?:(?!\1).)*)\1""", re.DOTALL)

#: What settings take, in words, by their types in JSON Schema.
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list of strings",
    "object": "an object",
    "string": "a string",
}


class _Setting(t.NamedTuple):
    """A setting, as it is declared."""

    takes: th.JSONTypeHelper[t.Any]
    default: object
    description: str
    is_required: bool = False
    #: Kept from whoever lists settings.
    is_secret: bool = False
    #: Not shown in errors either: a secret never is.
    is_personal: bool = False


_TEXT, _NON_EMPTY, _FLAG = th.StringType(), th.StringType(min_length=1), th.BooleanType()
_INSTANCE = th.StringType(allowed_values=list(INSTANCES))
_SPELLING = th.StringType(allowed_values=list(WAYS))


def _whole(least: int, most: int) -> th.IntegerType:
    return th.IntegerType(minimum=least, maximum=most)


def _bounded(name: str) -> th.IntegerType | th.NumberType:
    """Return what a setting takes that a reading has as well."""
    least, most = BOUNDS[name]
    return _whole(least, most) if least else th.NumberType(exclusive_minimum=0, maximum=most)


def _key(permission: str) -> _Setting:
    description = f"REST API key with the permission {permission}"
    return _Setting(_NON_EMPTY, None, description, is_required=True, is_secret=True)


def _declare(**settings: _Setting) -> th.PropertiesList:
    """Declare settings in the SDK's terms; a title is the name in words."""
    declared = th.PropertiesList()
    for name, setting in settings.items():
        title = name.replace("_", " ").capitalize().replace("Api", "API").replace("url", "URL")
        title = title.replace("activate version", "ACTIVATE_VERSION")
        if setting.is_secret or setting.is_personal:
            SENSITIVE.add(name)
        declared.append(
            th.Property(
                name,
                setting.takes,
                setting.is_required,
                setting.default,
                setting.description,
                setting.is_secret,
                title=title,
            )
        )
    return declared


#: Settings of the connection to Braze: shared by the tap and the target.
_CONNECTION: dict[str, _Setting] = {
    "instance": _Setting(
        _INSTANCE, None, "Braze instance whose REST endpoint to call. Exactly one of this and api_url"
    ),
    "api_url": _Setting(_TEXT, None, "Any other REST endpoint of Braze. https, except for localhost"),
    "rate_limit_share": _Setting(
        _bounded("rate_limit_share"), 0.5, "The part of the workspace's hourly rate limit that this plugin may use"
    ),
    "request_timeout": _Setting(
        _bounded("request_timeout"), 60, "Seconds without a sign of life from Braze after which a request is given up"
    ),
    "max_attempts": _Setting(_bounded("max_attempts"), 8, "Tries of one request before the run fails, 1 to 20"),
    "user_agent": _Setting(
        _TEXT, None, "User-Agent header of every request. Default names this plugin and its version"
    ),
}

TAP = _declare(
    api_key=_key("sms.invalid_phone_numbers"),
    **_CONNECTION,
    start_date=_Setting(
        _TEXT, None, "Earliest detection to read, a date or date-time. A date means midnight UTC", is_required=True
    ),
    end_date=_Setting(_TEXT, None, "Read detections before this instant, a date or date-time. Default is up to now"),
    reason=_Setting(
        _NON_EMPTY,
        None,
        "Emit only the numbers that are invalid for this reason. The list is read whole all the same",
    ),
    skip_bad_records=_Setting(
        _FLAG,
        default=False,
        description=(
            "Leave out and count records that cannot be used (no phone as text, no readable time, a reason that is no "
            "text), instead of stopping"
        ),
    ),
    window_days=_Setting(_bounded("window_days"), 60, "Widest date window of one request, 1 to 366"),
    page_size=_Setting(_bounded("page_size"), LARGEST_PAGE, "Records of an ordinary request, 2 to 500"),
    # At most two thousand years, and all that a clock can subtract.
    lookback_minutes=_Setting(_whole(0, 10**9), 60, "How far before the bookmark an incremental run reads again"),
    reread_days=_Setting(
        _whole(0, 10**6),
        0,
        "Days that an incremental run reads again first, in turn from start_date on, to notice what left the list",
    ),
    read_windows=_Setting(
        _FLAG,
        default=False,
        description="Tell what was read and what proves it: a record for each window, in the stream read_windows",
    ),
    max_parallel_requests=_Setting(_bounded("max_parallel_requests"), 8, "Requests in flight at once, 1 to 64"),
    batch_files=_Setting(
        _FLAG,
        None,
        "Hand records over in files, which loads millions faster. Default is true where batch_config says how",
    ),
    max_run_minutes=_Setting(
        th.NumberType(exclusive_minimum=0),
        None,
        "Minutes after which an incremental run begins nothing more and ends as a success; the next run goes on there",
    ),
    emit_activate_version_messages=_Setting(
        _FLAG,
        default=False,
        description="End a FULL_TABLE run with the message that lets a loader drop rows no longer on the list",
    ),
    phone_numbers=_Setting(
        th.ArrayType(_TEXT), None, "Numbers to ask about for the stream phone_number_status", is_personal=True
    ),
    phone_numbers_file=_Setting(
        _NON_EMPTY, None, "File of numbers to ask about, one a line, or a CSV with a phone column"
    ),
)

TARGET = _declare(
    api_key=_key("sms.invalid_phone_numbers.remove"),
    **_CONNECTION,
    phone_property=_Setting(_NON_EMPTY, "phone", "Property of the records that holds the number to take off the list"),
    skip_bad_records=_Setting(
        _FLAG,
        default=False,
        description="Leave out records that hold no phone number, instead of stopping at the first",
    ),
    skip_bad_numbers=_Setting(_FLAG, default=False, description="Older name of skip_bad_records"),
    dry_run=_Setting(_FLAG, default=False, description="Count what would be taken off the list, and change nothing"),
    phone_spelling=_Setting(
        _SPELLING,
        "both",
        "How numbers are sent: with + (plus), without it (bare), or both, which is right for any Braze",
    ),
    max_removals=_Setting(
        _whole(1, 10**9),
        10_000,
        "Most numbers of one run. More end it: before its first request where the input is at hand, else at the limit",
    ),
    allow_whole_list=_Setting(
        _FLAG, default=False, description="Take a stream that looks like Braze's list itself, and hand back all of it"
    ),
    confirm=_Setting(
        _FLAG,
        default=False,
        description=(
            "Look the numbers up afterwards, as sms.invalid_phone_numbers allows, and fail if any is still listed"
        ),
    ),
    removals_log=_Setting(
        _NON_EMPTY,
        None,
        "File to which is added what was asked, when and with which result, as Singer messages. It holds numbers",
    ),
)


def apply_defaults_and_validate(config: dict[str, t.Any], schema: dict[str, t.Any]) -> list[str]:
    """Fill in defaults, and say what is wrong with a configuration, a line a setting.

    Args:
        config: Changed in place. A setting that is null counts as not given.
        schema: JSON schema of all settings.
    """
    for name in [name for name, value in config.items() if value is None]:
        del config[name]
    # Of the two, a template or a container's environment gives the one that is not meant as an empty text.
    for name, other in (("instance", "api_url"), ("api_url", "instance")):
        if config.get(name) == "" and config.get(other):
            del config[name]
    if isinstance(batches := config.get("batch_config"), dict):
        config["batch_config"] = _nest(batches)
    for name in config.keys() & schema["properties"].keys():
        config[name] = _coerce(config[name], schema["properties"][name].get("type", ()))
    problems = itertools.chain(
        _check_names(config, schema["properties"]),
        (_explain(error) for error in JSONSchemaValidator(_drop_null_schemas(schema)).iter_errors(config)),
        check_connection(config),
        _check_dates(config),
        _check_batches(config),
        _check_sizes(config),
    )
    wrong: dict[str, str] = {}
    for name, problem in problems:
        wrong.setdefault(name, problem)
    if not wrong:
        try:
            numbers = phone_numbers.load(config)
        except UnusableInputError as error:
            return [str(error)]
        if numbers and config.pop("phone_numbers_file", None):
            config["phone_numbers"] = numbers  # of a pipe there is nothing to read a second time
    return [f"{name}: {problem}" for name, problem in wrong.items()]


def _nest(given: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return an object of objects, for which Meltano writes names with points into one variable, also those not set."""
    nested = {name: value for name, value in given.items() if "." not in name}
    for name, value in given.items():
        part, point, inner = name.partition(".")
        if point and value is not None and value != "" and isinstance(nested.setdefault(part, {}), dict):
            nested[part] = {inner: value} | nested[part]
    return nested


def _drop_null_schemas(schema: dict[str, t.Any]) -> dict[str, t.Any]:
    """Leave out the bare text "null" that the SDK lists among schemas: a validator fails on it."""
    cleaned = {name: _drop_null_schemas(part) if isinstance(part, dict) else part for name, part in schema.items()}
    if "anyOf" in schema:
        cleaned["anyOf"] = [_drop_null_schemas(part) for part in schema["anyOf"] if isinstance(part, dict)]
    return cleaned


def parse_env_value(text: str, kinds: t.Sequence[str]) -> object:
    """Return what a text of the environment means for a setting; the text itself where it means nothing."""
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[2]
    with contextlib.suppress(ValueError):
        if "integer" in kinds:
            return int(text)
        if "array" in kinds or "object" in kinds:
            parsed = json.loads(text)
            # A number alone is a list of one, in the SDK's other way to write it.
            if isinstance(parsed, (list, dict)):
                return parsed
    if "array" in kinds:
        return text.split(",")
    return _BOOLEANS.get(text.lower(), text) if "boolean" in kinds else text


def _coerce(value: object, kinds: t.Sequence[str]) -> object:
    """Make of a text what it means, as Meltano hands on numbers and flags; of 500.0 the whole number that is meant."""
    if "boolean" in kinds and isinstance(value, str):
        return parse_env_value(value, kinds)
    if "number" in kinds and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # of which JSON Schema's bounds know nothing
    return int(value) if "integer" in kinds and isinstance(value, float) and value.is_integer() else value


def _explain(error: ValidationError) -> tuple[str, str]:
    name, *position = map(str, error.absolute_path or re.findall(r"\w+", error.message)[:1])
    refusing = t.cast("dict[str, t.Any]", error.schema)
    if not error.absolute_path:
        return name, f"is required, takes {_DATES if name.endswith('_date') else _takes(refusing['properties'][name])}"
    # Maps hold salts, and numbers to compare with.
    if name in SENSITIVE or name == "stream_maps":
        got = "an empty string" if error.instance == "" else f"a value of type {type(error.instance).__name__}"
    else:
        got = redact_value(error.instance)
    if position:
        got += " at position " + ".".join(position)
    return name, f"got {got}, takes {_DATES if name.endswith('_date') else _takes(refusing)}"


def _takes(prop: dict[str, t.Any]) -> str:
    """Say in words what a setting takes."""
    if "enum" in prop:
        return "one of " + ", ".join(prop["enum"])
    words = next((_KINDS[kind] for kind in prop.get("type", ()) if kind in _KINDS), "what the SDK's documentation says")
    if "minLength" in prop:
        words += " that is not empty"
    if "minimum" in prop:
        words += f" from {prop['minimum']} to {prop['maximum']}"
    if "exclusiveMinimum" in prop:
        words += f" above {prop['exclusiveMinimum']}"
        words += f" and at most {prop['maximum']}" if "maximum" in prop else ""
    return words


#: What batch_config may hold, by part.
_BATCH_PARTS = {"encoding": ("format", "compression"), "storage": ("root", "prefix", "params")}
_BATCH_VALUES = {"format": ("jsonl", "parquet"), "compression": ("none", "gzip")}


def _check_batches(config: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """Find what the SDK would fail with, or read nothing by, once it runs."""
    batches = config.get("batch_config")
    if not isinstance(batches, dict):
        return
    for part, names in _BATCH_PARTS.items():
        given = batches.get(part)
        if not isinstance(given, dict):
            continue  # it is not given, or the schema says what is wrong
        if unknown := sorted(given.keys() - set(names)):
            yield "batch_config", f"got {part}.{unknown[0]}, takes {', '.join(names)} there"
        # singer-sdk 0.55 takes any, and fails once it is to write one.
        for name, values in _BATCH_VALUES.items():
            if part == "encoding" and given.get(name, values[0]) not in values:
                got = f"got {given[name]!r} at position encoding.{name}"
                yield "batch_config", f"{got}, takes one of {', '.join(values)}"
    prefix = storage.get("prefix") if isinstance(storage := batches.get("storage"), dict) else None
    if isinstance(prefix, str) and ".." in prefix.split("/"):
        yield "batch_config", f"got {prefix!r} at position storage.prefix, takes what names of files begin with"
    if unknown := sorted(batches.keys() - {*_BATCH_PARTS, "batch_size"}):
        yield "batch_config", f"got {unknown[0]}, takes {', '.join(_BATCH_PARTS)}, batch_size"
    yield from _check_size("batch_config", batches.get("batch_size", 1), " at position batch_size")


def _check_sizes(config: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    for name in ("batch_size_rows", "flattening_max_key_length"):
        yield from _check_size(name, config.get(name, 1))
    if config.get("flattening_enabled") is True:
        yield from _check_size("flattening_max_depth", config.get("flattening_max_depth"), " with flattening_enabled")


def _check_size(name: str, got: object, where: str = "") -> t.Iterator[tuple[str, str]]:
    if type(got) is not int or got < 1:
        yield name, f"got {'nothing' if got is None else repr(got)}{where}, takes a whole number from 1 up"


def _check_names(config: dict[str, t.Any], known: t.Iterable[str]) -> t.Iterator[tuple[str, str]]:
    """Find settings that were meant and have no effect: without `dry_run`, `dryrun` would take numbers off the list."""
    for name in sorted(config.keys() - set(known)):
        if alike := difflib.get_close_matches(name.lower(), known, 1, MISSPELLED):
            yield name, f"there is no such setting; takes {alike[0]}"


def _check_dates(config: dict[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    read = {}
    for name in ("start_date", "end_date"):
        try:
            if name in config:
                read[name] = timestamps.parse(config[name])
        except ValueError:  # noqa: PERF203 (each by its name)
            yield name, f"got {config[name]!r:.80}, takes {_DATES}"
    if config.get("emit_activate_version_messages"):
        problem = "together with emit_activate_version_messages, by which a loader drops all that is later"
        for name in ({"end_date"} & read.keys()) | ({"max_run_minutes"} & config.keys()):
            yield name, f"got {config[name]!r} {problem}; takes one of the two"
    if "start_date" in read and read["start_date"] > dt.datetime.now(timestamps.UTC):
        yield "start_date", f"got {config['start_date']!r}, takes a time in the past"
    if len(read) > 1 and read["end_date"] <= read["start_date"]:
        yield "end_date", f"got {config['end_date']!r}, takes an instant after start_date ({config['start_date']})"
