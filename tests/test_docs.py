"""The commands of README and of the guides, run as printed, on a tiny model and tiny data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models import base_folder

ROOT = Path(__file__).parent.parent
POSITIVE = ("the film was very good", "a great plot", "great film", "good ball")
NEGATIVE = ("the film was very dull", "a bad plot", "bad film", "not good")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the quickstart downloads."""
    folder = tmp_path_factory.mktemp("quickstart")
    base_folder(folder / "base")
    rows = [f"{text},positive" for text in POSITIVE] + [f"{text},negative" for text in NEGATIVE]
    for name in ("movie.csv", "tweets.csv", "amazon-100.csv", "amazon.test.csv"):
        (folder / name).write_text("\n".join(["text,label", *rows * 3]) + "\n")
    return folder


@pytest.fixture(scope="module")
def quickstart(place: Path) -> str:
    """What README's blocks print, in the order in which they stand there."""
    printed = ""
    for language, block in blocks(ROOT / "README.md"):
        if language == "bash":
            printed += run(["bash", "-euo", "pipefail", "-c", block], place)
        elif language == "python":
            printed += run([sys.executable, "-W", "ignore", "-c", block], place)
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
    printed = run([sys.executable, "-W", "ignore", "-c", script], place)
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
    printed = run([sys.executable, "-c", prologue + "\n".join(examples) + epilogue], place)
    assert printed == "8 8\n2 2\n"


def blocks(path: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


def run(command: list[str], place: Path) -> str:
    """Run in the folder, with the programs of this environment first on the path."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HUBKIT_HOME": str(place / "home"),
        "BASE": str(place / "base"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
