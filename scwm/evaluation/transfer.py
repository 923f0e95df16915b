"""The scores of one run on another data set, without training on it."""

from pathlib import Path

import numpy as np

from scwm.core.config import named_modules
from scwm.core.files import write_json
from scwm.core.sources import code_hash
from scwm.data.store import ImageStore
from scwm.evaluation import mean_scores
from scwm.evaluation.evaluate import (
    describe_ranking,
    embed_sides,
    rank_queries,
)

SCORER = "evaluation/transfer.py"


def transfer(run: Path, store: ImageStore, rerank: bool = False) -> Path:
    """Rank the query and gallery of another data set and write `run`/transfer/DATASET.json.

    In place of features, which take up to a gigabyte, the file keeps the average precision of each
    query (None without a match) by the feature that tables score. With `rerank` it also holds both
    of the re-ranked gallery.
    """
    _, config, sides = embed_sides(run, store)
    scores = rank_queries(sides)
    found = describe_ranking(config, store, scores)
    default = found["default_feature"]
    found |= {
        "dataset": store.info["dataset"],
        "data_hash": store.info["content_hash"],
        "code_hash": code_hash([SCORER, *named_modules(config)]),
        "average_precision": _known(scores[default]["mAP"]),
    }
    if rerank:
        (again,) = rank_queries(sides, default, rerank=True).values()
        found["reranked"] = mean_scores(again)
        found["reranked_average_precision"] = _known(again["mAP"])
    path = run / "transfer" / f"{store.info['dataset']}.json"
    write_json(found, path)
    return path


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(one) else float(one) for one in values]
