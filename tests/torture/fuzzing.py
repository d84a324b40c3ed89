"""Cases for the parsers: valid inputs with one to four things wrong, and plain noise."""

import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

PIECES = (
    *("", ".", "..", "...", "/", "//", "\\", "\\\\server\\share", "C:", "C:\\x", "~", "~root"),
    *("%2e", "%2f", "\0", "\n", "\r\n", "\t", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é"),
    *("\U0001f600", "e\u0301", "\ufb01", "\u0130", "ß", "\u2024\u2024", "\uff0f", "@", "@@"),
    *(
        "@latest",
        "@0",
        "@-1",
        "@1e3",
        "@99999999999999999999",
        "a" * 300,
        "-",
        "_",
        ".lock",
        ".git",
    ),
    *("CON", "NUL", "hubkit.json", "?", "#", "*", "|", "<", ">", ":", '"', "'", ";", "--", " "),
    *("${HOME}", "file:///etc/passwd"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, [], {}),
    *("", "x" * 5000, "\0", "\ud800", "../../etc/passwd", "a" * 64, "A" * 64, [[]], [None]),
    *({"": 0}, {"schema": 3}, {"a": {"b": {"c": {}}}}, [1, 2, 3], ["a", "a"], "NaN", "Infinity"),
)
RAW = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1E400", b"0x10", b"01", b"'"),
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"\xff", b"\xed\xa0\x80"),
    *(b"[" * 2000, b'{"a":' * 2000, b"9" * 5000, b"\0" * 600, b"/*", b"//", b"\xef\xbb\xbf"),
)


def text(chance: random.Random, valid: Sequence[str]) -> str:
    """A valid text with pieces put in, cut out or doubled; or pieces and noise alone."""
    found = chance.choice(valid) if chance.random() < 0.8 else ""
    for _ in range(chance.randrange(1, 5)):
        place, end = sorted(chance.randrange(len(found) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                found = found[:place] + chance.choice(PIECES) + found[place:]
            case 1:
                found = found[:place] + found[end:]
            case 2:
                found = found[:end] + found[place:]
            case 3:
                found = found[:place] + chr(chance.randrange(0x3000)) + found[place + 1 :]
            case _:
                found = found[:place] + chance.choice(valid) + found[end:]
    return found


def content(chance: random.Random, valid: bytes) -> bytes:
    """Valid bytes with some flipped, cut out, doubled, or put in."""
    found = bytearray(valid)
    for _ in range(chance.randrange(1, 5)):
        place, end = sorted(chance.randrange(len(found) + 1) for _ in range(2))
        match chance.randrange(6):
            case 0 if found:
                found[place % len(found)] ^= 1 << chance.randrange(8)
            case 1:
                found[place:place] = chance.choice(RAW)
            case 2:
                del found[place : min(end, place + 40)]
            case 3:
                del found[end:]
            case 4:
                found[place:place] = found[place : min(end, place + 600)]
            case _:
                found[place : place + 8] = chance.randbytes(8)
    return bytes(found)


def document(chance: random.Random, valid: Any) -> bytes:
    """A JSON document with some values replaced, removed, moved or deeply nested."""
    root = json.loads(json.dumps(valid))
    for _ in range(chance.randrange(1, 4)):
        parent, key = root, None
        holder: Any = None
        while isinstance(parent, dict | list) and parent and (key is None or chance.random() < 0.8):
            holder = parent
            key = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            parent = holder[key]
        if holder is None:
            return b"{}"
        match chance.randrange(5):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[chance.choice(PIECES)] = deepcopy(chance.choice(VALUES))
            case 2:
                depth = chance.choice((3, 17, 500))
                for _ in range(depth):
                    parent = [parent] if chance.random() < 0.5 else {"a": parent}
                holder[key] = parent
            case _:
                holder[key] = deepcopy(chance.choice(VALUES))
    try:
        encoded = json.dumps(root).encode()
    except RecursionError:
        return b"[" * 1000
    return content(chance, encoded) if chance.random() < 0.3 else encoded


def require_refusals_only(
    cases: int, case: Callable[[random.Random], None], refusal: type[Exception]
) -> int:
    """Run `case` with as many seeds; return how many were refused, and let no other error pass."""
    refused = 0
    for seed in range(cases):
        try:
            case(random.Random(seed))
        except refusal:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return refused
