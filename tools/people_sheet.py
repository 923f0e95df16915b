"""A picture of rendered people from all sides, larger than the data set shows them.

    python tools/people_sheet.py --out docs/images/mannequins_people.png

Each figure is one identity of the default wardrobe in another phase of its walk, seen from another
side, without a camera's colours, blur and backdrop; below it is its part mask.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from scwm.data.mannequins.anatomy import Pose
from scwm.data.mannequins.body import Body
from scwm.data.mannequins.camera import view
from scwm.data.mannequins.studio import PALETTE
from scwm.data.mannequins.textures import textures
from scwm.data.mannequins.wardrobe import Identity, draw_identities
from scwm.data.mannequins.zbuffer import Mesh, draw

LIGHT = np.array([0.4, 0.5, 0.77])
BACKGROUND = np.array([0.62, 0.66, 0.70])
HEIGHT = 192


def portrait(person: Identity, phase: float, azimuth: float) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask in the palette's colours, both (HEIGHT, HEIGHT / 2, 3) uint8."""
    body, width = Body(person.shape), HEIGHT // 2
    one = np.ones(1)
    pose = Pose(phase * one, 0.9 * one, 0.05 * one, 0 * one, np.zeros((1, 2), int), 0 * one)
    vertices, normals = body.pose(pose)
    points, facing = view(vertices[0], normals[0], azimuth, 0.15, 8.0, np.zeros(3))
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    scale = 0.92 * HEIGHT / (high[1] - low[1])
    points = (points - [*(low + high) / 2, 0]) * [scale, scale, 1] + [width / 2, HEIGHT / 2, 0]
    mesh = Mesh(points, facing, body.faces, body.parts, body.tiles, body.chart, textures(person))
    colour, coverage, mask = draw([mesh], HEIGHT, width, LIGHT, 0.45)
    picture = np.clip(colour + (1 - coverage[..., None]) * BACKGROUND, 0, 1)
    return (255 * picture).astype(np.uint8), np.array(PALETTE, np.uint8)[mask]


def sheet(rows: int, columns: int, seed: int) -> Image.Image:
    """Rows of pictures, each above the row of their masks."""
    people = iter(draw_identities(rows * columns, seed))
    bands = []
    for row in range(rows):
        turns = [(row * columns + column) * 0.79 for column in range(columns)]
        pairs = [portrait(next(people), turn / 2.1 % 1, turn) for turn in turns]
        bands += [np.concatenate(side, 1) for side in zip(*pairs, strict=True)]
    return Image.fromarray(np.concatenate(bands))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sheet(options.rows, options.columns, options.seed).quantize(255).save(options.out)
