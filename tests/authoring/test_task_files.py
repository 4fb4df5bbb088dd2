"""Names of new tasks, text that YAML and Jinja read back unchanged, and writing both files or none."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lm_eval.utils import apply_template

from fin_plugins.authoring.task_files import (
    TaskDraft,
    block_lines,
    check_name,
    default_instruction,
    key_lines,
    prompt_template,
    quote_jinja,
    render_generative_variant,
    render_task,
    write_task_files,
)
from fin_plugins.common.errors import FinError
from fin_plugins.common.yaml_file import parse_yaml
from fin_plugins.tasks.task_config import CustomDatasetConfig, FinMetadata

READERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if yaml.__with_libyaml__ else [])]
AMBIGUOUS = [
    "yes",
    "no",
    "null",
    "~",
    "1.0",
    "0x1f",
    "1_000",
    "12:30",
    "2024-01-01",
    "a: b",
    "- a",
    "#x",
    "a #b",
    "'",
    '"',
]
MARKS = ["&a", "*a", "!x", "%x", "@x", "`x`", "|", ">", "?", ",", "[a]", "{a: b}", "ä ö", "…"]
JINJA = ["{{x}}", "{% x %}", "{# x #}", "{{{", "{", "}}", "{{ '{' }}", "%}", "{{"]
texts = st.one_of(
    st.sampled_from([*AMBIGUOUS, *JINJA, *MARKS]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12),
)


def read_yaml(lines: list[str], reader: Any) -> Any:
    return yaml.load("\n".join(lines) + "\n", reader)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=200, deadline=None)
@given(data=st.one_of(texts, st.lists(texts, max_size=12), st.dictionaries(texts, texts, max_size=12)))
def test_values(reader: Any, data: Any) -> None:
    assert read_yaml([*key_lines("key", data, "  "), "  after: 1"], reader) == {"key": data, "after": 1}


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
    assert read_yaml([*block_lines("key", text), "after: 1"], reader) == {"key": text, "after": 1}


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.sampled_from(JINJA), st.text("{}%#' ax", max_size=12)))
def test_a_template_renders_quoted_text_unchanged(text: str) -> None:
    assert apply_template(f"{quote_jinja(text)} {{{{text}}}}", {"text": "{{y}}"}) == f"{text} {{{{y}}}}"


class Loader(yaml.SafeLoader):
    """Safe, with `!function` kept as text."""


Loader.add_constructor("!function", lambda loader, node: str(node.value))
labels = st.lists(texts.filter(lambda text: text.strip() == text), min_size=2, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(labels=labels, column=texts, words=st.booleans(), source=texts)
def test_a_task_file_holds_what_was_given(labels: list[str], column: str, words: bool, source: str) -> None:
    named = {label: f"{label}?" for label in labels} if words else labels
    keys = {
        "file": f"{source}.csv",
        "columns": {"text": column, "label": source},
        "labels": named,
        "splits": {"test": 0.2},
    }
    config, card = CustomDatasetConfig.model_validate(keys), FinMetadata(seen=True, source=source, licence=column)
    draft = TaskDraft(
        "my_task", config, keys, ("train", "test"), prompt_template(None, config.words, column), source, card
    )
    for text in (render_task(draft), render_generative_variant(draft)):
        assert parse_yaml(text.replace("!function ", "").encode(), "my_task.yaml").problems == ()
    read = yaml.load(render_task(draft), Loader)
    assert read["dataset_kwargs"] == keys and CustomDatasetConfig.model_validate(read["dataset_kwargs"]) == config
    assert read["metadata"] == {"version": 1.0, "fin": card.model_dump(exclude_none=True)}
    shown = apply_template(read["doc_to_text"], {"text": "The {{text}}."})
    assert shown.startswith(default_instruction(config.words)) and shown.endswith(": The {{text}}.\n")
    assert (read["training_split"], read["fewshot_split"], read["test_split"]) == ("train", "train", "test")
    assert "validation_split" not in read
    assert 20 <= render_task(draft).count("\n") <= 45


def test_a_users_own_template_is_unchanged() -> None:
    assert prompt_template("Say it: {{ text }}", ["a", "b"], "x") == "Say it: {{ text }}\n"
    assert prompt_template("Is {it} good?", ["a", "b"], "head line") == "Is {it} good?\nText: {{text}}\n"
    assert prompt_template(None, ["very good", "bad"], "body").endswith("label, word for word.\nBody: {{text}}\n")


@pytest.mark.parametrize("name", ["my-task", "my task", "1st", "", "täsk", "a/b", "x" * 101, "my_task\n"])
def test_invalid_names(name: str) -> None:
    with pytest.raises(FinError, match="not a valid task name"):
        check_name(name)


def test_the_name_of_a_generative_variant_is_refused() -> None:
    with pytest.raises(FinError, match="drop `_gen`"):
        check_name("my_task_gen")


def test_names_in_use() -> None:
    for name, file in (("fin_fpb", r"fin_fpb\.yaml"), ("boolq", "super_glue")):
        with pytest.raises(FinError, match=f"{name} is already a task.*{file}"):
            check_name(name)
    check_name("a_name_that_nobody_has")


def test_missing_folders_are_created(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "c.yaml"
    write_task_files({file: "ä: 1\n"})
    assert file.read_bytes() == "ä: 1\n".encode()


def test_no_file_is_left_if_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinError, match=r"file/two\.yaml"):
        write_task_files({tmp_path / "one.yaml": "1", tmp_path / "file" / "two.yaml": "2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
