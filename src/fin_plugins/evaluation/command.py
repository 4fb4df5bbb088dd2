"""`fin eval`'s command line: our own flags, and lm-eval's parser for all others."""

import difflib
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
from fin_plugins.scoring.adapters import BASE, Adapter, check_name, read_adapter, read_adapters
from fin_plugins.tasks.harness import check_options, config_file, did_you_mean, with_task_folder

MODELS = ("fin_vllm", "fin_hf")
_EXAMPLES = {
    "--adapter": "NAME=PATH behind it, for example --adapter fomc=adapters/fomc",
    "--written": "NAME=FILE behind it, for example --written base=written/base.json",
}
SWITCHES = ("--no-base", "--verify-adapters", "--prune", "--any-base")

_OWN_CACHE = "fin eval keeps answers itself, below --output_path, keyed by all they depend on: leave it out"
_ONE_MODEL = "fin eval writes files for many models: use lm_eval itself for it, one model a run"
_REFUSED = {
    "use_cache": f"--use_cache does not know the model: {_OWN_CACHE}",
    "cache_requests": f"--cache_requests does not know the prompt: {_OWN_CACHE}",
    "wandb_args": f"--wandb_args: {_ONE_MODEL}",
    "wandb_config_args": f"--wandb_config_args: {_ONE_MODEL}",
    "trackio_args": f"--trackio_args: {_ONE_MODEL}",
    "hf_hub_log_args": f"--hf_hub_log_args: {_ONE_MODEL}",
}


@dataclass(frozen=True)
class Flags:
    """Our own flags, as typed."""

    adapters: list[str] = field(default_factory=list)
    switches: frozenset[str] = frozenset()
    written: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.adapters or self.switches or self.written)

    def __str__(self) -> str:
        valued = {"--adapter": self.adapters, "--written": self.written}
        return ", ".join([*(flag for flag, given in valued.items() if given), *sorted(self.switches)])


@dataclass(frozen=True)
class Command:
    """What was asked for.

    Attributes:
        settings: lm-eval's `EvaluatorConfig`.
        adapters: in their order; one alone where it was given lm-eval's own way, as `peft=` in the model arguments.
        base: score the base alone too.
        verify: compare every adapter with PEFT.
        prune: stop a document's walk when its decision is certain.
        any_base: accept adapters of another base.
        written: by model, the file to list its result and sample files in.
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
        """The model arguments without an adapter's."""
        return {name: value for name, value in self.settings.model_args.items() if name not in ("peft", "adapter_name")}

    def arguments_with(self, adapter: Adapter | None) -> dict[str, Any]:
        """The model arguments as lm-eval would have been given them for the base with this adapter alone."""
        given = dict(self.settings.model_args)
        if adapter is None or "peft" in given:
            return given
        return {**given, "peft": str(adapter.path), "adapter_name": adapter.name}


def split(arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """Our own flags, and the arguments without them."""
    given: dict[str, list[str]] = {flag: [] for flag in _EXAMPLES}
    switches: set[str] = set()
    rest: list[str] = []
    waiting = ""
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if waiting:
            given[waiting].append(argument)
            waiting = ""
        elif argument in given:
            waiting = argument
        elif flag in given and equals:
            given[flag].append(value)
        elif argument in SWITCHES:
            switches.add(argument)
        else:
            rest.append(argument)
    if waiting:
        raise FinError(f"{waiting}: expected {_EXAMPLES[waiting]}")
    return Flags(given["--adapter"], frozenset(switches), given["--written"]), rest


def model_of(arguments: Sequence[str]) -> str | None:
    """The model class that lm-eval's arguments name, by flag or in a configuration file; None where none is named."""
    given: str | None = None
    for argument, behind in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in ("--model", "-M"):
            given = behind
        elif argument.startswith("--model="):
            given = argument.removeprefix("--model=")
        elif argument.startswith("-M"):
            given = argument.removeprefix("-M")
    if given is not None:
        return given
    named = config_file(arguments).get("model")
    return str(named) if named else None


def check_model(name: str) -> None:
    """Check that lm-eval, or this package, has a model class of this name.

    Raises:
        FinError: there is none; with the names that come near.
    """
    import lm_eval.models  # noqa: F401 (registers its own)
    from lm_eval.api.registry import model_registry

    known = {*MODELS, *model_registry.keys()}
    if name not in known:
        near = difflib.get_close_matches(name, [*MODELS, *sorted(known - set(MODELS))], n=2)
        raise FinError(f"--model {name}: no such model class: {did_you_mean(near)}there are {', '.join(sorted(known))}")


def read(flags: Flags, arguments: list[str]) -> Command:
    """Parse the whole command line for one of our model classes.

    Raises:
        FinError: something in it cannot be done, or contradicts something else.
    """
    settings = _lm_eval_settings(arguments)
    _refuse(settings)
    adapters = read_adapters(flags.adapters)
    peft = settings.model_args.get("peft")
    if peft and adapters:
        raise FinError(f"peft={peft} stands beside --adapter: give all adapters by --adapter NAME=PATH")
    if peft:
        name = str(settings.model_args.get("adapter_name") or "peft")
        check_name(f"--model_args adapter_name={name}", name)
        adapters = [read_adapter(name, Path(str(peft)))]
    elif settings.model_args.get("adapter_name"):
        raise FinError("adapter_name= in --model_args without peft=: name adapters with --adapter NAME=PATH")
    if not adapters:
        for switch in ("--no-base", "--verify-adapters", "--any-base"):
            if switch in flags.switches:
                raise FinError(f"{switch} without an adapter: name one with --adapter NAME=PATH, or leave it out")
    if settings.output_path:
        settings.log_samples = True
    with_base = not peft and "--no-base" not in flags.switches
    return Command(
        settings,
        adapters,
        base=with_base,
        verify="--verify-adapters" in flags.switches,
        prune="--prune" in flags.switches,
        any_base="--any-base" in flags.switches,
        written=_written(flags.written, settings, [*([BASE] if with_base else []), *(one.name for one in adapters)]),
    )


def _written(given: Sequence[str], settings: Any, models: Sequence[str]) -> dict[str, Path]:
    """The file for each model's list."""
    if given and not settings.output_path:
        raise FinError("--written lists the files that --output_path holds: add --output_path FOLDER")
    found: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise FinError(f"--written {text}: expected {_EXAMPLES['--written']}")
        if name not in models:
            raise FinError(f"--written {text}: no model is called {name} here; there are {', '.join(models)}")
        if name in found:
            raise FinError(f"--written {text}: a list for {name} is asked for twice: give one file for each model")
        found[name] = Path(file).expanduser()
    files = [file.resolve() for file in found.values()]
    if len(set(files)) < len(files):
        raise FinError("--written: two models have the same file: give each model one of its own")
    return found


def _lm_eval_settings(arguments: list[str]) -> Any:
    from lm_eval.utils import setup_logging

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as lm-eval's own command line does
    setup_logging()
    with tempfile.TemporaryDirectory(prefix="fin-eval-") as scratch:
        given = with_task_folder(arguments, Path(scratch))
        check_options(given, [*_EXAMPLES, *SWITCHES])
        namespace = command_line.parse(given)
        from lm_eval.config.evaluate_config import EvaluatorConfig

        try:
            with redirect_stdout(StringIO()):  # it prints itself where a configuration file is used
                return EvaluatorConfig.from_cli(namespace)
        except (ValueError, TypeError) as error:
            raise FinError(f"{first_line(error)} (lm-eval's own check of its arguments)") from error


def _refuse(settings: Any) -> None:
    for name, message in _REFUSED.items():
        if getattr(settings, name):
            raise FinError(message)
    if not settings.tasks:
        raise FinError("no task is named: add --tasks, for example --tasks fin; `fin eval ls tasks` lists all names")
    if "lora_local_path" in settings.model_args:
        raise FinError("lora_local_path= in --model_args: name the adapter with --adapter NAME=PATH instead")
    for variable in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        if os.environ.get(variable, "").isdigit() and int(os.environ[variable]) > 1:
            raise FinError(
                f"{variable}={os.environ[variable]}: many adapters and resuming need one process: start without "
                "accelerate launch or torchrun (vLLM uses several GPUs by tensor_parallel_size), or use lm_eval itself"
            )
