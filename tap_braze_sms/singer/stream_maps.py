"""Stream maps: what is wrong with them is found before anything is read.

The SDK finds most of it at the first record, or never: by then requests were made, and rows may have gone out that
a map should have hashed.
"""

from __future__ import annotations

import ast
import fnmatch
import typing as t
from collections import Counter

from singer_sdk.exceptions import ConfigurationError
from singer_sdk.mapper import CustomStreamMap, RemoveRecordTransform

from tap_braze_sms.redaction import redact_expression

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from singer_sdk import Stream

_KEYS, _NULL = "__key_properties__", (None, "__NULL__")

#: What is no property in the map of a stream.
_OPTIONS = ("__alias__", "__else__", "__filter__", _KEYS, "__source__")

#: Names in an expression beside properties and functions.
_NAMES = {"_", "record", "config", "__stream_name__", "__original_stream_name__"}


def _source(name: str, made: object) -> str:
    return made.get("__source__", name) if isinstance(made, dict) else name


def sources(config: Mapping[str, t.Any]) -> list[str]:
    """Return the names, or patterns of names, of the streams that stream maps are of."""
    maps = dict(config.get("stream_maps") or {})
    return [_source(name, made) for name, made in maps.items() if name != "__else__"]


def _maps_of(config: Mapping[str, t.Any], stream: str) -> Iterator[dict[str, t.Any]]:
    """Yield the maps of a stream."""
    for name, made in (config.get("stream_maps") or {}).items():
        if isinstance(made, dict) and fnmatch.fnmatch(stream, _source(name, made)):
            yield made


def check_sources(config: Mapping[str, t.Any], streams: Collection[str]) -> None:
    """Refuse a stream map of no stream: numbers that it should hash would go out in clear.

    Raises:
        ConfigurationError: names it.
    """
    for source in sources(config):
        if not fnmatch.filter(streams, source):
            msg = f"stream_maps: got {source!r}, takes the name of a stream: {', '.join(streams)}"
            raise ConfigurationError(msg)


def check_definitions(config: Mapping[str, t.Any], stream: str, keys: Sequence[str]) -> Iterator[str]:
    """Check the maps of a stream as they are written, and yield what is not followed.

    Raises:
        ConfigurationError: one of them can mean nothing.
    """
    for made in _maps_of(config, stream):
        # A table without keys would hold twice what the next run reads again.
        if not made.get(_KEYS, keys):
            del made[_KEYS]
            yield f"{_KEYS} of {stream} names none, so its keys stay: {', '.join(keys)}"
        # With the option __source__, the name of the map is the alias.
        options = [option for option in _OPTIONS if option != "__alias__" or "__source__" not in made]
        for name, expression in made.items():
            if name.startswith("__") and name not in options:
                msg = f"stream_maps: got {name} in a map of {stream}, takes {', '.join(options)} there"
                raise ConfigurationError(msg)
            if expression in _NULL and name in keys and _KEYS not in made:
                msg = f"stream_maps: {stream} loses its key {name}; takes {_KEYS}, a list of what tells its rows apart"
                raise ConfigurationError(msg)
        for _, expression in _expressions(made):
            _parse(expression)


def _parse(expression: str) -> list[ast.AST]:
    """Return all parts of an expression."""
    try:
        return list(ast.walk(ast.parse(expression, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        msg = f"stream_maps: Failed to parse expression {redact_expression(expression)}"
        raise ConfigurationError(msg) from None


def _expressions(made: Mapping[str, t.Any]) -> Iterator[tuple[str, str]]:
    for name, expression in made.items():
        if isinstance(expression, str) and expression not in _NULL and name not in {"__alias__", "__source__"}:
            yield name, expression


def check_results(config: Mapping[str, t.Any], streams: Collection[Stream]) -> None:
    """Check what the SDK made of the maps of streams.

    Raises:
        ConfigurationError: a map uses what there is not, a key is lost, or two streams have one name.
    """
    for stream in streams:
        # Not from the maps: the SDK changes the schemas that it keeps there.
        given = {name for name in stream.effective_schema["properties"] if stream.mask["properties", name]}
        for made in stream.stream_maps:
            # A key that the catalog takes away is another matter.
            if lost := {*(made.transformed_key_properties or ())} & given - {*made.transformed_schema["properties"]}:
                got = config.get("flattening_max_key_length")
                msg = f"flattening_max_key_length: got {got}, which shortens {', '.join(sorted(lost))}; takes more"
                raise ConfigurationError(msg)
            if isinstance(made, CustomStreamMap):
                _check_expressions(config, stream.name, given, made)
    written = [made for stream in streams for made in stream.stream_maps if not isinstance(made, RemoveRecordTransform)]
    for name, count in Counter(made.stream_alias for made in written).items():
        if count > 1:
            msg = f"stream_maps: got {count} streams called {name}, takes a name of its own for each"
            raise ConfigurationError(msg)


def _check_expressions(config: Mapping[str, t.Any], stream: str, given: set[str], made: CustomStreamMap) -> None:
    for definition in _maps_of(config, stream):
        for name, expression in _expressions(definition):
            names = given | set(made.functions) | _NAMES
            names |= ({"self"} if name in given else set()) | ({"fake"} if made.fake else set())
            known = config.get("stream_map_config") or {}
            looks_first = "in config" in expression
            tree = _parse(expression)
            names |= {node.id for node in tree if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            problem = ""
            for node in tree:
                match node:
                    case ast.Name(id=used) if used not in names:
                        faker = " without the package faker" if used == "fake" else ""
                        problem = f"uses {used}, which there is not{faker}"
                    case ast.Subscript(value=ast.Name(id="config"), slice=ast.Constant(value=key)) if not (
                        key in known or looks_first
                    ):
                        problem = f"uses config[{key!r}], which stream_map_config has not"
                    case ast.expr() if type(node) not in made.expr_evaluator.nodes:
                        problem = f"uses what expressions cannot have here ({type(node).__name__})"
            if problem:
                msg = f"stream_maps: {name} of {stream} {problem}"
                raise ConfigurationError(msg)
