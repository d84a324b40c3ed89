"""The commands of README and of the guides, run as printed, on a tiny model and tiny data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import hubkit
from hubkit.cli import main
from tests.support.models import base_folder
from tests.support.started import Started

ROOT = Path(__file__).parent.parent
POSITIVE = ("the film was very good", "a great plot", "great film", "good ball")
NEGATIVE = ("the film was very dull", "a bad plot", "bad film", "not good")


# Those that load torch. The others are the program that is installed.
FORKED = ("train", "fuse", "predict", "evaluate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, started: Started) -> Path:
    """A folder with the files that the quickstart downloads, and the programs that it runs."""
    folder = tmp_path_factory.mktemp("quickstart")
    base_folder(folder / "base")
    rows = [f"{text},positive" for text in POSITIVE] + [f"{text},negative" for text in NEGATIVE]
    for name in ("movie.csv", "tweets.csv", "amazon-100.csv", "amazon.test.csv"):
        # What is trained on is not what is measured on.
        times = 2 if name == "amazon.test.csv" else 3
        (folder / name).write_text("\n".join(["text,label", *rows * times]) + "\n")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(started.program)
    (programs / "hubkit").write_text(
        f"""#!/bin/sh
case "$1" in
    {"|".join(FORKED)}) exec "{started.program}" -m hubkit "$@" ;;
    *) exec "{Path(sys.executable).parent / "hubkit"}" "$@" ;;
esac
"""
    )
    (programs / "hubkit").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def quickstart(place: Path) -> str:
    """What README's blocks print, in the order in which they stand there."""
    printed = ""
    for language, block in blocks(ROOT / "README.md"):
        if language == "bash":
            # Without it, the fusion takes most of a minute to find out that it learns no more.
            block = block.replace("--data amazon-100.csv", "--data amazon-100.csv --epochs 3")
            printed += run(["bash", "-euo", "pipefail", "-c", block], place)
        elif language == "python":
            printed += run(["python", "-W", "ignore", "-c", block], place)
    return printed


def test_the_quickstart_of_the_readme_runs_as_printed(quickstart: str) -> None:
    for published in ("movie-sentiment@1", "tweets-sentiment@1", "amazon-sentiment@1"):
        assert published in quickstart
    assert "stacked@1" in quickstart
    assert quickstart.count("team/reviews@1") >= 2, "published, then pulled"
    assert re.search(r"accuracy\s+[01]\.\d", quickstart)


@pytest.mark.usefixtures("quickstart")
def test_the_examples_of_the_library_guide_run_as_printed(place: Path) -> None:
    prologue = (
        "import os\nimport torch\nfrom datasets import Dataset\n"
        "from transformers import AutoTokenizer\n"
        "BASE = os.environ['BASE']\n"
        "encoded = AutoTokenizer.from_pretrained(BASE)(['good film', 'dull film'] * 4)\n"
        "dataset = Dataset.from_dict({**encoded, 'labels': [1, 0] * 4})\n"
    )
    examples = [code for language, code in blocks(ROOT / "docs/library.md") if language == "python"]
    assert len(examples) >= 7
    train = next(code for code in examples if "save_adapter" in code)
    # The guide goes on with a second folder, a new model and one more.
    model = "AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=2)\n"
    between = (
        "hubkit.save_adapter(hf_model, 'adapter', './other')\n"
        f"hf_model = {model}other_model = {model}"
    )
    script = prologue + "\n".join(
        # An ellipsis that is a statement of its own does nothing.
        code + between * (code == train)
        for code in examples
    )
    printed = run(["python", "-W", "ignore", "-c", script], place)
    assert printed.startswith(("positive", "negative"))
    assert "encoder.layer.0.feed_forward torch.Size([4, " in printed


def test_the_examples_of_new_methods_run_as_printed(place: Path) -> None:
    prologue = (
        "import os, hubkit\nfrom transformers import AutoModel\n"
        "model, other_model = (AutoModel.from_pretrained(os.environ['BASE']) for _ in range(2))\n"
    )
    examples = [code for language, code in blocks(ROOT / "docs/composition.md") if language]
    assert len(examples) == 2
    epilogue = (
        "for one in (model, other_model):\n"
        "    print(*(p.shape[0] for n, p in one.named_parameters() if n.endswith('.down')))\n"
    )
    printed = run(["python", "-c", prologue + "\n".join(examples) + epilogue], place)
    assert printed == "8 8\n2 2\n"


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_documentation_builds_with_every_page(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    listed = {page for entry in settings()["nav"] for page in entry.values()}
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
    commands = (tmp_path / "site" / "cli" / "index.html").read_text(encoding="utf-8")
    for name in main.list_commands(click.Context(main)):
        assert f"Usage: hubkit {name} " in commands
    reference = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert all(
        f'id="{name}"' in reference
        for name in ("hubkit.inference.load", "registry.refs.AdapterRef")
    )


@pytest.mark.parametrize(
    ("link", "builds"), [("other.md#there", True), ("nowhere.md", False), ("other.md#no", False)]
)
def test_a_dead_link_in_the_documentation_is_found(link: str, builds: bool, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"[a page]({link})")
    (tmp_path / "docs" / "other.md").write_text("# There")
    pages = [{"One": "index.md"}, {"Other": "other.md"}]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**settings(), "nav": pages, "hooks": []}))
    done = build(tmp_path)
    assert (done.returncode == 0) is builds
    assert builds or link in done.stderr


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return found


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    found = re.findall(r"^::: \S+\.(\w+)$", text, re.MULTILINE)
    assert sorted(found) == hubkit.__all__


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = [*re.findall(r"`([^`\n]+)`", text), *(block for _, block in blocks(page))]
    named = {
        word
        for piece in code
        for word in re.findall(r"(?m)(?:^|[|;(] *|\w=\S+ )hubkit ([a-z]+)\b", piece)
    }
    known = set(main.list_commands(click.Context(main)))
    assert named - known == set()


def blocks(path: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


def run(command: list[str], place: Path) -> str:
    """Run in the folder, with the programs of the place and this environment first on the path."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(place / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "HUBKIT_HOME": str(place / "home"),
        "BASE": str(place / "base"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
