"""Nothing that a config, a data set or a download holds is run, by Python, a shell or a browser."""

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_runs import write_run
from PIL import Image

from scwm import reporting
from scwm.core.config import read_benchmark
from scwm.core.errors import ScwmError
from scwm.inference.clusters import Clusters
from scwm.inference.features import CropFeatures
from scwm.inference.pages import cluster_page, rank_page
from scwm.inference.rank_lists import rank_crops
from scwm.reporting.catalogue import Request
from scwm.reporting.dashboard import write_dashboard

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "scwm").rglob("*.py"))
# The renderer speaks to its own worker processes in pickles; no file of anybody's is read so.
OWN_PIPE = "scwm/data/mannequins/worker.py"


def calls(path):
    """(name, keywords) of every call in a source file, `torch.load` by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            known = {one.arg: ast.unparse(one.value) for one in node.keywords}
            yield ast.unparse(node.func), known


def test_no_source_unpickles_or_runs_what_it_reads():
    seen = set()
    for path in SOURCES:
        own = path.relative_to(ROOT).as_posix() == OWN_PIPE
        for name, keywords in calls(path):
            seen.add(name)
            if name == "torch.load" or name.endswith("get_state_dict"):
                assert keywords.get("weights_only") == "True", path
            assert keywords.get("allow_pickle", "False") == "False", path
            assert name != "yaml.load" or path.name == "yaml_files.py", path  # safe
            assert keywords.get("shell", "False") == "False", path
            assert name not in ("eval", "exec", "os.system", "os.popen", "pd.read_pickle"), path
            assert own or not name.startswith(("pickle.", "joblib.", "dill.")), path
    assert {"torch.load", "np.load", "subprocess.run"} <= seen


def test_yaml_builds_no_objects():
    from scwm.core.errors import ScwmError
    from scwm.core.yaml_files import parse_yaml

    with pytest.raises(ScwmError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.system ['touch x']", "here")


class Page(HTMLParser):
    """Every tag of a page with its attributes, and its text as a reader sees it."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


EVIL = """"'&amp;<script>alert(1)<img src=x onerror=alert(1)>"""


def test_every_page_escapes_every_name(tmp_path):
    """Names, notes, descriptions and hardware that are HTML are shown, not obeyed."""
    run = write_run(tmp_path / "runs", EVIL, f"m{EVIL}", 0)
    for name, change in (
        ("metrics.json", {"label_note": EVIL}),
        ("provenance.json", {"commit": EVIL, "hardware": {"cpu": EVIL}, "versions": EVIL}),
    ):
        content = json.loads((run / name).read_text()) | change
        (run / name).write_text(json.dumps(content))
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"description": EVIL, EVIL: EVIL}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    # One run is missing, so that the gaps are written too.
    names = tmp_path / "runs", [EVIL], [f"m{EVIL}", f"gone{EVIL}"], [0]
    for table in ("main", "ablation"):
        reporting.table(table, Request(*names, partial=True), tmp_path / "tables" / table)
    reporting.page(tmp_path / "plots", Request(*names, partial=True), tmp_path / "report.html")
    write_dashboard([run], tmp_path / "dashboard.html")
    crop = tmp_path / f"{EVIL}.png"
    Image.new("RGB", (8, 16)).save(crop)
    crops = CropFeatures([crop, crop], np.eye(2, dtype=np.float32), "global")
    clusters = Clusters([crop, crop], np.array([0, -1]), EVIL)
    (tmp_path / "ranks.html").write_text(rank_page(rank_crops(crops, crops), EVIL, EVIL))
    (tmp_path / "clusters.html").write_text(cluster_page(clusters, EVIL, EVIL))
    pages = [*tmp_path.glob("*.html"), *tmp_path.glob("tables/*.html")]
    assert len(pages) == 6
    for path in (*pages, *tmp_path.glob("tables/*.md")):
        text = path.read_text()
        assert EVIL not in text and "&lt;img" in text, path
        page = Page(text)
        assert path.suffix == ".md" or EVIL in page.text, path
        assert not any("onerror" in attributes or tag == "script" for tag, attributes in page.tags)


NAMES = [
    "scwm; rm -rf x",
    "scwm\n",
    "$(touch x)",
    "`touch x`",
    "a b",
    "../a",
    "a/b",
    "-x",
    "{a}",
    "",
]


KEYS = ("methods", "datasets", "results", "sources", "dataset_settings")
KEYS_AND_NAMES = {(key, name) for key in KEYS for name in NAMES} - {("results", "a/b")}


@pytest.mark.parametrize(("key", "name"), sorted(KEYS_AND_NAMES))
def test_config_refuses_a_command_in_a_name(key, name):
    value = {"results": name, "sources": {name: "a"}, "dataset_settings": {name: {}}}
    config = {"datasets": ["mannequins"], "methods": ["scwm"], "seeds": [0]}
    read_benchmark(config, None)
    with pytest.raises(ScwmError, match=key):
        read_benchmark(config | {key: value.get(key, [name])}, None)


def test_rules_quote_whatever_a_config_decides():
    """In every shell command, what is no number has the format `:q`."""
    numbers = {"threads", "resources.gpu", "resources.processes"}
    seen = 0
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.findall(r"^    shell:\n((?:        .*\n)+)", path.read_text(), re.M):
            for name in re.findall(r"(?<!\{)\{([^{}]+)\}(?!\})", block):
                seen += 1
                assert name.endswith(":q") or name in numbers, f"{path.name}: {name}"
    assert seen > 30
