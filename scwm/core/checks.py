"""Check values by a model of `scwm.core.settings`, and describe what is wrong with them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from scwm.core.errors import ScwmError, suggest
from scwm.core.plugins import NAME
from scwm.core.settings import METHOD, Section

Model = TypeVar("Model", bound=Section)
Spec = dict[str, Any]

TYPES = {
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def checked(
    model: type[Model], values: Mapping[str, Any], where: object, page: str = "docs/config.md"
) -> Model:
    """Return the model of `values`, whose keys `page` describes.

    Raises:
        ScwmError: naming the first key that is unknown, else the first value that is not allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        unknown = ("extra_forbidden", "invalid_key")
        found = min(error.errors(), key=lambda one: one["type"] not in unknown)
        raise _refusal(model.model_json_schema(), values, dict(found), where, page) from None


def allowed(spec: Spec, schema: Spec) -> str:
    """Describe the values that a part of a JSON schema allows, as in "a number from 0 to 1"."""
    spec = _resolved(spec, schema)
    if "enum" in spec:
        return "one of " + ", ".join(spec["enum"])
    if "anyOf" in spec:
        return ", or ".join(allowed(one, schema) for one in spec["anyOf"])
    if "items" in spec:
        kind = f"a list of {spec['maxItems']}" if "maxItems" in spec else "a list"
        kind += " without repetition" if "uniqueItems" in spec else ""
        return f"{kind}, each {allowed(spec['items'], schema)}"
    if spec.get("pattern") == f"^{NAME}$":
        return "a name of a-z, 0-9 and _"
    if spec.get("pattern") == f"^{METHOD}$":
        return "a name of a-z, 0-9 and _, perhaps with one @SECTION.KEY=VALUE"
    form = f" of the form `{spec['pattern']}`" if "pattern" in spec else ""
    ends = [
        f" {word} {_number(spec[key])}"
        for word, key in (("from", "minimum"), ("to", "maximum"))
        if key in spec
    ]
    return TYPES[spec["type"]] + form + "".join(ends)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _resolved(spec: Spec, schema: Spec) -> Spec:
    """Follow a reference within the schema."""
    name = spec.get("$ref", "").removeprefix("#/$defs/")
    return dict(schema["$defs"][name]) if name else spec


def _below(spec: Spec, schema: Spec, key: str) -> Spec:
    """Look up a key of a mapping in the schema; the result is empty for an unknown key."""
    spec = _resolved(spec, schema)
    patterns = spec.get("patternProperties", {}).items()
    named = [inner for pattern, inner in patterns if re.search(pattern, key)]
    others = spec.get("additionalProperties")  # of a section false, of options true
    named += [others] if isinstance(others, dict) else []
    return dict(spec.get("properties", {}).get(key) or (named[0] if named else {}))


def _keys(spec: Spec, schema: Spec, prefix: str = "") -> list[str]:
    """List all keys that a schema names, dotted."""
    found = []
    for name, inner in _resolved(spec, schema).get("properties", {}).items():
        found += [prefix + name, *_keys(inner, schema, f"{prefix}{name}.")]
    return found


def _refusal(
    schema: Spec, values: Any, found: dict[str, Any], where: object, page: str
) -> ScwmError:
    """Turn one of pydantic's errors into ours."""
    key, around, spec, value = _place(schema, values, found["loc"])
    kind, context, (*_, last) = found["type"], found.get("ctx", {}), found["loc"]
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(key, str(last), _keys(around, schema), _keys(schema, schema), where, page)
    if kind == "missing":
        return lacking(key, where, f"add it; {page} describes every key")
    if last == "[key]":
        if names := around.get("propertyNames", {}).get("enum"):
            return _unknown(key, str(found["loc"][-2]), names, [], where, page)
        form = allowed({"type": "string", **context}, schema)
        return ScwmError(f"{key} has no valid name.", where, f"give {form}")
    wanted = context.get("choices") or spec.get("enum", ())
    words = "one of " + ", ".join(wanted) if wanted else allowed(spec, schema)
    meaning = spec.get("description", "")
    return ScwmError(
        f"{key} is {value!r}.{suggest(value, wanted)}", where, f"give {words}. {meaning}".strip()
    )


def _place(schema: Spec, values: Any, steps: Iterable[Any]) -> tuple[str, Spec, Spec, Any]:
    """Find the place of an error.

    Returns:
        The dotted key, what the schema says of the section around it and of the key itself (nothing
        for an unknown key), and the value.
    """
    names: list[str] = []
    around, spec, value = schema, schema, values
    for step in steps:
        lists = [one for one in (spec, *spec.get("anyOf", ())) if "items" in one]
        if isinstance(value, list) and isinstance(step, int) and lists:
            names[-1] += f"[{step}]"
            spec, value = _resolved(lists[0]["items"], schema), value[step]
            continue
        if not isinstance(value, Mapping) or not spec:  # what follows is a type
            break
        names.append(str(step))
        inner = _below(spec, schema, str(step))
        around, spec, value = spec, inner, value.get(step)
    return ".".join(names), around, {**_resolved(spec, schema), **spec}, value


def _unknown(
    key: str, name: str, near: list[str], known: list[str], where: object, page: str
) -> ScwmError:
    """Build the error of an unknown key, with a hint.

    The hint is the nearest key of its section, and the same key of another section.
    """
    if "." in name:
        nested = "`" + ": {".join(names := key.split(".")) + ": …" + "}" * (len(names) - 1) + "`"
        return ScwmError(f"'{key}' is not a single key.", where, f"nest it: {nested}")
    section = key.removesuffix(name)
    elsewhere = [other for other in known if other.split(".")[-1] == name]
    hint = suggest(key, [section + other for other in near if "." not in other])
    if elsewhere:
        hint = f"{hint.removesuffix('?')} or" if hint else " Did you mean"
        hint += f" '{elsewhere[0]}'?"
    return ScwmError(
        f"Unknown key '{key}'.{hint}",
        where,
        f"remove or correct it; {page} describes every key",
    )


def lacking(key: str, where: object, remedy: str) -> ScwmError:
    """Build the error of a missing key."""
    return ScwmError(f"The key '{key}' is missing.", where, remedy)
