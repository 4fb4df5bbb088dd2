"""LoRA adapters on a Hugging Face model through PEFT: attaching, replacing, and what each kind does to the base."""

import itertools
from typing import TYPE_CHECKING, Any, cast

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter, read_adapter_config

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

# PEFT's adapter names: a user's name may contain a dot, which names of PyTorch modules must not.
_ADAPTER_NUMBERS = itertools.count()

PEFT_ERRORS = (ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError, OSError)
"""Errors that PEFT raises if an adapter and a model do not fit."""

# Settings of plain LoRA; any other setting that differs from its default makes it another kind of adapter.
_PLAIN_SETTINGS = (
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "fan_in_fan_out"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "inference_mode"),
)
_PLAIN_INITS = (True, False, "gaussian")
_PLAIN_TENSORS = (".lora_A.weight", ".lora_B.weight")
_PEFT_PREFIX = "base_model.model."

Shapes = dict[str, tuple[int, ...]]


def is_plain_lora(model: "PreTrainedModel | Any", adapter: Adapter) -> bool:
    """Whether the adapter consists only of matrix pairs beside linear layers.

    Only such an adapter leaves the base's modules unchanged, so that another one can replace it. All others (entire
    modules, embedding rows, expert parameters, LoRA on embeddings or head) wrap or tie modules in ways that PEFT does
    not undo.

    Args:
        model: the base, bare or with a plain adapter.
        adapter: the adapter to attach.

    Raises:
        FinError: the adapter's settings cannot be read.
    """
    from peft import LoraConfig

    defaults = LoraConfig().to_dict()
    config = read_adapter_config(adapter.name, adapter.path)
    init = config.pop("init_lora_weights", True)
    if init not in _PLAIN_INITS or any(
        name not in _PLAIN_SETTINGS and value and value != defaults.get(name) for name, value in config.items()
    ):
        return False
    base = getattr(model, "get_base_model", lambda: model)()
    ends = [end for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None]
    vocabulary_modules = {name for name, module in base.named_modules() if any(module is end for end in ends)}
    names = _adapter_shapes(adapter)
    return all(name.endswith(_PLAIN_TENSORS) and _module_of(name) not in vocabulary_modules for name in names)


def attach_adapter(base: "PreTrainedModel", adapter: Adapter) -> Any:
    """Attach an adapter to the base exactly as PEFT alone does.

    Args:
        base: the model as loaded. If the adapter is rejected, parts of it may remain attached.
        adapter: any kind of LoRA.

    Raises:
        FinError: the adapter does not fit the base, or PEFT cannot load it.
    """
    from peft import PeftModel

    shapes = {name: tuple(w.shape) for name, w in base.named_parameters(remove_duplicate=False) if _is_unpacked(w)}
    try:
        return cast_adapter(PeftModel.from_pretrained(base, adapter.path, adapter_name=_new_adapter_name()).eval())
    except PEFT_ERRORS as error:
        problem = f"adapter {adapter.name} ({adapter.path}) cannot be attached to this base"
        if mismatch := _describe_mismatch(shapes, _adapter_shapes(adapter)):
            raise FinError(
                f"{problem}: {mismatch}; it was trained on {adapter.base or 'another model'}: pass that as pretrained="
            ) from error
        raise FinError(
            f"{problem}, although all its matrices fit ({first_line(error)}): PEFT cannot load {CONFIG} and {WEIGHTS}; "
            "save the adapter again with the PEFT version installed here"
        ) from error


def replace_plain_adapter(model: Any, adapter: Adapter) -> Any:
    """Replace the attached plain adapter by another plain one.

    Raises:
        PEFT_ERRORS: the adapter does not fit; the model is unusable afterwards.
    """
    name, previous = _new_adapter_name(), list(model.peft_config)
    model.load_adapter(adapter.path, adapter_name=name)
    model.base_model.enable_adapter_layers()
    model.set_adapter(name, inference_mode=True)
    for old in previous:
        model.delete_adapter(old)
    return cast_adapter(model.eval())


def cast_adapter(model: "PreTrainedModel | Any") -> Any:
    """Convert the adapter's factors to the base's data type in place, as vLLM serves them.

    PEFT keeps them in float32, as training needs. On a base in bfloat16 the adapter then costs as much time as the
    base itself, and the answers come no closer to those of float32.
    """
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(model.dtype)
    return model


def make_head_input_contiguous(model: "PreTrainedModel | Any") -> None:
    """Compute the vocabulary of all documents in one matrix product, with or without an adapter.

    The head is applied to a few positions of each document, which are not contiguous in memory. If its weights are
    frozen, as PEFT leaves them, PyTorch (`should_fold` in ATen/native/LinearAlgebra.cpp) then copies them once per
    document: a pass over 16 short documents took four times as long.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_contiguous_input)


def limit_vocabulary(model: Any, size: int) -> "RemovableHandle":
    """Restrict the model's logits, also in generation, to the first `size` tokens until `remove()` is called."""
    from peft import PeftModel

    def truncate(_model: Any, _inputs: Any, output: Any) -> Any:
        output.logits = output.logits[..., :size]
        return output

    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast("RemovableHandle", inner.register_forward_hook(truncate))


def _contiguous_input(_head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def _new_adapter_name() -> str:
    return f"fin_{next(_ADAPTER_NUMBERS)}"


def _module_of(tensor: str) -> str:
    """The base's module that an adapter's tensor belongs to."""
    name = tensor.removeprefix(_PEFT_PREFIX).removesuffix(".weight")
    return name.rpartition(".")[0] if ".lora_" in name else name


def _adapter_shapes(adapter: Adapter) -> Shapes:
    from safetensors import safe_open

    with safe_open(adapter.path / WEIGHTS, framework="numpy") as handle:
        return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118 (no mapping)


def _is_unpacked(weight: Any) -> bool:
    return bool(weight.is_floating_point())  # quantised weights are packed


def _describe_mismatch(base: Shapes, adapter: Shapes) -> str:
    """Describe a module of the adapter that is missing in the base or has another shape; empty if all fit.

    Args:
        base: shapes of the base's weights by name.
        adapter: shapes of the adapter's tensors by name.
    """
    for name, down in adapter.items():
        down_suffix = next((end for end in ("lora_A.weight", "lora_embedding_A") if name.endswith(f".{end}")), None)
        module = _module_of(name).removesuffix(".base_layer")
        if down_suffix is None or ".experts" in module:  # PEFT stacks the factors of experts differently
            continue
        up = adapter.get(name.removesuffix(down_suffix) + down_suffix.replace("_A", "_B"), ())
        shape = base.get(f"{module}.weight")
        if shape is None:
            return f"the base has no matrix {module}"
        if len(shape) == len(down) == len(up) == 2 and sorted((down[1], up[0])) != sorted(shape):
            return f"{module} is {shape[0]} x {shape[1]} in the base and {up[0]} x {down[1]} in the adapter"
    return ""
