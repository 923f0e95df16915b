"""The errors that end a command without a traceback."""

import difflib
from collections.abc import Iterable


class ScwmError(RuntimeError):
    """An error that the user can fix; the command line prints it without a traceback.

    Args:
        what: the problem.
        where: the file, key or value that has the problem.
        remedy: what to do next.
    """

    def __init__(self, what: str, where: object = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        lines = [what]
        if where is not None:
            lines.append(f"  where:  {where}")
        if remedy:
            lines.append(f"  remedy: {remedy}")
        super().__init__("\n".join(lines))


class Interrupted(ScwmError):
    """A training that a signal stopped; the same call resumes from the last epoch's checkpoint."""


def suggest(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is nearest to a wrong one: " Did you mean …?", or ""."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""
