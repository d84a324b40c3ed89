"""Every kind of folder, published: what stands in the manifest, and what is refused."""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubkit import attach
from hubkit.adapters.load import load_published
from hubkit.bases.stored import cache_in, describe_stored
from hubkit.formats import tensor_files
from hubkit.sharing.publish_folder import checked_folder, publish_folder
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    FolderError,
    HubkitError,
    ParentNotFoundError,
)
from registry.search.search import search
from registry.storage import files
from tests.support.foreign import BASE, BERT, FIXTURES, HEAD, PEFT, copy, edit, reshape
from tests.support.models import METHODS, reference_base, reference_outputs, run

PEFT_FOLDERS = sorted(path.parent for path in PEFT.rglob("adapter_config.json"))
LLAMA = FIXTURES / "adapterhub" / "llama" / "base"
GPT2 = FIXTURES / "adapterhub" / "gpt2" / "base"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


def publish(catalog: Catalog, folder: Path, name: str = "a", **facts: object) -> Version:
    facts = {"task": "film", **facts}
    return publish_folder(catalog, folder, AdapterRef.parse(name), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", PEFT_FOLDERS, ids=lambda path: "-".join(path.parts[-3:]))
def test_a_peft_folder_is_published_as_it_is_and_held_to_its_base_model(
    catalog: Catalog, folder: Path
) -> None:
    labels = ["neg", "neu", "pos"] if "seq_cls" in folder.parts else []
    version = publish(catalog, folder, base=str(BASE), labels=labels)
    assert (version.kind, version.method, version.task) == ("adapter", "lora", "film")
    base = catalog.manifest(version).base_model
    assert base == describe_stored(str(BASE), cache_in(catalog.home))
    assert version.base_fingerprint == base.fingerprint is not None
    written = catalog.folder(version)
    for path in folder.iterdir():
        assert (written / path.name).read_bytes() == path.read_bytes()
    assert version.size == sum(path.stat().st_size for path in folder.iterdir())
    assert search(catalog, base=base.id, method="lora").items == (version,)


@pytest.mark.parametrize("method", METHODS)
def test_a_fusion_gives_the_outputs_of_its_own_library(catalog: Catalog, method: str) -> None:
    for name in "abc":
        publish(catalog, BERT / method / name, name, base=str(BASE))
    for name, case in (("fusion_abc", "fuse_dynamic"), ("fusion_ab_static", "fuse_static")):
        version = publish(catalog, BERT / method / name, case.replace("_", "-"), base=str(BASE))
        assert version.kind == "fusion"
        refs = [parent.ref for parent in catalog.manifest(version).parents]
        assert refs == [f"{one}@1" for one in name.split("_")[1]]
        inputs, outputs = reference_outputs(BERT / method)
        model = reference_base("bert")
        composition = load_published(catalog, version).composition
        assert composition is not None
        with attach(model, composition):
            assert (run(model, inputs) - outputs[case]).abs().max() <= 1e-5


def test_parents_are_looked_for_under_the_own_name_first(catalog: Catalog) -> None:
    for name in ("a", "b", "ada/a"):
        publish(catalog, BERT / "seq_bn" / name[-1], name, base=str(BASE))
    fusion = BERT / "seq_bn" / "fusion_ab_static"
    version = publish(catalog, fusion, "ada/f", base=str(BASE))
    assert [parent.ref for parent in catalog.manifest(version).parents] == ["ada/a@1", "b@1"]
    given = [AdapterRef.parse("a"), AdapterRef.parse("b")]
    version = publish(catalog, fusion, "ada/f", base=str(BASE), parents=given)
    assert [parent.ref for parent in catalog.manifest(version).parents] == ["a@1", "b@1"]


def test_a_fusion_without_its_parents_is_refused(catalog: Catalog) -> None:
    publish(catalog, BERT / "seq_bn" / "a", "a")
    fusion = BERT / "seq_bn" / "fusion_ab_static"
    with pytest.raises(ParentNotFoundError, match=r"calls 'b'; nothing here "):
        publish(catalog, fusion, "f")
    with pytest.raises(FolderError, match="fusion of 2 adapters"):
        publish(catalog, fusion, "f", parents=[AdapterRef.parse("a")])


def test_a_fusion_without_its_weights_is_told_before_its_parents(
    catalog: Catalog, tmp_path: Path
) -> None:
    folder = copy(BERT / "seq_bn" / "fusion_abc", tmp_path / "f")
    (folder / "pytorch_model_adapter_fusion.bin").unlink()
    with pytest.raises(FolderError, match="of an AdapterHub fusion, but not its weights"):
        publish(catalog, folder)
    for file in (PEFT / "lora" / "a").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(FolderError, match="holds a PEFT adapter and an AdapterHub fusion; expect"):
        publish(catalog, folder)


def test_a_fusion_over_the_wrong_parents_is_refused(catalog: Catalog) -> None:
    publish(catalog, BERT / "seq_bn" / "a", "a")
    publish(catalog, BERT / "double_seq_bn" / "b", "b")
    with pytest.raises(AdapterError, match="do not have the same sites"):
        publish(catalog, BERT / "seq_bn" / "fusion_ab_static", "f")
    assert [version.ref.name for version in search(catalog).items] == ["b", "a"]


def test_pickles_are_published_as_safetensors_once(catalog: Catalog) -> None:
    version = publish(catalog, BERT / "seq_bn" / "a")
    assert catalog.manifest(version).files.keys() == {
        "adapter_config.json",
        "adapter.safetensors",
    }
    found = load_file(catalog.folder(version) / "adapter.safetensors")
    expected = torch.load(BERT / "seq_bn" / "a" / "pytorch_adapter.bin", weights_only=True)
    assert all(torch.equal(found[name], expected[name]) for name in found | expected)
    assert publish(catalog, BERT / "seq_bn" / "a") == version


def test_what_is_left_out_is_told(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    (folder / "training_args.bin").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        version = publish(catalog, folder)
    assert "Left out, because a pickle can run code: training_args.bin" in caplog.text
    assert "training_args.bin" not in catalog.manifest(version).files


def test_labels_and_head_travel_along(catalog: Catalog) -> None:
    version = publish(catalog, HEAD, "topic", base=str(BASE))
    assert catalog.manifest(version).labels == ("no", "yes")
    assert version.task_type == "text-classification"
    named = publish(catalog, PEFT / "seq_cls" / "a", "cls", labels=["neg", "neu", "pos"])
    assert catalog.manifest(named).labels == ("neg", "neu", "pos")


def test_labels_come_from_a_base_model_whose_head_has_as_many(
    catalog: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(FolderError, match=r"nor the base model's name them"):
        publish(catalog, PEFT / "seq_cls" / "a", base=str(BASE))
    base = copy(BASE, tmp_path / "base")
    names = {"0": "neg", "1": "neu", "2": "pos"}
    edit(base / "config.json", lambda config: config | {"id2label": names})
    version = publish(catalog, PEFT / "seq_cls" / "a", base=str(base))
    assert catalog.manifest(version).labels == ("neg", "neu", "pos")


def test_classes_are_numbered_with_a_note_where_nobody_can_be_asked(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    name = AdapterRef.parse("a")
    with (
        caplog.at_level(logging.WARNING),
        checked_folder(catalog, PEFT / "seq_cls" / "a", name) as folder,
    ):
        assert folder.manifest.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert "so they are called LABEL_0, LABEL_1, LABEL_2." in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("folder", "weights"),
    [
        (PEFT / "lora" / "a", "adapter_model.safetensors"),
        (BERT / "seq_bn" / "a", "pytorch_adapter.bin"),
        (FIXTURES / "adapterhub" / "distilbert" / "seq_bn" / "a", "adapter.safetensors"),
    ],
)
def test_weights_that_are_not_finite_are_refused(
    catalog: Catalog, tmp_path: Path, folder: Path, weights: str, value: float
) -> None:
    broken = copy(folder, tmp_path / "a")
    file = broken / weights
    pickled = file.suffix == ".bin"
    tensors = torch.load(file, weights_only=True) if pickled else load_file(file)
    name = sorted(tensors)[-1]
    tensors[name].view(-1)[-1] = value
    (torch.save if pickled else save_file)(tensors, file)
    message = f"{weights}: the tensor '{name}' holds NaN or infinity"
    with pytest.raises(FolderError, match=re.escape(message)):
        publish(catalog, broken)
    assert search(catalog).items == ()


def test_what_is_missing_is_asked_for_by_its_option(catalog: Catalog, tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    with pytest.raises(FolderError, match=r"does not say what the adapter does"):
        publish(catalog, folder, task=None)
    edit(folder / "adapter_config.json", lambda c: c | {"base_model_name_or_path": None})
    with pytest.raises(FolderError, match=r"does not name its base model"):
        publish(catalog, folder)
    assert publish(catalog, folder, base=str(BASE)).base_model == str(BASE)


def test_a_base_model_at_hand_is_used_without_being_named(catalog: Catalog, tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    edit(folder / "adapter_config.json", lambda c: c | {"base_model_name_or_path": str(BASE)})
    assert publish(catalog, folder).base_fingerprint is not None


def test_the_wrong_base_model_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    for other in (LLAMA, GPT2):
        with pytest.raises(AdapterError, match="fits no module of a"):
            publish(catalog, PEFT / "lora" / "a", base=str(other))
    with pytest.raises(BaseModelMismatchError, match="fits a bert; LlamaModel is a llama"):
        publish(catalog, BERT / "seq_bn" / "a", base=str(LLAMA))
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    key = "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"
    reshape(folder / "adapter_model.safetensors", lambda shapes: shapes | {key: (4, 33)})
    with pytest.raises(BaseModelMismatchError, match=r"the shape \[4, 33\], .*32 inputs"):
        publish(catalog, folder, base=str(BASE))
    assert search(catalog).items == ()


@pytest.mark.parametrize(
    ("folder", "gone", "targets", "first"),
    [
        ("lora/a", r"layer\.1\..*value", 4, "encoder.layer.1.attention.self.value"),
        ("seq_cls/a", r"layer\.1\.", 4, "bert.encoder.layer.1.attention.self.query"),
        ("regex/a", "intermediate", 6, "encoder.layer.0.intermediate.dense"),
        ("all_linear/a", "pooler", 13, "pooler.dense"),
        ("layers_to_transform/a", "query", 2, "encoder.layer.1.attention.self.query"),
    ],
)
def test_a_lora_has_tensors_for_each_layer_that_it_targets(
    catalog: Catalog, tmp_path: Path, folder: str, gone: str, targets: int, first: str
) -> None:
    path = copy(PEFT / folder, tmp_path / "a")
    counts: list[int] = []

    def without(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        kept = {name: shape for name, shape in shapes.items() if not re.search(gone, name)}
        counts.append((len(shapes) - len(kept)) // 2)
        return kept

    reshape(path / "adapter_model.safetensors", without)
    facts = {"base": str(BASE), "labels": ["a", "b", "c"] if "seq_cls" in folder else []}
    with pytest.raises(AdapterError) as caught:
        publish(catalog, path, **facts)
    assert f"no tensors for {counts[0]} of the {targets} layers" in str(caught.value)
    assert f"the first is {first!r}" in str(caught.value)
    if folder == "lora/a":
        edit(path / "adapter_config.json", lambda c: c | {"exclude_modules": f".*{gone}"})
        assert publish(catalog, path, **facts).method == "lora", "not one that it targets"


def test_layers_are_not_counted_where_nothing_can_say_which_they_are(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    reshape(weights, lambda shapes: {n: s for n, s in shapes.items() if "layer.1." not in n})
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        assert publish(catalog, folder, base=str(BASE)).number == 1
    edit(config, lambda c: c | {"auto_mapping": {"base_model_class": "OwnEncoder"}})
    assert publish(catalog, folder, base=str(BASE)).number == 2


def test_a_name_that_fits_no_module_is_told_with_near_ones(
    catalog: Catalog, tmp_path: Path
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    reshape(
        folder / "adapter_model.safetensors",
        lambda shapes: {name.replace("layer.0", "layer.7"): s for name, s in shapes.items()},
    )
    with pytest.raises(AdapterError, match=r"fits no module of a BertModel.* Did you mean enc\S+"):
        publish(catalog, folder, base=str(BASE))


def test_names_of_adapterhub_are_held_to_the_architecture_without_a_base_model(
    catalog: Catalog, tmp_path: Path
) -> None:
    folder = copy(FIXTURES / "adapterhub" / "distilbert" / "seq_bn" / "a", tmp_path / "a")
    reshape(
        folder / "adapter.safetensors",
        lambda shapes: {name.replace("layer.0.", "layers.0."): s for name, s in shapes.items()},
    )
    near = r"layer\.0\.output_adapters\.adapters\.a\.adapter_down\.0\."
    with pytest.raises(
        AdapterError, match=rf"fits no site of a distilbert; .* Did you mean .*{near}"
    ):
        publish(catalog, folder)
    edit(folder / "adapter_config.json", lambda config: config | {"model_type": "novel"})
    assert publish(catalog, folder).method == "seq_bn", "kept, whatever its architecture"


@pytest.mark.parametrize(
    "folder", [PEFT / "lora" / "a", BERT / "seq_bn" / "a", HEAD], ids=["peft", "adapterhub", "head"]
)
@pytest.mark.parametrize("damage", ["config", "weights", "card", "link"])
def test_nothing_is_registered_when_anything_is_wrong(
    catalog: Catalog, tmp_path: Path, folder: Path, damage: str
) -> None:
    broken = copy(folder, tmp_path / "broken")
    if damage == "config":
        (broken / "adapter_config.json").write_text("{")
    elif damage == "card":
        (broken / "README.md").write_bytes(b"\xff")
    elif damage == "link":
        (broken / "link").symlink_to(folder)
    else:
        for path in broken.iterdir():
            if path.suffix in (".safetensors", ".bin"):
                path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HubkitError):
        publish(catalog, broken)
    assert search(catalog).items == ()
    assert not any(path.is_file() for path in (catalog.home / "blobs").rglob("*"))


def test_a_hubkit_folder_is_held_to_a_base_model_that_is_named(catalog: Catalog) -> None:
    first = publish(catalog, BERT / "seq_bn" / "a", base=str(BASE))
    written = catalog.folder(first)
    again = publish_folder(catalog, written, AdapterRef.parse("b"), base=str(BASE))
    assert again.manifest_digest == first.manifest_digest
    with pytest.raises(BaseModelMismatchError, match=r"differs in the weights \(expected"):
        publish_folder(catalog, written, AdapterRef.parse("b"), base=str(LLAMA))
    late = publish(catalog, BERT / "seq_bn" / "b", "late")
    assert late.base_fingerprint is None
    found = publish_folder(catalog, catalog.folder(late), AdapterRef.parse("late"), base=str(BASE))
    assert found.base_fingerprint == first.base_fingerprint


@pytest.mark.parametrize(
    ("source", "weights"),
    [
        (PEFT / "lora" / "a", "adapter_model.safetensors"),
        (LLAMA.parent / "seq_bn" / "a", "adapter.safetensors"),
        (LLAMA.parent / "lora" / "a", "adapter.safetensors"),
    ],
    ids=["peft", "adapterhub", "adapterhub-lora"],
)
def test_the_numbers_of_weights_are_read_once_to_check_and_once_to_copy(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path, weights: str
) -> None:
    def refuse(path: object) -> None:
        raise AssertionError(f"{path} is read whole")

    numbers, opened = count_numbers(monkeypatch)
    monkeypatch.setattr(tensor_files, "load_file", refuse)
    base = str(BASE if source.is_relative_to(PEFT) else LLAMA)
    folder = copy(source, tmp_path / "x")
    publish(catalog, folder, base=base)
    there = numbers_in(folder / weights)
    ahead = opened[weights] * 256  # what a buffer takes behind a header
    assert 2 * there <= numbers[weights] <= 2 * there + ahead < 3 * there
    # The same with a manifest, which says what the bytes must be.
    numbers.clear()
    opened.clear()
    written = copy(catalog.folder(catalog.resolve(AdapterRef.parse("a"))), tmp_path / "y")
    numbers.clear()
    publish(catalog, written, "b", base=base)
    assert there <= numbers[weights] <= there + ahead  # the bytes are in the registry already


def test_a_fusion_is_held_to_its_adapters_without_reading_their_numbers(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise AssertionError(f"{path} is read whole")

    source = LLAMA.parent / "seq_bn"
    for part in "abc":
        catalog.folder(publish(catalog, source / part, part, base=str(LLAMA)))  # written out
    numbers, _ = count_numbers(monkeypatch)
    monkeypatch.setattr(tensor_files, "load_file", refuse)
    version = publish(catalog, source / "fusion_abc", "f", base=str(LLAMA))
    assert [parent.ref for parent in catalog.manifest(version).parents] == ["a@1", "b@1", "c@1"]
    there = numbers_in(source / "fusion_abc" / "model_adapter_fusion.safetensors")
    assert 2 * there <= numbers["model_adapter_fusion.safetensors"] < 3 * there


def numbers_in(weights: Path) -> int:
    """The bytes of a safetensors file that are no header."""
    header = int.from_bytes(weights.read_bytes()[:8], "little")
    return weights.stat().st_size - 8 - header


def count_numbers(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], Counter[str]]:
    """Count the bytes behind the headers of safetensors files that are read, and the openings."""
    numbers: Counter[str] = Counter()
    opened: Counter[str] = Counter()

    class Counting(files._File):
        def __init__(self, descriptor: int, path: Path | str) -> None:
            super().__init__(descriptor, path)
            opened[Path(path).name] += 1

        def readinto(self, buffer: memoryview[int]) -> int | None:  # type: ignore[override]
            start = self.tell()
            count = super().readinto(buffer) or 0
            if (path := Path(self.path)).suffix == ".safetensors":
                header = path.stat().st_size - numbers_in(path)
                numbers[path.name] += max(0, start + count - max(start, header))
            return count

    monkeypatch.setattr(files, "_File", Counting)
    monkeypatch.setattr(files, "CHUNK", 256)
    return numbers, opened
