"""Checks of a task's prompts with the tokenizer that will be used, before the first score."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.compat.lm_eval.models import encode_pair

Pair = tuple[list[int], list[int]]


class Encoder(Protocol):
    """What the checks need of an lm-eval model beside `encode_pair`; no weights and no engine."""

    tokenizer: Any
    prefix_token_id: int

    def tok_encode(self, string: str) -> list[int]:
        """Tokens of a prompt."""
        ...


class Request(Protocol):
    """What the checks need of lm-eval's `Instance`."""

    request_type: str
    doc_id: int | None
    args: tuple[Any, ...]


def check_prompts(task_name: str, requests: Iterable[Request], lm: Encoder) -> None:
    """Check that the prompts of a task begin with one BOS, and that its labels are told apart.

    Of label requests the first document is looked at, and every further set of labels (and last character before
    them); of requests for generation the first one, for BOS alone.

    Raises:
        FinError: as `check_bos` and `check_labels`.
    """
    documents: dict[tuple[int | None, str], list[str]] = {}
    begun: set[str] = set()
    for request in requests:
        if request.request_type not in ("loglikelihood", "generate_until") or not request.args[0]:
            continue  # an empty context becomes lm-eval's prefix token
        context = request.args[0]
        if request.request_type not in begun:
            begun.add(request.request_type)
            check_bos(lm.tok_encode(context), lm.tokenizer)
        if request.request_type == "loglikelihood":
            documents.setdefault((request.doc_id, context), []).append(request.args[1])
    seen: set[tuple[str, ...]] = set()
    for (_, context), labels in documents.items():
        kind = (context[-1], *labels)
        if kind not in seen:
            seen.add(kind)
            check_labels(task_name, context, labels, partial(encode_pair, lm))


def say_missing_template(tokenizer: Any, applied: bool | str) -> None:
    """Warn where the tokenizer has a chat template and the prompts are not put into it.

    Args:
        tokenizer: transformers' tokenizer of the model.
        applied: lm-eval's `apply_chat_template`: False, True, or a template's name.
    """
    if getattr(tokenizer, "chat_template", None) and not applied:
        say(
            "WARNING: the tokenizer has a chat template, and --apply_chat_template is off: an instruction-tuned model "
            "then sees a prompt that it was not trained on. Add the flag; leave it out for a base model only"
        )


def check_bos(prompt_tokens: Sequence[int], tokenizer: Any) -> None:
    """Check that a prompt begins with one BOS where the tokenizer puts one in front, and never with two.

    Args:
        prompt_tokens: a prompt as the engine will see it.
        tokenizer: the tokenizer it was made with (transformers' or vLLM's).

    Raises:
        FinError: two BOS, or none where the tokenizer adds one to plain text.
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None or not prompt_tokens:
        return
    name = repr(tokenizer.decode([bos]))
    if prompt_tokens[0] == bos:
        again = next((index for index in range(1, min(4, len(prompt_tokens))) if prompt_tokens[index] == bos), None)
        if again is not None and not tokenizer.decode(list(prompt_tokens[1:again])).strip():
            raise FinError(
                f"the prompt begins with two BOS tokens ({name}), one from the text or chat template and one from the "
                "tokenizer: pass add_bos_token=False in --model_args, or take it out of the text"
            )
    elif list(tokenizer.encode("a"))[:1] == [bos]:
        raise FinError(
            f"the prompt does not begin with BOS ({name}), which the tokenizer puts before plain text and the model "
            "was trained with: pass add_bos_token=True in --model_args, or --apply_chat_template for a chat model"
        )


def check_labels(
    task_name: str, context: str, continuations: Sequence[str], encode_pair: Callable[[str, str], Pair]
) -> None:
    """Check that all labels of a document have tokens of their own, different ones for different labels.

    Where the template leaves no space before the label, a tokenizer may join the label with the end of the prompt, and
    what is left of it may be nothing, or the same for two labels.

    Args:
        task_name: for the message.
        context: the prompt, not empty.
        continuations: the labels as lm-eval appends them, usually with a space in front.
        encode_pair: tokens of context and continuation, as lm-eval makes them.

    Raises:
        FinError: a label without tokens, or two labels with the same ones.
    """
    end = repr(context[-12:])
    mend = "leave a space between prompt and label (target_delimiter, or doc_to_choice of the task file)"
    label_of: dict[tuple[int, ...], str] = {}
    for label in dict.fromkeys(continuations):
        tokens = tuple(encode_pair(context, label)[1])
        if not tokens:
            raise FinError(
                f"task {task_name}: with this tokenizer the label {label!r} after {end} has no token of its own, it "
                f"becomes one with the end of the prompt: {mend}"
            )
        other = label_of.setdefault(tokens, label)
        if other != label:
            raise FinError(
                f"task {task_name}: with this tokenizer the labels {other!r} and {label!r} after {end} are the same "
                f"tokens, {list(tokens)}, and cannot be told apart: {mend}"
            )
