"""What is written for a user's text reads back as that text, by both YAML readers lm-eval may use, and by Jinja."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lm_eval.utils import apply_template

from fin_plugins.authoring.draft import Draft, instruction_for, task_yaml, template_of, twin_yaml
from fin_plugins.authoring.quoting import block, entry, in_template
from fin_plugins.common.yaml_file import parse_yaml
from fin_plugins.tasks.fields import Card, OwnRows

READERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]
HARD = ["yes", "no", "null", "~", "1.0", "0x1f", "1_000", "12:30", "2024-01-01", "a: b", "- a", "#x", "a #b", "'", '"']
MARKS = ["&a", "*a", "!x", "%x", "@x", "`x`", "|", ">", "?", ",", "[a]", "{a: b}", "ä ö", "…"]
JINJA = ["{{x}}", "{% x %}", "{# x #}", "{{{", "{", "}}", "{{ '{' }}", "%}", "{{"]
texts = st.one_of(
    st.sampled_from([*HARD, *JINJA, *MARKS]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
)


def reads(lines: list[str], reader: Any) -> Any:
    return yaml.load("\n".join(lines) + "\n", reader)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=200, deadline=None)
@given(data=st.one_of(texts, st.lists(texts, max_size=12), st.dictionaries(texts, texts, max_size=12)))
def test_values(reader: Any, data: Any) -> None:
    assert reads([*entry("key", data, "  "), "  after: 1"], reader) == {"key": data, "after": 1}


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@example("a\n\n  b\n")
@example(" a\n")
@example("\n")
@example("a\n\n\n")
@example("a \n# b\n")
@example("a\tb\n")
def test_blocks(reader: Any, text: str) -> None:
    assert reads([*block("key", text), "after: 1"], reader) == {"key": text, "after": 1}


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.sampled_from(JINJA), st.text("{}%#' ax", max_size=12)))
def test_a_template_shows_text_as_it_is(text: str) -> None:
    assert apply_template(f"{in_template(text)} {{{{text}}}}", {"text": "{{y}}"}) == f"{text} {{{{y}}}}"


class Loader(yaml.SafeLoader):
    """Safe, with `!function` kept as text."""


Loader.add_constructor("!function", lambda loader, node: str(node.value))
labels = st.lists(texts.filter(lambda text: text.strip() == text), min_size=2, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(labels=labels, column=texts, words=st.booleans(), source=texts)
def test_a_whole_task_says_what_was_meant(labels: list[str], column: str, words: bool, source: str) -> None:
    named = {label: f"{label}?" for label in labels} if words else labels
    keys = {
        "file": f"{source}.csv",
        "columns": {"text": column, "label": source},
        "labels": named,
        "splits": {"test": 0.2},
    }
    rows, card = OwnRows.model_validate(keys), Card(seen=True, source=source, licence=column)
    draft = Draft("my_task", rows, keys, ("train", "test"), template_of(None, rows.words, column), source, card)
    for text in (task_yaml(draft), twin_yaml(draft)):
        assert parse_yaml(text.replace("!function ", "").encode(), "my_task.yaml").problems == ()
    read = yaml.load(task_yaml(draft), Loader)
    assert read["dataset_kwargs"] == keys and OwnRows.model_validate(read["dataset_kwargs"]) == rows
    assert read["metadata"] == {"version": 1.0, "fin": card.model_dump(exclude_none=True)}
    shown = apply_template(read["doc_to_text"], {"text": "The {{text}}."})
    assert shown.startswith(instruction_for(rows.words)) and shown.endswith(": The {{text}}.\n")
    assert (read["training_split"], read["fewshot_split"], read["test_split"]) == ("train", "train", "test")
    assert "validation_split" not in read
    assert 20 <= task_yaml(draft).count("\n") <= 45


def test_a_template_of_ones_own_is_left_alone() -> None:
    assert template_of("Say it: {{ text }}", ["a", "b"], "x") == "Say it: {{ text }}\n"
    assert template_of("Is {it} good?", ["a", "b"], "head line") == "Is {it} good?\nText: {{text}}\n"
    assert template_of(None, ["very good", "bad"], "body").endswith("label, word for word.\nBody: {{text}}\n")
