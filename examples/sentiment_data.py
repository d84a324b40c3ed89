"""Sentiment rated by people in four domains, from the data published with VADER.

Sentences from movie reviews, product reviews (amazon), newspaper editorials (nyt) and tweets, each
rated by twenty people from -4 to 4 (C.J. Hutto and E. Gilbert, ICWSM 2014, MIT licence). They are
in the source archive of the PyPI package vaderSentiment 0.5, which pip fetches and checks by
SHA-256.

    python examples/sentiment_data.py FOLDER

writes the files of README's quickstart: movie.csv and tweets.csv with 1,200 sentences each,
amazon-100.csv with 100, and amazon.test.csv.
"""

from __future__ import annotations

import csv
import io
import itertools
import random
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import platformdirs
from packages import fetch_package

DOMAINS = {
    "movie": "movieReviewSnippets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweets": "tweets",
}
_PACKAGE = "vaderSentiment==0.5"
_SHA256 = "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a"
_INNER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
# Nearer to zero than this, people did not agree on a side.
_CLEAR = 0.5
_SEED = 2014


def sentiment_files(cache: Path | None = None) -> dict[str, dict[str, Path]]:
    """CSV files with the columns text and label, by domain and split (train, test).

    Args:
        cache: Where they are kept; default: the user's cache folder.
    """
    folder = cache or Path(platformdirs.user_cache_dir("hubkit")) / "sentiment"
    files = {
        domain: {split: folder / f"{domain}.{split}.csv" for split in ("train", "test")}
        for domain in DOMAINS
    }
    if not all(path.exists() for splits in files.values() for path in splits.values()):
        folder.mkdir(parents=True, exist_ok=True)
        ratings = _fetch()
        for domain, stem in DOMAINS.items():
            _write_splits(ratings[stem], files[domain])
    return files


def _fetch() -> dict[str, list[tuple[float, str]]]:
    """The mean rating and the text of each sentence, by the stem of its file."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = fetch_package(_PACKAGE, _SHA256, Path(scratch), source=True)
        with zipfile.ZipFile(archive) as outer:
            inner = io.BytesIO(outer.read(_INNER))
    ratings = {}
    with tarfile.open(fileobj=inner) as tar:
        for stem in DOMAINS.values():
            member = tar.extractfile(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            assert member is not None
            lines = member.read().decode("utf-8", errors="replace").splitlines()
            rows = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
            ratings[stem] = [(float(rating), text.strip()) for _, rating, text in rows]
    return ratings


def _write_splits(rows: list[tuple[float, str]], files: dict[str, Path]) -> None:
    """A quarter, at most 1,000 rows, is for testing; the rest for training."""
    clear = [(rating, text) for rating, text in rows if abs(rating) >= _CLEAR and text]
    random.Random(_SEED).shuffle(clear)
    tested = min(1000, len(clear) // 4)
    for split, part in (("test", clear[:tested]), ("train", clear[tested:])):
        scratch = files[split].with_suffix(".part")
        with scratch.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows(
                (text, "positive" if rating > 0 else "negative") for rating, text in part
            )
        scratch.rename(files[split])


def write_quickstart(folder: Path) -> None:
    """Write the files that README's quickstart uses."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sentiment_files()
    for name, domain, split, rows in (
        ("movie.csv", "movie", "train", 1200),
        ("tweets.csv", "tweets", "train", 1200),
        ("amazon-100.csv", "amazon", "train", 100),
        ("amazon.test.csv", "amazon", "test", 1000),
    ):
        with files[domain][split].open(newline="", encoding="utf-8") as source:
            kept = itertools.islice(csv.reader(source), rows + 1)
            with (folder / name).open("w", newline="", encoding="utf-8") as target:
                csv.writer(target).writerows(kept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/sentiment_data.py FOLDER")
    write_quickstart(Path(sys.argv[1]))
