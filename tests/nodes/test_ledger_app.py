"""``alphatrade ledger`` as an operator uses it: keys, a roster, and a check that fails when it should."""

from pathlib import Path

import pytest

from alphatrade.reflection.ledger import FILE
from tests.conftest import Door


def test_from_a_key_to_a_verified_ledger(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHATRADE_LEDGER", str(tmp_path / "ledger"))

    def ledger(*words: str, code: int = 0) -> str:
        done = door("ledger", *words)
        assert done.code == code, done.out + done.err
        return done.out if code < 2 else done.err

    ledger("key", str(tmp_path / "root.pem"))
    public = ledger("key", str(tmp_path / "ada.pem")).strip()
    root = ("--key", str(tmp_path / "root.pem"))
    fingerprint = ledger("init", "founder", *root).split()[-1]
    assert "founder (root), ada (person)" in ledger("add", "ada", "--role", "person", "--public", public, *root)
    head = ledger("head").strip()
    known = ("--trust", fingerprint, "--head", head)
    assert ledger("verify", *known).endswith("nothing wrong\n")
    assert "in itself" in ledger("verify")
    assert "founder (root)" in ledger("revoke", "ada", *root)
    assert ledger("verify", *known).startswith("entries      3, 0 trials")
    assert "WRONG        genesis" in ledger("verify", "--trust", "0" * 64, code=1)

    refused = ledger("add", "eve", "--role", "king", "--public", "0" * 64, *root, code=2)
    assert refused == "alphatrade: roster.role: got 'king', expected one of root, person, service\n"
    assert "a key that was not revoked" in ledger("revoke", "founder", "--key", str(tmp_path / "ada.pem"), code=2)
    assert "expected NUMBER:HASH" in ledger("verify", "--head", "3", code=2)
    assert "no ledger" in ledger("head", "--folder", str(tmp_path / "none"), code=2)

    file = tmp_path / "ledger" / FILE
    file.write_bytes(file.read_bytes().replace(b'"ada"', b'"eve"', 1))
    assert "WRONG        ledger entry 1: got 'a wrong signature', expected that of founder" in ledger("verify", code=1)
    assert "a wrong signature" in ledger("head", code=2)
