"""The `adapters` library itself reads what hubkit writes, in an environment of its own.

It pins transformers 4.57, so each run makes an environment for it (some minutes, 2 GB):

    python -m pytest -m own_environment
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubkit import Adapter, Fuse, Fusion, attach
from hubkit.base_models import describe
from tests.support.models import METHODS, random_adapter, randomize, run, tiny_inputs, tiny_model

pytestmark = [pytest.mark.own_environment, pytest.mark.timeout(1800)]

REQUIRED = ("adapters==1.3.0", "transformers==4.57.6", "torch==2.13.0")
# Reads a base model and what is beside it, as any user of the library does.
READ = """
import sys, adapters, torch
from adapters.composition import Fuse
from safetensors.torch import load_file, save_file
from transformers import AutoModel

place, fused = sys.argv[1], sys.argv[2:]
inputs = load_file(f"{place}/inputs.safetensors")
outputs = {}

def run(name, *folders, fusion=None):
    model = AutoModel.from_pretrained(f"{place}/base").eval()
    adapters.init(model)
    loaded = [model.load_adapter(f"{place}/{one}", use_safetensors=True) for one in folders]
    if fusion:
        model.load_adapter_fusion(f"{place}/{fusion}", use_safetensors=True)
        model.set_active_adapters(Fuse(*loaded))
    else:
        model.set_active_adapters(loaded[0])
    with torch.no_grad():
        outputs[name] = model(**inputs).last_hidden_state.contiguous()

for method in fused:
    run(f"{method}.one", f"{method}/a")
    run(f"{method}.fusion", f"{method}/a", f"{method}/b", fusion=f"{method}/fusion")
save_file(outputs, f"{place}/outputs.safetensors")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the library."""
    place = tmp_path_factory.mktemp("adapters-library")
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    found = place / "bin" / "python"
    install = [str(found), "-m", "pip", "install", "--quiet", *REQUIRED, "safetensors"]
    subprocess.run(install, check=True)
    return found


def saved(adapter: Any, folder: Path) -> Any:
    adapter.save(folder)
    return adapter


def test_bottlenecks_and_fusions_give_the_same_outputs_there(python: Path, tmp_path: Path) -> None:
    model = tiny_model(pad_token_id=1)
    model.save_pretrained(tmp_path / "base")
    base = describe(model)
    inputs = tiny_inputs()
    save_file(inputs, tmp_path / "inputs.safetensors")
    expected = {}
    for method in METHODS:
        parts: list[Adapter] = []
        for seed, name in enumerate("ab"):
            made = random_adapter(model, name, method, seed=seed + 1)
            adapter = Adapter(
                name=name,
                method=made.method,
                model_type=made.model_type,
                deltas=made.deltas,
                base=base,
            )
            parts.append(saved(adapter, tmp_path / method / name))
        fusion = Fusion.create(Fuse(*parts))
        for index, layer in enumerate(fusion.layers.values()):
            randomize(layer, 50 + index)
        saved(fusion, tmp_path / method / "fusion")
        for name, composition in (("one", parts[0]), ("fusion", fusion)):
            with attach(model.eval(), composition):
                expected[f"{method}.{name}"] = run(model, inputs)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", READ, str(tmp_path), *METHODS], check=True, env=environment)
    found = load_file(tmp_path / "outputs.safetensors")
    assert found.keys() == expected.keys()
    bare = run(tiny_model(pad_token_id=1), inputs)
    for name, output in found.items():
        assert (output - expected[name]).abs().max() <= 1e-5, name
        assert not torch.allclose(output, bare, atol=1e-2), f"{name} changes nothing"
