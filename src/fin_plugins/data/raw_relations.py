"""Raw FinRED files → frames with `text`, `label` and the two entities `e1`, `e2`: one row a triplet."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd


def relation_name(raw: str) -> str:
    """Return a relation as the task spells it: blanks for `_`, a bare `/` for ` / ` and ` or `."""
    return raw.strip().replace("_", " ").replace(" / ", "/").replace(" or ", "/")


def finred(path: Path) -> pd.DataFrame:
    """Read FLaME's `FinRed/*.txt`: a line is a sentence and its `e1 ; e2 ; relation` triplets, parted by ` | `.

    A part without exactly two ` ; ` belongs to the sentence, which may hold ` | ` itself.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = [row for line in lines if line.strip() for row in _triplets(line)]
    return pd.DataFrame(rows, columns=["text", "label", "e1", "e2"])


def _triplets(line: str) -> Iterator[tuple[str, str, str, str]]:
    first, *rest = line.split(" | ")
    sentence = " | ".join([first, *(part for part in rest if part.count(" ; ") != 2)]).strip()
    for part in rest:
        if part.count(" ; ") == 2:
            e1, e2, relation = part.split(" ; ")
            yield sentence, relation_name(relation), e1.strip(), e2.strip()
