"""Every benchmark at a tiny size: ours and the reference agree, and rows become a report."""

import argparse
import json
import sys
from importlib import import_module

import pandas as pd
import pytest
import torch

from benchmarks import STAGES, clusterings, gpu, gpu_check
from benchmarks.harness import Stage
from benchmarks.report import write_report
from scwm.cli.main import build_parser
from scwm.core.config import merge
from scwm.core.yaml_files import CONFIG_DIR, read_yaml

ALL = [stage for name in STAGES for stage in import_module(f"benchmarks.{name}").STAGES]
ALL = [stage for stage in ALL if stage.name != "job_start"]  # which computes nothing

HARDWARE = {"processor": "a CPU", "cores": 2, "instruction_sets": "avx2 (torch: AVX2)"}


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: stage.name)
def test_ours_agrees_with_the_reference(stage: Stage) -> None:
    ours = stage.ours(stage.inputs(stage.tiny))
    figures = stage.agreement(ours, stage.reference(stage.inputs(stage.tiny)))
    assert figures.keys() == stage.tolerance.keys() and not stage.disagreements(figures)


@pytest.mark.parametrize("name", clusterings.CLUSTERINGS.names())
def test_every_clustering_finds_most_identities(name):
    row = clusterings.measured(name, 1380)
    assert row["ari"] > 60 and 40 < row["clusters"] < 100  # of 80 identities


def test_report_has_a_table_for_each_stage_and_a_plot_of_those_that_grow(tmp_path):
    row = {"unit": "images", "threads": 1, "peak_mb": 5.0, "agreement": "labels equal 1"}
    growing = [
        {**row, "stage": "sorting", "size": n, "seconds": n / 1e4, "reference_seconds": n / 1e3}
        | {"reference_peak_mb": 50.0, "faster": 10.0}
        for n in (1000, 2000, 4000)
    ]
    single = {**row, "stage": "one_step", "size": 64, "seconds": 2.0}
    table, *plots = write_report(pd.DataFrame([*growing, single]), HARDWARE, tmp_path)
    text = table.read_text()
    assert "| 4,000 | 0.4 | 4 | 10× | 5 | 50 | labels equal 1 |" in text
    assert text.startswith("Measured on: a CPU, 2 cores, avx2 (torch: AVX2).")
    assert "| 64 | 2 | – | – | 5 | – | – |" in text
    assert {path.name for path in plots} == {"growth.png", "growth.svg"}


TOY = {
    "model": {"backbone": "mobilenet_v2", "weights": "none", "image_size": [64, 32]},
    "training": {"identities": 2, "instances": 2, "iterations": 1, "virtual_batch": 0},
}


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_and_maps_of_the_gpu_benchmark_are_stored_as_it_says(channels_last):
    settings = merge(read_yaml(CONFIG_DIR / "market1501.yaml")["settings"], TOY)
    seen = []
    with gpu.only(channels_last, resident=False):
        trainer, epoch = gpu.prepared("scwm", settings, images=160, count=1)
        stage = trainer.network.backbone.stages[1]
        stage.register_forward_hook(
            lambda *given: seen.append(given[2].is_contiguous(memory_format=torch.channels_last))
        )
        trainer.run_steps(epoch)
    assert seen == [channels_last]


def test_gpu_benchmark_runs_on_a_cpu_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "SETTINGS", {"float32": ("float32", False, False)})
    words = f"gpu --backbones mobilenet_v2 --images 160 --steps 1 --out {tmp_path} --set"
    assigned = [f"{key}={json.dumps(value)}" for key, value in TOY.items()]
    monkeypatch.setattr(sys, "argv", [*words.split(), *assigned])
    gpu.main()
    (row,) = pd.read_csv(tmp_path / "gpu.csv").to_dict("records")
    assert row["setting"] == "float32" and row["images_per_second"] > 0
    (epoch,) = pd.read_csv(tmp_path / "gpu_epoch.csv").to_dict("records")
    stages = sum(epoch[name] for name in ("features", "pseudo_labels", "parsing"))
    assert epoch["share_beside_steps"] == pytest.approx(stages / (stages + epoch["steps"]))


def test_gpu_check_runs_every_part_and_stops_what_takes_too_long(tmp_path, monkeypatch, capsys):
    wait = ["timeit", "-n1", "-r1", "import time; time.sleep(60)"]
    parts = {
        "tests": (1, ["no_such_module"]),
        "speed": (1, ["timeit", "-n1", "1"]),
        "training": (0.02, wait),
    }
    monkeypatch.setattr(gpu_check, "parts", lambda options: parts)
    monkeypatch.setattr("sys.argv", ["gpu_check", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        gpu_check.main()
    table = pd.read_csv(tmp_path / "check.csv").set_index("part")["status"].to_dict()
    assert end.value.code == 1
    assert table == {"tests": "failed", "speed": "passed", "training": "stopped"}
    assert "no_such_module" in (tmp_path / "tests.log").read_text()


def test_gpu_check_names_commands_that_exist(tmp_path):
    options = argparse.Namespace(out=tmp_path, config=CONFIG_DIR / "market1501.yaml")
    options.minutes, options.rest = 6, ["--set", "training.epochs=20"]
    commands = {name: command for name, (_, command) in gpu_check.parts(options).items()}
    assert (CONFIG_DIR.parent / commands["tests"][-1]).is_dir()
    parsed = build_parser().parse_args(commands["training"][1:])
    assert parsed.config.exists() and parsed.set == ["training.epochs=20"]
