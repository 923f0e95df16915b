"""Run configs: every method against its definition, and every kind of mistake by name."""

import copy
import re
from typing import Any

import pytest

from scwm.core.config import (
    changed,
    config_hash,
    flatten,
    load_benchmark,
    load_config,
    method_names,
    parse_assignments,
    plain,
    read_benchmark,
    resolve_config,
    validate,
    write_yaml,
)
from scwm.core.errors import ScwmError
from scwm.core.settings import Config
from scwm.core.yaml_files import CONFIG_DIR, read_yaml

STRIPES: dict[str, Any] = {"model.part_source": "stripes"}
OF_PPLR: dict[str, Any] = {
    "model.parts": 3,
    "pseudo_labels.feature": "global",
    "pseudo_labels.eps": 0.5,
    "memory.global_strategy": "uniform",
    "memory.part_strategy": "uniform",
    "refinement.neighbours": 20,
    "losses.separation": 0,
    "evaluation.feature": "global",
}
# What each method changes of scwm, key by key: its definition, written a second time.
DIFFERENCES: dict[str, dict[str, Any]] = {
    "scwm": {},
    "no_foreground": {"parsing.foreground_correction": False},
    "no_space": {"parsing.space_correction": False},
    "no_corrections": {"parsing.foreground_correction": False, "parsing.space_correction": False},
    "uniform_memory": {"memory.global_strategy": "uniform", "memory.part_strategy": "uniform"},
    "hard_memory": {"memory.global_strategy": "hardest", "memory.part_strategy": "hardest"},
    "weighted_global_only": {"memory.part_strategy": "uniform"},
    "weighted_part_only": {"memory.global_strategy": "uniform"},
    "no_separation": {"losses.separation": 0},
    "no_diversity": {"losses.diversity": 0},
    "bands": {"parsing.space_correction": "bands"},
    "stripes": {"model.part_source": "stripes"},
    "global_only": {"model.parts": 0},
    "cluster_contrast": {"model.parts": 0, "memory.global_strategy": "sequential"},
    "cluster_contrast_hard": {"model.parts": 0, "memory.global_strategy": "hardest"},
    "spcl": {
        "model.parts": 0,
        "pseudo_labels.eps_gap": 0.02,
        "pseudo_labels.unclustered": "own_class",
        "memory.global_entries": "images",
        "memory.global_strategy": "sequential",
        "memory.momentum": 0.2,
    },
    "spcl_parsed": {
        "pseudo_labels.eps_gap": 0.02,
        "pseudo_labels.unclustered": "own_class",
        "memory.global_entries": "images",
        "memory.global_strategy": "sequential",
        "memory.part_strategy": "sequential",
        "memory.momentum": 0.2,
    },
    "ise": {"model.parts": 0, "memory.global_strategy": "hardest", "support.degree": 1.0},
    "ise_parsed": {
        "memory.global_strategy": "hardest",
        "memory.part_strategy": "hardest",
        "support.degree": 1.0,
    },
    "pplr": STRIPES | OF_PPLR,
    "pplr_cameras": STRIPES | OF_PPLR | {"refinement.cameras": 0.5},
    "pplr_parsed": OF_PPLR,
    "oracle": {"pseudo_labels.source": "truth"},
    "pretrained": {"kind": "untrained", "model.parts": 0},
    "random_features": {"kind": "random_features", "model.parts": 0, "model.weights": "none"},
    "colour_histogram": {"kind": "colour_histogram", "model.parts": 0, "model.weights": "none"},
}


def flat(config: Config) -> dict[str, Any]:
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``."""
    return dict(flatten(plain(config)))


KEYS = flat(resolve_config("scwm", "toy", 0))


def replaced(key: str, value: Any) -> dict[str, Any]:
    """The config of scwm with one value replaced."""
    config = copy.deepcopy(plain(resolve_config("scwm", "toy", 0)))
    *sections, last = key.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return config


def test_a_variant_is_its_method_with_one_setting_changed():
    scwm = flat(resolve_config("scwm", "toy", 0))
    varied = flat(resolve_config("scwm@losses.separation=1.5", "toy", 0))
    differing = {key for key in scwm if scwm[key] != varied[key]}
    assert differing == {"losses.separation", "method", "description"}
    assert varied["losses.separation"] == 1.5
    assert varied["description"] == "scwm, losses.separation=1.5"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scwm@model.prts=4", "Did you mean 'model.parts'"),
        ("scwm@model.parts=40", "model.parts is 40"),
        ("scmw@model.parts=4", "Did you mean 'scwm'"),
        ("scwm@method=oracle", "Unknown method"),
        ("scwm@model.parts=../4", "Unknown method"),
        ("spcl@pseudo_labels.eps=0.99", "pseudo_labels.eps is 0.99 ± 0.02"),
        ("scwm@pseudo_labels.eps_gap=0.5", "± 0.5"),
        ("spcl@seed.x=3", "spcl@seed.x=3 changes no setting"),
        ("scwm@description.x=1", "scwm@description.x=1 changes no setting"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(name, message):
    with pytest.raises(ScwmError, match=re.escape(message)):
        resolve_config(name, "toy", 0)


def test_every_method_of_the_paper_is_defined_here():
    paper = load_benchmark(CONFIG_DIR / "paper.yaml")
    assert set(paper.methods) <= set(DIFFERENCES) <= set(method_names())


def test_hexadecimal_text_is_no_number(tmp_path):
    """Such as a hash that begins like 1e4."""
    (tmp_path / "values.yaml").write_text("sha256: 95e4f66d\ncommit: 1e5f\nrate: 1e-4\n")
    assert read_yaml(tmp_path / "values.yaml") == {
        "sha256": "95e4f66d", "commit": "1e5f", "rate": 1e-4
    }  # fmt: skip


@pytest.mark.parametrize("method", DIFFERENCES)
def test_method_differs_from_scwm_as_its_name_says(method):
    full, own = (flat(resolve_config(m, "toy", 3)) for m in ("scwm", method))
    assert own["method"] == method and own["dataset"] == "toy" and own["seed"] == 3
    assert own["description"], "every method says what it is"
    assert set(own) == set(KEYS)
    names = {"method", "description"}
    found = {key: own[key] for key in set(own) - names if own[key] != full[key]}
    assert found == DIFFERENCES[method]


@pytest.mark.parametrize("method", DIFFERENCES)
def test_experiment_never_undoes_a_method(method):
    """A method's own values hold whatever an experiment sets; all others follow it."""
    full = resolve_config("scwm", "toy", 0, {"training": {"epochs": 3}})
    own = flat(resolve_config(method, "toy", 0, plain(full)))
    assert {key: own[key] for key in DIFFERENCES[method]} == DIFFERENCES[method]
    assert own["training.epochs"] == 3 and own["method"] == method


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.epoch", 5, "'training.epoch'.*Did you mean 'training.epochs'"),
        ("training.eps", 0.5, "'training.eps'.*mean 'training.epochs' or 'pseudo_labels.eps'"),
        ("parts", 5, "Unknown key 'parts'.*or 'model.parts'"),
        ("model.weights", "", "model.weights is ''"),
        ("model.part_channels", 1, "model.part_channels is 1.*from 2"),
        ("augmentation", 5, "Unknown key 'augmentation'"),
        ("training", 5, "training is 5.*give a mapping"),
        ("training.epochs", 2.5, "training.epochs is 2.5"),
        ("training.epochs", True, "training.epochs is True"),
        ("training.epochs", 0, "training.epochs is 0.*from 1 to 1,000,000"),
        ("training.epochs", "2", "training.epochs is '2'.*give an integer"),
        ("training.deterministic", 1, "training.deterministic is 1.*true or false"),
        ("training.learning_rate", "3.5e-4 ", "training.learning_rate is '3.5e-4 '"),
        ("training.learning_rate", float("nan"), "training.learning_rate is nan.*from 0 to 10"),
        ("training.average", 1, "training.average is 1.*from 0 to 0.9999"),
        ("pseudo_labels.eps", 1.5, "pseudo_labels.eps is 1.5.*from 0.001 to 0.999"),
        ("parsing.space_correction", 1, "parsing.space_correction is 1.*true, false, bands"),
        ("memory.part_strategy", "hard", "memory.part_strategy is 'hard'.*Did you.*one of hard_"),
        ("parsing.space_correction", "body_row", "Did you mean 'body_rows'"),
        ("model.backbone", None, "model.backbone is None"),
        ("model.backbone", "resnet5", "Did you mean 'resnet50'"),
        ("model.backbone", True, "model.backbone is True.*one of mobilenet_v2"),
        ("model.image_size", 128, "model.image_size is 128"),
        ("model.image_size", [128], "model.image_size is .128."),
        ("model.image_size", [128, 16], r"model.image_size\[1\] is 16.*32 to 4,096"),
        ("seed", -1, "seed is -1"),
        ("training.virtual_batch", 1, "training.virtual_batch is 1.*stands alone"),
        ("training.virtual_batch", 51, "training.virtual_batch is 51.*batch of 256"),
    ],
)
def test_mistakes_are_named(key, value, message):
    with pytest.raises(ScwmError, match="(?s)" + message):
        validate(replaced(key, value))


@pytest.mark.parametrize("key", KEYS)
def test_missing_key_is_named(key):
    config = replaced(key, None)
    *sections, last = key.split(".")
    inner = config
    for section in sections:
        inner = inner[section]
    del inner[last]
    with pytest.raises(ScwmError, match=f"The key '{key}' is missing"):
        validate(config)


def test_unknown_method_is_an_error_with_a_suggestion():
    with pytest.raises(ScwmError, match=r"(?s)Unknown method 'no_spaces'.*Did you mean 'no_space'"):
        resolve_config("no_spaces", "toy", 0)


def test_hash_is_of_the_values_alone():
    config = resolve_config("scwm", "toy", 0)
    turned = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value
        for key, value in reversed(plain(config).items())
    }
    assert list(turned) != list(plain(config))
    assert config_hash(turned) == config_hash(config)
    other = {
        key: [1] if isinstance(value, list) else f"{value}!" for key, value in flat(config).items()
    }
    hashes = {config_hash(replaced(key, value)) for key, value in other.items()}
    assert len(hashes | {config_hash(config)}) == len(other) + 1


def test_hash_and_file_are_those_of_the_values_as_written(tmp_path):
    """A whole number of a setting that may be a fraction stays one: recorded hashes hold."""
    config = resolve_config("scwm", "toy", 0, {"losses": {"part": 2}})
    assert type(plain(config)["losses"]["part"]) is int and config.losses.part == 2.0
    assert config_hash(config) == "c717e12f64741403"
    write_yaml(config, tmp_path / "config.yaml")
    assert "part: 2\n" in (tmp_path / "config.yaml").read_text()


def test_a_config_is_changed_by_a_checked_copy_only():
    config = resolve_config("scwm", "toy", 0)
    assert changed(config, {"training": {"epochs": 3}}).training.epochs == 3
    assert config.training.epochs == 50
    with pytest.raises(ScwmError, match=r"training\.epochs is 0"):
        changed(config, {"training": {"epochs": 0}})
    with pytest.raises(ValueError, match="frozen"):
        config.training.epochs = 3


BENCHMARK = {"datasets": ["toy"], "methods": ["scwm"], "seeds": [0]}


def test_texts_of_a_benchmark_are_read_as_what_they_write():
    """As Snakemake's command line hands nested values over."""
    texts = {"epochs": "2", "learning_rate": "1e-4", "deterministic": "true"}
    model = {"image_size": ["64", "32"], "weights": "none", "backbone": "resnet18"}
    found = read_benchmark(
        {
            **BENCHMARK,
            "seeds": ["3"],
            "gpu": "true",
            "claims": "null",
            "settings": {"training": texts, "model": model},
        },
        "here",
    )
    values = plain(found)
    assert found.seeds == [3] and found.gpu is True and found.claims is None
    assert values["settings"] == {
        "training": {"epochs": 2, "learning_rate": 1e-4, "deterministic": True},
        "model": {"image_size": [64, 32], "weights": "none", "backbone": "resnet18"},
    }
    assert values["results"] == "results" and values["dataset_settings"] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 3}, "Unknown key 'epochs'.*mean 'settings.training.epochs'"),
        ({"seed": [1]}, "Unknown key 'seed'.*mean 'seeds'"),
        ({"settings": {"optimiser": {"name": "adam"}}}, "Unknown key 'settings.optimiser'"),
        ({"settings": {"kind": "trained"}}, "Unknown key 'settings.kind'"),
        ({"settings": {"training.epochs": 3}}, "not a single key.*nest it"),
        ({"dataset_settings": {"toy": {"model": {"part": 3}}}}, "mean 'dataset_settings.toy.model"),
        ({"settings": {"training": {"epochs": 0}}}, "settings.training.epochs is 0"),
        ({"settings": 5}, "settings is 5.*give a mapping"),
        ({"methods": ["scwm", "scwm; rm -rf ."]}, r"methods\[1\] is .*a name of a-z, 0-9 and _"),
        ({"methods": ["scwm\n"]}, r"methods\[0\] is "),
        ({"methods": ["ise", "ise@eps=0.5"]}, r"methods\[1\] is 'ise@eps=0.5'.*one @SECTION"),
        ({"datasets": ["../market1501"]}, r"datasets\[0\] is "),
        ({"claims": ["ok", "Bad Name"]}, r"claims\[1\] is 'Bad Name'"),
        ({"sources": {"market-1501": "/data"}}, "sources.market-1501 has no valid name"),
        ({"sources": {"toy": ""}}, "sources.toy is ''"),
        ({"sweep": {"model.parts": ["../6"]}}, r"sweep.model.parts\[0\] is "),
        ({"results": "/tmp/results"}, "results is '/tmp/results'"),
        ({"seeds": [0, 0]}, "seeds is .0, 0..*without repetition"),
        ({"seeds": [-1]}, r"seeds\[0\] is -1"),
        ({"methods": []}, "methods is "),
        ({"gpu": "perhaps"}, "gpu is 'perhaps'.*true or false"),
        ({"processes": 0}, "processes is 0.*from 1"),
        ({"seeds": [2**31]}, r"seeds\[0\] is 2147483648"),
        ({"results": "results/"}, "results is 'results/'"),
        ({"results": "a//b"}, "results is 'a//b'"),
    ],
)
def test_mistakes_of_a_benchmark_are_named_shortly(change, message):
    with pytest.raises(ScwmError, match="(?s)" + message) as caught:
        read_benchmark(BENCHMARK | change, "here.yaml")
    assert "where:  here.yaml" in str(caught.value) and "remedy" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_config_survives_its_file(tmp_path):
    config = resolve_config("oracle", "toy", 1)
    write_yaml(config, tmp_path / "run/config.yaml")
    assert load_config(tmp_path / "run/config.yaml") == config


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "Cannot read the file"), ("a: [1", "Not valid YAML"), ("- 1", "Expected a mapping")],
)
def test_broken_file_is_named(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ScwmError, match=f"(?s){message}.*config.yaml"):
        load_config(path)


def test_assignments_are_read_as_yaml():
    assert parse_assignments([]) == {}
    assert parse_assignments(
        [
            "training.epochs=5",
            "model.image_size=[64, 32]",
            "training.decay=0.5",
            "training.learning_rate=1e-4",
            "model.weights=a=b",
        ]
    ) == {
        "training": {"epochs": 5, "decay": 0.5, "learning_rate": 1e-4},
        "model": {"image_size": [64, 32], "weights": "a=b"},
    }


@pytest.mark.parametrize("text", ["training.epochs", "training.epochs=[1", "=3"])
def test_malformed_assignment_is_an_error(text):
    with pytest.raises(ScwmError):
        validate({**plain(resolve_config("scwm", "toy", 0)), **parse_assignments([text])})


@pytest.mark.parametrize("overrides", [[1], 5, "epochs"])
def test_overrides_must_be_a_mapping(overrides):
    with pytest.raises(ScwmError):
        resolve_config("scwm", "toy", 0, overrides)
