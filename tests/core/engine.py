"""A driver with every sort of setting and option, over an engine that is never asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from batchbridge.driver import CONTRACT, BatchDriver, Duration, Size, setting
from batchbridge.model import Batch, LogPage, Receipt

DEFAULT_ADDRESS = "http://127.0.0.1:4646"


@dataclass(frozen=True, slots=True)
class Settings:
    address: str = setting(DEFAULT_ADDRESS, help="where", env="ENG_ADDR", address=True)
    logs_address: str | None = setting(None, help="where the logs are", address=True)
    token: str | None = setting(None, help="who", secret=True, env="ENG_TOKEN")
    token_file: str | None = setting(None, help="who")
    token_command: str | None = setting(None, help="who")
    verify: bool = setting(True, help="check certificates", env="ENG_VERIFY")
    ca_file: str | None = setting(None, help="whom to believe")
    namespace: str = setting("default", help="where inside", inert=True, env="ENG_NAMESPACE")
    patience: Duration = setting(10.0, help="how long", inert=True)

    def __post_init__(self) -> None:
        if self.patience <= 0:
            raise ValueError("patience must be more than 0")


@dataclass(frozen=True, slots=True)
class Options:
    priority: int = setting(50, help="higher goes first", inert=True)
    runner: Literal["docker", "exec"] = setting("docker", help="what runs it")
    zones: tuple[str, ...] = setting((), help="where", inert=True)
    scratch: Size | None = setting(None, help="how much", inert=True)
    meta: Mapping[str, str] = setting(factory=dict, help="what else", inert=True)
    password: str | None = setting(None, help="who", secret=True)


class Engine(BatchDriver[Settings]):
    name = "eng"
    contract = CONTRACT
    Settings = Settings
    Options = Options

    def submit(self, submissions: Any) -> Iterator[Receipt]:
        raise AssertionError("the engine is never asked")

    def snapshot(self, scope: Any, known: Any) -> Batch:
        raise AssertionError("the engine is never asked")

    def cancel(self, refs: Any, *, reason: str) -> None:
        raise AssertionError("the engine is never asked")

    def read_logs(self, *args: Any, **named: Any) -> LogPage:
        raise AssertionError("the engine is never asked")
