"""Random scenarios for member.py, drawn from a seed, and the mutants that they must find.

python3 scenario.py --runs 1000 [--first SEED] [--n 2-16] [--mode witnessed|majority] [--mutant NAME] [--trace]
python3 scenario.py --mutants
"""

import argparse
import sys
from collections import Counter

from member import MS, MUTANTS, S
from rng import Rng
from sim import BrokenRuleError, Sim

KINDS = "crash crash bomb bomb bomb fbomb fbomb fbomb host freeze part part link reset join ckpt agree agree storm"


def bomb_of(r, n):
    """Who dies or stops, and after how many of its protocol messages."""
    u = r.choice((0, 0, 0, 1, 1, 2)) % n if r.chance(700) else r.below(n)
    return u, r.below(3 * n + 1)


def pairs_of(r, n, kind):
    """What is cut, both ways or one: a function of the world."""
    if kind == "link":
        a, b = r.sample(range(n), 2)
        one = r.chance(400)
        return lambda s: ([(a, b)] if one else [(a, b), (b, a)], s.cut([(a, b)] if one else [(a, b), (b, a)]))[0]
    side = {u for u in range(n) if r.chance(500)}
    one = r.chance(400)
    return lambda s: s.split(side, one)


def plan(s, r, n):
    """Draws one fault and puts it into the world; returns when it is over."""
    t = r.span(200 * MS, 4500 * MS)
    kind = r.choice((KINDS + " reset" * 6 * s.false_close).split())
    d = 0
    if kind == "crash":
        s.at(t, lambda s: s.alive and s.crash(r.choice(sorted(s.alive))))
    elif kind in ("bomb", "fbomb"):  # dies or stops after its k-th protocol message
        u, k = bomb_of(r, n)
        d = r.choice((100, 600, 1800, 2400)) * MS if kind == "fbomb" else 0
        s.at(t, lambda s: s.bomb.setdefault(u, (k, d)))
    elif kind == "host":
        s.at(t, lambda s: s.crash_host(r.choice(sorted(s.stores))))
    elif kind == "freeze":
        u, d = r.below(n), r.choice((200, 1000, 2500, 4000)) * MS
        s.at(t, lambda s: s.freeze(u, d))
    elif kind in ("part", "link"):
        d = r.choice((100, 500, 1700, 2200, 4000)) * MS
        cut, ps = pairs_of(r, n, kind), []
        s.at(t, lambda s: ps.extend(cut(s)))
        s.at(t + d, lambda s: s.heal_all(ps))
    elif kind == "reset":
        a, b = r.sample(range(n), 2)
        s.at(t, lambda s: s.reset(a, b))
    elif kind == "join":
        s.at(t, Sim.join)
        s.at(t + r.span(300 * MS, 1200 * MS), lambda s: s.wave("ckpt"))
    elif kind in ("ckpt", "agree"):
        s.at(t, lambda s: s.wave(kind))
    else:  # nobody hears anybody for a while
        d = r.span(500 * MS, 3000 * MS)
        s.at(t, Sim.storm)
        s.at(t + d, lambda s: s.heal_all(sorted(s.down)))
    return t + d


def scenario(seed, lo, hi, mode="witnessed", mut="", trace=None, false_close=False):
    r = Rng(seed * 7919 + 13)
    a, b = r.below(hi - lo + 1), r.below(hi - lo + 1)
    n = lo + (min(a, b) if r.chance(500) else a)  # small worlds are more often wrong
    s = Sim(seed, n, mode, mut, None, false_close)
    s.trace = trace
    last = 300 * MS
    for _ in range(r.span(1, 7)):
        last = max(last, plan(s, r, n))
    s.run_until(last + 50 * MS)
    s.bomb.clear()
    s.heal_all(sorted(s.down))
    for u in sorted(s.frozen):
        s.event(("thaw", u))
    sides = [set(s.m)]
    if r.chance(300):  # a clean partition that stays
        one = {u for u in sorted(s.m) if r.chance(500)}
        s.split(one)
        sides = [one, set(s.m) - one]
    return s, s.finish(sides)


def many(first, runs, lo, hi, mode, mut="", stop=True, false_close=False):
    tot, times, bad, none = Counter(), [], [], 0
    for seed in range(first, first + runs):
        try:
            s, res = scenario(seed, lo, hi, mode, mut, None, false_close)
        except BrokenRuleError as e:
            bad.append((seed, str(e)))
            if stop:
                break
            continue
        tot += s.stat
        times += [t for c, t in res if c]
        none += sum(1 for c, _ in res if c is None)
    return tot, sorted(times), bad, none


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--runs", type=int, default=1000)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--n", default="2-16")
    p.add_argument("--mode", default="witnessed")
    p.add_argument("--mutant", default="")
    p.add_argument("--trace", action="store_true")
    p.add_argument("--false-close", action="store_true")
    p.add_argument("--mutants", action="store_true")
    a = p.parse_args()
    lo, hi = (int(x) for x in (a.n + "-" + a.n).split("-")[:2])
    if a.mutants:
        for mut in MUTANTS:
            _, _, bad, _ = many(a.first, a.runs, lo, hi, a.mode, mut)
            print(f"{mut:22s} " + (f"seed {bad[0][0]}: {bad[0][1]}" if bad else f"NOT FOUND in {a.runs}"), flush=True)
    elif a.trace:
        lines = []
        try:
            print(scenario(a.first, lo, hi, a.mode, a.mutant, lines, a.false_close)[1])
        finally:
            print("\n".join(lines))
    else:
        tot, ts, bad, none = many(a.first, a.runs, lo, hi, a.mode, a.mutant, False, a.false_close)
        print(f"mode {a.mode}, n {a.n}, seeds {a.first}..{a.first + a.runs - 1}: {len(bad)} failures, {dict(tot)}")
        quantiles = (f"p{q} {ts[min(len(ts) - 1, len(ts) * q // 100)] / S:.2f}" for q in (50, 99, 100) if ts)
        print(f"sides that went on: {len(ts)}, that stopped: {none}; seconds to a common view: " + ", ".join(quantiles))
        for seed, why in bad[:10]:
            print(f"  FAIL seed {seed}: {why}")
        sys.exit(bool(bad))


if __name__ == "__main__":
    main()
