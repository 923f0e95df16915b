"""A disk that is full while a command writes: the error of the disk, and no file is left."""

import resource
from pathlib import Path

import pytest

LIMIT = 200  # bytes; every file below is larger
RUN = "results/runs/mannequins/scwm/seed0"
NAMES = "--datasets mannequins --methods scwm --seeds 0"


@pytest.fixture
def full_disk():
    """Files of this process end after `LIMIT` bytes, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))

    yield fill
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize(
    "words",
    [
        f"export {RUN} --out OUT/model.pt",
        f"export {RUN} --out OUT/model.safetensors",
        "weights mobilenet_v2 given.pt --out OUT/weights.pt",
        f"extract {RUN} CROPS --out OUT/features.npz",
        f"extract {RUN} CROPS --out OUT/features.parquet",
        f"rank {RUN} --queries CROPS --gallery CROPS --out OUT",
        f"cluster {RUN} CROPS --out OUT",
        f"parse {RUN} CROPS --output OUT/stages.png",
        f"parse {RUN} CROPS --output OUT/stages.svg",
        f"table main {NAMES} --out OUT/main",
        f"plot curves {NAMES} --out OUT/curves",
        f"dashboard {RUN} --out OUT/page.html",
        "config --method scwm --dataset mannequins --out OUT/config.yaml",
    ],
    ids=lambda words: " ".join([words.split()[0], words.rpartition("/")[2]]),
)
def test_a_full_disk_is_an_error_that_leaves_nothing(
    trained, toy_folder, scwm, told, full_disk, tmp_path, words
):
    full_disk()
    status = scwm(words.replace("CROPS", f"{toy_folder}/query").replace("OUT", str(tmp_path)))
    message = told()
    assert status == 1 and "File too large" in message and "make room" in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.pt"])
def test_a_full_disk_while_a_training_saves_is_an_error(
    trained, scwm, told, write_config, monkeypatch, name
):
    from scwm.training import checkpoint, trainer

    monkeypatch.chdir(trained)
    write_config("results/full", "scwm", "training.epochs=1")
    owner = {"checkpoint.pt": checkpoint, "model.pt": trainer}[name]
    save = owner.save_atomically

    def save_on_full_disk(payload, path):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
        try:
            save(payload, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(owner, "save_atomically", save_on_full_disk)
    assert scwm("train results/full --store data/stores/toy --weights data/weights/toy.pt") == 1
    message = told()
    assert "File too large" in message and name in message and "make room" in message
    assert not list(trained.glob(f"**/.{name}*"))
    assert not Path("results/full", name).exists()
