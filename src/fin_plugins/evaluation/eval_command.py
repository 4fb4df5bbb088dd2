"""`fin eval`'s command line: our own flags, and lm-eval's parser for all others."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.compat.lm_eval import command_line
from fin_plugins.scoring.adapters import BASE, Adapter, check_adapter_name, read_adapter, read_adapters
from fin_plugins.tasks.lm_eval_cli import add_task_folder, check_options, read_config_file

FIN_MODELS = ("fin_vllm", "fin_hf")
"""lm-eval's names of our model classes."""

_VALUE_FLAGS = {
    "--adapter": "NAME=PATH after it, for example --adapter fomc=adapters/fomc",
    "--written": "NAME=FILE after it, for example --written base=written/base.json",
}
_ADAPTER_SWITCHES = ("--no-base", "--verify-adapters", "--any-base")
_SWITCHES = (*_ADAPTER_SWITCHES, "--prune")

_CACHES_ITSELF = "fin eval caches answers itself, below --output_path, keyed by all they depend on: leave it out"
_MULTIPLE_MODELS = "fin eval writes files for several models: use lm_eval itself for this, one model per run"
_UNSUPPORTED_OPTIONS = {
    "use_cache": f"--use_cache does not distinguish models: {_CACHES_ITSELF}",
    "cache_requests": f"--cache_requests does not distinguish prompts: {_CACHES_ITSELF}",
    "wandb_args": f"--wandb_args: {_MULTIPLE_MODELS}",
    "wandb_config_args": f"--wandb_config_args: {_MULTIPLE_MODELS}",
    "trackio_args": f"--trackio_args: {_MULTIPLE_MODELS}",
    "hf_hub_log_args": f"--hf_hub_log_args: {_MULTIPLE_MODELS}",
}


@dataclass(frozen=True)
class FinFlags:
    """Our own flags, as typed."""

    adapters: list[str] = field(default_factory=list)
    switches: frozenset[str] = frozenset()
    written: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.adapters or self.switches or self.written)

    def __str__(self) -> str:
        values = {"--adapter": self.adapters, "--written": self.written}
        return ", ".join([*(flag for flag, value in values.items() if value), *sorted(self.switches)])


@dataclass(frozen=True)
class EvalCommand:
    """A parsed command line.

    Attributes:
        settings: lm-eval's `EvaluatorConfig`.
        adapters: in the order given; a single one if given lm-eval's way, as `peft=` in the model arguments.
        base: whether the base alone is evaluated too.
        verify: whether every adapter is compared with PEFT.
        prune: whether a document's search stops once its decision is certain.
        any_base: whether adapters of another base are accepted.
        written: by model, the file that lists its result and sample files.
    """

    settings: Any
    adapters: list[Adapter]
    base: bool = True
    verify: bool = False
    prune: bool = False
    any_base: bool = False
    written: Mapping[str, Path] = field(default_factory=dict)

    @property
    def base_arguments(self) -> dict[str, Any]:
        """The model arguments without those of an adapter."""
        return {name: value for name, value in self.settings.model_args.items() if name not in ("peft", "adapter_name")}

    def arguments_with(self, adapter: Adapter | None) -> dict[str, Any]:
        """The model arguments that lm-eval would get for the base with this adapter alone."""
        arguments = dict(self.settings.model_args)
        if adapter is None or "peft" in arguments:
            return arguments
        return {**arguments, "peft": str(adapter.path), "adapter_name": adapter.name}


def split_flags(arguments: Sequence[str]) -> tuple[FinFlags, list[str]]:
    """Separate our own flags from lm-eval's arguments."""
    values: dict[str, list[str]] = {flag: [] for flag in _VALUE_FLAGS}
    switches: set[str] = set()
    lm_eval_arguments: list[str] = []
    pending = ""
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if pending:
            values[pending].append(argument)
            pending = ""
        elif argument in values:
            pending = argument
        elif flag in values and equals:
            values[flag].append(value)
        elif argument in _SWITCHES:
            switches.add(argument)
        else:
            lm_eval_arguments.append(argument)
    if pending:
        raise FinError(f"{pending}: expected {_VALUE_FLAGS[pending]}")
    return FinFlags(values["--adapter"], frozenset(switches), values["--written"]), lm_eval_arguments


def requested_model(arguments: Sequence[str]) -> str | None:
    """The model class named in lm-eval's arguments, by flag or in a configuration file; None if none is named."""
    model: str | None = None
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("--model", "-M"):
            model = following
        elif argument.startswith("--model="):
            model = argument.removeprefix("--model=")
        elif argument.startswith("-M"):
            model = argument.removeprefix("-M")
    if model is not None:
        return model
    configured = read_config_file(arguments).get("model")
    return str(configured) if configured else None


def parse_command(flags: FinFlags, arguments: list[str]) -> EvalCommand:
    """Parse the command line for one of our model classes.

    Raises:
        FinError: an option is unsupported, invalid, or contradicts another one.
    """
    settings = _parse_lm_eval_arguments(arguments)
    _check_supported(settings)
    adapters = _all_adapters(flags, settings.model_args)
    if not adapters:
        for switch in _ADAPTER_SWITCHES:
            if switch in flags.switches:
                raise FinError(f"{switch} without an adapter: name one with --adapter NAME=PATH, or leave it out")
    if settings.output_path:
        settings.log_samples = True
    with_base = not settings.model_args.get("peft") and "--no-base" not in flags.switches
    models = [*([BASE] if with_base else []), *(adapter.name for adapter in adapters)]
    return EvalCommand(
        settings,
        adapters,
        base=with_base,
        verify="--verify-adapters" in flags.switches,
        prune="--prune" in flags.switches,
        any_base="--any-base" in flags.switches,
        written=_parse_written(flags.written, settings, models),
    )


def _all_adapters(flags: FinFlags, model_arguments: Mapping[str, Any]) -> list[Adapter]:
    """The adapters of `--adapter`, or of `peft=` in the model arguments."""
    adapters = read_adapters(flags.adapters)
    peft, name = model_arguments.get("peft"), model_arguments.get("adapter_name")
    if peft and adapters:
        raise FinError(f"peft={peft} is combined with --adapter: give all adapters by --adapter NAME=PATH")
    if name and not peft:
        raise FinError("adapter_name= in --model_args without peft=: name adapters with --adapter NAME=PATH")
    if not peft:
        return adapters
    name = str(name or "peft")
    check_adapter_name(f"--model_args adapter_name={name}", name)
    return [read_adapter(name, Path(str(peft)))]


def _parse_written(flags: Sequence[str], settings: Any, models: Sequence[str]) -> dict[str, Path]:
    """The file lists requested by `--written`, by model."""
    if flags and not settings.output_path:
        raise FinError("--written lists the files below --output_path: add --output_path FOLDER")
    lists: dict[str, Path] = {}
    for flag in flags:
        name, equals, file = flag.partition("=")
        if not (name and equals and file):
            raise FinError(f"--written {flag}: expected {_VALUE_FLAGS['--written']}")
        if name not in models:
            raise FinError(f"--written {flag}: no model is called {name}; the models are {', '.join(models)}")
        if name in lists:
            raise FinError(f"--written {flag}: there are two lists for {name}: give one file for each model")
        lists[name] = Path(file).expanduser()
    files = [file.resolve() for file in lists.values()]
    if len(set(files)) < len(files):
        raise FinError("--written: two models have the same file: give each model its own file")
    return lists


def _parse_lm_eval_arguments(arguments: list[str]) -> Any:
    from lm_eval.utils import setup_logging

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # lm-eval's own command line does this too
    setup_logging()
    with tempfile.TemporaryDirectory(prefix="fin-eval-") as temporary:
        full_arguments = add_task_folder(arguments, Path(temporary))
        check_options(full_arguments, [*_VALUE_FLAGS, *_SWITCHES])
        namespace = command_line.parse(full_arguments)
        from lm_eval.config.evaluate_config import EvaluatorConfig

        try:
            with redirect_stdout(StringIO()):  # it prints itself if a configuration file is used
                return EvaluatorConfig.from_cli(namespace)
        except (ValueError, TypeError) as error:
            raise FinError(f"{first_line(error)} (reported by lm-eval for its arguments)") from error


def _check_supported(settings: Any) -> None:
    for name, message in _UNSUPPORTED_OPTIONS.items():
        if getattr(settings, name):
            raise FinError(message)
    if not settings.tasks:
        raise FinError("no task is named: add --tasks, for example --tasks fin; `fin eval ls tasks` lists all names")
    if "lora_local_path" in settings.model_args:
        raise FinError("lora_local_path= in --model_args: name the adapter with --adapter NAME=PATH instead")
    for variable in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        if os.environ.get(variable, "").isdigit() and int(os.environ[variable]) > 1:
            raise FinError(
                f"{variable}={os.environ[variable]}: several adapters and resuming need one process: start without "
                "accelerate launch or torchrun (vLLM uses several GPUs by tensor_parallel_size), or use lm_eval itself"
            )
