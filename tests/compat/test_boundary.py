"""Only `compat/` uses other projects' private names; and tests of the rule that checks it."""

from pathlib import Path
from textwrap import dedent

import pytest

import fin_plugins
from tests.compat.boundary import Module, foreign_private_names
from tests.compat.foreign import private_names

SOURCE = Path(fin_plugins.__file__).parent

ALLOWED = {
    "fin_plugins.lm_eval_hook": "runs in every Python process of the environment, so it imports nothing, "
    "and wraps lm-eval's TaskIndex.build when lm-eval is imported; tests/test_lm_eval_hook.py is its contract test",
}
"""Modules outside compat/ that may use private names, each with the reason."""


def load_modules() -> dict[str, Module]:
    modules: dict[str, Module] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        parts = ["fin_plugins", *file.relative_to(SOURCE).with_suffix("").parts]
        name = ".".join(parts).removesuffix(".__init__")
        modules[name] = Module(name, file.read_text(encoding="utf-8"), modules)
    return modules


def test_only_compat_uses_other_projects_private_names() -> None:
    modules = load_modules()
    problems = {
        name: module.problems() for name, module in modules.items() if not name.startswith("fin_plugins.compat")
    }
    assert [line for name, lines in problems.items() if name not in ALLOWED for line in lines] == []
    assert all(problems[name] for name in ALLOWED), "an entry of ALLOWED is no longer needed"


def problems_of(code: str) -> list[str]:
    base = Module("fin_plugins.base", "from lm_eval.models.huggingface import HFLM\nclass Ours(HFLM): ...\n")
    base.package = {"fin_plugins.base": base}
    return Module("fin_plugins.new", dedent(code), base.package).problems()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from lm_eval.tasks._index import TaskIndex", "imports lm_eval.tasks._index, which is private"),
        ("def f():\n    from lm_eval.tasks import _index", "imports lm_eval.tasks._index, which is private"),
        ("import lm_eval._cli as cli", "imports lm_eval._cli, which is private"),
        ("from peft.utils.other import get_pattern_key", "documentation does not name"),
        ("from lm_eval import evaluator", "imports lm_eval.evaluator, which its project's documentation does not name"),
        ("import mergekit.plan", "imports mergekit.plan"),
        ("def f(lm):\n    return lm._encode_pair('a', 'b')", "uses _encode_pair of lm"),
        ("def f(config):\n    return config.text_config._attn_implementation", "uses _attn_implementation"),
        ("import torch\nprint(torch.cpu._is_amx_tile_supported())", "uses _is_amx_tile_supported of torch.cpu"),
        ("import torch\ndef _lazy_init(): ...\ntorch.cuda._lazy_init()", "uses _lazy_init of torch.cuda"),
        ("def f(x):\n    return getattr(x, '_parser')", "uses _parser of x"),
        ("def f(llm):\n    llm.llm_engine.engine_core.shutdown()", "uses engine_core"),
        ("class A:\n    def f(self):\n        return self.lm._model_call(1)", "uses _model_call of self.lm"),
        (
            "from trl import SFTTrainer\nclass A(SFTTrainer):\n    def f(self):\n        self._metrics.clear()",
            "_metrics",
        ),
        (
            "from lm_eval.api.model import TemplateLM\nclass A(TemplateLM):\n    def _loglikelihood_tokens(self): ...",
            "A has _loglikelihood_tokens, which is private to the class it derives from",
        ),
        ("from fin_plugins.base import Ours\nclass A(Ours):\n    _model = None", "A has _model"),
        (
            "from fin_plugins.base import Ours\nclass A(Ours):\n    def f(self):\n        super()._create_model()",
            "A has _create_model",
        ),
        ("from lm_eval import utils\nutils.apply_template = print", "patches utils.apply_template"),
        (
            "import inspect\nfrom trl import SFTTrainer\ninspect.getsource(SFTTrainer.log)",
            "reads the source of SFTTrainer.log",
        ),
        ("import sys\nsys.modules.get('lm_eval.tasks._index')", "names lm_eval.tasks._index"),
        ("import sys\nsys.argv = ['lm_eval']", "sets sys.argv"),
    ],
)
def test_private_uses_are_found(code: str, message: str) -> None:
    assert any(message in line for line in problems_of(code)), problems_of(code)


@pytest.mark.parametrize(
    "code",
    [
        "from lm_eval.tasks import TaskManager\nfrom transformers import AutoConfig as _Config",
        "from fin_plugins.data import _private\nimport _thread\nfrom os import _exit",
        "class A:\n    def __init__(self):\n        self._x = 1\n    def f(self, other):\n        return other._x",
        "class A:\n    def _make(self): ...\n    @classmethod\n    def f(cls):\n        return cls._make\nA._make",
        "from fin_plugins.base import Ours\nclass A(Ours):\n    def _our_own(self):\n        return self._our_own",
        "from trl import SFTTrainer\nclass A(SFTTrainer):\n    def __init__(self):\n        self._our_own_name = 1",
        "import inspect\nfrom fin_plugins import data\ninspect.getsource(data)",
        "def hook(): ...\nhook._fin_plugins = True",
        "def f(x):\n    return getattr(x, '__name__'), hasattr(x, 'public'), x.__dict__",
        "from lm_eval.utils import setup_logging\nsettings = object()\nsettings.batch_size = 1",
        '"""Mentions lm_eval.tasks._index."""\nimport sys\nprint(sys.argv)',
    ],
)
def test_other_uses_are_allowed(code: str) -> None:
    assert problems_of(code) == []


def test_private_names_are_those_of_the_installed_class_and_its_bases() -> None:
    names = private_names("lm_eval", "HFLM")
    assert {"_model", "_create_model", "_loglikelihood_tokens", "_encode_pair"} <= names
    assert "_loglikelihood_tokens" in private_names("lm_eval", "TemplateLM")
    assert {"_metrics", "_inner_training_loop"} <= private_names("trl", "SFTTrainer"), (
        "transformers' Trainer is below it"
    )
    with pytest.raises(LookupError, match="no class Nowhere"):
        private_names("lm_eval", "Nowhere")


def test_private_names_are_inherited_through_our_own_classes() -> None:
    modules = load_modules()
    for name, class_name, private_name in [
        ("fin_plugins.scoring.fin_hf", "FinHF", "_model_call"),
        ("fin_plugins.scoring.fin_vllm", "FinVLLM", "_model_generate"),
        ("fin_plugins.evaluation.prompt_lm", "PromptLM", "_loglikelihood_tokens"),
        ("fin_plugins.training.trainer", "LabelTrainer", "_metrics"),
    ]:
        assert private_name in foreign_private_names(modules[name], modules[name].classes[class_name])
