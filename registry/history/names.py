"""What branches, tags and paths may be called: the rules of git.

They are those of ``git check-ref-format``, and for paths what git refuses to put into a tree.
"""

import re
import unicodedata

from registry.errors import InvalidNameError

MAIN = "main"
"""The branch that every repository has, and whose commits make versions."""

MAX_REF_BYTES = 244
"""The longest name of a branch or a tag: a file under ``refs/heads/`` is called so."""

MAX_PATH_BYTES = 1024
"""The longest path of a file in a commit."""

MOST_PARTS = 64
"""The most folders that a file in a commit is in, itself counted."""

_REF_RULE = (
    "1 to 244 bytes without spaces, control characters and any of ~^:?*[\\, without '..', '@{' and "
    "'//', with no part that starts with '.' or ends in '.lock', and no '/' or '.' at the end"
)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:^|/)\.|\.lock(?:/|$)|[/.]$|^[/-]")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VERSION_TAG = re.compile(r"v([1-9][0-9]{0,9})")
# What Windows and macOS take for the folder that git keeps its own things in.
_GIT_FOLDER = re.compile(r"\.git|git~[0-9]+", re.IGNORECASE)


def check_ref(kind: str, name: str) -> str:
    """Return the name of a branch or a tag.

    Args:
        kind: ``branch`` or ``tag``, for messages.
        name: The name.

    Raises:
        InvalidNameError: git would refuse it, or it looks like the id of a commit.
    """
    if (
        not name
        or name == "@"
        or _FORBIDDEN.search(name)
        or _COMMIT.fullmatch(name)
        or not name.isprintable()
        or len(_encoded(name)) > MAX_REF_BYTES
    ):
        raise InvalidNameError(f"The name of a {kind} is {_REF_RULE}, not {name[:300]!r}.", name)
    return name


def check_tree_path(path: str) -> str:
    """Return the path of a file in a commit; it may hold what an adapter's manifest may not list.

    Raises:
        InvalidNameError: It is absolute or empty, has an empty part, ``.``, ``..`` or ``.git``,
            a backslash or a control character, or more than 1,024 bytes or 64 parts.
    """
    problem = _path_problem(path)
    if problem is not None:
        raise InvalidNameError(
            f"The path {path[:300]!r} {problem}: expected a relative path such as "
            "'adapter_model.safetensors'.",
            path,
        )
    return path


def is_commit_id(text: str) -> bool:
    """Whether a text is the whole id of a commit."""
    return _COMMIT.fullmatch(text) is not None


def version_tag(number: int) -> str:
    """Return the tag of a version, which never moves."""
    return f"v{number}"


def tagged_version(tag: str) -> int | None:
    """Return the number of the version that a tag would be of; None if it is another tag."""
    found = _VERSION_TAG.fullmatch(tag)
    return int(found[1]) if found else None


def _path_problem(path: str) -> str | None:
    if not path:
        return "is empty"
    if len(_encoded(path)) > MAX_PATH_BYTES:
        return f"has more than {MAX_PATH_BYTES} bytes"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "has a control character"
    if "\\" in path:
        return "has a backslash"
    if path.count("/") >= MOST_PARTS:
        return f"has more than {MOST_PARTS} parts"
    for part in path.split("/"):
        if not part:
            return "has an empty part"
        if part in (".", ".."):
            return f"has a part {part!r}"
        if _GIT_FOLDER.fullmatch(part.rstrip(". ")):
            return "names the folder of git"
    return None


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
