"""Labels that people cannot tell apart."""

import re
import unicodedata
from collections.abc import Iterable

# What Unicode calls ignorable, such as U+FE0F after an emoji, zero-width spaces and joiners.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
_WHOLE = re.compile(r"[+-]?\d+")


def as_seen(text: str) -> str:
    """Return a text as it looks: in one Unicode form, without what is not seen or around it."""
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text)).strip()


def same_label(names: Iterable[str]) -> str:
    """Describe two labels that are one in two spellings; empty if there are none."""
    seen: dict[int | str, str] = {}
    for name in names:
        key = int(name) if _WHOLE.fullmatch(name) else as_seen(name)
        other = seen.setdefault(key, name)
        if other != name:
            how = "are the same number" if isinstance(key, int) else "look the same"
            return f"{other!a} and {name!a}, which {how}"
    return ""
