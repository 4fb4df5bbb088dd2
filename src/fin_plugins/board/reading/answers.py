"""The committed form of a task's samples: `answers_<task>_<stamp>.csv`, with no word of any document in it.

A header and one line a document, in the order of the run:

    hash,gold,answer
    6bd68917e52960fd…,noise,causal
    d1f0…,causal,(missing)

`hash` is lm-eval's `doc_hash` (SHA-256 of the document; a later occurrence of the same document has `#2`, `#3` … behind
it), `gold` and `answer` are labels, and `(missing)` or `(ambiguous)` stand where a reply named none or several. The
label set, in its order, is `labels` of the task in the result file of the same stamp.
"""

import csv
import io
import re
from hashlib import sha256
from pathlib import Path

import numpy as np

from fin_plugins.board.model import Documents
from fin_plugins.board.reading.labels import NO_ANSWER
from fin_plugins.board.reading.raw import Answered, Raw
from fin_plugins.board.reading.values import MAX_LABELS, Unusable, rows_hash
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_bytes

_MOST = 256 << 20  # bytes: more than two million answers
_HEAD = ["hash", "gold", "answer"]
_BREAK = re.compile(r"[\r\n\0]")
_HASH = re.compile(r"[0-9a-f]{64}(#[0-9]{1,9})?")
_OUTSIDE = {code: f"({name})" for code, name in NO_ANSWER.items()}


def file_part(name: str) -> str:
    """A name as part of a file name; a hash tells apart what would otherwise become the same."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return plain if plain == name else f"{plain}-{sha256(name.encode()).hexdigest()[:8]}"


def answers_text(documents: Documents, labels: tuple[str, ...]) -> str:
    """The file's content; anything that is no hash or label cannot get into it.

    Raises:
        FinError: a hash does not look like one, or a label like an answer outside the labels.
    """
    if set(labels) & set(_OUTSIDE.values()) or len(set(labels)) < len(labels) or any(map(_BREAK.search, labels)):
        outside = " or ".join(_OUTSIDE.values())
        raise FinError(f"labels {labels}: two are the same, or one is {outside} or has a line break in it")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_HEAD)
    for one, gold, answer in zip(documents.hashes, documents.gold, documents.answers, strict=True):
        if not _HASH.fullmatch(one):
            raise FinError(f"{one[:80]!r} is no hash of a document: lm-eval writes 64 hexadecimal digits")
        writer.writerow([one, labels[gold], _OUTSIDE.get(int(answer)) or labels[answer]])
    return file.getvalue()


def read_answers(file: Path, raw: Raw) -> Answered:
    """Read the file.

    Raises:
        Unusable: it is cut off, damaged, or has other labels than the result file says.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_bytes(file, _MOST).decode(), newline=""), strict=True))
    except UnreadableFile as error:
        raise Unusable(error.reason) from error
    except (ValueError, csv.Error) as error:
        raise Unusable(f"is not valid CSV ({error})") from error
    if not rows or rows[0] != _HEAD:
        raise Unusable(f"does not begin with {','.join(_HEAD)}")
    if len(raw.labels) > MAX_LABELS:
        raise Unusable(f"its task has {len(raw.labels):,} labels, more than {MAX_LABELS:,}")
    index = {
        **{label: number for number, label in enumerate(raw.labels)},
        **{text: code for code, text in _OUTSIDE.items()},
    }
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3 or row[1] not in raw.labels or row[2] not in index or not _HASH.fullmatch(row[0]):
            raise Unusable(f"line {number} is not a hash, a gold label and an answer of this task")
    return _answered(rows[1:], raw, index)


def _answered(rows: list[list[str]], raw: Raw, index: dict[str, int]) -> Answered:
    hashes = tuple(row[0] for row in rows)
    if len(rows) != raw.n:
        raise Unusable(f"it has {len(rows)} of {raw.n} documents")
    if len(set(hashes)) != len(hashes):
        raise Unusable("a document occurs twice in it")
    gold, answers = (np.array([index[row[column]] for row in rows], dtype=np.int64) for column in (1, 2))
    return Answered(
        raw.labels, Documents(hashes, gold, answers), rows_hash(hashes, raw.labels), raw.prompts, raw.recomputed
    )
