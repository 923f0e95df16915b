"""Properties of merging, assigning and checking configs, over drawn values.

They are drawn without chance from run to run; SCWM_FUZZ=20 draws 20 times as many.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scwm.core.config import (
    flatten,
    load_config,
    merge,
    parse_assignments,
    plain,
    resolve_config,
    validate,
    write_yaml,
)
from scwm.core.errors import ScwmError
from scwm.core.plugins import Kind
from scwm.core.settings import Config, Section
from scwm.core.yaml_files import parse_yaml

SCHEMA = Config.model_json_schema()
NAMES = ("dataset", "method", "description", "seed", "kind")
KEYS = [key for key, _ in flatten(plain(resolve_config("scwm", "toy", 0)))]

examples = settings(
    max_examples=60 * int(os.environ.get("SCWM_FUZZ", "1")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from([*KEYS, *{key.split(".")[0] for key in KEYS}]) | st.text(max_size=6)
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
    """No override gets past the model: what is accepted is a config of exactly the known keys, and
    the JSON schema agrees."""
    try:
        config = resolve_config("scwm", "toy", 0, overrides)
    except ScwmError as error:
        assert "remedy" in str(error)
        return
    values = plain(config)
    assert validate(values) == config
    assert [key for key, _ in flatten(values)] == KEYS and config.method == "scwm"
    jsonschema.validate(values, SCHEMA)


def test_a_value_of_one_setting_is_valid_or_named():
    """As above, but each example names a setting, so that both outcomes occur."""
    outcomes = set()
    single = [key for key in KEYS if "." in key]

    @examples
    @given(st.sampled_from(single), scalars | st.integers(0, 99) | st.floats(0, 1))
    def check(key: str, value: object) -> None:
        section, name = key.split(".")
        try:
            config = resolve_config("scwm", "toy", 0, {section: {name: value}})
        except ScwmError as error:
            assert f"{section}.{name} is " in str(error)
            outcomes.add("refused")
            return
        values = plain(config)
        if values[section][name] == value:  # else it is the method's own
            outcomes.add("accepted")
        jsonschema.validate(values, SCHEMA)

    check()
    assert outcomes == {"refused", "accepted"}


def allowed(section: type[Section], name: str) -> st.SearchStrategy[Any]:
    """Values that the schema and the folders of modules say a setting may have."""
    spec = SCHEMA["$defs"][section.__name__]["properties"][name]
    for kind in section.model_fields[name].metadata:
        if isinstance(kind, Kind):
            return st.sampled_from([*([True, False] if kind.default else []), *kind.names()])
    if "enum" in spec:
        return st.sampled_from(spec["enum"])
    if spec["type"] == "array":
        sides = st.integers(spec["items"]["minimum"], spec["items"]["maximum"])
        return st.lists(sides, min_size=spec["minItems"], max_size=spec["maxItems"])
    return {
        "boolean": st.booleans(),
        "string": st.text("aä :#'\"\n{}[]-", min_size=spec.get("minLength", 0), max_size=5),
        "integer": st.integers(spec.get("minimum"), spec.get("maximum")),
        "number": st.floats(spec.get("minimum"), spec.get("maximum")),
    }[spec["type"]]


@settings(examples, max_examples=examples.max_examples // 4)
@given(st.data())
def test_config_of_any_allowed_values_survives_its_file(data):
    overrides: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        if isinstance(section := field.annotation, type) and issubclass(section, Section):
            overrides[name] = {
                key: data.draw(allowed(section, key)) for key in section.model_fields
            }
    overrides["training"]["virtual_batch"] = 0
    eps = overrides["pseudo_labels"]["eps"]
    overrides["pseudo_labels"]["eps_gap"] *= min(eps, 1 - eps)
    if not overrides["model"]["parts"] or overrides["memory"]["global_entries"] == "images":
        overrides["refinement"]["neighbours"] = 0
    if overrides["memory"]["global_entries"] == "images" or overrides["refinement"]["neighbours"]:
        overrides["support"]["degree"] = 0.0
    if not overrides["refinement"]["neighbours"]:
        overrides["refinement"]["cameras"] = 0.0
    config = resolve_config("scwm", "toy", 0, overrides)
    assert plain(config) == overrides | {key: getattr(config, key) for key in NAMES}
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
