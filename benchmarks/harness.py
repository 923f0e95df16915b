"""Whole-stage time and peak memory of our code and of a plain reference, on the same input.

Every run has a process of its own: its peak memory is its own, and nothing that an earlier run
freed, cached or warmed up counts for it. The input is made in that process before the clock starts.
"""

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch

Row = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage of the suite and a reference that follows its definition.

    Attributes:
        name: of the stage, one word with underscores.
        unit: what `sizes` count.
        sizes: sizes at which our code is measured.
        reference_sizes: those of them at which the reference is measured too.
        tiny: a size at which both take less than a second, for the tests.
        inputs: size -> input of both, the same in every process.
        ours, reference: input -> result, NumPy arrays and numbers.
        agreement: (result of ours, of the reference) -> figures by name; those whose name ends in
            ``_error`` are best at 0, all others at 1.
        tolerance: how far each figure of the agreement may be from its best.
        threads: of torch and of the libraries below it, for both.
        repeats: runs of which the median counts.
    """

    name: str
    unit: str
    sizes: tuple[int, ...]
    reference_sizes: tuple[int, ...]
    tiny: int
    inputs: Callable[[int], Any]
    ours: Callable[[Any], Any]
    reference: Callable[[Any], Any]
    agreement: Callable[[Any, Any], dict[str, float]]
    tolerance: dict[str, float]
    threads: int = 2
    repeats: int = 1

    def disagreements(self, figures: dict[str, float]) -> list[str]:
        """The figures of an agreement that lie beyond their tolerance."""
        best = {name: 0.0 if name.endswith("_error") else 1.0 for name in figures}
        return [n for n, v in figures.items() if not abs(v - best[n]) <= self.tolerance[n]]


def measure(stage: Stage) -> Iterator[Row]:
    """Measure a stage at each of its sizes; yields a row of results for each.

    Raises:
        RuntimeError: a run died, or the results of ours and of the reference differ.
    """
    for size in stage.sizes:
        row: Row = {"stage": stage.name, "unit": stage.unit, "size": size, "threads": stage.threads}
        row["seconds"], row["peak_mb"], ours = _repeated(stage, "ours", size)
        if size in stage.reference_sizes:
            seconds, peak, theirs = _repeated(stage, "reference", size)
            figures = stage.agreement(ours, theirs)
            wrong = stage.disagreements(figures)
            if wrong:
                raise RuntimeError(f"{stage.name} at {size}: results differ in {wrong}: {figures}")
            row |= {"reference_seconds": seconds, "reference_peak_mb": peak}
            row |= {"faster": seconds / row["seconds"], "agreement": _in_words(figures)}
        yield row


def _in_words(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in figures.items())


def _repeated(stage: Stage, which: str, size: int) -> tuple[float, float, Any]:
    """Median seconds, median peak MB and the result of a run."""
    runs = [_in_own_process(stage, which, size) for _ in range(stage.repeats)]
    seconds, peaks, results = zip(*runs, strict=True)
    return median(seconds), median(peaks), results[0]


def _in_own_process(stage: Stage, which: str, size: int) -> tuple[float, float, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, stage, which, size))
    process.start()
    sender.close()
    try:
        received: tuple[float, float, Any] = receiver.recv()
        return received
    except EOFError as error:
        process.join()
        raise RuntimeError(
            f"{stage.name} ({which}) at {size} ended with status {process.exitcode}"
        ) from error
    finally:
        process.join()


def _child(sender: Connection, stage: Stage, which: str, size: int) -> None:
    torch.set_num_threads(stage.threads)
    data = stage.inputs(size)
    _reset_peak()
    before = _status_mb("VmRSS")
    start = time.perf_counter()
    result = getattr(stage, which)(data)
    seconds = time.perf_counter() - start
    sender.send((seconds, _status_mb("VmHWM") - before, result))
    sender.close()


def _reset_peak() -> None:
    """Let the peak start from what is held now (Linux).

    What making the input has freed is given back first: reused, it would be missing from the peak.
    """
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _status_mb(key: str) -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines[key].split()[0]) / 1024
