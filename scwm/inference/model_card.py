"""The card of a model: data, method, metrics, provenance, use and limits, in Markdown."""

from pathlib import Path
from typing import Any

from scwm.core.files import read_json
from scwm.core.measures import measures
from scwm.data.entries import data_names, lookup
from scwm.inference.api import Model

USES = {
    ".pt": "`torch.jit.load(FILE)(crops)`",
    ".onnx": '`onnxruntime.InferenceSession(FILE).run(None, {"crops": crops})`',
    ".safetensors": "`scwm.load_model(FILE)`",
}
INTENDED = """\
Research on unsupervised person re-identification, and finding the crops of one person among crops
whose people have agreed to it. Do not use it to identify or follow anyone who has not agreed:
such a person cannot notice it and cannot object.

## Limits

- It was trained without identity labels: two people in similar clothes may be close to each other.
- It compares clothes and shape in the crops, not faces: after a change of clothes it does not find
  a person again.
- On cameras, crops or people other than in its training it is worse by an unknown amount. It is not
  known whether it treats groups of people equally. Measure it on your own data before anything
  depends on it.
- A similarity is not a probability, and no threshold on it was validated.
"""


INTENDED_USE = "## Intended use"


def model_card(model: Model, run: Path, file: Path, feature: str, difference: float) -> str:
    """Write the card of an exported model, as Markdown.

    Args:
        model: the model.
        run: folder of its run, or the model's file; the card shows metrics.json and provenance.json
            if they are there.
        file: the exported file.
        feature: its feature.
        difference: largest difference from the model's own output.
    """
    config = model.config
    height, width = config.model.image_size
    folder = run if run.is_dir() else run.parent
    metrics, provenance = (read_json(folder / n) for n in ("metrics.json", "provenance.json"))
    parameters = sum(value.numel() for value in model.network.parameters())
    about = {
        "file": f"`{file.name}`",
        "input": f"crops (B,3,{height},{width}) float32, RGB in 0..1",
        "output": f"{feature} feature (B,D), length 1; similarity is the inner product",
        "use": USES[file.suffix],
        "checked": f"on random crops its features differ from the model's by {difference:.1g}",
        "method": f"{config.method}: {config.description}",
        "backbone": f"{config.model.backbone}, {parameters:,} parameters in all",
        "starting weights": config.model.weights,
        "seed": config.seed,
    }
    if file.suffix == ".safetensors":
        del about["input"], about["output"]
    origin: dict[str, Any] = {
        name: provenance[name]
        for name in ("commit", "dirty", "config_hash", "data_hash", "weights_hash")
        if name in provenance
    }
    return "\n".join(
        [
            f"# {config.method} on {config.dataset}",
            "",
            *_items(about),
            "",
            "## Data",
            "",
            *_items(_data(config.dataset)),
            "",
            "## Metrics",
            "",
            *(_metrics(metrics) or ["Unknown: there are no scores next to the model."]),
            "",
            "## Provenance",
            "",
            *(_items(origin) or ["Unknown."]),
            "",
            INTENDED_USE,
            "",
            INTENDED,
        ]
    )


def _items(values: dict[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in values.items()]


def _data(name: str) -> dict[str, str]:
    if name not in data_names():
        return {"trained on": name}
    entry = lookup(name)
    known = {"trained on": entry.title, "licence": entry.licence, "ethics": entry.ethics}
    return {key: value for key, value in known.items() if value}


def _metrics(metrics: dict[str, Any]) -> list[str]:
    """Write a table of the test features' scores, in percent."""
    if not metrics:
        return []
    if metrics["mAP"] is None:
        return [f"Note: {metrics['label_note']}"]
    shown = measures("mAP", "rank1", "rank5", "rank10", "mINP")
    titles = " | ".join(one.heading for one in shown)
    head = [f"| feature | {titles} |", "| :-- |" + " --: |" * len(shown)]
    rows = [
        f"| {feature} | " + " | ".join(one.show(scores[one.key]) for one in shown) + " |"
        for feature, scores in metrics["features"].items()
    ]
    note = metrics.get("label_note")
    return [*head, *rows, *(["", f"Note: {note}"] if note else [])]
