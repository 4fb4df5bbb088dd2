"""LoRA adapters on a Hugging Face model by PEFT, one attached at a time; the base's own weights are never touched."""

import itertools
from typing import TYPE_CHECKING, Any, cast

from fin_plugins.errors import FinError
from fin_plugins.scoring.adapters import Adapter

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

# PEFT's names for adapters: a user's name may hold a dot, which no PyTorch module's name may.
_NUMBERS = itertools.count()


def attach(model: "PreTrainedModel | Any", adapter: Adapter) -> Any:
    """The model with `adapter` in use; an adapter attached before is dropped, so that memory does not grow with them.

    Raises:
        FinError: the adapter does not fit the model.
    """
    from peft import PeftModel

    name = f"fin_{next(_NUMBERS)}"
    try:
        if not isinstance(model, PeftModel):
            return in_base_dtype(PeftModel.from_pretrained(model, adapter.path, adapter_name=name).eval())
        before = list(model.peft_config)
        model.load_adapter(adapter.path, adapter_name=name)
        model.base_model.enable_adapter_layers()
        model.set_adapter(name, inference_mode=True)
        for old in before:
            model.delete_adapter(old)
        return in_base_dtype(model.eval())
    except (ValueError, RuntimeError, TypeError, KeyError, OSError) as error:
        raise FinError(
            f"adapter {adapter.name} ({adapter.path}) cannot be put on this base ({_first_line(error)}): "
            f"it was trained on {adapter.base or 'another model'}; give that as pretrained="
        ) from error


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


def detach(model: "PreTrainedModel | Any") -> None:
    """Let the base alone answer; the adapter stays loaded until another one is attached."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model.base_model.disable_adapter_layers()


def cut_vocabulary(model: Any, size: int) -> "RemovableHandle":
    """Have the model's answers, generation included, be about its first `size` tokens only, until `remove()`."""
    from peft import PeftModel

    def cut(_model: Any, _inputs: Any, output: Any) -> Any:
        output.logits = output.logits[..., :size]
        return output

    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast("RemovableHandle", inner.register_forward_hook(cut))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
