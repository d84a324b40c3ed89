"""The kinds of value that arguments and options take, beside click's own."""

from __future__ import annotations

import re

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
        return AdapterRef.parse(str(value))

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
    """What to call a new adapter, refused before the work that would go into it."""

    name = "name"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> AdapterRef:
        ref = AdapterRef.parse(str(value))
        if ref != ref.repository:
            raise InvalidNameError(
                f"A new adapter's name has no version or alias: expected {ref.repository}, found "
                f"{ref}. The registry numbers versions itself.",
                ref,
            )
        return ref


class _Size(click.ParamType[int]):
    """A number of bytes, with or without a unit: 20000, 20kB, 1.5 MB."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([kMG]?)B?", str(value))
        if found is None:
            self.fail(f"{value!r} is no size: expected one like 500kB or 20MB.", param, ctx)
        return int(float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]])


class _Said(click.ParamType[str]):
    """A text that says something."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        if not str(value).strip():
            self.fail("it is empty. Say something, or leave the option out.", param, ctx)
        return str(value)


REF = _Ref()
SAID = _Said()
SIZE = _Size()
NAME = _Name()
