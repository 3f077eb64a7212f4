"""From a policy's hash to the policy: found in a ledger or a dossier, checked, and the same bytes anywhere."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest

from alphatrade.evolution import rebuild
from alphatrade.evolution.dossier import dumped, pack, unpack
from alphatrade.evolution.genotype import Genotype, develop
from alphatrade.evolution.rebuild import GENOTYPE, policy_file, rebuild_strategy
from alphatrade.reflection.ledger_files import BATCHES, FILE
from alphatrade.risk.errors import InputError, LedgerError
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
    path.write_bytes(pack({GENOTYPE: dumped(canonical(family[1]))}))
    assert rebuild_strategy(wanted.policy_hash, dossier=path) == wanted
    with pytest.raises(LedgerError, match="a genotype that develops into"):
        rebuild_strategy(develop(family[0]).policy_hash, dossier=path)
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    for data in (
        b"", path.read_bytes()[:50], b"no zip", pack({"other.json": b"{}"}),
        *(pack({GENOTYPE: text}) for text in (b"[]", b"{", b"\xff", b"NaN", b'{"a": 1}', deep)),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(LedgerError, match="a dossier: a zip file"):
            rebuild_strategy(wanted.policy_hash, dossier=path)
    with pytest.raises(LedgerError, match="a dossier: a zip file"):
        rebuild_strategy(wanted.policy_hash, dossier=tmp_path)


def test_whatever_byte_is_another_it_is_the_projects_error(tmp_path: Path) -> None:
    """Every byte of a tiny archive to every other value; of a dossier every bit, encryption and packing among them."""
    tiny, honest, path = pack({"a": b"1"}), pack({GENOTYPE: b'{"a":1}'}), tmp_path / "dossier.zip"
    for at, byte in enumerate(tiny):
        for to in range(256):
            if to != byte:
                with suppress(InputError):
                    unpack(tiny[:at] + bytes([to]) + tiny[at + 1 :])
    for at, byte in enumerate(honest):
        for bit in range(8):
            path.write_bytes(honest[:at] + bytes([byte ^ 1 << bit]) + honest[at + 1 :])
            with pytest.raises(LedgerError) as error:
                rebuild_strategy("0" * 64, dossier=path)
            assert "\n" not in str(error.value)
    encrypted = bytearray(honest)
    for at in (honest.index(b"PK\x03\x04") + 6, honest.index(b"PK\x01\x02") + 8):
        encrypted[at] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(LedgerError, match="encrypted"):
        rebuild_strategy("0" * 64, dossier=path)
