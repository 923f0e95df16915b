"""k-reciprocal re-ranking of a gallery, with the published values.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017):

    d*(p, g) = (1 - lambda) d_J(p, g) + lambda d(p, g)

d is the squared Euclidean distance of unit features, 2 - 2 cos(p, g). d_J is the Jaccard distance
of the k-reciprocal encodings among all queries and the gallery (`jaccard_distance`). It is computed
only from queries to gallery, and stored sparse. A query that is in the gallery too counts twice.
The authors' code also divides d by its maximum.
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scwm.method.pseudo_labels import jaccard_distance

K1, K2, LAMBDA = 20, 6, 0.3


def jaccard_to_gallery(query: Tensor, gallery: Tensor) -> sparse.csr_array:
    """Compute d_J from queries (Q,D) to gallery (G,D): (Q,G) sparse; an absent entry is 1.

    An image whose feature is zero, because it shows no part, has the distance 1 from all others.
    """
    both = torch.cat([query, gallery])
    shown = both.ne(0).any(1).cpu().numpy()
    places, count = np.flatnonzero(shown), int(shown[: len(query)].sum())
    if not 0 < count < len(places):
        return sparse.csr_array((len(query), len(gallery)))
    if not shown.all():
        both = both[torch.from_numpy(places).to(both.device)]
    # K1 does not count the image itself, whereas `jaccard_distance` does.
    found = jaccard_distance(both, K1 + 1, K2, rows=count)[:count, count:].tocoo()
    rows, columns = places[:count][found.coords[0]], places[count:][found.coords[1]] - len(query)
    shape = len(query), len(gallery)
    return sparse.csr_array((found.data, (rows, columns)), shape=shape)


def reranked(similarities: Tensor, jaccard: sparse.csr_array) -> Tensor:
    """Compute -d* (q,G) of cosines and d_J of the same pairs; -inf stays -inf."""
    distance = torch.ones_like(similarities)
    row = np.repeat(np.arange(jaccard.shape[0]), np.diff(jaccard.indptr))
    place = (torch.from_numpy(x).to(distance.device) for x in (row, jaccard.indices))
    distance[tuple(place)] = torch.from_numpy(jaccard.data).to(distance)
    return (LAMBDA - 1) * distance - LAMBDA * (2 - 2 * similarities)
