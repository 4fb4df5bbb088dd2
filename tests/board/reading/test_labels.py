"""Gold label and answer of one line, for tasks of ours and of others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.reading.labels import outcome
from fin_plugins.board.reading.values import NoLabels, Unusable
from fin_plugins.tasks.parser import AMBIGUOUS, MISSING
from fin_plugins.tasks.results import score_choice, score_reply

LABELS = ["complete", "rumour"]
DOC = {"text": "t", "choices": LABELS, "aliases": [["completed"], ["rumor"]], "gold": 1}


def ours(scores: list[float], gold: int = 1, **changes: Any) -> dict[str, Any]:
    """A line as lm-eval writes it: everything answered is text, and pairs are lists."""
    doc = {**DOC, "gold": gold}
    recorded = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in score_choice(doc, [(score, False) for score in scores]).items()
    }
    answers = [[str(score), "False"] for score in scores]
    return {"doc": doc, "filtered_resps": answers, "target": str(gold), **recorded, **changes}


def said(reply: str, gold: int = 1, **changes: Any) -> dict[str, Any]:
    doc = {**DOC, "gold": gold}
    recorded = {
        key: list(value) if isinstance(value, tuple) else value for key, value in score_reply(doc, [reply]).items()
    }
    return {"doc": doc, "filtered_resps": [reply], "target": LABELS[gold], **recorded, **changes}


def others(
    scores: list[str], target: str, choices: tuple[str, ...] = (" even", " odd"), **changes: Any
) -> dict[str, Any]:
    arguments = {f"gen_args_{i}": {"arg_0": "Is it?", "arg_1": choice} for i, choice in enumerate(choices)}
    answers = [[score, "False"] for score in scores]
    return {"doc": {"q": "Is it?"}, "arguments": arguments, "filtered_resps": answers, "target": target, **changes}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), st.integers(0, 1))
def test_a_choice_is_what_was_recorded(scores: list[float], gold: int) -> None:
    found = outcome(ours(scores, gold), "choice")
    assert (found.gold, found.answer) == (gold, scores.index(max(scores)))
    assert found.recorded and found.labels == tuple(LABELS)


def test_pruned_labels_have_a_bound_and_no_word_on_greediness() -> None:
    line = ours([-9.5, -0.1])
    line["filtered_resps"] = [["-9.5", "None"], ["-0.1", "True"]]
    assert outcome(line, "choice").answer == 1


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("rumour", 1), ("It was completed.", 0), ("lol", MISSING), ("complete or rumour", AMBIGUOUS), ("", MISSING)],
)
def test_a_reply_is_parsed_where_nothing_is_recorded(reply: str, answer: int) -> None:
    recorded = outcome(said(reply), "gen")
    assert (recorded.answer, recorded.recorded, recorded.reread) == (answer, True, False)
    line = {"doc": DOC, "filtered_resps": [reply]}
    assert (outcome(line, "gen").answer, outcome(line, "gen").recorded) == (answer, False)


def test_a_recorded_reply_stands_where_todays_parser_reads_it_otherwise() -> None:
    line = said("rumour")
    line["macro_f1"] = [1, 0, 2]
    found = outcome(line, "gen")
    assert (found.answer, found.reread) == (0, True)


@pytest.mark.parametrize(
    ("scores", "target", "gold", "answer"),
    [
        (["-1", "-2"], "1", 1, 0),  # lm-eval reads a number as an index
        (["-2", "-1"], "odd", 1, 1),
        (["-1", "-1"], " even ", 0, 0),
        (["-inf", "-3.5"], "0", 0, 1),
    ],
)
def test_choices_of_other_tasks(scores: list[str], target: str, gold: int, answer: int) -> None:
    found = outcome(others(scores, target), "choice")
    assert (found.labels, found.gold, found.answer) == (("even", "odd"), gold, answer)
    assert not found.recorded


def test_numbers_as_labels_are_indices_first() -> None:
    assert outcome(others(["-1", "-2"], "1", (" 1", " 2"), acc=0.0), "choice").gold == 1
    with pytest.raises(NoLabels, match="its accuracy is not that of the likeliest choice"):
        outcome(others(["-1", "-2"], "1", (" 1", " 2"), acc=1.0), "choice")


def test_arguments_as_older_versions_write_them() -> None:
    line = others(["-1", "-2"], "odd")
    line["arguments"] = [["Is it?", " even"], ["Is it?", " odd"]]
    assert outcome(line, "choice").labels == ("even", "odd")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (others(["-1", "-2"], "maybe"), "its target is none of the choices"),
        (others(["-1", "-2"], "[0, 1]"), "its target is none of the choices"),
        (others(["-1", "-2"], "7"), "its target is none of the choices"),
        (others(["-1", "-2"], "0", (" same", " same")), "its choices are not one continuation each"),
        (others(["-1"], "0", (" only",)), "its choices are not one continuation each"),
        (others(["-1", "-2", "-3", "-4"], "0"), "it has 4 scores for 2 choices"),
        ({"filtered_resps": ["x"], "doc": {"text": "t"}}, "its choices are not one continuation each"),
    ],
)
def test_choices_that_show_no_labels(line: dict[str, Any], why: str) -> None:
    with pytest.raises(NoLabels, match=why.replace("[", r"\[")):
        outcome(line, "choice")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"filtered_resps": ["x"], "doc": {"text": "t"}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x"], "doc": {**DOC, "gold": 2}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x"], "doc": {**DOC, "gold": -100}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x", "y"], "doc": DOC}, "it has not one reply a document"),
        ({"filtered_resps": [["x"]], "doc": DOC}, "it has not one reply a document"),
        ({"filtered_resps": ["x"], "doc": {"choices": ["A", "a"], "gold": 0}}, "its labels cannot be told apart"),
    ],
)
def test_replies_that_show_no_labels(line: dict[str, Any], why: str) -> None:
    with pytest.raises(NoLabels, match=why):
        outcome(line, "gen")


@pytest.mark.parametrize(
    ("line", "why", "is_error"),
    [
        (ours([-1.0, -2.0], macro_f1=[1, 1, 2]), "the likeliest label is 'complete', and 1 is recorded", True),
        (ours([-1.0, -2.0], macro_f1=[0, 0, 2]), "the recorded gold label is not the document's", True),
        (ours([-1.0, -2.0], macro_f1=[1, 0, 3]), "does not fit the 2 labels", True),
        (ours([-1.0, -2.0], macro_f1=[1, -5, 2]), "does not fit the 2 labels", True),
        (ours([-1.0, -2.0], filtered_resps=[["nan", "True"], ["-1", "False"]]), "not finite", True),
        (ours([-1.0, -2.0], filtered_resps=[["much", "True"], ["-1", "False"]]), "not log-likelihoods", False),
        (ours([-1.0, -2.0], filtered_resps="text"), "not log-likelihoods", False),
        (ours([-1.0, -2.0], filtered_resps=None), "not log-likelihoods", False),
        ({"doc": DOC}, "there is no `filtered_resps`", False),
    ],
)
def test_damaged_lines(line: dict[str, Any], why: str, is_error: bool) -> None:
    with pytest.raises(Unusable, match=why) as caught:
        outcome(line, "choice")
    assert caught.value.is_error == is_error
