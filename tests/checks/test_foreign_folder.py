"""A folder that holds what no task file is: links to themselves, pipes, devices, gigabytes. One line each, at once."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fin_plugins.cli.main import fin

GOOD = "task: mine_news\n" + (Path(__file__).parent / "faults" / "_good").read_text(encoding="utf-8")
ROWS = (Path(__file__).parent / "faults" / "news.csv").read_bytes()
ODD = ("loop.yaml", "pipe.yaml", "device.yaml", "huge.yaml", "ring_a.yaml", "gone.yaml")


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """A pipe that is waited for fails the test instead of stopping all of them."""

    def over(*_: object) -> None:
        raise TimeoutError("waited for a file")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One good task among what is none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "news.csv").write_bytes(ROWS)
    (tmp_path / "mine_news.yaml").write_text(GOOD, encoding="utf-8")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("ring_a.yaml").symlink_to("ring_b")
    Path("ring_b").symlink_to("ring_a.yaml")
    Path("gone.yaml").symlink_to("nowhere")
    os.mkfifo("pipe.yaml")
    Path("device.yaml").symlink_to("/dev/zero")
    with Path("huge.yaml").open("wb") as file:
        file.truncate(1 << 33)
    Path("folder.yaml").mkdir()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "above").symlink_to(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(fin, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_the_checker_has_one_line_for_each_and_checks_the_rest(folder: Path) -> None:
    done = run("task", "check", "--no-rows", "--format", "json")
    found = json.loads(done.stdout)["findings"]
    assert done.exit_code == 1
    assert sorted(one["file"] for one in found) == sorted(ODD)
    assert {one["file"]: one["code"] for one in found} == {
        name: "Y03" if name == "huge.yaml" else "Y09" for name in ODD
    }


@pytest.mark.parametrize("name", ODD)
def test_each_by_its_name(folder: Path, name: str) -> None:
    done = run("task", "check", "--no-rows", name)
    assert done.exit_code == 1 and done.stdout.count(f"{name}:1:1") == 1


@pytest.mark.parametrize("given", [[], ["--include_path", "."]])
def test_the_list_has_the_good_one_and_a_line_for_each(folder: Path, given: list[str]) -> None:
    done = run("task", "list", *given)
    assert done.exit_code == 0 and "mine_news " in done.stdout
    for name in ODD:
        assert sum(f"{name}:" in line for line in done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("name", ODD)
def test_one_of_them_shown(folder: Path, name: str) -> None:
    from fin_plugins.catalogue.find import find
    from fin_plugins.common.errors import FinError

    with pytest.raises(FinError, match=name) as caught:
        find(name, ())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ODD)
def test_as_an_included_file(folder: Path, name: str) -> None:
    Path("top.yaml").write_text(f"include: {name}\ntask: top\n", encoding="utf-8")
    done = run("task", "check", "--no-rows", "--format", "json", "top.yaml")
    assert {one["code"] for one in json.loads(done.stdout)["findings"]} & {"F01", "Y09", "Y03"}


@pytest.mark.parametrize("kind", ["loop", "pipe", "device", "huge"])
def test_as_the_module_of_a_function(folder: Path, kind: str) -> None:
    Path("tools.py").unlink(missing_ok=True)
    Path(f"{kind}.yaml").rename("tools.py") if kind != "loop" else Path("tools.py").symlink_to("tools.py")
    Path("mine_news.yaml").write_text(GOOD.replace("choices\n", "!function tools.choices\n", 1), encoding="utf-8")
    done = run("task", "check", "--no-rows", "--format", "json", "mine_news.yaml")
    assert [one["code"] for one in json.loads(done.stdout)["findings"]] == ["F04"]


@pytest.mark.parametrize("source", ["x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "x" + ".y" * 50_000])
def test_a_module_that_python_cannot_read(folder: Path, source: str) -> None:
    Path("tools.py").write_text(source + "\n", encoding="utf-8")
    Path("mine_news.yaml").write_text(GOOD.replace("choices\n", "!function tools.choices\n", 1), encoding="utf-8")
    done = run("task", "check", "--no-rows", "--format", "json", "mine_news.yaml")
    assert {one["code"] for one in json.loads(done.stdout)["findings"]} == {"F04"}


def test_a_million_brackets_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep.yaml").write_text("x: " + "[" * 1_000_000)
    done = CliRunner().invoke(fin, ["task", "check", "deep.yaml"])
    assert done.exit_code == 1 and "nested deeper" in done.stdout
