"""Rendering processes: new interpreters that receive the shots of one person at a time.

Such a process reads pickles from its standard input: first the arguments of `Studio` and `write`,
then lists of shots. It answers each list with a line. It does not import the script that called
`render`, so that script needs no `__main__` guard. It ends when its input ends, also when the
caller was killed.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from scwm.core.allocator import keep_freed_memory
from scwm.core.errors import ScwmError

from .protocol import Knobs, Shot
from .studio import Studio, write

_ROOT = Path(__file__).resolve().parents[3]  # where `scwm` is imported from


class Worker:
    """The caller's handle of one rendering process."""

    def __init__(self, folder: Path, knobs: Knobs, seed: int) -> None:
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each fills one core
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import work; work()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self._start = pickle.dumps((folder.absolute(), knobs, seed))

    def render(self, shots: list[Shot]) -> None:
        """Let the process write the files of `shots`.

        Raises:
            ScwmError: the process ended early.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(self._start + pickle.dumps(shots))
            self._process.stdin.flush()
            self._start = b""
            answered = bool(self._process.stdout.readline())
        except OSError:  # it reads no more
            answered = False
        if not answered:
            raise ScwmError(
                f"a rendering process ended early, with exit status {self._process.wait()}",
                f"at {shots[0].name}",
                "its own message, if any, is above; the same call resumes where it stopped "
                "(with fewer `processes` if memory ran out)",
            )

    def stop(self) -> None:
        """End the process in any state."""
        self._process.kill()
        self._process.communicate()


def in_processes(
    count: int, folder: Path, knobs: Knobs, seed: int, groups: Iterable[list[Shot]]
) -> Iterator[list[Shot]]:
    """Write the files of each group of shots; yield each group when it is finished.

    Args:
        count: number of processes; with one, the caller's process does the work.
        folder: folder of the files.
        knobs: knobs of the set.
        seed: seed of the set.
        groups: shots of one person each.

    Raises:
        ScwmError: one of the processes ended early; the others are stopped.
    """
    if count < 2:
        studio = Studio(knobs, seed)
        for group in groups:
            write(studio, group, folder)
            yield group
        return
    crew = [Worker(folder, knobs, seed) for _ in range(count)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in crew:
        idle.put(worker)

    def finish(group: list[Shot]) -> list[Shot]:
        worker = idle.get()
        try:
            worker.render(group)
        finally:
            idle.put(worker)
        return group

    with ThreadPoolExecutor(count) as pool:
        try:
            yield from pool.map(finish, groups)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in crew:
                worker.stop()


def work() -> None:
    """Serve as a rendering process until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller stops its workers itself
    keep_freed_memory()
    folder, knobs, seed = pickle.load(sys.stdin.buffer)
    studio = Studio(knobs, seed)
    while True:
        try:
            shots = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        write(studio, shots, folder)
        print(flush=True)
