# ruff: noqa: ARG002 - all handlers have the same arguments
"""Membership machine of one rank, the reference for the one in C: pure (state, message, now) -> messages.

One chain of decisions: entry e+1 is decided by single-decree Paxos among the members of entry e.
An entry carries the member list and, when asked for, the result of agree() and of a checkpoint.
The rules are those of libnexar/docs/MEMBERSHIP.md.  Times are integers, in nanoseconds.
"""

from collections import namedtuple

Value = namedtuple("Value", "epoch members joined left nagree agree nckpt")  # one entry of the chain
Beat = namedtuple("Beat", "epoch sus agree ready leaving cands wit")  # everything a peer must know of me
State = namedtuple("State", "sus agree ready leaving cands")  # the part that goes into a PROMISE

MS = 1_000_000
S = 1000 * MS
BEAT, TIMEOUT, SETTLE, PHASE1, BALLOT, TAKEOVER = 500 * MS, 1600 * MS, 500 * MS, 300 * MS, 800 * MS, 400 * MS
MUTANTS = (
    "forget_promise",
    "half_is_quorum",
    "ignore_accepted",
    "early_install",
    "no_fence",
    "silent_exclusion",
    "silence_is_death",
    "fresh_proxy_record",
    "agree_local",
)


def quorum(view, votes, mut=""):
    """More than half, or exactly half with the view's rank 0.  Any two such sets intersect."""
    c = sum(1 for u in view if u in votes)
    if mut == "half_is_quorum":
        return 2 * c >= len(view)
    return 2 * c > len(view) or (2 * c == len(view) and view[0] in votes)


def usable_clique(ranks, broken, answered):
    """Drop members until no broken pair is left: first those that also failed to answer the coordinator,
    then those with most broken links, then the highest rank."""
    keep = list(ranks)
    while True:
        deg = [(sum(1 for v in keep if (u, v) in broken or (v, u) in broken), i) for i, u in enumerate(keep)]
        bad = [(keep[i] not in answered, d, i) for d, i in deg if d]
        if not bad:
            return keep
        del keep[max(bad)[2]]


class Rec:
    """Acceptor record.  Lives in the host's shared memory: it outlives the process, not the host."""

    __slots__ = ("acc", "epoch", "hist", "members", "prom")

    def __init__(self, v):
        self.hist, self.epoch, self.members, self.prom, self.acc = {}, -1, (), (0, -1), None
        if v:
            self.advance(v)

    def advance(self, v):
        self.hist[v.epoch] = v
        self.epoch, self.members, self.prom, self.acc = v.epoch, v.members, (0, -1), None


class Member:
    def __init__(self, uid, host, store, now, value=None, contacts=(), mode="witnessed", mut=""):
        self.uid, self.host, self.store, self.mode, self.mut = uid, host, store, mode, mut
        self.state = "MEMBER" if value else "JOINING"
        self.rec = store[uid] = Rec(value)
        self.contacts = tuple(contacts)
        self.heard = dict.fromkeys(self.rec.members, now)
        self.sus, self.cert, self.mywit, self.peer, self.cands = {}, {}, set(), {}, {}
        self.agree, self.ready, self.leaving = None, False, False
        self.co, self.maxround, self.backoff, self.need_since = None, 0, 0, None
        self.next_beat = self.last_tick = now
        self.events, self.out, self.selfq = [], [], []

    # ---- driver ----
    def step(self, now, fn, *args):
        self.out = []
        fn(*args, now)
        while self.selfq:
            self.message(self.uid, self.selfq.pop(0), now)
        return self.out

    def send(self, dst, msg):
        (self.selfq if dst == self.uid else self.out).append(msg if dst == self.uid else (dst, msg))

    def usable(self, u):
        """Both directions of the link work, as far as I know."""
        p = self.peer.get(u)
        return u == self.uid or (u not in self.sus and u not in self.cert and not (p and self.uid in p.sus))

    def beat(self):
        return Beat(
            self.rec.epoch,
            frozenset(self.sus),
            self.agree,
            self.ready,
            self.leaving,
            frozenset(self.cands),
            frozenset(self.mywit),
        )

    def proxies(self):
        """Dead process -> usable member of its host that can vote with its record."""
        if self.mode != "witnessed":
            return {}
        res = {}
        for d, found in self.cert.items():
            ws = sorted(w for w in found if w in self.rec.members and self.usable(w))
            if ws and d in self.rec.members:
                res[d] = ws[self.maxround % len(ws)]
        return res

    def voters(self):
        p = self.proxies()
        return [(u, p.get(u, u)) for u in self.rec.members if u in p or self.usable(u)]

    # ---- events from outside ----
    def tick(self, now):
        if now - self.last_tick > TIMEOUT // 2:  # I was frozen: my silence, not theirs
            for u in self.heard:
                self.heard[u] = now
        self.last_tick = now
        if self.state == "JOINING":
            if now >= self.next_beat:
                self.next_beat = now + BEAT
                for u in self.contacts:
                    self.send(u, ("JOIN",))
            return
        if self.state != "MEMBER":
            return
        for u in self.rec.members:
            if u != self.uid and u not in self.sus and now - self.heard[u] > TIMEOUT:
                self.sus[u] = now
                if self.mut == "silence_is_death":
                    self.died(u, now)
        for c in [c for c, t in self.cands.items() if now - t > TIMEOUT]:
            del self.cands[c]
        if now >= self.next_beat:
            self.next_beat = now + BEAT
            self.tell_all()
        self.check(now)

    def tell_all(self):
        b = self.beat()
        for u in self.rec.members:
            if u != self.uid:
                self.send(u, b)

    def closed(self, u, now):
        """The peer's connection was reset or refused: strong suspicion, revocable."""
        if self.state == "MEMBER" and u in self.rec.members and u not in self.sus:
            self.sus[u] = now
            self.tell_all()
            self.check(now)

    def died(self, u, now):
        """The kernel of my own host says that process u is gone: certain, final."""
        self.mywit.add(u)
        self.witness(u, self.uid, now)
        if self.state == "MEMBER":
            self.tell_all()
            self.check(now)

    def witness(self, d, w, now):
        if d in self.rec.members:
            self.cert.setdefault(d, set()).add(w)
            self.sus.setdefault(d, now)

    def call_agree(self, flag, now):
        if self.state == "MEMBER" and self.agree is None:
            self.agree = (self.rec.hist[self.rec.epoch].nagree + 1, flag)
            self.tell_all()
            self.check(now)

    def call_checkpoint(self, leaving, now):
        if self.state == "MEMBER" and not self.ready:
            self.ready, self.leaving = True, leaving
            self.tell_all()
            self.check(now)

    # ---- messages ----
    def message(self, src, m, now):
        if isinstance(m, Beat):
            self.on_beat(src, m, now)
        else:
            getattr(self, "on_" + m[0].lower())(src, now, *m[1:])

    def on_beat(self, src, m, now):
        if self.state == "JOINING":
            return
        if src in self.rec.members:
            self.heard[src] = now
            if m.epoch >= self.rec.epoch or src not in self.peer:
                self.peer[src] = m
            if src in self.sus and src not in self.cert:
                del self.sus[src]
            for d in m.wit:
                self.witness(d, src, now)
        elif m.epoch > self.rec.epoch and self.state == "MEMBER":
            self.send(src, self.beat())  # one who joined with an entry that I lack: ask for it
        if m.epoch < self.rec.epoch and not (self.mut == "silent_exclusion" and src not in self.rec.members):
            self.help(src, m.epoch)
        if self.state == "MEMBER":
            self.check(now)

    def help(self, dst, epoch):
        """Whoever is behind gets the decisions it lacks; so an excluded rank learns that it is."""
        h = self.rec.hist
        self.send(dst, ("CHAIN", tuple(h[e] for e in range(epoch + 1, self.rec.epoch + 1) if e in h)))

    def on_join(self, src, now):
        if self.state != "MEMBER":
            return
        joined = [v.epoch for v in self.rec.hist.values() if src in v.joined]
        if joined:
            self.help(src, joined[0] - 1)
            return
        self.cands[src] = now
        self.send(src, ("JOINACK", self.rec.members))

    def on_joinack(self, src, now, members):
        if self.state == "JOINING":
            self.contacts = tuple(members)

    def on_chain(self, src, now, values):
        for v in values:
            if (self.state == "JOINING" and self.uid in v.joined) or (
                self.state == "MEMBER" and v.epoch == self.rec.epoch + 1
            ):
                self.install(v, now)

    def record(self, who, now):
        """My own record, or that of a process which my host's kernel reported dead."""
        if who == self.uid:
            return self.rec
        if who not in self.mywit:
            return None
        r = self.store.get(who)
        if r is None:
            return None
        if self.mut == "fresh_proxy_record":
            r = self.store.setdefault(("copy", self.uid, who, self.rec.epoch), Rec(self.rec.hist[self.rec.epoch]))
        if r.epoch > self.rec.epoch:  # the dead knew more than I: learn it
            self.on_chain(who, now, tuple(r.hist[e] for e in sorted(r.hist)))
        while r.epoch < self.rec.epoch:  # I know more: bring its record up to date
            nxt = min(e for e in self.rec.hist if e > r.epoch)
            r.advance(self.rec.hist[nxt])
        return r

    def gate(self, src, epoch, who, now):
        if self.state != "MEMBER" or epoch < self.rec.epoch:
            if self.state != "JOINING" and epoch < self.rec.epoch:
                self.help(src, epoch)
            return None
        if epoch > self.rec.epoch:
            self.send(src, self.beat())  # I am behind: ask for the chain
            return None
        if src not in self.rec.members or not self.usable(src):
            return None  # a coordinator that cannot hear me must not disturb
        r = self.record(who, now)
        return r if r is not None and r.epoch == epoch and self.rec.epoch == epoch and self.state == "MEMBER" else None

    def yield_to(self, src, b, now):
        self.maxround = max(self.maxround, b[0])
        if src != self.uid:  # somebody is at work: let it finish
            self.backoff = max(self.backoff, now + (BALLOT + TAKEOVER * self.position()) * self.patience())
            if self.co and b > self.co["b"]:
                self.co = None

    def patience(self):
        """Rounds of this epoch are known to all: contention or slow links give every ballot more time."""
        return min(6, 1 + self.maxround // 2)

    def position(self):
        view = self.rec.members
        return sum(1 for u in view[: view.index(self.uid)] if self.usable(u))

    def on_prepare(self, src, now, b, epoch, who):
        r = self.gate(src, epoch, who, now)
        if r is None:
            return
        if b >= r.prom:
            self.yield_to(src, b, now)
            r.prom = b
            st = State(frozenset(self.sus), self.agree, self.ready, self.leaving, frozenset(self.cands))
            self.send(src, ("PROMISE", b, epoch, who, r.acc, st if who == self.uid else None))
        else:
            self.send(src, ("NACK", b, r.prom))

    def on_propose(self, src, now, b, epoch, who, v):
        r = self.gate(src, epoch, who, now)
        if r is None:
            return
        if b >= r.prom or self.mut == "forget_promise":
            self.yield_to(src, b, now)
            r.prom, r.acc = b, (b, v)
            self.events.append(("accepted", epoch, b, who, v))
            self.send(src, ("ACCEPT", b, epoch, who))
        else:
            self.send(src, ("NACK", b, r.prom))

    def on_nack(self, src, now, b, prom):
        self.maxround = max(self.maxround, prom[0])
        if self.co and self.co["b"] == b:
            self.drop_ballot(now)

    def on_promise(self, src, now, b, epoch, who, acc, st):
        co = self.co
        if co and co["b"] == b and co["v"] is None and epoch == self.rec.epoch:
            co["proms"][who] = (acc, st)
            self.check(now)

    def on_accept(self, src, now, b, epoch, who):
        co = self.co
        if co and co["b"] == b and co["v"] and epoch == self.rec.epoch:
            co["accs"].add(who)
            if quorum(self.rec.members, co["accs"], self.mut):
                self.decide(co["v"], now)

    # ---- coordinator ----
    def state_of(self, u):
        p = self.co["proms"].get(u) if self.co else None
        if p and p[1]:
            return p[1]
        b = self.peer.get(u)
        return State(*b[1:6]) if b and b.epoch == self.rec.epoch and self.usable(u) else None

    def need(self):
        view = self.rec.members
        if self.rec.acc or any(u in view for u in self.sus):
            return "evidence"
        us = [u for u in view if u != self.uid and self.usable(u)]
        ps = [self.peer.get(u) for u in us]
        if any(p and p.epoch == self.rec.epoch and any(x in view for x in p.sus) for p in ps):
            return "evidence"
        if self.agree and all(p and p.epoch == self.rec.epoch and p.agree and p.agree[0] == self.agree[0] for p in ps):
            return "calls"
        return "calls" if self.ready and all(p and p.epoch == self.rec.epoch and p.ready for p in ps) else ""

    def check(self, now):
        if self.state != "MEMBER":
            return
        co = self.co
        if co:
            if (
                co["v"] is None
                and quorum(self.rec.members, co["proms"], self.mut)
                and (len(co["proms"]) >= co["expect"] or now >= co["p1"])
            ):
                self.choose(now)
            elif now >= co["end"]:
                self.drop_ballot(now)
            return
        need = self.need()
        if not need:
            self.need_since = None
            return
        if self.need_since is None:
            self.need_since = now
        certain = any(u in self.cert for u in self.sus)
        settle = 0 if certain or need == "calls" else SETTLE
        if now >= self.need_since + settle + self.position() * TAKEOVER and now >= self.backoff:
            self.start(now)

    def drop_ballot(self, now):
        self.co = None
        self.backoff = max(self.backoff, now + 100 * MS + TAKEOVER * self.position() * self.patience())

    def start(self, now):
        vs = self.voters()
        if not quorum(self.rec.members, {u for u, _ in vs}, self.mut):
            return  # a ballot that cannot win only disturbs
        self.maxround += 1
        k = self.patience()
        b = (self.maxround, self.rec.members.index(self.uid))
        self.co = {"b": b, "v": None, "proms": {}, "accs": set(), "expect": len(vs)}
        self.co.update(p1=now + PHASE1 * k, end=now + BALLOT * k)
        for u, via in vs:
            self.send(via, ("PREPARE", b, self.rec.epoch, u))

    def choose(self, now):
        co, last = self.co, self.rec.hist[self.rec.epoch]
        accepted = [acc for acc, _ in co["proms"].values() if acc]
        if accepted and self.mut != "ignore_accepted":
            v = max(accepted, key=lambda a: a[0])[1]
        else:
            v = self.fresh_value(last)
            if v is None:
                self.drop_ballot(now)
                return
        co["v"] = v
        for u, via in self.voters():
            self.send(via, ("PROPOSE", co["b"], self.rec.epoch, u, v))
        if self.mut == "early_install":
            self.decide(v, now)

    def fresh_value(self, last):
        view, broken = self.rec.members, set()
        for u in view:
            st = self.state_of(u) if u != self.uid else State(self.sus, 0, 0, 0, 0)
            if st:
                broken |= {(u, x) for x in st.sus}
        keep = usable_clique([u for u in view if u not in self.cert], broken, self.co["proms"])
        votes = set(keep) | set(self.proxies())
        if not quorum(view, votes, self.mut):
            return None
        sts = [self.state_of(u) for u in keep]
        agree, nagree, nckpt, joined, left = None, last.nagree, last.nckpt, (), ()
        if all(s and s.agree and s.agree[0] == nagree + 1 for s in sts):
            nagree += 1
            agree = (nagree, all(s.agree[1] for s in sts), tuple(u for u in view if u not in keep))
        if all(s and s.ready for s in sts):
            nckpt += 1
            left = tuple(u for u, s in zip(keep, sts) if s.leaving)
            if len(left) == len(keep):
                left = left[1:]  # the last one cannot leave, it closes
            common = frozenset.intersection(*[s.cands for s in sts])
            joined = tuple(sorted(c for c in common if c not in view))[: len(keep) - len(left)]
        members = tuple(u for u in keep if u not in left) + joined
        if members == view and agree is None and nckpt == last.nckpt:
            return None
        return Value(last.epoch + 1, members, joined, left, nagree, agree, nckpt)

    def decide(self, v, now):
        old = self.rec.members
        self.install(v, now)
        for u in old + v.joined:
            if u != self.uid:
                self.send(u, ("CHAIN", (v,)))

    def install(self, v, now):
        self.events.append(("install", v, self.rec.epoch, self.rec.members))
        self.rec.advance(v)
        self.co, self.need_since, self.maxround, self.backoff = None, None, 0, 0
        gone = [u for d in (self.heard, self.sus, self.peer, self.cert) for u in d if u not in v.members]
        for u in gone:
            for d in (self.heard, self.sus, self.peer, self.cert):
                d.pop(u, None)
        for u in v.members:
            self.heard.setdefault(u, now)
            self.cands.pop(u, None)
            if u in self.mywit:
                self.witness(u, self.uid, now)
        if v.agree and self.agree and self.agree[0] == v.agree[0]:
            res = (v.agree[1] and self.agree[1], v.agree[2]) if self.mut == "agree_local" else v.agree[1:]
            self.events.append(("agreed", v.agree[0], res))
            self.agree = None
        if v.nckpt and self.ready and v.nckpt > self.rec.hist.get(v.epoch - 1, v).nckpt:
            self.ready = self.leaving = False
        if self.uid in v.members:
            self.state = "MEMBER"
        else:
            self.state = "LEFT" if self.uid in v.left else "EXCLUDED"
