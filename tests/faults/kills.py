"""Kills commands at random moments, continues them and compares with undisturbed ones.

`python -m tests.faults.kills --kills 100 --seed 0` prints a line for each kill and a table, and
exits with 1 where a command ended otherwise than in the bits of one that nothing stopped, or left
something behind. Besides `--kills` by SIGKILL, which no process can answer, there are `--stops` by
SIGTERM and Ctrl-C. Moments are uniform over the time of the command, or before one of its changes
to files, or after a checkpoint's temporary folder has appeared.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .material import set_environment, warm_up, write_data
from .results import left_over, wrong_but_readable
from .tasks import TASKS, TRAIN_I3AD, Task
from .trial import FORK, Ended, Trial, Whole, begins_checkpoint, send, watch_changes

ATTEMPTS = 5
AGAIN = 0.3  # how likely it is that a command which goes on is killed again


class Moment(NamedTuple):
    """Moment at which a signal is sent.

    Attributes:
        kind: time, change or save.
        number: of the change to files before which, or the temporary folder of a checkpoint after
            which.
        seconds: after that, or after the start.
    """

    kind: str
    number: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s"
            if self.kind == "time"
            else f"{self.kind} {self.number} + {self.seconds:.3f} s"
        )


@dataclass
class Chain:
    """A task that is started, killed and started again until it ends."""

    task: Task
    seed: int
    signal: int
    lines: list[str] = field(default_factory=list)
    kills: int = 0
    misses: list[str] = field(default_factory=list)


def kill(
    trial: Trial, folder: Path, command: tuple[str, ...], moment: Moment, number: int
) -> Ended:
    """Starts a command, sends it a signal at a moment, and waits for its end."""

    def before(work: Path) -> None:
        if moment.kind != "time":
            _signal_at(moment, number, work)

    process = trial.start(folder, command, before)
    if moment.kind == "time":
        process.join(moment.seconds)
        send(process, number)
    return trial.end(folder, process)


def _signal_at(moment: Moment, number: int, work: Path) -> None:
    count = 0

    def found(change: str) -> None:
        nonlocal count
        count += moment.kind == "change" or begins_checkpoint(change)
        if count == moment.number:
            count += 1
            if moment.kind == "change":
                os.kill(os.getpid(), number)
            else:
                threading.Timer(moment.seconds, os.kill, (os.getpid(), number)).start()

    watch_changes(work, found)


def _moment(rng: random.Random, whole: Whole) -> Moment:
    kinds = ["time", "change"] + ["save"] * (whole.saves > 0)
    match rng.choice(kinds):
        case "time":
            return Moment("time", 0, rng.uniform(0, whole.seconds))
        case "change":
            return Moment("change", rng.randint(1, whole.changes), 0)
        case kind:
            return Moment(kind, rng.randint(1, whole.saves), rng.uniform(0, 0.15))


def run_chain(trial: Trial, chain: Chain, whole: Whole) -> Chain:
    """Kills and continues until the task has ended; notes what was seen in the chain."""
    task, rng = chain.task, random.Random(f"{chain.task.name} {chain.seed} {chain.signal}")
    folder = trial.folder(f"chain {task.name} {chain.seed} {chain.signal}")
    work = folder / "work"
    ended = Ended(-1, "")
    for _ in range(ATTEMPTS):  # where a command is quicker than it was, none may hit it
        moment, command = _moment(rng, whole), task.next_command(work)
        if task.intruder:
            moment = Moment("time", 0, rng.uniform(0, whole.seconds))
            ended = _with_intruder(trial, folder, command, moment.seconds, chain)
        else:
            ended = kill(trial, folder, command, moment, chain.signal)
        if ended.code == 2 and "holds" in ended.errors:  # the signal before came when all was done
            ended = Ended(0, ended.errors)
        chain.kills += ended.code != 0
        name = signal.Signals(chain.signal).name
        result = f"{_how_stopped(ended, chain, begun=(work / 'out').exists())}; {_on_disk(work)}"
        if wrong := wrong_but_readable(work, whole.said):
            chain.misses.append(f"wrong but readable: {wrong}")
        chain.lines.append(f"{task.name} #{chain.seed}: {name} at {moment}: {result}")
        if chain.kills and (ended.code == 0 or rng.random() > AGAIN):
            break
        if ended.code == 0:  # it was too quick
            shutil.rmtree(work / "out", ignore_errors=True)
    if ended.code or not chain.kills:
        ended = trial.end(folder, trial.start(folder, task.next_command(work)))
    found = trial.said(work)
    differing = sorted(
        name for name in found | whole.said if found.get(name) != whole.said.get(name)
    )
    if chain.signal != signal.SIGKILL:  # the step at which it was stopped has a row, and is kept
        differing = [name for name in differing if not name.endswith("metrics.jsonl")]
    if ended.code and differing:
        chain.misses.append(f"could not go on: {ended.errors.strip().splitlines()[-1:]}")
    elif differing:
        chain.misses.append(f"ended differently: {differing} {found.get('', '')}")
    if left := left_over(work):
        chain.misses.append(f"left behind: {left}")
    chain.lines.append(
        f"{task.name} #{chain.seed}: went on: {'; '.join(chain.misses) or 'the same bits'}"
    )
    if not chain.misses:
        shutil.rmtree(folder)
    return chain


def _with_intruder(
    trial: Trial, folder: Path, command: tuple[str, ...], seconds: float, chain: Chain
) -> Ended:
    """Starts a command and another one in its folder, which must be refused; kills the first."""
    first = trial.start(folder, command)
    lock = folder / "work/out/.lock"
    began = time.monotonic()
    begun = folder / "work" / chain.task.begun
    while first.is_alive() and not (_is_locked(lock) and begun.exists()):
        time.sleep(0.01)
    other = folder.with_name(f"{folder.name} other")
    other.mkdir(exist_ok=True)
    if not (other / "work").exists():
        (other / "work").symlink_to(folder / "work")
    second = trial.end(other, trial.start(other, chain.task.next_command(folder / "work")))
    if first.is_alive() and _is_locked(lock):
        said = [line for line in second.errors.splitlines() if line.startswith("error: ")]
        if second.code != 2 or len(said) != 1:  # it works there, or the folder holds a run
            chain.misses.append(
                f"the second was not refused: {second.code} {second.errors[-300:]!r}"
            )
        chain.lines.append(f"{chain.task.name} #{chain.seed}: the second: {said}")
    first.join(max(0, seconds - (time.monotonic() - began)))
    send(first, chain.signal)
    return trial.end(folder, first)


def _is_locked(file: Path) -> bool:
    import fcntl

    try:
        with file.open() as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _how_stopped(ended: Ended, chain: Chain, *, begun: bool) -> str:
    expected = -chain.signal if chain.signal == signal.SIGKILL else 128 + chain.signal
    if ended.code == -chain.signal and not begun:  # it came before the command could take signals
        expected = ended.code
    said = [line for line in ended.errors.splitlines() if line.strip()]
    if ended.code == 0:
        return "had ended"
    if ended.code != expected or "Traceback" in ended.errors:
        chain.misses.append(f"exit code {ended.code}, not {expected}: {said[-1:]}")
    return f"exit code {ended.code}" + (
        f" ({said[-1][-60:]})" if chain.signal != signal.SIGKILL and said else ""
    )


def _on_disk(work: Path) -> str:
    steps = sorted(path.name for path in work.glob("out/checkpoints/*"))
    others = sum(
        path.is_file() for path in work.glob("out/**/*") if "checkpoints" not in path.parts
    )
    return f"{others} files" + (f", checkpoints {', '.join(steps)}" if steps else "")


def chains(tasks: list[Task], kills: int, stops: int, seed: int) -> Iterator[Chain]:
    """Chains of all tasks in turn, `kills` of them by SIGKILL, then by SIGTERM and SIGINT."""
    for number in range(kills + stops):
        by = signal.SIGKILL if number < kills else (signal.SIGTERM, signal.SIGINT)[number % 2]
        yield Chain(tasks[number % len(tasks)], seed * 1000 + number, by)


def main() -> None:
    """Parses the command line, kills, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="by SIGKILL, at least")
    parser.add_argument("--stops", type=int, default=26, help="by SIGTERM and SIGINT, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", nargs="+", default=[""], help="tasks whose name begins so")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands at a time")
    parser.add_argument(
        "--keep", type=Path, help="an empty folder in which the folders of misses stay"
    )
    flags = parser.parse_args()
    tasks = [task for task in TASKS if task.name.startswith(tuple(flags.only))]
    with tempfile.TemporaryDirectory(prefix="kills_") as temporary:
        base = (flags.keep or Path(temporary)).resolve()
        set_environment(base)
        warm_up()
        write_data(base / "data")
        trial = Trial(base)
        trial.make_run(TRAIN_I3AD, of=tasks)
        with ProcessPoolExecutor(flags.jobs, mp_context=FORK) as pool:
            wholes = dict(zip(tasks, pool.map(trial.whole, tasks), strict=True))
            for task, whole in wholes.items():
                print(f"{task.name}: {whole.seconds:.1f} s, {whole.changes} changes to files")
            planned = list(chains(tasks, flags.kills, flags.stops, flags.seed))
            done = []
            for chain in pool.map(
                _chain, [(trial, chain, wholes[chain.task]) for chain in planned]
            ):
                print("\n".join(chain.lines), flush=True)
                done.append(chain)
    print(table(done))
    sys.exit(any(chain.misses for chain in done))


def _chain(arguments: tuple[Trial, Chain, Whole]) -> Chain:
    return run_chain(*arguments)


def table(done: list[Chain]) -> str:
    """Counts of signals and misses by task, as a Markdown table."""
    rows = ["| task | SIGKILL | SIGTERM | SIGINT | misses |", "| --- | ---: | ---: | ---: | ---: |"]
    names = dict.fromkeys(chain.task.name for chain in done)
    for name in (*names, "all"):
        own = [chain for chain in done if name in (chain.task.name, "all")]
        counts: Counter[int] = Counter()
        for chain in own:
            counts[chain.signal] += chain.kills
        numbers = (counts[signal.SIGKILL], counts[signal.SIGTERM], counts[signal.SIGINT])
        rows.append(
            f"| {' | '.join(map(str, (name, *numbers, sum(bool(c.misses) for c in own))))} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
