"""Gold label and answer of one line of a sample file.

Tasks that score with `fin_plugins.tasks.results` record the pair themselves, and the reply or the likelihoods must say
the same. For other tasks it is derived: of a likelihood task from the scored continuations and the target, of a
generation task from the document's `choices` and `gold`, where it has them.
"""

import math
from dataclasses import dataclass
from typing import Any

from fin_plugins.board.model import Protocol
from fin_plugins.board.reading.values import NoLabels, Unusable, texts, whole
from fin_plugins.common.foreign_files import get_in
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING, parse_label

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One document's.

    Attributes:
        labels: label set.
        gold: gold label.
        answer: answered label, `MISSING` or `AMBIGUOUS`.
        recorded: whether the harness recorded the pair.
        from_scores: whether the answer is a choice's log-likelihood, and no reply.
        reread: whether today's parser would read the reply otherwise.
    """

    labels: tuple[str, ...]
    gold: int
    answer: int
    recorded: bool
    from_scores: bool
    reread: bool = False


def outcome(row: Row, protocol: Protocol) -> Outcome:
    """Gold label and answer.

    Raises:
        NoLabels: they cannot be told from this task's samples.
        Unusable: the line is damaged, or contradicts itself.
    """
    if "filtered_resps" not in row:
        raise Unusable("there is no `filtered_resps`")
    if protocol == "choice":
        answers = row["filtered_resps"]
        _check_finite(answers if isinstance(answers, list) else [])
    pair = _pair(row)
    if protocol == "choice":
        return _recorded_choice(row, pair) if pair else _derived_choice(row)
    return _reply(row, pair)


def reply_of(row: Row) -> str:
    """The model's reply in a generation task.

    Raises:
        NoLabels: there is not exactly one.
    """
    replies = row["filtered_resps"]
    replies = [replies] if isinstance(replies, str) else replies
    if not isinstance(replies, list) or len(replies) != 1 or not isinstance(replies[0], str):
        raise NoLabels("it has not one reply a document")
    return replies[0]


def arguments_of(row: Row) -> list[tuple[Any, ...]]:
    """What the model was asked, one entry a request: (prompt, continuation or settings)."""
    given = row.get("arguments")
    requests = list(given.values()) if isinstance(given, dict) else given if isinstance(given, list) else []
    return [
        tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in requests if isinstance(one, dict | list)
    ]


def _pair(row: Row) -> tuple[tuple[str, ...], int, int] | None:
    """Label set, gold label and answer as our `process_results` recorded them."""
    given = row.get("macro_f1")
    numbers = [whole(number) for number in given] if isinstance(given, list) and len(given) == 3 else []
    labels = texts(get_in(row, "doc", "choices"))
    if labels is None or not numbers or None in numbers:
        return None
    gold, answer, size = (number for number in numbers if number is not None)
    if size != len(labels) or not 0 <= gold < size or not AMBIGUOUS <= answer < size:
        raise Unusable(f"the recorded pair {given} does not fit the {len(labels)} labels", is_error=True)
    if whole(get_in(row, "doc", "gold")) != gold:
        raise Unusable("the recorded gold label is not the document's", is_error=True)
    return labels, gold, answer


def _recorded_choice(row: Row, pair: tuple[tuple[str, ...], int, int]) -> Outcome:
    labels, gold, answer = pair
    likeliest = _likeliest(row, len(labels))
    if likeliest != answer:
        raise Unusable(f"the likeliest label is {labels[likeliest]!r}, and {answer} is recorded", is_error=True)
    return Outcome(labels, gold, answer, recorded=True, from_scores=True)


def _derived_choice(row: Row) -> Outcome:
    requests = arguments_of(row)
    labels = tuple(str(request[1]).strip() for request in requests if len(request) == 2)
    if len(labels) < 2 or len(set(labels)) < len(requests):
        raise NoLabels("its choices are not one continuation each")
    answer, gold = _likeliest(row, len(labels)), _target(row, labels)
    if row.get("acc") not in (None, float(answer == gold)):
        raise NoLabels("its accuracy is not that of the likeliest choice")
    return Outcome(labels, gold, answer, recorded=False, from_scores=True)


def _target(row: Row, labels: tuple[str, ...]) -> int:
    """lm-eval takes a number for an index into the choices before it looks for a label of that name."""
    target = str(row.get("target")).strip()
    if target.isascii() and target.isdigit() and len(target) < 9 and int(target) < len(labels):
        return int(target)
    if target not in labels:
        raise NoLabels("its target is none of the choices")
    return labels.index(target)


def _likeliest(row: Row, size: int) -> int:
    """The first of the largest log-likelihoods; of a pruned label there is a bound below the largest instead."""
    try:
        likelihoods = [float(one[0]) for one in row["filtered_resps"]]
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise Unusable("`filtered_resps` are not log-likelihoods") from error
    if len(likelihoods) != size:
        raise NoLabels(f"it has {len(likelihoods)} scores for {size} choices")
    return likelihoods.index(max(likelihoods))


def _check_finite(answers: list[Any]) -> None:
    """Refuse likelihoods that are no numbers; of a label that cannot be, minus infinity is one.

    Raises:
        Unusable: one is nan or plus infinity, or all are minus infinity.
    """
    found = [likelihood for one in answers if (likelihood := _likelihood(one)) is not None]
    wrong = next((one for one in found if math.isnan(one) or one == math.inf), None)
    if wrong is None and found and max(found) == -math.inf:
        wrong = -math.inf
    if wrong is not None:
        said = f"a log-likelihood is not finite ({wrong}), as of a model whose weights are no numbers"
        raise Unusable(f"{said}: score it again", is_error=True)


def _likelihood(answer: Any) -> float | None:
    try:
        return float(answer[0])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError):
        return None


def _reply(row: Row, pair: tuple[tuple[str, ...], int, int] | None) -> Outcome:
    labels = texts(get_in(row, "doc", "choices"))
    gold = whole(get_in(row, "doc", "gold"))
    if not labels or gold is None or not 0 <= gold < len(labels):
        raise NoLabels("its documents name no `choices` and `gold`")
    aliases = get_in(row, "doc", "aliases")
    spellings = tuple(texts(one) or () for one in aliases) if isinstance(aliases, list) else ()
    try:
        answer = parse_label(reply_of(row), labels, spellings)
    except ValueError as error:
        raise NoLabels(f"its labels cannot be told apart ({error})") from error
    if pair is None:
        return Outcome(labels, gold, answer, recorded=False, from_scores=False)
    return Outcome(labels, gold, pair[2], recorded=True, from_scores=False, reread=answer != pair[2])


NO_ANSWER = {MISSING: "missing", AMBIGUOUS: "ambiguous"}
"""Names of what is no label."""
