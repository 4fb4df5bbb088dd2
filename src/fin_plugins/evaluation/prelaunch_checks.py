"""Checks of the tasks before the first score: BOS and label tokens, pruning, and test rows that a model has seen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.models import encode_pair
from fin_plugins.data.text_hashes import read_trained_rows, row_hash
from fin_plugins.evaluation.model_engine import model_class
from fin_plugins.tasks.results import score_choice

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_TYPES_WITHOUT_LABELS = ("generate_until", "loglikelihood_rolling")


def check_prompts(task_name: str, requests: "Iterable[Instance]", lm: Any) -> None:
    """Check that a task's prompts start with one BOS, and that its labels have different tokens.

    BOS is checked in the first prompt of each request type. Labels are checked in the first document, and in every
    document with another label set or another last character before the label.

    Args:
        task_name: for the message.
        requests: lm-eval's requests for the task.
        lm: anything with lm-eval's tokenization and a `tokenizer`; needs no weights and no engine.

    Raises:
        FinError: as `check_bos` and `check_labels`.
    """
    documents: dict[tuple[int | None, str], list[str]] = {}
    checked_types: set[str] = set()
    for request in requests:
        if request.request_type not in ("loglikelihood", "generate_until") or not request.args[0]:
            continue  # an empty context becomes lm-eval's prefix token
        context = request.args[0]
        if request.request_type not in checked_types:
            checked_types.add(request.request_type)
            check_bos(lm.tok_encode(context), lm.tokenizer)
        if request.request_type == "loglikelihood":
            documents.setdefault((request.doc_id, context), []).append(request.args[1])
    checked_labels: set[tuple[str, ...]] = set()
    for (_, context), labels in documents.items():
        key = (context[-1], *labels)
        if key not in checked_labels:
            checked_labels.add(key)
            check_labels(task_name, context, labels, partial(encode_pair, lm))


def warn_of_missing_template(tokenizer: Any, applied: bool | str) -> None:
    """Warn if the tokenizer has a chat template that the prompts do not use.

    Args:
        tokenizer: transformers' tokenizer of the model.
        applied: lm-eval's `apply_chat_template`: False, True, or a template's name.
    """
    if getattr(tokenizer, "chat_template", None) and not applied:
        say(
            "WARNING: the tokenizer has a chat template, but --apply_chat_template is off: an instruction-tuned model "
            "then gets prompts in a format it was not trained on. Add the flag unless this is a base model"
        )


def check_bos(prompt_tokens: Sequence[int], tokenizer: Any) -> None:
    """Check that a prompt starts with one BOS if the tokenizer adds one, and never with two.

    Args:
        prompt_tokens: a prompt as the engine will get it.
        tokenizer: the tokenizer that encoded it (of transformers or vLLM).

    Raises:
        FinError: there are two BOS, or none although the tokenizer adds one to plain text.
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None or not prompt_tokens:
        return
    name = repr(tokenizer.decode([bos]))
    if prompt_tokens[0] == bos:
        second = next((index for index in range(1, min(4, len(prompt_tokens))) if prompt_tokens[index] == bos), None)
        if second is not None and not tokenizer.decode(list(prompt_tokens[1:second])).strip():
            raise FinError(
                f"the prompt starts with two BOS tokens ({name}), one from the text or chat template and one from the "
                "tokenizer: pass add_bos_token=False in --model_args, or remove it from the text"
            )
    elif list(tokenizer.encode("a"))[:1] == [bos]:
        raise FinError(
            f"the prompt does not start with BOS ({name}), which the tokenizer adds to plain text and the model was "
            "trained with: pass add_bos_token=True in --model_args, or --apply_chat_template for a chat model"
        )


def check_labels(
    task_name: str,
    context: str,
    continuations: Sequence[str],
    encode_pair: Callable[[str, str], tuple[list[int], list[int]]],
) -> None:
    """Check that each label of a document has its own tokens, different from those of other labels.

    If the template leaves no space before the label, a tokenizer may merge the label with the end of the prompt, and
    the remaining tokens may be none, or the same for two labels.

    Args:
        task_name: for the message.
        context: the prompt, not empty.
        continuations: the labels as lm-eval appends them, usually with a leading space.
        encode_pair: tokens of context and continuation, as lm-eval encodes them.

    Raises:
        FinError: a label has no tokens, or two labels have the same ones.
    """
    end = repr(context[-12:])
    remedy = "leave a space between prompt and label (target_delimiter, or doc_to_choice of the task file)"
    label_by_tokens: dict[tuple[int, ...], str] = {}
    for label in dict.fromkeys(continuations):
        tokens = tuple(encode_pair(context, label)[1])
        if not tokens:
            raise FinError(
                f"task {task_name}: with this tokenizer the label {label!r} after {end} has no token of its own, "
                f"because it merges with the end of the prompt: {remedy}"
            )
        other = label_by_tokens.setdefault(tokens, label)
        if other != label:
            raise FinError(
                f"task {task_name}: with this tokenizer the labels {other!r} and {label!r} after {end} have the same "
                f"tokens, {list(tokens)}, and cannot be distinguished: {remedy}"
            )


def check_prune(tasks: Mapping[str, Any], engine: str) -> None:
    """Check that the model class can prune, and that no metric needs the score of a label that did not win.

    Pruning finds the same likeliest label, but for the others a bound instead of their score, and not whether they are
    greedy. Length-normalised accuracy needs the scores, and lm-eval computes `exact_match` for every plain
    multiple-choice task, which needs the greediness (0.4.13 fails without it). So `--prune` is limited to tasks that
    decide with our `score_choice`, and to those without labels, which pruning does not affect.

    Args:
        tasks: lm-eval's task objects by name.
        engine: lm-eval's name of the model class.

    Raises:
        FinError: the class cannot prune, or a task's metrics need more than the decision.
    """
    if not getattr(model_class(engine), "supports_prune", False):
        raise FinError(f"--prune: {engine} scores all labels anyway: leave it out, or use --model fin_vllm")
    for name, task in tasks.items():
        if task.OUTPUT_TYPE in _TYPES_WITHOUT_LABELS or _uses_score_choice(task):
            continue
        metrics = ", ".join(str(entry.get("metric")) for entry in task.get_config("metric_list") or ()) or "its metrics"
        raise FinError(
            f"--prune: task {name} reports {metrics}, which lm-eval computes from the scores of all labels, but "
            "pruning computes only the likeliest one's: leave --prune out, or the task"
        )


def count_rows_trained_on(tasks: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, tuple[int, int]] | None:
    """Count the test rows of each task that a model was trained on, whose scores say little about unseen rows.

    Args:
        tasks: lm-eval's task objects by name.
        folders: the model's folders: its base's and its adapter's, with the record of training rows.

    Returns:
        (rows trained on, all test rows) by task, tasks without any left out; None if no folder has a record.
    """
    trained = read_trained_rows(*folders)
    if not trained:
        return None
    counts = {}
    for name, task in tasks.items():
        documents = list(task.eval_docs)
        count = sum(any(row_hash(text) in trained for text in _row_texts(task, document)) for document in documents)
        if count:
            counts[name] = (count, len(documents))
    return counts


def _uses_score_choice(task: Any) -> bool:
    function = task.get_config("process_results")
    return (getattr(function, "__module__", ""), getattr(function, "__qualname__", "")) == (
        score_choice.__module__,
        score_choice.__qualname__,
    )


def _row_texts(task: Any, document: Mapping[str, Any]) -> list[str]:
    """The texts that a training run may have recorded for a row: its text, or its full prompt."""
    text = document.get("text")
    return [*([text] if isinstance(text, str) else []), str(task.doc_to_text(document))]
