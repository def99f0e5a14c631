# SPDX-License-Identifier: MIT
"""The command line `uma-ipi`: serve a model to i-PI.

What the command needs is imported when it runs: torch takes seconds, and `--help` should not wait.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from uma_md.failures import is_out_of_memory, other_torch, sentence_of
from uma_md.files.arguments import FILE
from uma_md.flags import run_options


class Stop(BaseException):
    """A signal asks the driver to end."""


class PlainErrors(click.Command):
    """A command that says in one sentence what went wrong, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a fault ends it with code 1, a signal with 128 and its number."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except (Exception, Stop) as error:
            code, text = _explain(error)
            click.echo(text or traceback.format_exc(), err=True)
            _end_other_ranks(code)
            ctx.exit(code)


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of an error, no sentence for what is no user's to mend."""
    if isinstance(error, Stop):
        number = int(error.args[0])
        return 128 + number, f"uma-ipi: ended by {signal.Signals(number).name}"
    if isinstance(error, OSError) and error.filename:
        return 1, f"Error: {error.filename}: {error.strerror}"
    if isinstance(error, ImportError) and (sentence := other_torch()):
        return 1, f"Error: {sentence}"
    if is_out_of_memory(error):
        return 1, "Error: the structures must fit into memory, found none left"
    if isinstance(error, (OSError, ValueError, TypeError, RuntimeError)):
        return 1, f"Error: {sentence_of(error).partition(chr(10))[0]}"
    return 1, ""


def _end_other_ranks(code: int) -> None:
    """End an MPI job, i-PI's too if it is in it: they would wait for this rank for ever."""
    if not _has_other_ranks():
        return
    from mpi4py import MPI

    _flush()
    time.sleep(0.5)  # the launcher may drop what it has not yet passed on
    MPI.COMM_WORLD.Abort(code)


def _leave_other_ranks() -> None:
    """Leave an MPI job in order.

    MPICH's launcher may kill processes that linger when others have ended, and calls the job
    failed then. Python takes its time to end after torch was loaded.
    """
    if not _has_other_ranks():
        return
    from mpi4py import MPI

    _flush()
    MPI.Finalize()
    os._exit(0)


def _has_other_ranks() -> bool:
    if "mpi4py.MPI" not in sys.modules:
        return False
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_size() > 1


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def print_pes_path(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print where the PES file is, and end."""
    if wanted:
        click.echo(Path(__file__).with_name("pes.py"))
        ctx.exit()


@click.command(cls=PlainErrors)
@click.argument("models", metavar="MODEL...", type=FILE, nargs=-1, required=True)
@click.option(
    "--template",
    type=FILE,
    required=True,
    help="A structure file that ASE reads: species, periodicity, charge and spin.",
)
@click.option("--unix", metavar="NAME", help="Address of a UNIX socket in i-PI's input.")
@click.option("--host", default="localhost", show_default=True, help="Where i-PI runs.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of an INET socket.")
@click.option("--shm", is_flag=True, help="With --unix, for mode='shm' in i-PI's input.")
@click.option("--mpi", is_flag=True, help="For ffmpi: i-PI is rank 0 of this MPI job.")
@click.option("--mpi-name", default="", help="Name of the ffmpi, where there are several.")
@click.option(
    "--prefix", default="/tmp/ipi_", show_default=True, help="i-PI's prefix of UNIX sockets."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for i-PI to be there.",
)
@click.option("--task", help="Training data and level of theory: omol, omat, ...")
@run_options
@click.option(
    "--extras",
    type=click.Choice(["energies", "fingerprint", "deviations", "committee"]),
    multiple=True,
    help="Send this to i-PI as well: energies of the atoms, what decides them, or of several "
    "models the standard deviations or what each of them gives.",
)
@click.option(
    "--skin",
    type=float,
    default=1.0,
    show_default=True,
    help="How far beyond the cutoff neighbor lists reach, angstrom.",
)
@click.option(
    "--ranks-per-bead",
    type=click.IntRange(min=0),
    default=0,
    help="In an MPI job: ranks that share a structure.  [default: as batches allow]",
)
@click.option(
    "--check",
    "input_file",
    type=FILE,
    metavar="INPUT",
    help="Do not serve: look for mistakes in this input of i-PI, and compute one point.",
)
@click.option(
    "--pes-path",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_pes_path,
    help="Print the PES file for ffdirect and i-pi-py_driver -m custom -P, and end.",
)
@click.version_option(package_name="uma-md")
def main(
    models: tuple[Path, ...],
    template: Path,
    input_file: Path | None,
    ranks_per_bead: int,
    **options: Any,
) -> None:
    """Serve MODEL, a file or the name of a published model, to i-PI; of several models the mean."""
    model = models[0] if len(models) == 1 else models
    address = {name: options.pop(name) for name in ADDRESS_OPTIONS}
    with _ended_by_signals():
        from ipi_driver.options import Options
        from ipi_driver.serving import run
        from ipi_driver.wire.address import Address

        if input_file is not None:
            _check(input_file, model, template, address, options)
            return
        run(model, template, Options(**options), Address(**address), ranks_per_bead, _say)
    _leave_other_ranks()


ADDRESS_OPTIONS = ("unix", "host", "port", "shm", "mpi", "mpi_name", "prefix", "wait")


def _check(
    input_file: Path,
    model: Path | tuple[Path, ...],
    template: Path,
    address: dict[str, Any],
    options: dict[str, Any],
) -> None:
    from ipi_driver.input.check import check

    if not check(input_file, model, template, address, options, _say):
        raise ValueError("i-PI's input must be free of what is listed above as an error")


def _say(sentence: str) -> None:
    click.echo(f"uma-ipi: {sentence}")


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT unwind the stack, so that the connection is closed in order.

    One of many ranks cannot leave the others' computation: it ends the job at once.
    """

    def stop(number: int, _: FrameType | None) -> None:
        stop = Stop(number)
        if "mpi4py.MPI" in sys.modules:
            code, text = _explain(stop)
            click.echo(text, err=True)
            _end_other_ranks(code)
        raise stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    main()
