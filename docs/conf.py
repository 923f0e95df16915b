"""How `make docs` builds the site: the pages as they are, the README in front, the API."""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project, author = "SCWM benchmark", "The SCWM benchmark authors"
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_copy_source = False
highlight_language = "text"
default_role = "literal"  # `name` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4


def as_site(app: Any, name: str, content: list[str]) -> None:
    """Put the README in front of the index; let links out of docs/ lead where the site can follow.

    The README is a page, another file a download, a folder nothing. A notebook becomes Markdown.
    """
    if str(app.env.doc2path(name)).endswith(".ipynb"):
        content[0] = "\n\n".join(map(_as_markdown, json.loads(content[0])["cells"]))
    if name == "index":
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        local = re.compile(r"\]\((?!\w+:|#)(docs/)?")
        content[0] = local.sub(lambda m: "](" if m[1] else "](../", readme) + content[0]
    content[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]+)\)", _outwards, content[0])


def _as_markdown(cell: dict[str, Any]) -> str:
    """Return a notebook's cell with what it printed and drew."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    parts = [f"```python\n{source}\n```"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            parts.append(f"![output](data:image/png;base64,{data['image/png'].strip()})")
        elif text := "".join(output.get("text", data.get("text/plain", ""))):
            parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts)


def _outwards(link: re.Match[str]) -> str:
    text, path = link[1], ROOT / "docs" / link[2]
    if path.resolve() == ROOT / "README.md":
        return f"[{text}](index.md)"
    return text if path.is_dir() else f"[{text}](path:{link[2]})"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", as_site)
