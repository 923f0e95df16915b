"""The terminal of a run: a line for each finished step, with an estimate of the time left."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

SECONDS = {
    "get_dataset": 18,
    "build_store": 3,
    "get_weights": 5,
    "resolve_config": 0.5,
    "train": 240,
    "control": 7,  # `train` of a control without training
    "evaluate": 10,
    "transfer": 10,
    "study": 26,
    "table": 2,
    "plot": 6,
    "page": 3,
    "all": 0,
}
"""Seconds of a job of each kind in the embedded benchmark, on two idle cores with AVX-512. The
times of this run replace them as they come in."""
OLDER = 2.7
"""How much longer `scwm` takes on a first-generation AMD EPYC (AVX2): docs/reproduce.md."""
REPORTING = ("table", "plot", "page", "all")
"""Kinds of jobs that wait for the runs."""
PRIOR = 60  # expected seconds that count as met before anything is measured
ROUTINE = (
    "Select jobs to execute",
    "Execute ",
    "Using shell:",
    "Building DAG",
    "Complete log",
    "Conda environments: ignored",
    "Assuming unrestricted",
)
"""Starts of messages that the log file in .snakemake/log keeps and the terminal does not show."""
SHOWN = (None, LogEvent.GROUP_ERROR, LogEvent.ERROR)
LINES = 30  # shown of a failed job's log


@dataclass
class Step:
    """One job.

    Attributes:
        kind: its rule, or `control`.
        message: what it does.
        seconds: expected at first.
        share: of the machine that it takes, at most 1.
        start: seconds of the clock; None before it has started.
        spent: seconds it took; None before its end.
    """

    kind: str
    message: str
    seconds: float
    share: float = 1.0
    start: float | None = None
    spent: float | None = None


class Estimate:
    """The time left of a run, from the steps that are finished, running and to come."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self.steps = list(steps)

    def left(self, now: float, slower: float = 1.0) -> float:
        """Return seconds until the last step ends: the runs, then what waits for all of them.

        A kind of step of which none has ended yet takes `slower` times as long as expected.
        """
        speeds = {step.kind: self._speed(step.kind, now, slower) for step in self.steps}
        total = 0.0
        for reporting in (False, True):
            steps = [one for one in self.steps if (one.kind in REPORTING) == reporting]
            rests = [(_rest(one, speeds[one.kind], now), one.share) for one in steps]
            work = sum(rest * share for rest, share in rests)
            total += max([work, *(rest for rest, _ in rests)])
        return total

    def between(self, now: float) -> str:
        """Return the time left; until a training has ended, for a recent and for an older CPU."""
        ends = [one.spent is not None for one in self.steps if one.kind == "train"]
        left = spoken(self.left(now))
        if not ends or any(ends):
            return left
        return f"{left} to {spoken(self.left(now, OLDER))}"

    def _speed(self, kind: str, now: float, slower: float) -> float:
        """Return seconds of this machine per expected second, of this kind if known, else of all.

        A step that runs longer than expected counts before its end.
        """
        done = [one for one in self.steps if one.spent is not None]
        own = [one for one in done if one.kind == kind and one.seconds]
        prior = 0 if own else PRIOR
        spent = sum(one.spent or 0 for one in own or done) + prior
        known = spent / (sum(one.seconds for one in own or done) + prior)
        known *= 1 if own else slower
        running = (
            (now - one.start) / one.seconds
            for one in self.steps
            if one.kind == kind and one.start is not None and one.spent is None and one.seconds
        )
        return max([known, *running])


def _rest(step: Step, speed: float, now: float) -> float:
    if step.spent is not None:
        return 0.0
    elapsed = 0.0 if step.start is None else now - step.start
    return max(step.seconds * speed - elapsed, 0.0)


class Terminal(logging.Filter):
    """A filter of Snakemake's handler of the terminal: passes errors, and reports the steps.

    It runs after the handler's own filter, so that `--quiet progress` also silences the steps.

    Args:
        write: shows a line.
        clock: returns seconds.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.write, self.clock = write, clock
        self.steps: dict[int, Step] = {}
        self.estimate = Estimate([])

    def begin(self, steps: dict[int, Step]) -> None:
        """Take the jobs of the run, by their ids, before the first starts."""
        self.steps, self.estimate = steps, Estimate(steps.values())
        left = self.estimate.between(self.clock())
        self.write(f"{len(steps)} steps, about {left} if the machine has nothing else to do")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake shows the record; starts and ends of jobs are noted and told here."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_STARTED:
            for job in getattr(record, "jobs", ()):
                if job in self.steps:
                    self.steps[job].start = self.clock()
        if event == LogEvent.JOB_FINISHED:
            self._finish(getattr(record, "job_id", None))
        if event == LogEvent.JOB_ERROR and getattr(record, "jobid", None) in self.steps:
            why = str(getattr(record, "rule_msg", None) or "")
            self._fail(self.steps[record.__dict__["jobid"]], getattr(record, "log", ()), why)
            return False
        if record.levelno >= logging.WARNING:
            return True
        return event in SHOWN and not str(record.msg).startswith(ROUTINE)

    def _fail(self, step: Step, logs: Iterable[str], why: str) -> None:
        """Name a failed step, why it failed if that is known, and the end of its log."""
        told = why.splitlines()
        for log in map(Path, logs):
            lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
            told += [f"{log}:", *(lines[-LINES:] or ["nothing: the job may have been killed"])]
        for line in (f"FAILED  {step.message}", *(f"        {line}" for line in told)):
            self.write(line)

    def _finish(self, job: object) -> None:
        step = self.steps.get(job) if isinstance(job, int) else None
        if step is None or step.spent is not None:
            return
        now = self.clock()
        step.spent = 0.0 if step.start is None else now - step.start
        done = sum(one.spent is not None for one in self.steps.values())
        line = f"{done:4} of {len(self.steps)}  {step.message} ({spoken(step.spent)})"
        left = self.estimate.between(now)
        self.write(line if done == len(self.steps) else f"{line}, about {left} left")


def spoken(seconds: float) -> str:
    """Return a time in the unit that suits it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
