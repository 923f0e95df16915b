"""List the files that tables and figures read, for the workflow; needs neither numpy nor pandas."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.measures import locate
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.reporting.catalogue import REFERENCE, Request, methods_of

READ_OF_RUNS = ("config.yaml", "metrics.json", "history.csv", "provenance.json")
READ_OF_CONFIG = {"claims": "claims/*.yaml", "published": "published_results.csv"}
PICTURES = {"masks": "visuals.npz", "ranks": "visuals.npz", "tsne": "features.npz"}


def run_files(
    folder: str,
    datasets: Iterable[str],
    methods: Iterable[str],
    seeds: Iterable[int],
    names: Iterable[str] = READ_OF_RUNS,
) -> list[str]:
    """List these files of every run below `folder`."""
    runs = product(datasets, methods, seeds, names)
    return [f"{folder}/{data}/{method}/seed{seed}/{name}" for data, method, seed, name in runs]


def input_files(name: str, wanted: Request) -> list[str]:
    """List the files of runs that a table or figure, of `TABLES` or `PLOTS`, reads."""
    folder, datasets, methods = str(wanted.root), wanted.datasets, wanted.methods
    shown, seeds, transfer = methods_of(name, methods), wanted.seeds, wanted.transfer
    files = run_files(folder, datasets, shown, seeds)
    if name in PICTURES:
        files += run_files(folder, datasets, shown, seeds, [PICTURES[name]])
    for data in datasets:
        scores = [f"transfer/{target}.json" for target in transfer if target != data]
        if name == "transfer":
            files += run_files(folder, [data], shown, seeds, scores)
        for method, file in sorted(_of_some(name, data)):
            if method in methods and file in ("study.json", *scores):
                files += run_files(folder, [data], [method], seeds, [file])
    return files


def _of_some(name: str, dataset: str) -> set[tuple[str, str]]:
    """Find what a table or figure reads of some methods' runs only: method and file."""
    if name == "weights":
        return {(REFERENCE, "study.json")}
    if name != "claims":
        return set()
    paths = sorted((CONFIG_DIR / "claims").glob("*.yaml"))
    return {pair for path in paths for pair in _of_claim(path, dataset)}


def _of_claim(path: Path, dataset: str) -> list[tuple[str, str]]:
    """Find what a claim compares on a data set: two methods and files of their runs.

    Raises:
        ScwmError: the claim lacks a method or metric.
    """
    claim = read_yaml(path)
    try:
        if dataset not in claim.get("datasets", [dataset]):
            return []
        sides = [claim, claim | claim["against"]]
        named = [(side["method"], f"{locate(side['metric'])[0]}.json") for side in sides]
        if not all(isinstance(method, str) for method, _ in named):
            raise TypeError
        return named
    except (KeyError, TypeError) as error:
        remedy = "give method, metric and against, as in the other files of config/claims"
        raise ScwmError("The claim names no two sides.", path, remedy) from error
