"""The baked bodies of the embedded data set: their file, their shapes and how they move."""

from importlib.resources import files

import numpy as np
import pytest

from scwm.data.mannequins import body as bodies
from scwm.data.mannequins.anatomy import GESTURES, Pose, Shape, joint_turns
from scwm.data.mannequins.body import Body, bare
from scwm.data.mannequins.garments import BAG, LEGS, TILES, TORSO
from scwm.data.mannequins.skeleton import BONES, PARENTS, chain, rotation
from scwm.data.mannequins.sliders import RANGES, features
from scwm.data.mannequins.surface import Surface, clip, lipped

FILE = files("scwm.data.mannequins").joinpath("bodies.npz")


def _walk(frames: int, gesture: str = "swing", stride: float = 0.9) -> Pose:
    none = np.zeros(frames)
    arms = np.full((frames, 2), list(GESTURES).index(gesture))
    return Pose(np.arange(frames) / frames, none + stride, none, none, arms, none)


def _joints(pose: Pose) -> dict[str, np.ndarray]:
    _, placed = chain(bare(Shape())[1], joint_turns(pose, np.zeros(2)))
    return {bone: placed[:, i] for i, bone in enumerate(BONES)}


def test_baked_file_is_small_and_holds_what_the_tool_documents() -> None:
    packed = FILE.read_bytes()
    assert len(packed) < 3e6
    with FILE.open("rb") as opened, np.load(opened) as archive:
        arrays = dict(archive)
    points, bones = len(arrays["mean"]), len(BONES)
    components, terms = len(arrays["scale"]), features(np.zeros((1, len(RANGES)))).shape[1]
    faces, corners = len(arrays["faces"]), len(arrays["corner"])
    assert {name: (array.dtype.str[1:], array.shape) for name, array in arrays.items()} == {
        "mean": ("f4", (points, 3)),
        "basis": ("i2", (components, points, 3)),
        "scale": ("f4", (components,)),
        "coefficients": ("f4", (terms, components)),
        "faces": ("i2", (faces, 3)),
        "tile": ("u1", (faces,)),
        "corner": ("i2", (corners,)),
        "chart": ("f4", (corners, 3)),
        "weights": ("u1", (points - bones, bones)),
        "parents": ("i1", (bones,)),
        "bones": (arrays["bones"].dtype.str[1:], (bones,)),
        "tiles": (arrays["tiles"].dtype.str[1:], (5,)),
        "licence": (arrays["licence"].dtype.str[1:], (1,)),
    }
    assert tuple(arrays["bones"]) == BONES and tuple(arrays["parents"]) == PARENTS
    assert tuple(arrays["tiles"]) == TILES[:5]
    assert "Apache-2.0" in arrays["licence"][0] and "CC0" in arrays["licence"][0]
    assert ((arrays["weights"] > 0).sum(1) <= 4).all()
    assert (np.abs(arrays["weights"].sum(1).astype(int) - 255) <= 3).all()


def test_body_is_closed_and_symmetric() -> None:
    skin, _ = bare(Shape())
    baked = bodies._baked()
    around = baked["corner"][baked["faces"]]
    edges = np.concatenate([around[:, [i, (i + 1) % 3]] for i in range(3)])
    there = {tuple(edge) for edge in edges.tolist()}
    assert len(there) == len(edges) and all((b, a) in there for a, b in there)
    mirrored = skin * [-1, 1, 1]
    nearest = np.linalg.norm(mirrored[:, None] - skin[None], axis=-1).min(1)
    assert nearest.max() < 0.012


@pytest.mark.parametrize("height", [1.50, 1.72, 1.95])
@pytest.mark.parametrize("build", [-0.9, 1.1])
@pytest.mark.parametrize("hips", [0.1, 0.9])
def test_bodies_have_the_height_asked_for(height: float, build: float, hips: float) -> None:
    shape = Shape(height=height, build=build, hips=hips)
    mixed = features(shape.sliders())[0] @ bodies._baked()["coefficients"]
    baked = bodies._baked()
    raw = (baked["mean"] + np.einsum("k,kvd->vd", mixed, baked["basis"]))[: -len(BONES), 2]
    assert abs(np.ptp(raw) - height) < 0.015  # before the last scaling makes it exact
    vertices = bare(shape)[0]
    assert vertices[:, 2].min() == pytest.approx(0, abs=1e-9)
    assert vertices[:, 2].max() == pytest.approx(height, abs=1e-9)


def test_sliders_change_the_body_as_they_say() -> None:
    def volume(shape: Shape) -> float:
        baked = bodies._baked()
        a, b, c = (bare(shape)[0][baked["corner"][baked["faces"][:, i]]] for i in range(3))
        return float(np.einsum("fd,fd->", a, np.cross(b, c)) / 6)

    light, usual, heavy = (volume(Shape(build=build)) for build in (-1.0, 0.0, 1.2))
    assert light < usual < heavy and 0.05 < usual < 0.08  # m^3
    assert heavy > 1.2 * light

    def hips_to_shoulders(shape: Shape) -> float:
        joints = dict(zip(BONES, bare(shape)[1], strict=True))
        skin = bare(shape)[0] / shape.height
        hips = np.abs(skin[np.abs(skin[:, 2] - 0.50) < 0.01, 0])
        return float(np.sort(hips)[len(hips) // 2] / joints["upper_arm.R"][0])

    assert hips_to_shoulders(Shape(hips=1.0)) > hips_to_shoulders(Shape(hips=0.0))
    assert not np.allclose(bare(Shape(age=0.95))[0], bare(Shape(age=0.67))[0], atol=0.005)


@pytest.mark.parametrize("gesture", list(GESTURES))
@pytest.mark.parametrize("stride", [0.0, 1.0])
def test_knees_and_elbows_bend_the_right_way(gesture: str, stride: float) -> None:
    joints = _joints(_walk(24, gesture, stride))
    for side in "LR":
        hip, knee, ankle = (joints[f"{bone}.{side}"] for bone in ("thigh", "shin", "foot"))
        shoulder, elbow, wrist = (
            joints[f"{bone}.{side}"] for bone in ("upper_arm", "forearm", "hand")
        )
        # The knee lies ahead of the line from hip to ankle, the elbow behind shoulder to wrist.
        assert (np.cross(knee - hip, ankle - knee)[:, 0] < 0.005).all()
        bend = np.einsum("nd,nd->n", elbow - shoulder, wrist - elbow)
        bend /= np.linalg.norm(elbow - shoulder, axis=1) * np.linalg.norm(wrist - elbow, axis=1)
        assert (bend > np.cos(2.7)).all()
        behind = (shoulder + wrist) / 2 - elbow
        assert (
            np.einsum("nd,nd->n", behind, np.cross(elbow - shoulder, [-1, 0, 0])) > -0.002
        ).all()


def test_arms_swing_against_the_legs_and_hips_against_the_shoulders() -> None:
    joints = _joints(_walk(24))
    for side, other in ("LR", "RL"):
        leg = joints[f"foot.{side}"][:, 1] - joints[f"thigh.{side}"][:, 1]
        arm = joints[f"hand.{other}"][:, 1] - joints[f"upper_arm.{other}"][:, 1]
        assert np.corrcoef(leg, arm)[0, 1] > 0.8
    hips = joints["thigh.R"][:, 1] - joints["thigh.L"][:, 1]
    shoulders = joints["upper_arm.R"][:, 1] - joints["upper_arm.L"][:, 1]
    assert np.corrcoef(hips, shoulders)[0, 1] < -0.8


def test_soles_stand_on_the_floor() -> None:
    body = Body(Shape())
    foot = np.unique(body.faces[body.tiles == TILES.index("foot")])
    side = np.sign(body.pose(_walk(1, stride=0.0))[0][0][foot, 0])
    vertices = body.pose(_walk(16))[0]
    np.testing.assert_allclose(vertices[..., 2].min(1), 0, atol=1e-6)
    low = np.stack([vertices[:, foot[side == s], 2].min(1) for s in (-1, 1)], 1)
    assert (low.min(1) < 1e-6).all()  # a shoe, nothing else, touches the floor
    assert (low.max(1) < 0.25).all() and (low.max(1) > 0.03).any()
    still = body.pose(_walk(1, stride=0.0))[0][0]
    for s in (-1, 1):  # standing, both soles lie flat
        sole = still[foot[side == s]]
        assert np.ptp(sole[sole[:, 2] < 0.01, 1]) > 0.15


@pytest.mark.parametrize("build", [-0.8, 0.2, 1.2])
def test_hanging_arms_miss_the_trunk(build: float) -> None:
    body = Body(Shape(build=build))
    vertices = body.pose(_walk(1, "hang", 0.0))[0][0]
    torso = np.unique(body.faces[body.parts == TORSO])
    trunk = vertices[torso]
    hand = np.unique(body.faces[body.tiles == TILES.index("arm")])
    hands = vertices[hand][vertices[hand, 2] < 0.53 * 1.72]
    for level in (0.48, 0.51):
        near = np.abs(hands[:, 2] / 1.72 - level) < 0.02
        widest = np.abs(trunk[np.abs(trunk[:, 2] / 1.72 - level) < 0.03, 0]).max(initial=0)
        assert not near.any() or np.abs(hands[near, 0]).min() > widest - 0.02


def test_skirts_hold_the_legs() -> None:
    body = Body(Shape(skirt=0.55, trousers=0.05, top_ease=0.01))
    vertices = body.pose(_walk(12))[0]
    bell = np.unique(body.faces[body.tiles == TILES.index("skirt")])
    legs = np.unique(body.faces[body.tiles == TILES.index("leg")])
    for frame in vertices:
        hem = frame[bell, 2].min()
        inside = frame[legs][frame[legs, 2] > hem + 0.02]
        for angle in np.linspace(0, 2 * np.pi, 9)[:-1]:
            out = np.array([np.cos(angle), np.sin(angle)])
            assert (inside[:, :2] @ out).max() < (frame[bell, :2] @ out).max() + 0.004


def test_parts_follow_the_cut_of_the_clothes() -> None:
    body = Body(Shape(hem=0.52, trousers=0.5, bag="shoulder"))
    vertices = body.pose(_walk(1, stride=0.0))[0][0] / 1.72
    torso = vertices[np.unique(body.faces[body.parts == TORSO]), 2]
    assert torso.min() == pytest.approx(0.52, abs=0.015)
    assert {BAG, LEGS} <= set(body.parts.tolist())
    coat = Body(Shape(skirt=0.4, coat=True))
    assert set(coat.parts[coat.tiles == TILES.index("skirt")].tolist()) == {TORSO}


def test_clip_keeps_the_area_on_one_side_and_lips_close_it() -> None:
    """A square of two triangles, cut at x = 0.3."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    table = np.concatenate([points, np.zeros((4, 9)), np.ones((4, 1))], 1)
    square = Surface(
        table, np.array([[0, 1, 2], [0, 2, 3]]), np.zeros(2, int), np.ones(2, int), points
    )
    kept = clip(square, points[:, 0] - 0.3)
    a, b, c = (kept.points[kept.faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    assert normal[:, 2].sum() / 2 == pytest.approx(0.7)
    assert (normal[:, 2] >= 0).all() and kept.points[:, 0].min() == pytest.approx(0.3)
    kept.points = kept.points + np.array([0, 0, 0.1])
    closed = lipped(kept)
    assert len(closed.faces) - len(kept.faces) == 2 * 5  # the cut hits the diagonal: five edges
    assert closed.points[:, 2].min() == 0


def test_rotations_are_right_handed() -> None:
    turned = rotation(0, np.array([0.3]))[0] @ [0, 0, -1]
    np.testing.assert_allclose(turned, [0, np.sin(0.3), -np.cos(0.3)], atol=1e-12)
    np.testing.assert_allclose(
        rotation(2, np.array([np.pi / 2]))[0] @ [1, 0, 0], [0, 1, 0], atol=1e-9
    )
