"""The one reader of configs: plain data, as JSON holds it, → checked dataclasses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from rivulet.errors import ConfigError

T = TypeVar("T")


def read_config(kind: type[T], values: Any, name: str, *, strict: bool = True) -> T:
    """Return the dataclass `kind` that `values` describe; what they leave out has its default.

    Args:
        kind: a dataclass, whose fields may be dataclasses.
        values: JSON's objects, lists, numbers and strings.
        name: what the sentence of an error calls them.
        strict: refuse names that are no fields; otherwise leave them, as other versions wrote them.

    Raises:
        ConfigError: a name is no field, a value has another type, or `kind` itself refuses it.
    """
    if strict:
        _refuse_strangers(kind, values, name)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name} does not fit: {_sentence(error, kind)}.") from error


def _refuse_strangers(kind: Any, values: Any, name: str) -> None:
    if not isinstance(values, Mapping) or not dataclasses.is_dataclass(kind):
        return
    known = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{name} has no field {key!r}; its fields are {', '.join(known)}.")
        for inner in (known[key], *get_args(known[key])):
            _refuse_strangers(inner, value, f"{key} of {name}")


def _sentence(error: msgspec.ValidationError, kind: Any) -> str:
    """Say where and what: `Expected int, got str - at $.beam.beam_size` the other way round."""
    what, _, where = str(error).replace("`", "").partition(" - at $.")
    said = f"{where}: {what[0].lower()}{what[1:]}" if where else what[0].lower() + what[1:]
    for name in where.split("."):
        kind = get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
    if get_origin(kind) is Literal:
        said += f"; use {' or '.join(map(str, get_args(kind)))}"
    return said
