"""What this machine's processors compute in."""

from fin_plugins.compat.torch import cpu_has_bfloat16


def computes_bfloat16() -> bool:
    """Whether the hardware has bfloat16 instructions. A CPU without them is some six times slower than in float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_bfloat16()
