"""A whole benchmark without Snakemake: the same steps and folders, one after the other."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scwm.cli.options import Parsers, command, verbosity
from scwm.core.errors import Interrupted, ScwmError

if TYPE_CHECKING:
    from scwm.core.settings import Benchmark, Config

logger = logging.getLogger(__name__)

SHOWN = ("mAP", "rank1", "seconds", "peak_memory_mib", "peak_gpu_memory_mib")


def add(parsers: Parsers) -> None:
    """Add `benchmark`."""
    whole = command(
        parsers,
        "benchmark",
        benchmark,
        "make all runs of a benchmark, or resume it, without Snakemake",
        "scwm benchmark config/market1501.yaml",
        "scwm benchmark config/market1501.yaml --results results/short \\",
        "    --weights resnet50.pt --set training.epochs=20",
    )
    whole.add_argument("config", type=Path, help="config of a benchmark, as for Snakemake")
    whole.add_argument("--results", type=Path, help="default: `results` of the config")
    whole.add_argument("--weights", type=Path, help="pretrained weights; default: fetched")
    whole.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change settings of every run; a method's own values win",
    )


def benchmark(options: argparse.Namespace) -> None:
    """`scwm benchmark`: every data set, method, variant and seed; finished runs are kept."""
    from scwm.cli.planned_runs import planned_configs, run_threads
    from scwm.core.config import load_benchmark, parse_assignments, plain
    from scwm.reporting.catalogue import transfer_pairs

    content, assigned = load_benchmark(options.config), parse_assignments(options.set)
    if content.gpu:
        os.environ["SCWM_DEVICE"] = "cuda"  # without a GPU an error, not days on a CPU
    os.environ["OMP_NUM_THREADS"] = str(run_threads(plain(content)))
    results = options.results or Path(content.results)
    for config in planned_configs(content, assigned):  # all are checked before the first run
        run = results / "runs" / config.dataset / config.method / f"seed{config.seed}"
        _run(run, config, content, options)
    pairs = transfer_pairs(content.datasets, content.transfer).values()
    for (dataset, target), seed, method in product(pairs, content.seeds, content.methods):
        _transfer(results / "runs" / dataset / method / f"seed{seed}", target, content)


def _transfer(run: Path, target: str, content: "Benchmark") -> None:
    """Score a run on another data set unless it was."""
    from scwm.core.config import load_config, named_modules
    from scwm.core.files import read_json
    from scwm.core.sources import code_hash
    from scwm.evaluation.transfer import SCORER

    config = load_config(run / "config.yaml")
    found = read_json(run / f"transfer/{target}.json")
    now = {"code_hash": code_hash([SCORER, *named_modules(config)])}
    outdated = _differs(found, now)
    store = _store(target, config, content, needed=outdated)
    if outdated or _differs(found, _content(store)):
        words = ["--", "evaluate", str(run), "--transfer", "--store", str(store)]
        _scwm("launch", f"--gpus={int(content.gpu)}", *words)


def _run(run: Path, config: "Config", content: "Benchmark", options: argparse.Namespace) -> None:
    """Make one run, or what is outdated of it: like a checkpoint, it has a key."""
    from scwm.cli.planned_runs import weights_path
    from scwm.core.config import config_hash, named_modules, write_yaml
    from scwm.core.files import file_hash, read_json
    from scwm.core.sources import code_hash
    from scwm.evaluation.evaluate import SCORER
    from scwm.training.checkpoint import TRAINER

    record, modules = run / "provenance.json", named_modules(config)
    trained, own = read_json(run / "train.json"), weights_path(config)
    weights = own and (options.weights or own)
    now = {"config_hash": config_hash(config), "code_hash": code_hash([TRAINER, *modules])}
    if weights and weights.exists():
        now["weights_hash"] = file_hash(weights)
    outdated = _differs(trained, now) or not (run / "model.pt").exists()
    scored = {"code_hash_evaluate": code_hash([SCORER, *modules])}
    due = outdated or _differs(read_json(record), now | scored)
    store = _store(config.dataset, config, content, needed=due)
    processes, gpus = content.processes, int(content.gpu)
    if outdated or _differs(trained, _content(store)):
        write_yaml(config, run / "config.yaml")
        given = options.weights or config.model.weights_file
        if weights and not given and not weights.exists():
            names = config.model.backbone, config.model.weights
            _scwm("weights", *names, "--out", str(weights))
        train = ["--", "train", str(run), "--store", str(store)]
        train += ["--weights", str(weights)] if weights else []
        _scwm("launch", f"--processes={processes}", f"--gpus={gpus * processes}", *train)
    if _differs(read_json(record), now | scored | _content(store)):
        evaluate = ["--", "evaluate", str(run), "--store", str(store)]
        _scwm("launch", f"--gpus={gpus}", *evaluate)
    shown = read_json(run / "metrics.json") | read_json(record)
    figures = {name: shown[name] for name in SHOWN if shown.get(name) is not None}
    print(json.dumps({"run": str(run), **figures}), flush=True)


def _differs(known: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a record was made from something else than what is here now."""
    return any(known.get(key) != value for key, value in now.items())


def _content(store: Path) -> dict[str, Any]:
    """Return the hash of a store's images as in a record; nothing if the store is gone."""
    from scwm.core.files import read_json

    made = read_json(store / "store.json")
    return {"data_hash": made.get("content_hash")} if made else {}


def _store(dataset: str, config: "Config", content: "Benchmark", needed: bool) -> Path:
    """Return the folder of a data set's decoded images at the size of a run's.

    It is made again if it is older than the data set or of other code, and so is a data set of
    another source, seed or renderer. What is missing is made only if it is needed.
    """
    from scwm.cli.planned_runs import source_of, store_folder
    from scwm.core.files import read_json
    from scwm.core.sources import code_hash
    from scwm.data.entries import store_sources
    from scwm.data.registry import is_current

    store, raw = store_folder(dataset, config), Path("data/raw", dataset)
    made, listed = store / "store.json", raw / "manifest.csv"
    outdated = _differs(read_json(made), {"code_hash": code_hash(store_sources(dataset))})
    if not listed.exists() and not (needed and outdated):
        return store
    source = source_of(dataset, content.sources)
    if not is_current(dataset, raw, source):
        _scwm("data", "get", dataset, *(["--source", source] if source else []), "--out", str(raw))
    if made.exists():
        needed = outdated or made.stat().st_mtime < listed.stat().st_mtime
    if needed:
        _scwm(
            "data", "store", dataset, "--root", str(raw), "--size", store.name, "--out", str(store)
        )
    return store


def _scwm(*arguments: str) -> None:
    """Run one step in its own process, which measures and frees its memory."""
    logger.info(" ".join(arguments))
    command = [sys.executable, "-m", "scwm", *verbosity(), *arguments]
    step = subprocess.Popen(command, env=os.environ)
    # The step alone would not learn of a request to stop that only this process gets.
    before = {
        number: signal.signal(number, lambda number, _: step.send_signal(number))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        status = step.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status in (75, -signal.SIGTERM, -signal.SIGUSR1):
        raise Interrupted("The benchmark was stopped.", remedy="call the same command again")
    if status:
        raise ScwmError("A step of the benchmark failed.", " ".join(arguments), "see above")
