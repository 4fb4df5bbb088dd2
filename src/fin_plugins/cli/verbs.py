"""A group of commands whose modules are imported only when they are named: `--help` answers at once."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click


class Verbs(click.Group):
    """Commands by name, each in a module of its own as `command`."""

    def __init__(
        self,
        *,
        verbs: Mapping[str, str],
        module: str,
        own_use: Sequence[str] = (),
        name: str | None = None,
        **more: Any,
    ) -> None:
        """Take the verbs with what they do, in the order in which a new user needs them.

        Args:
            verbs: what each does, in a line.
            module: where a verb's command is, as in `fin_plugins.cli.{}`.
            own_use: verbs for the project's own use.
            name: of the group.
            more: what `click.Group` takes.
        """
        super().__init__(name, **more)
        self._verbs, self._module, self._own_use = verbs, module, tuple(own_use)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs' names."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in (*self._verbs, *self._own_use):
            return None
        command = importlib.import_module(self._module.format(cmd_name)).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What each verb does."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._verbs.items()))
