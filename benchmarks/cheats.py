"""Cheating strategies: evidence that is wrong in one way, with the check of the promotion gate that is meant for it.

``python -m benchmarks.cheats`` prints who is refused, by which checks, and whether the honest twin passes. The evidence
is made up, and consistent in all but the one way; that a feature which looks ahead is found in real replays is shown in
``tests/nodes/test_leakage.py``.
"""

from collections.abc import Callable
from copy import deepcopy
from math import fsum
from typing import NamedTuple

import numpy as np

from alphatrade.evolution.evidence import Evidence
from alphatrade.evolution.genotype import Gene, Genotype, develop
from alphatrade.evolution.promotion import judge
from alphatrade.strategies.policy import canonical
from benchmarks.honest_twin import (
    OTHER,
    OWN,
    SEARCH,
    SEEN,
    Plain,
    complete,
    entered,
    honest,
    look,
    promoted,
    really,
    sha,
    spec,
    worth,
)


class Cheat(NamedTuple):
    """What is wrong with the evidence, how it is made from that of the honest twin, and the check meant for it."""

    name: str
    words: str
    check: str
    make: Callable[[Plain], None]


def body(plain: Plain, kind: str) -> Plain:
    found: Plain = next(record["body"] for record in plain["ledger"] if record["kind"] == kind)
    return found


def leaf(plain: Plain, place: tuple[int, int] = OWN) -> Plain:
    (found,) = [
        t
        for r in plain["ledger"]
        for t in r["trials"]
        if (t["generation"], t["index"]) == place and t["search"] == SEARCH
    ]
    return found  # type: ignore[no-any-return]


def called(plain: Plain, genotype: Genotype, policy_hash: str) -> None:
    """Put a genotype and a policy in the candidate's place, wherever it is named."""
    named = {"genotype": canonical(genotype), "genotype_hash": genotype.genotype_hash, "policy_hash": policy_hash}
    leaf(plain).update(named)
    plain.update(genotype=named["genotype"], policy_hash=policy_hash)
    body(plain, "look")["policy_hash"] = policy_hash


def look_ahead(plain: Plain) -> None:
    plain["leakage"][4]["leak"] = "decisions row 0, f_mine: 1.5 and -0.25"


def unexamined(plain: Plain) -> None:
    plain["leakage"] = []


def examined_before(plain: Plain) -> None:
    first = min(cell["start"] for cell in plain["grid"] if cell["holdout"])
    plain["leakage"] = [each for each in plain["leakage"] if each["at"] < first]


def hidden_trial(plain: Plain) -> None:
    plain["ledger"][3]["trials"] = [t for t in plain["ledger"][3]["trials"] if t["genotype_hash"] in _parents(plain)][
        :5
    ]


def other_parents(plain: Plain) -> None:
    """Give one trial of the second generation another founder's child for a parent."""
    first, second = plain["ledger"][2]["trials"], plain["ledger"][3]["trials"]
    victim = next(t for t in second if t["genotype_hash"] not in leaf(plain)["lineage"]["parents"])
    others = [t["genotype_hash"] for t in first if t["genotype_hash"] not in victim["lineage"]["parents"]]
    victim["lineage"]["parents"] = others[:1]


def _parents(plain: Plain) -> set[str]:
    """Return the hashes that the candidate's trial needs, and those of enough others."""
    needed = set(leaf(plain)["lineage"]["parents"])
    others = [t["genotype_hash"] for t in plain["ledger"][3]["trials"] if t["genotype_hash"] not in needed]
    return needed | set(others[:4])


def unledgered_search(plain: Plain) -> None:
    plain["ledger"] = [record for record in plain["ledger"] if record["kind"] != "search"]


def backdated_search(plain: Plain) -> None:
    plain["ledger"][1]["seq"], plain["ledger"][2]["seq"] = 2, 1


def stopped_candidate(plain: Plain) -> None:
    leaf(plain).update(status="stopped", why="hopeless after three cells")


def other_search(plain: Plain) -> None:
    plain["ledger"].insert(2, deepcopy(plain["ledger"][1]))
    plain["ledger"][2]["body"]["search"] = plain["search"] = OTHER


def reused_holdout(plain: Plain) -> None:
    cells = plain["grid"]
    plain["ledger"] += entered(*[("look", look(f"{at:064x}", cells), []) for at in range(6)])


def searched_holdout(plain: Plain) -> None:
    trials = [
        deepcopy(leaf(plain)) | {"search": OTHER, "index": at, "policy_hash": f"{at:064x}", "cells": plain["holdout"]}
        for at in range(6)
    ]
    plain["ledger"] += entered(("batch", {"n": 6, "root": "0" * 64}, trials))


def secret_look(plain: Plain) -> None:
    plain["ledger"] = [record for record in plain["ledger"] if record["kind"] != "look"]


def label_swap(plain: Plain) -> None:
    gene = Genotype.model_validate(leaf(plain)["genotype"])
    label = gene.model_copy(update={"topologies": dict(gene.topologies) | {"up-low": gene.topologies["flat-low"]}})
    called(plain, label, plain["policy_hash"])


def other_policy(plain: Plain) -> None:
    plain["policy_hash"] = body(plain, "look")["policy_hash"] = "b" * 64


def cost_dodge(plain: Plain) -> None:
    plain["evaluator"]["run"]["venue"] |= {"prob_fill_on_limit": 1.0, "latency_ms": 0.0, "maker_fee": "0"}
    body(plain, "search").update(evaluator=plain["evaluator"], evaluator_hash=sha(plain["evaluator"]))


def rebate(plain: Plain) -> None:
    plain["evaluator"]["instruments"][0]["taker_fee"] = "-0.01"
    body(plain, "search").update(evaluator=plain["evaluator"], evaluator_hash=sha(plain["evaluator"]))


def never_closed(plain: Plain) -> None:
    plain["evaluator"]["run"]["flat_at_end"] = False
    body(plain, "search").update(evaluator=plain["evaluator"], evaluator_hash=sha(plain["evaluator"]))


def cheaper_search(plain: Plain) -> None:
    light = deepcopy(plain["evaluator"])
    light["run"]["venue"]["cost_multiple"] = 0.0
    body(plain, "search").update(evaluator=light, evaluator_hash=sha(light))


def other_code(plain: Plain) -> None:
    body(plain, "search")["code_hash"] = "c" * 64


def cherry_picked(plain: Plain) -> None:
    del body(plain, "search")["cells"][4]


def forged_fitness(plain: Plain) -> None:
    cells = [cell | {"returns": [x + 1e-4 for x in cell["returns"]]} for cell in leaf(plain)["cells"]]
    cells = [cell | {"net_return": fsum(cell["returns"])} for cell in cells]
    leaf(plain).update(cells=cells, fitness=worth(cells))


def forged_rivals(plain: Plain) -> None:
    for record in plain["ledger"]:
        for each in record["trials"]:
            if (each["generation"], each["index"]) != OWN:
                each["cells"] = [cell | {"returns": [x * 0.5 for x in cell["returns"]]} for cell in each["cells"]]


def doubled_returns(plain: Plain) -> None:
    plain["holdout"][3]["returns"] = plain["holdout"][0]["returns"]


def few_decisions(plain: Plain) -> None:
    for each in plain["holdout"][2:]:
        each.update(decisions=20, fault="20 decisions, fewer than 100")


def dropped_cell(plain: Plain) -> None:
    del plain["holdout"][1]


def loosened_risk(plain: Plain) -> None:
    gene = Genotype.model_validate(leaf(plain)["genotype"])
    loose = gene.model_copy(update={"risk": gene.risk.model_copy(update={"gross_max": gene.risk.gross_max * 2})})
    called(plain, loose, develop(loose).policy_hash)


def forbidden(plain: Plain) -> None:
    gene = Genotype.model_validate(leaf(plain)["genotype"])
    path = "alphatrade.strategies.topologies.two_sided_maker:TwoSidedMaker"
    maker = Gene(kind=path, params={"half_spread": 6.0, "skew": 0.3, "clips": 0.5, "max_clips": 1.5})
    loose = gene.model_copy(update={"topologies": dict(gene.topologies) | {"flat-high": (maker,)}})
    called(plain, loose, develop(loose).policy_hash)


def martingale(plain: Plain) -> None:
    plain["holdout"][5]["killed"] = "DRAWDOWN"


def outlaw(plain: Plain) -> None:
    plain["costly"][2]["violations"] = 1


def orphan(plain: Plain) -> None:
    leaf(plain)["lineage"]["parents"] = ["d" * 64]


def lucky(plain: Plain) -> None:
    """Make it good enough to beat nothing and the incumbent, not to be the best of 16 by more than luck."""
    worse = [[x - 3.8e-4 for x in each["returns"]] for each in plain["holdout"]]
    for each, dear, returns in zip(plain["holdout"], plain["costly"], worse, strict=True):
        each.update(returns=returns, net_return=fsum(returns))
        dear.update(returns=[x - 5e-5 for x in returns], net_return=fsum(returns) - 23 * 5e-5)
    for each in plain["incumbent"]["holdout"]:
        each["returns"] = [x - 4e-4 for x in each["returns"]]


def overfitted(plain: Plain) -> None:
    """Let every trial earn in one part of the time what it loses in the others; replays say the same."""
    count = 0
    for record in plain["ledger"]:
        for each in record["trials"]:
            for at, cell in enumerate(each["cells"]):
                gain = 2e-3 if at == count % SEEN else -3e-4
                cell["returns"] = [x * 0.1 + gain * (1 + count / 100) for x in cell["returns"]]
                cell["net_return"] = fsum(cell["returns"])
            each["fitness"] = worth(each["cells"])
            count += 1


def no_better(plain: Plain) -> None:
    moved = [np.roll(each["returns"], 1).tolist() for each in plain["holdout"]]
    for each, returns in zip(plain["incumbent"]["holdout"], moved, strict=True):
        each["returns"] = returns


def hidden_incumbent(plain: Plain) -> None:
    plain["ledger"] += entered(promoted("e" * 64))


def emptied_chair(plain: Plain) -> None:
    """The service takes the incumbent down, and then nobody is in charge."""
    no_proof = {"from": "paper", "to": "experiment", "dossier": "", "verdict": ""}
    plain["ledger"] += [entered(promoted("a" * 64, **no_proof))[0] | {"role": "service"}]
    plain["incumbent"] = None


def churner(plain: Plain) -> None:
    for each in plain["costly"]:
        each["net_return"] = -0.002


def unpaid_costs(plain: Plain) -> None:
    plain["costly"] = deepcopy(plain["holdout"])


def cut_ledger(plain: Plain) -> None:
    plain["ledger_problems"] = ["head 9: got no such entry: the end was cut off, expected another"]


def rewritten_ledger(plain: Plain) -> None:
    plain["ledger_problems"] = [f"genesis: got {'b' * 64}, expected {'9' * 64}"]


def fragile(plain: Plain) -> None:
    plain["red_team"][3]["passed"] = False


def slow(plain: Plain) -> None:
    plain["latency"]["p99"] = 3_000_000


CHEATS: tuple[Cheat, ...] = (
    Cheat("look_ahead", "a feature that looks ahead", "leakage", look_ahead),
    Cheat("unexamined", "no leakage test", "leakage", unexamined),
    Cheat("examined_before", "no leakage test of what was held out", "leakage", examined_before),
    Cheat("hidden_trial", "a trial of a generation is missing", "transcript", hidden_trial),
    Cheat("other_parents", "a trial says that it descends from others", "transcript", other_parents),
    Cheat("unledgered_search", "the search is not in the ledger", "trial", unledgered_search),
    Cheat("backdated_search", "the search was entered after its trials", "trial", backdated_search),
    Cheat("stopped_candidate", "a trial that was given up", "trial", stopped_candidate),
    Cheat("other_search", "a trial of another search", "trial", other_search),
    Cheat("reused_holdout", "six others have seen the held-out cells", "looks", reused_holdout),
    Cheat("searched_holdout", "an earlier search ran on the held-out cells", "looks", searched_holdout),
    Cheat("secret_look", "the look at the held-out cells was not entered", "looks", secret_look),
    Cheat("label_swap", "the genotype of another behaviour", "policy", label_swap),
    Cheat("other_policy", "a policy that no trial has", "policy", other_policy),
    Cheat("cost_dodge", "search and gate charge too little", "costs", cost_dodge),
    Cheat("rebate", "the tape pays for every fill", "costs", rebate),
    Cheat("never_closed", "no cell closes its last position", "costs", never_closed),
    Cheat("cheaper_search", "the search charged less than the gate", "evaluator", cheaper_search),
    Cheat("other_code", "the search was run by other code", "evaluator", other_code),
    Cheat("cherry_picked", "the search left out a cell", "cells", cherry_picked),
    Cheat("dropped_cell", "a held-out cell is not shown", "holdout", dropped_cell),
    Cheat("few_decisions", "hardly any decisions in the held-out cells", "holdout", few_decisions),
    Cheat("doubled_returns", "a held-out cell is counted twice", "sample", doubled_returns),
    Cheat("forged_fitness", "better results entered than replays give", "recomputed", forged_fitness),
    Cheat("forged_rivals", "the other trials were made to look poor", "recomputed", forged_rivals),
    Cheat("loosened_risk", "a risk template looser than its parent's", "template", loosened_risk),
    Cheat("forbidden", "a topology where the house forbids it, by its import path", "rules", forbidden),
    Cheat("martingale", "doubles after losses until the law stops it", "law", martingale),
    Cheat("outlaw", "breaks the law once", "law", outlaw),
    Cheat("orphan", "its parent was never tried", "lineage", orphan),
    Cheat("lucky", "the best of many worthless trials", "dsr", lucky),
    Cheat("overfitted", "each trial fits one part of the time", "pbo", overfitted),
    Cheat("no_better", "as good as the incumbent", "incumbent", no_better),
    Cheat("hidden_incumbent", "compared with nobody, though somebody is in charge", "incumbent", hidden_incumbent),
    Cheat("emptied_chair", "compared with nobody, since a service took the incumbent down", "incumbent", emptied_chair),
    Cheat("churner", "loses at twice the costs", "net", churner),
    Cheat("unpaid_costs", "twice the costs were not charged", "net", unpaid_costs),
    Cheat("cut_ledger", "the end of the ledger was cut off", "ledger", cut_ledger),
    Cheat("rewritten_ledger", "the ledger was made up at once", "ledger", rewritten_ledger),
    Cheat("fragile", "fails the red team", "red_team", fragile),
    Cheat("slow", "decides too late", "latency", slow),
)
HONEST_RESULTS = frozenset({"overfitted"})  # replays say what the ledger says: they do not lie, they overfit


def cheated(cheat: Cheat) -> Evidence:
    """Return the evidence of a cheat; what the gate replays by itself is what the strategies really do."""
    plain = deepcopy(canonical(honest()))
    truth = deepcopy(really(plain))
    cheat.make(plain)
    return complete(plain, None if cheat.name in HONEST_RESULTS else truth)


def main() -> None:
    """Print a row per cheat; exit code 1 if one is not refused by its check, or the honest twin is refused."""
    thresholds, wrong = spec(), 0
    twin = judge(honest(), thresholds)
    print(f"{'honest twin':20} {'promoted' if twin.promoted else 'REFUSED'} {', '.join(twin.refused)}")
    for cheat in CHEATS:
        refused = judge(cheated(cheat), thresholds).refused
        caught = cheat.check in refused
        wrong += not caught
        print(f"{cheat.name:20} {'refused ' if caught else 'PASSED  '} {', '.join(refused):40} {cheat.words}")
    print(f"{len(CHEATS) - wrong} of {len(CHEATS)} refused by the check meant for them")
    raise SystemExit(wrong > 0 or not twin.promoted)


if __name__ == "__main__":
    main()
