"""The findings of a check of a registry."""

from dataclasses import dataclass
from typing import Literal

from registry.errors import HubkitError

State = Literal["damaged", "repaired", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or something that could be better.

    Attributes:
        text: What was expected, what was found, and what was done.
        state: ``damaged``; ``repaired`` if it is mended now; ``note`` if nothing is lost, but
            something could be better.
        about: The class of error that has the same cure; a command line looks the cure up by it.
            Default: None, where `text` says what to do.
    """

    text: str
    state: State = "damaged"
    about: type[HubkitError] | None = None
