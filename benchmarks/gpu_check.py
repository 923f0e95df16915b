"""Everything that only a GPU can show, in one command of a limited time: `make gpu-check`.

    python -m benchmarks.gpu_check [--minutes 6] [--config config/market1501.yaml] [-- OPTIONS]

Three parts: the tests of the GPU (at most 2 minutes), images a second by setting and seconds of an
epoch (at most 3), and a training on real images (`--minutes`, and one to stop). A part runs
although another failed. The output of each part is in `--out`/NAME.log, its status and seconds in
`--out`/check.csv, its tables and runs next to them. A training that its time ends keeps its
checkpoint and its history: the same command resumes it. OPTIONS go to `scwm benchmark`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

GRACE = 60  # seconds in which a stopped training ends


def parts(options: argparse.Namespace) -> dict[str, tuple[float, list[str]]]:
    """Name each part, with its minutes and its command after `python -m`."""
    speed = ["benchmarks.gpu", "--backbones", "resnet50", "mobilenet_v2"]
    training = ["scwm", "benchmark", str(options.config), "--results", str(options.out)]
    return {
        "tests": (2, ["pytest", "-q", "tests/gpu"]),
        "speed": (3, [*speed, "--out", str(options.out)]),
        "training": (options.minutes, [*training, *options.rest]),
    }


def run(command: list[str], minutes: float, log: Path) -> str:
    """Run a part and return its status: passed, failed or stopped by its time limit."""
    with log.open("w", encoding="utf-8") as file:
        part = subprocess.Popen([sys.executable, "-m", *command], stdout=file, stderr=file)
        try:
            return "passed" if part.wait(60 * minutes) == 0 else "failed"
        except subprocess.TimeoutExpired:
            part.terminate()
        try:
            part.wait(GRACE)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()
    return "stopped"


def main() -> None:
    """Run all parts, print the end of each output, write their table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--minutes", type=float, default=6, help="of the training")
    parser.add_argument("--config", type=Path, default=Path("config/market1501.yaml"))
    parser.add_argument("--out", type=Path, default=Path("results/gpu"))
    parser.add_argument("rest", nargs="*", help="options of `scwm benchmark`")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (minutes, command) in parts(options).items():
        start, log = time.perf_counter(), options.out / f"{name}.log"
        status = run(command, minutes, log)
        seconds = time.perf_counter() - start
        rows.append({"part": name, "status": status, "seconds": round(seconds)})
        print(*log.read_text(errors="replace").splitlines()[-30:], sep="\n", flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "check.csv", index=False)
    print(table.to_string(index=False))
    unfinished = table[table["part"] != "training"]["status"].ne("passed").any()
    sys.exit(int(unfinished or (table["status"] == "failed").any()))


if __name__ == "__main__":
    main()
