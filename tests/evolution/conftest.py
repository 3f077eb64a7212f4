"""What tests of evolution share: the shipped domain."""

import pytest
import yaml

from alphatrade.evolution.domain import Domain
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def domain() -> Domain:
    return Domain.model_validate(yaml.safe_load((ROOT / "conf" / "domain" / "default.yaml").read_text()))
