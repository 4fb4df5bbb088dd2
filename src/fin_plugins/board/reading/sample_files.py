"""Parsing lm-eval's sample files, which hold one line per document and filter: gold labels and answers.

Tasks that score with `fin_plugins.tasks.results` record the pair themselves; reply or likelihoods must agree with it.
For other tasks it is derived: with likelihoods, from the scored continuations and the target; with generation, from
the document's `choices` and `gold`, if present.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fin_plugins.board.board_data import METRICS, RATES, Documents, Protocol
from fin_plugins.board.reading.json_utils import (
    MAX_LABELS,
    UnknownLabels,
    UnusableFile,
    as_int,
    as_strings,
    hash_rows,
    iter_json_lines,
)
from fin_plugins.board.reading.result_files import TaskResult
from fin_plugins.common.foreign_files import get_in
from fin_plugins.tasks.label_parser import AMBIGUOUS, parse_label

# For example "Today Date: 26 Jul 2024", from templates of the Llama 3 family.
_DATE = re.compile(r"\b\d{1,2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{4}\b")
_HASH_KEYS = ("doc_hash", "prompt_hash", "target_hash")
Row = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """The answers of one task, from its samples.

    Attributes:
        labels: label set.
        documents: outcome of each document.
        rows: hash of documents and label set.
        prompts: hash of all prompts, in the order of the document hashes; empty if unknown.
        recomputed: metrics that must agree with the reported ones.
        notes: remarks for the reader.
    """

    labels: tuple[str, ...]
    documents: Documents
    rows: str
    prompts: str
    recomputed: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Gold label and answer of one document.

    Attributes:
        labels: label set.
        gold: gold label.
        answer: predicted label, `MISSING` or `AMBIGUOUS`.
        recorded: whether the task recorded the pair.
        from_scores: whether the answer comes from log-likelihoods rather than a reply.
        reparsed_differently: whether the current parser would read the reply differently.
    """

    labels: tuple[str, ...]
    gold: int
    answer: int
    recorded: bool
    from_scores: bool
    reparsed_differently: bool = False


@dataclass(frozen=True)
class _Sample:
    id: int
    hash: str
    prompt: str
    outcome: Outcome | UnknownLabels
    text: str | None
    reply: str | None


def read_samples(file: Path, task: TaskResult, *, with_documents: bool) -> Answers:
    """Read a sample file.

    Raises:
        UnusableFile: it is cut off, damaged, belongs to another run, or contradicts itself.
        UnknownLabels: it is complete but does not reveal gold label and answer.
    """
    seal, samples, other_filters = sha256(), [], set()
    for number, row in iter_json_lines(file):
        seal.update("".join(str(row.get(name)) for name in _HASH_KEYS).encode())
        filter_name = str(row.get("filter", task.filter))
        if filter_name == task.filter:
            samples.append(_parse_sample(row, number, task, with_documents))
        else:
            other_filters.add(filter_name)
    _check_complete(samples, task, seal.hexdigest())
    samples.sort(key=lambda sample: sample.id)
    hashes = unique_hashes(sample.hash for sample in samples)
    prompts = _hash_prompts(hashes, [sample.prompt for sample in samples])
    try:
        outcomes = _common_outcomes(samples)
    except UnknownLabels as reason:
        raise UnknownLabels(str(reason), hash_rows(hashes, ()), prompts) from reason
    labels = outcomes[0].labels
    documents = Documents(
        hashes=hashes,
        gold=np.array([outcome.gold for outcome in outcomes], dtype=np.int64),
        answers=np.array([outcome.answer for outcome in outcomes], dtype=np.int64),
        texts=_all_or_none(sample.text for sample in samples),
        replies=_all_or_none(sample.reply for sample in samples),
    )
    if all(outcome.recorded for outcome in outcomes):
        recomputed: tuple[str, ...] = (*METRICS, *RATES)
    else:
        derived = next(outcome for outcome in outcomes if not outcome.recorded)
        recomputed = ("acc",) if derived.from_scores else ()
    notes = _notes(outcomes, task.protocol, other_filters)
    return Answers(labels, documents, hash_rows(hashes, labels), prompts, recomputed, notes)


def parse_outcome(row: Row, protocol: Protocol) -> Outcome:
    """Gold label and answer of one line.

    Raises:
        UnknownLabels: this task's samples do not reveal them.
        UnusableFile: the line is damaged or contradicts itself.
    """
    if "filtered_resps" not in row:
        raise UnusableFile("`filtered_resps` is missing")
    if protocol == "choice":
        _check_likelihoods(row["filtered_resps"])
        pair = _recorded_pair(row)
        return _recorded_choice(row, pair) if pair else _derived_choice(row)
    return _generated_answer(row, _recorded_pair(row))


def unique_hashes(hashes: Iterable[str]) -> tuple[str, ...]:
    """The hashes, with `#2`, `#3` … appended to repeated ones."""
    counts: dict[str, int] = {}
    unique = []
    for document in hashes:
        counts[document] = counts.get(document, 0) + 1
        unique.append(document if counts[document] == 1 else f"{document}#{counts[document]}")
    return tuple(unique)


def _parse_sample(row: Row, number: int, task: TaskResult, with_documents: bool) -> _Sample:
    identifier, document = as_int(row.get("doc_id")), row.get("doc_hash")
    if identifier is None or not isinstance(document, str) or not document:
        raise UnusableFile(f"line {number} has no doc_id or doc_hash; it may be from another version of lm-eval")
    outcome: Outcome | UnknownLabels
    try:
        outcome = parse_outcome(row, task.protocol)
    except UnknownLabels as reason:
        outcome = reason  # a later line may still show that the file is damaged
    except UnusableFile as error:
        raise UnusableFile(f"line {number}: {error}", is_error=error.is_error) from error
    text = _text(row) if with_documents else None
    reply = _reply(row) if with_documents and task.protocol == "gen" else None
    return _Sample(identifier, document, _prompt_hash(row, task.run.template_has_date), outcome, text, reply)


def _prompt_hash(row: Row, has_date: bool) -> str:
    """Hash of the prompt, ignoring the date that some templates insert."""
    requests = _requests(row)
    if has_date and requests and requests[0]:
        return sha256(_DATE.sub("a day", str(requests[0][0])).encode()).hexdigest()
    return str(row.get("prompt_hash") or "")


def _text(row: Row) -> str:
    text = get_in(row, "doc", "text")
    if isinstance(text, str):
        return text
    requests = _requests(row)
    return str(requests[0][0]) if requests and requests[0] else ""


def _check_complete(samples: Sequence[_Sample], task: TaskResult, seal: str) -> None:
    """Check that all lines are there and that the result file was made from them."""
    if not samples:
        raise UnusableFile("it has no lines" if task.n else "it was run on 0 documents")
    if task.n is not None and len(samples) != task.n:
        raise UnusableFile(f"it has {len(samples)} of {task.n} documents, perhaps because the run was killed")
    if len({sample.id for sample in samples}) != len(samples):
        raise UnusableFile("a document occurs twice in it")
    if task.task_hash and task.task_hash != seal:
        message = "its hashes differ from those in the result file: it was changed or belongs to another run"
        raise UnusableFile(message, is_error=True)


def _common_outcomes(samples: Sequence[_Sample]) -> list[Outcome]:
    """The outcomes, all over one label set.

    Raises:
        UnknownLabels: an outcome is unknown, or there is no common label set.
    """
    outcomes = []
    for sample in samples:
        if isinstance(sample.outcome, UnknownLabels):
            raise sample.outcome
        outcomes.append(sample.outcome)
    labels = outcomes[0].labels
    if any(outcome.labels != labels for outcome in outcomes):
        raise UnknownLabels("its choices differ from document to document")
    if len(labels) > MAX_LABELS:
        raise UnknownLabels(f"it has {len(labels):,} labels, more than {MAX_LABELS:,}")
    if len(outcomes) < 2 and not outcomes[0].recorded:
        raise UnknownLabels("one document does not show which part of it is the label set")
    return outcomes


def _hash_prompts(hashes: Sequence[str], prompts: Sequence[str]) -> str:
    lines = sorted(f"{document} {prompt}" for document, prompt in zip(hashes, prompts, strict=True))
    return sha256("\n".join(lines).encode()).hexdigest()[:16] if all(prompts) else ""


def _all_or_none(values: Iterable[Any]) -> tuple[str, ...] | None:
    texts = tuple(values)
    return None if any(text is None for text in texts) else texts


def _notes(outcomes: Sequence[Outcome], protocol: Protocol, other_filters: set[str]) -> tuple[str, ...]:
    notes = []
    if other_filters:
        notes.append(f"One of lm-eval's filters is shown; there is also {', '.join(sorted(other_filters))[:80]}.")
    if protocol == "gen" and not all(outcome.recorded for outcome in outcomes):
        notes.append("Replies were read by this package's parser: the task itself has a rule of its own.")
    reparsed = sum(outcome.reparsed_differently for outcome in outcomes)
    if reparsed:
        notes.append(
            f"Recorded answers stand; today's parser would read {reparsed} of {len(outcomes)} replies otherwise."
        )
    return tuple(notes)


def _reply(row: Row) -> str:
    replies = row["filtered_resps"]
    replies = [replies] if isinstance(replies, str) else replies
    if not isinstance(replies, list) or len(replies) != 1 or not isinstance(replies[0], str):
        raise UnknownLabels("it does not have one reply per document")
    return replies[0]


def _requests(row: Row) -> list[tuple[Any, ...]]:
    """The requests to the model: (prompt, continuation or settings) each."""
    arguments = row.get("arguments")
    requests = list(arguments.values()) if isinstance(arguments, dict) else arguments
    if not isinstance(requests, list):
        return []
    return [
        tuple(request.values()) if isinstance(request, dict) else tuple(request)
        for request in requests
        if isinstance(request, dict | list)
    ]


def _recorded_pair(row: Row) -> tuple[tuple[str, ...], int, int] | None:
    """Label set, gold label and answer as recorded by our `process_results`; None for other tasks."""
    triple = row.get("macro_f1")
    numbers = [as_int(number) for number in triple] if isinstance(triple, list) and len(triple) == 3 else []
    labels = as_strings(get_in(row, "doc", "choices"))
    if labels is None or not numbers or None in numbers:
        return None
    gold, answer, size = (number for number in numbers if number is not None)
    if size != len(labels) or not 0 <= gold < size or not AMBIGUOUS <= answer < size:
        raise UnusableFile(f"the recorded pair {triple} does not fit the {len(labels)} labels", is_error=True)
    if as_int(get_in(row, "doc", "gold")) != gold:
        raise UnusableFile("the recorded gold label differs from the document's", is_error=True)
    return labels, gold, answer


def _recorded_choice(row: Row, pair: tuple[tuple[str, ...], int, int]) -> Outcome:
    labels, gold, answer = pair
    likeliest = _likeliest(row, len(labels))
    if likeliest != answer:
        message = f"the likeliest label is {labels[likeliest]!r}, but {answer} is recorded"
        raise UnusableFile(message, is_error=True)
    return Outcome(labels, gold, answer, recorded=True, from_scores=True)


def _derived_choice(row: Row) -> Outcome:
    requests = _requests(row)
    labels = tuple(str(request[1]).strip() for request in requests if len(request) == 2)
    if len(labels) < 2 or len(set(labels)) < len(requests):
        raise UnknownLabels("its choices are not one continuation each")
    answer, gold = _likeliest(row, len(labels)), _target(row, labels)
    if row.get("acc") not in (None, float(answer == gold)):
        raise UnknownLabels("its accuracy is not that of the likeliest choice")
    return Outcome(labels, gold, answer, recorded=False, from_scores=True)


def _target(row: Row, labels: tuple[str, ...]) -> int:
    """The target as an index. Like lm-eval, a number is an index first and a label second."""
    target = str(row.get("target")).strip()
    if target.isascii() and target.isdigit() and len(target) < 9 and int(target) < len(labels):
        return int(target)
    if target not in labels:
        raise UnknownLabels("its target is none of the choices")
    return labels.index(target)


def _likeliest(row: Row, size: int) -> int:
    """The first of the largest log-likelihoods. A pruned label has a bound below the largest instead."""
    responses = row["filtered_resps"]
    likelihoods = [_likelihood(response) for response in responses] if isinstance(responses, list) else [None]
    known = [likelihood for likelihood in likelihoods if likelihood is not None]
    if len(known) < len(likelihoods):
        raise UnusableFile("`filtered_resps` are not log-likelihoods")
    if len(known) != size:
        raise UnknownLabels(f"it has {len(known)} scores for {size} choices")
    return known.index(max(known))


def _check_likelihoods(responses: Any) -> None:
    """Refuse nan and infinity. Minus infinity is the likelihood of an impossible label, unless all labels have it.

    Raises:
        UnusableFile: a likelihood is not finite.
    """
    responses = responses if isinstance(responses, list) else []
    known = [likelihood for response in responses if (likelihood := _likelihood(response)) is not None]
    wrong = next((likelihood for likelihood in known if math.isnan(likelihood) or likelihood == math.inf), None)
    if wrong is None and known and max(known) == -math.inf:
        wrong = -math.inf
    if wrong is not None:
        message = f"a log-likelihood is not finite ({wrong}), perhaps because the weights are nan: evaluate again"
        raise UnusableFile(message, is_error=True)


def _likelihood(response: Any) -> float | None:
    try:
        return float(response[0])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None


def _generated_answer(row: Row, pair: tuple[tuple[str, ...], int, int] | None) -> Outcome:
    labels = as_strings(get_in(row, "doc", "choices"))
    gold = as_int(get_in(row, "doc", "gold"))
    if not labels or gold is None or not 0 <= gold < len(labels):
        raise UnknownLabels("its documents name no `choices` and `gold`")
    aliases = get_in(row, "doc", "aliases")
    spellings = tuple(as_strings(names) or () for names in aliases) if isinstance(aliases, list) else ()
    try:
        answer = parse_label(_reply(row), labels, spellings)
    except ValueError as error:
        raise UnknownLabels(f"its labels cannot be told apart ({error})") from error
    if pair is None:
        return Outcome(labels, gold, answer, recorded=False, from_scores=False)
    return Outcome(labels, gold, pair[2], recorded=True, from_scores=False, reparsed_differently=answer != pair[2])
