"""What transformers and PEFT answer to the probe, on the CPU in float32, in a process of its own.

The process ends before the engine starts, so that its memory is free again, and it cannot see a GPU. Answers are kept
in the user's cache folder under the content of all that they depend on.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from fin_plugins.common.atomic import write_file
from fin_plugins.common.errors import FinError
from fin_plugins.common.hashing import digest, hash_files, model_files
from fin_plugins.evaluation.base_match import header_shapes
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, Adapter


@dataclass(frozen=True)
class Reference:
    """Log-probabilities (nats) of the probe's tokens from the second on, by the base and with an adapter."""

    tokens: list[int]
    base: list[float]
    adapted: list[float]


def references(
    base_folder: Path, adapters: Sequence[Adapter], tokens: Sequence[int], trust_remote_code: bool = False
) -> dict[str, Reference]:
    """PEFT's answers to the probe, by the adapter's name; computed where they are not remembered.

    Needs the base in float32 in the host's memory: 4 bytes a parameter.

    Args:
        base_folder: where the base's files are.
        adapters: adapters that `check_servable` let pass.
        tokens: `probe.probe_tokens` of the model class that will be checked.
        trust_remote_code: as for the engine.

    Raises:
        FinError: the base or an adapter cannot be computed.
    """
    files = {adapter.name: _file(base_folder, adapter, tokens) for adapter in adapters}
    found = {name: known for name, file in files.items() if (known := _read(file)) is not None}
    missing = [adapter for adapter in adapters if adapter.name not in found]
    if missing:
        job = {
            "base": str(base_folder),
            "trust_remote_code": trust_remote_code,
            "adapters": {adapter.name: str(adapter.path) for adapter in missing},
            "tokens": list(tokens),
        }
        for name, reference in _run(job).items():
            found[name] = Reference(list(tokens), **reference)
            _write(files[name], found[name])
    return found


def _file(base_folder: Path, adapter: Adapter, tokens: Sequence[int]) -> Path:
    weights = [adapter.path / CONFIG, adapter.path / WEIGHTS]
    key = {
        "method": "each adapter on a base of its own",
        "base": hash_files(model_files(base_folder), base_folder),
        "adapter": hash_files(weights, adapter.path),
        "tokens": list(tokens),
        "versions": {name: version(name) for name in ("peft", "transformers", "torch")},
    }
    return Path(user_cache_dir("fin-plugins")) / "references" / f"{digest(key)}.json"


def _read(file: Path) -> Reference | None:
    try:
        return Reference(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(file: Path, reference: Reference) -> None:
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        write_file(file, json.dumps(asdict(reference)))


def _run(job: Mapping[str, Any]) -> dict[str, Any]:
    no_gpu = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="fin-reference-") as folder:
        out = Path(folder) / "answers.json"
        done = subprocess.run(
            [sys.executable, "-m", "fin_plugins.evaluation.reference", str(out)],
            input=json.dumps(job),
            text=True,
            capture_output=True,
            env={**os.environ, **no_gpu},
        )
        if done.returncode == 0:
            return dict(json.loads(out.read_text(encoding="utf-8")))
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
    if done.returncode < 0:
        need = sum(
            4 * prod(s) for file in Path(job["base"]).glob("*.safetensors") for s in header_shapes(file).values()
        )
        reason = f"killed by signal {-done.returncode}, perhaps for want of memory: it needs {need / 1e9:.1f} GB"
    raise FinError(
        f"--verify-adapters: transformers and PEFT cannot compute {job['base']} with {', '.join(job['adapters'])} on "
        f"the CPU ({reason}): mend that, or leave --verify-adapters out"
    )


def main() -> None:
    """Read a job from standard input, write the answers to the file named on the command line."""
    import warnings

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    job = json.load(sys.stdin)

    def load() -> Any:
        """The base as it is on disk: what PEFT takes off a model may leave something behind."""
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
            warnings.filterwarnings("error", message=".*missing adapter keys.*")  # PEFT would go on with the others
            model = PeftModel.from_pretrained(model, path).eval()
        answers[name] = {"base": base, "adapted": answer(model)}
        del model  # before the next one is loaded
    Path(sys.argv[1]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()
