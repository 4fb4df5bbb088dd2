"""Rules on tokens: labels and prompts as a given tokenizer encodes them, as plain text and in its chat template.

Prompts are joined by lm-eval's own code (`join_prompt`) from the templates that the sandbox renders. lm-eval's task
objects are not used, because they would load the data again and render templates without limits.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fin_plugins.checks.data_rules import scored_split
from fin_plugins.checks.findings import Finding
from fin_plugins.checks.task_file import TaskFile
from fin_plugins.checks.task_rows import RowProblem, TaskRows
from fin_plugins.checks.template_sandbox import RenderingError, render
from fin_plugins.common.errors import FinError, first_line
from fin_plugins.common.yaml_nodes import Function, Key
from fin_plugins.compat.lm_eval.prompts import join_prompt
from fin_plugins.scoring.documents import EncodedPair, encode_pairs

if TYPE_CHECKING:
    from fin_plugins.evaluation.prompt_lm import PromptLM

_LABEL_ROWS = 20
"""Rows with which labels are compared; how a label continues a prompt hardly depends on the row."""
_NO_LIMIT = 1 << 30
"""A tokenizer without a limit states 10^30."""

Documents = Sequence[Mapping[str, Any]]


class PromptTokenizer:
    """A model's tokenizer and chat template.

    Args:
        name: as the user named it.
        lm: the tokenizer as lm-eval's model classes use it.
    """

    def __init__(self, name: str, lm: "PromptLM") -> None:
        self.name = Path(name).name
        self.prefix_token = lm.prefix_token_id
        self.has_chat_template = bool(lm.tokenizer.chat_template)
        self._lm = lm

    @property
    def context(self) -> int | None:
        """Tokens in the model's context; None if its files do not state it."""
        limits = [self._lm.tokenizer.model_max_length, self._lm.positions]
        return min((int(limit) for limit in limits if limit and limit < _NO_LIMIT), default=None)

    def encode_many(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """The tokens of each string."""
        return [self._lm.tok_encode(text, add_special_tokens) if text else [] for text in string]

    def apply_chat_template(self, messages: list[dict[str, str]], continues_answer: bool) -> str:
        """The conversation in the chat template.

        Args:
            messages: with `role` and `content`.
            continues_answer: whether the model continues the last message.

        Raises:
            RenderingError: the template does not accept these messages.
        """
        try:
            return self._lm.apply_chat_template(messages, add_generation_prompt=not continues_answer)
        except Exception as error:  # a template may raise anything
            raise RenderingError(f"the chat template stops: {first_line(error)}") from error


@lru_cache(maxsize=1)
def load_tokenizer(name: str) -> PromptTokenizer:
    """Load the tokenizer of a model, which is a folder or a cached hub name; none of the model's code is run.

    Raises:
        FinError: it cannot be loaded.
    """
    from fin_plugins.evaluation.prompt_lm import PromptLM

    try:
        return PromptTokenizer(name, PromptLM("fin_vllm", {"pretrained": name}))
    except Exception as error:  # transformers raises many kinds, each with its reason in the first line
        raise FinError(
            f"--tokenizer {name}: cannot be loaded ({first_line(error)}): name a model's folder, or a downloaded model"
        ) from error


def check_tokens(
    file: TaskFile, rows: TaskRows, tokenizer_name: str, context: int | None, max_long_share: float
) -> Iterator[Finding]:
    """Rules T01 to T04.

    Args:
        file: the task.
        rows: its rows.
        tokenizer_name: folder or hub name of a model.
        context: tokens in the model's context; None for what its files state.
        max_long_share: share of the rows that may be longer.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    split = scored_split(file, rows) or next(iter(rows.splits), None)
    template = file.data.get("doc_to_text")
    if split is None or not rows.splits[split].documents or not isinstance(template, str):
        return
    if isinstance(template, Function):
        return
    tokenizer = load_tokenizer(tokenizer_name)
    context = context or tokenizer.context
    documents, total = rows.splits[split].documents, len(rows.splits[split].names)
    messages: dict[tuple[str, Key], str] = {}
    for chat in (False, True) if tokenizer.has_chat_template else (False,):
        try:
            problems = list(_label_problems(file, rows, documents, tokenizer, chat))
            if context is not None:
                lengths = _lengths(file, rows, documents, tokenizer, chat)
                problems += _length_problems(lengths, context, max_long_share, total)
        except RenderingError as error:
            problems = [RowProblem("P09", ("doc_to_text",), f"cannot be rendered: {error}")]
        form = f"({tokenizer.name}, {'in its chat template' if chat else 'without a chat template'})"
        for code, key, message in problems:
            messages.setdefault((code, key), f"{message} {form}")
    for (code, key), message in messages.items():
        yield file.finding(code, key, message)


def assemble_prompt(
    task: Mapping[str, Any], document: Mapping[str, Any], tokenizer: PromptTokenizer, chat: bool
) -> str:
    """The zero-shot prompt of a row.

    Raises:
        RenderingError: a template cannot be rendered with this row.
    """
    prefix = _render_key(task, "gen_prefix", document)
    text = render(task["doc_to_text"], document)
    plain, messages = join_prompt(_render_key(task, "description", document), text, prefix, _delimiter(task))
    return tokenizer.apply_chat_template(messages, bool(prefix)) if chat else plain


def label_delimiter(task: Mapping[str, Any], chat: bool) -> str:
    """What lm-eval puts between prompt and label."""
    prefix = task.get("gen_prefix")
    if chat and not (isinstance(prefix, str) and prefix and not prefix[-1].isspace()):
        return ""
    return _delimiter(task)


def _render_key(task: Mapping[str, Any], key: str, document: Mapping[str, Any]) -> str:
    template = task.get(key)
    return render(template, document) if isinstance(template, str) and not isinstance(template, Function) else ""


def _delimiter(task: Mapping[str, Any]) -> str:
    delimiter = task.get("target_delimiter", " ")
    return delimiter if isinstance(delimiter, str) else " "


def _label_problems(
    file: TaskFile, rows: TaskRows, documents: Documents, tokenizer: PromptTokenizer, chat: bool
) -> Iterator[RowProblem]:
    words = list((rows.labels or {}).values())
    if file.data.get("output_type") != "multiple_choice" or not words:
        return
    if len(documents) > _LABEL_ROWS:
        documents = random.Random(42).sample(list(documents), _LABEL_ROWS)  # noqa: S311
    delimiter = label_delimiter(file.data, chat)
    for document in documents:
        prompt = assemble_prompt(file.data, document, tokenizer, chat)
        pairs = [(prompt, delimiter + word) for word in words]
        yield from _compare_labels(rows, words, encode_pairs(pairs, tokenizer.encode_many, tokenizer.prefix_token))


def _compare_labels(rows: TaskRows, words: Sequence[str], encoded: Sequence[EncodedPair]) -> Iterator[RowProblem]:
    labels = [(word, tuple(continuation)) for word, (_, continuation) in zip(words, encoded, strict=True)]
    for number, (word, tokens) in enumerate(labels):
        key = rows.label_key(list(rows.labels or ())[number])
        if not tokens:
            yield RowProblem("T01", key, f"`{word}` adds no token to the prompt, so it always wins")
            continue
        for other, other_tokens in labels[:number]:
            if tokens == other_tokens:
                message = f"`{word}` has the same {len(tokens)} tokens as `{other}`: choose another word"
                yield RowProblem("T02", key, message)
            elif other_tokens and (
                tokens[: len(other_tokens)] == other_tokens or other_tokens[: len(tokens)] == tokens
            ):
                short, long = (other, word) if len(other_tokens) < len(tokens) else (word, other)
                message = f"the tokens of `{long}` begin with all those of `{short}`, so `{long}` never wins"
                yield RowProblem("T03", key, message)


def _lengths(
    file: TaskFile, rows: TaskRows, documents: Documents, tokenizer: PromptTokenizer, chat: bool
) -> tuple[list[int], int]:
    """Tokens of each prompt with its longest answer, and tokens of that answer."""
    prompts = [assemble_prompt(file.data, document, tokenizer, chat) for document in documents]
    if file.data.get("output_type") == "multiple_choice":
        delimiter = label_delimiter(file.data, chat)
        labels = [delimiter + word for word in (rows.labels or {}).values()]
        answer = max(map(len, tokenizer.encode_many(labels, add_special_tokens=False)), default=0)
    else:
        settings = file.data.get("generation_kwargs")
        limit = settings.get("max_gen_toks") if isinstance(settings, dict) else None
        answer = limit if isinstance(limit, int) else 0
    return [len(tokens) + answer for tokens in tokenizer.encode_many(prompts)], answer


def _length_problems(
    lengths: tuple[list[int], int], context: int, max_long_share: float, total: int
) -> Iterator[RowProblem]:
    rows, answer = lengths
    count = sum(length > context for length in rows)
    if count > max_long_share * len(rows):
        sample = f" sampled from {total:,}" if len(rows) < total else ""
        message = (
            f"{count:,} of {len(rows):,} rows{sample} ({count / len(rows):.1%}) are longer than the context of "
            f"{context:,} tokens; the longest has {max(rows):,}, of which {answer} are for the answer"
        )
        yield RowProblem("T04", ("doc_to_text",), message)
