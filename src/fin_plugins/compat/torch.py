"""PyTorch's private names, tested with 2.13.

Assumed: `torch.cpu._is_avx512_bf16_supported()` and `torch.cpu._is_amx_tile_supported()` report
processor features.
"""


def cpu_has_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
