"""Properties of merging, assigning and checking configs, over drawn values.

They are drawn without chance from run to run; SCWM_FUZZ=20 draws 20 times as many.
"""

import json
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scwm.core.config import (
    RULES,
    load_config,
    merge,
    parse_assignments,
    parse_yaml,
    resolve_config,
    validate,
    write_yaml,
)
from scwm.core.errors import ScwmError
from scwm.core.plugins import Kind

examples = settings(
    max_examples=60 * int(os.environ.get("SCWM_FUZZ", "1")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from([*RULES, *{key.split(".")[0] for key in RULES}]) | st.text(max_size=6)
trees = st.recursive(
    st.dictionaries(keys, scalars, max_size=3),
    lambda inner: st.dictionaries(
        keys, inner | scalars | st.lists(scalars, max_size=3), max_size=3
    ),
    max_leaves=6,
)


@examples
@given(st.text(max_size=30) | st.builds("{}={}".format, keys, st.text(max_size=20)))
def test_assignment_is_a_nested_value_or_an_error(text):
    try:
        found = parse_assignments([text])
    except ScwmError as error:
        assert "remedy" in str(error)
        return
    for part in text.partition("=")[0].split("."):
        (name,) = found
        assert name == part
        found = found[name]


@examples
@given(st.lists(st.text("abc_", min_size=1), min_size=1, max_size=4), st.integers() | st.booleans())
def test_assignment_gives_its_value(parts, value):
    found = parse_assignments([f"{'.'.join(parts)}={json.dumps(value)}"])
    for part in parts:
        found = found[part]
    assert found == value and type(found) is type(value)


@examples
@given(trees, trees)
def test_merging(one, two):
    both = merge(one, two)
    assert set(both) == {*one, *two}
    assert repr(merge(both, two)) == repr(both) and repr(merge(one, {})) == repr(one)
    for key, value in two.items():
        if not isinstance(value, dict):
            assert repr(both[key]) == repr(value)


@examples
@given(trees)
def test_overrides_are_valid_or_named(overrides):
    """No override gets past the rules: what is accepted is a config of exactly the known keys."""
    try:
        config = resolve_config("scwm", "toy", 0, overrides)
    except ScwmError as error:
        assert "remedy" in str(error)
        return
    validate(config)
    sections = {key.split(".")[0] for key in RULES}
    assert set(config) == sections and config["method"] == "scwm"


@settings(examples, max_examples=examples.max_examples // 4)
@given(st.data())
def test_config_of_any_allowed_values_survives_its_file(data):
    overrides: dict = {}
    for key, rule in RULES.items():
        if key in ("dataset", "method", "seed", "model.image_size", "training.virtual_batch"):
            continue
        if isinstance(rule, type):
            value = data.draw(
                st.booleans() if rule is bool else st.text("aä :#'\"\n{}[]-", max_size=5)
            )
        elif isinstance(rule, Kind):
            switches = [True, False] if rule.default else []
            value = data.draw(st.sampled_from([*switches, *rule.names()]))
        elif isinstance(rule[0], str):
            value = data.draw(st.sampled_from(rule))
        else:
            kind, low, high = rule
            value = data.draw(st.integers(low, high) if kind is int else st.floats(low, high))
        overrides = merge(overrides, parse_assignments([f"{key}=0"]))
        *sections, last = key.split(".")
        (overrides[sections[0]] if sections else overrides)[last] = value
    overrides["training"]["virtual_batch"] = 0
    config = resolve_config("scwm", "toy", 0, overrides)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_yaml(config, work / "config.yaml")
        assert load_config(work / "config.yaml") == config
        assert os.listdir(work) == ["config.yaml"]


@examples
@given(st.text(st.sampled_from("ab:{}[]-&*!%|>'\"#, \n\t?0127._=~<"), max_size=30))
def test_yaml_is_a_value_or_an_error(text):
    try:
        parse_yaml(text, "here")
    except ScwmError as error:
        assert "where:  here" in str(error)
