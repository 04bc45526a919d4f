"""What tests of the core share: a home, a site and a checkout, for tests of settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from batchbridge import registry
from batchbridge.settings import Config
from tests.core.engine import Engine


@dataclass
class Place:
    """Where the files of a test are; :meth:`config` reads them."""

    root: Path

    @property
    def checkout(self) -> Path:
        return self.root / "checkout"

    @property
    def user_file(self) -> Path:
        return self.root / "user.toml"

    @property
    def site_file(self) -> Path:
        return self.root / "site.toml"

    @property
    def project_file(self) -> Path:
        return self.checkout / "batchbridge.toml"

    def project(self, text: str) -> None:
        self.project_file.write_text(dedent(text))

    def user(self, text: str) -> None:
        self.user_file.write_text(dedent(text))

    def site(self, text: str) -> None:
        self.site_file.write_text(dedent(text))

    def config(self, env: Mapping[str, str] | None = None, *, cwd: Path | None = None) -> Config:
        return Config.load(
            cwd or self.checkout, env or {}, user=self.user_file, site=self.site_file
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = Place(tmp_path)
    (place.checkout / ".git").mkdir(parents=True)
    with registry.registered(Engine):
        yield place
