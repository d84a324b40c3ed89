"""The kinds of value that arguments and options take, beside click's own."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any

import click
from click.shell_completion import CompletionItem

from registry.errors import HubkitError, InvalidNameError
from registry.refs import AdapterRef


class _Ref(click.ParamType[AdapterRef]):
    """A published adapter; the shell completes the names of those in the registry."""

    name = "ref"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> AdapterRef:
        return _read(self, value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from registry import open_catalog
        from registry.search.search import search

        try:
            found = search(open_catalog(create=False), limit=1000).items
        except HubkitError:
            return []
        names = sorted(str(version.ref.repository) for version in found)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class _Name(click.ParamType[AdapterRef]):
    """The name of a new adapter; refused before any work is done for it."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> AdapterRef:
        ref = _read(self, value, param, ctx)
        if ref != ref.repository:
            self.fail(
                f"A new adapter's name has no version or alias: expected {ref.repository}, found "
                f"{ref}. The registry numbers versions itself.",
                param,
                ctx,
            )
        return ref


def _read(
    kind: click.ParamType[AdapterRef],
    value: object,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> AdapterRef:
    try:
        return AdapterRef.parse(str(value))
    except InvalidNameError as error:
        kind.fail(str(error), param, ctx)


class _Size(click.ParamType[int]):
    """A number of bytes, with or without a unit: 20000, 20kB, 1.5 MB."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?([kMG]?)B?", str(value))
        if found is None:
            self.fail(f"{value!r} is no size: expected one like 500kB or 20MB.", param, ctx)
        return int(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])


class _Layers(click.ParamType[tuple[int, ...]]):
    """Numbers of layers, and ranges of them that include both ends: ``0-3,7``."""

    name = "layers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        # A file of options may have a list.
        given = value if isinstance(value, list | tuple) else str(value).split(",")
        found: set[int] = set()
        for part in map(str, given):
            match = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if last < first:
                self.fail(f"{part!r}: expected numbers and ranges, such as 0-3,7.", param, ctx)
            found.update(range(first, last + 1))
        return tuple(sorted(found))


class Number(click.FloatRange):
    """A finite number in a range; click's own takes nan, which is in none."""

    name = "number"

    def _describe_range(self) -> str:
        # click says x<=None where there is no range.
        return "" if self.min is self.max is None else super()._describe_range()

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse a value that is not a number, not finite, or out of the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _Period(click.ParamType[timedelta]):
    """A time span of whole hours, days or weeks, of a century at most: 12h, 90d, 4w."""

    name = "period"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        found = re.fullmatch(r"([1-9][0-9]{0,5})([hdw])", str(value))
        units = {"h": "hours", "d": "days", "w": "weeks"}
        period = timedelta(**{units[found[2]]: int(found[1])}) if found else None
        if period is None or period > timedelta(days=36525):
            self.fail(f"{value!r}: expected a period of up to a century, as 12h, 90d or 4w.")
        return period


class _Text(click.ParamType[str]):
    """A text that is not empty."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        if not str(value).strip():
            self.fail("it is empty. Give a text, or leave the option out.", param, ctx)
        return str(value)


LAYERS = _Layers()
NAME = _Name()
PERIOD = _Period()
REF = _Ref()
SIZE = _Size()
TEXT = _Text()
