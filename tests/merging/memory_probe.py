"""Merges in a process of its own and prints the memory that it took, in bytes.

`python -m … RECIPE SHARD_BYTES OUT SMALL_BASE SMALL_EXPERT BASE EXPERTS`. A merge of the small models comes first, so
that imports are not measured.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from fin_plugins.merging.checkpoint_merge import merge_as_checkpoint
from fin_plugins.merging.checkpoints import read_checkpoint
from tests.merging.model_factories import resolve_bundled


def resident_bytes() -> int:
    """Memory of this process, without pages of mapped files, which the system may drop at any time."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def peak_bytes(work: Callable[[], object]) -> int:
    """By how much the memory rose at most while `work` ran."""
    before, samples, finished = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not finished.wait(0.001):
            samples.append(resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    finished.set()
    watcher.join()
    return max(samples) - before


def merge(recipe: str, shard_bytes: int, out: Path, base: Path, experts: list[Path]) -> None:
    resolved = resolve_bundled(recipe, base, {path.name: path for path in experts}, dtype="float32")
    out.mkdir()
    merge_as_checkpoint(resolved, read_checkpoint("base", base), out, shard_bytes=shard_bytes)


def main(recipe: str, shard_bytes: int, out: Path, small: list[Path], large: list[Path]) -> None:
    torch.set_num_threads(1)
    merge(recipe, shard_bytes, out.with_name("small"), small[0], small[1:])
    print(peak_bytes(lambda: merge(recipe, shard_bytes, out, large[0], large[1:])))


if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[3:]]
    main(sys.argv[1], int(sys.argv[2]), folders[0], folders[1:3], folders[3:])
