"""PEFT's private names, tested with 0.21.

Assumed: `peft.utils.other.get_pattern_key(keys, module)` returns the key of `rank_pattern` or `alpha_pattern` that
applies to a module (the first regular expression that matches the end of its name), or the module's name.
"""

from collections.abc import Mapping
from typing import Any


def pattern_value(pattern: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of an adapter's `rank_pattern` or `alpha_pattern` for a module.

    Args:
        pattern: values by regular expression, as in `adapter_config.json`.
        module: name of the module.
        default: value if no expression matches.
    """
    from peft.utils.other import get_pattern_key

    return pattern.get(get_pattern_key(list(pattern), module), default) if pattern else default
