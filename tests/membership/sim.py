"""A world of members in virtual time: delays, loss, partitions, deaths.  A seed replays exactly, here and in C.

The names I1-I7 of what is asserted are those of libnexar/docs/MEMBERSHIP.md.
"""

import heapq
from collections import Counter, deque

from member import BEAT, MS, Beat, Member, S, Value, quorum
from rng import Rng

BOUND = 12 * S  # liveness: after the last fault


class BrokenRuleError(Exception):
    pass


def ids(us):
    return ",".join(map(str, us))


def value_text(v):
    agree = "-" if v.agree is None else f"{v.agree[0]}/{int(v.agree[1])}/{ids(v.agree[2])}"
    return f"e{v.epoch}[{ids(v.members)}]+{ids(v.joined)}-{ids(v.left)} a{v.nagree}:{agree} c{v.nckpt}"


def stand_text(sus, agree, ready, leaving, cands):
    agree = "-" if agree is None else f"{agree[0]}/{int(agree[1])}"
    return f"s{ids(sorted(sus))} a{agree} r{int(ready)}{int(leaving)} c{ids(sorted(cands))}"


def ballot_text(b):
    return f"{b[0]}.{b[1]}"


def message_text(m):
    if isinstance(m, Beat):
        wit = ids(sorted(m.wit))
        return f"BEAT e{m.epoch} {stand_text(m.sus, m.agree, m.ready, m.leaving, m.cands)} w{wit}"
    kind = m[0]
    if kind == "JOIN":
        return kind
    if kind == "JOINACK":
        return f"{kind} {ids(m[1])}"
    if kind == "CHAIN":
        return f"{kind} " + " ".join(map(value_text, m[1]))
    if kind == "APP":
        return f"{kind} e{m[1]}"
    if kind == "NACK":
        return f"{kind} {ballot_text(m[1])} {ballot_text(m[2])}"
    text = f"{kind} {ballot_text(m[1])} e{m[2]} {m[3]}"
    if kind == "PROPOSE":
        return f"{text} {value_text(m[4])}"
    if kind == "PROMISE":
        acc = "-" if m[4] is None else f"{ballot_text(m[4][0])} {value_text(m[4][1])}"
        return f"{text} {acc} " + ("-" if m[5] is None else stand_text(*m[5]))
    return text


class Sim:
    def __init__(self, seed, n, mode="witnessed", mut="", hosts=None, false_close=False):
        self.mode, self.mut, self.false_close = mode, mut, false_close
        self.r = r = Rng(seed)
        self.now, self.q, self.seq = 0, [], 0
        self.slow = r.choice((1 * MS, 3 * MS, 20 * MS, 50 * MS))  # mean one-way delay
        self.tail = r.choice((0, 0, 20, 100))  # chance of a 10x delay, per mille
        self.hosts = hosts or r.choice((1, 2, 3, n))
        self.down, self.held, self.fifo, self.gen = set(), {}, {}, {}
        self.recent = {}
        self.m, self.alive, self.frozen, self.inbox, self.rate = {}, set(), {}, {}, {}
        self.stores, self.oracle, self.acc, self.agreed, self.seen = {}, {}, {}, {}, {}
        self.app_hold, self.bomb, self.next_uid, self.stat = {}, {}, 1000, Counter()
        self.trace = None  # a list of lines, if somebody wants them
        v0 = Value(0, tuple(range(n)), (), (), 0, None, 0)
        self.oracle[0] = v0
        for u in range(n):
            self.add(u, r.below(self.hosts) if self.hosts < n else u, v0)

    # ---- world ----
    def add(self, u, host, value=None, contacts=()):
        store = self.stores.setdefault(host, {})
        self.rate[u] = self.r.span(930_000, 1_070_001)  # clock drift in ppm, far worse than real
        m = self.m[u] = Member(u, host, store, self.local(u), value, contacts, self.mode, self.mut)
        self.alive.add(u)
        self.seen[u] = -1
        m.next_beat = self.local(u) + self.r.below(BEAT)
        self.push(self.r.below(120 * MS), "tick", u)
        self.push(self.r.below(S), "app", u)

    def local(self, u):
        return self.now * self.rate[u] // 1_000_000

    def push(self, dt, *ev):
        self.seq += 1
        heapq.heappush(self.q, (self.now + dt, self.seq, ev))

    def delay(self):
        d = self.r.expo(self.slow)
        return min(400 * MS, d * 10 if self.tail and self.r.chance(self.tail) else d) + 200_000

    def net(self, a, b, msg):
        k = (a, b)
        if k in self.down:  # kept for retransmission, or lost with the connection
            if self.r.chance(500):
                self.held.setdefault(k, []).append(msg)
            return
        t = max(self.now + self.delay(), self.fifo.get(k, 0) + 100)
        self.fifo[k] = t
        self.push(t - self.now, "msg", a, b, msg, self.gen.get(k, 0))

    def heal(self, k):
        if k not in self.down:
            return
        self.down.discard(k)
        if self.r.chance(300):
            for msg in self.recent.get(k, ()):  # doubled by the reconnect
                self.net(*k, msg)
        for msg in self.held.pop(k, ()):
            self.net(*k, msg)

    def reset(self, a, b):
        for k in ((a, b), (b, a)):
            self.gen[k] = self.gen.get(k, 0) + 1  # in flight = lost
            if k not in self.down:
                for msg in self.recent.get(k, ()):
                    self.net(*k, msg)
            if self.false_close and k[0] in self.alive:
                self.push(self.r.below(20 * MS), "closed", *k)

    def crash(self, u, host_too=False):
        if u not in self.alive:
            return
        self.alive.discard(u)
        self.frozen.pop(u, None)
        self.stat["crash"] += 1
        h = self.m[u].host
        for v in sorted(self.alive):
            if self.m[v].host == h and not host_too:
                self.push(self.r.span(500_000, 10 * MS), "died", v, u)
            elif not host_too and self.r.chance(700):
                self.push(self.r.span(5 * MS, S), "closed", v, u)

    def crash_host(self, h):
        for u in sorted(self.alive):
            if self.m[u].host == h:
                self.crash(u, True)
        self.stores[h] = {}

    # ---- running one machine ----
    def act(self, u, fn, *args):
        m = self.m[u]
        out = m.step(self.local(u), fn, *args)
        evs, m.events = m.events, []
        for ev in evs:
            self.observe(u, m, ev)
        if m.rec.epoch < self.seen[u]:
            raise BrokenRuleError(f"I2 epoch of {u} went back")
        self.seen[u] = m.rec.epoch
        if m.state == "MEMBER" and self.oracle[m.rec.epoch].members != m.rec.members:
            raise BrokenRuleError(f"I1 {u} holds a different list for epoch {m.rec.epoch}")
        for dst, msg in out:
            if self.trace is not None:
                self.trace.append(f"  > {dst} {message_text(msg)}")
            if u in self.bomb and not isinstance(msg, Beat):
                k, freeze = self.bomb.pop(u)
                if k:
                    self.bomb[u] = (k - 1, freeze)
                elif freeze:  # stopped between two sends; the rest leaves later
                    self.frozen[u] = 1
                    self.push(freeze, "thaw", u)
                else:
                    self.crash(u)  # dies between two sends
                    return
            if u in self.frozen:
                self.inbox.setdefault(u, []).append(("late", u, dst, msg))
                continue
            self.net(u, dst, msg)

    def observe(self, u, m, ev):
        if ev[0] == "accepted":
            _, epoch, b, who, v = ev
            self.acc.setdefault((epoch, b, v), set()).add(who)
        elif ev[0] == "agreed":
            if self.trace is not None:
                self.trace.append(f"  ! agreed {ev[1]} {int(ev[2][0])} {ids(ev[2][1])}")
            old = self.agreed.setdefault(ev[1], ev[2])
            self.stat["agreed"] += 1
            if old != ev[2]:
                raise BrokenRuleError(f"I7 agree {ev[1]}: {old} and {ev[2]}")
        else:
            self.installed(u, m, ev[1], ev[2])

    def installed(self, u, m, v, e0):
        if self.trace is not None:
            self.trace.append(f"  ! installed {value_text(v)}")
        if v.epoch in self.oracle:
            if self.oracle[v.epoch] != v:
                raise BrokenRuleError(f"I1 epoch {v.epoch}: {self.oracle[v.epoch].members} and {v.members}")
        else:
            prev = self.oracle[v.epoch - 1]
            if not any(k[0] == prev.epoch and k[2] == v and quorum(prev.members, s) for k, s in self.acc.items()):
                raise BrokenRuleError(f"I3 epoch {v.epoch} installed by {u} without a quorum of epoch {prev.epoch}")
            dead = {d for d in prev.members if d not in self.alive} if self.mode == "witnessed" else set()
            if not quorum(prev.members, set(v.members) | set(v.left) | dead):
                raise BrokenRuleError(f"I2 epoch {v.epoch} does not contain a quorum of its predecessor")
            if set(v.joined) & {x for w in self.oracle.values() for x in w.members}:
                raise BrokenRuleError(f"I6 {v.joined} joined twice")
            self.oracle[v.epoch] = v
            self.stat["views"] += v.members != prev.members
            self.stat["joined"] += len(v.joined)
            self.stat["left"] += len(v.left)
        if e0 >= 0 and v.epoch != e0 + 1:
            raise BrokenRuleError(f"I2 {u} skipped from {e0} to {v.epoch}")
        if e0 < 0 and u not in v.joined:
            raise BrokenRuleError(f"I6 {u} entered at epoch {v.epoch} which does not admit it")
        for tag, src in self.app_hold.pop(u, ()):
            self.app(u, m, src, tag)

    def app(self, u, m, src, tag):
        """An application message of communicator epoch `tag` reaches rank u."""
        if m.state in ("EXCLUDED", "LEFT"):
            ok = self.mut == "no_fence"
        elif m.state != "MEMBER" or tag > m.rec.epoch:
            self.app_hold.setdefault(u, []).append((tag, src))
            return
        else:
            ok = tag == m.rec.epoch or self.mut == "no_fence"
        if ok:
            self.stat["app"] += 1
            fine = m.state == "MEMBER" and tag == m.rec.epoch and src in m.rec.members
            if not fine or u not in self.oracle[tag].members:
                raise BrokenRuleError(
                    f"I4 {u} ({m.state}, epoch {m.rec.epoch}) took a message of epoch {tag} from {src}"
                )

    def event(self, ev):
        kind, u = ev[0], ev[1]
        if self.trace is not None:
            what = f"{u} {message_text(ev[3])}" if kind == "late" else "" if u is None else ids(ev[1:3])
            if kind == "msg":
                what = f"{what} {message_text(ev[3])} {ev[4]}"
            self.trace.append(f"{self.now} {kind} {what}")
        if kind == "msg":
            self.arrive(ev)
        elif u is not None and u in self.m and u not in self.alive:
            return
        elif kind in ("tick", "app"):
            self.push(125 * MS if kind == "tick" else 1300 * MS, kind, u)
            if u in self.frozen:
                return
            if kind == "tick":
                self.act(u, self.m[u].tick)
                return
            m = self.m[u]
            if m.state == "MEMBER":
                for x in m.rec.members:
                    if x != u and self.r.chance(300):
                        self.net(u, x, ("APP", m.rec.epoch))
        elif kind == "late":
            self.net(u, ev[2], ev[3])
        elif kind in ("died", "closed"):
            if u in self.frozen:
                self.inbox.setdefault(u, []).append(ev)
            else:
                self.act(u, getattr(self.m[u], kind), ev[2])
        elif kind == "thaw":
            if self.frozen.pop(u, None) is None:
                return
            box = self.inbox.pop(u, [])
            if self.r.chance(500):
                self.act(u, self.m[u].tick)  # timers may fire before the sockets are read
            for e in box:
                self.event(e)
        else:
            ev[2](self)

    def arrive(self, ev):
        _, a, u, msg, gen = ev
        k = (a, u)
        if gen != self.gen.get(k, 0) or u not in self.alive:
            return
        if k in self.down:
            self.net(a, u, msg)
        elif u in self.frozen:
            self.inbox.setdefault(u, []).append(ev)
        elif isinstance(msg, Beat):
            self.act(u, self.m[u].message, a, msg)
        else:
            self.recent.setdefault(k, deque(maxlen=3)).append(msg)
            if msg[0] == "APP":
                self.app(u, self.m[u], a, msg[1])
            else:
                self.act(u, self.m[u].message, a, msg)

    def run_until(self, t):
        q = self.q
        while q and q[0][0] <= t:
            self.now, _, ev = heapq.heappop(q)
            self.event(ev)
        self.now = t

    def at(self, t, fn):
        self.push(t - self.now, "call", None, fn)

    # ---- things to do ----
    def cut(self, pairs):
        self.down |= set(pairs)

    def split(self, side, oneway=False):
        a = [u for u in self.m if u in side]
        b = [u for u in self.m if u not in side]
        ps = [(x, y) for x in a for y in b] + ([] if oneway else [(y, x) for x in a for y in b])
        self.cut(ps)
        return ps

    def storm(self):
        self.cut([(a, b) for a in self.m for b in self.m if a != b])

    def heal_all(self, pairs):
        for k in pairs:
            self.heal(k)

    def freeze(self, u, d):
        if u in self.alive and u not in self.frozen:
            self.frozen[u] = 1
            self.push(d, "thaw", u)

    def wave(self, what, leave=100):
        for u in sorted(self.alive - set(self.frozen)):
            if what == "agree":
                self.push(self.r.below(200 * MS), "call", None, lambda s, u=u: s.call(u, what, s.flag(u)))
            elif self.m[u].state == "MEMBER":
                lv = self.r.chance(leave)
                self.push(self.r.below(200 * MS), "call", None, lambda s, u=u, lv=lv: s.call(u, what, lv))

    def flag(self, u):
        return u in self.alive and u not in self.frozen and self.r.chance(800)

    def call(self, u, what, arg):
        if u in self.alive and u not in self.frozen:
            self.act(u, self.m[u].call_agree if what == "agree" else self.m[u].call_checkpoint, arg)

    def join(self):
        ms = [u for u in sorted(self.alive) if self.m[u].state == "MEMBER"]
        if ms:
            u, self.next_uid = self.next_uid, self.next_uid + 1
            self.add(u, self.r.choice([self.m[x].host for x in ms] + [u]), None, self.r.sample(ms, min(3, len(ms))))

    # ---- end of a scenario ----
    def converged(self, side):
        live = [u for u in sorted(self.alive) if u in side]
        mem = [u for u in live if self.m[u].state == "MEMBER"]
        if not mem:
            return True
        top = max(self.m[u].rec.epoch for u in mem)
        view = next(self.m[u].rec.members for u in mem if self.m[u].rec.epoch == top)
        votes = {u for u in view if u in mem}
        if self.mode == "witnessed":
            hosts = {self.m[u].host for u in votes}
            votes |= {
                u for u in view if u not in self.alive and self.m[u].host in hosts and u in self.stores[self.m[u].host]
            }
        if not quorum(view, votes):
            return None  # must not and cannot go on
        core = [u for u in view if u in mem]
        pend = [u for u in core if self.m[u].agree]
        same = {(self.m[u].rec.epoch, self.m[u].rec.members) for u in core}
        if pend and len(same) == 1:  # an agree() that some ranks have not called yet
            for u in core:
                if not self.m[u].agree:
                    self.act(u, self.m[u].call_agree, True)
        told = all(u in view or not any(x in mem and x != u for x in self.m[u].rec.members) for u in mem)
        return len(same) == 1 and set(view) == set(core) and not pend and told

    def finish(self, sides):
        t0, res = self.now, []
        self.wave("agree")
        self.run_until(t0 + 250 * MS)
        left = list(sides)
        while left:
            for s in list(left):
                c = self.converged(s)
                if c is not False and (c or self.now > t0 + 3 * S):
                    left.remove(s)
                    res.append((c, self.now - t0))
            if left and self.now > t0 + BOUND:
                raise BrokenRuleError(f"I5 no common view {BOUND // S} s after the last fault")
            self.run_until(self.now + 250 * MS)
        return res
