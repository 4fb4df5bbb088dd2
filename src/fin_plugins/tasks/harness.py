"""lm-eval's own command line with our task folder handed over the official way: no patching, no start-up file."""

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError
from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval import command_line
from fin_plugins.compat.lm_eval.tasks import all_names

_SUBCOMMANDS = ("run", "ls", "validate")


def run_lm_eval(arguments: list[str]) -> None:
    """Run lm-eval in this process with `arguments` as its command line.

    Raises:
        FinError: an argument or a task is unknown, or a configuration file given with `--config` cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="fin-eval-") as scratch:
        given = with_task_folder(arguments, Path(scratch))
        check_options(given)
        with task_errors_in_one_line():
            command_line.run(given)


def check_options(arguments: Sequence[str], more: Sequence[str] = ()) -> None:
    """Check that lm-eval's parser takes these arguments, before it prints its whole usage.

    Args:
        arguments: as lm-eval gets them, its subcommand first.
        more: other options that may have been meant.

    Raises:
        FinError: it does not, in one line; with the options that come near an unknown one.
    """
    if set(arguments) & {"-h", "--help"}:
        return
    try:
        unknown = command_line.unknown_arguments(arguments)
    except command_line.BadArguments as error:
        raise FinError(f"{error} (lm-eval's parser)") from error
    if unknown:
        option = unknown[0].partition("=")[0]
        known = [one for one in (*more, *command_line.options_of(arguments[0])) if one.startswith("--")]
        hint = did_you_mean(difflib.get_close_matches(option, known, n=2))
        raise FinError(f"{option}: no such argument: {hint}`fin eval --help` lists all")


def did_you_mean(names: Sequence[str]) -> str:
    """The question with its blank behind; empty without names."""
    return f"did you mean {' or '.join(names)}? " if names else ""


@contextmanager
def task_errors_in_one_line() -> Iterator[None]:
    """Turn lm-eval's errors for an unknown task and for a task file's unknown function into one line.

    Raises:
        FinError: in place of these; all others pass.
    """
    try:
        yield
    except (ImportError, AttributeError) as error:
        if not command_line.is_unknown_function(error):
            raise
        raise FinError(f"{error}: `fin task check` on that folder names file and line") from error
    except ValueError as error:
        missing = command_line.tasks_not_found(error)
        if missing is None:
            raise
        raise FinError(_not_found(missing)) from error


def config_file(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings in the file that `--config` names; empty without that flag.

    Raises:
        FinError: the file cannot be read.
    """
    file, _ = _take(arguments, "--config", "-C")
    return _settings(file) if file else {}


def with_task_folder(arguments: list[str], scratch: Path) -> list[str]:
    """lm-eval's arguments with our task folder added as include path, the user's own behind it.

    `run` takes a single folder by flag but a list from a configuration file, so a user's folder and ours go through a
    file in `scratch`. `ls` and `validate` have no configuration file: there a user's folder is left alone.
    """
    subcommand = arguments[:1] if arguments[0] in _SUBCOMMANDS else ["run"]
    rest = arguments[1:] if arguments[0] in _SUBCOMMANDS else list(arguments)
    if rest in (["-h"], ["--help"]):
        return [*subcommand, *rest]
    theirs, rest = _take(rest, "--include_path")
    if subcommand != ["run"]:
        return [*subcommand, *rest, "--include_path", theirs or str(task_folder())]
    file, rest = _take(rest, "--config", "-C")
    settings = _settings(file) if file else {}
    listed = settings.get("include_path") or []
    folders = [theirs] if theirs else [listed] if isinstance(listed, str) else list(listed)
    if not folders and not file:
        return [*subcommand, *rest, "--include_path", str(task_folder())]
    return [*subcommand, "--config", str(_write(scratch, settings, folders)), *rest]


def _not_found(missing: command_line.TasksNotFound) -> str:
    """lm-eval's message in one line, with our names that come near what was asked for."""
    if set(missing.names) & set(_our_names()):  # they are there, and lm-eval was kept from them
        hint = "these names come with fin-plugins, but lm-eval does not see them: `fin doctor` says why; "
    else:
        hint = did_you_mean([near for name in missing.names for near in _near(name)])
    found = f"{missing.message.rstrip(' .')}: {hint}`fin eval ls tasks` lists all names"
    return f"{found}, `fin task check FOLDER` says what is wrong with files of your own"


def _our_names() -> list[str]:
    return [file.stem.removeprefix("_group_") for file in task_folder().rglob("*.yaml")]


def _near(word: str) -> list[str]:
    """Names of tasks that come near: of ours; where none does, of lm-eval's own, which take seconds to list."""
    ours = _our_names()
    if f"fin_{word}" in ours:
        return [f"fin_{word}"]
    if near := difflib.get_close_matches(word, ours, n=2):
        return near
    return difflib.get_close_matches(word, all_names(), n=2)


def _take(arguments: Sequence[str], *flags: str) -> tuple[str | None, list[str]]:
    """The value of a flag (`--flag value` or `--flag=value`, the last one wins) and the arguments without it."""
    value, rest, waiting = None, [], False
    for argument in arguments:
        flag, equals, given = argument.partition("=")
        if waiting:
            value, waiting = argument, False
        elif flag in flags and equals:
            value = given
        elif argument in flags:
            waiting = True
        else:
            rest.append(argument)
    return value, rest


def _settings(file: str) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FinError(f"--config {file}: cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise FinError(f"--config {file}: not a mapping of lm-eval's arguments")
    return settings


def _write(scratch: Path, settings: dict[str, Any], folders: list[str]) -> Path:
    import yaml

    file = scratch / "lm_eval.yaml"
    file.write_text(yaml.safe_dump({**settings, "include_path": [str(task_folder()), *folders]}), encoding="utf-8")
    return file
