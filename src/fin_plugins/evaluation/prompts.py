"""The prompts of a model without its engine: what rendering needs is the tokenizer alone."""

from typing import Any

from fin_plugins.compat.lm_eval.prompts import configure_pad_token, has_bos_prefix
from fin_plugins.compat.lm_eval.template_lm import TokenScoringLM


class NoEngine(Exception):
    """Something was asked that only the engine can answer: no error, it says that the engine is needed now."""


class PromptLM(TokenScoringLM):
    """Renders the same strings as the model class would, so that stored answers are found without starting an engine.

    Where its strings should ever differ from the engine's, stored answers are not found and the engine is started for
    nothing; the engine then renders anew, so no answer can be taken for another prompt's.
    """

    def __init__(self, engine: str, arguments: dict[str, Any]) -> None:
        """Load the tokenizer as lm-eval's class would.

        Args:
            engine: lm-eval's name of the model class; lm-eval's two classes call the template differently.
            arguments: the model arguments.
        """
        super().__init__()
        from transformers import AutoConfig, AutoTokenizer

        passed = ("trust_remote_code", "add_bos_token")
        theirs: dict[str, Any] = {name: arguments[name] for name in passed if name in arguments}
        vllm = engine == "fin_vllm"
        revision = arguments.get("tokenizer_revision" if vllm else "revision")
        if not vllm:
            if arguments.get("subfolder"):
                theirs["subfolder"] = arguments["subfolder"]
            theirs["use_fast"] = arguments.get("use_fast_tokenizer", True)
            if arguments.get("gguf_file") and not arguments.get("tokenizer"):
                theirs["gguf_file"] = arguments["gguf_file"]
        name = str(arguments.get("tokenizer") or arguments["pretrained"])
        tokenizer = AutoTokenizer.from_pretrained(name, revision=str(revision or "main"), **theirs)
        trust = bool(arguments.get("trust_remote_code"))
        config = AutoConfig.from_pretrained(str(arguments["pretrained"]), trust_remote_code=trust)
        self.tokenizer = configure_pad_token(tokenizer, model_config=config)
        self.positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
        """Tokens that the model was made for; None where its configuration does not say."""
        self.embedding_rows: int | None = getattr(config.get_text_config(), "vocab_size", None)
        """Tokens that the model has an embedding for; None where its configuration does not say."""
        self.add_bos_token = arguments.get("add_bos_token")
        self._prefix_token_id = arguments.get("prefix_token_id")
        self._template = _template_arguments(vllm, arguments)

    @property
    def eot_token_id(self) -> int:
        """The end-of-text token, as lm-eval's classes choose it."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands for an empty context."""
        if self._prefix_token_id is not None:
            return int(self._prefix_token_id)
        bos = self.tokenizer.bos_token_id
        return int(bos if bos is not None else self.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name, as lm-eval's classes give it."""
        return str(self.tokenizer.name_or_path.replace("/", "__"))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The rendered conversation; without its system message where the template takes none, as lm-eval does."""
        import jinja2

        without_system = [message for message in chat_history if message["role"] != "system"]
        try:
            return self._render(chat_history, add_generation_prompt)
        except jinja2.exceptions.TemplateError:
            return self._render(without_system, add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_settings: Any) -> list[int]:
        """Tokens of a string, with one BOS at most."""
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
                **self._template,
            )
        )

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Only the engine can."""
        raise NoEngine

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Only the engine can."""
        raise NoEngine

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Only the engine can."""
        raise NoEngine

    def score_tokens(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Only the engine can."""
        raise NoEngine


def _template_arguments(vllm: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    given = dict(arguments.get("chat_template_args") or {})
    thinking = arguments.get("enable_thinking")
    if vllm:  # lm-eval's class takes the switch out of chat_template_args and always passes its own
        return {**given, "enable_thinking": thinking}
    return given if thinking is None else {**given, "enable_thinking": thinking}
