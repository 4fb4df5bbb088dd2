"""Whether an adapter's folder brings a chat template or tokens that the tokenizer in use has not."""

import json
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import Adapter

_TEMPLATE, _SETTINGS, _VOCABULARY = "chat_template.jinja", "tokenizer_config.json", "tokenizer.json"


def tokenizer_warnings(adapter: Adapter, tokenizer: Any, rows: int | None, chat: bool) -> list[str]:
    """What prompts made with `tokenizer` have that the adapter was not trained with, a line each.

    Args:
        adapter: the adapter; trainers leave their tokenizer in its folder, PEFT alone does not.
        tokenizer: transformers' tokenizer that the prompts are made with.
        rows: of the base's embeddings, where that is known.
        chat: whether prompts go through the chat template.

    Raises:
        FinError: the adapter's tokens are more than the base has embeddings for, or a file cannot be read.
    """
    settings = _read(adapter, _SETTINGS)
    tokens = _tokens(adapter)
    known = tokenizer.get_vocab()
    added = sorted((token for token in tokens if token not in known), key=tokens.__getitem__)
    padding = _text(settings.get("pad_token"))  # never part of a prompt
    beyond = [token for token in added if rows and tokens[token] >= rows and token != padding]
    if beyond:
        raise FinError(
            f"adapter {adapter.name}: the tokenizer in {adapter.path} has {len(beyond)} tokens beyond the base's "
            f"{rows} embedding rows ({_some(beyond)}), which cannot be scored: resize the base with "
            "resize_token_embeddings, merge the adapter into it with PEFT's merge_and_unload, and pass the result as "
            "pretrained="
        )
    mend = (
        f"pass tokenizer={adapter.path} in --model_args, in a run without models that were trained with another one"
        if (adapter.path / _VOCABULARY).is_file()
        else "put it into a copy of the base's tokenizer and pass that folder as tokenizer= in --model_args"
    )
    found = []
    template = _template(adapter, settings)
    if template is not None and _same_end(template) != _same_end(tokenizer.chat_template):
        used = "prompts are made with another one" if chat else "prompts are made without (no --apply_chat_template)"
        found.append(f"WARNING: adapter {adapter.name} has a chat template in {adapter.path}, and {used}: {mend}")
    other = [token for token in tokens if token in known and known[token] != tokens[token]]
    if differing := [token for token in (*added, *other) if token != padding]:
        found.append(
            f"WARNING: adapter {adapter.name} has {len(differing)} tokens in {adapter.path / _VOCABULARY} that the "
            f"tokenizer in use has not, or has under other numbers ({_some(differing)}): {mend}"
        )
    return found


def _template(adapter: Adapter, settings: dict[str, Any]) -> Any:
    """The folder's chat template: a text, or texts by name; None where it has none."""
    file = adapter.path / _TEMPLATE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise _unreadable(adapter, file, error) from error
    given = settings.get("chat_template")
    if isinstance(given, list):  # transformers' older form of templates by name
        return {one.get("name"): one.get("template") for one in given if isinstance(one, dict)}
    return given


def _tokens(adapter: Adapter) -> dict[str, int]:
    """Numbers of the tokens of the folder's tokenizer, by token; empty where it has none."""
    found: dict[str, int] = {}
    file = adapter.path / _VOCABULARY
    if file.is_file():
        from tokenizers import Tokenizer

        try:
            found = dict(Tokenizer.from_file(str(file)).get_vocab())
        except Exception as error:  # tokenizers raises nothing narrower
            raise _unreadable(adapter, file, error) from error
    return found | _read(adapter, "added_tokens.json")


def _read(adapter: Adapter, name: str) -> dict[str, Any]:
    file = adapter.path / name
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(adapter, file, error) from error


def _unreadable(adapter: Adapter, file: Path, error: Exception) -> FinError:
    return FinError(f"adapter {adapter.name}: {file} cannot be read ({error}): save it again, or take it away")


def _text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _same_end(template: Any) -> Any:
    return template.rstrip("\n") if isinstance(template, str) else template


def _some(tokens: list[str]) -> str:
    return ", ".join(map(repr, tokens[:3])) + (", …" if len(tokens) > 3 else "")
