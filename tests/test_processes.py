from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hubkit import processes
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import TrainingError
from tests.support.models import tiny_model, tokenizer
from tests.support.started import Started
from tests.support.together import JOBS, train_all

ROOT = Path(__file__).parents[1]


# Starts any program.
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
ACCELERATE += ("--main_process_port", "0")


def launch(python: Started, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in two processes, without GPUs."""
    program = str(python.program)
    return call(program, *TORCHRUN, program, *command, **environment)


def call(python: str, *module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module."""
    return subprocess.run(
        [python, "-W", "ignore", "-m", *module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of base models without dropout, so that chance plays no part."""
    folder = tmp_path_factory.mktemp("bases")
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    for name, more in (("bert", none), ("gpt2", dict.fromkeys(_GPT2, 0.0))):
        tiny_model(name, pad_token_id=1, **more).save_pretrained(folder / name)
        tokenizer().save_pretrained(folder / name)
    return folder


_GPT2 = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


def tensors(catalog: Catalog, version: Version, folder: Path) -> dict[str, torch.Tensor]:
    catalog.materialize(version, folder)
    return {
        f"{path.name}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, bases: Path) -> Catalog:
    """What one process trains."""
    home = tmp_path_factory.mktemp("one") / "home"
    train_all(home, bases)
    return open_catalog(home)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, bases: Path, started: Started) -> Catalog:
    """What two processes train of the same."""
    home = tmp_path_factory.mktemp("two") / "home"
    done = launch(started, "-m", "tests.support.together", str(home), str(bases))
    assert done.returncode == 0, done.stderr
    return open_catalog(home)


@pytest.mark.parametrize("name", [*JOBS, "fused"])
def test_two_processes_train_what_one_trains(
    name: str, one: Catalog, two: Catalog, tmp_path: Path
) -> None:
    versions = [catalog.resolve(AdapterRef.parse(name)) for catalog in (one, two)]
    assert [version.number for version in versions] == [1, 1]
    expected = tensors(one, versions[0], tmp_path / "one")
    found = tensors(two, versions[1], tmp_path / "two")
    assert list(found) == list(expected)
    for key, value in expected.items():
        if key.endswith("key.bias"):
            continue  # adds the same to each score of attention: its gradient is noise around 0
        assert torch.allclose(found[key], value, atol=1e-5), key
    measured = [{metric.name: metric.value for metric in version.metrics} for version in versions]
    assert measured[1] == pytest.approx(measured[0], abs=1e-5)


# Each of two processes is given the file of its own number, as each of two machines has its own.
COMMAND = """
import os, sys
from hubkit.cli import main
sys.argv[1:] = [word.replace("RANK", os.environ["RANK"]) for word in sys.argv[1:]]
main()
"""


def train_by_hand(
    python: Started, folder: Path, bases: Path, *rows: str
) -> subprocess.CompletedProcess[str]:
    """`hubkit train` in two processes, each of which reads rows of its own."""
    for number, text in enumerate(rows):
        (folder / f"{number}.csv").write_text(f"text,label\n{text}")
    (folder / "command.py").write_text(COMMAND)
    return launch(
        python,
        *(str(folder / "command.py"), "train", str(folder / "RANK.csv"), "--name", "films"),
        *("--base", str(bases / "bert"), "--task", "sentiment", "--epochs", "2"),
        HUBKIT_HOME=str(folder / "home"),
    )


ROWS = "the film was good,yes\nthe film was bad,no\n" * 6


def test_the_first_process_alone_prints_and_publishes(
    tmp_path: Path, bases: Path, started: Started
) -> None:
    done = train_by_hand(started, tmp_path, bases, ROWS, ROWS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("films@1\n") == 1
    assert done.stdout.count("accuracy") == 1
    assert done.stderr.count("Note: ") == len({*done.stderr.splitlines()} - {""})
    catalog = open_catalog(tmp_path / "home")
    training = catalog.manifest(catalog.resolve(AdapterRef.parse("films"))).training
    assert training is not None
    assert training.arguments["processes"] == 2
    assert [path for path in (tmp_path / "home" / "runs").iterdir() if path.is_dir()] == []


@pytest.mark.torture
def test_accelerate_starts_several_processes_without_gpus(tmp_path: Path, bases: Path) -> None:
    (tmp_path / "films.csv").write_text(f"text,label\n{ROWS}")
    done = call(
        sys.executable,
        *(
            *ACCELERATE,
            "-m",
            "hubkit",
            "train",
            str(tmp_path / "films.csv"),
            "--name",
            "films",
            "--epochs",
            "1",
        ),
        *("--base", str(bases / "bert"), "--task", "sentiment"),
        HUBKIT_HOME=str(tmp_path / "home"),
    )
    assert done.returncode == 0, done.stderr
    catalog = open_catalog(tmp_path / "home")
    training = catalog.manifest(catalog.resolve(AdapterRef.parse("films"))).training
    assert training is not None
    assert training.arguments["processes"] == 2


@pytest.mark.parametrize("broken", [(0, 1), pytest.param((1,), marks=pytest.mark.torture)])
def test_of_those_that_fail_one_says_why(
    broken: tuple[int, ...], tmp_path: Path, bases: Path, started: Started
) -> None:
    rows = ["the film was good,yes\n" if at in broken else ROWS for at in range(2)]
    done = train_by_hand(started, tmp_path, bases, *rows)
    assert done.returncode != 0
    assert done.stderr.count("Error: ") == 1 + done.stderr.count("ChildFailedError: ")
    assert done.stderr.count("has only the label 'yes'") == 1
    assert "films@1" not in done.stdout


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR"])
def test_processes_that_cannot_meet_are_refused(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {"WORLD_SIZE": "2", **found}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(TrainingError, match=f"2 processes.*expected {missing} beside it"):
        processes.join()


def test_a_model_that_is_to_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TrainingError, match="ACCELERATE_USE_FSDP is set"):
        processes.join()


def test_one_process_needs_no_others() -> None:
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    processes.join()
    assert processes.from_first(lambda: 3) == 3
    processes.wait_for_all()
    weight: Any = torch.nn.Parameter(torch.ones(2))
    processes.sum_gradients([weight])
    assert weight.grad is None
