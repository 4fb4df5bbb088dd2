"""Tests of plain lines on standard error."""

import click
import pytest
from click.testing import CliRunner

from fin_plugins.common.console import say


def test_a_line_is_prefixed_with_the_running_command() -> None:
    @click.group("fin")
    def group() -> None:
        pass

    @group.command("merge")
    def command() -> None:
        say("hashing 2.0 GB")

    assert CliRunner().invoke(group, ["merge"], prog_name="fin").stderr == "fin merge: hashing 2.0 GB\n"


def test_outside_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    say("something")
    assert capsys.readouterr().err == "fin: something\n"
