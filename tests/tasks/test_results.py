"""Metrics of single documents, and their aggregations."""

import pytest

from fin_plugins.tasks import results
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING

DOC = {"gold": 1, "choices": ["complete", "rumour"], "aliases": [["completed"], ["rumor"]], "data": "real"}


def test_the_likeliest_label_is_the_answer() -> None:
    assert results.score_choice(DOC, [(-3.0, False), (-1.0, True)])["macro_f1"] == (1, 1, 2)
    assert results.score_choice(DOC, [(-1.0, False), (-1.0, True)])["acc"] == 0.0


@pytest.mark.parametrize(
    ("reply", "answer", "rates"),
    [
        (" rumour", 1, (0, 0)),
        ("It is a Rumor.", 1, (0, 0)),
        ("completed", 0, (0, 0)),
        ("hawkish", MISSING, (1, 0)),
        ("complete or rumour", AMBIGUOUS, (0, 1)),
    ],
)
def test_reply(reply: str, answer: int, rates: tuple[int, int]) -> None:
    metrics = results.score_reply(DOC, [reply])
    assert metrics["mcc"] == (1, answer, 2)
    assert metrics["acc"] == float(answer == 1)
    assert (metrics["missing"], metrics["ambiguous"]) == rates


def test_a_standard_error_follows_its_metric_and_so_replaces_lm_evals() -> None:
    names = list(results.score_choice(DOC, [(0.0, True), (-1.0, False)]))
    for metric in ("weighted_f1", "macro_f1", "mcc"):
        assert names.index(f"{metric}_stderr") == names.index(metric) + 1
    assert "sample_rows" not in names


def test_sample_rows_are_marked() -> None:
    assert results.score_choice({**DOC, "data": "sample"}, [(0.0, True), (-1.0, False)])["sample_rows"] == 1.0


def test_aggregations_are_total() -> None:
    for pairs in ([(0, -1, 2)], [(0, 0, 2)], [(1, -2, 29), (0, 28, 29)]):
        for name in ("weighted_f1", "macro_f1", "mcc"):
            assert isinstance(getattr(results, name)(pairs), float)
            assert isinstance(getattr(results, f"{name}_stderr")(pairs), float)
