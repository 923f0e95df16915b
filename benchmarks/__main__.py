"""Measure stages and write results/performance: `python -m benchmarks [STAGE ...]`."""

import argparse
import json
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks import STAGES
from benchmarks.harness import measure
from benchmarks.report import write_report
from scwm.core.progress import progress
from scwm.core.provenance import describe_machine


def main() -> None:
    """Measure the stages named, keep what was measured of others, write table and plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[[], *STAGES], help="default: all")
    parser.add_argument("--out", type=Path, default=Path("results/performance"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "stages.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    for name in arguments.stages or STAGES:
        for stage in import_module(f"benchmarks.{name}").STAGES:
            rows = [row for row in rows if row["stage"] != stage.name]
            for row in progress(measure(stage), stage.name, len(stage.sizes)):
                rows.append(row)
                pd.DataFrame(rows).to_csv(file, index=False)
    machine = describe_machine()
    text = json.dumps(machine, indent=2, sort_keys=True)
    (arguments.out / "machine.json").write_text(text + "\n")
    for path in write_report(pd.DataFrame(rows), machine["hardware"], arguments.out):
        print(path)


if __name__ == "__main__":
    main()
