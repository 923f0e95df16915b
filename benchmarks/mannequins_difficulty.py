"""What makes `mannequins` hard, and how much of each part it shows.

    python benchmarks/mannequins_difficulty.py --weights data/weights/FILE.pt --out docs/tables

renders the data set as it is and with single knobs changed, and ranks its queries by features that
were not trained on it. People, clothes, walks and cameras are the same in every row, but for what
the row changes. Nothing looks at the training images, so few of them are rendered.

Written into `--out`: `mannequins_difficulty.csv` (mAP in percent), `mannequins_parts.csv` (how
often and how large each part is seen in whole boxes with nothing before the person) and
`mannequins_difficulty.md` with both tables.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scwm.core.allocator import keep_freed_memory
from scwm.core.config import resolve_config
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.layouts.market1501 import load
from scwm.data.mannequins import PARTS, PRESETS, render
from scwm.data.mannequins.protocol import choose, plan
from scwm.data.mannequins.studio import Studio
from scwm.data.store import ImageStore, StoreSplit, build_store
from scwm.evaluation import evaluate_ranking
from scwm.evaluation.evaluate import describe
from scwm.models import read_state
from scwm.training.trainer import build_network

CONTROLS = ("colour_histogram", "pretrained", "random_features")
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no occluders": {"occlusion": 0.0},
    "no companions": {"companions": 0.0},
    "exact boxes": {"jitter": 0.0, "truncation": 0.0},
    "one colour response": {"response": 0.0},
    "one grey backdrop": {"backdrop": 0.0},
    "no shared garments": {"tops": 9999, "bottoms": 9999},
    "no bags": {"bags": False},
    "all of these": {
        "occlusion": 0.0,
        "companions": 0.0,
        "jitter": 0.0,
        "truncation": 0.0,
        "response": 0.0,
        "backdrop": 0.0,
    },
}
WHOLE = {"occlusion": 0.0, "companions": 0.0, "jitter": 0.0, "truncation": 0.0}
"""Knobs of the images that the table of parts counts."""
LEAST_PIXELS = 10


def open_variant(
    preset: str, seed: int, knobs: Mapping[str, Any], folder: Path, processes: int | None
) -> ImageStore:
    """A rendering of the test images of `preset` with some knobs changed, decoded."""
    few = {"train_frames": (1, 1), **knobs}
    root = render(preset, folder / "rendered", seed, processes, **few)
    return build_store(load(root, "mannequins", PARTS), folder / "store", PRESETS[preset].size)


def difficulty(store: ImageStore, weights: dict[str, Tensor], seed: int = 0) -> dict[str, float]:
    """mAP in percent of features that know nothing of the data set, and of two that know it all."""
    query, gallery = store.split("query"), store.split("gallery")
    scores = {}
    settings = read_yaml(CONFIG_DIR / "config.yaml")["settings"]
    for name in CONTROLS:
        config = resolve_config(name, "mannequins", seed, settings)
        network = build_network(config, weights if name == "pretrained" else None)
        sides = ((query, "query"), (gallery, "gallery"))
        features = [describe(config, network, *side).features()["global"] for side in sides]
        scores[name] = mean_ap(query, gallery, features[0], features[1])
    for name, part in (("top colour alone", "torso"), ("trousers' colour alone", "legs")):
        scores[name] = mean_ap(query, gallery, *by_distance(query, gallery, PARTS.index(part) + 1))
    classes = np.unique(np.concatenate([query.ids, gallery.ids]))
    truth = [torch.from_numpy(s.ids[:, None] == classes).float() for s in (query, gallery)]
    scores["true identities"] = mean_ap(query, gallery, truth[0], truth[1])
    scores["chance"] = 100 * chance(query, gallery)
    return scores


def mean_ap(query: StoreSplit, gallery: StoreSplit, first: Tensor, second: Tensor) -> float:
    """mAP in percent of query features `first` and gallery features `second`."""
    scores = evaluate_ranking(first, query.ids, query.cameras, second, gallery.ids, gallery.cameras)
    return 100 * scores["mAP"]


def by_distance(query: StoreSplit, gallery: StoreSplit, part: int) -> tuple[Tensor, Tensor]:
    """Features whose inner products rank as the distance between a part's mean colours does."""
    colours = [mean_colours(split, part) for split in (query, gallery)]
    square = (colours[1] ** 2).sum(1, keepdims=True)
    ones = np.ones((len(colours[0]), 1))
    first = np.concatenate([2 * colours[0], ones], 1)  # 2 q·g − |g|² = |q|² − |q − g|²
    return torch.from_numpy(first), torch.from_numpy(np.concatenate([colours[1], -square], 1))


def mean_colours(split: StoreSplit, part: int) -> np.ndarray:
    """Mean RGB in [0, 1] of the part's true pixels, (N,3); the mean of all where it is not seen."""
    assert split.masks is not None
    shown = split.masks == part
    count = shown.sum((1, 2))
    colours = np.stack([i[m].sum(0) for i, m in zip(split.images, shown, strict=True)]) / 255
    colours = colours / np.maximum(count, 1)[:, None]
    colours[count == 0] = colours[count > 0].mean(0)
    return colours


def chance(query: StoreSplit, gallery: StoreSplit) -> float:
    """The mAP that a random order of the gallery has on average.

    Of N images in random order, R of them matches, the average precision is expected to be
    (H_N + (R − 1)(N − H_N)/(N − 1))/N, with H_N the N-th harmonic number.
    """
    persons = gallery.ids != -1
    ids, cameras = gallery.ids[persons], gallery.cameras[persons]
    expected = []
    for identity, camera in zip(query.ids, query.cameras, strict=True):
        same = ids == identity
        matches = int((same & (cameras != camera)).sum())
        count = len(ids) - int((same & (cameras == camera)).sum())
        if matches:
            harmonic = (1 / np.arange(1, count + 1)).sum()
            rest = (matches - 1) * (count - harmonic) / max(count - 1, 1)
            expected.append((harmonic + rest) / count)
    return float(np.mean(expected))


def parts_seen(store: ImageStore, studio: Studio, seed: int) -> pd.DataFrame:
    """For each part, of the images of test people that could show it: how many do, and how much.

    Bags are looked for in the images that are taken from the bag's side of the person.

    Returns:
        Rows `PARTS`; images, visible (share with at least `LEAST_PIXELS` pixels), area (mean
        share of the person's pixels).
    """
    shots = {shot.name: shot for shot in plan(studio.knobs, seed)}
    counts, bag = [], []
    for split in (store.split("query"), store.split("gallery")):
        assert split.masks is not None
        for path, identity, mask in zip(split.paths, split.ids, split.masks, strict=True):
            if identity > 0:
                counts.append(np.bincount(mask.ravel(), minlength=len(PARTS) + 1))
                bag.append(studio.shows_bag(shots[Path(path).stem]))
    pixels = np.stack(counts)
    rows = []
    for part, name in enumerate(PARTS, 1):
        chosen = pixels[np.array(bag)] if name == "bag" else pixels
        body = np.maximum(chosen[:, 1:].sum(1), 1)
        visible = (chosen[:, part] >= LEAST_PIXELS).mean()
        rows.append((name, len(chosen), visible, (chosen[:, part] / body).mean()))
    return pd.DataFrame(rows, columns=["part", "images", "visible", "area"]).set_index("part")


def markdown(table: pd.DataFrame, digits: int) -> str:
    """The table with its index as the first column; numbers with fractions to `digits`."""
    lines = [[table.index.name or "", *table.columns], [":--"] + ["--:"] * len(table.columns)]
    for name, *row in table.itertuples(name=None):
        cells = (f"{v:.{digits}f}" if isinstance(v, float) else str(v) for v in row)
        lines.append([str(name), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def study(
    preset: str, seed: int, weights: dict[str, Tensor], work: Path, processes: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of difficulty, a row for each of `VARIANTS`, and the table of parts."""
    rows = {}
    for number, (name, knobs) in enumerate(VARIANTS.items()):
        store = open_variant(preset, seed, knobs, work / str(number), processes)
        rows[name] = difficulty(store, weights, seed)
        print(markdown(pd.DataFrame({name: rows[name]}).T, 1), flush=True)
    store = open_variant(preset, seed, WHOLE, work / "whole", processes)
    studio = Studio(choose(preset, {"train_frames": (1, 1), **WHOLE}), seed)
    table = pd.DataFrame(rows).T.rename_axis("images")
    return table, parts_seen(store, studio, seed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="demo", choices=[*PRESETS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, required=True, help="file of `scwm weights`")
    parser.add_argument("--processes", type=int, help="rendering processes; default: all cores")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    weights = read_state(options.weights)
    with tempfile.TemporaryDirectory() as work:
        hard, parts = study(options.preset, options.seed, weights, Path(work), options.processes)
    options.out.mkdir(parents=True, exist_ok=True)
    hard.round(2).to_csv(options.out / "mannequins_difficulty.csv")
    parts.round(4).to_csv(options.out / "mannequins_parts.csv")
    (options.out / "mannequins_difficulty.md").write_text(
        f"mAP in percent on `{options.preset}`, seed {options.seed}:\n\n{markdown(hard, 1)}\n"
        f"Parts in whole boxes (share of images with {LEAST_PIXELS} pixels or more of it; mean "
        f"share of the person's pixels):\n\n{markdown(parts, 3)}",
        encoding="utf-8",
    )
    print(options.out / "mannequins_difficulty.md")


if __name__ == "__main__":
    main()
