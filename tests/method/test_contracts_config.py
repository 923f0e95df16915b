"""What every layout, data set, method and claim must do; a new one is tested by being there."""

import inspect
from pathlib import Path

import pytest
from made_up_runs import write_run

from scwm.core.config import method_names, resolve_config
from scwm.core.errors import ScwmError
from scwm.core.measures import locate
from scwm.core.plugins import LAYOUTS
from scwm.data import data_names
from scwm.data.entries import lookup, overlaps_training
from scwm.data.inspection import data_card
from scwm.reporting.catalogue import Request
from scwm.reporting.runs import load_runs
from scwm.reporting.tables.claims import CLAIMS, evaluate_claims, load_claims

# Layouts and data sets


@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_layout_refuses_what_it_cannot_read(layout, tmp_path):
    """A folder that is not there, one that holds nothing, and one that holds something else."""
    load = LAYOUTS.load(layout).load
    assert list(inspect.signature(load).parameters)[:2] == ["source", "name"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("no crops")
    for folder in ("absent", "empty", "other"):
        with pytest.raises(ScwmError, match="remedy"):
            load(tmp_path / folder, "toy")


@pytest.mark.parametrize("name", data_names())
def test_data_set(name):
    """Its entry is read, its loader takes its options, and its card says what to respect."""
    entry = lookup(name)
    load = LAYOUTS.load(entry.layout).load
    inspect.signature(load).bind(Path(), name, **entry.options)
    card = data_card(name)
    assert entry.title and len(entry.ethics) > 20
    assert card["ethics"] == entry.ethics and card["title"] == entry.title
    assert entry.source.preset or entry.source.urls or entry.ask, "how to get it"
    assert entry.licence or entry.layout == "folder", "folder: the user's own crops"
    assert "duke" not in (name + entry.title).lower(), "withdrawn by its authors"
    resolve_config("scwm", name, 0)


@pytest.mark.parametrize(
    ("trained", "tested", "expected"),
    [
        ("market1501", "market1501_dev", True),
        ("market1501_small", "market1501_dev_small", True),
        ("market1501_dev", "market1501", False),
        ("market1501_dev", "market1501_dev_small", False),
        ("mannequins", "market1501_dev", False),
        ("mannequins", "mannequins_tiny", False),
        ("unknown", "market1501_dev", False),
    ],
)
def test_development_halves_are_training_images(trained, tested, expected):
    assert overlaps_training(trained, tested) is expected


# Methods (how they train: test_training.py) and claims


@pytest.mark.parametrize("method", method_names())
def test_method(method):
    """It says what it is, and is no other method under a second name."""
    own = resolve_config(method, "mannequins", 0)
    assert own.description
    for other in set(method_names()) - {method}:
        names = {"method": method, "description": own.description}
        assert resolve_config(other, "mannequins", 0).model_copy(update=names) != own, other


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for method in {side.method for claim in load_claims() for side in (claim.side, claim.rival)}:
        write_run(root, "mannequins", method, 0)
    return root


@pytest.mark.parametrize("name", sorted(path.stem for path in CLAIMS.glob("*.yaml")))
def test_claim(made_up, name):
    """Its measure is one that runs have; it is about a data set there is."""
    (claim,) = (claim for claim in load_claims() if claim.name == name)
    assert claim.statement[0].isupper() and not claim.statement.endswith(".")
    assert claim.datasets
    if "mannequins" in claim.datasets:
        methods = {claim.side.method, claim.rival.method}
        runs = load_runs(Request(made_up, ["mannequins"], sorted(methods), [0]))
        (found,) = evaluate_claims([claim], runs)
        file, _ = locate(claim.side.metric)
        some = file.partition("/")[0] in ("study", "transfer")
        assert len(found.effects) == 1 or (some and f"no {file}.json" in found.missing[0])
