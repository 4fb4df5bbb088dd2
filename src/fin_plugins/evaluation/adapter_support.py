"""What an adapter's files say about serving it, checked before an engine starts: features, weights and tokenizer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter, read_adapter_config

if TYPE_CHECKING:
    import torch

# All other named initialisations subtract something from the base's own weights when PEFT loads the adapter (see
# vllm/lora/peft_helper.py): only PEFT can serve them, and then neither the base nor another adapter beside them.
BASE_PRESERVING_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")

# Features that PEFT serves beside other adapters and vLLM does not, by setting.
PEFT_ONLY_FEATURES = {
    "use_dora": "DoRA",
    "lora_bias": "a bias beside the LoRA weights (lora_bias)",
    "modules_to_save": "whole modules of its own (modules_to_save)",
    "trainable_token_indices": "embeddings of its own for some tokens (trainable_token_indices)",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "use_qalora": "QALoRA (use_qalora)",
}
# Features that modify the model they are loaded into, and so the base and all other adapters.
BASE_CHANGING_FEATURES = {
    "layer_replication": "repeated layers (layer_replication)",
    "kasa_config": "a cut of the base's weights (KaSA)",
}
# Features whose effect depends on the tokens, so that they can neither be merged nor scored label by label.
TOKEN_DEPENDENT_FEATURES = {
    "alora_invocation_tokens": "activation by tokens of the prompt (aLoRA)",
    "arrow_config": "routing between adapters (Arrow)",
}

_MERGE_REMEDY = "merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="
_LORA_SUFFIXES = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
_DOWN_SUFFIX, _UP_SUFFIX = ".lora_A.weight", ".lora_B.weight"
_EQUALITY_TOLERANCE = 1e-6  # of a product's norm: about the rounding of factors in float32
# The frozen embeddings, which PEFT saves beside LoRA on them; their shape is compared with the base's.
_BASE_COPY_SUFFIXES = (".base_layer.weight",)
_TEMPLATE_FILE, _TOKENIZER_CONFIG, _TOKENIZER_FILE = "chat_template.jinja", "tokenizer_config.json", "tokenizer.json"


def check_supported(adapter: Adapter, engine: str = "fin_vllm") -> None:
    """Check that the engine can serve the adapter as it was trained, beside the base and other adapters.

    Reads the weights once.

    Args:
        adapter: the adapter.
        engine: the model class, `fin_vllm` or `fin_hf` (which supports what PEFT does on a shared base).

    Raises:
        FinError: the engine does not support a feature, or the weights are unreadable or not finite.
    """
    config = read_adapter_config(adapter.name, adapter.path)
    _check_shared_base(adapter, config)
    if engine != "fin_hf":
        for setting, feature in PEFT_ONLY_FEATURES.items():
            if config.get(setting):
                _reject_for_vllm(adapter, feature)
    names = []
    for name, tensor in read_tensors(adapter):
        names.append(name)
        if not bool(tensor.isfinite().all()):
            raise FinError(
                f"adapter {adapter.name}: {adapter.path / WEIGHTS}: {name} has values that are not finite (NaN or "
                "infinity): its training failed, train it again (a lower learning rate, or bfloat16 for float16)"
            )
    if not any(name.endswith(_LORA_SUFFIXES) for name in names):
        raise FinError(f"adapter {adapter.name}: {adapter.path / WEIGHTS} has no LoRA weights: save it again")
    others = [name for name in names if not name.endswith(_LORA_SUFFIXES + _BASE_COPY_SUFFIXES)]
    if others and engine != "fin_hf":
        _reject_for_vllm(adapter, f"weights that are not LoRA's ({others[0]})")


def is_untrained(adapter: Adapter) -> bool:
    """Whether the adapter's file shows that it changes nothing: one factor of every product is zero.

    PEFT initialises B to zero and A at random (for embeddings the other way round), so this is what an adapter looks
    like if it was saved before its training, or if its training never reached it.
    """
    nonzero: dict[tuple[str, str], bool] = {}
    for name, tensor in read_tensors(adapter):
        if not name.endswith(_LORA_SUFFIXES):
            if not name.endswith(_BASE_COPY_SUFFIXES):
                return False
            continue
        module, _, factor = name.removesuffix(".weight").rpartition(".")
        nonzero[module, factor[-1]] = bool(tensor.any())
    modules = {module for module, _ in nonzero}
    return not any(nonzero.get((module, "A")) and nonzero.get((module, "B")) for module in modules)


def have_equal_updates(first: Adapter, second: Adapter) -> bool:
    """Whether two adapters with equal settings update the base equally, even if the factors of the products differ.

    The distance of two products is computed in float64 from the small inner products of their factors.
    """
    configs = [dict(read_adapter_config(adapter.name, adapter.path)) for adapter in (first, second)]
    for config in configs:
        config.pop("fan_in_fan_out", None)  # PEFT uses the layer's class instead
    if configs[0] != configs[1]:
        return False
    weights = [
        # PEFT saves the base's own weights beside LoRA on embeddings or head, other tools do not.
        {name: tensor for name, tensor in read_tensors(adapter) if ".base_layer." not in name}
        for adapter in (first, second)
    ]
    down_names = [name for name in weights[0] if name.endswith(_DOWN_SUFFIX)]
    if weights[0].keys() != weights[1].keys() or len(weights[0]) != 2 * len(down_names):
        return False  # more than pairs of matrices: only equal files count as equal
    return all(
        _equal_products(weights[0], weights[1], down, down.removesuffix(_DOWN_SUFFIX) + _UP_SUFFIX)
        for down in down_names
    )


def read_tensors(adapter: Adapter) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield name and value of each tensor in the adapter's file, one at a time, on the CPU.

    Raises:
        FinError: the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    file = adapter.path / WEIGHTS
    try:
        with safe_open(file, framework="pt", device="cpu") as handle:
            for name in handle.keys():  # noqa: SIM118 (no mapping)
                yield name, handle.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise FinError(f"adapter {adapter.name}: {file} cannot be read ({error}): copy or save it again") from error


def tokenizer_warnings(adapter: Adapter, tokenizer: Any, embedding_rows: int | None, chat: bool) -> list[str]:
    """Describe how prompts made with `tokenizer` differ from the adapter's training, one line per difference.

    Args:
        adapter: the adapter; trainers save their tokenizer in its folder, PEFT alone does not.
        tokenizer: transformers' tokenizer of the prompts.
        embedding_rows: number of the base's embeddings, if known.
        chat: whether prompts use the chat template.

    Raises:
        FinError: the adapter has more tokens than the base has embeddings, or a file cannot be read.
    """
    config = _read_json_file(adapter, _TOKENIZER_CONFIG)
    tokens = _adapter_tokens(adapter)
    vocabulary = tokenizer.get_vocab()
    padding = _token_text(config.get("pad_token"))  # never part of a prompt
    added = sorted((token for token in tokens if token not in vocabulary), key=tokens.__getitem__)
    added = [token for token in added if token != padding]
    without_row = [token for token in added if embedding_rows and tokens[token] >= embedding_rows]
    if without_row:
        raise FinError(
            f"adapter {adapter.name}: the tokenizer in {adapter.path} has {len(without_row)} tokens beyond the base's "
            f"{embedding_rows} embedding rows ({_examples(without_row)}), which cannot be scored: resize the base with "
            "resize_token_embeddings, merge the adapter into it with PEFT's merge_and_unload, and pass the result as "
            "pretrained="
        )
    remedy = (
        f"pass tokenizer={adapter.path} in --model_args, in a run without models that were trained with another one"
        if (adapter.path / _TOKENIZER_FILE).is_file()
        else "put it into a copy of the base's tokenizer and pass that folder as tokenizer= in --model_args"
    )
    warnings = []
    template = _chat_template(adapter, config)
    if template is not None and _normalize_end(template) != _normalize_end(tokenizer.chat_template):
        used = "prompts are made with another one" if chat else "prompts are made without (no --apply_chat_template)"
        warnings.append(f"WARNING: adapter {adapter.name} has a chat template in {adapter.path}, but {used}: {remedy}")
    renumbered = [token for token in tokens if token in vocabulary and vocabulary[token] != tokens[token]]
    if differing := [*added, *(token for token in renumbered if token != padding)]:
        warnings.append(
            f"WARNING: adapter {adapter.name} has {len(differing)} tokens in {adapter.path / _TOKENIZER_FILE} that are "
            f"missing in the prompts' tokenizer, or have other numbers there ({_examples(differing)}): {remedy}"
        )
    return warnings


def _check_shared_base(adapter: Adapter, config: dict[str, Any]) -> None:
    """Reject what cannot be served on a base that must stay unchanged, whatever the engine."""
    for setting, feature in BASE_CHANGING_FEATURES.items():
        if config.get(setting):
            _reject(adapter, f"{feature} changes the base's own weights", _MERGE_REMEDY)
    for setting, feature in TOKEN_DEPENDENT_FEATURES.items():
        if config.get(setting):
            _reject(adapter, f"{feature} is not supported", "score it alone with --model hf and peft=FOLDER")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in BASE_PRESERVING_INITS:
        _reject(
            adapter,
            f"init_lora_weights={init!r} subtracts the adapter from the base's own weights when it is loaded",
            f"{_MERGE_REMEDY}, or save it with PEFT's path_initial_model_for_weight_conversion as a plain LoRA",
        )
    if config.get("bias", "none") != "none":
        _reject(adapter, f"bias={config['bias']!r} replaces the base's own biases", _MERGE_REMEDY)


def _reject_for_vllm(adapter: Adapter, feature: str) -> NoReturn:
    _reject(adapter, f"it has {feature}, which vLLM does not serve", f"use --model fin_hf, or {_MERGE_REMEDY}")


def _reject(adapter: Adapter, problem: str, remedy: str) -> NoReturn:
    raise FinError(f"adapter {adapter.name} ({adapter.path / CONFIG}): {problem}: {remedy}")


def _equal_products(first: "dict[str, torch.Tensor]", second: "dict[str, torch.Tensor]", down: str, up: str) -> bool:
    import torch

    first_up, first_down = first[up].double(), first[down].double()
    left = torch.cat([first_up, -second[up].double()], dim=1)
    right = torch.cat([first_down, second[down].double()])
    squared_norm = ((first_up.T @ first_up) * (first_down @ first_down.T)).sum()
    squared_distance = ((left.T @ left) * (right @ right.T)).sum()
    return bool(squared_distance.abs() <= _EQUALITY_TOLERANCE**2 * squared_norm)


def _chat_template(adapter: Adapter, config: dict[str, Any]) -> Any:
    """The folder's chat template: a text, or texts by name; None if there is none."""
    file = adapter.path / _TEMPLATE_FILE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise _unreadable(adapter, file, error) from error
    template = config.get("chat_template")
    if isinstance(template, list):  # transformers' older format for templates by name
        return {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
    return template


def _adapter_tokens(adapter: Adapter) -> dict[str, int]:
    """Token numbers of the folder's tokenizer, by token; empty if there is none."""
    tokens: dict[str, int] = {}
    file = adapter.path / _TOKENIZER_FILE
    if file.is_file():
        from tokenizers import Tokenizer

        try:
            tokens = dict(Tokenizer.from_file(str(file)).get_vocab())
        except Exception as error:  # tokenizers raises nothing narrower
            raise _unreadable(adapter, file, error) from error
    return tokens | _read_json_file(adapter, "added_tokens.json")


def _read_json_file(adapter: Adapter, name: str) -> dict[str, Any]:
    file = adapter.path / name
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(adapter, file, error) from error


def _unreadable(adapter: Adapter, file: Path, error: Exception) -> FinError:
    return FinError(f"adapter {adapter.name}: {file} cannot be read ({error}): save it again, or remove it")


def _token_text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _normalize_end(template: Any) -> Any:
    return template.rstrip("\n") if isinstance(template, str) else template


def _examples(tokens: list[str]) -> str:
    return ", ".join(map(repr, tokens[:3])) + (", …" if len(tokens) > 3 else "")
