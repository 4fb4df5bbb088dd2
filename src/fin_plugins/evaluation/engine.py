"""The engine of a run: made when it is needed and not before, at most once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.command import Command
from fin_plugins.evaluation.probe import known_dtype
from fin_plugins.hardware import computes_bfloat16
from fin_plugins.scoring.adapters import engine_limits


@dataclass
class Engine:
    """The model class's object, made when it is needed and not before."""

    make: Callable[[], Any]
    object: Any = None
    starts: int = 0

    def start(self) -> Any:
        """Make it, and say so in a line that can be counted."""
        say("starting the engine")
        began = time.monotonic()
        self.object = self.make()
        self.starts += 1
        say(f"engine started ({self.starts}), {time.monotonic() - began:.0f} s")
        if known_dtype(self.object) == "bfloat16" and not computes_bfloat16():
            say("this machine has no bfloat16 instructions: dtype=float32 in --model_args is several times faster here")
        return self.object

    def stop(self) -> None:
        """Shut it down, where it has a way to."""
        if hasattr(self.object, "shutdown"):
            self.object.shutdown()
        self.object = None


def model_class(name: str) -> Any:
    """lm-eval's model class of this name; ours are known here with the start-up file switched off, too."""
    from lm_eval.api.registry import get_model

    from fin_plugins.startup import register_models

    register_models()
    return get_model(name)


def default_engine(command: Command) -> Any:
    """The object of lm-eval's class for the base model, with room for all adapters."""
    settings = command.settings
    limits = engine_limits(command.adapters) if settings.model == "fin_vllm" else {}
    asked = command.base_arguments.get("max_lora_rank")
    if limits and asked is not None and int(asked) < limits["max_lora_rank"]:
        raise FinError(
            f"max_lora_rank={asked} is less than the adapters need, {limits['max_lora_rank']}: leave it out of "
            "--model_args, it is set from the adapters"
        )
    more = {name: getattr(settings, name) for name in ("batch_size", "max_batch_size", "device")}
    return model_class(settings.model).create_from_arg_obj({**limits, **command.base_arguments}, more)
