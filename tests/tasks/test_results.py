import pytest

from fin_plugins.tasks import results
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING

DOC = {"gold": 1, "choices": ["complete", "rumour"], "aliases": [["completed"], ["rumor"]], "data": "real"}


def test_likeliest_label_is_the_answer_first_of_equals() -> None:
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
    got = results.score_reply(DOC, [reply])
    assert got["mcc"] == (1, answer, 2)
    assert got["acc"] == float(answer == 1)
    assert (got["missing"], got["ambiguous"]) == rates


def test_stderr_follows_its_metric_so_that_it_overwrites_lm_evals() -> None:
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
