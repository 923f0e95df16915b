"""Examples of a run for figures: rank lists and part masks."""

import numpy as np
import torch
from torch import Tensor

from scwm.data.labels import labelled
from scwm.data.store import StoreSplit
from scwm.evaluation.ranking import ranked_lists
from scwm.models.embedding import Embedding

EXAMPLE_QUERIES, EXAMPLE_MASKS = 8, 12


def spread(split: StoreSplit, count: int) -> np.ndarray:
    """Choose evenly spread rows of a split, by true masks those of people whom no border cuts."""
    rows = np.arange(len(split))
    if split.masks is not None:
        sides = (split.masks[:, [0, -1]], split.masks[:, :, [0, -1]])
        cut = np.any([side.any((1, 2)) for side in sides], axis=0)
        rows = rows[~cut] if (~cut).sum() >= count else rows
    chosen: np.ndarray = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))]
    return chosen


def rank_examples(
    query: StoreSplit, gallery: StoreSplit, query_features: Tensor, gallery_features: Tensor
) -> dict[str, np.ndarray]:
    """Compute rank lists of some queries, by features (Q,D) and (G,D).

    Without identities only the query's own file is left out, and what is correct is unknown.
    """
    ids, cameras = (query.ids, gallery.ids), (query.cameras, gallery.cameras)
    known = all(map(labelled, ids))
    if not known:  # each file counts as an identity of its own
        files = np.unique([*query.paths, *gallery.paths], return_inverse=True)[1]
        ids = files[: len(query)], files[len(query) :]
        cameras = 0 * ids[0], 0 * ids[1]
    rows = spread(query, EXAMPLE_QUERIES)
    index, score, correct = ranked_lists(
        query_features[torch.from_numpy(rows).to(query_features.device)],
        ids[0][rows],
        cameras[0][rows],
        gallery_features,
        ids[1],
        cameras[1],
        top=10,
    )
    found = {"rank_correct": correct} if known else {}
    return found | {
        "rank_query": np.array(query.images[rows]),
        "rank_gallery": np.where((index >= 0)[..., None, None, None], gallery.images[index], 0),
        "rank_score": np.asarray(score, dtype=np.float32),
    }


def mask_examples(split: StoreSplit, embedding: Embedding) -> dict[str, np.ndarray]:
    """Collect some images of a split with predicted part labels and true masks."""
    rows = spread(split, EXAMPLE_MASKS)
    examples = {"mask_images": np.array(split.images[rows])}
    if embedding.part_labels is not None:
        examples["mask_parts"] = embedding.part_labels.cpu().numpy()[rows]
    if split.masks is not None:
        examples["mask_truth"] = np.array(split.masks[rows])
    return examples
