"""A model's tokenizer, loaded as `fin eval` would, without the model."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fin_plugins.checks.rows.rendering import RenderingError
from fin_plugins.common.errors import FinError

if TYPE_CHECKING:
    from fin_plugins.evaluation.prompts import PromptLM

_NO_LIMIT = 1 << 30
"""A tokenizer that was never told its limit says 10^30."""


class Tokenizer:
    """What the rules ask of a tokenizer.

    Args:
        name: as the user named it.
        lm: the tokenizer as lm-eval's classes use it.
    """

    def __init__(self, name: str, lm: "PromptLM") -> None:
        self.name = Path(name).name
        self.prefix_token = lm.prefix_token_id
        self.has_template = bool(lm.tokenizer.chat_template)
        self._lm = lm

    @property
    def context(self) -> int | None:
        """Tokens the model reads at most; None where its files do not say."""
        said = [self._lm.tokenizer.model_max_length, self._lm.positions]
        return min((int(limit) for limit in said if limit and limit < _NO_LIMIT), default=None)

    def encode_many(self, string: list[str], add_special_tokens: bool | None = None) -> list[list[int]]:
        """Tokens of every string."""
        return [self._lm.tok_encode(one, add_special_tokens) if one else [] for one in string]

    def chat(self, messages: list[dict[str, str]], begun: bool) -> str:
        """The conversation in the chat template.

        Args:
            messages: `role` and `content`.
            begun: whether the last message is an answer that goes on.

        Raises:
            RenderingError: the template does not take these messages.
        """
        try:
            return self._lm.apply_chat_template(messages, add_generation_prompt=not begun)
        except Exception as error:  # a template raises what it likes
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise RenderingError(f"the chat template stops: {first}") from error


@lru_cache(maxsize=1)
def load(name: str) -> Tokenizer:
    """Load the tokenizer of a model: a folder, or a hub name that is in the cache. No code of the model's is run.

    Raises:
        FinError: it cannot be loaded.
    """
    from fin_plugins.evaluation.prompts import PromptLM

    try:
        return Tokenizer(name, PromptLM("fin_vllm", {"pretrained": name}))
    except Exception as error:  # transformers raises many kinds, each with its reason in the first line
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinError(
            f"--tokenizer {name}: cannot be loaded ({first}): name a model's folder or one that was downloaded"
        ) from error
