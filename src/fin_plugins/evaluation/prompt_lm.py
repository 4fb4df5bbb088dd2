"""Renders a model's prompts without its engine, from the tokenizer alone."""

from typing import Any

from fin_plugins.compat.lm_eval.prompts import configure_pad_token, has_bos_prefix
from fin_plugins.compat.lm_eval.template_lm import TokenScoringLM


class EngineRequired(Exception):
    """Signals that only the engine can answer a request and must be started; not an error."""


class PromptLM(TokenScoringLM):
    """Renders the same strings as the model class, so that cached answers are found without starting an engine.

    If its strings should ever differ from the engine's, cached answers are not found and the engine is started
    needlessly. The engine then renders the prompts itself, so no answer can be attributed to another prompt.
    """

    def __init__(self, engine: str, arguments: dict[str, Any]) -> None:
        """Load the tokenizer as lm-eval's class does.

        Args:
            engine: lm-eval's name of the model class; its two classes call the template differently.
            arguments: the model arguments.
        """
        super().__init__()
        from transformers import AutoConfig, AutoTokenizer

        forwarded = ("trust_remote_code", "add_bos_token")
        settings: dict[str, Any] = {name: arguments[name] for name in forwarded if name in arguments}
        is_vllm = engine == "fin_vllm"
        revision = arguments.get("tokenizer_revision" if is_vllm else "revision")
        if not is_vllm:
            if arguments.get("subfolder"):
                settings["subfolder"] = arguments["subfolder"]
            settings["use_fast"] = arguments.get("use_fast_tokenizer", True)
            if arguments.get("gguf_file") and not arguments.get("tokenizer"):
                settings["gguf_file"] = arguments["gguf_file"]
        name = str(arguments.get("tokenizer") or arguments["pretrained"])
        tokenizer = AutoTokenizer.from_pretrained(name, revision=str(revision or "main"), **settings)
        trust = bool(arguments.get("trust_remote_code"))
        config = AutoConfig.from_pretrained(str(arguments["pretrained"]), trust_remote_code=trust)
        self.tokenizer = configure_pad_token(tokenizer, model_config=config)
        self.positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        """Maximum length in tokens; None if the configuration does not say."""
        self.embedding_rows: int | None = getattr(config.get_text_config(), "vocab_size", None)
        """Number of tokens with an embedding; None if the configuration does not say."""
        self.add_bos_token = arguments.get("add_bos_token")
        self._prefix_token_id = arguments.get("prefix_token_id")
        self._template_arguments = _template_arguments(is_vllm, arguments)

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token, as lm-eval's classes choose it."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that replaces an empty context."""
        if self._prefix_token_id is not None:
            return int(self._prefix_token_id)
        bos = self.tokenizer.bos_token_id
        return int(bos if bos is not None else self.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, as lm-eval's classes report it."""
        return str(self.tokenizer.name_or_path.replace("/", "__"))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation; without its system message if the template rejects one, as lm-eval does."""
        import jinja2

        without_system = [message for message in chat_history if message["role"] != "system"]
        try:
            return self._render(chat_history, add_generation_prompt)
        except jinja2.exceptions.TemplateError:
            return self._render(without_system, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_settings: Any) -> list[int]:
        """Tokens of a string, with at most one BOS."""
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        if add_special_tokens is None:
            add_special_tokens = self.add_bos_token
        settings = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **settings))

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **self._template_arguments,
            )
        )

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Requires the engine."""
        raise EngineRequired

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Requires the engine."""
        raise EngineRequired

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Requires the engine."""
        raise EngineRequired

    def score_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Requires the engine."""
        raise EngineRequired


def _template_arguments(is_vllm: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    template_arguments = dict(arguments.get("chat_template_args") or {})
    thinking = arguments.get("enable_thinking")
    # lm-eval's vLLM class removes the switch from chat_template_args and always passes its own.
    if is_vllm or thinking is not None:
        template_arguments["enable_thinking"] = thinking
    return template_arguments
