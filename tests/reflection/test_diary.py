"""The diary's decision buffer: what it takes of the fast weights."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "strategies"))
from beliefs import belief

from alphatrade.reflection.diary import DecisionBuffer
from alphatrade.reflection.probes import UNKNOWN
from alphatrade.strategies.messages import Decision, Synapses

NONE = np.empty(0, np.int16), np.empty(0)


def table(*synapses: Synapses | None) -> pa.Table:
    """The diary of decisions with these states of the fast weights."""
    names = [f"x{at}" for at in range(len(belief(0).features))]
    buffer = DecisionBuffer(100, 0, names, "ab", "default")
    for step, state in enumerate(synapses):
        b = msgspec.structs.replace(belief(step), idx=NONE[0], val=NONE[1])
        buffer.append(Decision(step, b, "flat", ("flat",), (0.0,), "none", [], "none", "words", state), UNKNOWN)
    return buffer.table()


def test_the_state_of_the_fast_weights_is_in_the_diary() -> None:
    """As it was at each decision, in columns of their own; -1 where no synapse had a part."""
    found = table(Synapses(0.25, 3.5, 7, 127), Synapses(0.0, 0.0, -1, -1))
    kinds = {"sigma_norm": pa.float64(), "sigma_rank": pa.float64(), "sigma_post": pa.int16(), "sigma_pre": pa.int16()}
    assert {name: found.schema.field(name).type for name in kinds} == kinds
    assert [found[name].to_pylist() for name in kinds] == [[0.25, 0.0], [3.5, 0.0], [7, -1], [127, -1]]


def test_it_is_null_where_they_are_off() -> None:
    """Of the same types, so that segments of one run fit together whatever is switched off on the way."""
    off, mixed = table(None, None), table(Synapses(0.25, 3.5, 7, 1), None)
    for name in ("sigma_norm", "sigma_rank", "sigma_post", "sigma_pre"):
        assert off[name].null_count == 2
        assert mixed[name].to_pylist()[1] is None
    assert off.schema == mixed.schema
