"""Test features of a few identities on a plane (t-SNE), by identity and by camera."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scwm.reporting.figures.galleries import first_found
from scwm.reporting.figures.style import PARTS, dataset_panels, say
from scwm.reporting.runs import Run, Runs

METHODS = ("pretrained", "global_only", "scwm")
IDENTITIES = 12
PERPLEXITY = 30.0
FEWEST = 4  # images; fewer make no useful plane
SIDE = 2.1  # inches of a panel
MARKERS = "o^sDvPX<>"  # as many as have no divisor in common with the colours: 72 pairs


def tsne_panels(runs: Runs, partial: bool = False) -> Figure:
    """Draw gallery images of the largest identities for `METHODS`, first seed.

    One row is coloured by identity, one by camera. The feature is the feature of the tables.
    """
    methods = [method for method in METHODS if method in runs.methods]
    gaps, found = list(runs.gaps), []
    for dataset in runs.datasets:
        maps, more = first_found(runs, dataset, methods, _read, partial)
        found.append({method: own for method, own in maps.items() if len(own[0]) >= FEWEST})
        gaps += more
    gaps = [gap for gap in gaps if gap.method in methods]
    heights = [2 * SIDE + 1.0 if maps else 1.2 for maps in found]
    across = max([len(maps) for maps in found] + [2])
    figure, strips = dataset_panels(runs.datasets, max(SIDE * across + 0.5, 5.5), heights, gaps)
    for strip, maps in zip(strips, found, strict=True):
        if not maps:
            say(strip.subplots(), f"no stored features of known identities of {', '.join(METHODS)}")
            continue
        panels = strip.subplots(2, len(maps), squeeze=False)
        for column, (method, (points, ids, cameras)) in zip(panels.T, maps.items(), strict=True):
            column[0].set_title(method, fontweight="bold")
            _scatter(column[0], points, ids)
            _scatter(column[1], points, cameras)
        panels[0, 0].set_ylabel("by identity")
        panels[1, 0].set_ylabel("by camera")
        cameras = np.unique(next(iter(maps.values()))[2])  # the gallery is the same for all
        handles = [
            Line2D([], [], linestyle="", color=colour, marker=marker, label=_name(camera))
            for camera, (colour, marker) in zip(cameras, _looks(len(cameras)), strict=True)
        ]
        strip.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1)
    return figure


def _read(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (N,2), identities and cameras (N,) of the chosen gallery images; -1 = unknown."""
    # Imported here: it loads torch, which takes seconds, and most figures do without it.
    from scwm.evaluation.sides import read_features

    embedding, ids, cameras = read_features(run.folder / "features.npz")["gallery"]
    chosen = np.isin(ids, largest(ids))
    features = embedding.features()[run.metrics["default_feature"]].numpy()[chosen]
    points = plane(features) if len(features) >= FEWEST else features
    return points, ids[chosen], cameras[chosen].clip(-1)


def largest(ids: np.ndarray) -> np.ndarray:
    """Select at most `IDENTITIES` identities (I,) with the most images, without distractors."""
    names, counts = np.unique(ids[ids > 0], return_counts=True)
    return names[np.argsort(-counts, kind="stable")][:IDENTITIES]


def plane(features: np.ndarray) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, JMLR 2008) of features (N,D), the same each time: (N,2)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    with threadpool_limits(1):  # sums over threads come out in another order each time
        model = TSNE(perplexity=perplexity, init="pca", random_state=0)
        return np.asarray(model.fit_transform(features))


def _name(camera: int) -> str:
    return "camera unknown" if camera < 0 else f"camera {camera}"


def _looks(count: int) -> list[tuple[str, str]]:
    return [(PARTS[i % len(PARTS)], MARKERS[i % len(MARKERS)]) for i in range(count)]


def _scatter(panel: Axes, points: np.ndarray, groups: np.ndarray) -> None:
    names = np.unique(groups)
    for name, (colour, marker) in zip(names, _looks(len(names)), strict=True):
        x, y = points[groups == name].T
        panel.scatter(
            x, y, s=24, color=colour, marker=marker, edgecolor="white", linewidth=0.4, alpha=0.9
        )
    panel.set(xticks=[], yticks=[])
    panel.grid(visible=False)
