"""Training whose ranks come and go: a linear model, data parallel; its loss falls, whoever is killed and whoever joins.

nexar run -n 4 --restarts 3 -m pynexar.examples.elastic_training

Meanwhile `kill -9` one of the processes: the others go on, and the launcher starts it again as a new rank.  Or let
others join: NEXAR_JOIN=... python -m pynexar.examples.elastic_training, with the join string of `nexar seed --elastic`.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np

import pynexar as nx

ROWS, FEATURES = 512, 32
RATE = 0.02
EVERY = 5  # steps between two checkpoints


def data() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The same on all ranks, which take every size-th row each."""
    random = np.random.default_rng(7)
    x = random.standard_normal((ROWS, FEATURES))
    return x, x @ random.standard_normal(FEATURES)


def step_of(comm: nx.Comm, state: dict[str, Any], x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> None:
    """One step of all ranks together.  The state changes when all is known, or not at all."""
    mine = slice(comm.rank, None, comm.size)
    error = x[mine] @ state["weights"] - y[mine]
    total = comm.all_reduce(np.append(x[mine].T @ error, error @ error) / ROWS)
    state["weights"] = state["weights"] - RATE * total[:-1]
    state["loss"] = float(total[-1])
    state["step"] += 1


def recover(comm: nx.Comm, state: dict[str, Any]) -> nx.Comm:
    """Goes on with those who are left, from the newest state that one of them has."""
    while True:
        left = comm.shrink()
        comm.close()
        comm = left
        try:
            steps = comm.all_gather(np.array([state["step"]]))
            newest = int(np.argmax(steps))
            comm.broadcast(state["weights"], newest)
            state["step"] = int(steps.reshape(-1)[newest])
            return comm
        except nx.QuorumLost:
            raise
        except nx.PeerLost:  # one more
            continue


def train(steps: int, pause: float) -> dict[str, Any]:
    """The state after so many steps."""
    x, y = data()
    state: dict[str, Any] = {"step": -1, "weights": np.zeros(FEATURES), "loss": float("inf")}
    comm = nx.init(elastic=True)
    print(f"process {os.getpid()} is rank {comm.rank} of {comm.size}", flush=True)
    if comm.rank == 0:  # of a new job; the ranks that a job had before come first
        state["step"] = 0
    try:
        state = comm.hand_over(state)
    except nx.PeerLost:
        comm = recover(comm, state)
    while state["step"] < steps:
        try:
            step_of(comm, state, x, y)
            if state["step"] % EVERY == 0:
                if comm.rank == 0:
                    print(f"step {state['step']}: {comm.size} ranks, loss {state['loss']:.3e}", flush=True)
                changed = comm.elastic_checkpoint()
                if changed is not comm:
                    comm = changed
                    state = comm.hand_over(state)
        except nx.QuorumLost:
            raise
        except nx.PeerLost as lost:
            print(f"process {os.getpid()}, rank {comm.rank} of {comm.size}: {lost}", flush=True)
            comm = recover(comm, state)
        time.sleep(pause)
    comm.close()
    return state


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=400)
    arguments.add_argument("--pause", type=float, default=0.0, help="seconds after each step: to see it go by")
    options = arguments.parse_args()
    state = train(options.steps, options.pause)
    print(f"process {os.getpid()}: {state['step']} steps, loss {state['loss']:.3e}", flush=True)


if __name__ == "__main__":
    main()
