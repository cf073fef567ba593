#!/usr/bin/env python3
# The reference implementation of the rules of global trust: an independent program, kept unchanged. Where it and the
# node differ, the node is wrong. `serve.py` runs it for the tests.
"""Global trust, computed the direct way: an oracle for property tests.

Reads one JSON scenario on standard input, prints every policy's result as JSON;
`--check FILE...` compares scenario files with what they expect.
Integers only; `//` rounds down and nothing here is ever negative. The section
numbers are those of the page on global trust. Slow on purpose: every sum is
made from the whole history, where a station keeps it up to date.
"""
import hashlib
import json
import sys
from collections import defaultdict

ONE = 1_000_000        # 1.0 in millionths
HALF = 500_000
JURY = ""              # the jury's voice; no station id is empty

PARAMS = {
    "scale": 350_000,         # z: a mean difference of this much is no agreement at all
    "unit": 400_000,          # information of one plain subject (opinion at 0.1 or 0.9)
    "lambda": 6,              # shared subjects at which a stranger is half known
    "lambda_founder": 2,      # the same, between founders
    "prior": 0,               # what a stranger weighs before anything is known
    "prior_vouched": 500_000, # the same, where two founders admitted it (one where there is but one)
    "jury_factor": 5,         # a subject shared with the jury counts as so many
    "tolerance": 300_000,     # a difference to the jury that costs no standing
    "span": 500_000,          # and the further difference that costs all of it
    "beta": 4,                # one contradiction weighs as much as so many confirmations
    "quorum": 2,              # answers before the jury has said anything
    "cap": 2,                 # a station's evidence counts up to here: it is its own word
    "kappa": 500_000,         # prior evidence at 0.5: contents, creators, datasets
    "kappa_user": 1_000_000,  # evidence below which a user's score is filled up with 0.5
    "confidence": 4_000_000,  # evidence at which confidence is half
    "alpha": 150_000,         # EigenTrust: share of the pre-trust
    "rounds": 20,             # EigenTrust: iterations
    "jurors": 3,              # drawn for one record
    "juror_weight": 250_000,  # who weighs less is not drawn, or sybils would seat themselves
    "duty_cost": 10,          # auditable records that pay for one duty
    "unproven": 1,            # audits a block of records by stations without weight: keys are free
    "max_findings": 8,        # a subject with so many answers is not audited again
    "jury_cap": 8,            # the jury's evidence counts up to here: each is another juror's
}
FINE = 10**12                 # EigenTrust works in parts of this


def clamp(v, low, high):
    return max(low, min(high, v))


# --- section 2: opinions ------------------------------------------------------------------

def direction(record):
    """+1, -1, or 0 where the record claims nothing that a juror could check."""
    kind = record["kind"]
    if kind == "user_action":
        d = record["delta"]
        return (d > 0) - (d < 0)
    if kind in ("content_verified", "content_reported"):
        return 1 if kind == "content_verified" else -1
    if kind == "dataset_verified":
        return 1 if record["matches"] else -1
    if kind == "dataset_rated":
        return 1 if record["rating"] >= HALF else -1
    return 0


class Opinions:
    """What every station's own records say: subject -> station -> (score, evidence, first, seen).

    `first` is the height of the block with the station's first evidence about the subject, `seen` that of the
    head which its author had seen when it signed (-1: none on this branch).
    """

    def __init__(self):
        self.by_subject = defaultdict(dict)
        self._sum = {}

    def set(self, subject, station, score, evidence, height, seen=None):
        old = self.by_subject[subject].get(station, (HALF, 0, 0, -1))
        since = old[2:] if old[1] else (height, height - 1 if seen is None else seen)
        self.by_subject[subject][station] = (score, evidence, *since)

    def add(self, record):
        subject, station, kind = tuple(record["subject"]), record["station"], record["kind"]
        height, seen = record.get("height", 0), record.get("seen")
        if kind == "user_action":
            x, n, _, _ = self.by_subject[subject].get(station, (HALF, 0, 0, -1))
            self.set(subject, station, clamp(x + record["delta"], 0, ONE), n + 1, height, seen)
            return
        s = self._sum.setdefault((subject, station), [HALF, 0, 0])  # initial, sum, evidence
        if kind == "content_added":
            s[0] = record.get("initial_score", HALF)
        elif kind == "dataset_rated":
            s[1] += record["rating"]
            s[2] += 1
        elif direction(record):
            s[1] += ONE if direction(record) > 0 else 0
            s[2] += 1
        x = s[0] if s[2] == 0 else 100_000 + 800_000 * s[1] // (s[2] * ONE)
        self.set(subject, station, x, s[2], height, seen)

    def add_creators(self):
        """A creator's opinion: mean over the creator's contents, evidence summed."""
        made = defaultdict(list)
        for subject, of in list(self.by_subject.items()):
            if subject[0] == "content":
                for station, op in of.items():
                    made[("creator", subject[1]), station].append(op)
        for (creator, station), ops in made.items():
            score = sum(op[0] for op in ops) // len(ops)
            self.set(creator, station, score, sum(op[1] for op in ops), 0)


# --- section 3: the chain's state, and the weights -----------------------------------------

class State:
    """Everything that global trust rests on. `findings` and `claims` come from the jury."""

    def __init__(self, founders, stations, vouched=(), params=None):
        self.p = dict(PARAMS, **(params or {}))
        self.founders = sorted(founders)
        self.stations = sorted(set(stations) | set(founders))
        self.vouched = set(vouched)        # admitted by as many founders as it takes
        self.ops = {}                      # subject -> {station: (score, evidence, first, seen)}
        self.findings = defaultdict(dict)  # subject -> {(juror, record): is it positive?}
        self.claims = defaultdict(dict)    # (station, user) -> {(juror, record): did it agree?}

    def jury(self, subject):
        """The jury's opinion, or None below the quorum; never about a user."""
        answers = self.findings.get(subject)
        if not answers or len(answers) < self.p["quorum"]:
            return None
        return 100_000 + 800_000 * sum(answers.values()) // len(answers), len(answers)

    def verdict(self, station, user):
        """True: the station's claim was contested; False: it held; None: nothing said."""
        answers = self.claims.get((station, user))
        if not answers or len(answers) < self.p["quorum"]:
            return None
        agree = sum(answers.values())
        return len(answers) - agree > agree

    def pair_sums(self, anchors, ordered=False):
        """(station, anchor) -> [information, information * difference].

        `ordered`: who is no anchor gets a subject counted only where its word was on the chain that the anchor had seen.
        """
        sums = defaultdict(lambda: [0, 0])
        for subject, of in self.ops.items():
            if subject[0] == "creator":
                continue
            for anchor in anchors:
                y, m, _, seen = of.get(anchor, (HALF, 0, 0, -1))
                if m == 0:
                    continue
                for station, (x, n, first, _) in of.items():
                    if station == anchor or n == 0:
                        continue
                    if not ordered or station in anchors or first <= seen:
                        info = max(abs(x - HALF), abs(y - HALF))
                        s = sums[station, anchor]
                        s[0] += info
                        s[1] += info * abs(x - y)
        return sums

    def jury_sums(self):
        """station -> [information, information * difference, checked, contradicted]."""
        p, sums = self.p, defaultdict(lambda: [0, 0, 0, 0])
        for subject in self.findings:
            j = self.jury(subject)
            if j is None:
                continue
            for station, (x, n, *_) in self.ops.get(subject, {}).items():
                if n == 0:
                    continue
                info, d = max(abs(x - HALF), abs(j[0] - HALF)), abs(x - j[0])
                s = sums[station]
                s[0] += info
                s[1] += info * d
                s[2] += 1
                s[3] += min(ONE, max(0, d - p["tolerance"]) * ONE // p["span"])
            answers = self.findings[subject]
            if len(answers) > p["quorum"]:      # a juror is judged by the other jurors
                total, count = sum(answers.values()), len(answers)
                for (juror, _), positive in answers.items():
                    others = 100_000 + 800_000 * (total - positive) // (count - 1)
                    s = sums[juror]
                    s[0] += p["unit"]
                    s[1] += p["unit"] * abs((900_000 if positive else 100_000) - others)
        for station, user in self.claims:
            v = self.verdict(station, user)
            if v is not None:
                s = sums[station]
                s[0] += p["unit"]
                s[1] += p["unit"] * (ONE if v else 0)
                s[2] += 1
                s[3] += ONE if v else 0
        return sums

    def agreement(self, info, weighted):
        if info == 0:
            return 0
        d, z = weighted // info, self.p["scale"]
        return 0 if d >= z else (z - d) * ONE // z

    def weights(self):
        """Station -> weight in millionths under `anchored`."""
        p, pairs, jury = self.p, self.pair_sums(self.founders, ordered=True), self.jury_sums()
        lam, lam_f = p["lambda"] * p["unit"], p["lambda_founder"] * p["unit"]
        raw = {}
        for f in self.founders:
            seen = []
            for g in self.founders:
                info, weighted = pairs.get((f, g), (0, 0))
                if g != f and info:
                    a = self.agreement(info, weighted)
                    seen.append((info * a + lam_f * ONE) // (info + lam_f))
            seen.sort(reverse=True)
            raw[f] = seen[(len(seen) + 1) // 2 - 1] if seen else ONE
        top = max(raw.values(), default=0)
        w = {f: raw[f] * ONE // top if top else ONE for f in self.founders}
        for i in self.stations:
            if i in raw:
                continue
            num, den = lam * ONE * p["prior_vouched" if i in self.vouched else "prior"], 0
            for f in self.founders:
                info, weighted = pairs.get((i, f), (0, 0))
                num += w[f] * info * self.agreement(info, weighted)
                den += w[f] * info
            info, weighted = jury[i][:2] if i in jury else (0, 0)
            num += p["jury_factor"] * ONE * info * self.agreement(info, weighted)
            den += p["jury_factor"] * ONE * info
            v = num // (den + lam * ONE)
            w[i] = min(ONE, v * ONE // top if top else v)
        for i in self.stations:
            checked, contradicted = jury[i][2:] if i in jury else (0, 0)
            good = checked * ONE - contradicted + ONE
            w[i] = w[i] * (good * ONE // (good + p["beta"] * contradicted)) // ONE
        return w

    def eigentrust(self):
        """Station -> weight in millionths under `eigentrust`."""
        n = len(self.stations)
        if n == 0:
            return {}
        pairs, p = self.pair_sums(self.stations), self.p
        pre_on = self.founders or self.stations
        pre = {i: FINE // len(pre_on) if i in set(pre_on) else 0 for i in self.stations}
        rows = {}
        for i in self.stations:
            row = {}
            for j in self.stations:
                info, weighted = pairs.get((i, j), (0, 0))
                c = info * self.agreement(info, weighted) // ONE
                if c:
                    row[j] = c
            rows[i] = (row, sum(row.values()))
        t = dict(pre)
        for _ in range(p["rounds"]):
            nxt = dict.fromkeys(self.stations, 0)
            for i in self.stations:
                row, total = rows[i]
                if total == 0:
                    for j in pre_on:
                        nxt[j] += t[i] * pre[j] // FINE
                else:
                    for j, c in row.items():
                        nxt[j] += t[i] * c // total
            t = {j: (p["alpha"] * pre[j] + (ONE - p["alpha"]) * nxt[j]) // ONE
                 for j in self.stations}
        top = max(t.values())
        return {j: t[j] * ONE // top if top else 0 for j in self.stations}

    # --- section 4: scores ------------------------------------------------------------------

    def ask(self, subject, policy, nodes=None, weights=None, explain=True):
        """One answer. `nodes`: only these stations are asked, and the jury is not."""
        p, subject = self.p, tuple(subject)
        asked = self.stations if nodes is None else sorted(set(nodes))
        of = {i: op for i, op in self.ops.get(subject, {}).items()
              if i in set(asked) and op[1] > 0}
        if policy == "anchored" and not self.founders:
            policy = "median"
        voices, why = [], {}
        if policy in ("mean", "median"):
            w = dict.fromkeys(self.stations + asked, ONE)
        elif weights is not None:
            w = weights
        else:
            w = self.weights() if policy == "anchored" else self.eigentrust()
        for i, (x, n, *_) in sorted(of.items()):
            if policy == "anchored" and subject[0] == "user" and self.verdict(i, subject):
                why[i] = "contested"
                voices.append((i, x, n, 0))
            else:
                why[i] = "counted" if w[i] else "unproven"
                voices.append((i, x, n, w[i]))
        j = self.jury(subject) if policy == "anchored" and nodes is None else None
        if j:
            voices.append((JURY, j[0], j[1], ONE))
        parts = [(w_i * min(n, p["jury_cap" if i == JURY else "cap"]), x) for i, x, n, w_i in voices]
        if policy == "mean":
            parts = [(ONE, x) for _, x, _, _ in voices]
        total = sum(e for e, _ in parts)
        if not parts:
            score = HALF
        elif policy == "mean":
            score = sum(x for _, x in parts) // len(parts)
        elif policy == "median":
            seen = 0
            for e, x in sorted(parts, key=lambda part: part[1]):
                seen += e
                if 2 * seen >= total:
                    score = x
                    break
        else:
            prior = max(0, p["kappa_user"] - total) if subject[0] == "user" else p["kappa"]
            score = (prior * HALF + sum(e * x for e, x in parts)) // (prior + total)
        asked_weight = sum(w.get(i, 0) for i in asked)
        spoken = sum(w_i for i, _, _, w_i in voices if i != JURY)
        spread = sum(e * abs(x - score) for e, x in parts) // total if total else 0
        out = {
            "policy": policy,
            "score": score,
            "coverage": spoken * ONE // asked_weight if asked_weight else 0,
            "confidence": total * ONE // (total + p["confidence"])
                          * max(0, ONE - 2 * spread) // ONE,
        }
        if explain:
            out["stations"] = [{"station": i, "score": x, "evidence": n, "weight": w_i,
                                "why": why[i]} for i, x, n, w_i in voices if i != JURY]
            if j:
                out["jury"] = {"score": j[0], "evidence": j[1]}
        return out


# --- section 5: who is drawn ----------------------------------------------------------------

def digest(tag, *parts):
    h = hashlib.sha256(tag)
    for part in parts:
        h.update(part)
    return h.digest()


def draw(state, block_hash, records, credit, disputed=()):
    """Audits that a block triggers for its parent's records, and the credit that is left.

    `disputed`: older records that the parent's undrawn testimonies name. Opinions, answers and
    weights are those of the state after the block was applied.
    """
    p, weights = state.p, state.weights()
    records = [r for r in records if direction(r) and r["station"] in weights]
    credit = min(credit + len(records), 3_000)

    def rank(r):
        return digest(b"qfzz/audit/1", block_hash, bytes.fromhex(r["id"]))

    order = sorted((r for r in disputed if direction(r) and r["station"] in weights), key=rank)[:1] + sorted(records, key=rank)
    taken, audits, unproven = set(), [], 0
    for r in order:
        if credit < p["duty_cost"] * p["jurors"]:
            break
        if not weights[r["station"]] and unproven >= p["unproven"]:
            continue
        subject = tuple(r["subject"])
        key = (r["station"], subject) if subject[0] == "user" else subject
        done = state.claims.get(key) if subject[0] == "user" else state.findings.get(key)
        if key in taken or len(done or ()) >= p["max_findings"]:
            continue
        able = [i for i in state.stations
                if weights[i] >= p["juror_weight"] and i != r["station"] and i not in state.ops.get(subject, {})
                and all(i != juror for juror, _ in done or ())]
        if len(able) < p["quorum"]:
            continue
        jurors = []
        for k in range(min(p["jurors"], len(able))):
            seed = digest(b"qfzz/juror/1", block_hash, bytes.fromhex(r["id"]), bytes([k]))
            at = int.from_bytes(seed[:16], "big") % sum(weights[i] for i in able)
            for i in able:
                if at < weights[i]:
                    break
                at -= weights[i]
            jurors.append(i)
            able.remove(i)
        taken.add(key)
        unproven += not weights[r["station"]]
        credit -= p["duty_cost"] * len(jurors)
        audits.append({"record": r["id"], "jurors": jurors})
    return audits, credit


# --- scenarios ------------------------------------------------------------------------------

def load(scenario):
    bad = set(scenario.get("equivocators", []))
    founders = [f for f in scenario.get("founders", []) if f not in bad]
    records = scenario.get("records", [])
    named = set(scenario.get("stations", [])) | {r["station"] for r in records}
    named |= {o["station"] for o in scenario.get("opinions", [])}
    vouched = scenario.get("vouched", named if scenario.get("admission") == "roster" else ())
    state = State(founders, named - bad, vouched, scenario.get("params"))
    ops, by_id = Opinions(), {}
    for r in records:
        by_id[r.get("id")] = r
        if r["station"] not in bad:
            ops.add(r)
    for o in scenario.get("opinions", []):
        if o["station"] not in bad:
            ops.set(tuple(o["subject"]), o["station"], o["score"], o["evidence"], o.get("first", 0), o.get("seen"))
    ops.add_creators()
    state.ops = dict(ops.by_subject)
    for t in scenario.get("testimonies", []):
        r = by_id[t["record"]]
        if not t.get("drawn", True) or t["station"] in bad or t["station"] == r["station"]:
            continue
        subject, agree, key = tuple(r["subject"]), t["answer"] == "agree", (t["station"], t["record"])
        if not direction(r):
            continue
        if subject[0] == "user":
            state.claims[r["station"], subject].setdefault(key, agree)
        else:
            state.findings[subject].setdefault(key, agree == (direction(r) > 0))
    return state


def answer(scenario):
    state = load(scenario)
    anchored, eigen = state.weights(), state.eigentrust()
    out = {"weights": {"anchored": anchored, "eigentrust": eigen}, "answers": []}
    for q in scenario.get("queries", []):
        subject, nodes = tuple(q["subject"]), q.get("nodes")
        row = {"subject": list(subject)}
        if nodes is not None:
            row["nodes"] = nodes
        for policy in ("mean", "median", "eigentrust", "anchored"):
            w = {"anchored": anchored, "eigentrust": eigen}.get(policy)
            row[policy] = state.ask(subject, policy, nodes, w)
        out["answers"].append(row)
    if "draw" in scenario:
        d = scenario["draw"]
        of = {r["id"]: r for r in scenario["records"]}
        audits, credit = draw(state, bytes.fromhex(d["block_hash"]),
                              [of[i] for i in d["records"]], d.get("credit", 0),
                              [of[i] for i in d.get("disputed", [])])
        out["draw"] = {"audits": audits, "credit": credit}
    return out


def check(paths):
    wrong = 0
    for path in paths:
        with open(path) as f:
            case = json.load(f)
        ok = json.loads(json.dumps(answer(case["scenario"]))) == case["expected"]
        wrong += not ok
        print("ok   " if ok else "WRONG", path)
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        sys.exit(check(sys.argv[2:]))
    json.dump(answer(json.load(sys.stdin)), sys.stdout, indent=1)
    print()
