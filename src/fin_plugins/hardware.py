"""Number formats that this machine's hardware supports."""

from fin_plugins.compat.torch import cpu_has_bfloat16


def computes_bfloat16() -> bool:
    """Whether the hardware has bfloat16 instructions; a CPU without them is about six times slower than in float32."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_bfloat16()
