"""Documents: control tokens in the text are escaped, and the licence is shown once per data set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fin_plugins.tasks.documents import escape_control_tokens, show_licence


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|start_header_id|>", "<|end|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>", "<s>",
     "<end_of_turn>", "<bos>", "<unk>", "<0x0A>", "[TOOL_CALLS]", "<｜end▁of▁sentence｜>"],
)  # fmt: skip
def test_a_control_token_is_broken_visibly(token: str) -> None:
    escaped = escape_control_tokens(f"profit rose {token} 4 %")
    assert token not in escaped
    assert escaped == f"profit rose {token[0]} {token[1:]} 4 %"


@pytest.mark.parametrize("text", ["EPS <5 cents", "a [Q3] note", "x < y > z", "[US] firms", "<html>", "|| tables ||"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert escape_control_tokens(text) == text


@given(st.text(alphabet="<|>[/]INSTsimend_0x ｜", max_size=60))
def test_escaping_is_idempotent(text: str) -> None:
    assert escape_control_tokens(escape_control_tokens(text)) == escape_control_tokens(text)


def test_embedded_rows_do_not_have_the_licence_of_the_data_set(
    sample_data: None, capfd: pytest.CaptureFixture[str]
) -> None:
    from fin_plugins.tasks.rows import load as load_rows

    metadata = {"rows": "fomc", "licence": "a licence of real rows", "source": "https://example.org"}
    load_rows(fin=metadata, labels=["hawkish", "dovish", "neutral"])
    assert "a licence of real rows" not in capfd.readouterr().err


def test_only_the_first_process_of_a_distributed_run_shows_the_licence(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = {"licence": "CC0-1.0", "source": "a distributed run"}
    monkeypatch.setenv("RANK", "1")
    show_licence("mine", metadata)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    show_licence("mine", metadata)
    assert capfd.readouterr().err.count("CC0-1.0") == 1
