"""lm-eval's command line with our task folder added, by its own options: no patching, no start-up file."""

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
        FinError: An argument or a task is unknown, or the file given with `--config` cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="fin-eval-") as scratch:
        complete = add_task_folder(arguments, Path(scratch))
        check_options(complete)
        with one_line_task_errors():
            command_line.run(complete)


def check_options(arguments: Sequence[str], other_options: Sequence[str] = ()) -> None:
    """Check that lm-eval's parser accepts the arguments, before it prints its full usage.

    Args:
        arguments: lm-eval's arguments, its subcommand first.
        other_options: options that are not lm-eval's, to suggest as well.

    Raises:
        FinError: It does not; one line that suggests similar options.
    """
    if set(arguments) & {"-h", "--help"}:
        return
    try:
        unknown = command_line.unknown_arguments(arguments)
    except command_line.BadArguments as error:
        raise FinError(f"{error} (lm-eval's parser)") from error
    if unknown:
        option = unknown[0].partition("=")[0]
        options = (*other_options, *command_line.options_of(arguments[0]))
        known = [name for name in options if name.startswith("--")]
        hint = suggestion(difflib.get_close_matches(option, known, n=2))
        raise FinError(f"{option}: no such argument: {hint}`fin eval --help` lists all")


def suggestion(names: Sequence[str]) -> str:
    """`did you mean …? ` with a trailing space; empty without names."""
    return f"did you mean {' or '.join(names)}? " if names else ""


@contextmanager
def one_line_task_errors() -> Iterator[None]:
    """Turn lm-eval's errors about an unknown task, or an unknown function of a task file, into one line.

    Raises:
        FinError: In place of these errors; all others pass.
    """
    try:
        yield
    except (ImportError, AttributeError) as error:
        if not command_line.is_unknown_function(error):
            raise
        raise FinError(f"{error}: `fin task check` on that folder reports file and line") from error
    except ValueError as error:
        missing = command_line.tasks_not_found(error)
        if missing is None:
            raise
        raise FinError(_not_found(missing)) from error


def read_config_file(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings in the file given with `--config`; empty without that option.

    Raises:
        FinError: The file cannot be read.
    """
    file, _ = _pop_option(arguments, "--config", "-C")
    return _read_settings(file) if file else {}


def add_task_folder(arguments: list[str], scratch: Path) -> list[str]:
    """lm-eval's arguments with our task folder as include path, followed by the user's own.

    `run` takes one folder as an option but a list from a configuration file, so two folders are passed through a file
    in `scratch`. `ls` and `validate` have no configuration file: a user's folder is passed on alone.
    """
    subcommand = arguments[:1] if arguments[0] in _SUBCOMMANDS else ["run"]
    rest = arguments[1:] if arguments[0] in _SUBCOMMANDS else list(arguments)
    if rest in (["-h"], ["--help"]):
        return [*subcommand, *rest]
    user_folder, rest = _pop_option(rest, "--include_path")
    if subcommand != ["run"]:
        return [*subcommand, *rest, "--include_path", user_folder or str(task_folder())]
    file, rest = _pop_option(rest, "--config", "-C")
    settings = _read_settings(file) if file else {}
    in_file = settings.get("include_path") or []
    folders = [user_folder] if user_folder else [in_file] if isinstance(in_file, str) else list(in_file)
    if not folders and not file:
        return [*subcommand, *rest, "--include_path", str(task_folder())]
    return [*subcommand, "--config", str(_write_settings(scratch, settings, folders)), *rest]


def _not_found(missing: command_line.TasksNotFound) -> str:
    """lm-eval's message in one line, with similar names."""
    if set(missing.names) & set(_our_names()):  # they exist, but lm-eval did not get our folder
        hint = "these tasks come with fin-plugins, but lm-eval does not see them: `fin doctor` says why; "
    else:
        hint = suggestion([near for name in missing.names for near in _similar_names(name)])
    message = f"{missing.message.rstrip(' .')}: {hint}`fin eval ls tasks` lists all names"
    return f"{message}, `fin task check FOLDER` reports what is wrong with files of your own"


def _our_names() -> list[str]:
    return [file.stem.removeprefix("_group_") for file in task_folder().rglob("*.yaml")]


def _similar_names(word: str) -> list[str]:
    """Similar names of our tasks; if there are none, of lm-eval's own, which take seconds to list."""
    ours = _our_names()
    if f"fin_{word}" in ours:
        return [f"fin_{word}"]
    if near := difflib.get_close_matches(word, ours, n=2):
        return near
    return difflib.get_close_matches(word, all_names(), n=2)


def _pop_option(arguments: Sequence[str], *flags: str) -> tuple[str | None, list[str]]:
    """The value of an option (`--flag value` or `--flag=value`, the last one wins) and the arguments without it."""
    value, rest, expects_value = None, [], False
    for argument in arguments:
        flag, equals, inline_value = argument.partition("=")
        if expects_value:
            value, expects_value = argument, False
        elif flag in flags and equals:
            value = inline_value
        elif argument in flags:
            expects_value = True
        else:
            rest.append(argument)
    return value, rest


def _read_settings(file: str) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FinError(f"--config {file}: cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise FinError(f"--config {file}: not a mapping of lm-eval's arguments")
    return settings


def _write_settings(scratch: Path, settings: dict[str, Any], folders: list[str]) -> Path:
    import yaml

    file = scratch / "lm_eval.yaml"
    file.write_text(yaml.safe_dump({**settings, "include_path": [str(task_folder()), *folders]}), encoding="utf-8")
    return file
