"""The conformance kit: subclass :class:`DriverConformance`, and give it your driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from batchbridge.testing.capabilities import Finding, Inputs, Limits
from batchbridge.testing.clients import ThroughClient, UnderFaults
from batchbridge.testing.contract import Declaration, ErrorLaw, Observing, Submitting
from batchbridge.testing.floor import Floor
from batchbridge.testing.needs import DRIVER, lacking
from batchbridge.testing.probes import Probes
from batchbridge.testing.pushing import Pushing
from batchbridge.testing.rig import Driver, Rig


class DriverConformance(
    Floor,
    Declaration,
    Submitting,
    Observing,
    ErrorLaw,
    Inputs,
    Limits,
    Finding,
    Pushing,
    ThroughClient,
    UnderFaults,
):
    """Every promise of the driver contract, as tests.

    The fixture `driver` is required: a new driver of a usable engine, whose settings can be
    pickled, for other processes make drivers with them too. The fixtures `probes`, `job_fields`,
    `crowd`, `unreachable`, `unknown_id`, `lines`, `patience` and `moment` are there to be
    overridden.
    """

    allowed_skips: ClassVar[frozenset[str] | None] = None
    """The tests that may be skipped, for whatever reason; any other skip fails. None: all may."""

    @pytest.fixture
    def driver(self) -> Driver:
        """The driver to prove."""
        raise NotImplementedError("override the fixture `driver`")

    @pytest.fixture
    def again(self, driver: Driver) -> Iterator[Driver]:
        """Another driver with the same settings, as another process would make it."""
        another = type(driver)(driver.settings)
        yield another
        another.close()

    @pytest.fixture
    def patience(self) -> float:
        """Seconds after which what does not come counts as never coming."""
        return 60.0

    @pytest.fixture
    def moment(self) -> float:
        """Seconds that are long for this engine's clocks and short for whoever runs the kit."""
        return 1.0

    @pytest.fixture
    def lines(self) -> int:
        """Lines that are very many for this engine's logs."""
        return 100_000

    @pytest.fixture
    def unreachable(self) -> Driver:
        """A driver whose engine cannot be asked, e.g. because nothing listens at its address."""
        pytest.skip("the fixture `unreachable` is not overridden")

    @pytest.fixture
    def crowd(self) -> Mapping[str, Any]:
        """Fields of a job such that two jobs that have them cannot run at once."""
        pytest.skip("the fixture `crowd` is not overridden")

    @pytest.fixture
    def probes(self) -> Probes:
        """The commands that the kit runs."""
        return Probes()

    @pytest.fixture
    def job_fields(self) -> Mapping[str, Any]:
        """Fields that every job needs here, e.g. an image."""
        return {}

    @pytest.fixture
    def unknown_id(self) -> str:
        """A well-formed id of a job that never was."""
        return "bb-0000000000000000000000000"

    @pytest.fixture
    def rig(
        self, driver: Driver, job_fields: Mapping[str, Any], unknown_id: str, patience: float
    ) -> Iterator[Rig]:
        """The kit's loop around the driver; it cancels what the test leaves running."""
        rig = Rig(driver, patience, unknown_id, job_fields)
        yield rig
        rig.clean()
        rig.driver.close()

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest, driver: Driver) -> None:
        request.node.stash[DRIVER] = driver
        missing = lacking(request.function, driver.capabilities)
        if missing:
            pytest.skip(f"{' and '.join(missing)} not declared")
