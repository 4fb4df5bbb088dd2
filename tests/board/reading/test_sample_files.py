"""Gold label and answer of a sample, for our tasks and those of others."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.board.reading.json_utils import UnknownLabels, UnusableFile
from fin_plugins.board.reading.sample_files import parse_outcome, unique_hashes
from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING
from fin_plugins.tasks.results import score_choice, score_reply

LABELS = ["complete", "rumour"]
DOC = {"text": "t", "choices": LABELS, "aliases": [["completed"], ["rumor"]], "gold": 1}


def our_choice(scores: list[float], gold: int = 1, **changes: Any) -> dict[str, Any]:
    """A line as lm-eval writes it: likelihoods are text, and pairs are lists."""
    doc = {**DOC, "gold": gold}
    recorded = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in score_choice(doc, [(score, False) for score in scores]).items()
    }
    answers = [[str(score), "False"] for score in scores]
    return {"doc": doc, "filtered_resps": answers, "target": str(gold), **recorded, **changes}


def generated(reply: str, gold: int = 1, **changes: Any) -> dict[str, Any]:
    doc = {**DOC, "gold": gold}
    recorded = {
        key: list(value) if isinstance(value, tuple) else value for key, value in score_reply(doc, [reply]).items()
    }
    return {"doc": doc, "filtered_resps": [reply], "target": LABELS[gold], **recorded, **changes}


def other_task(
    scores: list[str], target: str, choices: tuple[str, ...] = (" even", " odd"), **changes: Any
) -> dict[str, Any]:
    arguments = {f"gen_args_{i}": {"arg_0": "Is it?", "arg_1": choice} for i, choice in enumerate(choices)}
    answers = [[score, "False"] for score in scores]
    return {"doc": {"q": "Is it?"}, "arguments": arguments, "filtered_resps": answers, "target": target, **changes}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), st.integers(0, 1))
def test_recorded_choice(scores: list[float], gold: int) -> None:
    parsed = parse_outcome(our_choice(scores, gold), "choice")
    assert (parsed.gold, parsed.answer) == (gold, scores.index(max(scores)))
    assert parsed.recorded and parsed.labels == tuple(LABELS)


def test_pruned_labels() -> None:
    line = our_choice([-9.5, -0.1])
    line["filtered_resps"] = [["-9.5", "None"], ["-0.1", "True"]]
    assert parse_outcome(line, "choice").answer == 1


@pytest.mark.parametrize(
    ("reply", "answer"),
    [("rumour", 1), ("It was completed.", 0), ("lol", MISSING), ("complete or rumour", AMBIGUOUS), ("", MISSING)],
)
def test_reply_without_record_is_parsed(reply: str, answer: int) -> None:
    recorded = parse_outcome(generated(reply), "gen")
    assert (recorded.answer, recorded.recorded, recorded.reparsed_differently) == (answer, True, False)
    line = {"doc": DOC, "filtered_resps": [reply]}
    assert (parse_outcome(line, "gen").answer, parse_outcome(line, "gen").recorded) == (answer, False)


def test_recorded_answer_wins_over_the_parser() -> None:
    line = generated("rumour")
    line["macro_f1"] = [1, 0, 2]
    parsed = parse_outcome(line, "gen")
    assert (parsed.answer, parsed.reparsed_differently) == (0, True)


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
    parsed = parse_outcome(other_task(scores, target), "choice")
    assert (parsed.labels, parsed.gold, parsed.answer) == (("even", "odd"), gold, answer)
    assert not parsed.recorded


def test_numbers_as_labels_are_indices_first() -> None:
    assert parse_outcome(other_task(["-1", "-2"], "1", (" 1", " 2"), acc=0.0), "choice").gold == 1
    with pytest.raises(UnknownLabels, match="its accuracy is not that of the likeliest choice"):
        parse_outcome(other_task(["-1", "-2"], "1", (" 1", " 2"), acc=1.0), "choice")


def test_arguments_of_older_versions() -> None:
    line = other_task(["-1", "-2"], "odd")
    line["arguments"] = [["Is it?", " even"], ["Is it?", " odd"]]
    assert parse_outcome(line, "choice").labels == ("even", "odd")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (other_task(["-1", "-2"], "maybe"), "its target is none of the choices"),
        (other_task(["-1", "-2"], "[0, 1]"), "its target is none of the choices"),
        (other_task(["-1", "-2"], "7"), "its target is none of the choices"),
        (other_task(["-1", "-2"], "0", (" same", " same")), "its choices are not one continuation each"),
        (other_task(["-1"], "0", (" only",)), "its choices are not one continuation each"),
        (other_task(["-1", "-2", "-3", "-4"], "0"), "it has 4 scores for 2 choices"),
        ({"filtered_resps": ["x"], "doc": {"text": "t"}}, "its choices are not one continuation each"),
    ],
)
def test_choices_without_labels(line: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownLabels, match=why.replace("[", r"\[")):
        parse_outcome(line, "choice")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"filtered_resps": ["x"], "doc": {"text": "t"}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x"], "doc": {**DOC, "gold": 2}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x"], "doc": {**DOC, "gold": -100}}, "its documents name no `choices` and `gold`"),
        ({"filtered_resps": ["x", "y"], "doc": DOC}, "it does not have one reply per document"),
        ({"filtered_resps": [["x"]], "doc": DOC}, "it does not have one reply per document"),
        ({"filtered_resps": ["x"], "doc": {"choices": ["A", "a"], "gold": 0}}, "its labels cannot be told apart"),
    ],
)
def test_replies_without_labels(line: dict[str, Any], why: str) -> None:
    with pytest.raises(UnknownLabels, match=why):
        parse_outcome(line, "gen")


@pytest.mark.parametrize(
    ("line", "why", "is_error"),
    [
        (our_choice([-1.0, -2.0], macro_f1=[1, 1, 2]), "the likeliest label is 'complete'", True),
        (our_choice([-1.0, -2.0], macro_f1=[0, 0, 2]), "recorded gold label", True),
        (our_choice([-1.0, -2.0], macro_f1=[1, 0, 3]), "does not fit the 2 labels", True),
        (our_choice([-1.0, -2.0], macro_f1=[1, -5, 2]), "does not fit the 2 labels", True),
        (our_choice([-1.0, -2.0], filtered_resps=[["nan", "True"], ["-1", "False"]]), "not finite", True),
        (our_choice([-1.0, -2.0], filtered_resps=[["much", "True"], ["-1", "False"]]), "not log-likelihoods", False),
        (our_choice([-1.0, -2.0], filtered_resps="text"), "not log-likelihoods", False),
        (our_choice([-1.0, -2.0], filtered_resps=None), "not log-likelihoods", False),
        ({"doc": DOC}, "`filtered_resps`", False),
    ],
)
def test_damaged_lines(line: dict[str, Any], why: str, is_error: bool) -> None:
    with pytest.raises(UnusableFile, match=why) as caught:
        parse_outcome(line, "choice")
    assert caught.value.is_error == is_error


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_unique_hashes(hashes: list[str]) -> None:
    unique = unique_hashes(hashes)
    assert len(set(unique)) == len(unique) == len(hashes)
    assert [document.partition("#")[0] for document in unique] == hashes
    assert set(unique) == {
        name if number == 1 else f"{name}#{number}"
        for name, count in Counter(hashes).items()
        for number in range(1, count + 1)
    }
