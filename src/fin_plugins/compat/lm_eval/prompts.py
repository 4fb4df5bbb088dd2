"""lm-eval's handling of prompts and generation settings, from `lm_eval.models.utils` and `lm_eval.api.utils`.

Assumed of lm-eval (0.4.12 to 0.4.13), besides the functions: `Message.to_dict()` and `.to_text()` exist, and
`lm_eval.utils.apply_template`, looked up in its module at each call, renders every template of a task.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def has_bos_prefix(text: str, bos: str | Sequence[str] | None) -> bool:
    """Whether a text already begins with the tokenizer's BOS string."""
    from lm_eval.models.utils import has_bos_prefix as theirs

    return bool(theirs(text, bos))


def configure_pad_token(tokenizer: Any, model_config: Any) -> Any:
    """The tokenizer with a padding token, chosen as lm-eval's model classes choose it.

    Args:
        tokenizer: transformers' tokenizer.
        model_config: transformers' configuration of the model.
    """
    from lm_eval.models.utils import configure_pad_token as theirs

    return theirs(tokenizer, model_config=model_config)


def generation_settings(given: Any, max_gen_toks: int) -> dict[str, Any]:
    """A request's generation settings as lm-eval's classes read them: `max_gen_toks`, `until` and others.

    Args:
        given: settings of the request.
        max_gen_toks: default length of a reply in tokens.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    return dict(normalize_gen_kwargs(given, max_gen_toks))


def stop_strings(until: Any, eos: str | None) -> list[str]:
    """Strings that end a reply: those of the request, and the end-of-text token."""
    from lm_eval.models.utils import handle_stop_sequences

    return list(handle_stop_sequences(until, eos=eos))


def cut_reply(text: str, stop: Sequence[str]) -> str:
    """A reply truncated at the first stop string."""
    from lm_eval.models.utils import postprocess_generated_text

    return str(postprocess_generated_text(text, stop=list(stop), think_end_token=None))


def join_prompt(description: str, text: str, prefix: str, delimiter: str) -> tuple[str, list[dict[str, str]]]:
    """A zero-shot prompt, as plain text and as chat messages.

    Args:
        description: system message; may be empty.
        text: user message.
        prefix: start of the assistant's answer; may be empty.
        delimiter: separates text and prefix if needed.

    Returns:
        The text, and the messages with `role` and `content`.
    """
    from lm_eval.api.utils import Message, requires_delimiter

    between = delimiter if prefix and requires_delimiter(text, prefix) else ""
    messages = [Message("system", description)] if description else []
    messages.append(Message("user", text, between))
    messages += [Message("assistant", prefix)] if prefix else []
    return "".join(message.to_text() for message in messages), [message.to_dict() for message in messages]


@contextmanager
def templates_rendered_by(render: Callable[[str, Mapping[str, Any]], str]) -> Iterator[None]:
    """Render the templates of lm-eval's tasks with this function of template and row within the block."""
    from lm_eval import utils

    theirs = utils.apply_template
    utils.apply_template = render
    try:
        yield
    finally:
        utils.apply_template = theirs


def template_filters() -> tuple[dict[str, Any], dict[str, Any]]:
    """The filters and the tests of lm-eval's template environment, by name; importing them takes seconds."""
    from lm_eval.utils import env

    return env.filters, env.tests
