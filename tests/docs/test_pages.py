"""Every command on every page is one that the program takes, and every link on a page leads somewhere."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fin_plugins.cli.main import fin
from tests.conftest import ROOT
from tests.docs.commands import pages, typed_commands

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import check_links

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
OTHER_PROGRAMS = {".venv/bin/python", "accelerate", "cp", "head", "pip", "printf", "rm", "sed"}
_ROLE = re.compile(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`")


def printed(*words: str) -> str:
    return CliRunner().invoke(fin, list(words), catch_exceptions=False).output


@cache
def eval_options() -> frozenset[str]:
    """All options of `fin eval` and of lm-eval."""
    return frozenset(re.findall(r"(?<![\w-])--\w[\w-]*", printed("eval", "--help")))


@cache
def task_names() -> frozenset[str]:
    tasks = json.loads(printed("task", "list", "--json"))
    return frozenset(task["name"] for task in tasks) | {group for task in tasks for group in task["groups"]}


@cache
def shipped(*verb: str) -> frozenset[str]:
    """Names of configurations that ship with a verb."""
    return frozenset(line.split()[0] for line in printed(*verb, "--list").splitlines() if line[:1].strip())


def check_evaluation(words: list[str]) -> None:
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= eval_options(), f"no such option: {options - eval_options()}"
    if "--tasks" in words:
        names = {name for name in words[words.index("--tasks") + 1].split(",") if name.startswith("fin_")}
        assert names <= task_names(), f"no such task: {names - task_names()}"


def check_fin(words: list[str]) -> None:
    """Let click read the words; nothing is run."""
    command: click.Command = fin
    context = click.Context(fin, info_name="fin")
    verb: list[str] = []
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None and name is not None
        context, command = click.Context(found, info_name=name, parent=context), found
        verb.append(name)
    if {"--help", "-h"} & set(words):
        return
    parsed = command.make_context(verb[-1], list(words), parent=context.parent)
    if verb[0] in {"train", "run"} or verb == ["merge", "search"]:
        argument = next((value for value in parsed.params.values() if value == (words or [""])[0]), None)
        if argument and not str(argument).endswith(".yaml"):
            assert argument in shipped(*verb), f"nothing of this name ships: {argument}"


@pytest.mark.parametrize("page", [name for name, page in PAGES.items() if typed_commands(page)])
def test_every_command_on_a_page_can_be_typed(page: str) -> None:
    for words in typed_commands(PAGES[page]):
        if words[:2] == ["fin", "eval"] or words[0] == "lm_eval":
            check_evaluation(words[1:])
        elif words[0] == "fin":
            check_fin(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        else:
            assert words[0] in OTHER_PROGRAMS, words


@pytest.mark.parametrize("page", PAGES)
def test_every_link_on_a_page_leads_somewhere(page: str) -> None:
    file = PAGES[page]
    assert list(check_links.broken_links(file, check_links.markdown_links(file))) == []
    generated = {(ROOT / "docs" / "reference" / name).resolve() for name in ("tasks", "configurations", "rules")}
    for target in _ROLE.findall(file.read_text(encoding="utf-8")):
        named = (file.parent / target).resolve()
        assert named in generated or "api" in named.parts or named.with_suffix(".md").is_file(), target


def test_the_readme_is_one_page() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 6 * 1024
    picture = next(Path(link) for link in check_links.markdown_links(ROOT / "README.md") if link.endswith(".png"))
    assert (ROOT / picture).stat().st_size < 150_000


def test_no_page_names_a_machine() -> None:
    for name, page in PAGES.items():
        words = {word for command in typed_commands(page) for word in command}
        assert {word for word in words if word.startswith("/")} <= {"/shared/my"}, name
