"""Click groups of the `fin` command: lazily imported subcommands, suggestions for typos, and a default subcommand."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fin_plugins.common.bundled import BundledConfigs


class SuggestingGroup(click.Group):
    """A group that suggests the command meant by a typo; without arguments it shows its help with status 2."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help if there are no arguments, with the same status in every version of Click."""
        if not args and not ctx.resilient_parsing:
            raise click.exceptions.NoArgsIsHelpError(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or fail with a suggestion."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command '{args[0]}'{suggest(args[0], self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group whose commands are imported only when they are used, so that `--help` is instant."""

    def __init__(
        self,
        *,
        targets: Mapping[str, str],
        help_lines: Mapping[str, str],
        name: str | None = None,
        **options: Any,
    ) -> None:
        """Set up the group.

        Args:
            targets: `module:attribute` of each command, by name.
            help_lines: one line about each command, in the order of the help; commands without one are hidden.
            name: name of the group.
            options: further arguments of `click.Group`.
        """
        super().__init__(name, **options)
        self._targets, self._help_lines = targets, help_lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands that the help lists."""
        return list(self._help_lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._targets:
            return None
        module, _, attribute = self._targets[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._help_lines.items()))


class _ParentNameContext(click.Context):
    """The context of a command that goes by its group's name."""

    @property
    def command_path(self) -> str:
        """The path without the command's own name."""
        return self.parent.command_path if self.parent else super().command_path


class DefaultCommand(click.Command):
    """The command that a `DefaultCommandGroup` runs if no other command is named."""

    context_class = _ParentNameContext


class DefaultCommandGroup(click.Group):
    """A group that is a command itself: arguments that name no command go to its `DefaultCommand`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the default command's help with status 2 if there are no arguments."""
        if not args and not ctx.resilient_parsing:
            default = self._default()
            context = default.make_context(default.name, [], parent=ctx, resilient_parsing=True)
            raise click.exceptions.NoArgsIsHelpError(context)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, else the default command."""
        if args[0] in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        if not Path(args[0]).exists() and (suggestion := suggest(args[0], self.list_commands(ctx), 0.75)):
            ctx.fail(f"No such command '{args[0]}'{suggestion}.")
        return self._default().name, self._default(), args

    def _default(self) -> DefaultCommand:
        return next(command for command in self.commands.values() if isinstance(command, DefaultCommand))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands other than the default."""
        return [name for name, command in self.commands.items() if not isinstance(command, DefaultCommand)]


def suggest(word: str, names: Sequence[str], cutoff: float = 0.6) -> str:
    """` (did you mean …?)` for the name most similar to the word; empty if none reaches the cutoff."""
    matches = difflib.get_close_matches(word, names, n=1, cutoff=cutoff)
    return f" (did you mean {matches[0]}?)" if matches else ""


def copy_bundled(bundled: BundledConfigs, command: str, file: str | None, to: str, suffix: str = "") -> None:
    """Write a bundled file out and print the command to type next (`--copy [TO]`).

    Args:
        bundled: the files of this kind.
        command: the command, for example `fin run`.
        file: name of the file; None if it was typed after the flag.
        to: value of the flag.
        suffix: what follows in the command to type.

    Raises:
        FinError: the file does not exist, or cannot be written.
    """
    if file is None:  # for `--copy NAME`, Click takes NAME as the flag's value
        file, to = to, ""
    target = bundled.copy(file, to)
    click.echo(f"{target}: edit it, then run `{command} {target}{suffix}`")
