"""Published results: each with its source, none of SCWM's, and ours next to them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_up_runs import NAMES, write_runs

from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import Request
from scwm.reporting.runs import load_runs
from scwm.reporting.tables.published import PUBLISHED, published_frame, read_published


def test_published_rows_have_a_source_and_scwm_no_figures() -> None:
    table = read_published()
    assert set(table.dataset) == {"market1501", "msmt17"}
    assert (table.source != "").all() and not table.duplicated(["dataset", "method"]).any()
    own = table[table.method == "SCWM"]
    assert len(own) == 2 and (own[["mAP", "rank1", "rank5", "rank10"]] == "").all(axis=None)


def test_ours_stands_beside_the_published(root: Path) -> None:
    runs = load_runs(Request(root, *NAMES))
    table = published_frame(runs)
    market = table[table.dataset == "market1501"]
    assert "Cluster Contrast (DBSCAN)" in set(market.method)
    ours = market[market.group == "ours"].set_index("method")
    assert list(ours.index) == ["scwm", "global_only", "pretrained"]
    files = root.glob("market1501/scwm/seed*/metrics.json")
    mean = np.mean([json.loads(path.read_text())["mAP"] for path in files])
    assert float(ours.loc["scwm", "mAP"]) == pytest.approx(100 * mean, abs=0.05)
    assert set(table[table.dataset == "mannequins"].group) == {"ours"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "no"),
        ({"training": {"sampler": "identities"}, "refinement": {"cameras": 0}}, "no"),
        ({"training": {"sampler": "identities_and_cameras"}}, "yes"),
        ({"refinement": {"cameras": 0.5}}, "yes"),
    ],
)
def test_ours_says_whether_training_used_cameras(
    settings: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    names = ["market1501"], ["scwm", "pretrained"], [0]
    path = write_runs(tmp_path, *names) / "market1501/scwm/seed0/config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))
    table = published_frame(load_runs(Request(tmp_path, *names)))
    found = table[table.group == "ours"].set_index("method").cameras
    assert (found["scwm"], found["pretrained"]) == (expected, "no")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset,method", "data,method", "Other columns"),
        ("github.com/yxgeee/SpCL figs/results.png", "", "without a source"),
        ("73.1", "731", "mAP is '731'"),
        ("73.1", "high", "mAP is 'high'"),
    ],
)
def test_a_wrong_list_of_published_results_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED.read_text().replace(old, new))
    with pytest.raises(ScwmError, match=message):
        read_published(path)
