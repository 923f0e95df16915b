"""What the runs of a data set show, in sentences."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import mean, stdev

from scwm.core.config import split_variant
from scwm.core.measures import Measure
from scwm.reporting.catalogue import REFERENCE
from scwm.reporting.claim_groups import WHOLE, grouped
from scwm.reporting.paired import equal_by_chance, t_interval
from scwm.reporting.runs import CONTROLS, ENOUGH_SEEDS, Runs
from scwm.reporting.tables.claims import Outcome

LEVELS = {
    "random_features": "chance",
    "pretrained": "the network before training",
    "global_only": "the global feature alone",
    "oracle": "training with the true identities",
}
VERDICTS = {"held": "Held", "refuted": "Refuted"}
OPEN = {"undecided": "Undecided", "one seed": "Undecided with one seed", "not run": "Not run"}


def summarise(runs: Runs, dataset: str, outcomes: Sequence[Outcome]) -> list[tuple[str, list[str]]]:
    """Describe the scores of the full method, what exceeds it, and the verdicts on the claims.

    Args:
        outcomes: outcomes of the claims; those of other data sets are left out.

    Returns:
        Sentences of plain text, each with the findings that it introduces; none if the full method
        has no run. Verdicts are those of the claims, whatever the number of seeds; few seeds add a
        caution. Claims that are neither held nor refuted are only counted.
    """
    scores = {name: _scores(runs, dataset, name) for name in (REFERENCE, *LEVELS)}
    own = scores[REFERENCE]
    if not own and runs.of(dataset, REFERENCE):
        return [("The full method is not scored, because identities are unknown.", [])]
    if not own:
        return []
    seeds = f"{len(own)} seed{'s' if len(own) > 1 else ''}"
    levels = [f"{words} {_shown(scores[name])}" for name, words in LEVELS.items() if scores[name]]
    headline = f"The full method has a mAP of {_shown(own)} with {seeds}"
    first = f"{headline}; {_listed(levels)}." if levels else f"{headline}."
    found: list[tuple[str, list[str]]] = [(first, [])]
    if len(own) < ENOUGH_SEEDS:
        found.append((f"Caution: with {seeds} the order of the methods may be chance.", []))
    found += _higher(runs, dataset)
    required = [o for o in outcomes if o.dataset == dataset and o.claim.kind == "required"]
    for verdict, words in VERDICTS.items():
        findings = [_finding(one) for one in required if one.verdict == verdict]
        if findings:
            found.append(
                (f"{words}, {len(findings)} of {len(required)} required claims:", findings)
            )
    decided = [one for one in required if one.verdict in VERDICTS]
    if few := sum(len(one.effects) < ENOUGH_SEEDS for one in decided):
        caution = f"of the {len(decided)} verdicts above, {few} rest on fewer than {ENOUGH_SEEDS}"
        found.append((f"Caution: {caution} seeds.", []))
    found += [(sentence, []) for sentence in _open(required)]
    return found


def _higher(runs: Runs, dataset: str) -> list[tuple[str, list[str]]]:
    """List the methods, without controls, whose mAP is above that of the full method."""
    own = {run.seed: run.metrics.get("mAP") for run in runs.of(dataset, REFERENCE)}
    others = {}
    for name in runs.methods:
        pairs = [(run.metrics.get("mAP"), own.get(run.seed)) for run in runs.of(dataset, name)]
        effects = [a - b for a, b in pairs if a is not None and b is not None]
        if effects and split_variant(name)[0] not in (REFERENCE, *CONTROLS):
            others[name] = effects
    higher = {name: effects for name, effects in others.items() if mean(effects) > 0}
    count = f"{len(higher) or 'none'} of {len(others)} methods"
    order = sorted(higher, key=lambda name: -mean(higher[name]))
    lines = [f"{name} ({', '.join(_effect(higher[name]))})" for name in order]
    note = "paired by seed, intervals not corrected"
    sentence = f"Higher in mAP than the full method, {count} ({note})"
    return [(f"{sentence}{':' if lines else '.'}", lines)] if others else []


def _effect(effects: Sequence[float]) -> list[str]:
    """Show the mean of paired differences of a score, and its interval if there is one."""
    show = Measure("effect", "Effect", "%", decimals=1, signed=True).show
    words = [show(mean(effects))]
    if len(effects) > 1 and not equal_by_chance(effects):
        words.append(f"95 % interval {' to '.join(map(show, t_interval(effects)))}")
    return words


def _open(required: Sequence[Outcome]) -> list[str]:
    """Count the other claims, by the part of the method that they are about."""
    sentences = []
    for verdict, words in OPEN.items():
        own = [one for one in required if one.verdict == verdict]
        groups = grouped((one.claim.name, one) for one in own)
        where = [f"{len(claims)} on {_part(group)}" for group, claims in groups.items()]
        reached = sum(one.reached for one in own)
        text = f"{words}, {len(own)} of {len(required)} required claims: "
        if own:
            found = (
                ""
                if verdict == "not run"
                else f" Effects as large as asked: {reached} of {len(own)}."
            )
            sentences.append(f"{text}{_listed(where)}.{found}")
    return sentences


def _part(group: str) -> str:
    return f"the {group.lower()}" if group == WHOLE else group.lower()


def to_markdown(summaries: Mapping[str, list[tuple[str, list[str]]]]) -> str:
    """Write the summaries of data sets as Markdown, below a heading for each."""
    lines = []
    for dataset, summary in summaries.items():
        lines += [f"## {dataset}", ""]
        for sentence, findings in summary or [("The full method has no run.", [])]:
            lines += [sentence, "", *(f"- {one}" for one in findings), *([""] if findings else [])]
    return escape("\n".join(lines), quote=False)


def _scores(runs: Runs, dataset: str, method: str) -> list[float]:
    found = (run.metrics.get("mAP") for run in runs.of(dataset, method))
    return [100 * value for value in found if value is not None]


def _shown(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _finding(outcome: Outcome) -> str:
    """Return the statement of a claim with its effect, its interval and what was asked."""
    claim, interval = outcome.claim, outcome.interval
    words = [claim.show(outcome.effect)]
    if interval:
        words.append(f"95 % interval {' to '.join(map(claim.show, interval))}")
    if claim.at_least:
        words.append(f"asked {claim.show(claim.at_least)}")
    return claim.statement + (f" ({', '.join(words)})" if outcome.effects else "")
