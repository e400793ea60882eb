"""Where a machine takes Debian from, read from apt's sources as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_bloq.testing.bitcoind_download import DebianArchive, debian_archive

pytestmark = pytest.mark.logic

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def written(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        path = folder / "sources.list" if stem == "" else folder / "sources.list.d" / f"{stem}.{suffix}"
        path.write_text(text)
    return folder


def test_the_stanzas_of_a_container_image(tmp_path: Path) -> None:
    text = f"""\
Types: deb
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: {KEYRING}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: {KEYRING}
"""
    found = debian_archive(written(tmp_path, debian_sources=text), "bookworm")
    assert found == DebianArchive("http://mirror.example/debian", KEYRING)
    assert found.stanza("trixie", "trixie-backports") == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-backports\n"
        f"Components: main\nSigned-By: {KEYRING}\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m.example/debian bookworm main", DebianArchive("http://m.example/debian")),
        (
            "deb\thttps://m.example/debian/  bookworm main contrib # ours",
            DebianArchive("https://m.example/debian/"),
        ),
        (
            f"deb [arch=amd64 signed-by={KEYRING} trusted=yes] http://m.example/debian bookworm main",
            DebianArchive("http://m.example/debian", KEYRING),
        ),
        (
            "deb [signed-by=/a.gpg,/b.gpg] http://m.example/debian bookworm main",
            DebianArchive("http://m.example/debian", "/a.gpg /b.gpg"),
        ),
        ("deb [trusted=yes] file:/srv/debian bookworm main", DebianArchive("file:/srv/debian")),
        ("# deb http://m.example/debian bookworm main", None),
        ("deb-src http://m.example/debian bookworm main", None),
        ("deb http://m.example/debian bookworm-updates main", None),
        ("deb http://m.example/debian trixie main", None),
        ("deb http://m.example/debian bookworm contrib", None),
        ("deb http://m.example/flat ./", None),
        ("deb cdrom:[Debian 12]/ bookworm main", None),
        ("", None),
    ],
)
def test_the_one_line_form(tmp_path: Path, line: str, expected: DebianArchive | None) -> None:
    assert debian_archive(written(tmp_path, _list=f"{line}\n"), "bookworm") == expected


def test_that_nothing_is_checked_is_not_taken_over(tmp_path: Path) -> None:
    text = "Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\nTrusted: yes\n"
    found = debian_archive(written(tmp_path, own_sources=text), "bookworm")
    assert found is not None
    assert "rusted" not in found.stanza("trixie")


def test_debian_comes_before_others_that_use_its_codename(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        a_list="deb http://others.example/node bookworm main\n",
        b_list="deb http://m.example/debian bookworm main\n",
    )
    assert debian_archive(folder, "bookworm") == DebianArchive("http://m.example/debian")


def test_a_key_within_the_sources_is_kept_whole(tmp_path: Path) -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
    text = f"Types: deb deb-src\nURIs: http://m.example/debian\nSuites: bookworm\nSigned-By:{key}\nComponents: main\n"
    found = debian_archive(written(tmp_path, own_sources=text), "bookworm")
    assert found is not None
    assert f"Signed-By: {key}\n" in found.stanza("trixie")


def test_what_is_switched_off_or_of_another_kind_is_not_read(tmp_path: Path) -> None:
    stanza = "Types: deb\nURIs: http://m.example/debian\nSuites: bookworm\nComponents: main\n"
    folder = written(
        tmp_path,
        off_sources=f"{stanza}Enabled: no\n",
        source_sources=stanza.replace("Types: deb", "Types: deb-src"),
        debian_disabled=stanza,
    )
    assert debian_archive(folder, "bookworm") is None


def test_without_sources_there_is_none(tmp_path: Path) -> None:
    assert debian_archive(tmp_path, "bookworm") is None
