"""The engine: an object of lm-eval's model class, created only when it is needed and at most once."""

import difflib
import time
from collections.abc import Callable
from typing import Any

from fin_plugins.common.console import say
from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.adapter_probe import known_dtype
from fin_plugins.evaluation.eval_command import FIN_MODELS, EvalCommand
from fin_plugins.hardware import computes_bfloat16
from fin_plugins.scoring.adapters import vllm_lora_arguments


class LazyEngine:
    """Creates the engine on demand, and shuts it down.

    Attributes:
        instance: the model class's object; None before the start and after the shutdown.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        self._create = create
        self._starts = 0
        self.instance: Any = None

    def start(self) -> Any:
        """Create the engine, with a message that can be counted."""
        say("starting the engine")
        start = time.monotonic()
        self.instance = self._create()
        self._starts += 1
        say(f"engine started ({self._starts}), {time.monotonic() - start:.0f} s")
        if known_dtype(self.instance) == "bfloat16" and not computes_bfloat16():
            say("this machine has no bfloat16 instructions: dtype=float32 in --model_args is several times faster here")
        return self.instance

    def stop(self) -> None:
        """Shut the engine down, if it has a way to."""
        if hasattr(self.instance, "shutdown"):
            self.instance.shutdown()
        self.instance = None


def create_engine(command: EvalCommand) -> Any:
    """Create the object of lm-eval's class for the base model, with room for all adapters."""
    settings = command.settings
    lora_arguments = vllm_lora_arguments(command.adapters) if settings.model == "fin_vllm" else {}
    max_rank = command.base_arguments.get("max_lora_rank")
    if lora_arguments and max_rank is not None and int(max_rank) < lora_arguments["max_lora_rank"]:
        raise FinError(
            f"max_lora_rank={max_rank} is less than the adapters need, {lora_arguments['max_lora_rank']}: leave it out "
            "of --model_args; it is set from the adapters"
        )
    run_settings = {name: getattr(settings, name) for name in ("batch_size", "max_batch_size", "device")}
    return model_class(settings.model).create_from_arg_obj({**lora_arguments, **command.base_arguments}, run_settings)


def model_class(name: str) -> Any:
    """lm-eval's model class of this name; ours are found even with the start-up file switched off."""
    from lm_eval.api.registry import get_model

    from fin_plugins.lm_eval_hook import register_models

    register_models()
    return get_model(name)


def check_model(name: str) -> None:
    """Check that lm-eval or this package has a model class of this name.

    Raises:
        FinError: there is none; names similar ones.
    """
    import lm_eval.models  # noqa: F401 (registers its own)
    from lm_eval.api.registry import model_registry

    from fin_plugins.tasks.lm_eval_cli import suggestion

    known = {*FIN_MODELS, *model_registry.keys()}
    if name not in known:
        similar = difflib.get_close_matches(name, [*FIN_MODELS, *sorted(known - set(FIN_MODELS))], n=2)
        hint = suggestion(similar)
        raise FinError(f"--model {name}: no such model class: {hint}available are {', '.join(sorted(known))}")
