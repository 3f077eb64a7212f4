"""Permits that are none: forged, signed by the wrong ones, over, for something else, in a ledger that was changed.

After each the node's own look at the ledger says what is permitted, the law judges an order by that, and the order is
given to the client behind its door: whatever is let through is in the exchange's books.
"""

import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from alphatrade.nodes.evaluate import MEMORY
from alphatrade.nodes.live.anchor import Anchor
from alphatrade.nodes.live.clocks import Clocks
from alphatrade.nodes.live.permits import CLOCK, HEAD, Asked, Watch
from alphatrade.reflection.keys import SigningKey
from alphatrade.reflection.ledger import Ledger
from alphatrade.reflection.ledger_chain import sealed
from alphatrade.reflection.ledger_files import FILE
from alphatrade.reflection.permits import permit_id
from alphatrade.risk.exposure import BUY, Order
from alphatrade.risk.live_law import LiveLaw
from alphatrade.risk.permit import Permit
from alphatrade.risk.template import RiskTemplate
from alphatrade.risk.units import ATTO, to_nano
from tests.reflection.make_ledger import HOUR, NOW, SEARCH, digest, leaf, search, stage
from tests.reflection.make_permits import CODE, POLICY, Pair, make_pair
from tests.venue.make_door import NAME, Behind

ASKED = Asked(POLICY, CODE, "sandbox", "PILOT", (NAME.value,))
WIDE: dict[str, Any] = {
    "order_notional_max": 1, "gross_max": 1, "net_max": 1, "instrument_max": 1, "price_collar": 0.2,
    "daily_loss_max": 1, "drawdown_max": 1, "orders_per_second": 1000, "orders_per_minute": 100_000,
    "repeat_max": 1000, "duplicate_window_s": 0, "open_orders_max": 1000,
}  # fmt: skip


class Desk:
    """
    A ledger of its own for each attempt, with all keys, those of the root included, and what a node sees of it.

    Attributes
    ----------
    asked : Asked
        What the node asks for.
    clocks : Clocks or None
        The node's; None: true ones.
    """

    def __init__(self, base: Pair, rng: random.Random) -> None:
        self.root = Path(mkdtemp(prefix="alphatrade-forgery-", dir=MEMORY))
        shutil.copytree(base.cast.folder, self.root / "ledger")
        self.pair = base._replace(cast=base.cast._replace(folder=self.root / "ledger"))
        self.fingerprint, self.rng = self.pair.ledger.chain.fingerprint, rng
        self.asked, self.clocks = ASKED, None
        self.keys = {"root": base.cast.root, "person": base.cast.person, "service": base.cast.service, "ben": base.ben}

    @property
    def file(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger" / FILE

    @property
    def state(self) -> Path:
        """What the account remembers."""
        return self.root / "state" / "live" / "PILOT"

    def terms(self, **parts: Any) -> Any:
        """Return terms of a nonce of their own, from a second ago on for an hour."""
        now = time.time_ns()
        own = {"begins": str(now - 10**9), "ends": str(now + HOUR), "nonce": f"{self.rng.getrandbits(128):032x}"}
        return self.pair.terms(**own | parts)

    def enter(self, ts: int = 0, **parts: Any) -> str:
        """Enter a rightful permit and return its id."""
        return self.pair.enter(self.terms(**parts), ts or time.time_ns())

    def force(self, kind: str, body: dict[str, Any], name: str, key: SigningKey | None = None) -> None:
        """Write an entry that nobody would add, whole, in its place in the chain, and signed."""
        line = sealed(Ledger(self.root / "ledger").chain.head, time.time_ns(), kind, body, name, key or self.keys[name])
        with self.file.open("ab") as file:
            file.write(line + b"\n")

    def forged(self, first: str, second: str, by: SigningKey | None = None, key: SigningKey | None = None) -> None:
        """Write a permit of two names, whoever signs for them."""
        terms = self.terms()
        body = self.pair.body(terms, by or self.keys[second], second)
        self.force("limited_live", body, first, key)

    def wall(self) -> int:
        """Return what the wall's clock of the node shows, UTC ns."""
        return time.time_ns() if self.clocks is None else self.clocks._wall()

    def look(self) -> Permit:
        """Return what a node that starts now is permitted."""
        anchor = Anchor(self.root / "state", self.root / "ledger", self.fingerprint)
        return Watch(anchor, self.asked, self.state, self.clocks).look()


def based(folder: Path) -> Pair:
    """Return the ledger that all begin with: two persons, a policy in pilot that was bred for cash, no permit."""
    pair = make_pair(folder)
    body = search(search=SEARCH, evaluator={"run": {"venue": {"account": "cash"}}})
    pair.ledger.append("search", body, pair.cast.service, NOW)
    pair.ledger.append("trial", leaf(1, search=SEARCH), pair.cast.service, NOW)
    return pair


# -- the forgeries


def stranger(desk: Desk) -> SigningKey:
    """Return a key of nobody."""
    return SigningKey.generate(desk.root / f"{desk.rng.getrandbits(64)}.pem")


def revoked(desk: Desk) -> None:
    """Enter and revoke."""
    desk.pair.ledger.append(
        "revocation", {"permit": desk.enter(), "why": "enough"}, desk.pair.cast.service, time.time_ns()
    )


def entered_again(desk: Desk) -> None:
    """Enter a permit that was revoked once more, with both old signatures."""
    terms = desk.terms()
    body = desk.pair.body(terms)
    ledger, now = desk.pair.ledger, time.time_ns()
    ledger.append("limited_live", body, desk.keys["person"], now)
    ledger.append("revocation", {"permit": permit_id(terms), "why": "enough"}, desk.keys["service"], now)
    desk.force("limited_live", body, "person")


def other_terms(desk: Desk) -> None:
    """Use a cosignature for other terms."""
    body = desk.pair.body(desk.terms(capital="10"))
    desk.force("limited_live", body | {"terms": desk.terms().model_dump()}, "person")


def signer_gone(desk: Desk, before: bool) -> None:
    """Revoke a signer before or after."""
    if not before:
        desk.enter()
    desk.pair.ledger.append("roster", {"revoke": "ben"}, desk.keys["root"], time.time_ns())
    if before:
        desk.forged("person", "ben")


def demoted(desk: Desk) -> None:
    """Take the policy down."""
    desk.enter()
    desk.pair.ledger.append("stage", stage(1, "limited_live", "pilot"), desk.keys["service"], time.time_ns())


def not_promoted(desk: Desk) -> None:
    """Permit a policy that nobody promoted."""
    desk.asked = ASKED._replace(policy=digest(1002))
    terms = desk.terms(policy_hash=digest(1002))
    desk.force("limited_live", desk.pair.body(terms), "person")


def asking(**parts: Any) -> Callable[[Desk], None]:
    """Return a forgery in which the node asks for something else than is permitted."""

    def forgery(desk: Desk) -> None:
        desk.enter()
        desk.asked = ASKED._replace(**parts)

    return forgery


def cut_off(desk: Desk) -> None:
    """Revoke, let the node see it, and cut the end off."""
    revoked(desk)
    desk.look()
    desk.file.write_bytes(b"".join(desk.file.read_bytes().splitlines(keepends=True)[:-1]))


def other_ledger(desk: Desk) -> None:
    """Put another ledger, with persons of one's own, in the place of the one that is known."""
    (desk.root / "other").mkdir()
    other = Desk(based(desk.root / "other"), desk.rng)
    other.enter()
    shutil.copyfile(other.file, desk.file)
    shutil.rmtree(other.root)


def foreign_fingerprint(desk: Desk) -> None:
    """Take terms that were signed for another ledger."""
    desk.force("limited_live", desk.pair.body(desk.terms(ledger=digest(9))), "person")


def half_written(desk: Desk) -> None:
    """Cut the permit's own line short."""
    desk.enter()
    data = desk.file.read_bytes()
    at = data.rindex(b"\n", 0, -1)
    desk.file.write_bytes(data[: desk.rng.randrange(at + 2, len(data))])


def one_byte(desk: Desk) -> None:
    """Change a byte of the permit's own line."""
    desk.enter()
    data = bytearray(desk.file.read_bytes())
    at = desk.rng.randrange(data.rindex(b"\n", 0, -1) + 1, len(data) - 1)
    data[at] ^= desk.rng.randrange(1, 256)
    desk.file.write_bytes(bytes(data))


class Back(Clocks):
    """Clocks of a machine that was set back by two hours."""

    @staticmethod
    def _wall() -> int:
        return time.time_ns() - 2 * HOUR


def clock_back(desk: Desk) -> None:
    """Set the clock back into the time of a permit that is over."""
    now = time.time_ns()
    desk.enter(now - 3 * HOUR, begins=str(now - 3 * HOUR), ends=str(now - HOUR))
    desk.look()
    desk.clocks = Back(desk.state / CLOCK)


def on_margin(desk: Desk) -> None:
    """Permit a policy that was bred on margin, too."""
    desk.enter()
    body = search(search="6" * 64, evaluator={"run": {"venue": {"account": "margin"}}})
    desk.pair.ledger.append("search", body, desk.keys["service"], time.time_ns())
    desk.pair.ledger.append("trial", leaf(1, search="6" * 64), desk.keys["service"], time.time_ns())


def no_memory(desk: Desk) -> None:
    """Damage what the node remembers of the ledger."""
    desk.enter()
    desk.state.mkdir(parents=True)
    (desk.state / HEAD).write_text("7")


def _moved(begins: int, ends: int) -> Callable[[Desk], None]:
    def forgery(desk: Desk) -> None:
        now = time.time_ns()
        desk.enter(now + min(begins, 0), begins=str(now + begins), ends=str(now + ends))

    return forgery


FORGERIES: dict[str, Callable[[Desk], object]] = {
    "no entry": lambda desk: None,
    "one signer twice": lambda desk: desk.forged("person", "person"),
    "cosigned by a service": lambda desk: desk.forged("person", "service"),
    "cosigned by the root": lambda desk: desk.forged("person", "root"),
    "cosigned by nobody known": lambda desk: desk.forged("person", "eve", stranger(desk)),
    "cosigned with another key": lambda desk: desk.forged("person", "ben", desk.keys["person"]),
    "entered by a service": lambda desk: desk.forged("service", "ben"),
    "entered by the root": lambda desk: desk.forged("root", "ben"),
    "entered with another key": lambda desk: desk.forged("person", "ben", key=stranger(desk)),
    "cosignature of other terms": other_terms,
    "a signer revoked before": lambda desk: signer_gone(desk, before=True),
    "a signer revoked after": lambda desk: signer_gone(desk, before=False),
    "revoked": revoked,
    "revoked and entered again": entered_again,
    "expired": _moved(-2 * HOUR, -HOUR),
    "not begun": _moved(HOUR, 2 * HOUR),
    "clock set back": clock_back,
    "policy taken down": demoted,
    "policy never promoted": not_promoted,
    "policy bred on margin": on_margin,
    "another policy runs": asking(policy=digest(1002)),
    "other code runs": asking(code=digest(3)),
    "at another venue": asking(venue="mainnet"),
    "for another account": asking(account="OTHER"),
    "of another instrument": asking(instruments=("ETHUSDT.BINANCE",)),
    "for another ledger": foreign_fingerprint,
    "another ledger in its place": other_ledger,
    "end cut off": cut_off,
    "half-written": half_written,
    "a byte changed": one_byte,
    "memory damaged": no_memory,
}


def law_of() -> LiveLaw:
    """Return a law that denies little but what a permit does not cover."""
    return LiveLaw(RiskTemplate(**WIDE), 50 * ATTO)


async def ordered(one: Behind, permit: Permit, now: int, law: LiveLaw | None = None, qty: str = "0.001") -> None:
    """Let a law judge an order by a permit, approve it if it may, and give it to the client whatever was said."""
    law, made = law or law_of(), one.order(qty=qty)
    law.permit = permit
    law.on_mark(NAME.value, to_nano("30000"), to_nano("30001"), now)
    asked = Order(made.client_order_id.value, NAME.value, BUY, "LIMIT", to_nano(qty), to_nano("29000"))
    await handed(one, made, law.check([asked], now).code is None)


async def handed(one: Behind, order: Any, let: bool) -> None:
    """Give an order to the client, approved only if it was let through."""
    if let:
        one.approved(order)
    send = one.client._submit_limit_order if order.has_price else one.client._submit_market_order
    with suppress(Exception):  # refused, in whatever words
        await send(order, None, None, False)
