"""The label parser against a table of replies, and its rules as properties over generated text."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fin_plugins.tasks.label_parser import AMBIGUOUS, MISSING, parse_label

TABLE: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("label_parser_table.yaml").read_text(encoding="utf-8")
)
SENTIMENT, FINRED = TABLE["sentiment"]["labels"], TABLE["finred"]["labels"]
ROWS = [(name, reply, expected) for name, task in TABLE.items() for reply, expected in task["rows"]]

label_sets = st.sampled_from([task["labels"] for task in TABLE.values()])
wrappers = st.sampled_from(
    ["{}", " {}.", '"{}"', "'{}'", "**{}**", "`{}`", "«{}»", "({})", "label: {}", "Label:\n{}", "{}!", "{}\n\n", "_{}_"]
)
foldings = st.sampled_from([str.lower, str.upper, str.title, str.capitalize, str.swapcase])


def outcome(task: dict[str, Any], reply: str) -> str:
    index = parse_label(reply, task["labels"], task.get("aliases", ()))
    return {MISSING: "missing", AMBIGUOUS: "ambiguous"}.get(index) or str(task["labels"][index])


@pytest.mark.parametrize(("name", "reply", "expected"), ROWS)
def test_reply(name: str, reply: str, expected: str) -> None:
    assert outcome(TABLE[name], reply) == expected


def test_table_is_large_and_covers_every_outcome_of_every_task() -> None:
    assert len(ROWS) >= 130
    assert len({(name, reply) for name, reply, _ in ROWS}) == len(ROWS)
    for name, task in TABLE.items():
        expected = {row[1] for row in task["rows"]}
        assert {"missing", "ambiguous"} < expected <= {"missing", "ambiguous", *task["labels"]}, name


@settings(deadline=None)
@given(label_sets, wrappers, foldings, st.data())
def test_a_bare_label_in_any_dress_is_itself(labels: list[str], wrapper: str, fold: Any, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(labels) - 1))
    assert parse_label(wrapper.format(fold(labels[index])), labels) == index


@settings(deadline=None)
@given(label_sets, st.text(alphabet="xyz0189 .,;:!?'\"*_-\n\t/()éß语عد😀\u200b"))
def test_text_without_label_words_is_missing(labels: list[str], reply: str) -> None:
    assert parse_label(reply, labels) == MISSING


@settings(deadline=None)
@given(label_sets, st.sampled_from([" ", ", ", " or ", "/", "\n", " and ", " - ", "|", "; not "]), st.data())
def test_two_labels_are_ambiguous(labels: list[str], joint: str, data: st.DataObject) -> None:
    pair = data.draw(st.lists(st.sampled_from(labels), min_size=2, max_size=2, unique=True))
    assert parse_label(joint.join(pair), labels) == AMBIGUOUS


@settings(deadline=None)
@given(
    label_sets, st.sampled_from(["not", "no", "never", "isn't", "it is not really a", "cannot be", "non-"]), st.data()
)
def test_a_negated_label_is_ambiguous(labels: list[str], negator: str, data: st.DataObject) -> None:
    assert parse_label(f"{negator} {data.draw(st.sampled_from(labels))}", labels) == AMBIGUOUS


@settings(deadline=None)
@given(label_sets, st.data())
def test_a_label_inside_a_longer_word_is_missing(labels: list[str], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    letter = data.draw(st.sampled_from("aé7жع語"))
    assert parse_label(letter + label, labels) == parse_label(label + letter, labels) == MISSING


pieces = st.one_of(
    st.text(st.characters()),
    st.sampled_from([*SENTIMENT, *FINRED, "not", "no", "n't", ", ", ". ", " ", "\n", "\udcff"]),
)


@settings(max_examples=300, deadline=None)
@given(label_sets, st.lists(pieces, max_size=12), st.randoms())
def test_never_raises_and_label_order_does_not_matter(labels: list[str], parts: list[str], random: Any) -> None:
    shuffled = random.sample(labels, len(labels))
    first, second = (parse_label("".join(parts), order) for order in (labels, shuffled))
    assert first in {MISSING, AMBIGUOUS, *range(len(labels))}
    assert (labels[first] if first >= 0 else first) == (shuffled[second] if second >= 0 else second)


def test_ten_thousand_characters() -> None:
    prose = "The group reported figures for the quarter. " * 250
    assert len(prose) > 10_000
    assert parse_label(prose, SENTIMENT) == MISSING
    assert parse_label(f"positive\n{prose}", SENTIMENT) == SENTIMENT.index("positive")
    assert parse_label(f"{prose}\nnegative", SENTIMENT) == SENTIMENT.index("negative")
    assert parse_label(f"positive\n{prose}\nnegative", SENTIMENT) == AMBIGUOUS
    assert parse_label("positive " * 1_500, SENTIMENT) == SENTIMENT.index("positive")


@pytest.mark.parametrize(
    "unit",
    ["positive ", "not ", "not x. ", "x", "n't", " - ", "not , a , ", "owner ", "chief executive ", "(", "é\u200b"],
)
def test_time_is_linear(unit: str) -> None:
    """Ten times the length takes about ten times as long; with quadratic work it would be a hundred times."""

    def seconds(length: int) -> float:
        reply = (unit * length)[:length]
        start = time.process_time()
        for labels in (SENTIMENT, FINRED):
            parse_label(reply, labels)
        return time.process_time() - start

    short = min(seconds(20_000) for _ in range(3))
    assert seconds(200_000) < 40 * short + 0.1


def test_aliases_stand_for_their_label() -> None:
    assert parse_label("Tie-up", ["merger", "bid"], [["tie-up"]]) == 0
    assert parse_label("bid", ["merger", "bid"], [["tie-up"]]) == 1


def test_a_longer_label_hides_the_shorter_one_inside_it() -> None:
    labels = ["relevant", "not relevant", "yes, fully"]
    assert [parse_label(reply, labels) for reply in ("relevant", "Not relevant.", "Yes, fully")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "aliases"), [(["up", "Up."], ()), (["up", "down"], [["down"]]), (["+", "-"], ()), (["up"], [[], ["x"]])]
)
def test_a_label_set_that_cannot_be_told_apart_is_refused(labels: list[str], aliases: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="label"):
        parse_label("up", labels, aliases)


def test_no_labels_at_all() -> None:
    assert parse_label("anything", []) == MISSING
