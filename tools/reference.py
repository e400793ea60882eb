"""Write the pages of the reference, one for each module of the provider's public interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_bloq.get_provider_info import get_provider_info

__all__ = ["SECTIONS", "modules", "write"]

#: What users import that Airflow is told nothing of, by the heading of its section.
FURTHER = {
    "Hooks": (
        "airflow_provider_bloq.hooks.bloq",
        "airflow_provider_bloq.hooks.bloq_async",
        "airflow_provider_bloq.hooks.auth",
        "airflow_provider_bloq.connect.payments",
        "airflow_provider_bloq.hooks.retries",
        "airflow_provider_bloq.hooks._failures",
        "airflow_provider_bloq.hooks.notifications",
    ),
    "Clients that a hook hands out": (
        "airflow_provider_bloq.nodes.client",
        "airflow_provider_bloq.rpc.client",
        "airflow_provider_bloq.connect.client",
        "airflow_provider_bloq.connect.models",
        "airflow_provider_bloq.connect.history",
        "airflow_provider_bloq.connect.payments",
        "airflow_provider_bloq.nodes.models",
    ),
    "What operators, sensors and triggers have in common": (
        "airflow_provider_bloq.operators._base",
        "airflow_provider_bloq.operators._create",
        "airflow_provider_bloq.operators.jsonrpc",
        "airflow_provider_bloq.sensors._base",
        "airflow_provider_bloq.triggers.chain_events",
        "airflow_provider_bloq.polling.serialization",
    ),
    "Conditions that are waited for": (
        "airflow_provider_bloq.nodes.conditions",
        "airflow_provider_bloq.chains.conditions",
        "airflow_provider_bloq.chains.transactions",
        "airflow_provider_bloq.connect.conditions",
        "airflow_provider_bloq.polling.serialization",
    ),
    "Assets": ("airflow_provider_bloq.assets.bloq",),
    "Links": ("airflow_provider_bloq.operators.links",),
    "Decorator": ("airflow_provider_bloq.decorators.bloq",),
    "Settings and errors": (
        "airflow_provider_bloq.connection.settings",
        "airflow_provider_bloq.exceptions",
    ),
    "Test kit": (
        "airflow_provider_bloq.testing.local",
        "airflow_provider_bloq.testing.anvil",
        "airflow_provider_bloq.testing.bitcoind",
        "airflow_provider_bloq.testing.openbao",
        "airflow_provider_bloq.testing.airflow",
        "airflow_provider_bloq.testing.stack",
        "airflow_provider_bloq.testing.pytest_plugin",
        "airflow_provider_bloq.testing.errors",
    ),
}
#: The keys of the provider info whose entries name modules, by heading.
SECTIONS = {"Operators": "operators", "Sensors": "sensors", "Triggers": "triggers"}
PAGE = """# {short}

```{{eval-rst}}
.. automodule:: {name}
   :members:
   :show-inheritance:
```
"""


def modules() -> dict[str, tuple[str, ...]]:
    """Return the modules of the public interface, by the heading of their section."""
    info = get_provider_info()
    told: dict[str, tuple[str, ...]] = {}
    for heading, key in SECTIONS.items():
        entries: Any = info[key]
        told[heading] = tuple(module for entry in entries for module in entry["python-modules"])
    return told | FURTHER


def pages() -> Iterator[tuple[str, str]]:
    """Give name and text of each page."""
    toc = []
    for heading, names in modules().items():
        toc.append(f"```{{toctree}}\n:caption: {heading}\n:maxdepth: 1\n")
        for name in names:
            short = name.removeprefix("airflow_provider_bloq.")
            toc.append(short)
            yield f"{short}.md", PAGE.format(short=short, name=name)
        toc.append("```\n")
    yield "index.md", "# Reference\n\nMade from the code.\n\n" + "\n".join(toc)


def write(folder: Path) -> None:
    """Write all pages into a folder, and remove those of modules that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = dict(pages())
    for stale in {path.name for path in folder.glob("*.md")} - texts.keys():
        (folder / stale).unlink()
    for name, text in texts.items():
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
