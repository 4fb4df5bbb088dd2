"""The exported form of a task's samples, `answers_<task>_<stamp>.csv`, which contains no document text.

A header and one line per document, in the order of the run:

    hash,gold,answer
    6bd68917e52960fd…,noise,causal
    d1f0…,causal,(missing)

`hash` is lm-eval's `doc_hash`, a SHA-256 hash of the document, with `#2`, `#3` … appended to repeated documents. `gold`
and `answer` are labels; `(missing)` and `(ambiguous)` stand for replies that name no or several labels. The label set
is `labels` of the task in the result file with the same stamp.
"""

import csv
import io
import re
from hashlib import sha256
from pathlib import Path

import numpy as np

from fin_plugins.board.board_data import Documents
from fin_plugins.board.reading.json_utils import MAX_LABELS, UnusableFile, hash_rows
from fin_plugins.board.reading.result_files import TaskResult
from fin_plugins.board.reading.sample_files import Answers
from fin_plugins.common.errors import FinError
from fin_plugins.common.foreign_files import UnreadableFile, read_bytes
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING

_MAX_BYTES = 256 << 20  # more than two million answers
_HEADER = ["hash", "gold", "answer"]
_LINE_BREAK = re.compile(r"[\r\n\0]")
_HASH = re.compile(r"[0-9a-f]{64}(#[0-9]{1,9})?")
_NO_LABEL = {MISSING: "(missing)", AMBIGUOUS: "(ambiguous)"}


def file_name_part(name: str) -> str:
    """A name as part of a file name; if characters are replaced, a hash keeps different names apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80]
    return safe if safe == name else f"{safe}-{sha256(name.encode()).hexdigest()[:8]}"


def format_answers(documents: Documents, labels: tuple[str, ...]) -> str:
    """The content of an answer file, which can only hold hashes and labels.

    Raises:
        FinError: a hash does not look like one, or labels could be confused with each other or with a missing answer.
    """
    no_label = _NO_LABEL.values()
    if set(labels) & set(no_label) or len(set(labels)) < len(labels) or any(map(_LINE_BREAK.search, labels)):
        raise FinError(f"labels {labels}: two are equal, one is {' or '.join(no_label)}, or one has a line break")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_HEADER)
    for document, gold, answer in zip(documents.hashes, documents.gold, documents.answers, strict=True):
        if not _HASH.fullmatch(document):
            raise FinError(f"{document[:80]!r} is not a document hash: lm-eval writes 64 hexadecimal digits")
        writer.writerow([document, labels[gold], _NO_LABEL.get(int(answer)) or labels[answer]])
    return file.getvalue()


def read_answers(file: Path, task: TaskResult) -> Answers:
    """Read an answer file.

    Raises:
        UnusableFile: it is cut off, damaged, or has other labels than the result file.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_bytes(file, _MAX_BYTES).decode(), newline=""), strict=True))
    except UnreadableFile as error:
        raise UnusableFile(error.reason) from error
    except (ValueError, csv.Error) as error:
        raise UnusableFile(f"is not valid CSV ({error})") from error
    if not rows or rows[0] != _HEADER:
        raise UnusableFile(f"does not begin with {','.join(_HEADER)}")
    labels = task.labels
    if len(labels) > MAX_LABELS:
        raise UnusableFile(f"its task has {len(labels):,} labels, more than {MAX_LABELS:,}")
    codes = {label: number for number, label in enumerate(labels)} | {text: code for code, text in _NO_LABEL.items()}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3 or row[1] not in labels or row[2] not in codes or not _HASH.fullmatch(row[0]):
            raise UnusableFile(f"line {number} is not a hash, a gold label and an answer of this task")
    if len(rows) - 1 != task.n:
        raise UnusableFile(f"it has {len(rows) - 1} of {task.n} documents")
    hashes = tuple(row[0] for row in rows[1:])
    if len(set(hashes)) != len(hashes):
        raise UnusableFile("a document occurs twice in it")
    gold, answers = (np.array([codes[row[place]] for row in rows[1:]], dtype=np.int64) for place in (1, 2))
    return Answers(labels, Documents(hashes, gold, answers), hash_rows(hashes, labels), task.prompts, task.recomputed)
