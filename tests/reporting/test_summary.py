"""The report's first sentences: what was found, how sure it is, and what was not decided."""

from dataclasses import replace

import pandas as pd
import pytest

from scwm.reporting.runs import Run, Runs
from scwm.reporting.summary import summarise, to_markdown
from scwm.reporting.tables.claim_table import claim_frame, claim_table
from scwm.reporting.tables.claims import Claim, Outcome, Side, decide

SIDE, RIVAL = Side("scwm", "mAP"), Side("global_only", "mAP")


def runs_of(scores, tmp_path):
    found = [
        Run("people", method, seed, tmp_path, {}, {"mAP": value}, pd.DataFrame(), {})
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]
    seeds = tuple(range(max(map(len, scores.values()))))
    return Runs(("people",), tuple(scores), seeds, tuple(found))


def outcomes_of(*effects, kind="required"):
    claims = [
        Claim(f"c{i}", f"Statement {i}", SIDE, RIVAL, kind, at_least=0.02)
        for i in range(len(effects))
    ]
    made = [Outcome(c, "people", tuple(e)) for c, e in zip(claims, effects, strict=True)]
    return decide(made)


def test_summary_names_levels_and_verdicts(tmp_path):
    scores = {"scwm": [0.8, 0.9, 0.85], "pretrained": [0.2, 0.2, 0.2], "oracle": [0.95]}
    found = outcomes_of([0.1, 0.101, 0.102], [-0.1, -0.101, -0.102], [0.1, -0.1, 0.05], [])
    summary = summarise(runs_of(scores, tmp_path), "people", found)
    assert summary == [
        (
            "The full method has a mAP of 85.0 ± 5.0 with 3 seeds; the network before training "
            "20.0 ± 0.0 and training with the true identities 95.0.",
            [],
        ),
        (
            "Held, 1 of 4 required claims:",
            ["Statement 0 (+10.1, 95 % interval +9.9 to +10.3, asked +2.0)"],
        ),
        (
            "Refuted, 1 of 4 required claims:",
            ["Statement 1 (−10.1, 95 % interval −10.3 to −9.9, asked +2.0)"],
        ),
        (
            "Undecided, 1 of 4 required claims: 1 on the whole method. "
            "Effects as large as asked: 0 of 1.",
            [],
        ),
        ("Not run, 1 of 4 required claims: 1 on the whole method.", []),
    ]
    lines = to_markdown({"people": summary, "<b>": []}).splitlines()
    assert lines[:3] == ["## people", "", summary[0][0]]
    assert lines[-5:] == [
        *("Not run, 1 of 4 required claims: 1 on the whole method.", ""),
        *("## &lt;b&gt;", "", "The full method has no run."),
    ]


def test_methods_above_the_full_one_are_named(tmp_path):
    """Not controls or their variants; on the seeds that both have, the highest first."""
    own, equal = [0.8, 0.9, 0.85], [0.7, 0.7, 0.7]
    scores = {"scwm": own, "bands": [0.81, 0.92, 0.88], "stripes": equal, "oracle": [0.95] * 3}
    scores |= {"hard_memory": [0.9, 0.9], "oracle@training.epochs=9": [0.99] * 3}
    runs = runs_of(scores, tmp_path)
    start = "Higher in mAP than the full method, "
    ((sentence, higher),) = summarise(runs, "people", [])[1:]
    assert sentence == start + "2 of 3 methods (paired by seed, intervals not corrected):"
    assert higher == [
        "hard_memory (+5.0, 95 % interval −58.5 to +68.5)",
        "bands (+2.0, 95 % interval −0.5 to +4.5)",
    ]
    lower = summarise(runs_of({"scwm": own, "stripes": equal}, tmp_path), "people", [])
    assert lower[1][0].startswith(start + "none of 1 methods (") and not lower[1][1]


def test_undecided_claims_take_one_sentence_that_counts_them_by_part(tmp_path):
    names = ("space_a", "foreground_a", "memory_a", "separation_a", "above_a")
    found = outcomes_of(*[[0.1, -0.1, 0.05]] * 4, [0.3, -0.1, 0.05])
    found = [
        replace(one, claim=replace(one.claim, name=name))
        for one, name in zip(found, names, strict=True)
    ]
    summary = summarise(runs_of({"scwm": [0.8, 0.9, 0.85]}, tmp_path), "people", found)
    assert summary[1:] == [
        (
            "Undecided, 5 of 5 required claims: 2 on parsing, 1 on memory, 1 on losses and 1 on "
            "the whole method. Effects as large as asked: 1 of 5.",
            [],
        )
    ]


EFFECTS = {"held": 0.1, "refuted": -0.1, "undecided": 0.021}


@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("tendency", EFFECTS)
def test_summary_and_claims_table_give_the_same_verdict(tmp_path, tendency, seeds):
    spread = 0.05 if tendency == "undecided" else 0.0001
    effects = [EFFECTS[tendency] + spread * (-1) ** seed for seed in range(seeds)]
    runs, found = runs_of({"scwm": [0.8] * seeds}, tmp_path), outcomes_of(effects, [])
    (first, second), verdict = claim_frame(found).verdict, tendency if seeds > 1 else "one seed"
    cells = claim_table(found, runs).blocks[0].groups["required"][0]
    assert (first, second) == (verdict, "not run") and verdict in [one.text for one in cells]

    text = to_markdown({"people": summarise(runs, "people", found)})
    words = {
        **{"held": "Held, 1 of 2 required claims:", "refuted": "Refuted, 1 of 2 required claims:"},
        **{"undecided": "Undecided, 1 of 2", "one seed": "Undecided with one seed, 1 of 2"},
    }
    assert {name for name, word in words.items() if word in text} == {verdict}
    assert "Not run, 1 of 2 required claims" in text
    decided = verdict in ("held", "refuted")
    assert ("1 rest on fewer than 3 seeds." in text) == (decided and seeds < 3)
    assert text.count("Caution: ") == (seeds < 3) * (1 + decided)


def test_an_effect_of_zero_is_not_as_large_as_asked(tmp_path):
    (found,) = outcomes_of([0.1, 0.0, -0.1])
    none_asked = replace(found, claim=replace(found.claim, at_least=0.0))
    summary = summarise(runs_of({"scwm": [0.8] * 3}, tmp_path), "people", decide([none_asked]))
    assert summary[-1][0].endswith("Effects as large as asked: 0 of 1.")


@pytest.mark.parametrize(("seeds", "warns"), [(1, True), (2, True), (3, False)])
def test_few_seeds_are_named_as_chance(tmp_path, seeds, warns):
    found = summarise(runs_of({"scwm": [0.8] * seeds}, tmp_path), "people", [])
    sentences = [sentence for sentence, _ in found]
    assert any("may be chance" in one for one in sentences) == warns
    assert sentences[0].endswith(f"with {seeds} seed{'s' if seeds > 1 else ''}.")


def test_informative_claims_and_other_data_sets_are_left_out(tmp_path):
    runs = runs_of({"scwm": [0.8, 0.9, 0.85]}, tmp_path)
    found = outcomes_of([0.1, 0.11, 0.12], kind="informative")
    found += [replace(one, dataset="other") for one in outcomes_of([0.1, 0.11, 0.12])]
    assert len(summarise(runs, "people", found)) == 1
    assert summarise(runs, "other", found) == []
