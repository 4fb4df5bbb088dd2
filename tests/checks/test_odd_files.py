"""Files that are not ordinary files: links to themselves, pipes, devices, gigabytes. One line each, without waiting."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fin_plugins.catalogue.task_search import find_task
from fin_plugins.cli.main import fin
from fin_plugins.common.errors import FinError
from tests.checks.check_helpers import GOOD_TASK

ODD = ("loop.yaml", "pipe.yaml", "device.yaml", "huge.yaml", "ring_a.yaml", "gone.yaml")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Waiting for a pipe fails the test instead of hanging all of them."""

    def fail(*_: object) -> None:
        raise TimeoutError("waited for a file")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def folder(news_folder: Path) -> Path:
    """One good task among odd files."""
    (news_folder / "mine_news.yaml").write_text("task: mine_news\n" + GOOD_TASK, encoding="utf-8")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("ring_a.yaml").symlink_to("ring_b")
    Path("ring_b").symlink_to("ring_a.yaml")
    Path("gone.yaml").symlink_to("nowhere")
    os.mkfifo("pipe.yaml")
    Path("device.yaml").symlink_to("/dev/zero")
    with Path("huge.yaml").open("wb") as file:
        file.truncate(1 << 33)
    Path("folder.yaml").mkdir()
    (news_folder / "below").mkdir()
    (news_folder / "below" / "above").symlink_to(news_folder)
    return news_folder


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(fin, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_checker_reports_each_and_checks_the_rest(folder: Path) -> None:
    done = run("task", "check", "--no-rows", "--format", "json")
    findings = json.loads(done.stdout)["findings"]
    assert done.exit_code == 1
    assert len(findings) == len(ODD)
    assert {item["file"]: item["code"] for item in findings} == {
        name: "Y03" if name == "huge.yaml" else "Y09" for name in ODD
    }


@pytest.mark.parametrize("name", ODD)
def test_checking_one_of_them(folder: Path, name: str) -> None:
    done = run("task", "check", "--no-rows", name)
    assert done.exit_code == 1 and done.stdout.count(f"{name}:1:1") == 1


@pytest.mark.parametrize("given", [[], ["--include_path", "."]])
def test_the_list_has_the_good_task_and_a_line_for_each(folder: Path, given: list[str]) -> None:
    done = run("task", "list", *given)
    assert done.exit_code == 0 and "mine_news " in done.stdout
    for name in ODD:
        assert sum(f"{name}:" in line for line in done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("name", ODD)
def test_showing_one_of_them(folder: Path, name: str) -> None:
    with pytest.raises(FinError, match=name) as caught:
        find_task(name, ())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_including_one_of_them(folder: Path, name: str) -> None:
    Path("top.yaml").write_text(f"include: {name}\ntask: top\n", encoding="utf-8")
    done = run("task", "check", "--no-rows", "--format", "json", "top.yaml")
    assert {item["code"] for item in json.loads(done.stdout)["findings"]} & {"F01", "Y09", "Y03"}


def test_a_million_brackets(news_folder: Path) -> None:
    Path("deep.yaml").write_text("x: " + "[" * 1_000_000)
    done = CliRunner().invoke(fin, ["task", "check", "deep.yaml"])
    assert done.exit_code == 1 and "nested deeper" in done.stdout
