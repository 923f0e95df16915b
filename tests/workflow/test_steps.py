"""What the terminal shows of a run: each finished step, the time left, and failed jobs' logs."""

import logging
import re
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from workflow_copy import snakemake, stubbed_copy

from workflow.steps import Step, Terminal


class Run:
    """A run of jobs on a made-up clock."""

    def __init__(self, steps: dict[int, Step]) -> None:
        self.now, self.lines = 0.0, []
        self.terminal = Terminal(self.lines.append, lambda: self.now)
        self.terminal.begin(steps)

    def record(self, event: LogEvent | None = None, text: str = "", **content: object) -> bool:
        record = logging.LogRecord("snakemake", logging.INFO, "", 0, text, (), None)
        record.__dict__ |= {"event": event, **content}
        return self.terminal.filter(record)

    def start(self, *jobs: int) -> None:
        self.record(LogEvent.JOB_STARTED, jobs=jobs)

    def finish(self, job: int) -> str:
        assert not self.record(LogEvent.JOB_FINISHED, job_id=job)
        return self.lines[-1]


def trainings(count: int, seconds: float = 300, share: float = 0.5) -> dict[int, Step]:
    return {i: Step("train", f"train {i}", seconds, share) for i in range(count)}


def test_the_first_estimate_is_the_expected_work_divided_among_the_cores() -> None:
    run = Run(trainings(4) | {9: Step("page", "write page", 60)})
    assert run.lines == ["5 steps, about 11 min to 30 min if the machine has nothing else to do"]
    assert run.terminal.estimate.left(0) == 4 * 300 / 2 + 60


@pytest.mark.parametrize("slow", [0.5, 1, 4])
def test_the_estimate_is_met_on_a_machine_of_any_speed(slow: float) -> None:
    """Two jobs at a time; once one of a kind is finished, the time left is known."""
    run = Run(trainings(6))
    for first in (0, 2, 4):
        run.start(first, first + 1)
        run.now += 300 * slow
        for job in (first, first + 1):
            run.finish(job)
        assert run.terminal.estimate.left(run.now) == pytest.approx(900 * slow - run.now)
    assert "6 of 6  train 5" in run.lines[-1] and "left" not in run.lines[-1]


def test_the_speed_of_the_machine_is_unknown_until_a_training_has_ended() -> None:
    """The longest times in the message are those of an older CPU."""
    run = Run(trainings(2, share=1) | {9: Step("resolve_config", "resolve config", 0.5)})
    run.start(9)
    assert re.search(r"about 10 min to 27 min left$", run.finish(9))
    run.start(0)
    run.now = 300 * 2
    assert run.terminal.estimate.between(run.now) == "10 min to 17 min"  # the first is late already
    assert re.search(r"about 10 min left$", run.finish(0))


def test_one_long_step_is_not_divided_among_idle_cores() -> None:
    run = Run({0: Step("study", "study", 100, 0.25), 1: Step("train", "train", 1000, 0.25)})
    assert run.terminal.estimate.left(0) == 1000


def test_a_step_that_takes_longer_than_expected_counts_before_its_end() -> None:
    run = Run(trainings(2, share=1))
    run.start(0)
    assert run.terminal.estimate.left(600) == pytest.approx(600)  # the other at half the speed


def test_short_steps_do_not_decide_the_speed_of_long_ones() -> None:
    run = Run(trainings(1) | {1: Step("resolve_config", "resolve config", 0.5)})
    run.start(1)
    run.now = 3
    run.finish(1)
    assert 300 < run.terminal.estimate.left(3) < 330


def test_routine_messages_are_not_shown_and_errors_are() -> None:
    run = Run({})
    assert not run.record(text="Select jobs to execute...")
    assert not run.record(LogEvent.JOB_INFO) and not run.record(LogEvent.PROGRESS)
    assert run.record(LogEvent.ERROR) and run.record(text="Nothing to be done")


def test_a_failed_job_says_why_and_that_its_log_is_empty(tmp_path: Path) -> None:
    """A scheduler refuses a job before it has a log; a killed one writes nothing more."""
    run = Run(trainings(1))
    why = {"rule_msg": "sbatch failed: invalid partition", "log": [str(tmp_path / "absent.log")]}
    assert not run.record(LogEvent.JOB_ERROR, jobid=0, **why)
    shown = "\n".join(run.lines)
    assert "FAILED" in shown and "invalid partition" in shown and "may have been killed" in shown


def test_a_run_shows_a_line_for_each_step_and_the_log_of_a_failed_job(tmp_path: Path) -> None:
    copy = stubbed_copy(tmp_path)
    (copy / "config/frozen.json").unlink(missing_ok=True)
    stub = copy / "scwm/cli/main.py"
    fail = 'main():\n    if sys.argv[1:2] == ["page"]:\n        sys.exit("no ink")'
    stub.write_text(stub.read_text().replace("main():", fail, 1))
    select = ["--configfile", "config/ci.yaml", "--config", "seeds=[0]", "methods=[scwm]"]

    done = snakemake(copy, "--cores", "2", *select)
    shown = done.stdout + done.stderr
    finished = re.findall(r"^ +(\d+) of (\d+)  .* left$", shown, re.M)
    steps = int(finished[0][1])
    assert done.returncode == 1
    assert [int(number) for number, _ in finished] == [*range(1, steps - 1)]  # not page, not all
    assert "FAILED  write results/ci/report.html" in shown and "        no ink" in shown
    assert "Select jobs" not in shown and len(shown.splitlines()) < steps + 15
    (log,) = (copy / ".snakemake/log").glob("*.log")
    assert "Select jobs to execute" in log.read_text()
