"""What a check of a registry finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["damaged", "repaired", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        text: What was expected, what was found, and what was or can be done.
        state: ``damaged``; ``repaired`` if it is mended now; ``note`` if nothing is lost, but
            something could be better.
    """

    text: str
    state: State = "damaged"
