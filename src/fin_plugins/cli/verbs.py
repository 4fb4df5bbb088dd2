"""A group of commands whose modules are imported only when they are named: `--help` answers at once."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click


class SuggestingGroup(click.Group):
    """A group that names the verb which is meant by one that is nearly right; without a verb its help and status 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's own, and nothing typed is an error in every version of it."""
        if not args and not ctx.resilient_parsing:
            raise click.exceptions.NoArgsIsHelpError(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is named."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command '{args[0]}'{nearest(args[0], self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


def nearest(word: str, verbs: Sequence[str], least: float = 0.6) -> str:
    """` (did you mean …?)` where a verb is alike by the share `least` of its letters, else nothing."""
    near = difflib.get_close_matches(word, verbs, n=1, cutoff=least)
    return f" (did you mean {near[0]}?)" if near else ""


class Verbs(SuggestingGroup):
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


class _SameName(click.Context):
    """The context of a command that is called by its group's name."""

    @property
    def command_path(self) -> str:
        """As typed: without the command's own name."""
        return self.parent.command_path if self.parent else super().command_path


class Unnamed(click.Command):
    """The command that a group hands what is typed, where no verb of it is named."""

    context_class = _SameName


class OrUnnamed(click.Group):
    """A group of verbs that is a command itself: what is no verb, help included, goes to its `Unnamed` one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Nothing typed shows the help of the command itself, with status 2."""
        if not args and not ctx.resilient_parsing:
            unnamed = self._unnamed()
            below = unnamed.make_context(unnamed.name, [], parent=ctx, resilient_parsing=True)
            raise click.exceptions.NoArgsIsHelpError(below)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A verb, or else the one command without a name of its own."""
        if args[0] in self.commands and not isinstance(self.commands[args[0]], Unnamed):
            return super().resolve_command(ctx, args)
        if not Path(args[0]).exists() and (near := nearest(args[0], self.list_commands(ctx), 0.75)):
            ctx.fail(f"No such command '{args[0]}'{near}.")
        return self._unnamed().name, self._unnamed(), args

    def _unnamed(self) -> Unnamed:
        return next(one for one in self.commands.values() if isinstance(one, Unnamed))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs that have a name."""
        return [name for name, one in self.commands.items() if not isinstance(one, Unnamed)]
