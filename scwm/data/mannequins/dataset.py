"""Rendering of `mannequins`: several processes draw and write the images of the protocol."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw

from scwm.core.errors import ScwmError
from scwm.core.progress import progress

from .body import PARTS
from .protocol import SPLITS, Knobs, Shot, choose, plan
from .studio import PALETTE, Studio
from .worker import in_processes

_JOURNAL = "finished.txt"  # in a folder that is being rendered: its key, then who is finished


def render(
    preset: str = "demo",
    out: Path | str = "data/raw/mannequins",
    seed: int = 0,
    processes: int | None = None,
    **knobs: object,
) -> Path:
    """Render the set into the folder `out`, which appears only when it is complete.

    The files depend only on preset, seed and knobs, not on the number of processes. Until they are
    complete they are in `<out>.partial`. The same call resumes an interrupted one. A call with
    other settings, or by another version of the suite, starts again.

    Args:
        preset: a name in `PRESETS`.
        out: folder to be made; it must not exist or be empty.
        seed: another seed gives other people, clothes and cameras.
        processes: number of processes; default: all cores.
        **knobs: fields of `Knobs` that differ from the preset.

    Returns:
        The folder.

    Raises:
        ScwmError: the preset or a knob is unknown, a value is out of range, `out` is in use, or a
            rendering process ended early.
    """
    chosen = choose(preset, knobs)
    workers = _cores() if processes is None else processes
    for name, value, least in (("seed", seed, 0), ("processes", workers, 1)):
        if not isinstance(value, int) or value < least:
            raise ScwmError(f"{name} cannot be {value!r}", name, f"give an integer from {least} on")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ScwmError("the output folder exists already", out, "remove it or give another")
    Studio.cast(chosen, seed)  # reports an impossible wardrobe before anything is written
    partial = out.with_name(out.name + ".partial")
    finished = _open_partial(partial, fingerprint(preset, seed, **knobs))
    shots = plan(chosen, seed)
    people: dict[int, list[Shot]] = {}
    for shot in shots:
        people.setdefault(shot.person, []).append(shot)
    groups = [group for person, group in people.items() if person not in finished]
    rendered = in_processes(min(workers, len(groups)), partial, chosen, seed, groups)
    old = (group for person, group in people.items() if person in finished)
    with open(partial / _JOURNAL, "a", encoding="utf-8") as journal:
        for group in progress(chain(old, rendered), "render mannequins", total=len(people)):
            if group[0].person not in finished:
                journal.write(f"{group[0].person}\n")
                journal.flush()
    contact_sheet(partial, shots).save(partial / "contact_sheet.png")
    (partial / "README.txt").write_text(_readme(preset, seed, chosen, shots), encoding="utf-8")
    (partial / _JOURNAL).unlink()
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def _cores() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fingerprint(preset: str, seed: int, **knobs: object) -> str:
    """Hash the settings, and the code and data that render the files."""
    settings = [preset, seed, asdict(choose(preset, knobs)), np.__version__, PIL.__version__]
    digest = hashlib.sha256(json.dumps(settings).encode())
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _open_partial(partial: Path, key: str) -> set[int]:
    """List the people with finished files in `partial`; empty a folder with another key."""
    journal = partial / _JOURNAL
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.is_file() else []
    if lines[:1] != [key]:
        if partial.exists():
            shutil.rmtree(partial)
        for split in SPLITS:
            (partial / split).mkdir(parents=True)
            (partial / "masks" / split).mkdir(parents=True)
        lines = [key]
    journal.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {int(person) for person in lines[1:]}


def contact_sheet(root: Path, shots: list[Shot], identities: int = 12) -> Image.Image:
    """Draw images and masks of the first test identities: a row each, a pair per camera."""
    queries = [shot for shot in shots if shot.split == SPLITS[1]]
    people = sorted({shot.subject for shot in queries})[:identities]
    cameras = max(shot.camera for shot in shots) + 1
    sheet = Image.new("RGB", (cameras * 132 + 40, max(1, len(people)) * 132 + 16), "white")
    pen = ImageDraw.Draw(sheet)
    for camera in range(cameras):
        pen.text((40 + camera * 132, 2), f"camera {camera + 1}", fill="black")
    for shot in queries:
        if shot.subject not in people:
            continue
        left, top = 40 + shot.camera * 132, 16 + people.index(shot.subject) * 132
        pen.text((4, top + 56), shot.name[:4], fill="black")
        for offset, path in (
            (0, root / shot.split / f"{shot.name}.jpg"),
            (64, root / "masks" / shot.split / f"{shot.name}.png"),
        ):
            picture = Image.open(path).convert("RGB").resize((64, 128), Image.Resampling.BILINEAR)
            sheet.paste(picture, (left + offset, top))
    return sheet


def _readme(preset: str, seed: int, knobs: Knobs, shots: list[Shot]) -> str:
    counts = "\n".join(
        f"  {split}: {sum(s.split == split for s in shots)} images" for split in SPLITS
    )
    settings = "\n".join(f"  {name}: {value}" for name, value in asdict(knobs).items())
    values = "\n".join(
        f"  {i}: {name} {PALETTE[i]}" for i, name in enumerate(("background", *PARTS))
    )
    return f"""mannequins: rendered people for re-identification, with true part masks

Made by scwm.data.mannequins.render(preset={preset!r}, seed={seed}); the same call gives the same
bytes. Nobody in it is a real person; it says nothing about how a method does on real people.

Layout (as Market-1501): IIII_cCsS_FFFFFF_BB.jpg, identity, camera, sequence, frame, box.
Identity 0000 is a distractor, -1 is junk. Train and test identities are disjoint.
{counts}
masks/<folder>/<same name>.png holds the part at each pixel:
{values}

Settings:
{settings}
"""
