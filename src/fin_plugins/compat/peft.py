"""PEFT's private names, tried with 0.21.

Assumed: `peft.utils.other.get_pattern_key(keys, module)` gives the key of `rank_pattern` or `alpha_pattern` that holds
for a module (a regular expression for the end of its name; the first that fits), or the module's own name.
"""

from collections.abc import Mapping
from typing import Any


def pattern_value(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """What `rank_pattern` or `alpha_pattern` of an adapter says of a module.

    Args:
        pattern: by regular expression, as in `adapter_config.json`.
        module: the module's name.
        default: what holds where no expression fits.
    """
    from peft.utils.other import get_pattern_key

    return pattern.get(get_pattern_key(list(pattern), module), default) if pattern else default
