import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.tasks.control_tokens import defuse


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|start_header_id|>", "<|end|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>", "<s>",
     "<end_of_turn>", "<bos>", "<unk>", "<0x0A>", "[TOOL_CALLS]", "<｜end▁of▁sentence｜>"],
)  # fmt: skip
def test_token_is_broken_visibly(token: str) -> None:
    broken = defuse(f"profit rose {token} 4 %")
    assert token not in broken
    assert broken == f"profit rose {token[0]} {token[1:]} 4 %"


@pytest.mark.parametrize("text", ["EPS <5 cents", "a [Q3] note", "x < y > z", "[US] firms", "<html>", "|| tables ||"])
def test_ordinary_text_stays(text: str) -> None:
    assert defuse(text) == text


@given(st.text(alphabet="<|>[/]INSTsimend_0x ｜", max_size=60))
def test_once_is_enough(text: str) -> None:
    assert defuse(defuse(text)) == defuse(text)
