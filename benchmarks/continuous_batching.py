"""Requests that arrive one by one: continuous batching against static batches and against one after the other.

    python benchmarks/continuous_batching.py [--model fr-en] [--requests 200] [--rate 40] [--beams 1] [--batch 32]

Texts of different lengths arrive at random, `rate` a second on average (a Poisson process, the same for all contestants), and
each has a limit of new tokens at random too. Continuous: weft.Serving's scheduler. Static: what waits, up to `batch` texts, is
decoded as a batch, the rest waits until it ends. One by one: in order. The table gives generated tokens a second, from the
first arrival to the last answer, and how long an answer took from its arrival: mean, and 19 of 20 (p95).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

import weft
from weft.decode import generate_batch
from weft.decode.batcher import Limits
from weft.decode.scheduler import Scheduler, Ticket
from weft.model import Model
from weft.spec.decoding import GenerationOptions


@dataclass
class Request:
    at: float
    source: list[int]
    limit: int
    tokens: int = 0
    latency: float = 0.0

    def answered(self, tokens: int, start: float) -> None:
        self.tokens, self.latency = tokens, time.perf_counter() - start - self.at


Contestant = Callable[[Model, GenerationOptions, "SimpleQueue[Request | None]", float], None]


def arrivals(model: Model, count: int, rate: float) -> list[Request]:
    """Ids at random between the special ones and the end; 4 to 40 of them, 5 to 60 new tokens."""
    chance = np.random.default_rng(0)
    times = np.cumsum(chance.exponential(1 / rate, count))
    eos = model.config.special.eos
    assert eos is not None
    return [Request(at, [*chance.integers(10, model.config.vocabulary, chance.integers(4, 41)).tolist(), eos],
                    int(chance.integers(5, 61))) for at in times.tolist()]


def continuous(rows: int) -> Contestant:
    def run(model: Model, options: GenerationOptions, queue: SimpleQueue[Request | None], start: float) -> None:
        def wait(request: Request, ticket: Ticket) -> None:
            request.answered(len(ticket.result()[0][0].tokens), start)
        threads = []
        with Scheduler(model.runner, Limits(rows=rows * options.beams)) as scheduler:
            while (request := queue.get()) is not None:
                ticket = scheduler.submit([request.source], options, limits=[request.limit], steps=False)
                threads.append(threading.Thread(target=wait, args=(request, ticket)))
                threads[-1].start()
        for thread in threads:
            thread.join()
    return run


def static(batch: int) -> Contestant:
    def run(model: Model, options: GenerationOptions, queue: SimpleQueue[Request | None], start: float) -> None:
        more = True
        while more:
            taken = [queue.get()]
            while len(taken) < batch:
                try:
                    taken.append(queue.get(block=False))
                except Empty:
                    break
            more, requests = None not in taken, [request for request in taken if request is not None]
            if requests:
                found = generate_batch(model.runner, [request.source for request in requests], options,
                                       limits=[request.limit for request in requests])
                for request, hypotheses in zip(requests, found, strict=True):
                    request.answered(len(hypotheses[0].tokens), start)
    return run


def measure(model: Model, options: GenerationOptions, requests: Sequence[Request], contestant: Contestant) -> None:
    queue: SimpleQueue[Request | None] = SimpleQueue()
    start = time.perf_counter()
    worker = threading.Thread(target=contestant, args=(model, options, queue, start))
    worker.start()
    for request in requests:
        time.sleep(max(0.0, start + request.at - time.perf_counter()))
        queue.put(request)
    queue.put(None)
    worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("requests", 200), ("beams", 1), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--model", default="fr-en")
    asked = parser.parse_args()
    model = weft.load(asked.model, backend="native")
    options = model.options(beams=asked.beams, n_best=1, min_new_tokens=5)
    contestants = {"continuous": continuous(asked.batch), f"static, {asked.batch}": static(asked.batch),
                   "one by one": static(1)}
    print(f"{platform.processor() or platform.machine()}; {asked.model}, {model.precision}, beams {asked.beams}: "
          f"{asked.requests} requests, {asked.rate:g} a second")
    print(f"{'':16}{'tokens/s':>10}{'mean':>10}{'p95':>10}  (seconds to an answer)")
    for name, contestant in contestants.items():
        measure(model, options, arrivals(model, 8, 1000), contestant)  # warm
        requests = arrivals(model, asked.requests, asked.rate)
        measure(model, options, requests, contestant)
        latencies = [request.latency for request in requests]
        span = max(request.at + request.latency for request in requests) - requests[0].at
        print(f"{name:16}{sum(request.tokens for request in requests) / span:10.0f}{statistics.mean(latencies):10.3f}"
              f"{np.quantile(latencies, 0.95):10.3f}")


if __name__ == "__main__":
    main()
