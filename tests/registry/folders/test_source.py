import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from registry import Folder, HubkitError, Manifest, read_folder, write_manifest
from registry.errors import (
    CorruptBlobError,
    DamagedBlobError,
    FolderError,
    ManifestError,
    PickledWeightsError,
)
from registry.folders import Given, read_tree
from registry.folders.adapterhub import fused_adapters
from registry.folders.hubkit import OWN_CARD
from registry.folders.kinds import PARTS
from registry.folders.source import BlobFolder
from registry.manifest import Parent
from registry.storage import files as storage_files
from registry.storage.files import FileInfo
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.foreign import FIXTURES, PEFT, copy, edit, write_tensors
from tests.support.trees import files_in, info_of, stored

FOLDERS = sorted(
    {path.parent for part in PARTS for path in FIXTURES.rglob(part.config)}
    | {path.parent for part in PARTS for path in FIXTURES.rglob(part.weights)}
)
LORA = PEFT / "lora" / "a"


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "registry")


def outcome(read: Callable[[], Folder]) -> Manifest | str:
    try:
        return read().manifest
    except HubkitError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("library", sorted({one.relative_to(FIXTURES).parts[0] for one in FOLDERS}))
def test_a_tree_is_read_as_the_same_folder_on_the_disk(
    blobs: FolderBlobStore, library: str
) -> None:
    folders = [one for one in FOLDERS if one.is_relative_to(FIXTURES / library)]
    contents = {one: files_in(one) for one in folders}
    together = {
        f"{one}/{name}": content for one in folders for name, content in contents[one].items()
    }
    stored(blobs, together)
    read = 0
    for one in folders:
        tree = {name: info_of(content) for name, content in contents[one].items()}
        parents = tuple(Parent(ref=f"{name}@1", digest="a" * 64) for name in fused_adapters(one))
        for given in (Given(), Given(labels=None, parents=parents)):
            from_disk = outcome(partial(read_folder, one, given))
            assert outcome(partial(read_tree, blobs, tree, str(one), given)) == from_disk
            read += isinstance(from_disk, Manifest)
    assert read > len(folders)


def test_what_a_tree_is_read_from_is_not_written_out(
    blobs: FolderBlobStore, tmp_path: Path
) -> None:
    tree = stored(blobs, files_in(LORA))
    before = files_in(tmp_path)
    folder = read_tree(blobs, tree, "bob/film")
    assert files_in(tmp_path) == before
    assert folder.manifest.files == tree
    with folder.open("adapter_config.json") as stream:
        assert stream.read() == (LORA / "adapter_config.json").read_bytes()


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many bytes of each blob are asked of the disk."""
    counts: Counter[str] = Counter()
    readinto = storage_files._File.readinto

    def counted(self: storage_files._File, buffer: "memoryview[int]") -> int | None:
        found = readinto(self, buffer)
        counts[Path(self.path).name] += found or 0
        return found

    monkeypatch.setattr(storage_files._File, "readinto", counted)
    return counts


def test_of_weights_nothing_but_the_header_is_read(
    blobs: FolderBlobStore, tmp_path: Path, bytes_read: Counter[str]
) -> None:
    folder = copy(LORA, tmp_path / "a")
    module = "base_model.model.encoder.layer.0.attention.self.query"
    shapes = {f"{module}.lora_A.weight": (4, 250_000), f"{module}.lora_B.weight": (32, 4)}
    write_tensors(folder / "adapter_model.safetensors", shapes)
    (folder / "README.md").write_text("# A card")
    (folder / "vocab.txt").write_text("of no concern")
    tree = stored(blobs, files_in(folder))
    weights = tree["adapter_model.safetensors"]
    with (folder / "adapter_model.safetensors").open("rb") as stream:
        header = 8 + int.from_bytes(stream.read(8), "little")
    bytes_read.clear()
    read_tree(blobs, tree, "bob/film")
    # The readers of the configuration and of the files each look at the header.
    assert bytes_read[weights.sha256] == 2 * header < 1000 < weights.size
    assert bytes_read[tree["vocab.txt"].sha256] == 0
    assert bytes_read[tree["README.md"].sha256] == tree["README.md"].size

    write_manifest(folder, read_folder(folder).manifest)
    tree = stored(blobs, files_in(folder))
    bytes_read.clear()
    read_tree(blobs, tree, "bob/film")
    assert bytes_read[weights.sha256] == header
    assert bytes_read[tree["vocab.txt"].sha256] == bytes_read[tree["README.md"].sha256] == 0


def test_hidden_files_and_what_training_leaves_behind_are_no_part_of_it(
    blobs: FolderBlobStore,
) -> None:
    left_behind = [
        *(".gitattributes", ".cache/huggingface/x", "logs/.x/q?", "training_args.bin"),
        *("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state.pth"),
        *("rng_state_3.pth", "runs/Nov27_host/events.out.tfevents.1764.host.12.0"),
        *("checkpoint-500/adapter_model.bin", "checkpoint-500/adapter_config.json"),
    ]
    files = files_in(LORA)
    tree = stored(blobs, files | {path: path.encode() for path in left_behind})
    folder = read_tree(blobs, tree, "bob/film")
    assert folder.manifest == read_folder(LORA).manifest
    assert any("checkpoint-500" in note for note in folder.notes)


@pytest.mark.parametrize("path", ["q?x.txt", "nul.txt", "a\\b", "a/b.", "HUBKIT.JSON"])
def test_a_file_that_no_manifest_lists_is_named_as_the_reason(
    blobs: FolderBlobStore, path: str
) -> None:
    tree = stored(blobs, {**files_in(LORA), path: b"x"})
    with pytest.raises(FolderError) as caught:
        read_tree(blobs, tree, "bob/film")
    assert str(caught.value).startswith(f"bob/film: The path {path!r} ")


def test_files_that_are_one_on_some_system_are_refused(blobs: FolderBlobStore) -> None:
    tree = stored(blobs, {**files_in(LORA), "notes.txt": b"x", "Notes.txt": b"y"})
    with pytest.raises(
        ManifestError, match=r"(?s)files of bob/film is not.*'Notes\.txt' and 'notes\.txt'"
    ):
        read_tree(blobs, tree, "bob/film")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "bob/film is not an adapter's folder: it has no hubkit.json. It is empty."),
        ({".gitattributes": b""}, "It is empty"),
        ({"config.json": b"{}", "model/x.txt": b""}, "It looks like a whole model, not an adapter"),
        ({"adapter_config.json": b"{"}, "bob/film/adapter_config.json is not JSON"),
        ({"head_config.json": b"{}"}, "holds head_config.json of an AdapterHub head, but not its"),
        ({"hubkit.json": b"{}"}, "bob/film/hubkit.json"),
    ],
)
def test_what_is_no_adapter_is_refused_in_a_sentence(
    blobs: FolderBlobStore, files: dict[str, bytes], reason: str
) -> None:
    with pytest.raises((FolderError, ManifestError)) as caught:
        read_tree(blobs, stored(blobs, files), "bob/film")
    assert reason in str(caught.value)
    assert str(blobs.root) not in str(caught.value)


def test_a_pickle_is_refused_unread(blobs: FolderBlobStore, bytes_read: Counter[str]) -> None:
    tree = stored(blobs, {**files_in(LORA), "more.pt": b"pickle"})
    with pytest.raises(PickledWeightsError, match=r"bob/film holds more\.pt"):
        read_tree(blobs, tree, "bob/film")
    assert bytes_read[tree["more.pt"].sha256] == 0


def test_a_configuration_that_is_damaged_where_it_lies_is_no_reason_but_damage(
    blobs: FolderBlobStore,
) -> None:
    tree = stored(blobs, files_in(LORA))
    place = blobs.path(tree["adapter_config.json"].sha256)
    content = place.read_bytes()
    os.chmod(place, 0o644)
    place.write_bytes(content.replace(b"tiny", b"TINY"))
    with pytest.raises(DamagedBlobError, match=r"^bob/film/adapter_config\.json"):
        read_tree(blobs, tree, "bob/film")
    place.unlink()
    with pytest.raises(DamagedBlobError, match="the registry lost its bytes"):
        read_tree(blobs, tree, "bob/film")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of hubkit with a card of its own and weights in a folder."""
    folder = copy(LORA, tmp_path / "own")
    (folder / "README.md").write_text("# My own words")
    write_manifest(folder, read_folder(folder).manifest)
    return folder


GENERATED = {
    "README.md": b"# What hubkit wrote",
    ".gitattributes": b"* text",
    ".eval_results/hubkit.yaml": b"[]",
}


def pushed(folder: Path) -> dict[str, bytes]:
    """What hubkit makes of a folder on a hub."""
    files = files_in(folder)
    card = {OWN_CARD: files["README.md"]} if "README.md" in files else {}
    return files | card | GENERATED


@pytest.mark.parametrize("has_card", [True, False])
@pytest.mark.parametrize("on_hub", [True, False])
def test_a_version_on_a_hub_is_the_version_that_it_was(
    blobs: FolderBlobStore, own: Path, has_card: bool, on_hub: bool
) -> None:
    if not has_card:
        (own / "README.md").unlink()
        write_manifest(own, read_folder(LORA).manifest)
    manifest = read_folder(own).manifest
    tree = stored(blobs, pushed(own) if on_hub else files_in(own))
    folder = read_tree(blobs, tree, "bob/film")
    assert folder.manifest.digest == manifest.digest
    for name, info in manifest.files.items():
        with folder.open(name) as stream:
            assert info_of(stream.read()) == info


def test_a_version_may_hold_files_that_a_hub_also_has(blobs: FolderBlobStore, own: Path) -> None:
    (own / ".eval_results").mkdir()
    (own / ".eval_results" / "hubkit.yaml").write_text("own")
    (own / OWN_CARD).write_text("no card of another")
    manifest = write_manifest(own, read_folder(LORA).manifest)
    assert read_tree(blobs, stored(blobs, files_in(own)), "x").manifest == manifest


@pytest.mark.parametrize(
    ("path", "content", "kind", "problem"),
    [
        (
            "notes.txt",
            b"x",
            FolderError,
            r"^bob/film holds notes\.txt, which its hubkit\.json",
        ),
        ("q?x", b"x", FolderError, r"^bob/film: The path 'q\?x'"),
        ("adapter_config.json", None, FolderError, r"^bob/film lacks adapter_config\.json"),
        ("adapter_config.json", b"{}", CorruptBlobError, r"^bob/film/adapter_config\.json: hubkit"),
        (OWN_CARD, b"another", CorruptBlobError, rf"^bob/film/{OWN_CARD}: hubkit\.json says"),
        (OWN_CARD, None, CorruptBlobError, r"^bob/film/README\.md: hubkit\.json says"),
        ("hubkit.json", b"x" * 9_000_000, ManifestError, r"^bob/film/hubkit\.json"),
    ],
)
def test_files_that_are_not_those_of_the_manifest_are_refused(
    blobs: FolderBlobStore,
    own: Path,
    path: str,
    content: bytes | None,
    kind: type[HubkitError],
    problem: str,
) -> None:
    files = pushed(own)
    if content is None:
        del files[path]
    else:
        files[path] = content
    with pytest.raises(kind, match=problem):
        read_tree(blobs, stored(blobs, files), "bob/film")


def test_a_card_that_no_manifest_lists_is_refused(blobs: FolderBlobStore, own: Path) -> None:
    files = pushed(own)
    (own / "README.md").unlink()
    files["hubkit.json"] = write_manifest(own, read_folder(LORA).manifest).to_json()
    with pytest.raises(FolderError, match=f"holds {OWN_CARD}, which its hubkit.json does not list"):
        read_tree(blobs, stored(blobs, files), "bob/film")


def test_weights_without_a_sound_header_are_refused(blobs: FolderBlobStore, own: Path) -> None:
    files = pushed(own)
    name, content = "adapter_model.safetensors", b"\xff" * 100
    info = info_of(content)
    manifest = json.loads(files["hubkit.json"])
    manifest["files"][name] = {"sha256": info.sha256, "size": info.size}
    files |= {name: content, "hubkit.json": json.dumps(manifest).encode()}
    with pytest.raises(FolderError, match=f"bob/film/{name} is not a sound safetensors file"):
        read_tree(blobs, stored(blobs, files), "bob/film")


def test_what_stands_beside_a_tree_counts_as_beside_a_folder(
    blobs: FolderBlobStore, tmp_path: Path
) -> None:
    folder = copy(LORA, tmp_path / "a")
    edit(folder / "adapter_config.json", lambda config: config | {"base_model_name_or_path": None})
    tree = stored(blobs, files_in(folder))
    with pytest.raises(FolderError, match="bob/film does not name its base model"):
        read_tree(blobs, tree, "bob/film")
    base = read_folder(LORA).manifest.base_model
    assert read_tree(blobs, tree, "x", Given(base=base)).manifest.base_model == base


def test_a_file_of_a_tree_is_called_by_its_path(blobs: FolderBlobStore) -> None:
    info = FileInfo(sha256="a" * 64, size=3)
    tree = BlobFolder(blobs, {"a/b.tar.gz": info}, "bob/film", {"a/b.tar.gz": "a/c"})
    file = tree / "a" / "b.tar.gz"
    assert (str(file), file.name, file.suffix, str(file.parent)) == (
        *("bob/film/a/c", "c", ".gz"),
        "bob/film/a",
    )
    assert str(tree) == str(file.parent.parent) == "bob/film"
    assert (file.is_file(), file.parent.is_file(), file.info) == (True, False, info)
