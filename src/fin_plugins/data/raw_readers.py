"""Readers of the upstream formats: raw files → frames with `text` and `label`, in file order.

Each function names its upstream file; the pins are in `sources.json`.
"""

import csv
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

_DIRECTIONS = {"DirectionUp": "up", "DirectionDown": "down", "DirectionConstant": "stable"}
_STANCES = {0: "dovish", 1: "hawkish", 2: "neutral"}
_UNITS = {0: "premise", 1: "claim"}
_PROMPT = re.compile(r"\nText: (.*)\nAnswer:\s*$", re.DOTALL)
_ANNOTATION = re.compile(r"^\S+ (CLAIM|PREMISE)\S* \d+ \d+ (.*)$")


def read_phrasebank(path: Path) -> pd.DataFrame:
    """Read `Sentences_50Agree.txt`: latin-1, one `text@label` per line, split at the last `@`."""
    lines = path.read_text(encoding="latin-1").splitlines()
    parts = (line.rpartition("@") for line in lines if line.strip())
    return _frame((text, label.strip()) for text, _, label in parts)


def read_fiqa(path: Path) -> pd.DataFrame:
    """Read PIXIU's `fiqasa/*.jsonl`: every ten consecutive rows are prompts for one text; one is kept."""
    turns = [json.loads(line)["conversations"] for line in _lines(path)][::10]
    return _frame((_PROMPT.search(human["value"])[1], agent["value"].lower()) for human, agent in turns)  # type: ignore[index]


def read_headlines(path: Path) -> pd.DataFrame:
    """Read `headlines.csv`: rows about a price with a direction; of several, up before down before stable."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["PriceOrNot"] == "1"]
    labelled = ((row["News"], [label for column, label in _DIRECTIONS.items() if row[column] == "1"]) for row in rows)
    return _frame((text, labels[0]) for text, labels in labelled if labels)


def read_finred(path: Path) -> pd.DataFrame:
    """Read FLaME's `FinRed/*.txt`: one row per triplet, with the two entities as `e1` and `e2`.

    A line is a sentence and its `e1 ; e2 ; relation` triplets, separated by ` | `. A part without exactly two ` ; `
    belongs to the sentence, which may contain ` | ` itself.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = [row for line in lines if line.strip() for row in _triplets(line)]
    return pd.DataFrame(rows, columns=["text", "label", "e1", "e2"])


def read_fomc(path: Path) -> pd.DataFrame:
    """Read one `lab-manual-split-combine-*.xlsx`: columns `sentence` and `label` (0 dovish, 1 hawkish, 2 neutral)."""
    sheet = pd.read_excel(path, engine="openpyxl")
    return _frame(
        (str(text), _STANCES[int(label)]) for text, label in zip(sheet["sentence"], sheet["label"], strict=True)
    )


def read_argument_train(path: Path) -> pd.DataFrame:
    """Read the ECC train file: JSON lines with `sentence` and `classification` (0 premise, 1 claim)."""
    rows = [json.loads(line) for line in _lines(path)]
    return _frame((row["sentence"], _UNITS[row["classification"]]) for row in rows)


def read_argument_dev(path: Path) -> pd.DataFrame:
    """Read the ECC dev file, whose JSON keys are its own first row: the text, and `0` for its label."""
    rows = [json.loads(line) for line in _lines(path)]
    (first,) = [key for key in rows[0] if key != "0"]
    return _frame([(first, _UNITS[0])] + [(row[first], _UNITS[row["0"]]) for row in rows])


def read_argument_test(path: Path, annotations: Path) -> pd.DataFrame:
    """Read the ECC test file, whose labels are blank, with the gold labels from the `.ann` files in `FinArg.zip`."""
    gold = _annotated_labels(annotations)
    sentences = [row["sentence"] for row in json.loads(path.read_text(encoding="utf-8"))]
    return _frame((sentence, gold[_letters(sentence)]) for sentence in sentences)


def read_deal(path: Path) -> pd.DataFrame:
    """Read BizBenchmark's `MA.json`: a list of objects with `Text` and `Answer`, sorted by class."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return _frame((row["Text"], row["Answer"].strip().lower()) for row in rows)


def read_causal(path: Path) -> pd.DataFrame:
    """Read the FinCausal CSV, which quotes nothing: `Index; Text; Gold`, split at the first and the last `;`."""
    bodies = (line.partition(";")[2].rpartition(";") for line in _lines(path)[1:])
    return _frame((text, "causal" if gold.strip() == "1" else "noise") for text, _, gold in bodies)


def relation_label(relation: str) -> str:
    """A raw relation as the task spells it: spaces for `_`, a bare `/` for ` / ` and ` or `."""
    return relation.strip().replace("_", " ").replace(" / ", "/").replace(" or ", "/")


def _frame(pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """(text, label) pairs as a frame, texts stripped."""
    return pd.DataFrame([(text.strip(), label) for text, label in pairs], columns=["text", "label"])


def _lines(path: Path) -> list[str]:
    # Not splitlines(): texts may contain other Unicode line separators.
    return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _annotated_labels(archive: Path) -> dict[str, str]:
    """The labels in a zip of annotations, by the letters of the annotated text."""
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.endswith(".ann")]
        lines = [line for name in names for line in opened.read(name).decode("utf-8").split("\n")]
    matches = (_ANNOTATION.match(line.rstrip("\r")) for line in lines)
    return {_letters(match[2]): match[1].lower() for match in matches if match}


def _triplets(line: str) -> Iterator[tuple[str, str, str, str]]:
    """The sentence, label and entities of each triplet of a FinRED line."""
    first, *rest = line.split(" | ")
    sentence = " | ".join([first, *(part for part in rest if part.count(" ; ") != 2)]).strip()
    for part in rest:
        if part.count(" ; ") == 2:
            e1, e2, relation = part.split(" ; ")
            yield sentence, relation_label(relation), e1.strip(), e2.strip()
