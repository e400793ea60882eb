"""What every supported Airflow makes of the provider's metadata, and of the example DAGs."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_bloq import __version__
from airflow_provider_bloq.get_provider_info import get_provider_info
from tests.compat.conftest import AIRFLOW, Run

pytestmark = pytest.mark.compat

#: What examples ask of Airflow that 3.1 has not: approval with parameters that have no default, and AsyncCallback.
TOO_NEW_FOR_3_1 = {"bloq_cluster_scaling", "bloq_notify"}
EXAMPLES = Path(__file__).parents[2] / "example_dags"

PROVIDERS = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["bloq"]
print(json.dumps({
    "version": manager.providers["airflow-provider-bloq"].version,
    "hook": [hook.hook_class_name, hook.connection_type, hook.connection_testable],
    "task": "bloq" in dict(manager.taskflow_decorators),
}))
"""

PARSE = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1])
try:
    from airflow.serialization.serialized_objects import DagSerialization as serializer
except ImportError:
    from airflow.serialization.serialized_objects import SerializedDAG as serializer
for dag in bag.dags.values():
    json.dumps(serializer.to_dict(dag))
errors = {path.rpartition("/")[2]: error for path, error in bag.import_errors.items()}
print(json.dumps({"dags": sorted(bag.dags), "errors": errors}))
"""


def last_line(output: str) -> Any:
    return json.loads(output.splitlines()[-1])


def test_the_metadata_is_valid_by_the_schema_of_this_airflow() -> None:
    schema = json.loads((Path(str(files("airflow"))) / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_finds_the_provider_its_hook_and_its_decorator(run_python: Run) -> None:
    assert last_line(run_python("-c", PROVIDERS)) == {
        "version": __version__,
        "hook": ["airflow_provider_bloq.hooks.bloq.BloqHook", "bloq", True],
        "task": True,
    }


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow has had commands of providers since 3.2")
def test_airflow_has_the_commands(run_python: Run) -> None:
    assert "doctor" in run_python("-m", "airflow", "bloq", "--help")


def test_the_console_script_has_the_commands(run_python: Run) -> None:
    assert "doctor" in run_python("-m", "airflow_provider_bloq.cli.commands", "--help")


def test_every_example_is_parsed_and_written_down(run_python: Run) -> None:
    parsed = last_line(run_python("-c", PARSE, str(EXAMPLES)))
    too_new = TOO_NEW_FOR_3_1 if AIRFLOW < (3, 2) else set()
    assert {Path(name).stem for name in parsed["errors"]} == too_new, parsed["errors"]
    assert set(parsed["dags"]) == {path.stem for path in EXAMPLES.glob("*.py")} - too_new
