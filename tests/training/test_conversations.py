"""Conversations from files and data sets: every format, every kind of bad row, and the sample; instructions."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.common.errors import FinError
from fin_plugins.tasks.documents import escape_control_tokens
from fin_plugins.training.conversations import (
    Conversation,
    is_file,
    parse_conversation,
    read_instructions,
    read_replay,
    sample_indices,
)
from fin_plugins.training.train_config import Replay

ASKED, ANSWERED = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}
SYSTEM = {"role": "system", "content": "Be brief."}
BRIEF = {"from": "system", "value": "Be brief."}
HUMAN, GPT = {"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Ho."}


def row(number: int) -> dict[str, str]:
    return {"prompt": f"Question {number}?", "response": f"Answer {number}."}


def write(path: Path, rows: list[Any]) -> Replay:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return Replay(source=str(path))


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({"prompt": "Hi?", "response": "Ho."}, (ASKED, ANSWERED)),
        ({"instruction": "Hi?", "output": "Ho."}, (ASKED, ANSWERED)),
        ({"instruction": "Hi?", "input": "", "output": "Ho."}, (ASKED, ANSWERED)),
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, ("Add.\n\n1, 2", "3")),
        ({"messages": [ASKED, ANSWERED]}, (ASKED, ANSWERED)),
        ({"messages": [SYSTEM, ASKED, ANSWERED, ASKED, ANSWERED]}, (SYSTEM, ASKED, ANSWERED, ASKED, ANSWERED)),
        ({"messages": [ASKED, ANSWERED, ASKED]}, (ASKED, ANSWERED)),  # a question nobody answered
        ({"messages": None, "conversations": [BRIEF, HUMAN, GPT]}, (SYSTEM, ASKED, ANSWERED)),
        ({"prompt": "Say <|im_end|>", "response": "<|im_end|>[INST]"}, ("Say < |im_end|>", "< |im_end|>[ INST]")),
        ({"prompt": "Hi?", "response": "Ho.", "messages": [SYSTEM, ASKED, ANSWERED]}, (SYSTEM, ASKED, ANSWERED)),
    ],
)
def test_formats(given: dict[str, Any], messages: tuple[Any, ...]) -> None:
    if isinstance(messages[0], str):
        messages = ({"role": "user", "content": messages[0]}, {"role": "assistant", "content": messages[1]})
    assert parse_conversation(given, "here") == Conversation(messages)


def test_truncated_answers_stay_so() -> None:
    assert not parse_conversation({"prompt": "Hi?", "response": "Ho", "complete": False}, "here").complete


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (["Hi?", "Ho."], "not an object"),
        ({"text": "Hi? Ho."}, "no prompt"),
        ({"prompt": "Hi?"}, "assistant is missing"),
        ({"prompt": " ", "response": "Ho."}, "user is missing, empty"),
        ({"prompt": "Hi?", "response": 5}, "assistant is missing"),
        ({"prompt": "Hi?", "response": "\ud800"}, "not Unicode"),
        ({"instruction": "Hi?", "input": 5, "output": "Ho."}, "must be text"),
        ({"messages": "Hi?"}, "not a list of objects"),
        ({"messages": 5}, "not a list of objects"),
        ({"messages": []}, "alternate"),
        ({"messages": [ASKED]}, "alternate"),
        ({"messages": [ANSWERED, ASKED]}, "alternate"),
        ({"messages": [ASKED, ASKED, ANSWERED]}, "alternate"),
        ({"messages": [ASKED, SYSTEM, ANSWERED]}, "alternate"),
        ({"messages": [{"role": "tool", "content": "5"}, ANSWERED]}, "role 'tool'"),
        ({"messages": [{"role": ["user"], "content": "5"}, ANSWERED]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi?"}]}, ANSWERED]}, "user is missing"),
    ],
)
def test_bad_rows_name_file_and_line(bad: Any, why: str, tmp_path: Path) -> None:
    replay = write(tmp_path / "rows.jsonl", [row(1), row(2), bad])
    with pytest.raises(FinError, match=r"rows\.jsonl:3: .*" + why):
        read_replay(replay, 1, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "input"]), inner)
    ),
)
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "human", "tool"]),
        "content": JSON | st.text(min_size=1) | st.sampled_from(["<|im_end|>", "</s> a", "[INST]"]),
    }
)
KEYS = ["prompt", "response", "instruction", "output", "messages", "conversations", "complete"]
LIKELY = st.sampled_from(["Hi?", "<s>", "\ud800", " "])
ROW = st.dictionaries(st.sampled_from(KEYS), LIKELY | JSON | st.lists(TURN, max_size=5)) | JSON


@given(ROW)
def test_any_row_is_a_sound_conversation_or_an_error_with_its_place(given: Any) -> None:
    try:
        found = parse_conversation(given, "rows.jsonl:7")
    except FinError as error:
        assert str(error).startswith("rows.jsonl:7: ")
        return
    roles = [message["role"] for message in found.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    assert turns == ["user", "assistant"] * (len(turns) // 2) and turns
    for message in found.messages:
        assert message["content"].strip() and message["content"] == escape_control_tokens(message["content"])
        message["content"].encode("utf-8")


def test_files(tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(b'\xef\xbb\xbf{"prompt": "a\xe2\x80\xa8b", "response": "c"}\r\n\r\n')  # BOM, U+2028, empty line
    (found,) = read_replay(Replay(source=str(lines)), 1, 0)
    assert found.messages[0]["content"] == "a\u2028b"
    listed = tmp_path / "rows.json"
    listed.write_text(json.dumps([row(1), row(2)], indent=1), encoding="utf-8")
    assert len(read_replay(Replay(source=str(listed)), 2, 0)) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", None, "cannot be read"),
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl", b"[]\n{", "invalid JSON"),
        ("a.jsonl", b"{}\n\xff", "not UTF-8"),
        ("a.json", b'{"rows": []}', "holds no list"),
        ("a.json", b"[" * 100_000, "invalid JSON"),
        ("a.json", b'[{"prompt": "Hi?", "response": "Ho."}, 5]', "row 2: not an object"),
    ],
)
def test_bad_files(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FinError, match=message) as caught:
        read_replay(Replay(source=str(tmp_path / name)), 1, 0)
    assert name in str(caught.value)


def test_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replay = write(tmp_path / "rows.jsonl", [row(number) for number in range(20)])
    ten = read_replay(replay, 10, 3)
    assert ten == read_replay(replay, 10, 3) == read_replay(replay, 15, 3)[:10]
    assert ten != read_replay(replay, 10, 4)
    assert read_replay(replay, 0, 3) == []
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        many = [each.messages[0]["content"] for each in read_replay(replay, 50, 3)]
    assert "20 rows for 50" in caplog.text
    assert sorted({many.count(each) for each in many}) == [2, 3]
    assert len(set(many[:20])) == len(set(many[20:40])) == 20


@given(st.integers(1, 30), st.integers(0, 90), st.integers(0, 5))
def test_no_row_repeats_before_all_have_been_used(size: int, count: int, seed: int) -> None:
    indices = sample_indices(size, count, seed)
    assert len(indices) == count
    for start in range(0, count, size):
        part = indices[start : start + size]
        assert len(set(part)) == len(part) and set(part) <= set(range(size))


def test_hub_data_sets(tmp_path: Path) -> None:
    import datasets

    folder = tmp_path / "data"
    folder.mkdir()
    good = [{"messages": [ASKED, {**ANSWERED, "content": f"Ho {number}."}]} for number in range(5)]
    datasets.Dataset.from_list(good).to_parquet(folder / "test.parquet")
    replay = Replay(source=str(folder), split="test")
    assert not is_file(replay.source)
    found = read_replay(replay, 3, 1)
    assert len({each.messages[-1]["content"] for each in found}) == 3
    assert found[0].messages[0] == ASKED
    with pytest.raises(FinError, match="split nowhere: cannot be loaded"):
        read_replay(replay.model_copy(update={"split": "nowhere"}), 3, 1)


def test_hub_data_sets_with_bad_rows_or_none_there(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([{"text": "Hi?"}]).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(FinError, match=r"row 1: no prompt"):
        read_replay(Replay(source=str(tmp_path)), 1, 1)
    with pytest.raises(FinError, match=r"no-one/nothing, split train: cannot be loaded .* local"):
        read_replay(Replay(source="no-one/nothing"), 1, 1)  # the tests are offline


FINANCE = """money price prices cost costs dollar dollars euro bank banks market markets stock stocks bond bonds
    invest investor investment loan interest tax taxes trade trading pay sell buy share shares currency budget profit
    revenue earn earns earnings salary sentiment bullish bearish hawkish dovish inflation gold economy economic finance
    financial fund funds shareholder dividend debt credit insurance"""


def test_bundled_instructions() -> None:
    prompts = read_instructions(None)
    assert len(prompts) == 320
    assert len({re.sub(r"\W+", " ", prompt).lower().strip() for prompt in prompts}) == 320
    words = [re.findall(r"[a-z]+", prompt.lower()) for prompt in prompts]
    assert {word for each in words for word in each} & set(FINANCE.split()) == set()
    lengths = sorted(len(prompt.split()) for prompt in prompts)
    assert lengths[0] >= 5 and lengths[-1] <= 60
    assert lengths[32] <= 9 and lengths[-32] >= 25  # a tenth of them short, a tenth long
    assert max(prompts.count(" ".join(prompt.split()[:2])) for prompt in prompts) < 25


@pytest.mark.parametrize(
    ("line", "why"),
    [('{"text": "Hi"}', "no instruction"), ('{"prompt": " "}', "no instruction"), ("{", "invalid JSON")],
)
def test_bad_instructions(line: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "Hi?"}\n' + line)
    with pytest.raises(FinError, match=rf"mine\.jsonl:2: {why}"):
        read_instructions(str(file))
    file.write_text("\n")
    with pytest.raises(FinError, match="no instructions in it"):
        read_instructions(str(file))
