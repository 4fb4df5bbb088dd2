"""An adapter's own chat template or tokens are said before the first score, and only where they differ."""

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from fin_plugins.common.errors import FinError
from fin_plugins.evaluation.adapter_tokenizer import tokenizer_warnings
from fin_plugins.scoring.adapters import Adapter
from tests.evaluation.running import World, make_world

ROWS = 300


@pytest.fixture
def adapter(tmp_path: Path) -> Adapter:
    folder = tmp_path / "mine"
    folder.mkdir()
    return Adapter("mine", folder, 4, "", ("q_proj",))


def warnings(adapter: Adapter, base: Path, chat: bool = True) -> list[str]:
    return tokenizer_warnings(adapter, AutoTokenizer.from_pretrained(base), ROWS, chat)


def test_nothing_is_said_where_nothing_differs(adapter: Adapter, tiny_models: dict[str, Path]) -> None:
    base = tiny_models["llama3"]
    assert warnings(adapter, base) == []  # as PEFT saves
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter.path)  # as trainers do
    assert warnings(adapter, base) == []


@pytest.mark.parametrize("chat", [True, False])
def test_another_template_is_said_with_its_remedy(chat: bool, adapter: Adapter, tiny_models: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(adapter.path)
    (line,) = warnings(adapter, tiny_models["llama3"], chat)
    assert "WARNING" in line and "chat template" in line and f"tokenizer={adapter.path}" in line
    assert ("--apply_chat_template" in line) is not chat
    assert warnings(adapter, adapter.path, chat) == []  # the remedy


def test_a_template_without_a_tokenizer_has_another_remedy(adapter: Adapter, tiny_models: dict[str, Path]) -> None:
    (adapter.path / "chat_template.jinja").write_text("{{ messages }}")
    (line,) = warnings(adapter, tiny_models["llama3"])
    assert "tokenizer=" in line and f"tokenizer={adapter.path}" not in line


def test_added_tokens_are_said_and_those_without_a_row_are_refused(
    adapter: Adapter, tiny_models: dict[str, Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.add_tokens(["<up>"])
    tokenizer.save_pretrained(adapter.path)
    (line,) = warnings(adapter, tiny_models["llama3"])
    assert "<up>" in line and f"tokenizer={adapter.path}" in line
    tokenizer.add_tokens([f"<{number}>" for number in range(ROWS)])
    tokenizer.save_pretrained(adapter.path)
    with pytest.raises(FinError, match=rf"mine.*{ROWS} embedding rows.*pretrained="):
        warnings(adapter, tiny_models["llama3"])


def test_a_padding_token_is_no_part_of_any_prompt(adapter: Adapter, tiny_models: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama3"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(adapter.path)
    assert warnings(adapter, tiny_models["llama3"]) == []


def test_a_file_that_cannot_be_read_is_named(adapter: Adapter, tiny_models: dict[str, Path]) -> None:
    (adapter.path / "tokenizer.json").write_text("{")
    with pytest.raises(FinError, match=r"tokenizer\.json"):
        warnings(adapter, tiny_models["llama3"])


@pytest.mark.usefixtures("quick")
def test_fin_eval_says_it_once_before_the_first_score(
    tiny_models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world: World = make_world(tmp_path, tiny_models["llama3"])
    for name in ("one", "two"):
        shutil.copy(world.base / "tokenizer.json", world.adapter(name))
    (world.adapter("one") / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    world.run(*world.flags("one", "two"), "--limit", "1", tasks="first")
    said = capfd.readouterr().err
    assert said.count("chat template in") == 1
    assert said.index("adapter one has a chat template") < said.index("engine started")
