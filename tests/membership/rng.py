"""The random numbers of both simulations: integers alone, so that Python and C draw the same everywhere."""

MASK = (1 << 64) - 1


class Rng:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        return z ^ z >> 31

    def below(self, n):
        return self.next() % n

    def chance(self, per_mille):
        return self.next() % 1000 < per_mille

    def span(self, lo, hi):
        """From lo up to, but not including, hi."""
        return lo + self.next() % (hi - lo)

    def choice(self, seq):
        return seq[self.next() % len(seq)]

    def sample(self, seq, k):
        seq = list(seq)
        for i in range(k):
            j = self.span(i, len(seq))
            seq[i], seq[j] = seq[j], seq[i]
        return seq[:k]

    def expo(self, mean):
        """Exponential, by von Neumann's comparisons: no logarithm, whose last bit differs between libraries."""
        whole = 0
        while True:
            first = last = self.next()
            even = False
            while True:
                v = self.next()
                if v >= last:
                    break
                last, even = v, not even
            if not even:
                return mean * whole + (mean * (first >> 32) >> 32)
            whole += 1
