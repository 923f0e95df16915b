"""Cascaded clustering, compared with a library's k-means call per identity and step."""

from dataclasses import dataclass, replace

import faiss
import numpy as np
import torch
from scipy import ndimage
from scipy.special import logit
from sklearn.metrics import adjusted_rand_score

from benchmarks.harness import Stage
from benchmarks.inputs import identities
from scwm.core.allocator import keep_freed_memory
from scwm.method.parsing import cascaded_clustering
from scwm.method.parsing.space_corrections.body_rows import WEIGHT as SPACE_WEIGHT

PARTS, CHANNELS, STEPS = 6, 256, 20
CUTS = np.array([0.0, 0.13, 0.3, 0.48, 0.66, 0.88, 1.0])  # of a body's height, head to feet
HALF_WIDTHS = np.array([0.45, 1.0, 0.95, 0.8, 0.65, 0.6])
NOISE = 2**14  # rows of noise, from which each image takes some


@dataclass(frozen=True)
class People:
    """Pixel features (N,C,H,W) float16, channels last in memory as a network gives them, and the
    identity (N,) of each image."""

    maps: torch.Tensor
    groups: np.ndarray


def small_maps(count: int) -> People:
    return people(count, 16, 8)


def large_maps(count: int) -> People:
    """At the 64×32 cells of ISP's own maps."""
    return people(count, 64, 32)


def people(count: int, height: int, width: int, seed: int = 0) -> People:
    """Made-up pixel features of people: look-alike heads and feet, parts of weak activation."""
    keep_freed_memory()
    groups = identities(count)
    truth = bodies(count, height, width, seed)
    random = torch.Generator().manual_seed(seed)

    spectrum = torch.arange(1, CHANNELS + 1) ** -0.5  # decays as that of a network's features

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, CHANNELS, generator=random) * spectrum / spectrum.norm()

    shared = normal(PARTS + 1)
    shared[PARTS] = 0.8 * shared[1] + 0.6 * shared[PARTS]  # shoes look like hair
    looks = 0.7 * normal() + 0.6 * shared + 0.7 * normal(int(groups.max()) + 1, PARTS + 1)
    noise = 1.4 * normal(NOISE + height * width)
    scenes = normal(count)
    weak = torch.rand(count, PARTS + 1, generator=random) < 0.3
    strength = torch.where(weak, 0.55, 1.0) * (0.8 + 0.4 * torch.rand(count, 1, generator=random))
    strength[:, 0] = 0.5
    start = torch.randint(NOISE, (count,), generator=random)
    cells = torch.empty(count, height, width, CHANNELS, dtype=torch.float16)
    for i, part in enumerate(torch.from_numpy(truth).flatten(1)):
        look = looks[groups[i]].clone()
        look[0] += scenes[i]
        x = look[part].add_(noise[start[i] : start[i] + len(part)])
        cells[i] = x.mul_(8 * strength[i, part, None]).view(height, width, CHANNELS)
    return People(cells.permute(0, 3, 1, 2), groups)


def bodies(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Part (N,H,W) of each cell, 0 = background: bodies moved about and of several sizes."""
    chance = np.random.default_rng(seed)
    top, bottom = chance.uniform(0, 0.12, (count, 1)), chance.uniform(0.85, 1, (count, 1))
    middle, half = chance.uniform(0.4, 0.6, (count, 1)), chance.uniform(0.2, 0.32, (count, 1))
    row = ((np.arange(height) + 0.5) / height - top) / (bottom - top)
    part = np.searchsorted(CUTS, row, side="right")  # (N,H)
    reach = np.append(0, np.append(HALF_WIDTHS, 0))[part] * half
    column = np.abs((np.arange(width) + 0.5) / width - middle)
    return np.where(column[:, None] < reach[:, :, None], part[:, :, None], 0)


def our_parts(data: People) -> np.ndarray:
    return cascaded_clustering(data.maps, data.groups, PARTS).numpy()


def our_isp_parts(data: People) -> np.ndarray:
    return cascaded_clustering(data.maps, data.groups, PARTS, False, False).numpy()


def library_parts(data: People, corrections: bool = True) -> np.ndarray:
    """ISP's two steps identity by identity, and the corrections as docs/method.md defines them."""
    count, channels, height, width = data.maps.shape
    x = data.maps.permute(0, 2, 3, 1).reshape(count, -1, channels).float().numpy()
    norm = np.linalg.norm(x, axis=2)
    active = norm / norm.max(1, keepdims=True)
    members = [np.flatnonzero(data.groups == g) for g in range(data.groups.max() + 1)]
    foreground = np.zeros(active.shape, dtype=bool)
    for images in members:
        values = active[images].reshape(-1, 1)
        start = np.array([[values.min()], [values.max()]])
        foreground[images] = (kmeans(values, start) == 1).reshape(len(images), -1)
    x /= norm[:, :, None]
    if corrections:
        foreground = corrected(x, foreground.reshape(count, height, width)).reshape(count, -1)
        labels = parts_in_space(x, foreground, members, height)
    else:
        labels = np.zeros(foreground.shape, dtype=int)
        draw = torch.rand(count, height * width, generator=torch.Generator().manual_seed(0))
        for images in members:
            inside, found = foreground[images], np.zeros((len(images), height * width), dtype=int)
            chosen = np.argsort(-draw.numpy()[images][inside])[:PARTS]
            own = x[images][inside]
            found[inside] = kmeans(own, own[chosen]) + 1
            labels[images] = by_height(found, height)
    return labels.reshape(count, height, width).astype(np.uint8)


def library_isp_parts(data: People) -> np.ndarray:
    return library_parts(data, corrections=False)


def kmeans(x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Clusters (M,) of the rows of `x` by faiss."""
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(x)}
    model = faiss.Kmeans(x.shape[1], len(start), niter=STEPS, **limits)
    model.train(np.ascontiguousarray(x), init_centroids=start)
    return model.index.search(np.ascontiguousarray(x), 1)[1][:, 0]


def by_height(labels: np.ndarray, height: int) -> np.ndarray:
    """Labels (n,H·W) above 0 renumbered by mean row."""
    row = np.arange(labels.shape[1]) // (labels.shape[1] // height)
    rows = np.broadcast_to(row, labels.shape)
    used = np.unique(labels[labels > 0])
    rank = np.zeros(PARTS + 1, dtype=int)
    rank[sorted(used, key=lambda k: rows[labels == k].mean())] = np.arange(len(used)) + 1
    return rank[labels]


def corrected(x: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The foreground (N,H,W) after its correction, of unit features (N,H·W,C)."""
    height, width = foreground.shape[1:]
    pixels = x.reshape(-1, x.shape[2])
    centre = pixels.mean(0)
    spread = pixels.T @ pixels / len(pixels) - np.outer(centre, centre)

    def log_odds(mask: np.ndarray) -> np.ndarray:
        share = mask.mean()
        inner = pixels[mask.ravel()].mean(0) - centre
        outer = -share / (1 - share) * inner
        within = spread - share * np.outer(inner, inner) - (1 - share) * np.outer(outer, outer)
        within += 0.1 * np.diag(within).mean() * np.eye(len(within))
        weights = np.linalg.solve(within, inner - outer)
        return (pixels @ weights - weights @ ((inner + outer) / 2 + centre)).reshape(mask.shape)

    middle = np.zeros(foreground.shape, dtype=bool)
    margin = max(height // 16, 1)
    middle[:, margin : height - margin, width // 4 : width - width // 4] = True
    decided = log_odds(foreground) + log_odds(middle) > 0
    for number in range(5):
        share = decided.mean(0)
        place = logit(np.clip((share + share[:, ::-1]) / 2, 0.02, 0.98))
        odds = log_odds(decided) + 0.5 * place
        decided = odds > (0.3 * np.median(odds[odds > 0]) if number >= 2 else 0)
    for i, mask in enumerate(decided):
        pieces, _ = ndimage.label(mask, np.ones((3, 3)))
        enough = np.bincount(pieces.ravel()) >= 0.15 * mask.sum()
        decided[i] = ndimage.binary_fill_holes(mask & enough[pieces])
    return decided


def parts_in_space(
    x: np.ndarray, foreground: np.ndarray, members: list[np.ndarray], height: int
) -> np.ndarray:
    """Part labels (N,H·W) of unit features, by Lloyd's steps identity by identity, with the space
    correction's mean rows and deviations taken over all of them between the steps."""
    count, cells = foreground.shape
    used = foreground.reshape(count, height, -1).any(2)
    top, bottom = used.argmax(1)[:, None], height - used[:, ::-1].argmax(1)[:, None]
    row = ((np.arange(cells) // (cells // height) + 0.5) - top) / (bottom - top)
    row = np.where(foreground, row, 0)
    owner = [(images, foreground[images]) for images in members]
    features = [x[images][inside] for images, inside in owner]
    rows = [row[images][inside] for images, inside in owner]
    labels = [np.minimum((r * PARTS).astype(int), PARTS - 1) for r in rows]
    for _ in range(STEPS):
        every_row, every_label = np.concatenate(rows), np.concatenate(labels)
        means = np.array([every_row[every_label == k].mean() for k in range(PARTS)])
        deviations = np.array([every_row[every_label == k].std() for k in range(PARTS)])
        deviations = np.maximum(deviations, 0.05)
        before = labels
        labels = [
            nearest(f, r, label, means, deviations)
            for f, r, label in zip(features, rows, labels, strict=True)
        ]
        if all(np.array_equal(a, b) for a, b in zip(before, labels, strict=True)):
            break
    found = np.zeros(foreground.shape, dtype=int)
    for (images, inside), label in zip(owner, labels, strict=True):
        whole = np.zeros(inside.shape, dtype=int)
        whole[inside] = label + 1
        found[images] = whole
    return by_height(found, height)


def nearest(
    features: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    means: np.ndarray,
    deviations: np.ndarray,
) -> np.ndarray:
    """One of Lloyd's steps for an identity's pixels: their new labels (M,)."""
    cost = np.full((len(features), PARTS), np.inf)
    for k in np.unique(labels):
        centroid = features[labels == k].mean(0)
        place = ((rows - means[k]) / deviations[k]) ** 2 + np.log(deviations[k] ** 2)
        cost[:, k] = ((features - centroid) ** 2).sum(1) + SPACE_WEIGHT * place
    return cost.argmin(1)


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    return {"adjusted_rand": float(adjusted_rand_score(theirs.ravel(), ours.ravel()))}


CORRECTED = Stage(
    name="pixel_clustering",
    unit="images of 16×8 cells",
    sizes=(1_000, 3_368, 12_936),
    reference_sizes=(1_000, 3_368, 12_936),
    tiny=60,
    inputs=small_maps,
    ours=our_parts,
    reference=library_parts,
    agreement=agreement,
    tolerance={"adjusted_rand": 0.02},
)
STAGES = (
    CORRECTED,
    replace(
        CORRECTED, name="pixel_clustering_isp", ours=our_isp_parts, reference=library_isp_parts
    ),
    replace(
        CORRECTED,
        name="pixel_clustering_64x32",
        unit="images of 64×32 cells",
        sizes=(1_000, 3_000, 12_936),
        reference_sizes=(1_000, 3_000),
        tiny=20,
        inputs=large_maps,
    ),
)
