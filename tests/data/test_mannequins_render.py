"""Rendering `mannequins`: spans, cameras, knobs, and going on after an interruption."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_hashes import digest

from scwm.core.errors import ScwmError
from scwm.data.mannequins import dataset, render, worker
from scwm.data.mannequins.camera import Camera, develop, make_camera, view
from scwm.data.mannequins.protocol import choose
from scwm.data.mannequins.studio import Studio
from scwm.data.mannequins.zbuffer import rasterise

SMALL: dict[str, object] = {
    "train_ids": 2,
    "test_ids": 2,
    "distractors": 2,
    "junk": 1,
    "cameras": 2,
}
SMALL |= {"train_frames": (1, 1), "test_frames": (2, 2)}
PEOPLE = 6
KILLED_AT_A_MASK = f"""
import os, pathlib, signal, sys
from scwm.data.mannequins import render, studio

save = studio.save_mask
left = 6

def save_mask(mask, path):
    global left
    left -= 1
    if not left:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    save(mask, path)

studio.save_mask = save_mask
render("tiny", sys.argv[1], processes=1, **{SMALL})
"""
KILLED_AMONG_WORKERS = f"""
import os, signal, sys
from scwm.data.mannequins import dataset

def progress(items, title, total):
    items = iter(items)
    yield next(items)
    next(items)
    os.kill(os.getpid(), signal.SIGKILL)

dataset.progress = progress
dataset.render("tiny", sys.argv[1], processes=2, **{SMALL})
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the files of an uninterrupted rendering."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return digest(render("tiny", out, processes=1, **SMALL))


def _interrupt(script: str, out: Path) -> Path:
    """Run a rendering that kills itself; the folder that it leaves."""
    run = subprocess.run([sys.executable, "-c", script, str(out)])
    assert run.returncode == -signal.SIGKILL and not out.exists()
    return out.with_name(out.name + ".partial")


@pytest.mark.parametrize("script", [KILLED_AT_A_MASK, KILLED_AMONG_WORKERS])
def test_a_killed_rendering_goes_on_and_ends_with_the_same_bytes(
    script: str, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = _interrupt(script, tmp_path / "out")
    finished = (partial / "finished.txt").read_text().split()[1:]
    assert 0 < len(finished) < PEOPLE
    written: list[int] = []
    shown: list[int | None] = []
    whole_write = worker.write

    def write(studio: Studio, shots: list, folder: Path) -> None:
        written.append(shots[0].person)
        whole_write(studio, shots, folder)

    def progress(items: Iterable[list], title: str, total: int | None = None) -> Iterator[list]:
        shown.append(total)
        for item in items:
            shown.append(item[0].person)
            yield item

    monkeypatch.setattr(worker, "write", write)
    monkeypatch.setattr(dataset, "progress", progress)
    assert digest(render("tiny", tmp_path / "out", processes=1, **SMALL)) == whole
    assert not {*written} & {*map(int, finished)} and len(written) == PEOPLE - len(finished)
    # The bar counts everyone and starts with those who were finished before.
    assert shown == [PEOPLE, *map(int, finished), *written]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_changed_knob_starts_afresh(tmp_path: Path) -> None:
    partial = _interrupt(KILLED_AT_A_MASK, tmp_path / "out")
    shutil.copytree(partial, tmp_path / "other.partial")
    (tmp_path / "other.partial" / "stray").write_text("")
    changed = {**SMALL, "occlusion": 1.0}
    other = render("tiny", tmp_path / "other", processes=1, **changed)
    assert digest(other) == digest(render("tiny", tmp_path / "fresh", processes=1, **changed))


def test_key_depends_on_settings_versions_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [dataset.fingerprint("tiny", 0), dataset.fingerprint("demo", 0)]
    keys += [dataset.fingerprint("tiny", 1), dataset.fingerprint("tiny", 0, jitter=0.5)]
    shutil.copytree(Path(dataset.__file__).parent, tmp_path / "code")
    monkeypatch.setattr(dataset, "__file__", str(tmp_path / "code" / "dataset.py"))
    assert dataset.fingerprint("tiny", 0) == keys[0]
    with open(tmp_path / "code" / "scene.py", "a") as file:
        file.write("\n")
    keys.append(dataset.fingerprint("tiny", 0))
    monkeypatch.setattr(dataset.PIL, "__version__", "0")
    keys.append(dataset.fingerprint("tiny", 0))
    assert len({*keys}) == len(keys)


def test_a_dead_process_is_one_clear_error_and_the_call_can_be_repeated(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen] = []

    class Second(subprocess.Popen):
        """A process that dies of the work it is sent, if it is not the first."""

        def __init__(self, arguments: list[str], **options: object) -> None:
            code = "import os, sys; sys.stdin.buffer.read(1); os.kill(os.getpid(), 9)"
            arguments = [sys.executable, "-c", code] if started else arguments
            super().__init__(arguments, **options)
            started.append(self)

    with monkeypatch.context() as patch:
        patch.setattr(worker.subprocess, "Popen", Second)
        with pytest.raises(ScwmError, match=r"(?s)process ended early.*-9.*resumes"):
            render("tiny", tmp_path / "out", processes=2, **SMALL)
    assert len(started) == 2 and all(process.poll() is not None for process in started)
    assert not (tmp_path / "out").exists()
    assert digest(render("tiny", tmp_path / "out", processes=2, **SMALL)) == whole


def test_a_plain_script_needs_no_guard(tmp_path: Path, whole: dict[str, str]) -> None:
    (tmp_path / "script.py").write_text(
        "from scwm.data.mannequins import render\n"
        f"print(render('tiny', 'out', processes=2, **{SMALL}))\n"
    )
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("out\n", "")
    assert digest(tmp_path / "out") == whole


def test_rendering_imports_no_deep_learning_package() -> None:
    heavy = "{'torch', 'pandas', 'scipy', 'sklearn'}"
    code = f"import scwm.data.mannequins, sys; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize(
    ("knob", "value", "wanted"),
    [
        ("occlusion", -0.1, "a number from 0 to 1"),
        ("truncation", 1.5, "a number from 0 to 1"),
        ("jitter", float("nan"), "a number from 0 to 3"),
        ("backdrop", "grey", "a number from 0 to 1"),
        ("size", (0, 64), "two of: an integer from 16 to 1024"),
        ("size", 128, "two of: an integer from 16 to 1024"),
        ("cameras", 1, "an integer from 2 to 9"),
        ("cameras", 2.5, "an integer from 2 to 9"),
        ("test_frames", (1, 3), "two of: an integer from 2 to 99, the fewest first"),
        ("train_frames", (5, 2), "the fewest first"),
        ("distractors", -1, "an integer from 0"),
        ("tops", True, "an integer from 1"),
        ("bags", 1, "true or false"),
    ],
)
def test_values_out_of_range_are_named(
    knob: str, value: object, wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(ScwmError) as error:
        render("tiny", tmp_path / "out", **{knob: value})
    assert error.value.where == knob and wanted in str(error.value.remedy)
    assert not any(tmp_path.iterdir())


def test_values_in_range_are_taken_as_yaml_gives_them() -> None:
    chosen = choose("tiny", {"size": [64, 32], "jitter": 0, "bags": False})
    assert (chosen.size, chosen.jitter, chosen.bags) == ((64, 32), 0, False)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("processes", 0)])
def test_seed_and_processes_out_of_range_are_named(name: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(ScwmError, match=name):
        render("tiny", tmp_path / "out", **{name: value})


def test_faces_that_share_edges_cover_each_sample_once() -> None:
    rng = np.random.default_rng(0)
    cells = 9
    at = np.stack(np.meshgrid(np.arange(cells + 1), np.arange(cells + 1)), -1) * 2.0
    # Half of the inner corners lie on sample centres, and many edges run through some.
    at[1:-1, 1:-1] += rng.integers(-1, 2, (cells - 1, cells - 1, 2)) / 2
    points = np.concatenate([at.reshape(-1, 2), np.full((at.shape[0] ** 2, 1), 5.0)], 1)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    a, b, c, d = corner, corner + 1, corner + cells + 2, corner + cells + 1
    faces = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])
    covered = np.zeros(20 * 22, int)
    for face in faces:
        covered[rasterise(points, face[None], 20, 22)[0]] += 1
    expected = np.zeros((20, 22), int)
    expected[:18, :18] = 1
    np.testing.assert_array_equal(covered.reshape(20, 22), expected)
    samples, face, weights, depth = rasterise(points, faces, 20, 22)
    np.testing.assert_array_equal(samples, np.flatnonzero(expected))
    where = np.einsum("sk,skd->sd", weights, points[faces[face], :2])
    rows, columns = np.divmod(samples, 22)
    np.testing.assert_allclose(where, np.stack([columns, rows], 1) + 0.5, atol=1e-9)
    np.testing.assert_allclose(depth, 5)


def test_what_lies_outside_the_picture_is_cut_off() -> None:
    large = np.array([[-1e4, -1e4, 3], [-1e4, 3e4, 3], [3e4, -1e4, 3]])
    front = np.array([[0, 1, 2]])
    assert len(rasterise(large, front, 7, 5)[0]) == 35
    assert len(rasterise(large, front[:, ::-1], 7, 5)[0]) == 0  # seen from behind
    assert len(rasterise(np.add(large, [4e4, 0, 0]), front, 7, 5)[0]) == 0
    assert len(rasterise(large, front[:0], 7, 5)[0]) == 0


def test_view_turns_tilts_and_projects() -> None:
    """A pinhole at the height of 0.9 m, looking down at the axis."""
    rng = np.random.default_rng(0)
    points, normals, place = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.normal(size=3)
    azimuth, elevation, distance = 0.7, 0.3, 8.0
    seen, facing = view(points, normals, azimuth, elevation, distance, place)
    for (x, y, z), normal, found, turned in zip(points, normals, seen, facing, strict=True):
        right = -np.cos(azimuth) * x + np.sin(azimuth) * y + place[0]
        near = np.sin(azimuth) * x + np.cos(azimuth) * y - place[2]
        up = z - 0.9 + place[1]
        high = np.cos(elevation) * up - np.sin(elevation) * near
        depth = distance - np.sin(elevation) * up - np.cos(elevation) * near
        expected = [right * distance / depth, -high * distance / depth, depth]
        np.testing.assert_allclose(found, expected)
        assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(normal))
    front, _ = view(np.array([[0, 0, 0.9]]), normals[:1], 0.0, 0.4, 6.0, np.zeros(3))
    np.testing.assert_allclose(front, [[0, 0, 6]], atol=1e-12)


def _neutral(**changes: float) -> Camera:
    plain = {"gamma": 1.0, "exposure": 1.0, "saturation": 1.0, "haze": 0.0, "blur": 0.0}
    camera = make_camera(0, 2, 0)
    return replace(
        camera, **{**plain, "rows": 10_000, "noise": 0.0, "gains": np.ones(3), **changes}
    )


class _Even(np.random.Generator):
    """A generator without chance in the exposure."""

    def normal(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return 0.0


def test_a_neutral_camera_shows_the_picture_as_it_is() -> None:
    picture = np.random.default_rng(0).random((128, 64, 3)).astype(np.float32)
    rng = _Even(np.random.PCG64(0))
    shown = np.asarray(develop(_neutral(), picture, rng))
    np.testing.assert_allclose(shown, 255 * picture, atol=0.501)
    grey = np.asarray(develop(_neutral(saturation=0.0), picture, rng)).astype(int)
    assert np.ptp(grey, axis=-1).max() == 0
    cast = develop(_neutral(gains=np.array([0.5, 1, 1])), picture, rng)
    np.testing.assert_allclose(np.asarray(cast)[..., 0], 127.5 * picture[..., 0], atol=1)
    np.testing.assert_array_equal(np.asarray(cast)[..., 1:], shown[..., 1:])
