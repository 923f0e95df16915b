"""Every benchmark at a tiny size: ours and the reference agree, and rows become a report."""

from importlib import import_module

import pandas as pd
import pytest

from benchmarks import STAGES
from benchmarks.harness import Stage
from benchmarks.report import write_report

ALL = [stage for name in STAGES for stage in import_module(f"benchmarks.{name}").STAGES]


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_ours_agrees_with_the_reference(stage: Stage) -> None:
    ours = stage.ours(stage.inputs(stage.tiny))
    figures = stage.agreement(ours, stage.reference(stage.inputs(stage.tiny)))
    assert figures.keys() == stage.tolerance.keys() and not stage.disagreements(figures)


def test_report_has_a_table_for_each_stage_and_a_plot_of_those_that_grow(tmp_path):
    row = {"unit": "images", "threads": 1, "peak_mb": 5.0, "agreement": "labels equal 1"}
    growing = [
        {**row, "stage": "sorting", "size": n, "seconds": n / 1e4, "reference_seconds": n / 1e3}
        | {"reference_peak_mb": 50.0, "faster": 10.0}
        for n in (1000, 2000, 4000)
    ]
    single = {**row, "stage": "one_step", "size": 64, "seconds": 2.0}
    table, *plots = write_report(pd.DataFrame([*growing, single]), tmp_path)
    text = table.read_text()
    assert "| 4,000 | 0.4 | 4 | 10× | 5 | 50 | labels equal 1 |" in text
    assert "| 64 | 2 | – | – | 5 | – | – |" in text
    assert {path.name for path in plots} == {"growth.png", "growth.svg"}
