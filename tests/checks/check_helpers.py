"""Runs the checker on files of the working directory, and makes tokenizers small enough to know every token."""

import json
from pathlib import Path

from fin_plugins.checks.findings import Finding, all_rules, apply_suppressions
from fin_plugins.checks.runner import CheckOptions, NamedPath, check_files, check_task_rows
from fin_plugins.checks.task_file import TaskFile, load_task_file

FAULTS = Path(__file__).parent / "faults"
ROW_FAULTS = Path(__file__).parent / "row_faults"
GOOD_TASK = (FAULTS / "_good").read_text(encoding="utf-8")
"""A task without a fault, except that it has no name; its rows are in `news.csv`."""
STATIC_CODES = {code for code in all_rules() if code[0] not in "DPT"}


def load(name: str | Path) -> TaskFile:
    """A valid file."""
    loaded = load_task_file(Path(name), str(name))
    assert loaded.file is not None, loaded.findings
    return loaded.file


def static_findings(*files: str) -> list[Finding]:
    """The findings in files without their rows, after suppressions."""
    result = check_files([NamedPath(Path(file), file) for file in files], CheckOptions(read_rows=False))
    return sorted(apply_suppressions(result.findings, files, all_rules(), STATIC_CODES))


def row_findings(name: str, options: CheckOptions | None = None) -> tuple[list[Finding], str | None]:
    """The findings about the rows of a task, and the note if they were not checked."""
    return check_task_rows(load(name), options or CheckOptions())


def row_codes(name: str, options: CheckOptions | None = None) -> list[str]:
    """The codes of the findings about the rows of a task."""
    return [finding.code for finding in row_findings(name, options)[0]]


def summary(findings: list[Finding]) -> set[str]:
    """Findings in the form of the first comment of a seeded fault."""
    return {f"{finding.code} {finding.key or '-'} line {finding.line}" for finding in findings}


def write(name: str, text: str) -> str:
    """Write a file in the working directory; its name."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def word_tokenizer(folder: Path) -> Path:
    """Splits at blanks and knows the three labels; every other word is the same unknown token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "</s>", "label:", "refund", "delivery", "praise"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _save_tokenizer(backend, folder)


def byte_tokenizer(folder: Path) -> Path:
    """One token per byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = ["</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={char: number for number, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _save_tokenizer(backend, folder)


def _save_tokenizer(backend, folder: Path) -> Path:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    config = {"model_type": "llama", "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


ROW_TASK = (ROW_FAULTS / "_task").read_text(encoding="utf-8")
"""A task without a fault, except that it has neither a name nor rows."""
ROWS = (ROW_FAULTS / "data" / "rows.csv").read_text(encoding="utf-8").splitlines()


def write_row_task(
    lines: list[str] = ROWS,
    labels: str = "[refund, delivery, praise]",
    source: str = "file: rows.csv",
    splits: str = "splits: {test: 0.4}",
    **more: str,
) -> str:
    """Write a task with rows; its name.

    Args:
        lines: the lines of its table.
        labels: its labels.
        source: the key that names the table.
        splits: the key that splits it.
        more: further keys of the task.
    """
    write("rows.csv", "\n".join(lines) + "\n")
    columns = "columns: {text: message, label: want}"
    settings = "".join(f"  {line}\n" for line in (source, columns, f"labels: {labels}", splits) if line)
    added = "".join(f"{key}: {value}\n" for key, value in more.items())
    return write("one.yaml", f"{ROW_TASK}task: one\ndataset_kwargs:\n{settings}{added}")
