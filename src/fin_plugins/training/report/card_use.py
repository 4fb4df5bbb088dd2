"""The model card's last part: how to load what was trained."""

import re
import shlex
from pathlib import Path

from fin_plugins.common.markdown import inline_code, single_line
from fin_plugins.training.report.evaluation_command import adapter_name
from fin_plugins.training.report.record import Record

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_DEMO = (
    "`demo`, the SmolLM2-135M-Instruct that fin-plugins converts from a Python package (4-bit weights, dequantised; "
    "`fin demo --model-path` prints its folder)"
)
_PEFT = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, "PATH")
tokenizer = AutoTokenizer.from_pretrained({base!r})"""
_FULL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")"""


def use(record: Record) -> dict[str, str]:
    """`command` for fin eval, `snippet` for Python, and `engine_note`, the sentence before them."""
    base = _base_argument(record)
    snippet = _FULL if record.method == "full" else _PEFT.format(base=base)
    return {"command": _command(record, base), "snippet": snippet, "engine_note": _note(record, base)}


def hub_name(record: Record) -> str | None:
    """The base's name on a model hub; None where it is `demo` or, as far as can be told here, a folder."""
    model = str(record.config["model"])
    if model == "demo" or not _HUB_NAME.fullmatch(model) or Path(model).exists():
        return None
    return model


def base_in_words(record: Record) -> str:
    """The base model, in Markdown."""
    return _DEMO if record.config["model"] == "demo" else inline_code(record.config["model"])


def _base_argument(record: Record) -> str:
    return hub_name(record) or "BASE"


def _command(record: Record, base: str) -> str:
    name = adapter_name(single_line(Path(record.config["output"] or "").name or record.name))
    # vLLM serves no DoRA.
    engine = "fin_hf" if record.method == "dora" else "fin_vllm"
    model = f"--model {engine} --model_args pretrained={'PATH' if record.method == 'full' else base}"
    adapter = "" if record.method == "full" else f" --adapter {name}=PATH"
    tasks = shlex.quote(",".join(single_line(task.task) for task in record.tasks))
    template = "" if record.config["chat_template"] is False else " --apply_chat_template"
    return f"fin eval {model}{adapter} --tasks {tasks}{template}"


def _note(record: Record, base: str) -> str:
    note = "`PATH` is this folder"
    if base == "BASE" and record.method != "full":
        note += f", `BASE` the base model: {base_in_words(record)}"
    note += "."
    if record.config["chat_template"] is not False:
        note += " The model was trained on prompts in the tokenizer's chat template: use it."
    return note
