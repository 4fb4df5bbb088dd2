"""Raw files of the single-sentence data sets → frames with `text` and `label`, in file order.

Formats and counts: each function states its upstream file; the pins are in `sources.json`.
"""

import csv
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

_DIRECTIONS = {"DirectionUp": "up", "DirectionDown": "down", "DirectionConstant": "stable"}
_STANCES = {0: "dovish", 1: "hawkish", 2: "neutral"}
_UNITS = {0: "premise", 1: "claim"}
_PROMPT = re.compile(r"\nText: (.*)\nAnswer:\s*$", re.DOTALL)
_ANNOTATION = re.compile(r"^\S+ (CLAIM|PREMISE)\S* \d+ \d+ (.*)$")


def frame(pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """Return (text, label) pairs as a frame, white space at the ends of a text taken off."""
    return pd.DataFrame([(text.strip(), label) for text, label in pairs], columns=["text", "label"])


def phrasebank(path: Path) -> pd.DataFrame:
    """Read `Sentences_50Agree.txt`: latin-1, one `text@label` a line, split at the last `@`."""
    lines = path.read_text(encoding="latin-1").splitlines()
    parts = (line.rpartition("@") for line in lines if line.strip())
    return frame((text, label.strip()) for text, _, label in parts)


def fiqa(path: Path) -> pd.DataFrame:
    """Read PIXIU's `fiqasa/*.jsonl`: every ten consecutive rows are prompts around one text; one is kept."""
    turns = [json.loads(line)["conversations"] for line in _lines(path)][::10]
    return frame((_PROMPT.search(human["value"])[1], agent["value"].lower()) for human, agent in turns)  # type: ignore[index]


def headlines(path: Path) -> pd.DataFrame:
    """Read `headlines.csv`: the rows about a price that state a direction; of several, up before down before stable."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["PriceOrNot"] == "1"]
    stated = ((row["News"], [label for column, label in _DIRECTIONS.items() if row[column] == "1"]) for row in rows)
    return frame((text, found[0]) for text, found in stated if found)


def fomc(path: Path) -> pd.DataFrame:
    """Read one `lab-manual-split-combine-*.xlsx`: columns `sentence` and `label` (0 dovish, 1 hawkish, 2 neutral)."""
    sheet = pd.read_excel(path, engine="openpyxl")
    return frame(
        (str(text), _STANCES[int(label)]) for text, label in zip(sheet["sentence"], sheet["label"], strict=True)
    )


def argument_train(path: Path) -> pd.DataFrame:
    """Read the ECC train file: JSON lines with `sentence` and `classification` (0 premise, 1 claim)."""
    rows = [json.loads(line) for line in _lines(path)]
    return frame((row["sentence"], _UNITS[row["classification"]]) for row in rows)


def argument_dev(path: Path) -> pd.DataFrame:
    """Read the ECC dev file, whose JSON keys are its own swallowed first row: the text, and `0` for its label."""
    rows = [json.loads(line) for line in _lines(path)]
    (first,) = [key for key in rows[0] if key != "0"]
    return frame([(first, _UNITS[0])] + [(row[first], _UNITS[row["0"]]) for row in rows])


def argument_test(path: Path, annotations: Path) -> pd.DataFrame:
    """Read the ECC test file (blank labels) and take the gold from the `.ann` files in `FinArg.zip`."""
    gold = _annotated(annotations)
    sentences = [row["sentence"] for row in json.loads(path.read_text(encoding="utf-8"))]
    return frame((sentence, gold[_letters(sentence)]) for sentence in sentences)


def deal(path: Path) -> pd.DataFrame:
    """Read BizBenchmark's `MA.json`: a list of objects with `Text` and `Answer`, sorted by class."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return frame((row["Text"], row["Answer"].strip().lower()) for row in rows)


def causal(path: Path) -> pd.DataFrame:
    """Read the FinCausal csv, which quotes nothing: `Index; Text; Gold` split at the first and the last `;`."""
    bodies = (line.partition(";")[2].rpartition(";") for line in _lines(path)[1:])
    return frame((text, "causal" if gold.strip() == "1" else "noise") for text, _, gold in bodies)


def _lines(path: Path) -> list[str]:
    # Not splitlines(): a text may hold other line separators of Unicode.
    return [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _annotated(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.endswith(".ann")]
        lines = [line for name in names for line in opened.read(name).decode("utf-8").split("\n")]
    found = (_ANNOTATION.match(line.rstrip("\r")) for line in lines)
    return {_letters(match[2]): match[1].lower() for match in found if match}
