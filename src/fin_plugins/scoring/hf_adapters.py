"""LoRA adapters on a Hugging Face model by PEFT: attaching one, and what its kind leaves of the model."""

import itertools
from typing import TYPE_CHECKING, Any, cast

from fin_plugins.common.errors import FinError
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter, read_config

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

# PEFT's names for adapters: a user's name may hold a dot, which no PyTorch module's name may.
_NUMBERS = itertools.count()

# What PEFT raises where an adapter and a model do not fit.
PEFT_ERRORS = (ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError, OSError)

# Settings of a plain LoRA; any other setting that is not at its default makes an adapter another kind.
_PLAIN = (
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "lora_dropout", "fan_in_fan_out"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "inference_mode"),
)
_PLAIN_INITS = (True, False, "gaussian")
_PLAIN_TENSORS = (".lora_A.weight", ".lora_B.weight")
_PREFIX = "base_model.model."

Shapes = dict[str, tuple[int, ...]]


def is_plain(model: "PreTrainedModel | Any", adapter: Adapter) -> bool:
    """Whether the adapter is two matrices beside linear layers and nothing else.

    Only such an adapter leaves the base's modules as they were, so that another one can take its place. All others
    (whole modules, rows of embeddings, parameters of experts, LoRA on embeddings or on the head) wrap or tie modules in
    ways that PEFT does not undo.

    Args:
        model: the base, bare or with a plain adapter.
        adapter: what is going to be attached.

    Raises:
        FinError: the adapter's settings cannot be read.
    """
    from peft import LoraConfig

    defaults = LoraConfig().to_dict()
    config = read_config(adapter.name, adapter.path)
    init = config.pop("init_lora_weights", True)
    others = [name for name, value in config.items() if name not in _PLAIN and value and value != defaults.get(name)]
    if others or init not in _PLAIN_INITS:
        return False
    base = getattr(model, "get_base_model", lambda: model)()
    ends = [end for end in (base.get_input_embeddings(), base.get_output_embeddings()) if end is not None]
    vocabulary = {name for name, module in base.named_modules() if any(module is end for end in ends)}
    names = _tensor_shapes(adapter)
    return all(name.endswith(_PLAIN_TENSORS) and _module(name) not in vocabulary for name in names)


def attach(base: "PreTrainedModel", adapter: Adapter) -> Any:
    """The base with the adapter in use, as PEFT alone puts it there.

    Args:
        base: as it was loaded. Where the adapter is refused, parts of it may be there all the same.
        adapter: any kind of LoRA.

    Raises:
        FinError: the adapter does not fit the base, or PEFT cannot load it.
    """
    from peft import PeftModel

    shapes = {name: tuple(w.shape) for name, w in base.named_parameters(remove_duplicate=False) if _comparable(w)}
    try:
        return in_base_dtype(PeftModel.from_pretrained(base, adapter.path, adapter_name=_new_name()).eval())
    except PEFT_ERRORS as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        what = f"adapter {adapter.name} ({adapter.path}) cannot be put on this base"
        if misfit := _misfit(shapes, _tensor_shapes(adapter)):
            raise FinError(
                f"{what}, where {misfit}: it was trained on {adapter.base or 'another model'}; give that as pretrained="
            ) from error
        raise FinError(
            f"{what}, though all its matrices fit ({reason}): PEFT cannot load what {CONFIG} and {WEIGHTS} say; save "
            "it again with the PEFT that is installed here"
        ) from error


def replace_plain(model: Any, adapter: Adapter) -> Any:
    """A model with `adapter` in use in the place of the adapter before, which is dropped; both are plain.

    Raises:
        PEFT_ERRORS: the adapter does not fit; the model is then no longer of use.
    """
    name, before = _new_name(), list(model.peft_config)
    model.load_adapter(adapter.path, adapter_name=name)
    model.base_model.enable_adapter_layers()
    model.set_adapter(name, inference_mode=True)
    for old in before:
        model.delete_adapter(old)
    return in_base_dtype(model.eval())


def in_base_dtype(model: "PreTrainedModel | Any") -> Any:
    """The same model with the adapter's factors in the base's dtype, as vLLM serves them.

    PEFT keeps them in float32, as training wants it: beside a base in bfloat16 the adapter then costs as much as the
    base itself, and the answers come no nearer to those of float32.
    """
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(model.dtype)
    return model


def fold_head(model: "PreTrainedModel | Any") -> None:
    """Have the vocabulary of all documents computed by one product, with an adapter as without.

    The head is asked at a few positions of each document, which do not lie side by side in memory. Where its weights
    are frozen, as PEFT leaves them, PyTorch (`should_fold` in ATen/native/LinearAlgebra.cpp) then copies them once for
    each document: a pass of 16 short documents took four times as long.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_pre_hook(_side_by_side)


def _side_by_side(_head: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].contiguous(), *inputs[1:])


def cut_vocabulary(model: Any, size: int) -> "RemovableHandle":
    """Have the model's answers, generation included, be about its first `size` tokens only, until `remove()`."""
    from peft import PeftModel

    def cut(_model: Any, _inputs: Any, output: Any) -> Any:
        output.logits = output.logits[..., :size]
        return output

    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast("RemovableHandle", inner.register_forward_hook(cut))


def _new_name() -> str:
    return f"fin_{next(_NUMBERS)}"


def _module(tensor: str) -> str:
    """The module that a tensor of an adapter belongs to, by the base's name for it."""
    name = tensor.removeprefix(_PREFIX).removesuffix(".weight")
    return name.rpartition(".")[0] if ".lora_" in name else name


def _tensor_shapes(adapter: Adapter) -> Shapes:
    from safetensors import safe_open

    with safe_open(adapter.path / WEIGHTS, framework="numpy") as handle:
        return {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118 (no mapping)


def _comparable(weight: Any) -> bool:
    return bool(weight.is_floating_point())  # quantised weights are packed


def _misfit(base: Shapes, adapter: Shapes) -> str:
    """A module of the adapter that the base has not, or has of another shape; empty where all fit.

    Args:
        base: names and shapes of the base's weights.
        adapter: names and shapes of the adapter's tensors.
    """
    for name, down in adapter.items():
        down_end = next((end for end in ("lora_A.weight", "lora_embedding_A") if name.endswith(f".{end}")), None)
        module = _module(name).removesuffix(".base_layer")
        if down_end is None or ".experts" in module:  # PEFT stacks the factors of experts in its own way
            continue
        up = adapter.get(name.removesuffix(down_end) + down_end.replace("_A", "_B"), ())
        theirs = base.get(f"{module}.weight")
        if theirs is None:
            return f"there is no matrix {module}"
        if len(theirs) == len(down) == len(up) == 2 and sorted((down[1], up[0])) != sorted(theirs):
            return f"{module} is {theirs[0]} x {theirs[1]} and the adapter's {up[0]} x {down[1]}"
    return ""
