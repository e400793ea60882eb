"""How the site of the documentation is built: from the Markdown that also reads well in the repository."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
# Airflow writes its settings where it finds none: nothing of that belongs into the reader's home.
os.environ["AIRFLOW_HOME"] = str(ROOT / "build" / "airflow")
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from pygments.lexers.special import TextLexer  # noqa: E402
from reference import write  # noqa: E402

from airflow_provider_bloq import __version__  # noqa: E402

project = "airflow-provider-bloq"
author = "Bloq"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
# The source is the whole repository, so that pages may link to the README and to the example DAGs.
include_patterns = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/**.md"]
root_doc = "docs/index"
language = "en"
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
html_theme = "furo"
html_title = f"airflow-provider-bloq {version}"
html_show_copyright = False
# Nothing is fetched from elsewhere when a page is read.
html_css_files: list[str] = []

#: What stands in the margin, by heading. In the repository the index itself leads on.
CONTENTS = {
    "Start": ("../README", "tutorial", "by_hand"),
    "How to": ("operators", "sensors", "events", "connect", "errors", "retries", "notifying", "testing"),
    "Keys and tokens": ("rotation", "fleets", "security"),
    "Operate": ("operations", "cli", "metrics", "compatibility"),
    "Reference": ("reference/index", "architecture", "../CHANGELOG", "../CONTRIBUTING", "../SECURITY"),
}


def lead_on(app: Sphinx, name: str, source: list[str]) -> None:
    """Put what stands in the margin below the index."""
    if name == root_doc:
        for heading, pages in CONTENTS.items():
            entries = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"


def setup(app: Sphinx) -> None:
    """Write the reference before its pages are read."""
    write(ROOT / "docs" / "reference")
    # The lexers for HCL do not know policies of Vault.
    app.add_lexer("hcl", TextLexer)
    app.connect("source-read", lead_on)
