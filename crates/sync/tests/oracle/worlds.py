#!/usr/bin/env python3
# The reference's own simulation of attacks (`auc` to `pooled` are kept as they were, but for one more attack and the name of the ratings), made to play along with real ledgers:
# `crates/sync/examples/bench_trust` asks it for worlds, and for what drawn jurors find.
"""Worlds in which stations lie, for measuring how well each policy of global_trust.py withstands it.

A world is made of an attack and a seed, simulated or from a file of ratings (people who rate people: source, target,
rating, time; gzip or plain). Everything is seeded; the same call makes the same.

As a program it reads one JSON object a line, and answers each with one:

    {"attack", "seed", "audited", "ratings", "labels", "ids"}  ->  the world: blocks of (station, subject, is it good?)
    {"draw", "records", "audits"}, for each block if audited   ->  "answers": (juror, record, agrees?)
    the end                                                    ->  what the reference makes of the same history

`ids` are the stations' ids in hex, in the order of the world's stations; `records` are the hashes of the records of the
newest block. It draws by itself from what it is told, and ends with an error where the node has drawn others.
"""
import csv
import gzip
import hashlib
import json
import math
import random
import sys
from collections import defaultdict

import global_trust as gt

BLOCKS = 20
PROMOTED, SLANDERED = 600_000, 400_000   # the bands 'high' and 'low': a lie that arrives there succeeded


def auc(good, bad):
    """Chance that a good subject scores above a bad one; ties count half."""
    if not good or not bad:
        return float("nan")
    ranked = sorted([(s, 1) for s in good] + [(s, 0) for s in bad])
    total = i = 0
    while i < len(ranked):
        j = i
        while j < len(ranked) and ranked[j][0] == ranked[i][0]:
            j += 1
        total += (i + j + 1) / 2 * sum(g for _, g in ranked[i:j])
        i = j
    return (total - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad))


class World:
    """Records in chain order, who is bad, what is true, and what a juror would find."""

    def __init__(self):
        self.records = []     # (time, station, subject, record fields)
        self.bad = set()
        self.liars = set()    # the bad and the noisy
        self.targets = {}     # subject -> is it promoted?
        self.truth = {}       # subject -> true score in millionths, where known
        self.good = {}        # subject -> is it good?


def simulate(attack, seed, stations=30, subjects=400, founders=3):
    """Contents of unknown quality q; each honest record says 'verified' with probability q."""
    rng = random.Random(f"sim/{attack}/{seed}")
    w = World()
    names = [f"s{i:03}" for i in range(stations)]
    w.founders = names[:founders]
    share = {"collude10": .1, "collude20": .2, "collude30": .3, "sybil10x": .1, "stealth20": .2,
             "stealth30": .3, "mimic20": .2, "founder1of3": .2, "founder2of3": .2, "founder2of5": .2}.get(attack, 0)
    bad = names[founders:founders + round(share * stations)]
    if attack == "sybil10x":
        extra = [f"x{i:03}" for i in range(10 * len(bad))]
        names, bad = names + extra, bad + extra
    if attack.startswith("founder"):
        bad = bad + w.founders[:int(attack[7])]
    w.bad, w.stations = set(bad), names
    noise = set(rng.sample(names[founders:], round(.3 * stations))) if attack == "noise30" else set()
    w.liars = w.bad | noise
    keys = [("content", "artist", f"t{k:03}") for k in range(subjects)]
    q = {s: rng.betavariate(8, 2) if rng.random() < .6 else rng.betavariate(2, 8) for s in keys}
    w.truth = {s: int(100_000 + 800_000 * q[s]) for s in keys}
    w.good = {s: q[s] >= .5 for s in keys}
    if bad:
        for good, part in ((False, .4), (True, .12)):
            some = [s for s in keys if w.good[s] == good]
            w.targets.update((s, not good) for s in rng.sample(some, round(part * len(some))))
    slip = {i: rng.uniform(0, .1) for i in names}
    fame = {s: rng.paretovariate(1.5) for s in keys}
    mean_fame = sum(fame.values()) / subjects

    def verified(i, s):
        if i in noise:
            return rng.random() < .5
        return (rng.random() < q[s]) != (rng.random() < slip[i])

    honest_part = defaultdict(list)
    for i in names:
        busy = .3 if i in w.founders else rng.uniform(.08, .4)
        if i in w.bad and attack.startswith(("collude", "sybil")):
            busy = .08
        for s in keys:
            if i in w.bad and s in w.targets or rng.random() >= min(.9, busy * fame[s] / mean_fame):
                continue
            n = 1
            while rng.random() < .6 and n < 12:
                n += 1
            for _ in range(n):
                honest_part[i].append((rng.random(), i, s, verified(i, s)))
    if attack == "mimic20":     # repeats what a founder said, a moment later, and knows nothing
        for k, i in enumerate(sorted(w.bad)):
            of = honest_part[w.founders[k % founders]]
            honest_part[i] = [(t + 1e-6, i, s, v) for t, _, s, v in of if s not in w.targets]
    rows = [row for i in names for row in honest_part[i]]
    for i in sorted(w.bad):
        for s, up in w.targets.items():
            if rng.random() < .7:
                rows += [(rng.random(), i, s, up) for _ in range(rng.randint(3, 8))]
    for t, i, s, up in sorted(rows):
        w.records.append({"station": i, "subject": s,
                          "kind": "content_verified" if up else "content_reported"})
    w.find = lambda juror, s: w.targets[s] if juror in w.bad and s in w.targets else verified(juror, s)
    w.answers = lambda: rng.random() < .8
    return w


def from_ratings(path, labelled, attack, seed, stations=40):
    """Raters of a trust network grouped into stations, jurors from raters held out.

    Labels: the file `labelled`, or, where None, subjects on which at least two raters of a
    further held-out part agree without exception.
    """
    # A name of its own, whatever the file is called here: the same ratings always make the same world.
    rng = random.Random(f"bitcoin-otc.csv.gz/{attack}/{seed}")
    with open(path, "rb") as f:
        is_packed = f.read(2) == b"\x1f\x8b"
    with (gzip.open if is_packed else open)(path, "rt") as f:
        rows = sorted((float(t), a, b, int(r)) for a, b, r, t in csv.reader(f) if r.lstrip("-").isdigit())
    count = defaultdict(int)
    for _, a, _, _ in rows:
        count[a] += 1
    busiest = sorted(count, key=lambda a: (-count[a], a))[:9]
    names = [f"s{i:03}" for i in range(stations)]
    w = World()
    w.stations, w.founders = names, names[:3]

    def place(a):
        if a in busiest:
            return names[busiest.index(a) % 3]
        h = int.from_bytes(hashlib.sha256(f"{seed}/{a}".encode()).digest()[:8], "big")
        return ("label", "jury", None, None)[h % 4] or names[3 + h // 4 % (stations - 3)]

    of = {a: place(a) for a in count}
    labels, pool = defaultdict(list), defaultdict(list)
    for _, a, b, r in rows:
        if of[a] == "label":
            labels[b].append(r)
        elif of[a] == "jury":
            pool[b].append(r > 0)
    if labelled:
        with open(labelled) as f:
            w.good = {("content", b, ""): int(g) > 0 for b, g in csv.reader(f)}
    else:
        w.good = {("content", b, ""): rs[0] > 0 for b, rs in labels.items()
                  if len(rs) >= 2 and (min(rs) > 0 or max(rs) < 0)}
    share = {"collude10": .1, "collude20": .2, "collude30": .3, "stealth10": .1, "stealth20": .2,
             "founder1of3": .1, "founder2of3": .1}.get(attack, 0)
    bad = names[3:3 + round(share * stations)]
    if attack.startswith("founder"):
        bad = bad + names[:int(attack[7])]
    w.bad = w.liars = set(bad)
    if bad:
        worst = sorted(s for s, g in w.good.items() if not g)
        w.targets = dict.fromkeys(worst, True)
        fine = sorted(s for s, g in w.good.items() if g)
        w.targets.update(dict.fromkeys(rng.sample(fine, min(len(fine), len(worst))), False))
    lies = attack.startswith("collude")
    out = []
    for k, (t, a, b, r) in enumerate(rows):
        i, s = of[a], ("content", b, "")
        if i in ("label", "jury") or i in w.bad and (lies or s in w.targets):
            continue
        out.append((k, i, s, r > 0))
    for i in sorted(w.bad):
        for s, up in w.targets.items():
            out += [(rng.random() * len(rows), i, s, up) for _ in range(8)]
    for _, i, s, up in sorted(out):
        w.records.append({"station": i, "subject": s,
                          "kind": "content_verified" if up else "content_reported"})

    def find(juror, s):
        if juror in w.bad and s in w.targets:
            return w.targets[s]
        left = pool[s[1]]           # each held-out rating answers once
        return left.pop(rng.randrange(len(left))) if left else None

    w.find, w.answers = find, lambda: rng.random() < .8
    return w


def play(w, audit, params=None):
    """Applies the records block by block; jurors are drawn and answer as the chain grows."""
    state = gt.State(w.founders, w.stations, params=params)
    ops = gt.Opinions()
    state.ops = ops.by_subject
    credit = duties = 0
    previous, count = [], len(w.records)
    for k, r in enumerate(w.records):
        r["id"] = f"{k:064x}"
    for b in range(BLOCKS + 1):
        block = w.records[b * count // BLOCKS:(b + 1) * count // BLOCKS] if b < BLOCKS else []
        for r in block:
            r["height"] = b
            ops.add(r)
        if audit:
            audits, credit = gt.draw(state, hashlib.sha256(b"%d" % b).digest(), previous, credit)
            where = {r["id"]: r for r in previous}
            for a in audits:
                subject = where[a["record"]]["subject"]
                for juror in a["jurors"]:
                    duties += 1
                    found = w.find(juror, subject) if w.answers() else None
                    if found is not None:
                        state.findings[subject][juror, a["record"]] = bool(found)
        previous = block
    return state, duties


def measure(w, state, policy, weights):
    out = {s: state.ask(s, policy, None, weights, explain=False)["score"] for s in state.ops}
    error = [abs(out[s] - w.truth[s]) / 1e6 for s in out if s in w.truth]
    fraud = [out.get(s, 500_000) >= PROMOTED if up else out.get(s, 500_000) < SLANDERED
             for s, up in w.targets.items()]
    return (sum(error) / len(error) if error else float("nan"),
            auc([out[s] for s in out if w.good.get(s) is True], [out[s] for s in out if w.good.get(s) is False]),
            sum(fraud) / len(fraud) if fraud else float("nan"))


def pooled(w):
    state = gt.State(["all"], [])
    ops = gt.Opinions()
    for r in w.records:
        if r["station"] not in w.liars:
            ops.add(dict(r, station="all"))
    state.p["cap"] = 1 << 30
    state.ops = ops.by_subject
    return state, "anchored", {"all": gt.ONE}


def figures(measured):
    """Without what has no value, which is no JSON."""
    return [None if math.isnan(v) else v for v in measured]


def scores(state, policy, weights, subjects):
    return [state.ask(s, policy, None, weights, explain=False)["score"] for s in subjects]


class Playing:
    """A world that is played on a real ledger, beside the reference."""

    def __init__(self, request):
        self.make = make(request)
        self.audited = request["audited"]
        self.world = w = self.make()
        self.number = {name: k for k, name in enumerate(w.stations)}
        self.id = {name: request["ids"][k] for name, k in self.number.items()}
        self.name = {i: name for name, i in self.id.items()}
        self.state = gt.State([self.id[f] for f in w.founders], [self.id[i] for i in w.stations])
        self.ops = gt.Opinions()
        self.state.ops = self.ops.by_subject
        for r in w.records:
            r["by"], r["station"] = r["station"], self.id[r["station"]]
        self.subjects = sorted({r["subject"] for r in w.records} | set(w.targets))
        self.credit, self.previous, self.duties = 0, [], 0

    def blocks(self):
        records = self.world.records
        return [records[b * len(records) // BLOCKS:(b + 1) * len(records) // BLOCKS] for b in range(BLOCKS)]

    def shown(self):
        w, place = self.world, {s: k for k, s in enumerate(self.subjects)}
        return {
            "stations": len(w.stations),
            "founders": len(w.founders),
            "blocks": [[[self.number[r["by"]], place[r["subject"]], r["kind"] == "content_verified"] for r in block]
                       for block in self.blocks()],
            "subjects": [{"truth": w.truth.get(s), "good": w.good.get(s), "target": w.targets.get(s)}
                         for s in self.subjects],
        }

    def apply(self, block, height):
        for r in block:
            r["height"] = height
            self.ops.add(r)

    def hear(self, block, height, message):
        """A block is connected: what the jurors whom it drew answer."""
        for r, record in zip(block, message["records"], strict=True):
            r["id"] = record
        self.apply(block, height)
        audits, self.credit = gt.draw(self.state, bytes.fromhex(message["draw"]), self.previous, self.credit)
        if audits != message["audits"]:
            sys.exit(f"block {height}: the reference draws {audits}, the node {message['audits']}")
        of, answers = {r["id"]: r for r in self.previous}, []
        for a in audits:
            r = of[a["record"]]
            for juror in a["jurors"]:
                self.duties += 1
                found = self.world.find(self.name[juror], r["subject"]) if self.world.answers() else None
                if found is not None:
                    self.state.findings[r["subject"]][juror, a["record"]] = bool(found)
                    agrees = bool(found) == (r["kind"] == "content_verified")
                    answers.append([self.number[self.name[juror]], a["record"], agrees])
        self.previous = block
        return answers

    def result(self):
        w, state, out = self.world, self.state, {}
        for policy in ("anchored",) if self.audited else ("mean", "median", "eigentrust", "anchored"):
            weights = {"anchored": state.weights, "eigentrust": state.eigentrust}.get(policy, dict)()
            out[policy] = {"scores": scores(state, policy, weights, self.subjects),
                           "figures": figures(measure(w, state, policy, weights))}
        out = {"policies": out, "duties_per_record": self.duties / len(w.records)}
        if self.audited:
            # The reference alone, whose draws are its own; and who knows the liars, and pools everybody else's records.
            alone = self.make()
            played, _ = play(alone, True)
            out["alone"] = figures(measure(alone, played, "anchored", played.weights()))
            out["floor"] = figures(measure(alone, *pooled(alone)))
        return out


def make(request):
    attack, seed = request["attack"], request["seed"]
    if request["ratings"]:
        return lambda: from_ratings(request["ratings"], request["labels"], attack, seed)
    return lambda: simulate(attack, seed, founders=5 if attack.endswith("of5") else 3)


def main():
    def say(value):
        print(json.dumps(value, separators=(",", ":")), flush=True)

    for line in sys.stdin:
        playing = Playing(json.loads(line))
        say(playing.shown())
        blocks = playing.blocks()
        if playing.audited:
            for height, block in enumerate([*blocks, []]):
                say({"answers": playing.hear(block, height, json.loads(sys.stdin.readline()))})
        else:
            for height, block in enumerate(blocks):
                playing.apply(block, height)
        say(playing.result())


if __name__ == "__main__":
    main()
