"""The text of a new task's two files."""

from collections.abc import Sequence
from dataclasses import dataclass

from fin_plugins.authoring.names import twin_of
from fin_plugins.authoring.quoting import block, entry, in_comment, in_template, value
from fin_plugins.tasks.fields import Card, OwnRows
from fin_plugins.tasks.schema_address import ADDRESS

_SCHEMA = f"# yaml-language-server: $schema={ADDRESS}"
_MOST_NAMED_TWICE = 20
_SHORTEST_REPLY = 16
"""Tokens; a label of usual length has fewer."""

_HINTS = {
    "file": "relative to this file",
    "hub": "on the hub; a path is relative to this file",
    "splits": "shares; rows with the same text stay together",
    "split_method": "a row keeps its split and its place when rows are added",
    "seen": "true: models are trained on it; false: it shows what training on others did to it",
    "version": "raise it when rows or prompt change",
}


@dataclass(frozen=True)
class Draft:
    """A task about to be written.

    Attributes:
        name: of the task.
        rows: what stands under `dataset_kwargs`.
        keys: the same, with those keys only that differ from the default, in the order of the file.
        splits: the splits that there will be.
        template: `doc_to_text`.
        about: what the task is, one line.
        card: what stands under `metadata.fin`.
    """

    name: str
    rows: OwnRows
    keys: dict[str, object]
    splits: tuple[str, ...]
    template: str
    about: str
    card: Card


def template_of(instruction: str | None, labels: Sequence[str], column: str) -> str:
    """The prompt as a template.

    Args:
        instruction: the user's; used as it is where it shows `{{text}}` itself.
        labels: the label set.
        column: the column of the text, which gives its line a name.
    """
    if instruction and "{{text}}" in instruction.replace(" ", ""):
        return instruction.rstrip("\n") + "\n"
    told = instruction.strip() if instruction else instruction_for(labels)
    last = column.rpartition(".")[2]
    heading = last.capitalize() if last.isascii() and last.isalpha() else "Text"
    return f"{in_template(told)}\n{heading}: {{{{text}}}}\n"


def instruction_for(labels: Sequence[str]) -> str:
    """An instruction that names all labels."""
    listed = f"{', '.join(labels[:-1])} or {labels[-1]}"
    if len(labels) <= _MOST_NAMED_TWICE and all(label.replace("-", "").isalnum() for label in labels):
        answer = f"Return only a single word, either {' or '.join(labels)}."
    else:
        answer = "Return only the label, word for word."
    return f"Classify the following text as {listed}. {answer}"


def task_yaml(draft: Draft) -> str:
    """The task that compares the likelihoods of the labels."""
    card = draft.card.model_dump(exclude_none=True)
    lines = [
        _SCHEMA,
        f"# {in_comment(draft.about)}",
        f"task: {value(draft.name)}",
        "custom_dataset: !function fin_plugins.tasks.own.load",
        "dataset_kwargs:",
        *(line for key, data in draft.keys.items() for line in _explained(key, data, "  ")),
        *_split_lines(draft.splits),
        f"output_type: multiple_choice  # the likeliest label wins; in {twin_of(draft.name)} the model writes one",
        *block("doc_to_text", draft.template),
        "doc_to_choice: choices",
        "doc_to_target: gold",
        'gen_prefix: "label:"',
        "process_results: !function fin_plugins.tasks.results.score_choice",
        "metric_list: !function fin_plugins.tasks.metrics.CHOICE",
        "metadata:",
        *_explained("version", 1.0, "  "),
        "  fin:",
        *(line for key, data in card.items() for line in _explained(key, data, "    ")),
    ]
    return "\n".join(lines) + "\n"


def twin_yaml(draft: Draft) -> str:
    """The task that asks the same and lets the model write its answer."""
    tokens = max(_SHORTEST_REPLY, *(len(label.encode()) // 2 for label in draft.rows.words))
    lines = [
        _SCHEMA,
        f"# {draft.name}, answered freely and parsed: the reply is cut at its first line or after {tokens} tokens.",
        f"include: {draft.name}.yaml",
        f"task: {twin_of(draft.name)}",
        "output_type: generate_until",
        "doc_to_choice: null",
        "doc_to_target: label",
        f'generation_kwargs: {{until: ["\\n"], max_gen_toks: {tokens}, do_sample: false, temperature: 0.0}}',
        "process_results: !function fin_plugins.tasks.results.score_reply",
        "metric_list: !function fin_plugins.tasks.metrics.REPLY",
    ]
    return "\n".join(lines) + "\n"


def _split_lines(splits: Sequence[str]) -> list[str]:
    keys = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
    lines = [f"{key}: {split}" for split, key in keys.items() if split in splits]
    return [*lines, "fewshot_split: train"] if "train" in splits else lines


def _explained(key: str, data: object, indent: str) -> list[str]:
    first, *more = entry(key, data, indent)
    return [f"{first}  # {_HINTS[key]}" if key in _HINTS else first, *more]
