"""docs/config.md is what the rules, the base and the schema say now."""

import yaml

from scwm.core.config import CONFIG_DIR, RULES, flatten, read_yaml
from tools.config_reference import PAGE, base_settings, page


def test_page_is_as_generated():
    assert PAGE.read_text() == page(), "run `python tools/config_reference.py`"


def test_every_default_is_read_and_explained():
    """By a plain YAML reader; a setting whose comment says nothing would have no meaning."""
    found = base_settings((CONFIG_DIR / "base.yaml").read_text())
    values = {key: yaml.safe_load(value) for key, (value, _) in found.items()}
    assert values == dict(flatten(read_yaml(CONFIG_DIR / "base.yaml")))
    assert {"dataset", "method", "description", "seed"} == RULES.keys() - values.keys()
    assert all(meaning for _, meaning in found.values())
