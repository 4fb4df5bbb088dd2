"""Training examples: the prompt of an evaluation, followed by the label and the end of turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.data.text_hashes import row_hash
from fin_plugins.scoring.documents import encode_pairs

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from fin_plugins.evaluation.prompt_lm import PromptLM

IGNORED = -100
"""Label of a position that the loss ignores, as in PyTorch and TRL."""

_PROBE_USER, _PROBE_PREFIX, _PROBE_ANSWER = "A probe.", "label:", " probe"
_EMBEDDING_REMEDY = (
    "use the tokenizer that belongs to the model, or add the embeddings (`model.resize_token_embeddings`, then "
    "save_pretrained)"
)


@dataclass(frozen=True)
class Example:
    """A text to train on."""

    prompt: str
    """The rendered prompt, as in an evaluation."""
    completion: str
    """The label as an evaluation scores it, or a replayed answer."""
    end: str
    """End of turn; empty after a truncated answer."""
    row_hashes: tuple[str, ...] = ()
    """Hashes of the row's texts, for the record of the rows trained on."""

    @property
    def text(self) -> str:
        """Prompt, completion and end of turn."""
        return self.prompt + self.completion + self.end


@dataclass(frozen=True)
class TokenizedExample:
    """An example in tokens; `ids` and `labels` have the same length."""

    ids: list[int]
    labels: list[int]
    """`ids`, with `IGNORED` at positions that the loss ignores."""
    row_hashes: tuple[str, ...] = ()
    """As in `Example`."""


def task_example(requests: "Sequence[Instance]", gold: int, end: str, text: str = "") -> Example:
    """The example of one row.

    Args:
        requests: lm-eval's requests for the row, one per label, in the order of the labels.
        gold: index of the correct label.
        end: end of turn.
        text: the row's text, for the record of the rows trained on.
    """
    prompt, completion = requests[gold].args
    return Example(prompt, completion, end, (row_hash(text),) if text else ())


def conversation_example(messages: Sequence[dict[str, str]], lm: Any, chat: bool, end: str) -> Example:
    """The example of a replayed conversation; the completion is its last answer.

    Args:
        messages: `role` and `content` of each; the last one is the assistant's.
        lm: an lm-eval model, for its chat template.
        chat: whether to apply the chat template; otherwise there is one message per line.
        end: end of turn; empty if the answer is truncated.
    """
    *context, answer = messages
    row_hashes = tuple(row_hash(message["content"]) for message in messages)
    if chat:
        prompt = lm.apply_chat_template(list(context))
    else:
        prompt = "".join(message["content"] + "\n" for message in context)
    return Example(prompt, answer["content"], end, row_hashes)


def end_of_turn(lm: Any, chat: bool) -> str:
    """The text that ends an answer: the template's text up to its first control token, or the end-of-text token.

    Args:
        lm: an lm-eval model, for its tokenizer.
        chat: whether prompts use the chat template.

    Raises:
        FinError: the template changes answers, or the tokenizer has no end-of-text token.
    """
    eos = lm.tokenizer.eos_token
    if not chat:
        return _require_eos(eos)
    user = {"role": "user", "content": _PROBE_USER}
    try:
        prompt = lm.apply_chat_template([user, _assistant(_PROBE_PREFIX)], add_generation_prompt=False)
    except ValueError:  # transformers cannot find the answer in the rendered text
        prompt = ""
    rendered = lm.tokenizer.apply_chat_template([user, _assistant(_PROBE_PREFIX + _PROBE_ANSWER)], tokenize=False)
    if not prompt or not rendered.startswith(prompt + _PROBE_ANSWER):
        raise FinError(
            "the chat template changes answers, so a training text cannot equal the evaluation's prompt and label: "
            "use a model with another template, or chat_template: false"
        )
    rest = rendered[len(prompt + _PROBE_ANSWER) :]
    return first_control_token(rest, lm.tokenizer) or rest + _require_eos(eos)


def first_control_token(text: str, tokenizer: Any) -> str:
    """`text` up to and including its first control token; empty if it has none."""
    control_tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    spans = [(text.index(token), text.index(token) + len(token)) for token in control_tokens if token in text]
    # The earliest start, and of tokens that start there the longest.
    return text[: min(spans, key=lambda span: (span[0], -span[1]))[1]] if spans else ""


def tokenize_examples(examples: Sequence[Example], lm: Any, encode: Any, loss: str) -> list[TokenizedExample]:
    """Tokenize examples as an evaluation does, and append the tokens of the end of turn.

    Args:
        examples: the examples.
        lm: an lm-eval model, for the token that stands for an empty context.
        encode: `tok_encode` over a list of strings, as `encode_pairs` expects it.
        loss: `completion` or `all`.
    """
    pairs = [(example.prompt, example.completion) for example in examples]
    encoded = encode_pairs(pairs, encode, lm.prefix_token_id)
    ends = {end: encode([end], add_special_tokens=False)[0] if end else [] for end in {e.end for e in examples}}
    tokenized = []
    for example, (context, label) in zip(examples, encoded, strict=True):
        completion = label + ends[example.end]
        ids = context + completion
        labels = ids if loss == "all" else [IGNORED] * len(context) + completion
        tokenized.append(TokenizedExample(ids, labels, example.row_hashes))
    return tokenized


def may_lack_embeddings(lm: "PromptLM") -> bool:
    """Whether the tokenizer has more tokens than the model has embeddings."""
    return lm.embedding_rows is not None and len(lm.tokenizer) > lm.embedding_rows


def check_embeddings(lm: "PromptLM", sequences: Iterable[Sequence[int]], model: str) -> None:
    """Check that the model has an embedding for every token; PyTorch would only raise an `IndexError`.

    Args:
        lm: the tokenizer, and the number of embeddings.
        sequences: token ids.
        model: the base model as named in the training file.

    Raises:
        FinError: a token has no embedding.
    """
    if lm.embedding_rows is None:
        return
    largest = max((max(ids, default=0) for ids in sequences), default=0)
    if largest >= lm.embedding_rows:
        raise FinError(
            f"model: {model}: {_missing_embedding(lm, largest)}. It occurs in the examples: {_EMBEDDING_REMEDY}"
        )


def check_padding(lm: "PromptLM", batching: str, model: str) -> None:
    """Check that the model has an embedding for the padding token, if batches are padded.

    Raises:
        FinError: it has none.
    """
    pad = lm.tokenizer.pad_token_id
    if batching == "padded" and pad is not None and lm.embedding_rows is not None and pad >= lm.embedding_rows:
        raise FinError(
            f"model: {model}: {_missing_embedding(lm, pad)}. It is the padding of `batching: padded`: set pad_token to "
            f"the eos_token in tokenizer_config.json, or {_EMBEDDING_REMEDY}"
        )


def _missing_embedding(lm: "PromptLM", token: int) -> str:
    return (
        f"token {token} ({lm.tokenizer.convert_ids_to_tokens(token)!r}) has no embedding: the tokenizer has "
        f"{len(lm.tokenizer)} tokens, the model {lm.embedding_rows} embeddings"
    )


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _require_eos(eos: str | None) -> str:
    if not eos:
        raise FinError("the tokenizer has no end-of-text token, so a model cannot learn to stop: set its eos_token")
    return eos
