"""The runs that a benchmark plans: variants that are their method itself are refused."""

import pytest
from trained_runs import model_of, same

from scwm.cli.planned_runs import planned_configs
from scwm.core.config import read_benchmark
from scwm.core.errors import ScwmError
from scwm.core.settings import Benchmark


def benchmark_of(method: str) -> Benchmark:
    return read_benchmark({"datasets": ["mannequins"], "methods": [method], "seeds": [0]}, "here")


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("pplr@memory.momentum=0.2", "its classifiers replace the memories"),
        ("cluster_contrast@losses.part=2", "it has no parts"),
        ("cluster_contrast@model.part_channels=64", "it has no parts"),
        ("stripes@parsing.every=2", "its parts are not parsed"),
        ("pretrained@training.learning_rate=0.1", "it is not trained"),
        ("oracle@pseudo_labels.eps=0.5", "its pseudo identities are the true ones"),
        ("ise@refinement.own_share=0.1", "it has no refinement"),
        ("scwm@support.preserving=1", "it has no support samples"),
    ],
)
def test_a_variant_of_what_its_method_does_not_read_is_refused(variant, reason):
    with pytest.raises(ScwmError, match=f"is {variant.partition('@')[0]} itself .* {reason}"):
        planned_configs(benchmark_of(variant))


@pytest.mark.parametrize(
    "variant",
    [
        *("scwm@model.parts=0", "pplr@refinement.neighbours=0", "scwm@support.degree=1.0"),
        *(
            "pplr@memory.part_strategy=noise_suppression",
            "oracle@pseudo_labels.unclustered=own_class",
        ),
    ],
)
def test_a_variant_that_turns_a_component_on_or_off_is_planned(variant):
    assert planned_configs(benchmark_of(variant))[0].method == variant


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ("noise_wait", "Unknown claim 'noise_wait'. Did you mean 'noise_weight'"),
        ("noise_weight", "is not a required claim of mannequins"),  # it is informative
        ("tiny_hard", "is not a required claim of mannequins"),  # it is one of other people
    ],
)
def test_a_claim_that_no_data_set_decides_is_refused(claim, reason):
    named = benchmark_of("scwm").model_copy(update={"claims": ["space_map", claim]})
    with pytest.raises(ScwmError, match=reason):
        planned_configs(named)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("pplr", {"memory": {"momentum": 0.9, "temperature": 1.0, "global_strategy": "hardest"}}),
        (
            "cluster_contrast",
            {"losses": {"part": 9.0, "parsing": 9.0}, "refinement": {"own_share": 0.1}},
        ),
        ("stripes", {"losses": {"diversity": 9.0}, "parsing": {"every": 1}}),
        ("oracle", {"pseudo_labels": {"eps": 0.1, "k1": 3, "min_samples": 9}}),
    ],
)
def test_these_settings_change_no_model(finished, start, tiny_config, tmp_path, method, changes):
    changed = start(tiny_config(method, **changes), tmp_path / "run")
    assert same(model_of(changed), model_of(finished(method)))
