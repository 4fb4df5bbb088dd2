"""The tasks on a local vLLM server, through its completions and chat APIs.

A chat API takes messages, and lm-eval sends `label:` as a last assistant message. By default the server closes that
message and opens a new assistant turn; with `--gen_kwargs` vLLM continues it, and the reply is the same as with
`--model vllm`. Both are tested here.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import samples
from tests.end_to_end.checks import VLLM_ARGUMENTS, check_run, lm_eval

pytestmark = pytest.mark.prove
CONTINUE = "continue_final_message=true,add_generation_prompt=false"


@pytest.fixture(scope="module")
def server(demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        *(str(Path(sys.executable).parent / "vllm"), "serve", str(demo_model_path), "--host", "127.0.0.1"),
        *("--port", str(port), "--dtype", "bfloat16", "--max-model-len", "2048", "--enforce-eager"),
    ]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise AssertionError(f"no answer from the server in 300 s: {log.read_text()[-4000:]}")


def run(output: Path, model: str, model_args: str, tasks: str, *options: str) -> str:
    return lm_eval(
        *("--tasks", tasks, "--model", model, "--model_args", model_args, "--apply_chat_template", "--limit", "12"),
        *("--output_path", str(output), "--log_samples", *options),
        FIN_DATA="sample",
        OPENAI_API_KEY="none",
    )


def replies(output: Path, task: str) -> list[str]:
    return [row["filtered_resps"][0].strip() for row in samples(output, task)]


def test_completions_and_chat(server: str, demo_model_path: Path, tmp_path: Path) -> None:
    completions = f"model={demo_model_path},base_url={server}/completions,tokenized_requests=True,num_concurrent=4"
    printed = run(tmp_path / "text", "local-completions", completions, "fin_fomc,fin_unseen_gen")
    tasks = ["fin_argument_gen", "fin_deal_gen", "fin_causal_gen"]
    check_run(tmp_path / "text", printed, ["fin_fomc", *tasks], "sample")

    chat = f"model={demo_model_path},base_url={server}/chat/completions,num_concurrent=4"
    printed = run(tmp_path / "chat", "local-chat-completions", chat, "fin_unseen_gen", "--gen_kwargs", CONTINUE)
    check_run(tmp_path / "chat", printed, tasks, "sample")
    for task in tasks:  # the message was continued: the same replies as from the completions API
        assert replies(tmp_path / "chat", task) == replies(tmp_path / "text", task)

    printed = run(tmp_path / "plain", "local-chat-completions", chat, "fin_unseen_gen")
    check_run(tmp_path / "plain", printed, tasks, "sample")  # not continued, but the replies are still scored
    assert any(replies(tmp_path / "plain", task) != replies(tmp_path / "chat", task) for task in tasks)


def test_server_and_engine_give_the_same_scores(server: str, demo_model_path: Path, tmp_path: Path) -> None:
    completions = f"model={demo_model_path},base_url={server}/completions,tokenized_requests=True"
    run(tmp_path / "server", "local-completions", completions, "fin_fomc")
    run(tmp_path / "engine", "vllm", f"pretrained={demo_model_path},{VLLM_ARGUMENTS}", "fin_fomc")
    pairs = zip(samples(tmp_path / "server", "fin_fomc"), samples(tmp_path / "engine", "fin_fomc"), strict=True)
    for row_pair in pairs:
        assert row_pair[0]["doc_hash"] == row_pair[1]["doc_hash"]
        server_scores, engine_scores = ([float(score) for score, _ in row["filtered_resps"]] for row in row_pair)
        assert server_scores == pytest.approx(engine_scores, abs=0.1)
