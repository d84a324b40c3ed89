"""Folders as other tools and older releases leave them: what hubkit makes of each when it reads it.

What these adapters compute is held to the libraries' own in tests/formats; here, that they are read
as what they are, or refused with the reason.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.errors import FolderError, UnknownBaseError
from registry.folders import Folder, Given, read_folder
from registry.manifest import BaseModelInfo
from tests.support.foreign import write_tensors

Shapes = dict[str, tuple[int, ...]]

BASE = Given(base=BaseModelInfo(id="bert-base-uncased"))
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "FEATURE_EXTRACTION",
    "base_model_name_or_path": "bert-base-uncased",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["query"],
}
DELTA: Shapes = {f"{QUERY}.lora_A.weight": (4, 8), f"{QUERY}.lora_B.weight": (8, 4)}
HEAD: Shapes = {"base_model.model.classifier.weight": (2, 8)}
SEQ: dict[str, Any] = {
    "mh_adapter": False,
    "output_adapter": True,
    "original_ln_before": True,
    "non_linearity": "relu",
    "reduction_factor": 4,
}


def peft(folder: Path, shapes: Shapes, **options: Any) -> Path:
    """Write a folder of PEFT whose weights are zeros."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**LORA, **options}))
    write_tensors(folder / "adapter_model.safetensors", shapes)
    return folder


def adapterhub(
    folder: Path, config: Any, shapes: Shapes | None = None, *, name: str = "x", **fields: Any
) -> Path:
    """Write a folder of AdapterHub whose weights are zeros."""
    folder.mkdir(exist_ok=True)
    content = {"config": config, "hidden_size": 8, "model_type": "bert", "name": name, **fields}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    write_tensors(folder / "adapter.safetensors", shapes or bottleneck(name))
    return folder


def bottleneck(name: str = "x", owner: str = "adapters") -> Shapes:
    place = f"bert.encoder.layer.0.output.{owner}.{name}"
    return {
        f"{place}.adapter_down.0.weight": (2, 8),
        f"{place}.adapter_down.0.bias": (2,),
        f"{place}.adapter_up.weight": (8, 2),
        f"{place}.adapter_up.bias": (8,),
    }


def method_of(folder: Folder) -> tuple[str, Any]:
    method = folder.manifest.method
    return method.type, method.parameters.get("activation")


def lines(folder: Folder) -> str:
    return "\n".join(folder.notes)


# --- PEFT ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "held", "missing"),
    [
        (["classifier", "score"], HEAD, None),  # PEFT lists the heads of all architectures
        (["classifier", "score"], {}, "classifier, score"),
        (["word_embeddings", "classifier", "score"], HEAD, "word_embeddings"),
        (["embed_tokens", "lm_head"], {"base_model.model.lm_head.weight": (9, 8)}, "embed_tokens"),
        (
            ["classifier"],
            {
                "base_model.model.classifier.dense.weight": (8, 8),
                "base_model.model.classifier.out_proj.weight": (2, 8),
            },
            None,
        ),
    ],
)
def test_what_modules_to_save_names_is_in_the_weights(
    tmp_path: Path, modules: list[str], held: Shapes, missing: str | None
) -> None:
    folder = peft(tmp_path / "a", DELTA | held, modules_to_save=modules)
    given = Given(base=BASE.base, labels=None)
    if missing is None:
        assert read_folder(folder, given).manifest.labels == ("LABEL_0", "LABEL_1")
        return
    with pytest.raises(FolderError, match=f"modules_to_save names {missing}, of which"):
        read_folder(folder, given)


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_a_wrapper_in_the_names_hides_no_head(tmp_path: Path, wrapper: str) -> None:
    start = "base_model.model."
    shapes = {name.replace(start, start + wrapper): shape for name, shape in (DELTA | HEAD).items()}
    folder = peft(tmp_path / "a", shapes, modules_to_save=["classifier", "score"])
    read = read_folder(folder, Given(base=BASE.base, labels=("a", "b")))
    assert (read.manifest.method.type, read.manifest.labels) == ("lora", ("a", "b"))


def test_the_inner_name_of_a_module_to_save_hides_no_head(tmp_path: Path) -> None:
    inner = {"base_model.model.classifier.modules_to_save.default.weight": (2, 8)}
    folder = peft(tmp_path / "a", DELTA | inner, modules_to_save=["classifier", "score"])
    read = read_folder(folder, Given(base=BASE.base, labels=("a", "b")))
    assert (read.manifest.method.type, read.manifest.labels) == ("lora", ("a", "b"))


def test_wrappers_are_refused_where_peft_has_to_find_the_tensors(tmp_path: Path) -> None:
    shapes = {name.replace(".model.bert", ".model._orig_mod.bert"): s for name, s in DELTA.items()}
    vector = {f"{QUERY.replace('.bert', '._orig_mod.bert')}.lora_magnitude_vector": (8,)}
    with pytest.raises(FolderError, match="was saved through a wrapper; expected 'base_model"):
        read_folder(peft(tmp_path / "a", shapes | vector, use_dora=True), BASE)


def test_tensors_that_zero_3_left_elsewhere_are_told(tmp_path: Path) -> None:
    for empty in (dict.fromkeys(DELTA, (0,)), DELTA | {"base_model.model.classifier.weight": (0,)}):
        with pytest.raises(FolderError, match=r"are empty, .*saved while they were sharded"):
            read_folder(peft(tmp_path / "a", empty, modules_to_save=["classifier"]), BASE)


@pytest.mark.parametrize("name", ["None", "null", " NULL ", "nan", "unknown", "", "."])
def test_the_name_of_no_base_model_names_none(tmp_path: Path, name: str) -> None:
    folder = peft(tmp_path / "a", DELTA, base_model_name_or_path=name)
    with pytest.raises(UnknownBaseError, match="does not name its base model"):
        read_folder(folder)
    (folder / "README.md").write_text("---\nbase_model: bert-base-uncased\n---\n")
    assert read_folder(folder).manifest.base_model.id == "bert-base-uncased"
    (folder / "README.md").write_text("---\nbase_model: None\n---\n")
    with pytest.raises(UnknownBaseError, match="does not name its base model"):
        read_folder(folder)


@pytest.mark.parametrize(
    "path",
    [
        "D:\\models\\Llama-3.1-8B",
        "D:\\models\\Llama-3.1-8B\\",
        "C:/models/Llama-3.1-8B",
        "/data/llama/Llama-3.1-8B/",
        "./Llama-3.1-8B",
        "/root/.cache/huggingface/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f",
    ],
)
def test_a_folder_of_another_machine_is_the_model_on_the_card(tmp_path: Path, path: str) -> None:
    folder = peft(tmp_path / "a", DELTA, base_model_name_or_path=path)
    (folder / "README.md").write_text("---\nbase_model: meta-llama/Llama-3.1-8B\n---\n")
    assert read_folder(folder).manifest.base_model.id == "meta-llama/Llama-3.1-8B"
    (folder / "README.md").write_text("---\nbase_model: meta-llama/Llama-3.2-1B\n---\n")
    with pytest.raises(UnknownBaseError, match=r"but the card .* says meta-llama/Llama-3\.2-1B"):
        read_folder(folder)


def test_a_task_type_as_python_prints_it_is_known(tmp_path: Path) -> None:
    folder = peft(tmp_path / "a", DELTA, task_type="TaskType.CAUSAL_LM")
    assert read_folder(folder, BASE).manifest.task_type == "text-generation"
    assert "task_type" not in lines(read_folder(folder, BASE))
    other = peft(tmp_path / "b", DELTA, task_type="IMAGINATION")
    assert "the task_type 'IMAGINATION', which PEFT does not know" in lines(
        read_folder(other, BASE)
    )


def test_an_option_that_nobody_knows_is_noted_where_it_is_on(tmp_path: Path) -> None:
    folder = peft(tmp_path / "a", DELTA, use_hyperlora=True, hyper_rank=None, enable_lora=None)
    notes = lines(read_folder(folder, BASE))
    assert "the option 'use_hyperlora', which no known release of PEFT has" in notes
    assert "hyper_rank" not in notes
    assert "enable_lora" not in notes


def test_what_peft_runs_is_told_by_its_option_or_method(tmp_path: Path) -> None:
    dora = peft(tmp_path / "a", DELTA | {f"{QUERY}.lora_magnitude_vector": (8,)}, use_dora=True)
    assert "as the option use_dora is True" in lines(read_folder(dora, BASE))
    ia3 = peft(tmp_path / "b", {f"{QUERY}.ia3_l": (8, 1)}, peft_type="IA3")
    assert "does not compose the method ia3: PEFT runs it" in lines(read_folder(ia3, BASE))


def test_an_adapter_of_zeros_and_checkpoints_beside_it_are_noted(tmp_path: Path) -> None:
    folder = peft(tmp_path / "a", DELTA)
    for number in (500, 1000):
        inner = peft(folder / f"checkpoint-{number}", DELTA)
        (inner / "optimizer.pt").write_bytes(b"anything")
    read = read_folder(folder, BASE)
    assert "the adapter changes nothing" in lines(read)
    assert "Left out, because checkpoints hold other weights" in lines(read)
    assert "checkpoint-1000, checkpoint-500" in lines(read)
    assert {*read.manifest.files} == {"adapter_config.json", "adapter_model.safetensors"}
    assert "Other adapters" not in lines(read)
    peft(folder / "second", DELTA)
    assert "Other adapters or heads lie in second: their files" in lines(read_folder(folder, BASE))


# --- other tools --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "beside", "told"),
    [
        ({"fine_tune_type": "lora", "config": None}, "adapters.safetensors", "It is one of MLX"),
        ({"lora_layers": 8, "lora_parameters": {}}, "adapters.npz", "It is one of MLX"),
        ({"type": "act", "n_obs_steps": 1}, "train_config.json", "It is one of LeRobot"),
        ({"r": 8}, "adapter_model.safetensors", "found the keys r"),
    ],
)
def test_a_folder_of_another_tool_is_not_called_adapterhubs(
    tmp_path: Path, config: dict[str, Any], beside: str, told: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / beside).write_bytes(b"")
    with pytest.raises(FolderError, match=f"neither a configuration of PEFT.*{told}"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("task", "of"), [("SEQ_CLS", "classifier"), ("QUESTION_ANS", "qa_outputs")]
)
def test_a_head_that_peft_saves_for_the_task_type_is_in_the_weights(
    tmp_path: Path, task: str, of: str
) -> None:
    folder = peft(tmp_path / "a", DELTA, task_type=task)
    with pytest.raises(FolderError, match=rf"a {task} has {of}.*, of which adapter_model"):
        read_folder(folder, BASE)


# --- AdapterHub ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "version", "meant"),
    [
        ("gelu", None, "gelu_new"),
        ("gelu_orig", None, "gelu"),
        ("relu", None, "relu"),
        ("gelu", "2.3.0", "gelu"),
        ("gelu", "adapters.1.3.0", "gelu"),
    ],
)
def test_activations_are_those_of_the_release_that_wrote_the_file(
    tmp_path: Path, activation: str, version: str | None, meant: str
) -> None:
    fields = {} if version is None else {"version": version}
    folder = adapterhub(tmp_path / "a", {**SEQ, "non_linearity": activation}, **fields)
    assert method_of(read_folder(folder, BASE)) == ("seq_bn", meant)


@pytest.mark.parametrize("owner", ["layer_text_task_adapters", "layer_text_lang_adapters"])
def test_the_names_and_options_of_version_1_are_read(tmp_path: Path, owner: str) -> None:
    nested = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
    options = {**SEQ, "invertible_adapter": nested, "LN_before": False, "attention_type": "x"}
    options["MH_Adapter"] = options.pop("mh_adapter")
    options["Output_Adapter"] = options.pop("output_adapter")
    coupling = {
        f"bert.invertible_lang_adapters.x.{net}.{layer}.{kind}": shape
        for net in "FG"
        for layer, shapes in ((0, ((2, 4), (2,))), (2, ((4, 2), (4,))))
        for kind, shape in zip(("weight", "bias"), shapes, strict=True)
    }
    language = adapterhub(
        tmp_path / "a", options, bottleneck(owner=owner) | coupling, type="text_lang"
    )
    assert method_of(read_folder(language, BASE))[0] == "seq_bn_inv"
    # A task's adapter of version 1 names an invertible part, and has none.
    task = adapterhub(tmp_path / "b", options, bottleneck(owner=owner), type="text_task")
    assert method_of(read_folder(task, BASE))[0] == "seq_bn"


@pytest.mark.parametrize(
    ("name", "method", "scaling"),
    [
        ("pfeiffer", "seq_bn", None),
        ("parallel", "par_bn", 4.0),
        ("scaled_parallel", "par_bn", "learned"),
        ("compacter++", "compacter", None),
        ("prefix_tuning", "prefix_tuning", None),
        ("prefix_tuning|parallel", "union", None),
    ],
)
def test_a_configuration_may_be_only_its_name(
    tmp_path: Path, name: str, method: str, scaling: Any
) -> None:
    found = read_folder(adapterhub(tmp_path / "a", name), BASE).manifest.method
    assert (found.type, found.parameters.get("scaling")) == (method, scaling)


def test_a_name_of_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"config is 'pfeifer'.*Did you mean pfeiffer"):
        read_folder(adapterhub(tmp_path / "a", "pfeifer"), BASE)


@pytest.mark.parametrize(
    ("config", "method", "told"),
    [
        ({**SEQ, "use_gating": True}, "bottleneck", "the option use_gating is True"),
        ({**SEQ, "inv_adapter": "glow"}, "bottleneck_inv", "the option inv_adapter is 'glow'"),
        ({**SEQ, "mh_adapter": True}, "bottleneck", "at no place that hubkit knows"),
        ({"architecture": "mtl_lora", "r": 2}, "mtl_lora", "its method is mtl_lora"),
        ({"architecture": "lora", "r": 2, "use_dora": True}, "dora", "the option use_dora is True"),
        ({"architecture": "lora", "r": 2, "vera_d": 0.1, "vera_b": 0.0}, "vera", "vera_d is 0.1"),
        ({"architecture": "lora", "r": 2, "vera_b": 0.0}, "vera", "vera_b is 0.0"),
        ({"architecture": "prompt_tuning"}, "prompt_tuning", "its method is prompt_tuning"),
    ],
)
def test_what_hubkit_keeps_is_told_by_its_option_or_method(
    tmp_path: Path, config: dict[str, Any], method: str, told: str
) -> None:
    shapes = {"bert.encoder.layer.0.x.loras.x.lora_B": (1, 8, 2)} if "r" in config else None
    read = read_folder(adapterhub(tmp_path / "a", config, shapes), BASE)
    assert read.manifest.method.type == method
    assert "Kept, not attached by hubkit: " in lines(read)
    assert told in lines(read)


@pytest.mark.parametrize(
    "option", [{"adapter_residual_before_ln": True}, {"stochastic_depth": 0.1}, {"phm_dim": 8}]
)
def test_an_option_without_effect_here_hinders_nothing(
    tmp_path: Path, option: dict[str, Any]
) -> None:
    read = read_folder(adapterhub(tmp_path / "a", {**SEQ, **option}, version="3.0.0"), BASE)
    assert read.manifest.method.type == "seq_bn"
    assert "attached" not in lines(read)


def test_an_option_that_no_release_has_is_noted(tmp_path: Path) -> None:
    read = read_folder(adapterhub(tmp_path / "a", {**SEQ, "use_magic": True}), BASE)
    assert "the option 'use_magic', which no known release of AdapterHub has" in lines(read)


@pytest.mark.parametrize(
    ("head", "task_type"),
    [
        ("image_classification", "image-classification"),
        ("classification", "text-classification"),
        ("tagging", "token-classification"),
    ],
)
def test_a_head_is_for_what_its_type_says(tmp_path: Path, head: str, task_type: str) -> None:
    folder = adapterhub(tmp_path / "a", SEQ)
    labels = {"cat": 0, "dog": 1, "cow": 2}
    config = {"head_type": head, "num_labels": 3, "layers": 1, "label2id": labels}
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": "x"}))
    write_tensors(folder / "model_head.safetensors", {"heads.x.1.weight": (3, 8)})
    manifest = read_folder(folder, BASE).manifest
    assert (manifest.task_type, manifest.labels) == (task_type, ("cat", "dog", "cow"))


def test_a_head_that_chooses_has_one_output_for_all_choices(tmp_path: Path) -> None:
    folder = adapterhub(tmp_path / "a", SEQ)
    labels = {f"LABEL_{number}": number for number in range(4)}
    config = {"head_type": "multiple_choice", "num_choices": 4, "layers": 1, "label2id": labels}
    (folder / "head_config.json").write_text(json.dumps({"config": config, "name": "x"}))
    write_tensors(folder / "model_head.safetensors", {"heads.x.1.weight": (1, 8)})
    assert read_folder(folder, BASE).manifest.task_type == "multiple-choice"


def test_a_parallel_adapter_with_an_invertible_part_is_kept(tmp_path: Path) -> None:
    options = {**SEQ, "original_ln_before": False, "is_parallel": True, "inv_adapter": "nice"}
    read = read_folder(adapterhub(tmp_path / "a", options), BASE)
    assert read.manifest.method.type == "bottleneck_inv"
    assert "Kept, not attached by hubkit: is_parallel and inv_adapter are on together" in lines(
        read
    )
