"""The requests that lm-eval makes of a bundled task, without an evaluation: for benchmarks and parity checks."""

from typing import TYPE_CHECKING, Any

from fin_plugins.common.locations import task_folder
from fin_plugins.compat.lm_eval.tasks import TaskIndex

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


def build_requests(lm: Any, name: str, documents: int) -> "list[Instance]":
    """Requests for the first test documents of a task, rendered in the model's chat template.

    Args:
        lm: An lm-eval model; only its template and its tokenizer's name are used.
        name: The task, such as `fin_fomc`.
        documents: Number of test documents.

    Raises:
        FinError: The rows cannot be read.
    """
    task = TaskIndex([task_folder()]).load(name)[name]
    task.build_all_requests(
        limit=documents,
        rank=0,
        world_size=1,
        apply_chat_template=True,
        chat_template=lm.apply_chat_template,
        tokenizer_name=lm.tokenizer_name,
    )
    return list(task.instances)
