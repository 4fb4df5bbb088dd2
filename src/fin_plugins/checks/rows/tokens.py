"""What a given tokenizer makes of labels and prompts, as they are scored: as plain text and in the chat template."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fin_plugins.checks.model import Finding, Function, Options, TaskFile
from fin_plugins.checks.rows import splits
from fin_plugins.checks.rows.model import Rows
from fin_plugins.checks.rows.rendering import RenderingError, render
from fin_plugins.checks.rows.tokenizer import Tokenizer, load
from fin_plugins.common.yaml_nodes import Key
from fin_plugins.compat.lm_eval.prompts import join_prompt
from fin_plugins.scoring.encoding import Encoded, encode_pairs

_LABELLED = 20
"""So many rows show how labels go on after a prompt: most of it is the same for all rows."""

Documents = Sequence[Mapping[str, Any]]
Problem = tuple[str, Key, str]


def check(file: TaskFile, rows: Rows, options: Options) -> Iterator[Finding]:
    """Rules T01 to T04.

    Raises:
        FinError: the tokenizer cannot be loaded.
    """
    name = splits.scored(file, rows) or next(iter(rows.splits), None)
    template = file.data.get("doc_to_text")
    if name is None or not rows.splits[name].documents or not isinstance(template, str):
        return
    if isinstance(template, Function):
        return
    assert options.tokenizer is not None
    tokenizer = load(options.tokenizer)
    documents = rows.splits[name].documents
    said: dict[tuple[str, Key], str] = {}
    for chat in (False, True) if tokenizer.has_template else (False,):
        form = f"({tokenizer.name}, {'in its chat template' if chat else 'without a chat template'})"
        try:
            found = [
                *_labels(file, rows, documents, tokenizer, chat),
                *_lengths(file, rows, documents, tokenizer, chat, options, len(rows.splits[name].names)),
            ]
        except RenderingError as error:
            found = [("P09", ("doc_to_text",), f"cannot be rendered: {error}")]
        for code, key, message in found:
            said.setdefault((code, key), f"{message} {form}")
    for (code, key), message in said.items():
        yield file.finding(code, key, message)


def prompt(task: Mapping[str, Any], document: Mapping[str, Any], tokenizer: Tokenizer, chat: bool) -> str:
    """The prompt of a row without examples, as lm-eval puts it together.

    Raises:
        RenderingError: a template cannot be rendered with this row.
    """
    prefix = _rendered(task, "gen_prefix", document)
    text = render(task["doc_to_text"], document)
    plain, messages = join_prompt(_rendered(task, "description", document), text, prefix, _delimiter(task))
    return tokenizer.chat(messages, bool(prefix)) if chat else plain


def _rendered(task: Mapping[str, Any], key: str, document: Mapping[str, Any]) -> str:
    template = task.get(key)
    return render(template, document) if isinstance(template, str) and not isinstance(template, Function) else ""


def _delimiter(task: Mapping[str, Any]) -> str:
    said = task.get("target_delimiter", " ")
    return said if isinstance(said, str) else " "


def before_label(task: Mapping[str, Any], chat: bool) -> str:
    """What lm-eval puts between prompt and label."""
    prefix = task.get("gen_prefix")
    if chat and not (isinstance(prefix, str) and prefix and not prefix[-1].isspace()):
        return ""
    return _delimiter(task)


def _labels(file: TaskFile, rows: Rows, documents: Documents, tokenizer: Tokenizer, chat: bool) -> Iterator[Problem]:
    words = list(rows.labels.values()) if rows.labels else []
    if file.data.get("output_type") == "multiple_choice" and words:
        for document in _sample(documents, _LABELLED):
            yield from _compared(rows, words, _encoded(file, document, words, tokenizer, chat))


def _encoded(
    file: TaskFile, document: Mapping[str, Any], words: Sequence[str], tokenizer: Tokenizer, chat: bool
) -> list[Encoded]:
    before, text = before_label(file.data, chat), prompt(file.data, document, tokenizer, chat)
    return encode_pairs([(text, before + word) for word in words], tokenizer.encode_many, tokenizer.prefix_token)


def _compared(rows: Rows, words: Sequence[str], encoded: Sequence[Encoded]) -> Iterator[Problem]:
    tokens = [tuple(continuation) for _, continuation in encoded]
    for number, (word, own) in enumerate(zip(words, tokens, strict=True)):
        key = rows.key_of(list(rows.labels or ())[number])
        if not own:
            yield "T01", key, f"`{word}` has no token of its own behind the prompt, so it always wins"
            continue
        for other, theirs in list(zip(words, tokens, strict=True))[:number]:
            if own == theirs:
                yield "T02", key, f"`{word}` has the same {len(own)} tokens as `{other}`: choose another word"
            elif theirs and (own[: len(theirs)] == theirs or theirs[: len(own)] == own):
                short, long = (other, word) if len(theirs) < len(own) else (word, other)
                message = f"the tokens of `{long}` begin with all those of `{short}`, so `{long}` never wins"
                yield "T03", key, message


def _lengths(
    file: TaskFile, rows: Rows, documents: Documents, tokenizer: Tokenizer, chat: bool, options: Options, total: int
) -> Iterator[Problem]:
    context = options.context or tokenizer.context
    if context is None:
        return
    prompts = [prompt(file.data, document, tokenizer, chat) for document in documents]
    answer = _answer_tokens(file, rows, tokenizer, chat)
    lengths = [len(tokens) + answer for tokens in tokenizer.encode_many(prompts)]
    long = sum(length > context for length in lengths)
    if long > options.long_share * len(lengths):
        seen = f"{long:,} of {len(lengths):,} rows" + (f" drawn from {total:,}" if len(lengths) < total else "")
        message = (
            f"{seen} ({long / len(lengths):.1%}) are longer than the context of {context:,} tokens; the longest has "
            f"{max(lengths):,} with the {answer} of its answer"
        )
        yield "T04", ("doc_to_text",), message


def _answer_tokens(file: TaskFile, rows: Rows, tokenizer: Tokenizer, chat: bool) -> int:
    """Tokens that the answer takes at most."""
    if file.data.get("output_type") == "multiple_choice":
        words = [before_label(file.data, chat) + word for word in (rows.labels or {}).values()]
        return max(map(len, tokenizer.encode_many(words, add_special_tokens=False)), default=0)
    settings = file.data.get("generation_kwargs")
    most = settings.get("max_gen_toks") if isinstance(settings, dict) else None
    return most if isinstance(most, int) else 0


def _sample(documents: Documents, size: int) -> Documents:
    return random.Random(42).sample(list(documents), size) if len(documents) > size else documents  # noqa: S311
