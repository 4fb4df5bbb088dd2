"""Validation as evaluation does it: the labels' likelihoods on rows held back from training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.stats.metrics import Scores, scores

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


@dataclass(frozen=True)
class ValidationRows:
    """The validation rows of one task."""

    requests: "Sequence[Sequence[Instance]]"
    """For each row one request a label."""
    gold: Sequence[int]

    @property
    def labels(self) -> int:
        """Size of the label set."""
        return len(self.requests[0])


def validate(lm: Any, rows: Mapping[str, ValidationRows], gather: Any = None) -> dict[str, Scores]:
    """Score every task's rows.

    Args:
        lm: an lm-eval model; its `loglikelihood` is asked.
        rows: by task.
        gather: with several processes, (their number, this one's, a function that joins their lists in order); each
            scores its share of the rows.

    Returns:
        Scores by task. The first of several labels with the same likelihood is the answer, as in evaluation.
    """
    processes, own, join = gather or (1, 0, None)
    found = {}
    for task, held in rows.items():
        answers = likeliest(lm, held.requests[own::processes])
        gold = list(held.gold[own::processes])
        if join is not None:
            answers, gold = join(answers), join(gold)
        found[task] = scores(gold, answers, held.labels)
    return found


def likeliest(lm: Any, requests: "Sequence[Sequence[Instance]]") -> list[int]:
    """The likeliest label of every row, of several the first; all rows are asked at once."""
    likelihoods = iter(lm.loglikelihood([one for row in requests for one in row], disable_tqdm=True))
    rows = [[next(likelihoods)[0] for _ in row] for row in requests]
    return [max(range(len(row)), key=row.__getitem__) for row in rows]
