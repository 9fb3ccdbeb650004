"""The one error of this package."""

from typing import Any


class AbctlError(Exception):
    """A request that failed: the service refused it, or gave no answer.

    code: as the service says (`invalid_field`, ...), or `no_answer`, `timed_out`, `bad_answer`, `http_error`.
    status: the HTTP status, 0 without one. field: the JSON path of what was wrong, or "".
    """

    def __init__(self, problem: dict[str, Any], retry_after_s: float | None = None) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.type = str(problem.get("type", "about:blank"))
        self.code = self.type.rpartition(":")[2]
        self.title = str(problem.get("title", ""))
        self.detail = str(problem.get("detail", ""))
        self.field = str(problem.get("field", ""))
        self.retry_after_s = retry_after_s
        super().__init__(self.detail or self.title)


def unanswered(code: str, status: int, detail: str, retry_after_s: float | None = None) -> AbctlError:
    """An error for which the service sent no problem document."""
    problem = {"type": f"urn:abctl:problem:{code}", "title": code.replace("_", " ")}
    return AbctlError({**problem, "status": status, "detail": detail}, retry_after_s)
