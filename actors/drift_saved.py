"""What the drift sentry has learnt, as bytes and back; what is damaged or of another policy is refused."""

import msgspec
import numpy as np

from alphatrade.actors.drift import LEVELS, DriftFamily
from alphatrade.actors.drift_design import Design
from alphatrade.actors.drift_parts import Severity

VERSION = 1


class _Learnt(msgspec.Struct):
    instrument: str
    name: str
    watched: bool
    count: float
    mean: float
    deviation: float


class _Saved(msgspec.Struct):
    version: int
    params: list[float]
    streams: list[_Learnt]
    seen: list[tuple[float, int, int, float, float]]
    levels: dict[str, int]
    design: tuple[float, float, int] | None
    outcomes: int


def save(family: DriftFamily) -> bytes:
    """Return what has been learnt, without the charts: after a restart they begin at zero."""
    learnt = [
        _Learnt(s.instrument, s.name, s.watched, float(row[0]), float(row[1]), float(row[2]))
        for s, row in zip(family.streams, family.state, strict=True)
    ]
    levels = {instrument: severity.level for instrument, severity in family.severity.items()}
    d = family.design
    design = None if d is None else (d.threshold, d.run_length, d.outcomes)
    params = [float(value) for value in family.params]
    return msgspec.msgpack.encode(_Saved(VERSION, params, learnt, family.seen, levels, design, family.outcomes))


def load(family: DriftFamily, saved: bytes) -> None:
    """
    Take up what :func:`save` returned into a family that has seen nothing.

    Raises
    ------
    ValueError
        If it is damaged, of another version or of other parameters; nothing has been taken up then.
    """
    try:
        s = msgspec.msgpack.decode(saved, type=_Saved)
    except msgspec.MsgspecError as error:
        raise ValueError(f"damaged: {error}") from error
    params = [float(value) for value in family.params]
    if s.version != VERSION or s.params != params:
        raise ValueError(f"got version {s.version} for {s.params}, expected version {VERSION} for {params}")
    if not _possible(s):
        raise ValueError("statistics that cannot be, expected finite ones with spread")
    family.outcomes, family.seen = s.outcomes, list(s.seen)
    family.design = None if s.design is None else Design(*s.design)
    for row in s.streams:
        i = family.find(row.instrument, row.name)
        family.state[i, :3] = row.count, row.mean, row.deviation
        family.streams[i].watched = row.watched
        family.streams[i].ph = family.page_hinkley() if row.watched else None
    for instrument, level in s.levels.items():
        family.severity[instrument] = Severity()
        family.severity[instrument].level = level


def _possible(s: _Saved) -> bool:
    places = range(-1, len(s.streams))
    return (
        all(np.isfinite((row.count, row.mean, row.deviation)).all() and row.count >= 0 for row in s.streams)
        and all(row.deviation > 0 for row in s.streams if row.watched)
        and all(np.isfinite((x, p, q)).all() and a in places and b in places for x, a, b, p, q in s.seen)
        and all(0 <= level < len(LEVELS) for level in s.levels.values())
        and (s.design is not None) == any(row.watched for row in s.streams)
        and (s.design is None or 0 < s.design[0] < 1e3)
    )
