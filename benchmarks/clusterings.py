"""Agreement, time and memory of every clustering on made-up features, as a Markdown table.

    python -m benchmarks.clusterings [SIZE ...]

The seconds are processor time of one thread without that of the distance. Each clustering runs in
a process of its own, whose peak memory includes the distance.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from sklearn.metrics import adjusted_rand_score

from benchmarks.inputs import features, identities
from scwm.core.plugins import CLUSTERINGS
from scwm.method.pseudo_labels.jaccard import jaccard_distance

SIZES = (1_380, 12_936, 100_000)
DIMENSION = 256
EPS = {"average_linkage": 0.8}  # of the others 0.6; a mean distance is larger than a radius
K1, K2, MIN_SAMPLES = 30, 6, 4


def measured(name: str, count: int) -> dict[str, float]:
    """Cluster `count` images; unclustered ones (-1) count as one cluster in the ARI, in percent."""
    torch.set_num_threads(1)
    module, eps = CLUSTERINGS.load(name), EPS.get(name, 0.6)
    owner = identities(count)
    most = getattr(module, "LARGEST_DISTANCE", eps)
    near = jaccard_distance(features(owner, DIMENSION), K1, K2, max_distance=most)
    start = time.process_time()
    labels = module.cluster(near, eps, MIN_SAMPLES)
    seconds = time.process_time() - start
    return {
        "ari": 100 * float(adjusted_rand_score(owner, labels)),
        "clusters": int(labels.max()) + 1,
        "seconds": seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    """Print a row for each size and clustering, as they come in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clusterings", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="SIZE")
    print("| images | clustering | ARI | clusters | seconds | peak GB |")
    print("|--:|:--|--:|--:|--:|--:|")
    for count in parser.parse_args().sizes:
        for name in CLUSTERINGS.names():
            spawned = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawned) as pool:
                row = pool.submit(measured, name, count).result()
            cells = "{ari:.1f} | {clusters:,} | {seconds:.2g} | {gigabytes:.1f}".format(**row)
            print(f"| {count:,} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
