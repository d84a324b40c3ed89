"""The kinds of repositories, and their names below the address of a hub."""

from typing import Literal, get_args

from registry.refs import AdapterRef

Kind = Literal["model", "dataset", "space"]
"""What a repository holds. Models may hold adapters; the others are kept as files."""

KINDS: tuple[Kind, ...] = get_args(Kind)
Visibility = Literal["public", "private"]

PREFIXES: dict[Kind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}
"""What stands before the name of a repository, by its kind."""


def kind_called(text: str) -> Kind | None:
    """Return the kind of this name; None if there is none."""
    return next((kind for kind in KINDS if kind == text), None)


def place_of(kind: Kind, ref: AdapterRef) -> str:
    """Return the name of a repository below the address of a hub: ``datasets/ada/reviews``."""
    return f"{PREFIXES[kind]}{ref}"


def folded_name(kind: Kind, ref: AdapterRef) -> str:
    """Return the key of a repository: one for all spellings of its name, another for each kind."""
    return PREFIXES[kind] + ref.folded


def parse_place(place: str) -> tuple[Kind, AdapterRef]:
    """Read what `place_of` wrote; the version of a name is left out.

    Raises:
        InvalidNameError: It is not such a name.
    """
    for kind, prefix in PREFIXES.items():
        if prefix and place.startswith(prefix) and place.count("/") == 2:
            return kind, AdapterRef.parse(place.removeprefix(prefix)).repository
    return "model", AdapterRef.parse(place).repository
