"""Whether the harness's own figures follow from the samples beside them."""

import numpy as np

from fin_plugins.board.model import METRICS, RATES
from fin_plugins.board.reading.raw import Answered
from fin_plugins.board.reading.values import Unusable
from fin_plugins.stats.margins import scores_from_margins
from fin_plugins.stats.metrics import confusion
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING

_TOLERANCE = 1e-6  # sums in another order; the files have all digits


def recomputed(answered: Answered) -> dict[str, float]:
    """Metrics and rates, 0 to 1 (MCC -1 to 1), from gold labels and answers."""
    documents = answered.documents
    counts = confusion(documents.gold, documents.answers, len(answered.labels)).astype(np.float64)
    margins = (counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0))  # scikit-learn would take ten times as long
    found = dict(zip(METRICS, scores_from_margins(*(one[:, None] for one in margins))[:, 0].tolist(), strict=True))
    codes = dict(zip(RATES, (MISSING, AMBIGUOUS), strict=True))
    return {**found, **{name: float(np.mean(documents.answers == code)) for name, code in codes.items()}}


def check(answered: Answered, reported: dict[str, float]) -> None:
    """Compare every figure that both have.

    Raises:
        Unusable: some disagree; names the figures.
    """
    found = recomputed(answered)
    wrong = [
        f"{name} is {reported[name]:.6g} in the result file and {found[name]:.6g} recomputed from the samples"
        for name in answered.recomputed
        if name in reported and abs(reported[name] - found[name]) > _TOLERANCE
    ]
    if wrong:
        raise Unusable("; ".join(wrong), is_error=True)
