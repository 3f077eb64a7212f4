"""What looks like a secret is refused where none belongs; known ones are struck out; the search for canaries sees."""

import base64
import gzip
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphatrade.nodes.overrides import known_paths
from alphatrade.nodes.redact import HIDDEN, Redactor, forms, refuse_config, refuse_environment, refuse_plain
from alphatrade.nodes.secrets import Secret
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT
from tests.nodes.make_canaries import KEY, SECRET, Canaries, family

CANARIES = Canaries(KEY, SECRET)

WORDS = (
    f"feed.api_key={KEY}", f"+feed.api_key={KEY}", f"++feed.api-secret={KEY}", f"feed.binance_api_key='{KEY}'", f"BINANCE_API_KEY={KEY}",
    f"feed={{name: x, api_key: {KEY}}}", f'feed={{"api_secret":"{KEY}"}}', f"venue.password={KEY}", f"venue.token={KEY}", f"cache.passphrase={KEY}",
    f"--api-key={KEY}", "--api-key", "--binance-api-secret", f"secret={KEY}", f"cache.url=redis://me:{KEY}@host:6379", f"redis://:{KEY}@host?a=b",
    f"feed.private_key={KEY}",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_a_secret_on_the_command_line_is_refused_in_a_line_that_does_not_repeat_it(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_plain(["alphatrade", "paper", "feed=binance", word, KEY])
    assert KEY not in str(caught.value) + repr(caught.value)
    assert HIDDEN in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_ordinary_words_are_let_through() -> None:
    refuse_plain([
        "alphatrade", "paper", "feed=binance", "policy/risk=tight", "cadence.n=5", "keys.folder=/etc/alphatrade/secrets", "secrets=/run/x", "--key",
        "tape.path=/a/b:c@d", "feed.base_url=ws://127.0.0.1:9000/stream", "policy.features.tokens=3", "symbols=[BTCUSDT,ETHUSDT]",
        "venue.api_key_file=x", "why=keyless",
    ])  # fmt: skip


def test_every_override_that_the_configuration_knows_is_let_through() -> None:
    for name in ("sim", "evolve", "rim"):
        paths = known_paths(name=name)
        assert paths
        refuse_plain([f"{path}=1" for path in paths])


def test_a_secret_in_the_configuration_is_refused() -> None:
    refuse_config({"feed": {"name": "binance", "api_key": None, "symbols": ["A", "B"]}, "n": 3})
    for bad in (
        {"feed": {"api_key": KEY}},
        {"a": [{"password": KEY}]},
        {"cache": {"url": f"redis://a:{KEY}@h"}},
        {"args": [f"token={KEY}"]},
    ):
        with pytest.raises(ConfigError) as caught:
            refuse_config(bad)
        assert KEY not in str(caught.value)


def test_a_secret_in_the_environment_is_refused() -> None:
    refuse_environment(
        {"OPENAI_API_KEY": KEY, "BINANCE_API_KEY": "", "BINANCE_REGION": "x", "ALPHATRADE_STATE": "/x"}, ["binance"]
    )
    refuse_environment({"BYBIT_API_KEY": KEY}, ["binance"])
    for name in (
        "BINANCE_API_KEY", "BINANCE_TESTNET_API_SECRET", "BINANCE_FUTURES_TESTNET_ED25519_API_KEY", "ALPHATRADE_API_KEY", "ALPHATRADE_PASSWORD",
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            refuse_environment({name: KEY}, ["binance_testnet"])
        assert name in str(caught.value)
        assert KEY not in str(caught.value)


def test_every_variable_that_the_bundled_adapter_would_take_is_known() -> None:
    spec = find_spec("nautilus_trader.adapters.binance.common.credentials")
    assert spec is not None
    assert spec.origin is not None
    names = sorted(set(re.findall(r'"(BINANCE_\w+)"', Path(spec.origin).read_text())))
    assert "BINANCE_API_SECRET" in names
    for name in names:
        with pytest.raises(ConfigError):
            refuse_environment({name: "x"}, ["binance"])


def test_the_redactor_strikes_out_every_form() -> None:
    special = 'k"e+y/&with=odd\\signs%0123'
    redactor = Redactor([Secret(KEY), Secret(special)])
    shown = " ".join(form for one in (KEY, special) for form in forms(one))
    shown += f" {quote(special)} {json.dumps(special)} {base64.b64encode(b'ab' + KEY.encode() + b'c').decode()} {KEY.encode().hex()}"
    assert Canaries(KEY, special).within(shown, "before")
    assert Canaries(KEY, special).within(redactor(shown), "after") == []
    assert redactor("nothing to see") == "nothing to see"
    redactor.add(Secret(SECRET))
    assert redactor(f"{KEY} {SECRET}") == f"{HIDDEN} {HIDDEN}"


PROGRAM = """
import logging, sys, threading
from alphatrade.nodes.redact import Redactor
from alphatrade.nodes.secrets import Secrets
from pathlib import Path

keys = Secrets(Path(sys.argv[1])).read("binance")
if sys.argv[2] == "with":
    Redactor([keys.api_key, keys.api_secret]).install()
logging.basicConfig(format="%(message)s")
text = keys.api_secret.get_secret_value()
logging.getLogger("a.b").warning("key %s of %s", keys.api_key.get_secret_value(), "binance")
try:
    raise RuntimeError("in a log: " + text)
except RuntimeError:
    logging.exception("it failed")

def fails():
    raise RuntimeError("in a thread: " + text)

def lost():
    raise RuntimeError("in a finalizer: " + text)

class Lost:
    def __del__(self):
        lost()

one = threading.Thread(target=fails)
one.start()
one.join()
Lost()
raise RuntimeError("uncaught: " + text.encode().hex())
"""


def test_logs_and_tracebacks_are_redacted_and_would_show_it_otherwise(tmp_path: Path) -> None:
    """Mutation: the same program without a redactor shows both secrets."""
    tmp_path.chmod(0o700)
    for name, value in (("key", KEY), ("secret", SECRET)):
        (tmp_path / f"binance_api_{name}").write_text(value)
        (tmp_path / f"binance_api_{name}").chmod(0o600)
    for how in ("with", "without"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path), how], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        for text in ("of binance", "it failed", "in a log", "in a thread", "in a finalizer", "uncaught"):
            assert text in done.stderr
        assert len(CANARIES.within(done.stderr, "stderr")) == (0 if how == "with" else 2)


def test_a_record_of_a_log_keeps_its_meaning_under_the_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    before = logging.getLogRecordFactory()
    try:
        Redactor([Secret(KEY)]).install()
        record = logging.getLogger("x").makeRecord("x", 20, "f", 1, "%d of %s", (3, KEY), None)
        assert record.getMessage() == f"3 of {HIDDEN}"
    finally:
        logging.setLogRecordFactory(before)


FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "base64": lambda text: base64.b64encode(f"x{text}y".encode()),
    "base64 of a login": lambda text: base64.b64encode(f"me:{text}".encode()),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "json": lambda text: json.dumps({"k": text}).encode(),
    "url": lambda text: f"https://h/?k={quote(text, safe='')}&x=1".encode(),
    "shortened": lambda text: f"{text[:24]}...{text[-22:]}".encode(),
    "wide": lambda text: text.encode("utf-16-le"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_for_canaries_finds_them_in_files(form: str, tmp_path: Path) -> None:
    special = "a/b+c=d&e" + KEY
    canaries = Canaries(special)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "log").write_bytes(b"\0\1 before " + FORMS[form](special[::-1]) + b" after")
    assert canaries.in_files(tmp_path) == []
    (tmp_path / "deep" / "er" / "log").write_bytes(b"\0\1 before " + FORMS[form](special) + b" after")
    assert len(canaries.in_files(tmp_path)) == 1


def test_the_search_for_canaries_opens_what_is_compressed_and_reads_names(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"] * 500 + [f"key={KEY}"] * 500, "n": list(range(1000))})
    pq.write_table(table, tmp_path / "one.parquet", compression="zstd")
    (tmp_path / "two.gz").write_bytes(gzip.compress(SECRET.encode()))
    (tmp_path / KEY).touch()
    (tmp_path / "link").symlink_to(SECRET)
    found = "\n".join(CANARIES.in_files(tmp_path))
    for name in ("one.parquet", "two.gz", "name of", "(link)"):
        assert name in found


def test_the_search_for_canaries_sees_command_lines_and_environments_of_descendants() -> None:
    inner = f"import time; print('up', flush=True); time.sleep(30); '{KEY}'"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], env={{'X': {SECRET!r}}})"
    clean = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(30)"], stdout=subprocess.PIPE
    )
    leaky = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE)
    try:
        for one in (clean, leaky):
            assert one.stdout is not None
            assert one.stdout.readline() == b"up\n"
        assert CANARIES.in_processes(clean.pid) == []
        found = CANARIES.in_processes(leaky.pid)
        assert any("cmdline" in line and "canaryKEY" in line for line in found)
        assert any("environ" in line and "canarySECRET" in line for line in found)
    finally:
        for pid in [*family(leaky.pid), clean.pid]:
            os.kill(pid, 9)
        for one in (clean, leaky):
            one.communicate()
