"""Whatever the parsers are given, they return something sound or refuse it: 1 k cases each in the
suite, 1 M in `make torture`. A failure names the seed that gives the case again.
"""

import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Folder, HubkitError, Manifest, Version, open_catalog
from registry.folders.safetensors import read_header
from registry.maintenance.bundle import export_bundle, import_bundle
from registry.maintenance.fsck import check_registry
from registry.server.xet.shard import Shard
from registry.server.xet.xorb import MOST_DATA, XorbDecoder
from registry.storage.files import parse_digest, parse_path
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.xet import Part, digest, file, listed, shard, xorb
from tests.torture.fuzzing import content, document, require_refusals_only, text

REFS = ("reviews", "ada/reviews@3", "a.b-c_d@best", "X/y@latest", "0@2147483647")
DIGESTS = ("a" * 64, "0123456789abcdef" * 4)
PATHS = ("a", "head/weights.json", "ünï/code.txt", ".gitattributes", "a b/c")
HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    "c": {"dtype": "I64", "shape": [0, 5], "data_offsets": [26, 26]},
}

count = pytest.mark.parametrize(
    "cases",
    [1000, pytest.param(1_000_000, marks=[pytest.mark.torture, pytest.mark.timeout(0)])],
)


@count
def test_a_ref_is_refused_or_reads_back(cases: int) -> None:
    def case(chance: random.Random) -> None:
        ref = AdapterRef.parse(text(chance, REFS))
        assert AdapterRef.parse(str(ref)) == ref
        assert ref.folded.isascii()
        assert not set(ref.folded) & set("\\ \0\n@")

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@count
def test_a_digest_is_refused_or_is_a_place_in_the_store(cases: int) -> None:
    store = FolderBlobStore(Path("root"))

    def case(chance: random.Random) -> None:
        digest = parse_digest(text(chance, DIGESTS))
        assert store.path(digest).parts[:3] == ("root", "blobs", "sha256")
        assert len(store.path(digest).parts) == 6

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@count
def test_a_path_is_refused_or_stays_inside_its_folder(cases: int) -> None:
    root = Path("/root/folder")

    def case(chance: random.Random) -> None:
        path = parse_path(text(chance, PATHS))
        assert (root / path).resolve().is_relative_to(root)
        assert path.isprintable()

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@count
def test_a_manifest_is_refused_or_has_one_canonical_spelling(
    cases: int, make_manifest: Callable[..., Manifest]
) -> None:
    metric = {"dataset": "d", "split": "s", "name": "n", "value": 0.5, "higher_is_better": True}
    training = {"arguments": {"lr": 0.1}, "seed": 1, "examples": 2, "seconds": 3.0}
    valid = make_manifest(
        kind="fusion",
        method={"type": "fusion", "parameters": {"a": [1, {"b": None}]}},
        labels=["x", "y"],
        metrics=[metric],
        parents=[{"ref": "a@1", "digest": "c" * 64}],
        training=training,
        files={"w.bin": {"sha256": "d" * 64, "size": 3}},
    )
    dumped = valid.model_dump(mode="json", by_alias=True)

    def case(chance: random.Random) -> None:
        manifest = Manifest.from_json(document(chance, dumped), "case")
        again = Manifest.from_json(manifest.to_json(), "case")
        assert again == manifest
        assert again.digest == manifest.digest

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@count
def test_a_header_is_refused_or_covers_the_file(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "case.safetensors"

    def case(chance: random.Random) -> None:
        header = json.dumps(HEADER).encode()
        if chance.random() < 0.8:
            header = document(chance, HEADER)
        length = len(header)
        if chance.random() < 0.2:
            length = chance.getrandbits(chance.choice((8, 63)))
        whole = struct.pack("<Q", length) + header + bytes(chance.choice((26, 26, 26, 0, 25, 30)))
        path.write_bytes(content(chance, whole) if chance.random() < 0.1 else whole)
        tensors = read_header(path)
        ends = sorted((tensor.start, tensor.end) for tensor in tensors.values())
        covered = sum(end - start for start, end in ends)
        assert covered == path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little")

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@pytest.fixture
def bundle(tmp_path: Path, make_folder: Callable[..., Folder]) -> bytes:
    source = open_catalog(tmp_path / "source")
    one = source.publish(AdapterRef.parse("ada/one"), make_folder())
    parents = [{"ref": str(one.ref), "digest": one.manifest_digest}]
    both = source.publish(
        AdapterRef.parse("both"), make_folder(kind="stack", parents=parents), message="hi"
    )
    source.yank(both.ref, "why")
    target = io.BytesIO()
    export_bundle(source, both.ref, target)
    source.close()
    return target.getvalue()


@count
def test_a_bundle_is_refused_or_imported_whole(cases: int, tmp_path: Path, bundle: bytes) -> None:
    (tmp_path / "work").mkdir()
    catalog = open_catalog(tmp_path / "work" / "home")
    found: set[Version] = set()
    before = {path for path in tmp_path.rglob("*") if (tmp_path / "work") not in path.parents}

    def case(chance: random.Random) -> None:
        found.update(import_bundle(catalog, io.BytesIO(content(chance, bundle))))

    assert require_refusals_only(cases, case, HubkitError) > 0
    assert check_registry(catalog, full=True).status == 0
    for version in found:
        assert catalog.manifest(catalog.resolve(version.ref)).digest == version.manifest_digest
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["home"]
    assert before == {
        path for path in tmp_path.rglob("*") if (tmp_path / "work") not in path.parents
    }


@count
def test_a_xorb_is_refused_or_unpacked_within_its_limits(cases: int) -> None:
    chunks = (b"raw" * 30, b"packed " * 90, bytes(range(256)) * 3, b"x", bytes(2000), b"end" * 50)
    valid = xorb(*chunks)

    def case(chance: random.Random) -> None:
        sent = content(chance, valid)
        decoder, step, size = XorbDecoder(), chance.randrange(1, 2 * len(valid)), 0
        for start in range(0, len(sent), step):
            for data in decoder.feed(sent[start : start + step]):
                assert 1 <= len(data) <= MOST_DATA
                size += len(data)
        decoder.finish()
        assert size == decoder.size

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases


@count
def test_a_shard_is_refused_or_stays_within_its_bytes(cases: int) -> None:
    one, two = "ab" * 32, "cd" * 32
    parts = [Part(one, 10, 0, 3), Part(two, 7, 5, 6), Part(one, 9, 1, 3)]
    files = (file(parts, digest(b"a")), file(parts[:1], None, verified=False))
    valid = shard(*files, xorbs=listed(one, [b"abc"] * 4))

    def case(chance: random.Random) -> None:
        sent = content(chance, valid)
        read = Shard(io.BytesIO(sent))
        for described in read.files():
            segments = list(read.segments(described))
            assert 48 * len(segments) < len(sent)
            assert all(segment.first < segment.end for segment in segments)
            assert all(len(segment.xorb) == 64 for segment in segments)

    assert 0 < require_refusals_only(cases, case, HubkitError) < cases
