"""How a bitcoind comes onto the machine: by name, by PATH, from Debian; and that apt checks what it brings."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_bloq.testing import bitcoind_download
from airflow_provider_bloq.testing.bitcoind_download import (
    DebianArchive,
    bitcoind_command,
    machine_archive,
    unpacked,
)
from airflow_provider_bloq.testing.errors import TestingSetupError

Program = Callable[[str], Path]


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no bitcoind chosen or on PATH, which it returns a folder of."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("BLOQ_TESTING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BLOQ_BITCOIND", raising=False)
    without = [part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "bitcoind").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), *without]))
    return folder


def program(path: Path, script: str = "exit 0") -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_program_of_the_variable_comes_first(
    nothing_at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(nothing_at_hand / "bitcoind")
    named = program(tmp_path / "mine")
    monkeypatch.setenv("BLOQ_BITCOIND", str(named))
    assert bitcoind_command() == [str(named)]


def test_a_variable_without_a_program_is_an_error(
    nothing_at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("missing", "folder", "not executable"):
        named = tmp_path / kind
        if kind == "folder":
            named.mkdir()
        elif kind == "not executable":
            named.touch()
        monkeypatch.setenv("BLOQ_BITCOIND", str(named))
        with pytest.raises(TestingSetupError, match="not a program that can be run") as told:
            bitcoind_command()
        assert str(named) in str(told.value)


def test_the_program_on_path_comes_second(nothing_at_hand: Path, tmp_path: Path) -> None:
    found = program(nothing_at_hand / "bitcoind")
    assert bitcoind_command() == [str(found)]
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that this machine runs Debian; returns its empty folder of apt's sources."""
    folder = tmp_path / "apt"
    folder.mkdir()
    release = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    monkeypatch.setattr(bitcoind_download, "_CONFIGURATION", folder)
    return folder


def build(folder: Path, name: str, content: dict[str, str]) -> Path:
    """Build a package of Debian with some files."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("builds a package with the tools of Debian, which this machine does not have")
    root = folder / f"{name}-content"
    for path, text in {**content, "DEBIAN/control": control(name, "all")}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    package = folder / f"{name}.deb"
    command = ["dpkg-deb", "--build", "--root-owner-group", root, package]
    subprocess.run(command, check=True, capture_output=True)
    return package


def control(name: str, architecture: str) -> str:
    return f"Package: {name}\nVersion: 1\nArchitecture: {architecture}\nMaintainer: nobody\nDescription: a test\n"


def test_otherwise_its_packages_are_unpacked_once(
    nothing_at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debian: Path
) -> None:
    content = {"usr/bin/bitcoind": "", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": ""}
    package = build(tmp_path, "bitcoin-knots", content)
    (debian / "sources.list").write_text("deb http://m.example/debian bookworm main\n")
    fetching = f"case \"$*\" in *install*) cp '{package}' cache/archives/bitcoin-knots_1_all.deb;; esac"
    program(nothing_at_hand / "apt-get", fetching)
    command = bitcoind_command()
    (kept,) = (path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock")
    assert {path.name for path in kept.iterdir()} == {"bitcoind", "lib"}
    library = kept / "lib"
    assert command == [
        str(library / "ld-linux-x86-64.so.2"),
        "--library-path",
        str(library),
        str(kept / "bitcoind"),
    ]
    program(nothing_at_hand / "apt-get", "exit 1")
    assert bitcoind_command() == command, "what is cached needs no apt"


def test_a_package_without_a_bitcoind_is_refused(nothing_at_hand: Path, tmp_path: Path, debian: Path) -> None:
    package = build(tmp_path, "bitcoin-knots", {"usr/bin/something": ""})
    (debian / "sources.list").write_text("deb http://m.example/debian bookworm main\n")
    fetching = f"case \"$*\" in *install*) cp '{package}' cache/archives/bitcoin-knots_1_all.deb;; esac"
    program(nothing_at_hand / "apt-get", fetching)
    with pytest.raises(TestingSetupError, match="does not contain the expected files"):
        bitcoind_command()


@pytest.mark.slow
@pytest.mark.bitcoind
def test_the_one_from_debian_runs(
    nothing_at_hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        command = bitcoind_command()
    except TestingSetupError as error:
        pytest.skip(f"NO PACKAGES OF DEBIAN here: {error}")
    told = subprocess.run([*command, "--version"], check=True, capture_output=True, text=True)
    assert "Bitcoin" in told.stdout
    (kept,) = (path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock")
    assert {path.name for path in kept.iterdir()} == {"bitcoind", "lib"}
    program(nothing_at_hand / "apt-get", "exit 1")
    assert bitcoind_command() == command, "what is cached needs no apt"


def test_without_debian_the_error_says_what_to_install(
    nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(TestingSetupError, match="on Debian only, not on fedora") as told:
        bitcoind_command()
    assert told.value.remedy is not None
    assert "Bitcoin Core" in told.value.remedy
    assert "BLOQ_BITCOIND" in told.value.remedy


def test_a_machine_without_os_release_is_not_debian(
    nothing_at_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setattr(platform, "freedesktop_os_release", missing)
    with pytest.raises(TestingSetupError, match=f"not on {platform.system()}"):
        bitcoind_command()


def test_sources_without_debian_are_an_error(debian: Path) -> None:
    with pytest.raises(TestingSetupError, match="name no archive of Debian bookworm"):
        machine_archive("a remedy")


def test_without_apt_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TestingSetupError, match="there is no apt-get"):
        unpacked(DebianArchive("file:/nowhere"), "hello", ("trixie",), tmp_path, "a remedy")


@pytest.fixture
def unsigned_archive(tmp_path: Path) -> DebianArchive:
    """An archive with one good package, ``hello``, that nobody has signed."""
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "dpkg"))):
        pytest.skip("builds an archive with the tools of Debian, which this machine does not have")
    asked = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    architecture = asked.stdout.strip()
    lists = tmp_path / f"archive/dists/trixie/main/binary-{architecture}"
    lists.mkdir(parents=True)
    package = build(tmp_path, "hello", {"usr/hello": "hello"}).rename(tmp_path / "archive/hello.deb")
    described = f"{control('hello', 'all')}Filename: hello.deb\n{sizes(package)}\n\n"
    (lists / "Packages").write_text(described)
    entry = f" {hashlib.sha256(described.encode()).hexdigest()} {len(described)} main/{lists.name}/Packages"
    (tmp_path / "archive/dists/trixie/Release").write_text(
        f"Suite: trixie\nCodename: trixie\nArchitectures: {architecture}\nComponents: main\n"
        f"Date: Sat, 01 Aug 2026 00:00:00 UTC\nSHA256:\n{entry}\n"
    )
    return DebianArchive(f"file:{tmp_path}/archive")


def sizes(package: Path) -> str:
    content = package.read_bytes()
    return f"Size: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}"


def test_an_unsigned_package_is_not_unpacked(
    unsigned_archive: DebianArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A machine whose own settings are careless.
    careless = tmp_path / "careless.conf"
    careless.write_text(
        'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(careless))
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(TestingSetupError, match="is not signed") as told:
        unpacked(unsigned_archive, "hello", ("trixie",), folder, "a remedy")
    assert told.value.remedy == "a remedy"
    assert not (folder / "root").exists()
    assert list(folder.rglob("*.deb")) == []


def test_an_unreachable_archive_is_an_error(tmp_path: Path, unsigned_archive: DebianArchive) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(TestingSetupError, match="could not fetch hello with apt"):
        unpacked(DebianArchive("http://127.0.0.1:1/debian"), "hello", ("trixie",), folder, "a remedy")
