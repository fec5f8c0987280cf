"""Catalogs: whichever tool wrote them, read as the Singer specification says, or refused in one line.

What a user or a runner wants stands in the metadata of a stream, what discovery found stands beside it: so the
metadata comes first. The SDK looks there last, and knows fewer names.
"""

from __future__ import annotations

import typing as t

from singer_sdk.exceptions import ConfigurationError

if t.TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from collections.abc import Set as AbstractSet

    from singer_sdk.singerlib import CatalogEntry

#: Where each field of a stream may stand, the first that says something wins: names in the metadata of the
#: stream, then in the stream itself.
_PLACES = {
    "key_properties": (("table_key_properties",), ("table_key_properties", "key_properties")),
    "replication_key": (("replication_key",), ("replication_key",)),
    "replication_method": (
        ("replication_method", "forced_replication_method"),
        ("replication_method", "forced_replication_method"),
    ),
}

_METHODS = ("INCREMENTAL", "FULL_TABLE")

#: What is unusual and yet followed, by stream and field.
Notes: t.TypeAlias = "MutableMapping[tuple[str, str], str]"


def normalize(catalog: Mapping[str, t.Any], notes: Notes) -> dict[str, t.Any]:
    """Return a catalog in the one form that the SDK follows to the letter.

    Args:
        catalog: A Singer catalog, in any of the forms it has had.
        notes: Takes what contradicts itself, and which of it is followed.

    Raises:
        ConfigurationError: it cannot be followed.
    """
    entries: dict[str, dict[str, t.Any]] = {}
    for given in catalog.get("streams", ()):
        entry = _normalize(given, notes)
        if entry["tap_stream_id"] in entries:
            msg = f"--catalog: got the stream {entry['tap_stream_id']} twice, takes each once"
            raise ConfigurationError(msg)
        entries[entry["tap_stream_id"]] = entry
    return {**catalog, "streams": list(entries.values())}


def _normalize(given: Mapping[str, t.Any], notes: Notes) -> dict[str, t.Any]:
    entry = _underscored(given)
    stream = entry["tap_stream_id"]
    metadata = {tuple(item["breadcrumb"]): dict(item["metadata"]) for item in entry.get("metadata", ())}
    root = _underscored(metadata.get((), {}))
    for field, (inside, beside) in _PLACES.items():
        places = [(f"the metadata {name}", root.get(name)) for name in inside]
        places += [(name, entry.get(name)) for name in beside]
        if saying := [(place, value) for place, value in places if value]:
            (place, entry[field]), *others = saying
            for other, value in others:
                if value != entry[field]:
                    notes[stream, field] = f"{place} ({entry[field]}) is followed, not {other} ({value})"
    for crumb, values in _selections(entry, metadata).items():
        selected = next((value for value in values if value is not None), None)
        if not isinstance(selected, bool | None):
            msg = f"--catalog: got {selected!r} as selected of {' '.join((stream, *crumb[1:]))}, takes true or false"
            raise ConfigurationError(msg)
        if selected is not None:
            metadata.setdefault(crumb, {})["selected"] = selected
    entry["metadata"] = [{"breadcrumb": list(crumb), "metadata": said} for crumb, said in metadata.items()]
    return entry


def _selections(
    entry: Mapping[str, t.Any], metadata: Mapping[tuple[str, ...], Mapping[str, t.Any]]
) -> dict[tuple[str, ...], list[object]]:
    """Return what is said of the selection of a stream and of its properties, what counts most first."""
    # Before there was metadata, a selection stood in the stream, or in the schema and each of its properties.
    schema = entry.get("schema", {})
    said = {crumb: [found.get("selected")] for crumb, found in metadata.items()}
    selections: dict[tuple[str, ...], list[object]] = {
        (): [*said.get((), []), entry.get("selected"), schema.get("selected")]
    }
    for name, prop in (schema.get("properties") or {}).items():
        selections["properties", name] = [*said.get(("properties", name), []), prop.get("selected")]
    if metadata and () not in metadata:
        selections[()].append(True)  # else the SDK would read the stream and leave out its properties
    return selections


def _underscored(names: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name.replace("-", "_"): value for name, value in names.items()}


def check(
    entry: CatalogEntry,
    notes: Notes,
    *,
    keys: Sequence[str],
    replication_key: str | None,
    properties: Mapping[str, t.Any],
    left_out: AbstractSet[str],
) -> None:
    """Check what a catalog wants of a stream that is selected.

    Args:
        entry: The normalized entry of the stream.
        notes: Takes what is unusual and yet followed.
        keys: The stream's own.
        replication_key: The stream's own; None: it is read whole in every run.
        properties: The schemas of the stream's properties.
        left_out: Those that are not selected.

    Raises:
        ConfigurationError: it cannot be followed.
    """
    stream, wanted, method = entry.tap_stream_id, entry.key_properties or keys, entry.replication_method
    problem = _problem(entry, wanted, replication_key, properties)
    if problem:
        msg = f"--catalog: {problem}"
        raise ConfigurationError(msg)
    if set(wanted) != set(keys):
        notes[stream, "key_properties"] = (
            f"the keys are {', '.join(wanted)}, not {', '.join(keys)}: of rows that agree in them a loader keeps one"
        )
    if lost := [key for key in wanted if key in left_out]:
        notes[stream, "selected"] = f"{', '.join(lost)} is not selected, and a key: loaders that need keys will fail"
    if not replication_key and method == _METHODS[0]:
        notes[stream, "replication_method"] = f"it is read whole in every run, not {method}"


def _problem(
    entry: CatalogEntry, wanted: Sequence[str], replication_key: str | None, properties: Mapping[str, t.Any]
) -> str | None:
    """Return what a catalog wants of a stream and cannot have."""
    stream, method = entry.tap_stream_id, entry.replication_method
    schemas = entry.schema.to_dict()["properties"]
    in_both = [name for name in properties if name in schemas]
    for name in in_both:
        types = _types(schemas[name])
        if types and not _types(properties[name]) - {"null"} <= types:
            return f"got the type {schemas[name]['type']!r} for {name} of {stream}, takes {properties[name]['type']!r}"
    if method and method not in _METHODS:
        return f"got the replication method {method!r} for {stream}, takes {' or '.join(_METHODS)}"
    if replication_key and entry.replication_key not in (None, "", replication_key):
        return f"got the replication key {entry.replication_key!r} for {stream}, takes {replication_key}"
    if isinstance(wanted, str) or not all(name in in_both for name in wanted):
        return f"got the key properties {wanted!r} for {stream}, takes a list of {', '.join(in_both)}"
    if entry.stream_alias not in (None, "", stream):
        return f"got the stream_alias {entry.stream_alias!r} for {stream}, takes none: stream_maps has __alias__"
    return None


def _types(schema: Mapping[str, t.Any]) -> set[str]:
    types = schema.get("type", [])
    return {types} if isinstance(types, str) else set(types)
