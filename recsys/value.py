"""Values: frozen dataclasses whose fields are checked when they are built."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """A configuration mistake is found where it is made: fields are checked against their types at construction.

    The class becomes a frozen, slotted, keyword-only dataclass. Lists become tuples and ints become floats where
    the annotation asks for it. Raises TypeError naming class, field and value; the class's own `__post_init__`
    runs afterwards for ranges.
    """
    ranges = cls.__dict__.get("__post_init__")

    def checked(self: Any) -> None:
        _check_fields(self)
        if ranges is not None:
            ranges(self)

    cls.__post_init__ = checked  # type: ignore[attr-defined]
    return dataclass(frozen=True, slots=True, kw_only=True)(cls)


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds; the message names the value and the remedy."""
    if not condition:
        raise ValueError(message)


def _check_fields(self: Any) -> None:
    hints = get_type_hints(type(self))
    for each in fields(self):
        given = getattr(self, each.name)
        try:
            converted = _convert(given, hints[each.name])
        except TypeError:
            expected = getattr(hints[each.name], "__name__", str(hints[each.name]))
            raise TypeError(f"{type(self).__name__}.{each.name} must be {expected}, got {given!r}") from None
        if converted is not given:
            object.__setattr__(self, each.name, converted)


def _convert(given: Any, hint: Any) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return given
    if origin in (Union, types.UnionType):
        return _convert_union(given, get_args(hint))
    if origin is Literal:
        return _accept(given, given in get_args(hint))
    if origin is tuple:
        return _convert_tuple(given, get_args(hint))
    if origin is not None:
        return _convert_container(given, origin, get_args(hint))
    if hint is float:
        _accept(given, isinstance(given, (int, float)) and not isinstance(given, bool))
        return given if isinstance(given, float) else float(given)
    if hint is int:
        return _accept(given, isinstance(given, int) and not isinstance(given, bool))
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return _accept(given, isinstance(given, hint))
    return given


def _accept(given: Any, fits: bool) -> Any:
    if not fits:
        raise TypeError
    return given


def _convert_union(given: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        if option is type(None) and given is None:
            return None
    for option in options:
        try:
            return _convert(given, option)
        except TypeError:
            continue
    raise TypeError


def _convert_tuple(given: Any, args: tuple[Any, ...]) -> Any:
    _accept(given, isinstance(given, Sequence) and not isinstance(given, (str, bytes)))
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(item, args[0]) for item in given)
    _accept(given, len(given) == len(args))
    return tuple(_convert(item, hint) for item, hint in zip(given, args, strict=True))


def _convert_container(given: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _accept(given, isinstance(given, Mapping))
        return {_convert(k, args[0]): _convert(v, args[1]) for k, v in given.items()}
    if isinstance(origin, type) and not getattr(origin, "_is_protocol", False):
        return _accept(given, isinstance(given, origin))
    return _accept(given, callable(given)) if origin.__name__ == "Callable" else given
