"""Trainings of a second on the toy images, and what they leave to compare."""

import csv
import io
from pathlib import Path

import torch
from torch import Tensor

KEY = {"run": "of a test"}


def history_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((run / "history.csv").read_text())))


def untimed(run: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in history_of(run)]


def model_of(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "model.pt", weights_only=True)["model"]


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
