"""What an edit makes the workflow redo, and what a killed one leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow_copy import STUB, planned, snakemake, stubbed_copy

from scwm import reporting
from scwm.core.files import write_json
from scwm.core.freeze import Freeze


@pytest.fixture
def stubbed(tmp_path: Path) -> Path:
    """A copy of the project with the stand-in command line, which is not frozen."""
    copy = stubbed_copy(tmp_path)
    (copy / "config/frozen.json").unlink(missing_ok=True)
    people = copy / "config/datasets/mannequins.yaml"
    people.write_text(people.read_text().replace(", seed: frozen", ""))
    return copy


def test_edits_redo_what_depends_on_them(stubbed: Path) -> None:
    """One run of the whole graph with a stand-in command line, then one edit after another."""
    source = "data/it's here; $HOME"
    select = [
        *("--configfile", "config/ci.yaml", "--config", "seeds=[0]"),
        "methods=[scwm,hard_memory]",
        f'sources={{mannequins_tiny: "{source}"}}',
        "transfer=[mannequins]",
    ]

    done = snakemake(stubbed, "--cores", "2", *select)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (stubbed / "results/logs/get_dataset/mannequins_tiny.log").read_text()
    assert source in log  # one argument, untouched by the shell

    def jobs_after(*paths: str, text: str = "\n# edited\n") -> dict[str, int]:
        """Jobs once these files, which need not be there yet, end with `text`."""
        files = [stubbed / path for path in paths]
        before = [file.read_text() if file.exists() else None for file in files]
        for file, old in zip(files, before, strict=True):
            file.write_text((old or "") + text)
        jobs = planned(stubbed, *select)
        for file, old in zip(files, before, strict=True):
            file.unlink() if old is None else file.write_text(old)
        return jobs

    def after_editing(*paths: str) -> set[str]:
        return set(jobs_after(*paths)) - {"total"}

    # What no run of the config names, some of it new, and settings that are the same as before.
    assert after_editing(
        *("config/methods/stripes.yaml", "config/methods/new.yaml", "scwm/data/layouts/msmt17.py"),
        *("scwm/data/layouts/new.py", "scwm/method/parsing/foreground_corrections/new.py"),
        *("scwm/models/backbones/new.py", "scwm/models/backbones/resnet50.py"),
        *("scwm/inference/templates/crops.html", "config/methods/scwm.yaml"),
        "scwm/core/settings.py",
    ) == set()  # fmt: skip
    # A default that one of the two runs has.
    declared = stubbed / "scwm/core/settings.py"
    text = declared.read_text()
    declared.write_text(text.replace('Strategy = "hard_mining"', 'Strategy = "uniform"'))
    assert planned(stubbed, *select)["train"] == 1  # `hard_memory` has a strategy of its own
    declared.write_text(text)
    after_training = {"evaluate", "transfer", "study", "table", "plot", "page", "all"}
    transferred = after_editing("scwm/evaluation/transfer.py")
    assert transferred == after_training - {"evaluate", "study"}
    assert after_editing("config/published_results.csv") == {"table", "page", "all"}
    assert after_editing("scwm/method/losses.py") == {"train", *after_training}
    assert after_editing("config/claims/space_map.yaml") == {"table", "plot", "page", "all"}
    assert after_editing("scwm/reporting/tables/tables.py") == {"table", "plot", "page", "all"}
    renderer = min((stubbed / "scwm/data/mannequins").glob("*.py")).relative_to(stubbed)
    assert after_editing(str(renderer)) >= {"get_dataset", "build_store", "train"}

    # Of the modules that are found by name, a run depends on those that its config names.
    new = after_editing("scwm/method/strategies/new.py")
    assert new == after_training - {"evaluate", "transfer"}
    assert jobs_after("scwm/method/strategies/hardest.py")["train"] == 1  # `hard_memory`
    assert after_editing("scwm/data/layouts/market1501.py") >= {"build_store", "train"}

    # Where a run is made decides nothing: not its GPUs, nor how many processes share it.
    place = ("gpu=True", "processes=2", "threads_per_run=2")
    assert set(planned(stubbed, *select, *place)) - {"total"} == set()

    # A run that is gone leaves a gap in `partial`, which trains nothing.
    (stubbed / "results/ci/runs/mannequins_tiny/scwm/seed0/metrics.json").unlink()
    jobs = planned(stubbed, "partial", *select)
    assert set(jobs) - {"total"} == {"partial"}
    done = snakemake(stubbed, "--cores", "1", "partial", *select)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (stubbed / "results/ci/logs/partial.log").read_text()
    made = [json.loads(line) for line in log.splitlines()]
    assert all("--partial" in words for words in made) and made[-1][0] == "page"
    assert ["table", "main"] in [words[:2] for words in made]
    assert ["plot", "curves"] in [words[:2] for words in made]


def test_a_copy_of_a_finished_checkout_has_nothing_to_do(stubbed: Path) -> None:
    """Of `cp -r`, which gives files new times, in the order of a folder's entries."""
    stub = stubbed / "scwm/cli/main.py"
    stub.write_text(STUB.replace('write_text("")', 'write_text("x" * 2_000_000)'))
    select = ["--configfile", "config/ci.yaml", "--config", "methods=[scwm]", "seeds=[0]"]
    done = snakemake(stubbed, "--cores", "2", *select)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = stubbed / "copy"
    for name in ("config", "scwm", "workflow", "data", "results", ".snakemake"):
        shutil.copytree(stubbed / name, copy / name, copy_function=shutil.copyfile)
    for number, file in enumerate(sorted(copy.glob("results/**/*"), reverse=True)):
        os.utime(file, (1e9 + number, 1e9 + number))
    assert planned(copy, *select) == {}
    (copy / "data/stores/mannequins_tiny/128x64/images.npy").write_text("other")
    assert planned(copy, *select)["train"] == 1


def test_a_checkout_in_a_folder_with_braces_works(tmp_path: Path) -> None:
    (tmp_path / "br{ace}").mkdir()
    copy = stubbed_copy(tmp_path / "br{ace}")
    people = copy / "config/datasets/mannequins.yaml"
    people.write_text(people.read_text().replace(", seed: frozen", ""))
    made = "results/runs/mannequins/scwm/seed0/config.yaml"
    done = snakemake(copy, "--cores", "1", made)
    assert done.returncode == 0 and (copy / made).exists(), done.stdout + done.stderr
    (tmp_path / "elsewhere").mkdir()
    done = snakemake(tmp_path / "elsewhere", "-s", "../br{ace}/workflow/Snakefile", "-n")
    assert done.returncode != 0 and "Call it in that folder" in done.stdout + done.stderr


def test_another_data_set_that_is_missing_fails_only_its_own_scores(stubbed: Path) -> None:
    stub = stubbed / "scwm/cli/main.py"
    stub.write_text("import sys; assert sys.argv[3] != 'market1501', 'no archive'\n" + STUB)
    select = ["methods=[scwm,pretrained]", "seeds=[0]", "transfer=[market1501]"]
    done = snakemake(stubbed, "--configfile", "config/ci.yaml", "--config", *select)
    told, results = done.stdout + done.stderr, stubbed / "results/ci"
    assert done.returncode != 0 and "no archive" in told
    assert "Data set market1501 (Market-1501) cannot be used yet." in told
    made = {path.stem for path in results.glob("[tp]*/*.*")}
    assert made == {*reporting.TABLES, *reporting.PLOTS} - {"transfer"}
    assert not (results / "report.html").exists()


def test_a_freeze_makes_only_what_depends_on_it_again(stubbed: Path) -> None:
    """Its hash decides the people; what else it says stands in tables and report."""
    one_run = ["--config", "methods=[scwm]", "seeds=[0]"]
    select = ["--configfile", "config/ci.yaml", *one_run]
    people = stubbed / "config/datasets/mannequins_tiny.yaml"
    people.write_text(people.read_text().replace("preset: tiny", "preset: tiny, seed: frozen"))

    def freeze(commit: str, content: str) -> None:
        found = Freeze(commit, {"config/claims/space_map.yaml": content})
        write_json(found.content(), stubbed / "config/frozen.json")

    done = snakemake(stubbed, "--cores", "1", *select)
    assert done.returncode != 0 and "run `scwm freeze`" in done.stdout + done.stderr
    freeze("a" * 40, "1")
    done = snakemake(stubbed, "--cores", "1", *select)
    assert done.returncode == 0, done.stdout + done.stderr
    freeze("b" * 40, "1")
    assert set(planned(stubbed, *select)) - {"total"} == {"table", "page", "all"}
    freeze("a" * 40, "1")
    assert set(planned(stubbed, *select)) - {"total"} == set()
    freeze("a" * 40, "2")
    assert set(planned(stubbed, *select)) >= {"get_dataset", "build_store", "train", "table"}


def test_killed_workflow_leaves_nothing_to_unlock(stubbed: Path) -> None:
    """A second run in the folder is refused while the first lives, and no longer."""
    made = "results/ci/runs/mannequins_tiny/scwm/seed0/config.yaml"
    select = [made, "--cores", "1", "--configfile", "config/ci.yaml"]
    stub, started = stubbed / "scwm/cli/main.py", stubbed / "started"
    stub.write_text(f"import time; open({str(started)!r}, 'w'); time.sleep(60)\n" + STUB)
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *select],
        cwd=stubbed,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not started.exists():
        assert first.poll() is None
        time.sleep(0.05)
    refused = snakemake(stubbed, *select)
    told = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"Another run (process {first.pid}) works in this folder" in told
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    stub.write_text(STUB)
    done = snakemake(stubbed, *select)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (stubbed / made).exists()
