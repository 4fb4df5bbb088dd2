"""Reads and checks what a merge is given: base, experts, and whether they belong together; all faults at once."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fin_plugins.common.errors import FinError, first_line
from fin_plugins.evaluation.base_layers import base_layers
from fin_plugins.evaluation.base_match import check_base, header_shapes
from fin_plugins.merging.adapters.factors import read_factors
from fin_plugins.merging.checkpoint.whole import is_for_peft
from fin_plugins.merging.inputs.checkpoint import Checkpoint, read_checkpoint
from fin_plugins.merging.inputs.differences import differences
from fin_plugins.merging.inputs.vocabulary import check_vocabulary
from fin_plugins.merging.model import Expert
from fin_plugins.merging.recipes.expand import Models
from fin_plugins.scoring.adapters import CONFIG, WEIGHTS, read_adapter

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Inputs:
    """What goes into a merge, checked.

    Attributes:
        base: the base model.
        models: the same for a recipe.
    """

    base: Checkpoint
    models: Models

    @property
    def largest_changed(self) -> int:
        """How many numbers the largest tensor holds that an expert may change; only headers are read."""
        sizes = {name: tensor.size for name, tensor in self.base.tensors.items()}
        if not all(expert.is_adapter for expert in self.models.experts):
            return max(sizes.values())
        names = {name for expert in self.models.experts for name in header_shapes(expert.path / WEIGHTS)}
        changed = {f"{name.partition('.lora_')[0].removeprefix(_PREFIX)}.weight" for name in names if ".lora_" in name}
        # An output layer tied to the embeddings is no tensor of its own, and as large as the largest.
        return max((sizes.get(name, max(sizes.values())) for name in changed), default=max(sizes.values()))


def read_inputs(base: str, experts: Sequence[str], *, any_base: bool = False) -> Inputs:
    """Read what the command line names.

    Args:
        base: folder or hub name of the base model.
        experts: as typed behind `--expert`, `NAME=PATH`.
        any_base: accept adapters that were trained on another model than the base.

    Raises:
        FinError: everything that is wrong with them.
    """
    folder = _base_folder(base)
    checkpoint = read_checkpoint("base", folder)
    layers = _layers(folder)
    problems: list[str] = []
    found: list[Expert] = []
    for flag in experts:
        try:
            expert = _expert(flag, found)
            found.append(expert)
            problems += _problems(expert, checkpoint, base, any_base)
        except FinError as error:
            problems.append(str(error))
    problems += [_split(path) for path in (folder, *(expert.path for expert in found)) if {*"+@"} & {*str(path)}]
    if problems:
        raise FinError(problems[0] if len(problems) == 1 else "\n".join([f"{len(problems)} problems", *problems]))
    return Inputs(checkpoint, Models(folder, base, layers, checkpoint.dtype, tuple(found)))


def _base_folder(base: str) -> Path:
    from fin_plugins.evaluation.identity import base_folder
    from fin_plugins.training.model import model_path

    try:
        folder = base_folder({"pretrained": model_path(base)})
    except FinError as error:
        raise FinError(str(error).replace("pretrained=", "--base ", 1)) from error
    if not folder.is_dir():
        raise FinError(f"--base {base}: a file; give the folder of a model")
    return folder


def _layers(folder: Path) -> int:
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return int(config.get_text_config().num_hidden_layers)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FinError(f"base: {folder}: transformers cannot read its configuration ({first_line(error)})") from error


def _expert(flag: str, others: Sequence[Expert]) -> Expert:
    name, equals, path = flag.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9._-]+", name) or not path:
        raise FinError(f"--expert {flag}: should be NAME=PATH, NAME of letters, digits, '.', '_' and '-'")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise FinError(f"expert {name}: {path} is no folder here (a model on a hub has to be downloaded first)")
    for other in others:
        if other.name == name or other.path.resolve() == folder.resolve():
            same = "name" if other.name == name else f"folder as expert {other.name}"
            raise FinError(f"--expert {flag}: the same {same}, given twice")
    return Expert(name, folder, is_adapter=(folder / CONFIG).is_file())


def _problems(expert: Expert, base: Checkpoint, base_name: str, any_base: bool) -> Iterator[str]:
    """What keeps the expert from being merged with the base."""
    what = f"expert {expert.name}"
    try:
        if expert.is_adapter:
            adapter = read_adapter(expert.name, expert.path)
            check_base(adapter, base_name, base.folder, any_base)
            if not is_for_peft(expert):
                read_factors(expert.name, expert.path, base_layers(base.folder))
        else:
            yield from differences(what, read_checkpoint(what, expert.path), base)
    except FinError as error:
        yield str(error).replace("pretrained=", "--base ")
    try:
        check_vocabulary(what, expert.path, base.folder)
    except FinError as error:
        yield str(error)


def _split(path: Path) -> str:
    return f"{path}: mergekit splits paths at + and @: name a link to it that has neither"
