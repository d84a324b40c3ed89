import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry import BaseModelInfo
from registry.errors import FolderError, ManifestError, UnknownBaseError
from registry.folders import Given, read_folder
from tests.registry.folders.conftest import BASE, DELTA, QUERY, lines, peft
from tests.support.foreign import PEFT, copy, edit, reshape

OTHER = BaseModelInfo(id="team/other")
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PLACE = "base_model.model.encoder.layer.0.attention.self.query"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy(PEFT / "lora" / "a", tmp_path / "a")


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [
        ("lora", {"rank": 4, "alpha": 8}),
        ("rslora", {"rank": 4, "alpha": 8, "use_rslora": True}),
        ("rank_pattern", {"rank": 4, "alpha": 8}),
        ("all_linear", {"rank": 2, "alpha": 8}),
    ],
)
def test_method_and_base_model_are_read(variant: str, parameters: dict[str, Any]) -> None:
    manifest = read_folder(PEFT / variant / "a").manifest
    assert (manifest.kind, manifest.method.type) == ("adapter", "lora")
    assert manifest.method.parameters == parameters
    assert (manifest.base_model.id, manifest.base_model.architecture) == ("tiny-bert", "BertModel")
    assert manifest.base_model.fingerprint is None
    assert manifest.files.keys() == {CONFIG, WEIGHTS}


def test_a_head_is_read_with_its_classes() -> None:
    given = Given(labels=("neg", "neu", "pos"))
    manifest = read_folder(PEFT / "seq_cls" / "a", given).manifest
    assert manifest.task_type == "text-classification"
    assert manifest.labels == ("neg", "neu", "pos")


def test_a_head_whose_task_type_is_null_is_noted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PEFT / "seq_cls" / "a", tmp_path / "a"))
    config = json.loads((folder / CONFIG).read_text()) | {"task_type": None}
    (folder / CONFIG).write_text(json.dumps(config))
    read = read_folder(folder, Given(labels=("neg", "neu", "pos")))
    assert read.manifest.task_type is None
    assert any("no task_type, though there is a head" in note for note in read.notes)
    # PEFT writes the class of the model in place of the task type.
    config["auto_mapping"] = {"base_model_class": "BertForSequenceClassification"}
    (folder / CONFIG).write_text(json.dumps(config))
    read = read_folder(folder, Given(labels=("neg", "neu", "pos")))
    assert (read.manifest.task_type, read.notes) == ("text-classification", ())


@pytest.mark.parametrize(
    ("model_class", "card", "task_type"),
    [
        ("BertForMultipleChoice", "", "multiple-choice"),
        ("BertForSequenceClassification", "", "text-regression"),
        (None, "pipeline_tag: text-classification", "text-regression"),
    ],
)
def test_the_output_of_a_head_that_tells_no_classes_needs_no_label(
    tmp_path: Path, model_class: str | None, card: str, task_type: str
) -> None:
    head = {"base_model.model.classifier.weight": (1, 8)}
    mapping = model_class and {"base_model_class": model_class}
    folder = peft(tmp_path / "a", DELTA | head, task_type=None, auto_mapping=mapping)
    (folder / "README.md").write_text(f"---\n{card}\n---\n")
    read = read_folder(folder, BASE)
    assert (read.manifest.task_type, read.manifest.labels) == (task_type, ())
    assert "task_type" not in lines(read)


def test_a_language_model_has_its_head_without_saving_it(tmp_path: Path) -> None:
    mapping = {"base_model_class": "LlamaForCausalLM"}
    folder = peft(tmp_path / "a", DELTA, task_type=None, auto_mapping=mapping)
    assert read_folder(folder, BASE).manifest.task_type == "text-generation"


def test_labels_that_look_the_same_are_noted() -> None:
    labels = ("good", "bad", "bad\ufe0f")
    read = read_folder(PEFT / "seq_cls" / "a", Given(labels=labels))
    assert read.manifest.labels == labels
    assert r"Two of its labels are 'bad' and 'bad\ufe0f', which look the same" in lines(read)


def test_labels_that_nothing_names_are_asked_for() -> None:
    folder = PEFT / "seq_cls" / "a"
    cure = "3 classes, and"
    with pytest.raises(FolderError, match=cure):
        read_folder(folder)
    own = Given(base_labels=("neg", "neu", "pos"))
    assert read_folder(folder, own).manifest.labels == ("neg", "neu", "pos")
    with pytest.raises(FolderError, match="3 classes"):
        read_folder(folder, Given(base_labels=("neg", "pos")))
    unasked = read_folder(folder, Given(labels=None)).manifest
    assert unasked.labels == ("LABEL_0", "LABEL_1", "LABEL_2")


def test_labels_that_disagree_with_the_head_are_refused(folder: Path) -> None:
    with pytest.raises(FolderError, match=r"3 classes, but there are 2 labels "):
        read_folder(PEFT / "seq_cls" / "a", Given(labels=("neg", "pos")))
    with pytest.raises(FolderError, match="the label neg was given twice"):
        read_folder(PEFT / "seq_cls" / "a", Given(labels=("neg", "neg", "pos")))
    with pytest.raises(FolderError, match="no classification head, so it takes no labels"):
        read_folder(folder, Given(labels=("neg", "pos")))


def test_the_card_adds_what_it_says(folder: Path) -> None:
    (folder / "README.md").write_text(
        "---\nbase_model: team/Tiny-BERT\nlicense: mit\nlanguage: de\ntags: [lora, film]\n---\n"
    )
    manifest = read_folder(folder).manifest
    assert (manifest.license, manifest.language, manifest.tags) == ("mit", "de", ("lora", "film"))
    assert manifest.base_model.id == "tiny-bert"
    assert "README.md" in manifest.files


def test_a_card_that_claims_another_base_is_refused_unless_one_is_given(folder: Path) -> None:
    (folder / "README.md").write_text("---\nbase_model: team/tiny-roberta\n---\n")
    with pytest.raises(FolderError, match=r"is tiny-bert, but the card .* team/tiny-roberta"):
        read_folder(folder)
    assert read_folder(folder, Given(base=OTHER)).manifest.base_model == OTHER


@pytest.mark.parametrize("value", [None, ""])
def test_a_base_model_that_nothing_names_is_asked_for(folder: Path, value: str | None) -> None:
    edit(folder / CONFIG, lambda config: config | {"base_model_name_or_path": value})
    with pytest.raises(FolderError, match=r"does not name its base model"):
        read_folder(folder)
    (folder / "README.md").write_text("---\nbase_model: team/tiny-bert\n---\n")
    assert read_folder(folder).manifest.base_model.id == "team/tiny-bert"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 8}, "query.lora_A.weight has the shape .4, 32., but .* says rank 8"),
        ({"rank_pattern": {"value": 2}}, "value.lora_A.weight has the shape .4, 32., .* rank 2"),
        ({"target_modules": ["queri"]}, r"fit none of the modules .*queri.*Did you mean query\?"),
        # PEFT would leave these tensors out without a word.
        ({"exclude_modules": ["value"]}, r"value' fit none of the modules"),
        ({"exclude_modules": r".*\.value"}, r"value' fit none of the modules"),
        ({"layers_to_transform": [0]}, r"layer\.1\..* fit none of the modules"),
        ({"layers_to_transform": 1}, r"layer\.0\..* fit none of the modules"),
        ({"r": 0}, "r is 0; expected a whole number from 1"),
        ({"peft_type": None}, "peft_type is empty"),
        ({"peft_type": 3}, "peft_type is 3; expected a text"),
        ({"peft_type": "FOO"}, "adapter_config.json: peft_type is 'FOO'; expected a method of"),
        ({"auto_mapping": "x"}, "auto_mapping is 'x'; expected an object"),
        ({"peft_type": "lora"}, "peft_type is 'lora'; .* Did you mean LORA"),
        ({"lora_alpha": "x"}, "adapter_config.json: lora_alpha is 'x'; expected a number"),
        ({"target_modules": "nothing"}, "fit none of the modules .* targets: nothing"),
        ({"lora_bias": True}, "query has no lora_B.bias, but .* says lora_bias is True"),
        ({"base_model_name_or_path": ["a"]}, "base_model_name_or_path is .*; expected a text"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / CONFIG, lambda config: config | changes)
    with pytest.raises(FolderError, match=message):
        read_folder(folder)


def test_no_name_that_is_refused_is_suggested(folder: Path) -> None:
    reshape(
        folder / WEIGHTS,
        lambda shapes: {
            name.replace(".weight", ".default.weight"): shape for name, shape in shapes.items()
        },
    )
    with pytest.raises(FolderError, match=r"lora_A\.default\.weight' is not one of a LoRA") as told:
        read_folder(folder)
    assert "Did you mean" not in str(told.value)


def test_a_parameter_of_several_matrices_has_the_rank_for_each(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config | {"target_parameters": ["experts.up"]})
    experts = "base_model.model.layers.0.experts.base_layer"

    def of_rank(rank: int) -> dict[str, tuple[int, ...]]:
        return {
            f"{experts}.lora_A.weight": (rank, 32),
            f"{experts}.lora_B.weight": (64, rank),
        }

    reshape(folder / WEIGHTS, lambda shapes: shapes | of_rank(3 * 4))
    assert read_folder(folder).manifest.method.type == "lora_variant"
    reshape(folder / WEIGHTS, lambda shapes: shapes | of_rank(3 * 4 + 1))
    with pytest.raises(FolderError, match=r"lora_A.weight has the shape .13, 32., .* rank 4"):
        read_folder(folder)


def test_a_rank_of_another_shape_than_its_pattern_is_refused(tmp_path: Path) -> None:
    folder = copy(PEFT / "rank_pattern" / "a", tmp_path / "a")
    edit(folder / CONFIG, lambda config: config | {"rank_pattern": {}})
    with pytest.raises(FolderError, match=r"query.lora_A.weight has the shape .2, 32., .* rank 4"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (f"{PLACE}.lora_A.weight", None, "query has no lora_A.weight"),
        (f"{PLACE}.lora_B.weight", (32,), "lora_B.weight has the shape .32."),
        (f"{PLACE}.lora_B.bias", (32,), "query has a lora_B.bias, but .* says lora_bias is False"),
        (f"{PLACE}.lora_magnitude_vector", (32,), "lora_magnitude_vector' is not one of a LoRA"),
        ("encoder.layer.0.attention.self.query.lora_A.weight", (4, 32), f"Did you mean {PLACE}"),
    ],
)
def test_tensors_that_are_no_lora_are_named(
    folder: Path, name: str, shape: tuple[int, ...] | None, message: str
) -> None:
    def change(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        shapes.pop(name, None)
        return shapes | ({name: shape} if shape else {})

    reshape(folder / WEIGHTS, change)
    with pytest.raises(FolderError, match=message):
        read_folder(folder)


def test_weights_without_any_tensor_are_refused(folder: Path) -> None:
    reshape(folder / WEIGHTS, lambda _: {"base_model.model.x.weight": (1,)})
    with pytest.raises(FolderError, match="holds no LoRA tensor"):
        read_folder(folder)
    (folder / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(FolderError, match="holds no tensor"):
        read_folder(folder)


def test_weights_that_are_no_floating_point_numbers_are_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content.replace(b'"F32"', b'"I32"'))
    with pytest.raises(FolderError, match=rf"{WEIGHTS}: the tensor .* is of the type I32; expec"):
        read_folder(folder)


def test_a_header_that_lies_is_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-4])
    with pytest.raises(FolderError, match="is not a sound safetensors file"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({"use_dora": True}, "dora"),
        ({"peft_type": "IA3"}, "ia3"),
        ({"peft_type": "PREFIX_TUNING"}, "prefix_tuning"),
    ],
)
def test_every_method_has_a_name(folder: Path, changes: dict[str, Any], method: str) -> None:
    edit(folder / CONFIG, lambda config: config | changes)
    assert read_folder(folder).manifest.method.type == method


def test_prompt_methods_say_how_large_the_base_model_is(folder: Path) -> None:
    changes = {"peft_type": "PROMPT_TUNING", "token_dim": 64, "num_layers": 3}
    edit(folder / CONFIG, lambda config: config | changes | {"num_virtual_tokens": 5})
    manifest = read_folder(folder).manifest
    assert (manifest.base_model.hidden_size, manifest.base_model.num_layers) == (64, 3)
    assert manifest.method.parameters["virtual_tokens"] == 5


def test_a_name_that_no_manifest_holds_is_refused(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config | {"base_model_name_or_path": "a\nb"})
    with pytest.raises(ManifestError, match="without control characters"):
        read_folder(folder)


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


def test_a_head_that_is_called_classification_head_has_classes(tmp_path: Path) -> None:
    place = "base_model.model.model.encoder.layers.0.self_attn.q_proj"
    shapes = {f"{place}.lora_A.weight": (4, 8), f"{place}.lora_B.weight": (8, 4)}
    head = "base_model.model.classification_head"
    shapes |= {f"{head}.dense.weight": (8, 8), f"{head}.out_proj.weight": (2, 8)}
    modules = ["classification_head", "classifier", "score"]
    options = {"task_type": "SEQ_CLS", "target_modules": ["q_proj"], "modules_to_save": modules}
    folder = peft(tmp_path / "a", shapes, **options)
    assert read_folder(folder, Given(labels=("no", "yes"))).manifest.labels == ("no", "yes")


def test_what_lies_beside_the_backbone_is_the_head(tmp_path: Path) -> None:
    pooler = "base_model.model.pooler.dense"
    whole = {f"{pooler}.weight": (8, 8), "base_model.model.classifier.weight": (2, 8)}
    folder = peft(tmp_path / "a", DELTA | whole, modules_to_save=["pooler", "classifier"])
    manifest = read_folder(folder, Given(base=BASE.base, labels=("no", "yes"))).manifest
    assert manifest.method.type == "lora"
    assert manifest.head is not None
    assert manifest.head.modules == ("pooler", "classifier")
    delta = {f"{pooler}.lora_A.weight": (4, 8), f"{pooler}.lora_B.weight": (8, 4)}
    folder = peft(tmp_path / "b", DELTA | delta, target_modules=["query", "pooler.dense"])
    assert read_folder(folder, BASE).manifest.method.type == "lora_on_head"
