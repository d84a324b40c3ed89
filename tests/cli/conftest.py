"""A command line to call, tiny base models, and a registry with adapters trained on one."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hubkit.cli import main
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog, read_folder
from registry import write_manifest as write_manifest_of
from tests.support.models import base_folder

BASE = {
    "id": "team/tiny-bert",
    "architecture": "BertModel",
    "hidden_size": 32,
    "num_layers": 2,
    "fingerprint": "ab" * 32,
}


@pytest.fixture(scope="session")
def run() -> Callable[..., Result]:
    """Call hubkit with arguments; `text` is its standard input, `status` what it must return."""

    def call(*arguments: object, text: str | None = None, status: int = 0, **env: str) -> Result:
        result = CliRunner().invoke(main, [*map(str, arguments)], input=text, env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return call


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all tests read from."""
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def base(workshop: Path) -> Path:
    return base_folder(workshop / "base", seed=0)


@pytest.fixture(scope="session")
def other_base(workshop: Path) -> Path:
    """Of the same shape as `base`, with other weights."""
    return base_folder(workshop / "other-base", seed=1)


@pytest.fixture(scope="session")
def data(workshop: Path) -> Path:
    """Sixty rows that one word decides, half of them positive."""
    labels = {"good": "positive", "great": "positive", "bad": "negative", "dull": "negative"}
    rows = [
        f"the {thing} was {degree} {word},{label}"
        for word, label in labels.items()
        for thing in ("film", "plot", "ball")
        for degree in ("very", "not", "a", "the", "")
    ]
    return write_csv(workshop / "reviews.csv", rows)


@pytest.fixture(scope="session")
def new_data(workshop: Path, data: Path) -> Path:
    """All of these rows but the first and the last: none is trained on just them."""
    header, _, *rows, _ = data.read_text().splitlines()
    return write_csv(workshop / "new.csv", rows, header)


@pytest.fixture(scope="session")
def trained_home(
    workshop: Path, base: Path, other_base: Path, data: Path, run: Callable[..., Result]
) -> Path:
    """A registry with `film` and `book`, trained on one base model, and `foreign` on another."""
    home = workshop / "home"
    for name, where, method in (
        ("film", base, "seq_bn"),
        ("book", base, "par_bn"),
        ("foreign", other_base, "seq_bn"),
    ):
        run(
            *("train", data, "--base", where, "--task", "sentiment", "--name", name),
            *("--method", method, "--epochs", 2, "--learning-rate", 0.03),
            HUBKIT_HOME=str(home),
        )
    return home


@pytest.fixture
def trained(trained_home: Path, hubkit_home: Path) -> Catalog:
    """The test's own copy of the registry with trained adapters."""
    shutil.copytree(trained_home, hubkit_home)
    return open_catalog()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Write an adapter's folder without tensors; every one holds other bytes."""
    numbers = count(1)

    def make(**fields: Any) -> Path:
        number = next(numbers)
        path = tmp_path / f"folder-{number}"
        path.mkdir()
        (path / "adapter_config.json").write_text(json.dumps({"number": number}))
        defaults = {"kind": "adapter", "method": {"type": "seq_bn"}, "base_model": BASE}
        write_manifest_of(path, Manifest.model_validate(defaults | fields))
        return path

    return make


@pytest.fixture
def publish(folder: Callable[..., Path]) -> Callable[..., Version]:
    """Publish such a folder in the test's registry."""

    def publish(name: str, message: str = "", **fields: Any) -> Version:
        ref = AdapterRef.parse(name)
        content = read_folder(folder(**fields))
        return open_catalog().publish(ref, content, message=message, author="ada")

    return publish


@pytest.fixture
def film(publish: Callable[..., Version]) -> Version:
    return publish("film", message="first")


def write_csv(path: Path, rows: list[str], header: str = "text,label") -> Path:
    path.write_text("".join(f"{row}\n" for row in [header, *rows]))
    return path


def terminal(*arguments: str, width: int) -> str:
    """What a terminal of that width shows of a hubkit command, without colours."""
    import os
    import pty
    import re
    import subprocess
    import sys

    ours, theirs = pty.openpty()
    script = (
        f"import sys; sys.argv = ['hubkit', *{arguments!r}]; from hubkit.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": str(width), "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as screen:
        while True:
            try:
                shown += screen.read(4096)
            except OSError:  # how Linux says that the other end is closed
                break
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")
