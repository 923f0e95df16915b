"""List the files that tables and figures read, for the workflow; needs neither numpy nor pandas."""

from collections.abc import Iterable, Sequence
from itertools import product

from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.reporting.catalogue import REFERENCE, methods_of

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


def input_files(
    name: str, folder: str, datasets: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """List the files of runs below `folder` that a table or figure reads.

    Args:
        name: of `TABLES` or `PLOTS`.
        methods: of the benchmark, variants among them.
    """
    shown = methods_of(name, methods)
    files = run_files(folder, datasets, shown, seeds)
    if name in PICTURES:
        files += run_files(folder, datasets, shown, seeds, [PICTURES[name]])
    studied = {data: _studied(name, data) & set(methods) for data in datasets}
    for data, own in studied.items():
        files += run_files(folder, [data], sorted(own), seeds, ["study.json"])
    return files


def _studied(name: str, dataset: str) -> set[str]:
    """Find the methods whose study.json a table or figure reads."""
    if name == "weights":
        return {REFERENCE}
    if name != "claims":
        return set()
    claims = [read_yaml(path) for path in (CONFIG_DIR / "claims").glob("*.yaml")]
    return {
        claim["method"]
        for claim in claims
        if claim["metric"].startswith("study:") and dataset in claim.get("datasets", [dataset])
    }
