"""From a policy's hash to the policy: found in a ledger or a dossier, checked, and the same bytes anywhere."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from alphatrade.evolution import rebuild
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.rebuild import policy_file, rebuild_strategy
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.risk.errors import LedgerError
from alphatrade.strategies.policy import CadenceSpec, Policy, canonical
from tests.evolution.test_operators import founder
from tests.reflection.make_ledger import NOW, Cast, leaf, make_cast, replay


def trial(n: int, genotype: Genotype) -> dict[str, object]:
    plain = canonical(genotype)
    return leaf(n, genotype=plain, genotype_hash=genotype.genotype_hash, policy_hash=develop(genotype).policy_hash)


@pytest.fixture(scope="module")
def family() -> list[Genotype]:
    """Four genotypes, of which no two develop into the same policy."""
    first = founder()
    return [first.model_copy(update={"cadence": CadenceSpec(kind="seconds", n=15 + n)}) for n in range(4)]


@pytest.fixture
def cast(tmp_path: Path, family: list[Genotype]) -> Cast:
    cast = make_cast(tmp_path)
    cast.ledger.append_batch([trial(n, one) for n, one in enumerate(family[:2])], cast.service, NOW)
    cast.ledger.append("trial", trial(2, family[2]), cast.service, NOW)
    by_hand = replay(3, genotype=canonical(family[3]), policy_hash=develop(family[3]).policy_hash)
    cast.ledger.append("trial", by_hand, cast.service, NOW)
    return cast


def test_every_policy_that_was_tried_is_found_again(cast: Cast, family: list[Genotype]) -> None:
    for genotype in family:
        wanted = develop(genotype)
        found = rebuild_strategy(wanted.policy_hash, cast.folder)
        assert found == wanted
        data = policy_file(found)
        assert hashlib.sha256(data).hexdigest() == wanted.policy_hash, "the file's own sha256 is its name"
        assert Policy.model_validate(json.loads(data)) == wanted


def test_an_unknown_hash_is_one_line(cast: Cast) -> None:
    with pytest.raises(LedgerError, match="policy that was bred") as error:
        rebuild_strategy("0" * 64, cast.folder)
    assert "\n" not in str(error.value)
    with pytest.raises(LedgerError, match="nothing has none"):
        rebuild_strategy("0" * 64)


def test_a_genotype_that_develops_into_something_else_is_refused(
    cast: Cast, family: list[Genotype], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = trial(9, family[0]) | {"policy_hash": "1" * 64}
    cast.ledger.append("trial", wrong, cast.service, NOW)
    with pytest.raises(LedgerError, match="a genotype that develops into 1111"):
        rebuild_strategy("1" * 64, cast.folder)
    broken = trial(9, family[0]) | {"policy_hash": "2" * 64, "genotype": {"features": {}}}
    cast.ledger.append("trial", broken, cast.service, NOW)
    with pytest.raises(LedgerError, match="a genotype that develops into 2222"):
        rebuild_strategy("2" * 64, cast.folder)
    monkeypatch.setattr(rebuild, "develop", lambda _: develop(family[1]))  # another code
    with pytest.raises(LedgerError, match="expected a genotype that develops"):
        rebuild_strategy(develop(family[0]).policy_hash, cast.folder)


def test_a_damaged_ledger_or_batch_gives_nothing(cast: Cast, family: list[Genotype]) -> None:
    wanted = develop(family[0]).policy_hash
    (batch,) = (cast.folder / BATCHES).iterdir()
    whole = batch.read_bytes()
    batch.write_bytes(whole.replace(b'"op_x"', b'"op_y"'))
    with pytest.raises(LedgerError, match="other trials"):
        rebuild_strategy(wanted, cast.folder)
    batch.write_bytes(whole)
    file = cast.folder / FILE
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"scored"', b'"failed"'))
    with pytest.raises(LedgerError, match="a wrong signature"):
        rebuild_strategy(wanted, cast.folder)
    file.write_bytes(text[:-9])
    with pytest.raises(LedgerError, match="bytes without an end"):
        rebuild_strategy(wanted, cast.folder)


def test_a_dossier_will_do(tmp_path: Path, family: list[Genotype]) -> None:
    wanted = develop(family[1])
    path = tmp_path / "dossier.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("genotype.json", json.dumps(canonical(family[1])))
    assert rebuild_strategy(wanted.policy_hash, dossier=path) == wanted
    with pytest.raises(LedgerError, match="a genotype that develops into"):
        rebuild_strategy(develop(family[0]).policy_hash, dossier=path)
    for text in (b"", path.read_bytes()[:50], b"no zip"):
        path.write_bytes(text)
        with pytest.raises(LedgerError, match="a dossier: a zip file"):
            rebuild_strategy(wanted.policy_hash, dossier=path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other.json", "{}")
    with pytest.raises(LedgerError, match="a dossier: a zip file"):
        rebuild_strategy(wanted.policy_hash, dossier=path)
