"""What lm-eval asks of a language model beside its answers, for one whose engine may not be there."""

from typing import Any

from lm_eval.api.model import LM


class Facade(LM):
    """Renders prompts by another object, and tells of the engine what was noted when it answered."""

    def __init__(self, renderer: Any) -> None:
        """Take the object that renders prompts."""
        super().__init__()
        self._renderer = renderer
        self._about: dict[str, Any] = {}
        """`info`, `max_length` and so on, as noted beside the answers."""

    def get_model_info(self) -> dict[str, Any]:
        """What the model class tells about itself in the result file's `config`; as it was when it answered."""
        info = dict(self._about.get("info") or {})
        return {**info, "fin": {**(info.get("fin") or {}), **self._told()}}

    def _told(self) -> dict[str, Any]:
        """What is told beside, of what was answered."""
        return {}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The renderer's."""
        return str(self._renderer.apply_chat_template(chat_history, add_generation_prompt=add_generation_prompt))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The renderer's."""
        template: str | None = self._renderer.chat_template(chat_template)
        return template

    @property
    def tokenizer_name(self) -> str:
        """The renderer's."""
        return str(self._renderer.tokenizer_name)

    @property
    def tokenizer(self) -> Any:
        """The renderer's; lm-eval writes its special tokens into the result file."""
        return self._renderer.tokenizer

    @property
    def eot_token_id(self) -> Any:
        """As the engine had it."""
        return self._about.get("eot_token_id")

    @property
    def max_length(self) -> Any:
        """As the engine had it, tokens."""
        return self._about.get("max_length")

    @property
    def batch_sizes(self) -> dict[str, Any]:
        """As the engine had them; lm-eval lists their values."""
        return dict(self._about.get("batch_sizes") or {})
