"""Training examples: the evaluation's own prompt, then the label, then the end of turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fin_plugins.common.errors import FinError
from fin_plugins.data.trained_rows import row_hash
from fin_plugins.scoring.encoding import encode_pairs

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

IGNORED = -100
"""The label of a position that the loss does not count; PyTorch's and TRL's own."""

_PROBE_USER, _PROBE_PREFIX, _PROBE_ANSWER = "A probe.", "label:", " probe"


@dataclass(frozen=True)
class Example:
    """One text to learn from."""

    task: str
    """Name of the task, or `replay`."""
    prompt: str
    """What an evaluation would ask, rendered."""
    completion: str
    """The label as an evaluation would score it, or a replayed answer."""
    end: str
    """End of turn; empty after an answer that was cut."""
    rows: tuple[str, ...] = ()
    """Hashes of the row's text, for the record of what was trained on."""

    @property
    def text(self) -> str:
        """The whole text."""
        return self.prompt + self.completion + self.end


@dataclass(frozen=True)
class Tokens:
    """An example in tokens; both lists have the same length."""

    ids: list[int]
    labels: list[int]
    """`ids`, with `IGNORED` where the loss does not count."""
    rows: tuple[str, ...] = ()
    """The example's."""


def task_example(requests: "Sequence[Instance]", gold: int, end: str, text: str = "") -> Example:
    """The example of one row.

    Args:
        requests: lm-eval's requests for the row, one a label, in the order of the labels.
        gold: the row's own label.
        end: what ends a turn.
        text: the row's, for the record of what was trained on.
    """
    prompt, completion = requests[gold].args
    return Example(str(requests[gold].task_name), prompt, completion, end, (row_hash(text),) if text else ())


def end_of_turn(lm: Any, chat: bool) -> str:
    """What stands behind an answer: up to the first control token of the template, or the end-of-text token.

    Args:
        lm: an lm-eval model, for its tokenizer.
        chat: whether prompts are in the chat template.

    Raises:
        FinError: the template changes the answer, or the tokenizer has no end-of-text token.
    """
    eos = lm.tokenizer.eos_token
    if not chat:
        return _needed(eos)
    user = {"role": "user", "content": _PROBE_USER}
    try:
        prompt = lm.apply_chat_template([user, _assistant(_PROBE_PREFIX)], add_generation_prompt=False)
    except ValueError:  # transformers does not find the answer again in what the template made of it
        prompt = ""
    whole = lm.tokenizer.apply_chat_template([user, _assistant(_PROBE_PREFIX + _PROBE_ANSWER)], tokenize=False)
    if not prompt or not whole.startswith(prompt + _PROBE_ANSWER):
        raise FinError(
            "the chat template does not repeat an answer as it is given, so no training text can equal the "
            "evaluation's prompt and label: use a model with another template, or chat_template: false"
        )
    rest = whole[len(prompt + _PROBE_ANSWER) :]
    return first_control_token(rest, lm.tokenizer) or rest + _needed(eos)


def first_control_token(text: str, tokenizer: Any) -> str:
    """`text` up to and with the first control token in it; empty where it has none."""
    control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    found = [(text.index(token) + len(token), -len(token)) for token in control if token in text]
    # Two tokens may begin alike: the one that begins first, and of those the longest.
    return text[: min(found, key=lambda place: (place[0] + place[1], place[1]))[0]] if found else ""


def _assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def _needed(eos: str | None) -> str:
    if not eos:
        raise FinError(
            "the tokenizer has no end-of-text token, so a model could not learn to stop: set eos_token in it"
        )
    return eos


def tokenise(examples: Sequence[Example], lm: Any, encode: Any, loss: str) -> list[Tokens]:
    """Examples in tokens: those that an evaluation would score, and behind them those of the end of turn.

    Args:
        examples: the examples.
        lm: an lm-eval model, for the token that stands for an empty context.
        encode: `tok_encode` over a list of strings, as `encode_pairs` wants it.
        loss: `completion` or `all`.
    """
    pairs = [(example.prompt, example.completion) for example in examples]
    encoded = encode_pairs(pairs, encode, lm.prefix_token_id)
    ends = {end: encode([end], add_special_tokens=False)[0] if end else [] for end in {e.end for e in examples}}
    return [
        _tokens(context, label + ends[example.end], loss, example.rows)
        for example, (context, label) in zip(examples, encoded, strict=True)
    ]


def _tokens(context: list[int], completion: list[int], loss: str, rows: tuple[str, ...]) -> Tokens:
    ids = context + completion
    return Tokens(ids, ids if loss == "all" else [IGNORED] * len(context) + completion, rows)


def conversation_example(messages: Sequence[dict[str, str]], lm: Any, chat: bool, end: str) -> Example:
    """The example of a replayed conversation: its last answer is learnt, what stands before it is the prompt.

    Args:
        messages: `role` and `content`; the last one is the assistant's.
        lm: an lm-eval model, for its chat template.
        chat: whether it is rendered in the template; else the texts stand line by line.
        end: what ends a turn; empty where the answer was cut.
    """
    *before, answer = messages
    rows = tuple(row_hash(message["content"]) for message in messages)
    if chat:
        return Example("replay", lm.apply_chat_template(list(before)), answer["content"], end, rows)
    return Example("replay", "".join(message["content"] + "\n" for message in before), answer["content"], end, rows)
