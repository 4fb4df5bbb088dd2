"""What an adapter asks of the engine that serves it, looked at before any engine is started."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter, read_config

if TYPE_CHECKING:
    import torch

# All other named initialisations take something out of the base's own weights when PEFT loads the adapter (see
# vllm/lora/peft_helper.py): only PEFT can serve those, and then neither the base nor another adapter beside them.
INITS_THAT_KEEP_THE_BASE = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")

_MERGE = "merge it into the base with PEFT's merge_and_unload and pass the result as pretrained="

# Settings that PEFT serves beside other adapters and vLLM does not.
PEFT_ONLY = {
    "use_dora": "DoRA",
    "lora_bias": "a bias beside the LoRA weights (lora_bias)",
    "modules_to_save": "whole modules of its own (modules_to_save)",
    "trainable_token_indices": "embeddings of its own for some tokens (trainable_token_indices)",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "use_qalora": "QALoRA (use_qalora)",
}
# Settings that change the model they are loaded into, for the base and all other adapters too.
CHANGES_THE_BASE = {
    "layer_replication": "repeated layers (layer_replication)",
    "kasa_config": "a cut of the base's weights (KaSA)",
}
# Settings whose effect depends on the tokens, so that they can neither be merged nor scored label by label.
BY_TOKEN = {
    "alora_invocation_tokens": "activation by tokens of the prompt (aLoRA)",
    "arrow_config": "routing between adapters (Arrow)",
}
_LORA_TENSORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
_DOWN = ".lora_A.weight"
_SAME = 1e-6  # of a product's norm: what rounding of factors in float32 comes to
# The frozen embeddings, which PEFT saves along where LoRA is on them; their shape is compared with the base's.
_COPIES_OF_THE_BASE = (".base_layer.weight",)


def check_servable(adapter: Adapter, engine: str = "fin_vllm") -> None:
    """Check that the engine can serve the adapter as it was trained, beside the base and other adapters.

    Reads the weights once.

    Args:
        adapter: the adapter.
        engine: the model class, `fin_vllm` or `fin_hf` (the same as PEFT, but on a base that is shared).

    Raises:
        FinError: it has a feature the engine does not serve, its weights cannot be read or are not all finite.
    """
    config = read_config(adapter.name, adapter.path)
    _check_shared_base(adapter, config)
    if engine != "fin_hf":
        for setting, feature in PEFT_ONLY.items():
            if config.get(setting):
                _refuse_for_vllm(adapter, feature)
    names = []
    for name, tensor in tensors(adapter):
        names.append(name)
        if not bool(tensor.isfinite().all()):
            raise FinError(
                f"adapter {adapter.name}: {adapter.path / WEIGHTS}: {name} holds values that are not finite (NaN or "
                "infinity): its training went wrong, train it again (a lower learning rate, or bfloat16 for float16)"
            )
    if not any(name.endswith(_LORA_TENSORS) for name in names):
        raise FinError(f"adapter {adapter.name}: {adapter.path / WEIGHTS} holds no LoRA weights: save it again")
    others = [name for name in names if not name.endswith(_LORA_TENSORS + _COPIES_OF_THE_BASE)]
    if others and engine != "fin_hf":
        _refuse_for_vllm(adapter, f"weights that are not LoRA's ({others[0]})")


def _check_shared_base(adapter: Adapter, config: dict[str, Any]) -> None:
    """What cannot be served beside a base that has to stay as it is, by whatever engine."""
    for setting, feature in CHANGES_THE_BASE.items():
        if config.get(setting):
            _refuse(adapter, f"{feature} changes the base's own weights", _MERGE)
    for setting, feature in BY_TOKEN.items():
        if config.get(setting):
            _refuse(adapter, f"{feature} is not served", "score it alone with --model hf and peft=FOLDER")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in INITS_THAT_KEEP_THE_BASE:
        _refuse(
            adapter,
            f"init_lora_weights={init!r} takes the adapter out of the base's own weights when it is loaded",
            f"{_MERGE}, or save it with PEFT's path_initial_model_for_weight_conversion, which makes it a plain LoRA",
        )
    if config.get("bias", "none") != "none":
        _refuse(adapter, f"bias={config['bias']!r} replaces the base's own biases", _MERGE)


def _refuse_for_vllm(adapter: Adapter, feature: str) -> NoReturn:
    _refuse(adapter, f"it has {feature}, which vLLM does not serve", f"use --model fin_hf, or {_MERGE}")


def _refuse(adapter: Adapter, what: str, mend: str) -> NoReturn:
    raise FinError(f"adapter {adapter.name} ({adapter.path / CONFIG}): {what}: {mend}")


def untrained(adapter: Adapter) -> bool:
    """Whether the adapter's file shows that it cannot change anything: a factor of every product is zero.

    PEFT starts with B zero and A random (for embeddings the other way round), so that is what an adapter looks like
    when it was saved before its training, or when its training never reached it.
    """
    alive: dict[tuple[str, str], bool] = {}
    for name, tensor in tensors(adapter):
        if not name.endswith(_LORA_TENSORS):
            if not name.endswith(_COPIES_OF_THE_BASE):
                return False
            continue
        module, _, factor = name.removesuffix(".weight").rpartition(".")
        alive[module, factor[-1]] = bool(tensor.any())
    modules = {module for module, _ in alive}
    return not any(alive.get((module, "A")) and alive.get((module, "B")) for module in modules)


def same_change(first: Adapter, second: Adapter) -> bool:
    """Whether two adapters of equal settings change the base alike: equal products of factors that may differ.

    The distance of two products comes from the factors' small inner products alone, in float64.
    """
    settings, others = (dict(read_config(adapter.name, adapter.path)) for adapter in (first, second))
    for config in (settings, others):
        config.pop("fan_in_fan_out", None)  # PEFT goes by the layer's class
    if settings != others:
        return False
    ours, theirs = (
        # PEFT saves the base's own weights beside LoRA on embeddings or head, other tools do not.
        {name: tensor for name, tensor in tensors(adapter) if ".base_layer." not in name}
        for adapter in (first, second)
    )
    downs = [name for name in ours if name.endswith(_DOWN)]
    if ours.keys() != theirs.keys() or len(ours) != 2 * len(downs):  # more than matrices: told apart by the file alone
        return False
    return all(_same_product(ours, theirs, down, f"{down.removesuffix(_DOWN)}.lora_B.weight") for down in downs)


def _same_product(ours: "dict[str, torch.Tensor]", theirs: "dict[str, torch.Tensor]", down: str, up: str) -> bool:
    import torch

    left = torch.cat([ours[up].double(), -theirs[up].double()], dim=1)
    right = torch.cat([ours[down].double(), theirs[down].double()])
    size = ((ours[up].double().T @ ours[up].double()) * (ours[down].double() @ ours[down].double().T)).sum()
    squared = ((left.T @ left) * (right @ right.T)).sum()
    return bool(squared.abs() <= _SAME**2 * size)


def tensors(adapter: Adapter) -> "Iterator[tuple[str, torch.Tensor]]":
    """Name and value of each tensor in the adapter's file, one at a time, on the CPU.

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
