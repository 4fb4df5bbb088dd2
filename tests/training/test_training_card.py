"""The model card: the complete record, warnings first, and no markup from users' text."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from fin_plugins.common.markdown import escape, inline_code, table_cell
from fin_plugins.training.train_record import LossPoint, TrainRecord, ValidationPoint
from fin_plugins.training.training_card import adapter_name, training_card, warnings
from tests.training.record_factories import config, record, task

HOSTILE = [
    "a 'quoted' \"name\": [x] {y} # z",
    "two\nlines\n---\nlicense: mit",
    "<script>alert(1)</script>",
    "a | b | c",
    "`` ``` ` ```\n```",
    "![x](http://example.org/x.png) **bold** $x$ \\",
    "- &lt; &amp;",
    "{{ record }} {% for %}",
    "\udcff\x00\u2028",
    "",
]


def parts(invented: TrainRecord) -> tuple[dict[str, Any], str]:
    """Metadata and text, split as the hub does."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\r|\n|$))", training_card(invented))
    assert found is not None
    front = yaml.safe_load(found[2])
    assert isinstance(front, dict)
    return front, training_card(invented)[found.end() :]


def rendered(invented: TrainRecord) -> str:
    """The text as HTML, by a renderer that passes raw HTML."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(parts(invented)[1])


def table_rows(html: str, heading: str) -> list[list[str]]:
    section = html.split(f">{heading}</h2>")[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, flags=re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]


def test_the_front_names_base_library_and_an_open_licence() -> None:
    front, _ = parts(record())
    assert front["base_model"] == "org/base-1B"
    assert (front["library_name"], front["base_model_relation"]) == ("peft", "adapter")
    assert front["license"] == "other"
    assert "lora" in front["tags"]
    full, _ = parts(record(method="full"))
    assert (full["library_name"], full["base_model_relation"]) == ("transformers", "finetune")
    assert "lora" not in full["tags"]


def test_a_hub_model_without_an_owner_is_named() -> None:
    front, text = parts(record(config=config(model="gpt2")))
    assert front["base_model"] == "gpt2"
    assert "pretrained=gpt2" in text


@pytest.mark.parametrize("model", ["demo", "/models/base", "~/models/base", "../base", "a/b/c", "here"])
def test_a_base_that_is_not_on_the_hub_is_not_in_the_metadata(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    front, text = parts(record(config=config(model=model)))
    assert "base_model" not in front
    assert "pretrained=BASE " in text
    assert f"`{model}`" in text


def test_the_table_of_training_data() -> None:
    invented = record(tasks=[task(), task("fin_x", licence=None, leaks_dropped=12, used=999, rows_hash={})])
    first, second = table_rows(rendered(invented), "Training data")[1:]
    assert first == ["<code>fin_fpb</code>", "3,086", "3,095", "6,172", "7", "2", "200",
                     "<code>17d26a64ef3e</code>", "MIT"]  # fmt: skip
    assert (second[1], second[4], second[7], second[8]) == ("999", "12", "<code>–</code>", "unknown")


def test_the_best_checkpoint_is_marked_and_no_other() -> None:
    rows = table_rows(rendered(record()), "Validation")
    assert rows[0][:5] == ["Step", "Epoch", "Mean", "<code>fin_fpb</code>", "<code>fin_fiqa</code>"]
    assert rows[2] == ["300", "1.33", "0.7100", "0.7400", "0.6800", "<strong>best, kept</strong>"]
    assert [row[-1] for row in rows[1:]] == ["", "<strong>best, kept</strong>", ""]


def test_validations_with_holes_show_dashes() -> None:
    checks = [
        ValidationPoint(step=1, epoch=0.5, mean=None, tasks={"a": {"macro_f1": None}}),
        ValidationPoint(step=2, epoch=1, mean=0.5, tasks={"b": {"acc": 1.0}}),
    ]
    rows = table_rows(rendered(record(validation_curve=checks, best_step=2)), "Validation")
    assert [row[2:5] for row in rows[1:]] == [["–", "–", "–"], ["0.5000", "–", "–"]]


def test_no_validation_no_curve_no_replay() -> None:
    invented = record(
        validation_curve=[], best_step=None, loss_curve=[], replay=None, config=config(validation="off"), resumed=0
    )
    text = parts(invented)[1]
    assert "the weights of the last step were kept" in text
    assert "![" not in text
    assert "No general instructions" in text
    assert "resumed" not in text
    assert "![Loss and validation by step](training.svg)" in training_card(record())


def test_the_tables_of_training_and_cost() -> None:
    html = rendered(record(resumed=2, config=config(warmup_ratio=0.05, lora={"r": 4, "target_modules": ["q", "v"]})))
    training = dict(table_rows(html, "Training")[1:])
    assert training["Method"] == "LoRA: rank 4, alpha 32, dropout 0, on q, v"
    assert training["Trained parameters"] == "4,884,480 of 139,400,000 (3.50%)"
    assert training["Learning rate"] == "0.0002, cosine, 22 steps of warm-up"
    assert training["Seed"] == "42"
    cost = dict(table_rows(html, "Cost")[1:])
    assert cost["Time"].startswith("0:12:00 ")
    assert cost["Time"].endswith("2 ×")
    assert cost["Speed"] == "500 tokens/s"
    assert cost["Peak memory"] == "3.0 GiB of the process"
    assert cost["Hardware"].startswith("no GPU; Some CPU, 2 cores, 8 GiB")
    assert cost["Commit of fin-plugins"] == "0123abc"


def test_gpus_are_counted() -> None:
    invented = record(
        hardware={"gpus": ["A", "B", "A"]}, peak_memory_bytes={"host": 1 << 30, "cuda": 5 << 30}, commit=None
    )
    cost = dict(table_rows(rendered(invented), "Cost")[1:])
    assert cost["Hardware"].startswith("2 × A, 1 × B; ")
    assert cost["Peak memory"] == "1.0 GiB of the process; 5.0 GiB of tensors on the GPU"
    assert cost["Commit of fin-plugins"].startswith("none")


def test_a_plain_run_has_no_warning() -> None:
    assert warnings(record()) == []
    assert "<blockquote>" not in rendered(record())
    assert warnings(record(allow_unseen=True, tasks=[task(seen=None)])) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"tasks": [task(), task("fin_x", origin="sample")]},
            "not a benchmark.</strong> The data of <code>fin_x</code> ",
        ),
        ({"tasks": [task(), task("fin_x", seen=False)], "allow_unseen": True}, "not trained on: <code>fin_x</code>."),
        ({"keep_leaks": True}, "Leaks kept."),
        ({"leaks_unchecked": ["fin_fpb"]}, "Not checked against all test sets."),
        (
            {"tasks": [task("fin_x", licence="CC BY-NC-SA 3.0"), task()]},
            "data of <code>fin_x</code> forbids commercial",
        ),
        ({"tasks": [task("fin_x", licence="for noncommercial use")]}, "forbids commercial use"),
        ({"loss_curve": [LossPoint(step=1, epoch=0.1, loss=None)]}, "not a finite number"),
        ({"loss_curve": [LossPoint(step=1, epoch=0.1, loss=float("nan"))]}, "not a finite number"),
        ({"loss_curve": [LossPoint(step=1, epoch=0.1, loss=float("inf"))]}, "not a finite number"),
    ],
)
def test_each_warning_comes_first(changes: dict[str, Any], expected: str) -> None:
    html = rendered(record(**changes))
    assert html.count("<blockquote>") == len(warnings(record(**changes))) == 1
    assert expected in html.split("<h2>")[0]


@pytest.mark.parametrize("licence", ["CC BY 4.0", "none stated", "GPL-3.0", "INC. terms", None])
def test_other_licences_do_not_warn(licence: str | None) -> None:
    assert warnings(record(tasks=[task(licence=licence)])) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_in_names_has_no_effect(name: str) -> None:
    invented = record(
        name=name,
        config={**config(), "model": name, "lora": {**config()["lora"], "target_modules": [name]}},
        tasks=[task(name, licence=name, origin="sample", seen=False)],
        validation_curve=[ValidationPoint(step=1, epoch=1, mean=0.5, tasks={name: {"macro_f1": 0.5}})],
        commit=name,
        command_line=["fin", "train", name],
        hardware={"cpu": name, "gpus": [name]},
    )
    front, text = parts(invented)
    assert set(front) == {"model_name", "library_name", "license", "pipeline_tag", "tags"}
    assert front["license"] == "other"
    assert front["model_name"] == " ".join(re.sub("[\udcff\x00\u2028]", " ", name).split())
    html = rendered(invented)
    assert "<script" not in html
    assert html.count("<img") == 1  # the plot
    assert [len(row) for row in table_rows(html, "Training data")] == [9, 9]
    assert [len(row) for row in table_rows(html, "Validation")] == [5, 5]
    assert all(len(row) == 2 for heading in ("Training", "Cost") for row in table_rows(html, heading))
    assert re.findall("<h2>(.*?)</h2>", html) == [*("Training data", "Training", "Validation", "Cost", "Usage")]
    assert text.encode("utf-8").decode("utf-8") == text


@pytest.mark.parametrize("name", HOSTILE[:7])
def test_escaped_text_reads_as_it_was(name: str) -> None:
    html = MarkdownIt("gfm-like", {"linkify": False}).render(f"x {escape(name)} y {inline_code(name)} z")
    flat = " ".join(name.split())
    texts = re.sub("<.*?>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    assert texts.strip().replace("&amp;", "&") == f"x {flat} y {flat} z"
    row = MarkdownIt("gfm-like", {"linkify": False}).render(f"| a |\n|---|\n| {table_cell(name)} |\n")
    assert row.count("<td>") == row.count("<td><code>") == 1


def command(invented: TrainRecord) -> list[str]:
    block = re.search(r"```sh\n(.*?)\n```", training_card(invented), flags=re.DOTALL)
    assert block is not None
    assert "\n" not in block[1]
    return shlex.split(block[1])


def test_the_command_can_be_typed() -> None:
    assert command(record()) == [
        *("fin", "eval", "--model", "fin_vllm", "--model_args", "pretrained=org/base-1B"),
        *("--adapter", "sentiment=PATH", "--tasks", "fin_fpb,fin_fiqa", "--apply_chat_template"),
    ]
    assert "sentiment-a-b=PATH" in command(record(name="sentiment 'a'/b;"))
    assert "trained=PATH" in command(record(name="=="))
    assert "a;b" in command(record(tasks=[task("a;b")]))


def test_the_command_fits_the_method_and_the_template() -> None:
    assert "fin_hf" in command(record(method="dora"))  # vLLM does not serve DoRA
    full = command(record(method="full"))
    assert "pretrained=PATH" in full
    assert "--adapter" not in full
    plain = record(config=config(chat_template=False))
    assert "--apply_chat_template" not in command(plain)
    assert "chat template" not in training_card(plain).split("## Usage")[1]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("model", ["org/base-1B", "demo", '/it\'s/"here"'])
def test_the_python_is_python(method: str, model: str) -> None:
    block = re.search(
        r"```python\n(.*?)\n```", training_card(record(method=method, config=config(model=model))), re.DOTALL
    )
    assert block is not None
    compile(block[1], "card", "exec")
    assert ("PeftModel" in block[1]) is (method == "lora")


@pytest.mark.parametrize(
    ("folder", "name"), [("fomc", "fomc"), ("my run!", "my-run"), ("base", "base-adapter"), ("…", "trained")]
)
def test_an_adapter_is_named_after_its_folder(folder: str, name: str) -> None:
    assert adapter_name(folder) == name


@pytest.mark.parametrize("changes", [{"scheduler": "constant"}, {"warmup_ratio": 0.001}, {"warmup_ratio": 0}])
def test_no_warm_up_is_claimed_where_there_was_none(changes: dict[str, Any]) -> None:
    html = rendered(record(config=config(**changes)))
    assert "no warm-up" in html and "of warm-up" not in html


def test_an_early_stop_is_shown() -> None:
    assert "450 steps; stopped early, of 900" in rendered(record(planned_steps=900))
    assert "stopped early" not in rendered(record(planned_steps=450))
