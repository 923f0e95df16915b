"""Write docs/config.md and the schema of a benchmark's config from the models of the settings.

    python tools/config_reference.py

The models are those of scwm/core/settings.py. The schema is for editors and for Snakemake's
catalogue; the workflow checks a config by the models themselves.
"""

from pathlib import Path
from typing import Any

import yaml

from scwm.core.checks import allowed
from scwm.core.config import method_names
from scwm.core.files import whole_file
from scwm.core.settings import Benchmark, Config
from scwm.core.yaml_files import CONFIG_DIR, read_yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE, SCHEMA = ROOT / "docs/config.md", ROOT / "workflow/schemas/config.schema.yaml"
HEAD = """\
<!-- Written by tools/config_reference.py; a test compares. -->
# Settings

There are two kinds of files: a *benchmark's* config says which runs there are and what they
share; a *run's* config holds every setting that it was made with.

## A run's settings

A setting that nothing changes has its default. A benchmark's `settings` change it, then its
`dataset_settings`, then the method (`config/methods/NAME.yaml`), then `--set key=value` of
`scwm config`. `--set` of `scwm benchmark` changes the benchmark's `settings`, so a method's own
values win. An unknown key or a value out of range is an error that names it. Where each default
comes from: [method](method.md#9-settings).
"""
BENCHMARK = """
## A benchmark's config

`snakemake` reads `config/config.yaml`, the embedded benchmark's. `--configfile FILE` reads another
file: one with `datasets`, `methods` and `seeds` stands by itself, and one that lacks any of the
three changes `config/config.yaml`. `--config key=value` changes single keys: it replaces lists and
merges mappings ([workflow](workflow.md)).
"""


METHODS = """
## Methods

A method is a file of `config/methods`. Each keeps the settings of `scwm` but for what it says.

| method | what it is |
| --- | --- |
"""


def page() -> str:
    """The whole of docs/config.md."""
    run, benchmark = Config.model_json_schema(), Benchmark.model_json_schema()
    sections = {key: spec for key, spec in run["properties"].items() if "$ref" in spec}
    single = {key: spec for key, spec in run["properties"].items() if key not in sections}
    tables = ["\n", table({**run, "properties": single}, run)]
    for name, spec in sections.items():
        section = run["$defs"][spec["$ref"].rpartition("/")[2]]
        tables.append(f"\n### `{name}`\n\n{section['description']}\n\n{table(section, run)}")
    listed = [f"| `{name}` | {description(name)} |\n" for name in method_names()]
    methods = METHODS + "".join(listed)
    return HEAD + "".join(tables) + methods + BENCHMARK + "\n" + table(benchmark, benchmark)


def description(method: str) -> str:
    text: str = read_yaml(CONFIG_DIR / "methods" / f"{method}.yaml")["description"]
    return text


def table(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    """The keys of one part of a schema, a row each."""
    lines: list[tuple[str, ...]] = [("key", "type", "default", "meaning"), ("---",) * 4]
    for key, own in spec["properties"].items():
        default = yaml_text(own.get("default", {}))
        kind = allowed(own, schema).removeprefix("an ").removeprefix("a ")
        value = "needed" if key in spec.get("required", ()) else f"`{default}`"
        lines.append((f"`{key}`", kind, value, own["description"]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def schema() -> str:
    """The whole of the schema's file."""
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    content |= untitled(Benchmark.model_json_schema())
    head = "# Written by tools/config_reference.py; a test compares.\n"
    return head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)


def untitled(value: Any) -> Any:
    """A schema without its titles, which repeat the keys."""
    if isinstance(value, dict):
        return {k: untitled(v) for k, v in value.items() if k != "title" or isinstance(v, dict)}
    return [untitled(inner) for inner in value] if isinstance(value, list) else value


def yaml_text(value: Any) -> str:
    """A single value as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True).split("\n")[0]


if __name__ == "__main__":
    for path, text in ((PAGE, page()), (SCHEMA, schema())):
        with whole_file(path) as temporary:
            temporary.write_text(text)
