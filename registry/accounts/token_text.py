"""The text of an access token, of which the registry keeps only a hash.

A token is ``hubkit_``, 32 random letters and digits, and the first 6 hexadecimal digits of the
SHA-256 of all that. So a mistyped token is refused without a query, and programs that search files
for leaked tokens can tell one from other text.
"""

import hashlib
import re
import secrets
from string import ascii_letters, digits

PREFIX = "hubkit_"

_LENGTH = 32
_CHECKSUM = 6
_SHAPE = re.compile(f"{PREFIX}[0-9A-Za-z]{{{_LENGTH}}}[0-9a-f]{{{_CHECKSUM}}}")
_SHOWN = len(PREFIX) + 4


def make_token() -> str:
    """Return a new token, of 190 random bits."""
    text = PREFIX + "".join(secrets.choice(ascii_letters + digits) for _ in range(_LENGTH))
    return text + _checksum(text)


def is_well_formed(text: str) -> bool:
    """Whether a text can be a token: it has the right shape, and its checksum is right."""
    return _SHAPE.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


def hash_token(text: str) -> str:
    """Return the hash that is stored; a slow one would add nothing to 190 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()


def hint(text: str) -> str:
    """Return the start of a token, by which users tell their tokens apart."""
    return text[:_SHOWN]


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_CHECKSUM]
