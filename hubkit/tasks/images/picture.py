"""An image, by its content: read when it is needed, so that memory stays flat."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hubkit.tasks.columns import NotExpectedError
from registry.errors import DataError

EXPECTED = "the path of an image, or an image"


@dataclass(frozen=True)
class Picture:
    """An image file, or the bytes of one.

    Attributes:
        path: Where the file is; None where `content` holds its bytes.
        content: The bytes.
        sha256: Of the bytes of the file, or of the pixels of an image that came as an object: the
            same wherever the file is.
    """

    path: str | None
    content: bytes | None
    sha256: str

    def __str__(self) -> str:
        return self.path or f"image {self.sha256[:12]}"

    def open(self) -> Any:
        """The image, in RGB, as transformers' pipelines read it.

        Raises:
            DataError: The file is gone, or has changed since it was checked.
        """
        from transformers.image_utils import load_image

        content = self.content
        if self.path is not None:
            try:
                content = Path(self.path).read_bytes()
            except OSError as error:
                raise DataError(
                    f"{self.path} cannot be read: {error.strerror}.", self.path
                ) from error
            if hashlib.sha256(content).hexdigest() != self.sha256:
                raise DataError(f"{self.path} has changed since it was checked.", self.path)
        assert content is not None
        return load_image(_decoded(content))


def picture(value: Any) -> Picture:
    """A path, an image of Pillow, or what `datasets` has of an image; it can be read as a whole.

    Raises:
        NotExpectedError: It is not one of these, or not a file that Pillow reads.
        DataError: Pillow is not installed.
    """
    pillow = require_pillow()
    if isinstance(value, Picture):
        return value
    if isinstance(value, pillow.Image):
        # PNG would not keep how it lies.
        value = import_module("PIL.ImageOps").exif_transpose(value)
        buffer = io.BytesIO()
        pixels = hashlib.sha256(f"{value.mode} {value.size}".encode() + value.tobytes())
        try:
            value.save(buffer, "PNG")  # which loses nothing
        except OSError as error:
            raise NotExpectedError(f"an image in a mode that PNG has ({error})") from None
        return Picture(None, buffer.getvalue(), pixels.hexdigest())
    if isinstance(value, Mapping) and {"bytes", "path"} <= value.keys():
        value = value["path"] if value["bytes"] is None else value["bytes"]
    content, path = value, None
    if isinstance(value, str | Path) and str(value).strip():
        path = str(value)
        try:
            content = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise NotExpectedError(f"{EXPECTED} that can be read ({reason})") from None
    if not isinstance(content, bytes):
        raise NotExpectedError(EXPECTED)
    try:
        _decoded(content).load()
    except Exception as error:  # Pillow's readers raise what they meet in a broken file
        unknown = isinstance(error, require_pillow().UnidentifiedImageError)
        reason = "it is no image that Pillow knows" if unknown else str(error)
        raise NotExpectedError(f"{EXPECTED} that can be read ({reason})") from None
    digest = hashlib.sha256(content).hexdigest()
    return Picture(path, None if path else content, digest)


def given_picture(value: Any) -> Any:
    """As :func:`picture`, but a path stays a path, so that it can be printed as given."""
    found = picture(value)
    return value if isinstance(value, str) else found


def require_pillow() -> Any:
    """Pillow's module of images.

    Raises:
        DataError: It is not installed.
    """
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise DataError(
            "Images are read by Pillow, which is not installed. Install it with: "
            "pip install 'hubkit[images]'"
        ) from error


def _decoded(content: bytes) -> Any:
    return require_pillow().open(io.BytesIO(content))
