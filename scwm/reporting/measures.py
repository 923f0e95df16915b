"""Values of measures, read from a run's files."""

import math
from collections.abc import Mapping
from typing import Any

from scwm.core.measures import Measure, locate
from scwm.reporting.runs import Run, read_scores


def read_source(run: Run, source: str) -> float | None:
    """The value at a source of a measure (`scwm.core.measures`); None where it is unknown.

    Raises:
        KeyError: the run has nothing at this source.
        LookupError: the run has no such file of its study or of another data set.
    """
    file, path = locate(source)
    content = _content(run, file)
    for key in path.split("."):
        if content is None:
            return None
        if not isinstance(content, Mapping) or key not in content:
            known = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no more keys"
            raise KeyError(f"at '{key}'; known there: {known}")
        content = content[key]
    return None if content is None or math.isnan(content) else float(content)


def _content(run: Run, file: str) -> Any:
    if file == "history":
        last = run.history.tail(1).to_dict("records")
        return last[0] if last else dict.fromkeys(run.history)
    own = {"metrics": run.metrics, "provenance": run.provenance}
    return own[file] if file in own else read_scores(run, f"{file}.json")


def read_measure(run: Run, measure: Measure) -> float | None:
    """A measure's value at its first source; None where it is unknown or not applicable."""
    try:
        value = read_source(run, measure.sources[0])
        other = read_source(run, measure.minus) if measure.minus else 0.0
    except LookupError:
        return None
    return None if value is None or other is None else value - other
