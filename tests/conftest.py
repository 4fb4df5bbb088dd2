"""Fixtures and helpers for all tests: the mirror of real data, the demo model, tiny random models."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder of the real raw data files; skips tests that need them if this machine has none."""
    folder = Path(os.environ.get("FIN_TEST_MIRROR") or ROOT.parent / "shared" / "upstream")
    if not (folder / "SHA256SUMS").is_file():
        pytest.skip("no mirror of the real data: set FIN_TEST_MIRROR to a folder laid out like the public addresses")
    return folder


@pytest.fixture(scope="session")
def demo_model_path() -> Path:
    from fin_plugins.demo import demo_model

    return demo_model()


@pytest.fixture
def sample_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIN_DATA", "sample")


TEMPLATES = {
    # name: (BOS, EOS, other control tokens)
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>"]),
    "mistral": ("<s>", "</s>", ["[INST]", "[/INST]"]),
    "phi3": ("<s>", "<|end|>", ["<|user|>", "<|assistant|>"]),
    "gemma": ("<bos>", "<eos>", ["<start_of_turn>", "<end_of_turn>"]),
    "base": ("<s>", "</s>", []),
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny random Llama per chat template, with a byte-level tokenizer that prepends BOS."""
    return {name: _tiny_model(tmp_path_factory.mktemp(name), name) for name in TEMPLATES}


def byte_tokenizer(name: str) -> "PreTrainedTokenizerFast":
    """A tokenizer with one token per byte and the control tokens of a chat template, which prepends BOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bos, eos, control = TEMPLATES[name]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([bos, eos, *control])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token=eos)
    if name != "base":
        tokenizer.chat_template = (FIXTURES / "templates" / f"{name}.jinja").read_text(encoding="utf-8").strip("\n")
    return tokenizer


def _tiny_model(folder: Path, name: str) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    tokenizer = byte_tokenizer(name)
    tokenizer.save_pretrained(folder)
    set_seed(7)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=8192,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    ).save_pretrained(folder)
    return folder


def result_file(folder: Path) -> dict:
    """The only result file that lm-eval wrote below `folder`."""
    (file,) = folder.rglob("results_*.json")
    return json.loads(file.read_text(encoding="utf-8"))


def samples(folder: Path, task: str) -> list[dict]:
    """Rows of the only sample file that lm-eval wrote for `task` below `folder`."""
    (file,) = folder.rglob(f"samples_{task}_2*.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one torch thread, because more slow tiny models down, up to tenfold on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
