"""What tests of live nodes share: a venue whose prices move, and a node there; a file that needs another has its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.venue.make_live import moving
from tests.venue.make_pilot import Pilot
from tests.venue.make_venue import Handle


@pytest.fixture
def venue() -> Iterator[Handle]:
    with moving() as handle:
        yield handle


@pytest.fixture
def pilot(venue: Handle, tmp_path: Path) -> Iterator[Pilot]:
    made = Pilot(tmp_path, venue)
    yield made
    made.close()
