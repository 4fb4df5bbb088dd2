"""The two YAML files of a new task: valid names, their text, and writing both or none.

Users' text, such as a label `yes` or `{{x}}`, is quoted so that YAML and Jinja read it back unchanged.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fin_plugins.checks.task_file import GENERATIVE_SUFFIX
from fin_plugins.checks.task_names import find_name_owner
from fin_plugins.common.atomic import unfinished_file
from fin_plugins.common.errors import FinError
from fin_plugins.tasks.task_config import SCHEMA_URL, CustomDatasetConfig, FinMetadata

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_SCHEMA_COMMENT = f"# yaml-language-server: $schema={SCHEMA_URL}"
_MAX_WIDTH = 100
_MAX_REPEATED_LABELS = 20
"""With more labels the instruction lists them once, not twice."""
_MIN_REPLY_TOKENS = 16
_JINJA_OPENING = re.compile(r"\{(?=[{%#])")
_HINTS = {
    "file": "relative to this file",
    "hub": "on the hub; a path is relative to this file",
    "splits": "shares; rows with the same text stay together",
    "split_method": "a row keeps its split and its place when rows are added",
    "seen": "true: models are trained on it; false: it shows what training on others did to it",
    "version": "raise it when rows or prompt change",
}
"""Comments on keys of the written file."""


@dataclass(frozen=True)
class TaskDraft:
    """The content of a new task.

    Attributes:
        name: name of the task.
        config: the settings under `dataset_kwargs`.
        keys: the settings that the file states, in its order.
        splits: the splits in the data.
        template: `doc_to_text`.
        description: one line on the task.
        card: the card under `metadata.fin`.
    """

    name: str
    config: CustomDatasetConfig
    keys: dict[str, object]
    splits: tuple[str, ...]
    template: str
    description: str
    card: FinMetadata


def generative_name(name: str) -> str:
    """The name of a task's generative variant."""
    return name + GENERATIVE_SUFFIX


def check_name(name: str) -> None:
    """Raise an error unless a task and its generative variant may have this name.

    Raises:
        FinError: the name is invalid or in use.
    """
    if not _NAME.fullmatch(name):
        raise FinError(f"{name!r} is not a valid task name: letters, digits and underscores, starting with a letter")
    if name.endswith(GENERATIVE_SUFFIX):
        raise FinError(f"{name}: drop `{GENERATIVE_SUFFIX}`, the ending of the generative variant: both are written")
    for candidate in (name, generative_name(name)):
        if (file := find_name_owner(candidate)) is not None:
            raise FinError(f"{name}: {candidate} is already a task, group or tag, in {file}: choose another name")


def prompt_template(instruction: str | None, labels: Sequence[str], column: str) -> str:
    """The prompt as a Jinja template.

    Args:
        instruction: the user's instruction; used as the template if it contains `{{text}}`.
        labels: the label words.
        column: column of the text, which names the line of the text.
    """
    if instruction and "{{text}}" in instruction.replace(" ", ""):
        return instruction.rstrip("\n") + "\n"
    name = column.rpartition(".")[2]
    heading = name.capitalize() if name.isascii() and name.isalpha() else "Text"
    introduction = instruction.strip() if instruction else default_instruction(labels)
    return f"{quote_jinja(introduction)}\n{heading}: {{{{text}}}}\n"


def default_instruction(labels: Sequence[str]) -> str:
    """An instruction that names all labels."""
    listing = f"{', '.join(labels[:-1])} or {labels[-1]}"
    if len(labels) <= _MAX_REPEATED_LABELS and all(label.replace("-", "").isalnum() for label in labels):
        answer = f"Return only a single word, either {' or '.join(labels)}."
    else:
        answer = "Return only the label, word for word."
    return f"Classify the following text as {listing}. {answer}"


def render_task(draft: TaskDraft) -> str:
    """The YAML of the task, which compares the likelihoods of the labels."""
    card, variant = draft.card.model_dump(exclude_none=True), generative_name(draft.name)
    lines = [
        _SCHEMA_COMMENT,
        f"# {_printable(draft.description)}",
        f"task: {_yaml_value(draft.name)}",
        "custom_dataset: !function fin_plugins.tasks.own.load",
        "dataset_kwargs:",
        *(line for key, value in draft.keys.items() for line in _commented_lines(key, value, "  ")),
        *_split_lines(draft.splits),
        f"output_type: multiple_choice  # the likeliest label wins; in {variant} the model writes one",
        *block_lines("doc_to_text", draft.template),
        "doc_to_choice: choices",
        "doc_to_target: gold",
        'gen_prefix: "label:"',
        "process_results: !function fin_plugins.tasks.results.score_choice",
        "metric_list: !function fin_plugins.tasks.metrics.CHOICE",
        "metadata:",
        *_commented_lines("version", 1.0, "  "),
        "  fin:",
        *(line for key, value in card.items() for line in _commented_lines(key, value, "    ")),
    ]
    return "\n".join(lines) + "\n"


def render_generative_variant(draft: TaskDraft) -> str:
    """The YAML of the generative variant, which has the same prompt and lets the model write its answer."""
    tokens = max(_MIN_REPLY_TOKENS, *(len(label.encode()) // 2 for label in draft.config.words))
    lines = [
        _SCHEMA_COMMENT,
        f"# {draft.name}, answered freely and parsed: the reply is cut at its first line or after {tokens} tokens.",
        f"include: {draft.name}.yaml",
        f"task: {generative_name(draft.name)}",
        "output_type: generate_until",
        "doc_to_choice: null",
        "doc_to_target: label",
        f'generation_kwargs: {{until: ["\\n"], max_gen_toks: {tokens}, do_sample: false, temperature: 0.0}}',
        "process_results: !function fin_plugins.tasks.results.score_reply",
        "metric_list: !function fin_plugins.tasks.metrics.REPLY",
    ]
    return "\n".join(lines) + "\n"


def write_task_files(texts: Mapping[Path, str]) -> None:
    """Write all files or none.

    Args:
        texts: content by path; missing folders are created.

    Raises:
        FinError: one of them cannot be written.
    """
    path = next(iter(texts))
    try:
        with ExitStack() as stack:
            for path in reversed(list(texts)):  # the stack unwinds in reverse, so the files appear in order
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(unfinished_file(path)).write_bytes(texts[path].encode())
    except OSError as error:
        raise FinError(f"{path}: cannot be written ({error.strerror or error})") from error


def key_lines(key: str, data: Any, indent: str) -> list[str]:
    """The lines of `key: data`; a list or mapping too long for one line has one item per line."""
    line = f"{indent}{key}: {_yaml_value(data)}"
    if len(line) <= _MAX_WIDTH or not isinstance(data, list | dict):
        return [line]
    if isinstance(data, list):
        return [f"{indent}{key}:", *(f"{indent}  - {_yaml_value(item)}" for item in data)]
    return [f"{indent}{key}:", *(f"{indent}  {_yaml_value(name)}: {_yaml_value(item)}" for name, item in data.items())]


def block_lines(key: str, text: str) -> list[str]:
    """The lines of `key: |` and the text; a quoted string if a block cannot hold the text."""
    lines = text.split("\n")
    if lines[-1] or lines[0] != lines[0].lstrip() or not all(line.isprintable() for line in lines) or not text.strip():
        return [f"{key}: {yaml.safe_dump(text, default_style=chr(34), width=1 << 30, allow_unicode=True).strip()}"]
    header = f"{key}: |+" if len(lines) > 1 and not lines[-2] else f"{key}: |"
    return [header, *(f"  {line}" if line else "" for line in lines[:-1])]


def quote_jinja(text: str) -> str:
    """A template that renders as the text."""
    return _JINJA_OPENING.sub("{{ '{' }}", text)


def _commented_lines(key: str, data: object, indent: str) -> list[str]:
    first, *more = key_lines(key, data, indent)
    return [f"{first}  # {_HINTS[key]}" if key in _HINTS else first, *more]


def _yaml_value(data: Any) -> str:
    """Plain data as YAML on one line."""
    text = yaml.safe_dump(data, default_flow_style=True, width=1 << 30, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _printable(text: str) -> str:
    """Text that cannot end a comment."""
    return "".join(character if character.isprintable() else " " for character in text)


def _split_lines(splits: Sequence[str]) -> list[str]:
    keys = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
    lines = [f"{key}: {split}" for split, key in keys.items() if split in splits]
    return [*lines, "fewshot_split: train"] if "train" in splits else lines
