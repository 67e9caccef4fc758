"""The scheduler: many threads submit, one decodes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import bundles
from tests.decode.test_batcher import model
from weft.decode.batcher import Limits
from weft.decode.loop import generate
from weft.decode.scheduler import Scheduler, Ticket
from weft.errors import UsageError
from weft.spec.decoding import GenerationOptions
from weft.spec.events import FinishedEvent, GenerationEvent

LONG = GenerationOptions(max_new_tokens=30, min_new_tokens=30)


@pytest.fixture(scope="module", name="runner")
def _runner() -> Any:
    return model("gpt2", "int8").runner


def prompt(seed: int) -> list[int]:
    chance = np.random.default_rng(seed)
    return chance.integers(5, 40, chance.integers(1, 9)).tolist()


def test_threads_submit_and_read_what_they_would_alone(runner: Any) -> None:
    found: dict[int, tuple[list[GenerationEvent], Any]] = {}
    options = [LONG, GenerationOptions(max_new_tokens=9, beams=3, n_best=2), GenerationOptions(max_new_tokens=20, sample=True)]

    def ask(number: int) -> None:
        for seed in range(number, number + 4):
            ticket = scheduler.submit(None, options[seed % 3], prompts=[prompt(seed)])
            found[number * 100 + seed] = list(ticket), ticket.result()
    with Scheduler(runner, Limits(rows=7, chunk=3)) as scheduler:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(found) == 24
    for key, (events, result) in found.items():
        seed = key % 100
        wanted = list(generate(runner, None, options[seed % 3], prompts=[prompt(seed)]))
        assert events == wanted and isinstance(wanted[-1], FinishedEvent) and result == [wanted[-1].hypotheses]


def test_several_inputs_make_one_request(runner: Any) -> None:
    with Scheduler(runner) as scheduler:
        ticket = scheduler.submit(None, GenerationOptions(max_new_tokens=5), prompts=[prompt(1), prompt(2)])
        result = ticket.result(60)
    events = list(generate(runner, None, GenerationOptions(max_new_tokens=5), prompts=[prompt(1), prompt(2)]))
    assert result == [next(event.hypotheses for event in events if isinstance(event, FinishedEvent) and event.request == place)
                      for place in range(2)]


def test_events_come_while_it_decodes(runner: Any) -> None:
    with Scheduler(runner) as scheduler:
        ticket = scheduler.submit(None, LONG, prompts=[prompt(1)])
        first = next(iter(ticket))
        assert len([first, *ticket]) == 31 and isinstance(ticket.result(0), list)
    assert list(ticket) == []


def test_a_cancelled_request_says_so(runner: Any) -> None:
    with Scheduler(runner, Limits(rows=1)) as scheduler:
        tickets = [scheduler.submit(None, LONG, prompts=[prompt(seed)]) for seed in range(50)]
        tickets[-1].cancel()
        for read in (tickets[-1].result, lambda: list(tickets[-1])):
            with pytest.raises(UsageError, match="cancelled before it had ended"):
                read()
        tickets[0].result(60)
        tickets[0].cancel()  # too late
        assert tickets[0].result(0)


def test_a_request_that_fails_raises_in_its_own_thread(runner: Any) -> None:
    def fails(request: Any, tokens: Any) -> bool:
        raise ValueError("no stop string")
    with Scheduler(runner) as scheduler:
        ticket = scheduler.submit(None, LONG, prompts=[prompt(1)], stops=fails)
        good = scheduler.submit(None, LONG, prompts=[prompt(2)])
        for read in (ticket.result, lambda: list(ticket), lambda: list(ticket)):
            with pytest.raises(ValueError, match="no stop string"):
                read()
        assert len(good.result(60)[0][0].tokens) == 30
        with pytest.raises(UsageError, match="no tokens"):
            scheduler.submit(None, LONG, prompts=[[]])


def test_a_result_may_be_waited_for_not_too_long() -> None:
    with pytest.raises(TimeoutError, match="it goes on until it is cancelled"):
        Ticket().result(0.01)


def test_closing_waits_or_cancels(runner: Any) -> None:
    scheduler = Scheduler(runner, Limits(rows=1))
    tickets = [scheduler.submit(None, LONG, prompts=[prompt(seed)]) for seed in range(3)]
    scheduler.close()
    assert [len(ticket.result(0)[0][0].tokens) for ticket in tickets] == [30] * 3
    with pytest.raises(UsageError, match="closed"):
        scheduler.submit(None, LONG, prompts=[prompt(1)])
    scheduler.close()

    hurried = Scheduler(runner, Limits(rows=1))
    tickets = [hurried.submit(None, LONG, prompts=[prompt(seed)]) for seed in range(50)]
    hurried.close(cancel=True)
    with pytest.raises(UsageError, match="cancelled"):
        tickets[-1].result(0)
    assert all(ticket.is_over for ticket in tickets)


def test_an_error_in_the_block_cancels_what_is_on_its_way(runner: Any) -> None:
    with pytest.raises(KeyError), Scheduler(runner, Limits(rows=1)) as scheduler:
        tickets = [scheduler.submit(None, LONG, prompts=[prompt(seed)]) for seed in range(50)]
        raise KeyError
    assert tickets[-1].is_over


def test_it_sleeps_while_nothing_is_asked(runner: Any) -> None:
    with Scheduler(runner) as scheduler:
        scheduler.submit(None, LONG, prompts=[prompt(1)]).result(60)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.15


def test_a_program_ends_though_nobody_closed_it(tmp_path: Path) -> None:
    folder = bundles.bundle(tmp_path / "gpt2", "gpt2")
    program = (f"import weft\nfrom weft.decode.scheduler import Scheduler\nfrom weft.spec.decoding import GenerationOptions\n"
               f"scheduler = Scheduler(weft.load({str(folder)!r}, backend='native').runner)\n"
               f"options = GenerationOptions(max_new_tokens=30, min_new_tokens=30)\n"
               f"tickets = [scheduler.submit(None, options, prompts=[[5, 6]]) for _ in range(2000)]\n"
               f"print('left open')")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "left open", "")
