"""Files checked, and tokenizers small enough to know their every token."""

import json
from pathlib import Path

from fin_plugins.checks.model import Finding, Options
from fin_plugins.checks.read import read_task_file
from fin_plugins.checks.rows import check

FAULTS = Path(__file__).parent / "faults"


def findings(name: str, options: Options | None = None) -> tuple[list[Finding], str | None]:
    """What the rules about rows say of a file in the working directory."""
    read = read_task_file(Path(name), name)
    assert read.file is not None, read.findings
    return check(read.file, options or Options())


def word_tokenizer(folder: Path) -> Path:
    """Splits at blanks and knows the three labels; every other word is the same unknown token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "</s>", "label:", "refund", "delivery", "praise"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _saved(backend, folder)


def byte_tokenizer(folder: Path) -> Path:
    """One token a byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = ["</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _saved(backend, folder)


def _saved(backend, folder: Path) -> Path:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    config = {"model_type": "llama", "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
