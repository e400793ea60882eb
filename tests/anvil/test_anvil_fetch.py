"""How the anvil binary comes onto the machine, with the real npm and with hostile ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_bloq.testing.anvil import anvil_binary
from airflow_provider_bloq.testing.anvil_download import ANVIL_VERSION
from airflow_provider_bloq.testing.errors import TestingSetupError

pytestmark = pytest.mark.anvil

Script = Callable[..., "subprocess.Popen[str]"]

ASK = """
from airflow_provider_bloq.testing.anvil import anvil_binary
print(anvil_binary())
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no binary chosen by hand."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BLOQ_TESTING_CACHE", str(folder))
    monkeypatch.delenv("BLOQ_ANVIL", raising=False)
    return folder


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a shell script in front of everything on PATH that calls itself npm."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of anvil, downloaded once with the real npm."""
    folder = tmp_path_factory.mktemp("npm")
    if npm := shutil.which("npm"):
        package = f"@foundry-rs/anvil-linux-amd64@{ANVIL_VERSION}"
        subprocess.run([npm, "pack", "--silent", package], check=True, cwd=folder, capture_output=True)
    else:
        pytest.skip("downloads with the npm of this machine, which has none")
    (found,) = folder.glob("*.tgz")
    return found


@pytest.fixture
def working_npm(tarball: Path, fake_npm: Callable[[str], None], tmp_path: Path) -> Path:
    """An npm that hands out that package; returns a file with a line for each of its calls."""
    calls = tmp_path / "calls"
    fake_npm(f"echo \"$@\" >>'{calls}'\ncp '{tarball}' .")
    return calls


def binaries(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.suffix != ".lock"]


def works(binary: Path) -> bool:
    return subprocess.run([binary, "--version"], check=False, capture_output=True).returncode == 0


def test_a_tarball_with_another_content_is_refused(cache: Path, fake_npm: Callable[[str], None]) -> None:
    fake_npm(
        "mkdir -p package/bin && printf '#!/bin/sh\\ntouch \"$0.was-run\"\\n' >package/bin/anvil\n"
        "chmod +x package/bin/anvil && tar czf evil-1.7.1.tgz package"
    )
    with pytest.raises(TestingSetupError, match="does not have the expected hash") as told:
        anvil_binary()
    assert "expected sha512-" in str(told.value)
    assert told.value.remedy is not None
    assert "BLOQ_ANVIL" in told.value.remedy
    assert binaries(cache) == [], "nothing of it stays"


def test_after_a_refusal_the_next_try_can_succeed(
    cache: Path, fake_npm: Callable[[str], None], tarball: Path
) -> None:
    fake_npm("echo junk >junk.tgz")
    with pytest.raises(TestingSetupError):
        anvil_binary()
    fake_npm(f"cp '{tarball}' .")
    assert works(anvil_binary())


def test_the_error_for_a_failing_npm_contains_its_output(
    cache: Path, fake_npm: Callable[[str], None]
) -> None:
    fake_npm("echo 'the registry is on holiday' >&2; exit 7")
    with pytest.raises(TestingSetupError, match=r"status 7(.|\n)*the registry is on holiday"):
        anvil_binary()
    assert binaries(cache) == []


def test_an_npm_that_packs_nothing_is_an_error(cache: Path, fake_npm: Callable[[str], None]) -> None:
    fake_npm("exit 0")
    with pytest.raises(TestingSetupError, match="left 0 files"):
        anvil_binary()


def test_an_npmrc_of_the_project_at_hand_is_not_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text("{}")
    (project / ".npmrc").write_text("registry=http://127.0.0.1:1/\nfetch-retries=0\n")
    monkeypatch.chdir(project)
    assert works(anvil_binary())


def test_processes_that_ask_at_once_fetch_once(cache: Path, working_npm: Path, run_script: Script) -> None:
    asking = [run_script(ASK) for _ in range(4)]
    answers = {process.communicate(timeout=600)[0].strip() for process in asking}
    (answer,) = answers
    assert len(working_npm.read_text().splitlines()) == 1
    assert works(Path(answer))
    assert binaries(cache) == [Path(answer)]


def test_a_download_that_was_interrupted_is_repeated(cache: Path, working_npm: Path) -> None:
    binary = anvil_binary()
    unfinished = binary.with_name(f"{binary.name}.part")
    binary.unlink()
    unfinished.mkdir()
    (unfinished / "anvil").write_text("half of it")
    assert works(anvil_binary())
    assert binaries(cache) == [binary]


def test_what_is_cached_needs_no_npm(cache: Path, working_npm: Path, fake_npm: Callable[[str], None]) -> None:
    binary = anvil_binary()
    fake_npm("exit 1")
    assert anvil_binary() == binary


@pytest.mark.slow
def test_without_npm_it_is_downloaded_with_pip(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    binary = anvil_binary()
    assert works(binary)
    assert binaries(cache) == [binary], "Node.js was needed for the moment only"


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python environment without pip."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


def ask_without_npm(python: Path, repository: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(path), "PYTHONPATH": str(repository)}
    return subprocess.run(
        [python, "-c", ASK], check=False, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_without_npm_and_pip_it_is_downloaded_with_uv(
    cache: Path, tmp_path: Path, bare_python: Path, repository: Path
) -> None:
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(bare_python), "uv"]
    subprocess.run(uv, check=True, timeout=600)
    asked = ask_without_npm(bare_python, repository, tmp_path)
    assert asked.returncode == 0, asked.stderr
    assert works(Path(asked.stdout.strip()))


def test_without_any_downloader_the_error_has_a_remedy(
    cache: Path, tmp_path: Path, bare_python: Path, repository: Path
) -> None:
    asked = ask_without_npm(bare_python, repository, tmp_path)
    assert asked.returncode != 0
    assert "Remedy: Install npm, pip or uv." in asked.stderr


def test_a_chosen_binary_is_taken(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_npm: Callable[[str], None]
) -> None:
    fake_npm("exit 1")
    chosen = tmp_path / "my-anvil"
    chosen.write_text("#!/bin/sh\n")
    chosen.chmod(0o755)
    monkeypatch.setenv("BLOQ_ANVIL", str(chosen))
    assert anvil_binary() == chosen


def test_a_chosen_binary_that_cannot_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("missing", "folder", "not executable"):
        chosen = tmp_path / kind
        if kind == "folder":
            chosen.mkdir()
        elif kind == "not executable":
            chosen.write_text("")
        monkeypatch.setenv("BLOQ_ANVIL", str(chosen))
        with pytest.raises(TestingSetupError, match="BLOQ_ANVIL names"):
            anvil_binary()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process pretend another machine")
def test_a_platform_without_a_checked_download_is_named(cache: Path, run_script: Script) -> None:
    # PER_LINUX32 (8): the kernel then gives this one process the name of a 32-bit machine.
    output, _ = run_script(f"import ctypes; ctypes.CDLL(None).personality(8){ASK}").communicate(timeout=60)
    assert "for the platform linux-i686" in output or "for the platform linux-armv" in output
    assert "Remedy: Install Foundry and set BLOQ_ANVIL" in output


def test_the_cache_follows_the_xdg_folder(
    cache: Path, working_npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLOQ_TESTING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert anvil_binary().parent == tmp_path / "airflow-provider-bloq"
