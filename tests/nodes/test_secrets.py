"""Keys come from private files or the keyring; all else is refused, and nothing that is printed or kept shows one."""

import copy
import json
import os
import pickle
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
from pydantic import BaseModel, SecretStr, ValidationError

from alphatrade.nodes import secrets
from alphatrade.nodes.redact import Redactor
from alphatrade.nodes.secrets import FIELDS, LEAST, MOST, Keys, Secret, Secrets
from alphatrade.risk.errors import ConfigError
from tests.conftest import ROOT
from tests.nodes.make_canaries import KEY, SECRET, Canaries

CANARIES = Canaries(KEY, SECRET)
NAMES = ("binance_api_key", "binance_api_secret")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of secrets as it should be."""
    made = tmp_path / "secrets"
    made.mkdir(mode=0o700)
    for name, value in zip(NAMES, (KEY, SECRET), strict=True):
        put(made / name, value)
    return made


def put(path: Path, value: str | bytes, mode: int = 0o600) -> None:
    """Write a secret as an operator should: beside its place, and renamed."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(value.encode() if isinstance(value, str) else value)
    beside.chmod(mode)
    beside.replace(path)


def plain(keys: Keys) -> tuple[str, str]:
    return keys.api_key.get_secret_value(), keys.api_secret.get_secret_value()


def refused(folder: Path | None, venue: str = "binance") -> ConfigError:
    """Return the refusal, once it is known to be one line that shows no secret, whoever prints it."""
    with pytest.raises(ConfigError) as caught:
        Secrets(folder).read(venue)
    shown = str(caught.value) + repr(caught.value) + everything(caught.value)
    assert CANARIES.within(shown, "refusal") == []
    assert "\n" not in str(caught.value)
    return caught.value


def everything(error: BaseException) -> str:
    """Return a traceback with the local variables of our frames, causes and contexts included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain: list[traceback.TracebackException] = [told]
    for one in chain:
        chain += [other for other in (one.__cause__, one.__context__) if other is not None]
        for at in list(one.stack):
            if not at.filename.startswith(str(ROOT / "nodes")) and "alphatrade/nodes" not in at.filename:
                one.stack.remove(at)  # the test itself knows the canaries
    return "".join("".join(one.format(chain=False)) for one in chain)


def test_keys_come_from_the_folder_with_or_without_a_newline_at_the_end(folder: Path) -> None:
    assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
    put(folder / NAMES[0], KEY + "\n")
    put(folder / NAMES[1], SECRET + "\r\n")
    assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)


def test_a_venue_has_its_own_files(folder: Path) -> None:
    put(folder / "binance_testnet_api_key", "t" * LEAST)
    put(folder / "binance_testnet_api_secret", "u" * LEAST)
    assert plain(Secrets(folder).read("binance_testnet")) == ("t" * LEAST, "u" * LEAST)
    for venue in ("", "../x", "Binance", "a/b", "binance_"):
        assert refused(folder, venue).field == "venue"


def test_a_link_within_the_folder_is_a_file_of_it(folder: Path) -> None:
    (folder / "of_today").mkdir(mode=0o700)
    (folder / NAMES[0]).rename(folder / "of_today" / "key")
    (folder / NAMES[0]).symlink_to("of_today/key")
    assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert plain(Secrets(link).read("binance")) == (KEY, SECRET)


def _outside(folder: Path) -> None:
    (folder / NAMES[0]).rename(folder.parent / "elsewhere")
    (folder / NAMES[0]).symlink_to(folder.parent / "elsewhere")


def _pipe(folder: Path) -> None:
    (folder / NAMES[0]).unlink()
    os.mkfifo(folder / NAMES[0], 0o600)


def _circle(folder: Path) -> None:
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).symlink_to(NAMES[0])


def _subfolder(folder: Path) -> None:
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).mkdir(mode=0o700)


def _content(value: str | bytes) -> Callable[[Path], None]:
    return lambda folder: put(folder / NAMES[0], value)


BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "missing": (lambda f: (f / NAMES[0]).unlink(), NAMES[0], "0600"),
    "folder missing": (lambda f: f.rename(f.parent / "gone"), NAMES[0], "folder of mode 0700"),
    "folder is a file": (lambda f: (f.rename(f.parent / "gone"), f.touch()), NAMES[0], "folder of mode 0700"),
    "group reads": (lambda f: (f / NAMES[0]).chmod(0o640), NAMES[0], "0600"),
    "others read": (lambda f: (f / NAMES[0]).chmod(0o604), NAMES[0], "0600"),
    "others write": (lambda f: (f / NAMES[1]).chmod(0o602), NAMES[1], "0600"),
    "group enters the folder": (lambda f: f.chmod(0o710), "secrets", "0700"),
    "others list the folder": (lambda f: f.chmod(0o705), "secrets", "0700"),
    "link out of the folder": (_outside, NAMES[0], "a file in the folder"),
    "links in a circle": (_circle, NAMES[0], "a file"),
    "a pipe": (_pipe, NAMES[0], "a file"),
    "a folder": (_subfolder, NAMES[0], "a file"),
    "empty": (_content(""), NAMES[0], "a secret of 8 to 4096"),
    "a newline only": (_content("\n"), NAMES[0], "a secret of 8 to 4096"),
    "too short": (_content(KEY[: LEAST - 1]), NAMES[0], "a secret of 8 to 4096"),
    "too long": (_content(KEY * 100), NAMES[0], "a secret of 8 to 4096"),
    "far too long": (_content(KEY * 40_000), NAMES[0], "a secret of 8 to 4096"),
    "newline inside": (_content(KEY + "\n" + SECRET), NAMES[0], "one line"),
    "two newlines at the end": (_content(KEY + "\n\n"), NAMES[0], "one line"),
    "blank inside": (_content(KEY + " " + SECRET), NAMES[0], "one line"),
    "a zero byte": (_content(KEY + "\0"), NAMES[0], "printable ASCII"),
    "no text": (_content(KEY.encode() + b"\xff\xfe"), NAMES[0], "printable ASCII"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_refused_by_name_and_never_shown(case: str, folder: Path) -> None:
    spoil, named, expected = BAD[case]
    spoil(folder)
    refusal = refused(folder)
    assert Path(refusal.field).name == named
    assert expected in refusal.expected


def test_the_longest_and_the_shortest_secret_are_taken(folder: Path) -> None:
    put(folder / NAMES[0], "k" * LEAST)
    put(folder / NAMES[1], "s" * MOST + "\r\n")
    assert plain(Secrets(folder).read("binance")) == ("k" * LEAST, "s" * MOST)


def test_files_of_another_user_are_refused_and_those_of_root_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    if mine == 0:
        assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
        os.chown(folder / NAMES[1], 1234, 0)
    refusal = refused(folder)
    assert "belongs to user 4321" in refusal.expected
    assert Path(refusal.field).name == (NAMES[1] if mine == 0 else "secrets")


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an access list as the kernel keeps it: tag, bits, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 2**32 - 1
ME = 4321


def listed(user: int = ME, group: int = 0, other: int = 0, mask: int = 4) -> bytes:
    return acl((1, 6, NOBODY), (2, 4, user), (4, group, NOBODY), (16, mask, NOBODY), (32, other, NOBODY))


def test_an_access_list_counts_and_not_the_mask_that_the_mode_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd hands out credentials: of root, and this user alone is on the list."""
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    assert secrets._foreign(0o100640, listed()) == 0
    assert secrets._foreign(0o100640, listed(user=0)) == 0
    assert secrets._foreign(0o100640, listed(user=99)) == 4
    assert secrets._foreign(0o100640, listed(group=4)) == 4
    assert secrets._foreign(0o100600, listed(group=4, mask=0)) == 0
    assert secrets._foreign(0o100604, listed(other=4)) == 4
    assert secrets._foreign(0o100640, acl((1, 6, NOBODY), (8, 4, 77), (16, 4, NOBODY), (32, 0, NOBODY))) == 4
    assert secrets._foreign(0o100640, b"") == 0o40


def test_an_access_list_on_a_real_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can hand out files of root")
    monkeypatch.setattr(os, "geteuid", lambda: ME)
    try:
        os.setxattr(folder / NAMES[0], "system.posix_acl_access", listed())
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")
    assert (folder / NAMES[0]).stat().st_mode & 0o077 == 0o040
    assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
    os.setxattr(folder / NAMES[0], "system.posix_acl_access", listed(user=99))
    assert "0600" in refused(folder).expected


def test_mutation_without_the_check_of_permissions_others_could_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusals above are due to the checks that they seem to be due to."""
    (folder / NAMES[0]).chmod(0o644)
    folder.chmod(0o755)
    refused(folder)
    with monkeypatch.context() as without:
        without.setattr(secrets, "_foreign", lambda mode, acl: 0)
        assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
    put(folder / NAMES[0], KEY + "\n" + SECRET)
    folder.chmod(0o700)
    refused(folder)
    with monkeypatch.context() as without:
        without.setattr(secrets, "_checked", lambda where, secret: secret)
        assert plain(Secrets(folder).read("binance"))[0] == KEY + "\n" + SECRET


def test_nothing_comes_from_arguments_or_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("api_key", "API_KEY", "binance_api_key", "BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.setenv(name, "of the environment")
    assert plain(Secrets(folder).read("binance")) == (KEY, SECRET)
    (folder / NAMES[0]).unlink()
    refused(folder)
    arguments: Any = {"api_key": KEY, "api_secret": SECRET}
    with pytest.raises(ConfigError):
        Keys(_secrets_dir=folder, _env_prefix="binance_", **arguments)


class InMemory(KeyringBackend):
    """A keyring for tests."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, **kept: str) -> None:
        super().__init__()
        self.kept, self.locked = kept, False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise KeyringLocked(f"locked, and this says too much: {KEY}")
        return self.kept.get(username) if service == "alphatrade" else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> InMemory:
    made = InMemory(binance_api_key=KEY, binance_api_secret=SECRET)
    monkeypatch.setattr(keyring, "get_keyring", lambda: made)
    monkeypatch.setattr("keyring.core._keyring_backend", made)
    return made


def test_keys_come_from_the_keyring(ring: InMemory) -> None:
    assert plain(Secrets(None).read("binance")) == (KEY, SECRET)


def test_a_keyring_that_is_locked_empty_wrong_or_no_keyring_is_refused(ring: InMemory) -> None:
    ring.locked = True
    assert "unlocked" in refused(None).expected
    ring.locked = False
    ring.kept["binance_api_secret"] = SECRET + "\n" + KEY
    assert refused(None).field == "keyring alphatrade/binance_api_secret"
    del ring.kept["binance_api_secret"]
    assert "keyring set alphatrade binance_api_secret" in refused(None).expected
    ring.kept["binance_api_secret"] = SECRET
    ring.priority = 0.5  # type: ignore[assignment]  # as of one that writes a plain file
    assert refused(None).field == "keyring"


def test_a_rotation_is_seen_once_both_files_are_new(folder: Path) -> None:
    place = Secrets(folder)
    assert place.changed("binance")  # nothing was read yet
    place.read("binance")
    assert not place.changed("binance")
    put(folder / NAMES[0], KEY[::-1])
    assert not place.changed("binance")  # the new key and the old secret do not belong together
    put(folder / NAMES[1], SECRET[::-1])
    assert place.changed("binance")
    assert place.changed("binance")  # until it is read
    assert plain(place.read("binance")) == (KEY[::-1], SECRET[::-1])
    assert not place.changed("binance")


def test_a_file_that_is_only_touched_is_no_rotation(folder: Path) -> None:
    place = Secrets(folder)
    place.read("binance")
    for name, value in zip(NAMES, (KEY, SECRET), strict=True):
        put(folder / name, value)
        os.utime(folder / name)
    assert not place.changed("binance")


def test_a_new_key_for_the_same_private_key_is_a_rotation(folder: Path) -> None:
    place = Secrets(folder)
    place.read("binance")
    put(folder / NAMES[0], KEY[::-1])
    put(folder / NAMES[1], SECRET)
    assert place.changed("binance")


def test_a_rotation_that_went_wrong_is_told_and_the_next_one_is_seen(folder: Path) -> None:
    place = Secrets(folder)
    place.read("binance")
    put(folder / NAMES[0], KEY[::-1], mode=0o644)
    put(folder / NAMES[1], SECRET[::-1])
    with pytest.raises(ConfigError, match="0600"):
        place.changed("binance")
    (folder / NAMES[0]).chmod(0o600)
    assert place.changed("binance")
    (folder / NAMES[0]).unlink()
    with pytest.raises(ConfigError, match="a file with the secret"):
        place.changed("binance")


def test_a_file_that_is_being_written_is_waited_for(folder: Path) -> None:
    place = Secrets(folder)
    place.read("binance")
    (folder / NAMES[0]).write_bytes(b"")  # an editor has just begun
    assert not place.changed("binance")
    put(folder / NAMES[1], SECRET[::-1])
    with pytest.raises(ConfigError, match="0 characters"):
        place.changed("binance")
    put(folder / NAMES[0], KEY[::-1])
    assert place.changed("binance")


def test_a_rotation_in_place_is_seen_too(folder: Path) -> None:
    place = Secrets(folder)
    place.read("binance")
    time.sleep(0.02)  # the clock of a file system ticks slower than ours
    for name, value in zip(NAMES, (KEY, SECRET), strict=True):
        (folder / name).write_text(value[::-1])
    assert place.changed("binance")


def test_a_rotation_in_the_keyring_is_seen_once_both_are_new(ring: InMemory) -> None:
    place = Secrets(None)
    place.read("binance")
    assert not place.changed("binance")
    ring.kept["binance_api_key"] = KEY[::-1]
    assert not place.changed("binance")
    ring.kept["binance_api_secret"] = SECRET[::-1]
    assert place.changed("binance")


def test_the_place_keeps_no_secret_and_two_places_keep_different_hashes(folder: Path) -> None:
    one, other = Secrets(folder), Secrets(folder)
    keys = one.read("binance"), other.read("binance")
    assert one._seen["binance"].digests != other._seen["binance"].digests
    assert one._seen["binance"].marks == other._seen["binance"].marks
    assert CANARIES.within(pickle.dumps(one) + repr(vars(one)).encode(), "place") == []
    assert plain(keys[0]) == plain(keys[1])


def test_no_way_to_show_the_keys_shows_them(folder: Path) -> None:
    keys = Secrets(folder).read("binance")
    shown = [
        repr(keys),
        str(keys),
        f"{keys}",
        f"{keys.api_key}",
        repr(vars(keys)),
        repr(keys.model_dump()),
        keys.model_dump_json(),
    ]
    shown += [
        json.dumps(keys.model_dump(), default=str),
        repr(keys.api_key),
        str([keys.api_key]),
        repr(keys.__rich_repr__),
    ]
    shown += [repr(list(keys.__repr_args__())), str(keys.model_json_schema())]
    assert CANARIES.within("".join(shown), "shown") == []
    assert "****" in shown[0]


def test_the_keys_are_not_pickled_nor_copied_deeply(folder: Path) -> None:
    keys = Secrets(folder).read("binance")
    for what in (keys, keys.api_key, [keys.api_secret], vars(keys), keys.model_dump(), Redactor([keys.api_key])):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(what, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(keys)


def test_mutation_an_ordinary_secret_string_would_be_pickled_in_clear() -> None:
    assert CANARIES.within(pickle.dumps(SecretStr(KEY)), "pickle")


class Model(BaseModel):
    """Something that goes wrong with a secret in it."""

    one: Secret
    number: int


def test_errors_of_pydantic_and_tracebacks_show_nothing(folder: Path) -> None:
    keys = Secrets(folder).read("binance")
    with pytest.raises(ValidationError) as caught:
        Model(one=keys.api_key, number=keys.api_secret)  # type: ignore[arg-type]
    with pytest.raises(TypeError) as frozen:
        keys.api_key = KEY  # type: ignore[assignment]
    try:
        raise RuntimeError(keys)
    except RuntimeError as error:
        raised = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "keys = Keys(" in raised
    shown = str(caught.value) + repr(caught.value.errors()) + caught.value.json() + str(frozen.value) + raised
    assert CANARIES.within(shown, "errors") == []


def test_every_field_has_a_file_of_its_own() -> None:
    assert tuple(f"binance_{name}" for name in FIELDS) == NAMES
