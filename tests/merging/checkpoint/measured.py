"""Merges in a process of its own, and prints how many bytes of memory it took.

`python -m … RECIPE SHARD_BYTES OUT SMALL_BASE SMALL_EXPERT BASE EXPERTS`. All that is imported on the way is imported
by a merge of the small models, before anything is measured.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from fin_plugins.merging.checkpoint.run import merge_as_checkpoint
from fin_plugins.merging.inputs.checkpoint import read_checkpoint
from fin_plugins.merging.model import Expert
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.merging.recipes.fill import fill, read_recipe


def held() -> int:
    """Bytes that this process holds; pages of mapped files are not among them, the system may drop them any time."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def peak(work: Callable[[], object]) -> int:
    """How many bytes more were held at most while it worked."""
    before, seen, over = held(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            seen.append(held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    over.set()
    watcher.join()
    return max(seen) - before


def merge(recipe: str, shard_bytes: int, out: Path, base: Path, experts: list[Path]) -> None:
    listed = tuple(Expert(path.name, path, (path / "adapter_config.json").is_file()) for path in experts)
    filled = fill(read_recipe(recipe), Models(base, str(base), 1, "bfloat16", listed), {}, dtype="float32")
    out.mkdir()
    merge_as_checkpoint(filled, read_checkpoint("base", base), out, shard_bytes=shard_bytes)


def main(recipe: str, shard_bytes: int, out: Path, small: list[Path], large: list[Path]) -> None:
    torch.set_num_threads(1)
    merge(recipe, shard_bytes, out.with_name("small"), small[0], small[1:])
    print(peak(lambda: merge(recipe, shard_bytes, out, large[0], large[1:])))


if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[3:]]
    main(sys.argv[1], int(sys.argv[2]), folders[0], folders[1:3], folders[3:])
