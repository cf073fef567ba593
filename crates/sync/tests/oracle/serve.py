"""The reference as a process: one scenario a line on standard input, its answer as one line on standard output.

What weights rest on is not part of the reference's answer; it is made here of the reference's own sums.
"""

import json
import sys

from global_trust import answer, load


def grounds(state):
    """Station -> information and agreement with each other founder and with the jury, what was checked, contradicted."""
    pairs, jury = state.pair_sums(state.founders, ordered=True), state.jury_sums()

    def of(info, weighted):
        return [info, state.agreement(info, weighted)]

    shown = {}
    for i in state.stations:
        info, weighted, checked, contradicted = jury.get(i, (0, 0, 0, 0))
        founders = {f: of(*pairs.get((i, f), (0, 0))) for f in state.founders if f != i}
        shown[i] = {"founders": founders, "jury": of(info, weighted), "checked": checked, "contradicted": contradicted}
    return shown


for line in sys.stdin:
    scenario = json.loads(line)
    shown = answer(scenario) | {"grounds": grounds(load(scenario))}
    print(json.dumps(shown, separators=(",", ":")), flush=True)
