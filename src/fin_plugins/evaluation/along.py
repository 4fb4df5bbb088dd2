"""Generation requests that an engine can answer along with the labels of the same prompts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance


def requests_of(tasks: Mapping[str, Any], kind: str) -> "dict[str, list[Instance]]":
    """The requests of one type that lm-eval is going to make of loaded tasks, by task; tasks without any are left out.

    Args:
        tasks: lm-eval's task objects by name, their requests built.
        kind: lm-eval's request type, such as `loglikelihood`.
    """
    found: dict[str, list[Instance]] = {}
    for task in tasks.values():
        for request in task.instances:
            if request.request_type == kind:
                found.setdefault(str(request.task_name), []).extend([request] * request.repeats)
    return found


class Along:
    """Tasks that wait for replies which the engine writes while it is asked for labels."""

    def __init__(self, engine: Any) -> None:
        """Nothing waits yet.

        Args:
            engine: the model class's object; where it offers no such thing, nothing ever waits.
        """
        self._engine = engine
        self.offered = hasattr(engine, "expect_replies")
        self._waiting: dict[str, list[Instance]] = {}

    def expect(self, requests: "Mapping[str, list[Instance]]") -> None:
        """Let these tasks wait for the replies to their requests."""
        self._waiting.update(requests)
        self._engine.expect_replies([one for mine in requests.values() for one in mine])

    def whole(self, labels: "Sequence[Instance]") -> "dict[str, list[Instance]]":
        """Tasks all of whose replies are written, now that these labels are answered; they wait no longer."""
        seen = {request.args[0] for request in labels}
        done = {
            task: mine
            for task, mine in self._waiting.items()
            if seen.issuperset(request.args[0] for request in mine) and self._engine.has_replies(mine)
        }
        for task in done:
            del self._waiting[task]
        return done
