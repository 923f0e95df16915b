"""Write docs/config.md from what decides: the rules, the base and the workflow's schema.

    python tools/config_reference.py

Types and choices are those of `RULES` in scwm/core/config.py and of
workflow/schemas/config.schema.yaml, defaults and meanings those of config/base.yaml (its
comments) and of the schema.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from scwm.core.config import RULES
from scwm.core.files import whole_file
from scwm.core.plugins import Kind

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/config.md"
OF_A_RUN = {  # what a run's own config has beside config/base.yaml
    "dataset": "the data set's name",
    "method": "the method's name, or that of a variant, as `scwm@model.parts=4`",
    "description": "of the method, for the tables",
    "seed": "decides every draw",
}
HEAD = """\
<!-- Written by tools/config_reference.py; a test compares. -->
# Settings

Two kinds of files: a *benchmark's* config says which runs there are and what they share; a *run's*
config holds every setting that it was made with.

## A run's settings

Defaults stand in [`config/base.yaml`](../config/base.yaml). Over them come the benchmark's
`settings`, its `dataset_settings`, then the method's own (`config/methods/NAME.yaml`), then
`--set key=value` of `scwm config`. An unknown key or a value out of range is an error that names
it. Where each default comes from: [method](method.md#9-settings).
"""
BENCHMARK = """
## A benchmark's config

`snakemake` reads `config/config.yaml`, the embedded benchmark's; `--configfile FILE` reads another,
`--config key=value` replaces single keys ([workflow](workflow.md)). The schema is
[`config.schema.yaml`](../workflow/schemas/config.schema.yaml).
"""
LINE = re.compile(
    r"(?P<indent> *)(?P<key>\w+):(?: +(?P<value>[^#\s][^#]*?))?(?: +# (?P<meaning>.*))?"
)


PLAIN = {str: "text", bool: "`true`, `false`", list: "two integers, 32 to 4,096"}
SECTIONS = "sections and their settings"


def base_settings(text: str) -> dict[str, tuple[str, str]]:
    """Key -> its value as written, and its comment, for each setting of config/base.yaml."""
    found, section = {}, ""
    for line in filter(None, map(LINE.fullmatch, text.splitlines())):
        if not line["indent"]:
            section = f"{line['key']}."
        if line["value"]:
            key = section + line["key"] if line["indent"] else line["key"]
            found[key] = (line["value"], line["meaning"] or "")
    return found


def allowed(rule: Any) -> str:
    """What a rule of `RULES` allows."""
    if isinstance(rule, Kind):  # the names are not listed: a new one changes no other file
        return "`true`, `false`, name" if rule.default else "name"
    if isinstance(rule, type):
        return PLAIN[rule]
    if all(isinstance(choice, str) for choice in rule):
        return _choices(rule)
    kind, low, high = rule
    return f"{'integer' if kind is int else 'number'}, {_number(low)} to {_number(high)}"


def of_schema(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a part of the schema allows."""
    if reference := spec.get("$ref"):
        name = reference.removeprefix("#/$defs/")
        return SECTIONS if name == "settings" else of_schema(schema["$defs"][name], schema)
    if spec["type"] == "array":
        return f"list: {of_schema(spec['items'], schema)}"
    if spec["type"] == "object":
        return "mapping"
    names = {"string": "name", "boolean": PLAIN[bool]}
    least = f" from {spec['minimum']}" if "minimum" in spec else ""
    return names.get(spec["type"], spec["type"]) + least


def page() -> str:
    """The whole of docs/config.md."""
    base = base_settings((ROOT / "config/base.yaml").read_text())
    rows: dict[str, list[tuple[str, ...]]] = {}
    for key, rule in RULES.items():
        default, meaning = base[key] if key in base else ("", OF_A_RUN[key])
        section, _, name = key.rpartition(".")
        row = (f"`{name}`", allowed(rule), default and f"`{default}`", _meaning(meaning, rule))
        rows.setdefault(section, []).append(row)
    tables = [
        f"\n### `{section}`\n\n{_table(rows)}" if section else f"\n{_table(rows)}"
        for section, rows in rows.items()
    ]
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    keys = [
        (
            f"`{key}`",
            of_schema(spec, schema),
            "needed" if key in schema["required"] else f"`{yaml_text(spec['default'])}`",
            spec["description"],
        )
        for key, spec in schema["properties"].items()
    ]
    return HEAD + "".join(tables) + BENCHMARK + "\n" + _table(keys)


def yaml_text(value: Any) -> str:
    """A single value as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True).split("\n")[0]


def _choices(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _meaning(comment: str, rule: Any) -> str:
    """A comment without the bare choices, which have a column of their own."""
    known = ("true", "false") if isinstance(rule, Kind) else rule if isinstance(rule, tuple) else ()
    *choices, last = comment.split(" | ")
    first, _, rest = last.partition("; ")
    last = rest if first in known else last
    return "; ".join(filter(None, [*(text for text in choices if text not in known), last]))


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = [("key", "type", "default", "meaning"), ("---",) * 4, *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


if __name__ == "__main__":
    with whole_file(PAGE) as beside:
        beside.write_text(page())
