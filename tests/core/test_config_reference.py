"""docs/config.md and the schema of a benchmark's config are what the models say now."""

import jsonschema
import pytest
import yaml

from scwm.core.config import plain
from scwm.core.settings import Section, Settings
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from tools.config_reference import PAGE, SCHEMA, page, schema

BENCHMARKS = ("config", "ci", "market1501", "market1501_cpu", "market1501_small", "paper")


def test_page_and_schema_are_as_generated():
    assert PAGE.read_text() == page(), "run `python tools/config_reference.py`"
    assert SCHEMA.read_text() == schema(), "run `python tools/config_reference.py`"


def sections() -> dict[str, Section]:
    settings = Settings()
    return {name: getattr(settings, name) for name in Settings.model_fields}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_default_and_a_meaning(name):
    """The page shows each with both."""
    part = page().partition(f"### `{name}`")[2].partition("\n#")[0]
    rows = {row.split("`")[1]: row for row in part.splitlines() if row.startswith("| `")}
    section = sections()[name]
    assert list(rows) == list(plain(section))
    for key, field in type(section).model_fields.items():
        assert (
            field.description and field.description.endswith(".") and field.description in rows[key]
        )
        assert not field.is_required() and "needed" not in rows[key]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_shipped_configs_fit_the_schema(name):
    """As an editor checks them; every setting of a part of a benchmark is optional."""
    jsonschema.validate(read_yaml(CONFIG_DIR / f"{name}.yaml"), yaml.safe_load(SCHEMA.read_text()))


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": {}},
        {"training": {"epoch": 3}},
        {"training": {"epochs": 0}},
        {"training": {"epochs": 2.5}},
        {"model": {"image_size": [64]}},
        {"model": {"pooling": "max"}},
    ],
)
def test_the_schema_refuses_wrong_settings(settings):
    config = {"datasets": ["toy"], "methods": ["scwm"], "seeds": [0], "settings": settings}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, yaml.safe_load(SCHEMA.read_text()))
