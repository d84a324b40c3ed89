"""Hold what a caller passes to the types that a function or a dataclass declares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from registry.errors import ArgumentError, did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

_NUMBERS: dict[Any, type] = {int: Integral, float: Real, bool: bool}
_ANYTHING = (Any, object)
_SEVERAL = (Sequence, Collection, Iterable)
_CALLED = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    Path: "a path",
    tuple: "a list",
    Sequence: "a list",
    Collection: "a list",
    Iterable: "an iterable",
    Mapping: "a mapping",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function hold its arguments to the types that it declares, at each call.

    It then gets plain Python values: a whole number of NumPy as an ``int``, a path that is given as
    text as a :class:`~pathlib.Path`, a list for a tuple as a tuple. Texts do not stand for numbers,
    nor one text for a list of them, nor True for 1. What can be gone
    through once is not looked into.

    The function raises :class:`ArgumentError` if something does not fit: it names the argument,
    what is expected and what was passed.
    """
    how = signature(function)

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        try:
            given = how.bind(*args, **named)
        except TypeError:
            return function(*args, **named)  # Python says which is missing, or unknown
        hints = _hints(function)
        for name, value in given.arguments.items():
            if name not in hints:
                continue
            kind = how.parameters[name].kind
            if kind is Parameter.VAR_POSITIONAL:
                value = tuple(
                    _fit(f"{name}[{at}]", one, hints[name]) for at, one in enumerate(value)
                )
            elif kind is not Parameter.VAR_KEYWORD:
                value = _fit(name, value, hints[name])
            given.arguments[name] = value
        return function(*given.args, **given.kwargs)

    call.__signature__ = how  # type: ignore[attr-defined]
    return call


def check_fields(instance: Any) -> None:
    """Hold the fields of a dataclass to their types, as :func:`checked` does with arguments.

    Raises:
        ArgumentError: One has another type.
    """
    hints = _hints(instance.__class__)
    for field in fields(instance):
        value = getattr(instance, field.name)
        fitting = _fit(field.name, value, hints[field.name])
        if fitting is not value:
            object.__setattr__(instance, field.name, fitting)


@cache
def _hints(annotated: Any) -> dict[str, Any]:
    return get_type_hints(annotated)


def _fit(name: str, value: Any, hint: Any) -> Any:
    """The value as the plain Python value that a type hint means.

    Raises:
        ArgumentError: There is none.
    """
    if hint in _ANYTHING:
        return value
    kind: Any = get_origin(hint) or hint
    if kind in (Union, UnionType):
        return _fit_one(name, value, hint)
    if kind is Literal:
        if any(type(value) is type(one) and value == one for one in get_args(hint)):
            return value
    elif kind in _NUMBERS:
        if isinstance(value, _NUMBERS[kind]) and (kind is bool or not isinstance(value, bool)):
            with suppress(OverflowError):  # a whole number that no float can hold
                return kind(value)
    elif kind in (str, Path):
        if isinstance(value, str | Path):
            return value if isinstance(value, kind) else kind(value)
    elif kind is tuple and get_args(hint)[1:] == (...,):
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return tuple(_elements(name, value, hint))
    elif not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return value  # a variable or a protocol, to which the function itself holds it
    elif isinstance(value, kind) and _means_several(value, kind, hint):
        if kind in _SEVERAL and isinstance(value, Sequence):
            return _elements(name, value, hint)
        return _entries(name, value, hint) if kind is Mapping else value
    raise _unfit(name, value, hint)


def _fit_one(name: str, value: Any, hint: Any) -> Any:
    """The same for the first type of a union that the value fits."""
    for member in get_args(hint):
        try:
            return _fit(name, value, member)
        except ArgumentError as error:
            if error.subject != name:  # an element: that says more than that the whole does not fit
                raise
    raise _unfit(name, value, hint)


def _elements(name: str, values: Sequence[Any], hint: Any) -> Sequence[Any]:
    of = get_args(hint)[0]
    if of in _ANYTHING:
        return values
    return [_fit(f"{name}[{at}]", value, of) for at, value in enumerate(values)]


def _entries(name: str, values: Any, hint: Any) -> Mapping[Any, Any]:
    keys, of = get_args(hint)
    return {
        _fit(f"a key of {name}", key, keys): _fit(f"{name}[{key!r}]", value, of)
        for key, value in values.items()
    }


def _means_several(value: Any, kind: type, hint: Any) -> bool:
    """Whether a value for several elements gives elements, and is no text for several texts."""
    if kind not in _SEVERAL:
        return True
    if isinstance(value, str | bytes) and get_args(hint)[0] not in _ANYTHING:
        return False  # Python would go through its letters
    try:
        iter(value)  # an array without dimensions only looks as if it had elements
    except TypeError:
        return False
    return True


def _unfit(name: str, value: Any, hint: Any) -> ArgumentError:
    shown = repr(value)
    choices: list[str] = []
    for member in _members(hint):
        if get_origin(member) is Literal:
            choices += get_args(member)
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    *most, last = [_called(one) for one in _members(hint)]
    return ArgumentError(
        f"{name} must be {', '.join(most)}{' or ' * bool(most)}{last}, not "
        f"{shown if len(shown) <= 60 else f'{shown[:60]}...'} ({type(value).__name__}).{near}",
        name,
        given=value,
        expected=hint,
    )


def _members(hint: Any) -> list[Any]:
    """The types of a union, and the choices of a literal one by one."""
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        return [one for member in get_args(hint) for one in _members(member)]
    if kind is Literal:
        return [Literal[one] for one in get_args(hint)]
    return [hint]


def _called(hint: Any) -> str:
    kind = get_origin(hint) or hint
    if kind is Literal:
        return repr(get_args(hint)[0])
    name = getattr(kind, "__name__", str(kind))
    return _CALLED.get(kind) or f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
