"""The probe: a short text with a few labels that adapters are checked with, as answered by the engine and by PEFT.

PEFT's reference answers are computed on the CPU in float32, in a separate process. It ends before the engine
starts, which frees its memory, and it sees no GPU. The answers are cached in the user's cache folder, keyed by the
content of all that they depend on.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from platformdirs import user_cache_dir

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.compat import vllm
from fin_plugins.compat.lm_eval.models import TokenRequest, encode_pair, score_tokens
from fin_plugins.evaluation.base_model import header_shapes
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter

PROBE_TEXT = (
    "Northfield Instruments said on Tuesday that operating profit rose to 48.2 million euros in the third quarter, "
    "from 41.7 million a year earlier, as demand for its sensors recovered. Net sales fell 3 percent. The board kept "
    "its outlook for the year and proposed a dividend of 0.35 euros a share. What does this mean for the share price?\n"
    "label:"
)
# The second label has several tokens, of which all but the first are scored through the cached prompt.
PROBE_LABELS = (" up", " a little lower")


class ProbedLM(Protocol):
    """What the probe uses of `fin_vllm` and `fin_hf`, besides what all of lm-eval's models have."""

    def use_adapter(self, adapter: Adapter | None) -> None:
        """Answer later requests with the base and the adapter, or with the base alone."""
        ...

    def label_logprobs(self, prompts: list[list[int]]) -> list[list[float]]:
        """Log-probabilities of each prompt's tokens from the second on, each prompt in a single pass."""
        ...

    def tok_encode(self, string: str) -> list[int]:
        """Tokens of a prompt."""
        ...


@dataclass(frozen=True)
class ProbeAnswers:
    """The engine's answers to the probe, in nats.

    Attributes:
        tokens: the text's tokens by the engine's tokenizer.
        text: log-probability of each token from the second on.
        full_pass: log-likelihood of each label, each computed in one pass over text and label.
        scored: log-likelihood of each label as the model class scores labels: shared prefill, prefix cache.
    """

    tokens: list[int]
    text: list[float]
    full_pass: list[float]
    scored: list[float]


@dataclass(frozen=True)
class PeftReference:
    """PEFT's log-probabilities (nats) of the probe's tokens from the second on, for the base and with an adapter."""

    tokens: list[int]
    base: list[float]
    adapted: list[float]


def probe_tokens(lm: Any) -> list[int]:
    """Tokens of the probe's text; `lm` is anything with lm-eval's `tok_encode`, without an engine too."""
    return list(lm.tok_encode(PROBE_TEXT))


def probe_adapter(lm: ProbedLM, adapter: Adapter | None) -> ProbeAnswers:
    """Activate the adapter, or the base alone, and ask the engine the probe; the adapter stays active.

    Raises:
        FinError: an answer is not a finite number.
    """
    lm.use_adapter(adapter)
    return probe_active(lm, adapter)


def probe_active(lm: ProbedLM, adapter: Adapter | None) -> ProbeAnswers:
    """Ask the engine the probe with `adapter`, which is active already.

    Raises:
        FinError: an answer is not a finite number.
    """
    text = probe_tokens(lm)
    labels = [encode_pair(lm, PROBE_TEXT, label)[1] for label in PROBE_LABELS]
    passes = lm.label_logprobs([text + label for label in labels])
    requests: list[TokenRequest] = [
        ((PROBE_TEXT, label), text, tokens) for label, tokens in zip(PROBE_LABELS, labels, strict=True)
    ]
    with _without_pruning(lm):
        scored = score_tokens(lm, requests, silent=True)
    answers = ProbeAnswers(
        tokens=text,
        text=passes[0][: len(text) - 1],
        full_pass=[math.fsum(logprobs[len(text) - 1 :]) for logprobs in passes],
        scored=[score for score, _ in scored],
    )
    if not all(map(math.isfinite, (*answers.text, *answers.full_pass, *answers.scored))):
        raise FinError(
            f"{describe_model(adapter)}: the engine's answers to the probe are not finite numbers, in "
            f"{engine_dtype(lm)}: pass dtype=bfloat16 or dtype=float32 in --model_args"
        )
    return answers


def describe_model(adapter: Adapter | None) -> str:
    """The model's name in messages."""
    return f"adapter {adapter.name}" if adapter else "the base model"


def rms_difference(first: Sequence[float], second: Sequence[float]) -> float:
    """Root mean square difference, in nats."""
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / len(first))


def engine_dtype(lm: Any) -> str:
    """Data type that the engine computes in; bfloat16, the coarsest, if it is unknown."""
    return known_dtype(lm) or "bfloat16"


def known_dtype(lm: Any) -> str | None:
    """Data type that the engine computes in: float32, float16 or bfloat16; None if the engine does not show it."""
    model = getattr(lm, "model", None)
    dtype = vllm.dtype_of(model) if vllm.is_llm(model) else getattr(model, "dtype", None)
    name = str(dtype).removeprefix("torch.")
    return name if name in ("float32", "float16", "bfloat16") else None


def peft_references(
    base_folder: Path, adapters: Sequence[Adapter], tokens: Sequence[int], trust_remote_code: bool = False
) -> dict[str, PeftReference]:
    """PEFT's answers to the probe by adapter name, computed unless cached.

    Needs memory on the host for the base in float32: 4 bytes per parameter.

    Args:
        base_folder: folder of the base's files.
        adapters: adapters accepted by `check_supported`.
        tokens: `probe_tokens` of the model class that will be checked.
        trust_remote_code: as for the engine.

    Raises:
        FinError: the base or an adapter cannot be computed.
    """
    files = {adapter.name: reference_file(base_folder, adapter, tokens) for adapter in adapters}
    references = {name: known for name, file in files.items() if (known := _read_reference(file)) is not None}
    missing = [adapter for adapter in adapters if adapter.name not in references]
    if missing:
        job = {
            "base": str(base_folder),
            "trust_remote_code": trust_remote_code,
            "adapters": {adapter.name: str(adapter.path) for adapter in missing},
            "tokens": list(tokens),
        }
        for name, answers in _run_peft_process(job).items():
            references[name] = PeftReference(list(tokens), **answers)
            with suppress(OSError):  # an unwritable cache only costs time
                write_file(files[name], json.dumps(asdict(references[name])))
    return references


def reference_file(base_folder: Path, adapter: Adapter, tokens: Sequence[int]) -> Path:
    """File in the user's cache folder for an adapter's reference answers."""
    weights = [adapter.path / CONFIG, adapter.path / WEIGHTS]
    key = {
        "method": "each adapter on a base of its own",
        "base": hash_files(model_files(base_folder), base_folder),
        "adapter": hash_files(weights, adapter.path),
        "tokens": list(tokens),
        "versions": {name: version(name) for name in ("peft", "transformers", "torch")},
    }
    return Path(user_cache_dir("fin-plugins")) / "references" / f"{digest(key)}.json"


def main() -> None:
    """Run the reference process: read a job from standard input, write answers to the file given as argument."""
    import warnings

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = json.load(sys.stdin)

    def load() -> Any:
        """Load the base from disk: PEFT may leave something behind on a model it detaches from."""
        return AutoModelForCausalLM.from_pretrained(
            job["base"], dtype=torch.float32, use_safetensors=True, trust_remote_code=job["trust_remote_code"]
        ).eval()

    def answer(model: Any) -> list[float]:
        with torch.inference_mode():
            logprobs = model(torch.tensor([job["tokens"]])).logits[0, :-1].log_softmax(-1)
        return [float(row[token]) for row, token in zip(logprobs, job["tokens"][1:], strict=True)]

    base: list[float] = []
    answers = {}
    for name, path in job["adapters"].items():
        model = load()
        base = base or answer(model)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")  # PEFT would go on without them
            model = PeftModel.from_pretrained(model, path).eval()
        answers[name] = {"base": base, "adapted": answer(model)}
        del model  # before the next one is loaded
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")


@contextmanager
def _without_pruning(lm: Any) -> Iterator[None]:
    """Score exactly: a pruned label would have a bound instead."""
    prune = getattr(lm, "prune", False)
    if prune:
        lm.prune = False
    try:
        yield
    finally:
        if prune:
            lm.prune = True


def _read_reference(file: Path) -> PeftReference | None:
    try:
        return PeftReference(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _run_peft_process(job: Mapping[str, Any]) -> dict[str, Any]:
    no_gpu = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="fin-reference-") as folder:
        file = Path(folder) / "answers.json"
        process = subprocess.run(
            [sys.executable, "-m", "fin_plugins.evaluation.adapter_probe", str(file)],
            input=json.dumps(job),
            text=True,
            capture_output=True,
            env={**os.environ, **no_gpu},
        )
        if process.returncode == 0:
            return dict(json.loads(file.read_text(encoding="utf-8")))
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else f"exit status {process.returncode}"
    if process.returncode < 0:
        shapes = [s for weights in Path(job["base"]).glob("*.safetensors") for s in header_shapes(weights).values()]
        gigabytes = sum(4 * math.prod(shape) for shape in shapes) / 1e9
        reason = f"killed by signal {-process.returncode}, perhaps for lack of memory: it needs {gigabytes:.1f} GB"
    raise FinError(
        f"--verify-adapters: transformers and PEFT cannot compute {job['base']} with {', '.join(job['adapters'])} on "
        f"the CPU ({reason}): fix that, or leave --verify-adapters out"
    )


if __name__ == "__main__":
    main()
