"""lm-eval's sample files: one line a document and filter, with everything the harness asked, got and computed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.board.model import METRICS, RATES, Documents, Protocol
from fin_plugins.board.reading.labels import Outcome, Row, arguments_of, outcome, reply_of
from fin_plugins.board.reading.lines import objects
from fin_plugins.board.reading.raw import Answered, Raw
from fin_plugins.board.reading.values import MAX_LABELS, NoLabels, Unusable, rows_hash, whole
from fin_plugins.common.foreign_files import get_in

# "Today Date: 26 Jul 2024", as templates of the Llama 3 family write it.
_DAY = re.compile(r"\b\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{4}\b")
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


@dataclass(frozen=True)
class _Sample:
    """What is kept of a line."""

    id: int
    hash: str
    prompt: str
    outcome: Outcome | NoLabels
    text: str | None
    reply: str | None


def read_samples(file: Path, raw: Raw, *, with_documents: bool) -> Answered:
    """Read a sample file.

    Raises:
        Unusable: it is cut off, damaged, belongs to another run, or contradicts itself.
        NoLabels: it is whole, but gold label and answer cannot be told from it.
    """
    seal, samples, filters = sha256(), [], set()
    for number, row in objects(file):
        seal.update("".join(str(row.get(name)) for name in _HASHES).encode())
        filters.add(str(row.get("filter", raw.filter)))
        if str(row.get("filter", raw.filter)) == raw.filter:
            samples.append(_sample(row, number, raw, with_documents))
    _check_whole(samples, raw, seal.hexdigest())
    samples.sort(key=lambda sample: sample.id)
    hashes = unique(sample.hash for sample in samples)
    prompts = _hash_of_prompts(hashes, [sample.prompt for sample in samples])
    try:
        outcomes = _outcomes(samples)
    except NoLabels as reason:
        raise NoLabels(str(reason), rows_hash(hashes, ()), prompts) from reason
    return _answered(samples, outcomes, hashes, prompts, _notes(outcomes, raw.protocol, filters - {raw.filter}))


def _sample(row: Row, number: int, raw: Raw, with_documents: bool) -> _Sample:
    identifier, document = whole(row.get("doc_id")), row.get("doc_hash")
    if identifier is None or not isinstance(document, str) or not document:
        raise Unusable(f"line {number} has no doc_id or doc_hash: from another version of lm-eval?")
    found: Outcome | NoLabels
    try:
        found = outcome(row, raw.protocol)
    except NoLabels as reason:
        found = reason  # the other lines may still show that the file is damaged
    except Unusable as error:
        raise Unusable(f"line {number}: {error}", is_error=error.is_error) from error
    text, reply = (_text(row), reply_of(row) if raw.protocol == "gen" else None) if with_documents else (None, None)
    return _Sample(identifier, document, _prompt(row, raw.run.dated), found, text, reply)


def _prompt(row: Row, dated: bool) -> str:
    """Hash of the prompt; of one with the day in it, a hash without the day."""
    requests = arguments_of(row)
    if dated and requests and requests[0]:
        return sha256(_DAY.sub("a day", str(requests[0][0])).encode()).hexdigest()
    return str(row.get("prompt_hash") or "")


def _text(row: Row) -> str:
    said = get_in(row, "doc", "text")
    if isinstance(said, str):
        return said
    requests = arguments_of(row)
    return str(requests[0][0]) if requests and requests[0] else ""


def _check_whole(samples: Sequence[_Sample], raw: Raw, seal: str) -> None:
    """Check that the lines are all there, and those that the result file was made from."""
    if not samples:
        raise Unusable("it has no lines" if raw.n else "it was run on 0 documents")
    if raw.n is not None and len(samples) != raw.n:
        raise Unusable(f"it has {len(samples)} of {raw.n} documents: a killed run, perhaps")
    if len({sample.id for sample in samples}) != len(samples):
        raise Unusable("a document occurs twice in it")
    if raw.task_hash and raw.task_hash != seal:
        raise Unusable(
            "its hashes are not those of the result file: it was changed, or is of another run", is_error=True
        )


def _outcomes(samples: Sequence[_Sample]) -> list[Outcome]:
    """Every document's outcome.

    Raises:
        NoLabels: one has none, or the label set is not one.
    """
    found = []
    for sample in samples:
        if isinstance(sample.outcome, NoLabels):
            raise sample.outcome
        found.append(sample.outcome)
    if any(one.labels != found[0].labels for one in found):
        raise NoLabels("its choices differ from document to document")
    if len(found[0].labels) > MAX_LABELS:
        raise NoLabels(f"it has {len(found[0].labels):,} labels, more than {MAX_LABELS:,}")
    if len(found) < 2 and not found[0].recorded:
        raise NoLabels("one document does not show which part of it is the label set")
    return found


def _answered(
    samples: Sequence[_Sample], outcomes: Sequence[Outcome], hashes: tuple[str, ...], prompts: str, notes: list[str]
) -> Answered:
    labels, derived = outcomes[0].labels, [one for one in outcomes if not one.recorded]
    documents = Documents(
        hashes=hashes,
        gold=np.array([one.gold for one in outcomes], dtype=np.int64),
        answers=np.array([one.answer for one in outcomes], dtype=np.int64),
        texts=_all_or_none(sample.text for sample in samples),
        replies=_all_or_none(sample.reply for sample in samples),
    )
    recomputed = (*METRICS, *RATES) if not derived else ("acc",) if derived[0].from_scores else ()
    return Answered(labels, documents, rows_hash(hashes, labels), prompts, recomputed, tuple(notes))


def unique(hashes: Iterable[str]) -> tuple[str, ...]:
    """Hashes with the number of their occurrence behind them, from the second on."""
    seen: dict[str, int] = {}
    found = []
    for one in hashes:
        seen[one] = seen.get(one, 0) + 1
        found.append(one if seen[one] == 1 else f"{one}#{seen[one]}")
    return tuple(found)


def _hash_of_prompts(hashes: Sequence[str], prompts: Sequence[str]) -> str:
    lines = sorted(f"{document} {prompt}" for document, prompt in zip(hashes, prompts, strict=True))
    return sha256("\n".join(lines).encode()).hexdigest()[:16] if all(prompts) else ""


def _all_or_none(values: Iterable[Any]) -> tuple[str, ...] | None:
    found = tuple(values)
    return None if any(value is None for value in found) else found


def _notes(outcomes: Sequence[Outcome], protocol: Protocol, others: set[str]) -> list[str]:
    notes = []
    if others:
        notes.append(f"One of lm-eval's filters is shown; there is also {', '.join(sorted(others))[:80]}.")
    if protocol == "gen" and not all(one.recorded for one in outcomes):
        notes.append("Replies were read by this package's parser: the task itself has a rule of its own.")
    reread = sum(one.reread for one in outcomes)
    if reread:
        notes.append(
            f"Recorded answers stand; today's parser would read {reread} of {len(outcomes)} replies otherwise."
        )
    return notes
