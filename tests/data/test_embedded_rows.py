"""The embedded sample rows: counts, labels, no near-duplicates, and nothing taken from the real data sets."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest

SPLITS = {"train": 24, "validation": 12, "test": 24}
SENTIMENT = {"positive", "neutral", "negative"}
LABELS = {
    "fpb": SENTIMENT,
    "fiqa": SENTIMENT,
    "headline": {"up", "down", "stable"},
    "fomc": {"hawkish", "dovish", "neutral"},
    "argument": {"premise", "claim"},
    "deal": {"complete", "rumour"},
    "causal": {"causal", "noise"},
}
THE_RELATIONS = """
    founded by, chief executive officer, employer, product/material produced, industry, owned by, subsidiary,
    parent organization, manufacturer, brand, owner of, developer, headquarters location, distribution format,
    original broadcaster, legal form, location of formation, creator, stock exchange, operator, publisher,
    distributed by, platform, member of, position held, currency, director/manager, chairperson, business division
"""
RELATIONS = {relation.strip() for relation in THE_RELATIONS.split(",")}
NAMES = [*LABELS, "finred"]
TOO_SIMILAR = 0.5


def rows_of(name: str) -> list[dict[str, str]]:
    text = (files("fin_plugins.data") / "sample" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def normalise(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w']+", normalise(text))


def jaccard(left: set, right: set) -> float:
    return len(left & right) / len(left | right)


def most_similar(texts: list[str]) -> dict[str, tuple[float, str, str]]:
    """The most similar pair under each measure."""
    words = [words_of(text) for text in texts]
    sets = {
        "3-gram shingles": [{tuple(w[i : i + 3]) for i in range(max(1, len(w) - 2))} for w in words],
        "words": [set(w) for w in words],
    }
    return {
        measure: max((jaccard(bags[i], bags[j]), texts[i], texts[j]) for i, j in combinations(range(len(texts)), 2))
        for measure, bags in sets.items()
    }


def decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def workbook_text(path: Path) -> str:
    openpyxl = pytest.importorskip("openpyxl")
    sheets = openpyxl.load_workbook(path, read_only=True).worksheets
    return "\n".join(str(cell) for sheet in sheets for row in sheet.iter_rows(values_only=True) for cell in row if cell)


def raw_texts(mirror: Path) -> Iterator[tuple[str, str]]:
    """Each data file below the mirror as (where, text): plain text forms, spreadsheets, and what zip archives hold."""
    plain = {".txt", ".csv", ".json", ".jsonl"}
    for path in sorted(p for p in mirror.rglob("*") if p.is_file()):
        where = str(path.relative_to(mirror))
        if path.suffix in plain:
            yield where, decoded(path.read_bytes())
        elif path.suffix == ".xlsx":
            yield where, workbook_text(path)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if Path(member).suffix in plain:
                        yield f"{where}:{member}", decoded(archive.read(member))


def searchable(where: str, text: str) -> str:
    """The text with its file form's escapes undone, then normalised as a sample row is."""
    if where.endswith((".json", ".jsonl")):
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
        text = re.sub(r"\\[nrt]", " ", text).replace('\\"', '"')
    elif where.endswith(".csv"):
        text = text.replace('""', '"')
    return normalise(text)


def found_in(mirror: Path, texts: list[str]) -> tuple[list[tuple[str, str]], int]:
    """Every (where, text) found in the mirror, and how many characters were searched."""
    hits, size = [], 0
    wanted = [(text, normalise(text)) for text in texts]
    for where, raw in raw_texts(mirror):
        haystack = searchable(where, raw)
        size += len(haystack)
        hits += [(where, text) for text, needle in wanted if needle in haystack]
    return hits, size


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_expected_keys_and_counts(name: str) -> None:
    rows = rows_of(name)
    keys = {"split", "text", "label"} | ({"e1", "e2"} if name == "finred" else set())
    for row in rows:
        assert set(row) == keys, row
        assert all(isinstance(value, str) and value.strip() == value != "" for value in row.values()), row
    assert Counter(row["split"] for row in rows) == SPLITS


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_known_and_balanced_in_each_split(name: str) -> None:
    rows = rows_of(name)
    labels = {row["label"] for row in rows}
    if name == "finred":
        assert len(RELATIONS) == 29
        assert len(labels) == 12
        assert labels <= RELATIONS, labels - RELATIONS
    else:
        assert labels == LABELS[name]
    for split in SPLITS:
        counts = Counter(row["label"] for row in rows if row["split"] == split)
        assert set(counts) == labels, (split, labels - set(counts))
        assert max(counts.values()) - min(counts.values()) <= 1, (split, counts)


def test_finred_entities_stand_in_the_text() -> None:
    for row in rows_of("finred"):
        assert row["e1"] in row["text"], row
        assert row["e2"] in row["text"], row
        assert row["e1"] != row["e2"], row


@pytest.mark.parametrize("name", NAMES)
def test_no_text_twice(name: str) -> None:
    counts = Counter(normalise(row["text"]) for row in rows_of(name))
    assert not [text for text, count in counts.items() if count > 1]


@pytest.mark.parametrize("name", NAMES)
def test_no_two_rows_are_near_duplicates(name: str) -> None:
    for measure, (score, left, right) in most_similar([row["text"] for row in rows_of(name)]).items():
        assert score < TOO_SIMILAR, f"{name}: {score:.2f} by {measure}:\n  {left}\n  {right}"


def test_the_similarity_measures_see_a_template() -> None:
    texts = [
        "Acme Foods said its net profit rose to 4 million",
        "Bolt Foods said its net profit rose to 9 million",
        "Eh?",
    ]
    assert {m: (round(s, 2), {a, b}) for m, (s, a, b) in most_similar(texts).items()} == {
        "3-gram shingles": (0.45, set(texts[:2])),
        "words": (0.67, set(texts[:2])),
    }


def test_the_mirror_search_sees_through_file_forms(tmp_path: Path) -> None:
    text = 'Caf\u00e9 owner \u201cMo\u201d said: "buy  now" & left.'
    (tmp_path / "a.json").write_text(json.dumps([{"text": f"Oh. {text}"}]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text.upper()}, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "c.csv").write_text('1,"{}"\n'.format(text.replace('"', '""')), encoding="utf-8")
    (tmp_path / "d.txt").write_bytes(b"x\nCaf\xe9 owner\nMo left\n")
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("in/f.txt", text.replace(" ", "\n"))
    (tmp_path / "g.md").write_text(text, encoding="utf-8")
    hits, size = found_in(tmp_path, [text, "caf\u00e9 owner mo LEFT", "Something else."])
    assert [(where, hit == text) for where, hit in hits] == [
        ("a.json", True),
        ("b.jsonl", True),
        ("c.csv", True),
        ("d.txt", False),
        ("e.zip:in/f.txt", True),
    ]
    assert size > 0


def test_no_sample_text_stands_in_the_real_data() -> None:
    default = Path(__file__).resolve().parents[2].parent / "shared" / "upstream"
    mirror = Path(os.environ.get("FIN_TEST_MIRROR") or default)
    if not mirror.is_dir():
        pytest.skip(f"no mirror of the real data at {mirror}; set FIN_TEST_MIRROR to its folder")
    hits, size = found_in(mirror, [row["text"] for name in NAMES for row in rows_of(name)])
    assert size > 1_000_000, f"only {size} characters to search in {mirror}: not the mirror?"
    assert not hits
