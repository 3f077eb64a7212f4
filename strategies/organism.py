"""The Organism: one Nautilus Strategy that turns beliefs into decisions and decisions into orders."""

from pathlib import Path
from time import perf_counter_ns
from typing import Any

from nautilus_trader.config import StrategyConfig
from nautilus_trader.model.identifiers import InstrumentId

from alphatrade.actors.messages import (
    ACT,
    BELIEF_TOPIC,
    DRIFT_TOPIC,
    MECHANISM_TOPIC,
    BeliefSnapshot,
    DriftSignal,
    MechanismFault,
)
from alphatrade.risk.errors import ConfigError
from alphatrade.risk.units import NANO, RAW_PER_NANO, to_nano
from alphatrade.strategies.adaptation import adaptation
from alphatrade.strategies.counterfactual import Counterfactual
from alphatrade.strategies.dispatcher import Dispatcher
from alphatrade.strategies.exploring import Budget, Explorer
from alphatrade.strategies.learned import pack, unpack
from alphatrade.strategies.messages import DECISION_TOPIC, Decision, Maker
from alphatrade.strategies.planner import Grid, clear, plan
from alphatrade.strategies.shadow import Costs, without_shorts
from alphatrade.strategies.sizing import MARGIN, Sizer
from alphatrade.strategies.topologies import Desire, Topology, View, load_topology


class OrganismConfig(StrategyConfig, frozen=True):
    """
    Configuration of :class:`Organism`.

    Parameters
    ----------
    instrument_id : str
        What is traded.
    features : list of str
        Feature names in vector order.
    topologies : dict
        Tactic name to ``{"kind", "params"}``.
    router, sizing, belief, flags, learning : dict
        These parts of the policy.
    horizon : int
        Decision steps after which an outcome is learnt from.
    capital : str
        In the quote currency.
    order_notional_max, price_collar : float
        Of the risk template: largest order, fraction of capital; distance of a price from the market, fraction.
    index, stride : int
        Place of this organism among those of the run, for decision ids.
    flat_after_ns : int
        Event time from which it only closes; 0 for never.
    long_only : bool
        Do not ask for what a cash account cannot have: a short position.
    bounded : bool
        Open with limit orders that fill at once or not at all in place of market orders, and modify nothing.
    exploration : dict
        What may be explored (:class:`~alphatrade.strategies.exploring.Budget`, without the margin); empty for nothing.
    seed : int
        Of the run; exploration draws from a stream of its own.
    canary : str
        Risk template of the policy, by name, where it flies as a canary beside the run's own; empty: it is the run's.
    policy_hash, learned : str
        Whose learnt state this organism keeps, and the file of the one it starts from; empty for none.
    """

    instrument_id: str
    features: list[str]
    topologies: dict[str, dict[str, Any]]
    router: dict[str, Any]
    sizing: dict[str, float]
    belief: dict[str, int]
    flags: dict[str, bool]
    learning: dict[str, Any]
    horizon: int
    capital: str
    order_notional_max: float
    price_collar: float
    index: int = 0
    stride: int = 1
    flat_after_ns: int = 0
    long_only: bool = False
    bounded: bool = False
    exploration: dict[str, Any] = {}
    seed: int = 0
    canary: str = ""
    policy_hash: str = ""
    learned: str = ""


class Organism(Dispatcher):
    """Regime-routed: the router picks one execution topology per step, which asks for a state of the account."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__(config)
        self._tactics: dict[str, Topology] = {
            name: load_topology(f"policy.topologies.{name}", str(spec["kind"]), dict(spec["params"]), config.features)
            for name, spec in sorted(config.topologies.items())
        }
        self._reach = config.price_collar * MARGIN
        self._beyond = min(config.price_collar / 2, 1 - MARGIN) if config.bounded else 0.0
        self._weights: dict[str, dict[str, float]] = config.router["weights"]
        self._flat_after_ns, self._long_only = config.flat_after_ns, config.long_only
        self._factor = self._drift = 1.0  # advised by the law, and by the drift sentry
        self._drifts = ""  # why, for the diary
        self._halted, self._phase = False, "open"  # phase of the market
        self._maker = Maker(config.policy_hash, config.canary) if config.canary else None
        self._saved = b""  # what an earlier node had learnt
        self._told = 0  # faults of mechanisms that have been published
        self.mind = "", ""  # regime and tactic of the last decision
        self.decisions = 0
        self.ingest_signal_ns: list[int] = []
        self.sending_ns: dict[int, int] = {}  # by step, where anything was sent

    # -- life ---------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Read the instrument's steps and listen to perception and to the law."""
        self._instrument_id = InstrumentId.from_str(self.config.instrument_id)
        instrument = self.cache.instrument(self._instrument_id)
        if instrument is None:
            raise ConfigError("instrument_id", self.config.instrument_id, "an instrument that the node knows")
        self._price_precision, self._size_precision = instrument.price_precision, instrument.size_precision
        self._book.lot_n = instrument.size_increment.raw // RAW_PER_NANO
        self._tick_n = instrument.price_increment.raw // RAW_PER_NANO
        lot = instrument.lot_size or instrument.size_increment
        sizing = self.config.sizing
        c = self.config
        costs = Costs(float(instrument.taker_fee), float(instrument.maker_fee), 0.5 * float(instrument.price_increment))
        self.adaptation = adaptation(
            c.router, c.flags, c.learning, c.belief, c.topologies, c.features, c.horizon, costs, c.long_only
        )
        if c.exploration:
            self._explore(costs)
        saved = Path(c.learned).read_bytes() if c.learned else self._saved
        if saved:
            self._take_up(saved)
        self._sizer = Sizer(
            capital=to_nano(self.config.capital) / NANO,
            fraction=sizing["fraction"],
            vol_target=sizing["vol_target_bps"] / 1e4,
            ceiling=self.config.order_notional_max,
            lot_n=max(lot.raw, instrument.size_increment.raw) // RAW_PER_NANO,
        )
        self.msgbus.subscribe(f"{BELIEF_TOPIC}.{self._instrument_id}", self.on_belief, ACT)
        self.msgbus.subscribe("alphatrade.risk.advice", self.on_advice)
        self.msgbus.subscribe("alphatrade.risk.state", self.on_risk_state)
        self.msgbus.subscribe("alphatrade.risk.session", self.on_session)
        self.msgbus.subscribe(DRIFT_TOPIC, self.on_drift, ACT)

    def _explore(self, costs: Costs) -> None:
        c = self.config
        tactics = {
            name: load_topology(f"policy.topologies.{name}", str(spec["kind"]), dict(spec["params"]), c.features)
            for name, spec in sorted(c.topologies.items())
        }
        budget = Budget(**c.exploration, margin=c.price_collar)
        alternatives = Counterfactual(tactics, costs, c.long_only, c.horizon)
        self._explorer = self.adaptation.explorer = Explorer(
            budget, tuple(tactics), c.router["allowed"], c.seed, c.index, self._book, alternatives
        )
        self.msgbus.subscribe("alphatrade.risk.frozen", self.on_frozen)

    def learned(self) -> bytes:
        """Return what was learnt, to be saved; empty where nothing learns."""
        return pack(self.adaptation, self.config.policy_hash, self.config.instrument_id)

    def on_save(self) -> dict[str, bytes]:
        """Return what Nautilus is to keep of this strategy's state."""
        return {"learned": state} if (state := self.learned()) else {}

    def on_load(self, state: dict[str, bytes]) -> None:
        """Take what Nautilus has kept; it is taken up at the start, when the instrument is known."""
        self._saved = state.get("learned", b"")

    def _take_up(self, state: bytes) -> None:
        """Start from what was learnt; where it cannot be used, go on without what learns."""
        try:
            unpack(state, self.adaptation, self.config.policy_hash, self.config.instrument_id)
        except ConfigError as error:
            self.adaptation.refuse(str(error))

    def on_stop(self) -> None:
        """Leave nothing resting behind."""
        self.cancel_all_orders(self._instrument_id)

    def on_frozen(self, frozen: object) -> None:
        """Explore nothing more, as the law does."""
        self._explorer.freeze(frozen.reason)

    def on_advice(self, advice: object) -> None:
        """Size down, or back up, as the law advises after a near-miss."""
        if advice.instrument == self.config.instrument_id:
            self._factor = advice.factor

    def on_drift(self, signal: DriftSignal) -> None:
        """Size by the drift sentry's factor, from the next decision on; at 0 only close. Any alarm ends exploration."""
        if signal.freeze and self._explorer is not None:
            self._explorer.freeze(f"drift: {signal.detail}")
        if signal.instrument == self.config.instrument_id:
            self._drift = signal.factor
            self._drifts = f"; drift x{signal.factor:g} ({signal.detail})" if signal.factor < 1.0 else ""

    def on_session(self, phase: str) -> None:
        """Only close before the end of a session, and send nothing outside of it."""
        self._phase = phase

    def on_risk_state(self, state: object) -> None:
        """Stop acting when the kill switch leaves ACTIVE."""
        self._halted = state.after != "ACTIVE"
        if self._halted and self._explorer is not None:
            self._explorer.freeze("the law has halted trading")

    # -- one decision -------------------------------------------------------------------------------------------

    def on_belief(self, belief: BeliefSnapshot) -> None:
        """Decide, act and publish the decision."""
        started = perf_counter_ns()
        self.ingest_signal_ns.append(started - belief.received_ns)
        self._step = belief.step
        if not belief.warm:
            return
        self.decisions += 1
        self._decision = belief.step * self.config.stride + self.config.index
        self._order_ids, self._verdict = [], "none"
        grid = self._grid(belief)
        belief, route = self.adaptation.decide(belief, self._book.worth(belief.mid), grid.clip_n / NANO * belief.mid)
        self.mind = belief.regime, route.tactic
        explorer = self._explorer
        self._explores = "" if explorer is None else explorer.now.tactic
        if len(self.adaptation.faults) > self._told:
            self._tell(belief.ts)
        weight = self._weights.get(belief.regime, {}).get(route.tactic, 1.0)
        if weight < 1.0:
            grid = self._grid(belief, weight)
        if self._halted:
            desire, commands = Desire(0, (), None, "the law has halted trading"), []
        elif route.switched:
            desire = Desire(None, (), None, f"{route.why}: what rested is cancelled")
            commands = clear(self._book)
        else:
            desire = self._desire(belief, route.tactic, grid)
            if self._explores:
                desire = explorer.restrained(desire)
            commands = plan(desire, self._book, grid)
            if self._explores:
                commands = explorer.within(commands, grid)
        if commands:
            before = perf_counter_ns()
            for command in commands:
                self._send(command, started)
            self.sending_ns[belief.step] = perf_counter_ns() - before
        action = "+".join([command.kind for command in commands]) or "none"
        self.msgbus.publish(
            DECISION_TOPIC,
            Decision(
                self._decision,
                belief,
                route.tactic,
                self.adaptation.router.candidates,
                route.scores,
                action,
                self._order_ids,
                self._verdict,
                f"{belief.regime} {belief.confidence:.2f} -> {route.tactic} ({route.why}): {desire.words}; {action}"
                f"{self._drifts}{self.adaptation.without}",
                self.adaptation.synapses,
                self.adaptation.lesson,
                None if explorer is None else explorer.now,
                self._maker,
            ),
        )

    def _tell(self, ts: int) -> None:
        """Say on the bus which mechanisms have been switched off since the last time, and why."""
        faults = list(self.adaptation.faults.items())[self._told :]
        self._told += len(faults)
        for mechanism, reason in faults:
            self.msgbus.publish(MECHANISM_TOPIC, MechanismFault(ts, mechanism, reason))

    def _grid(self, belief: BeliefSnapshot, weight: float = 1.0) -> Grid:
        sizer, mid_n = self._sizer, int(belief.mid * NANO)
        clip = sizer.clip(belief.mid, belief.vol, self._factor * self._drift * weight)
        reach = int(belief.vol * mid_n), sizer.most(belief.mid), int(self._reach * mid_n)
        grid = Grid(self._tick_n, sizer.lot_n, clip, mid_n, *reach)
        if self._beyond:
            self._bounds = {side: grid.price(belief.mid * (1 + side * self._beyond), side) for side in (1, -1)}
        return grid

    def _desire(self, belief: BeliefSnapshot, tactic: str, grid: Grid) -> Desire:
        if self._flat_after_ns and belief.ts >= self._flat_after_ns:
            self.adaptation.freeze()
            return Desire(0, (), None, "flat at the end")
        if self._phase != "open":
            return Desire(0 if self._phase == "closing" else None, (), None, f"the market is {self._phase}")
        if self._drift == 0.0:
            return Desire(0, (), None, "drift: only close")
        if grid.clip_n == 0 and not self._book.position_n:
            return Desire(None, (), None, "the capital does not reach for one lot")
        book = self._book
        view = View(
            belief.step,
            belief.mid,
            belief.bid,
            belief.ask,
            belief.vol,
            belief.features,
            belief.z,
            book.side,
            book.position_n / grid.clip_n if grid.clip_n else float(book.side),
            book.entry,
            belief.step - book.since if book.position_n else 0,
        )
        desire = self._tactics[tactic].desire(view)
        return without_shorts(desire, view.inventory) if self._long_only else desire
