"""Calls of a function per second, between two processes of one host: pynexar, pyzmq and grpcio in turn, several rounds.

    python bench/py/rpc.py [--rounds 5] [--seconds 1] [--bytes 32] [--peers nexar zmq_tcp zmq_ipc grpc]

Each peer serves `echo` in one process and calls it from another: one call at a time, then 64 outstanding.  The best way
that each library has for that in Python: nexar's ops, ROUTER and DEALER of pyzmq, futures of grpcio.  Prints the median
of the rounds and its spread, and how nexar compares.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable

OUTSTANDING = 64


def rate(one: Callable[[], object], seconds: float) -> float:
    """How often per second; after a tenth of the time to get warm."""
    for span in (seconds / 10, seconds):
        n, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < span:
            for _ in range(64):
                one()
            n += 64
        result = n / (time.perf_counter() - begun)
    return result


def report(single: Callable[[], object], several: Callable[[], object], seconds: float) -> None:
    print(rate(single, seconds), rate(several, seconds), flush=True)


# --------------------------------------------------------------------------------------------------------------- nexar
def nexar(role: str, where: str, payload: bytes, seconds: float) -> None:
    import pynexar as nx

    os.environ.update(NEXAR_RANK="0" if role == "serve" else "1", NEXAR_WORLD_SIZE="2", NEXAR_JOIN=where)
    with nx.init() as comm:
        if role == "serve":
            comm.register("echo", lambda payload: payload)
            comm.barrier()
            comm.recv(bytearray(1), 1)  # the end
            return
        comm.barrier()
        start = comm.nb.call
        flying: deque[nx.Op] = deque()

        def several() -> None:
            while len(flying) < OUTSTANDING - 1:
                flying.append(start(0, "echo", payload))
            flying.append(start(0, "echo", payload))
            flying.popleft().wait()

        report(lambda: comm.call(0, "echo", payload), several, seconds)
        while flying:
            assert flying.popleft().wait() == payload
        comm.send(b"e", 0)


# --------------------------------------------------------------------------------------------------------------- pyzmq
def zmq(role: str, where: str, payload: bytes, seconds: float) -> None:
    import zmq

    with zmq.Context() as context:
        if role == "serve":
            with context.socket(zmq.ROUTER) as socket:
                socket.bind(where)
                while True:
                    who, body = socket.recv_multipart()
                    if body == b"":
                        return
                    socket.send_multipart((who, body))
        with context.socket(zmq.DEALER) as socket:
            socket.connect(where)

            def single() -> None:
                socket.send(payload)
                socket.recv()

            single()
            one = rate(single, seconds)
            for _ in range(OUTSTANDING):
                socket.send(payload)

            def several() -> None:
                socket.recv()
                socket.send(payload)

            print(one, rate(several, seconds), flush=True)
            for _ in range(OUTSTANDING):
                assert socket.recv() == payload
            socket.send(b"")


# -------------------------------------------------------------------------------------------------------------- grpcio
def grpc(role: str, where: str, payload: bytes, seconds: float) -> None:
    import threading
    from concurrent import futures

    import grpc

    if role == "serve":
        over = threading.Event()

        def echo(body: bytes, _: object) -> bytes:
            if not body:
                over.set()
            return body

        server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"echo": handler}),))
        server.add_insecure_port(where)
        server.start()
        over.wait()
        server.stop(1).wait()
        return
    with grpc.insecure_channel(where) as channel:
        call = channel.unary_unary("/bench/echo")
        call(payload, wait_for_ready=True)
        flying: deque[grpc.Future] = deque()

        def several() -> None:
            while len(flying) < OUTSTANDING - 1:
                flying.append(call.future(payload))
            flying.append(call.future(payload))
            flying.popleft().result()

        report(lambda: call(payload), several, seconds)
        while flying:
            assert flying.popleft().result() == payload
        call(b"")


PEERS = {"nexar": nexar, "zmq_tcp": zmq, "zmq_ipc": zmq, "grpc": grpc}


def pair(peer: str, options: argparse.Namespace) -> tuple[float, float]:
    """One round: calls per second, one at a time and with 64 outstanding."""
    with tempfile.TemporaryDirectory() as folder:
        seed = None
        if peer == "nexar":
            import pynexar as nx

            seed = nx.Seed("127.0.0.1:0", 2)
            where = seed.join_string
        elif peer == "zmq_tcp":
            where = f"tcp://127.0.0.1:{20_000 + os.getpid() % 10_000}"
        else:
            where = ("ipc://" if peer == "zmq_ipc" else "unix:") + f"{folder}/socket"
        command = [sys.executable, __file__, "--bytes", str(options.bytes), "--seconds", str(options.seconds)]
        with subprocess.Popen([*command, "--role", "serve", "--peer", peer, "--where", where]) as server:
            client = [*command, "--role", "call", "--peer", peer, "--where", where]
            said = subprocess.run(client, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
            server.wait(timeout=30)
        if seed is not None:
            seed.close()
    one, several = map(float, said.split())
    return one, several


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--bytes", type=int, default=32)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    for hidden in ("--role", "--peer", "--where"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        PEERS[options.peer](options.role, options.where, b"x" * options.bytes, options.seconds)
        return
    rounds: dict[str, list[tuple[float, float]]] = {peer: [] for peer in options.peers}
    for _ in range(options.rounds):
        for peer in options.peers:
            rounds[peer].append(pair(peer, options))
    for k, title in enumerate(("1 outstanding", f"{OUTSTANDING} outstanding")):
        print(f"{title}, {options.bytes} bytes: calls/s, median (least-most of {options.rounds} rounds)")
        base = statistics.median(r[k] for r in rounds[options.peers[0]])
        for peer, got in rounds.items():
            rates = [r[k] for r in got]
            middle = statistics.median(rates)
            print(f"  {peer:8} {middle:9.0f} ({min(rates):.0f}-{max(rates):.0f})  nexar is {base / middle:.2f} x")


if __name__ == "__main__":
    main()
