"""Whether the model has an embedding for every token that training puts through it; PyTorch would say `IndexError`."""

from collections.abc import Iterable, Sequence

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.prompts import PromptLM


def may_lack_embeddings(lm: PromptLM) -> bool:
    """Whether the tokenizer knows more tokens than the model."""
    return lm.embedding_rows is not None and len(lm.tokenizer) > lm.embedding_rows


def check_tokens(lm: PromptLM, sequences: Iterable[Sequence[int]], model: str) -> None:
    """Check tokens of examples.

    Args:
        lm: with the tokenizer, and the number of the model's embeddings.
        sequences: token numbers.
        model: the base, as the training file names it.

    Raises:
        FinError: a token has no embedding.
    """
    if lm.embedding_rows is None:
        return
    largest = max((max(ids, default=0) for ids in sequences), default=0)
    if largest >= lm.embedding_rows:
        raise FinError(f"model: {model}: {_what(lm, largest)} stands in the examples: {_REMEDY}")


def check_padding(lm: PromptLM, batching: str, model: str) -> None:
    """Check the token that fills up shorter examples, where a batch is padded.

    Raises:
        FinError: it has no embedding.
    """
    pad = lm.tokenizer.pad_token_id
    if batching == "padded" and pad is not None and lm.embedding_rows is not None and pad >= lm.embedding_rows:
        raise FinError(
            f"model: {model}: {_what(lm, pad)} is the padding of `batching: padded`: set pad_token to the eos_token in "
            f"its tokenizer_config.json, or: {_REMEDY}"
        )


_REMEDY = (
    "use the tokenizer that belongs to the model, or give the model the rows (`model.resize_token_embeddings`, then "
    "save_pretrained)"
)


def _what(lm: PromptLM, token: int) -> str:
    return (
        f"its tokenizer knows {len(lm.tokenizer)} tokens and the model has {lm.embedding_rows} embeddings, and token "
        f"{token} ({lm.tokenizer.convert_ids_to_tokens(token)!r}), which has none,"
    )
