"""The command line: ``python -m fastfa`` with demo, reproduce, suite, info, --cflags, --libs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__, build_info
from ._internal.embedding import cflags, libs
from .experiments.demo import DEFAULT_RULES, Settings, report
from .experiments.reproduce import Part
from .experiments.reproduce import main as reproduce
from .experiments.suite import TASKS, TIERS
from .experiments.suite import command as suite
from .rules import RULES

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors go to stderr.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit status: 0, 2 for an error, 130 after Ctrl-C.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.cflags or options.libs:
        options.command = _words
    elif not options.command:
        parser.error("the following arguments are required: COMMAND, or --cflags, --libs")
    try:
        _show(options.command(options))
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return EXIT_ERROR
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, MemoryError) as error:
        print(f"fastfa: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("fastfa: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _show(text: str) -> None:
    """Print; replace characters that the terminal lacks, and raise errors of the stream now."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def _demo(options: argparse.Namespace) -> str:
    settings = Settings(
        rules=tuple(dict.fromkeys(options.rule or DEFAULT_RULES)),
        data=options.data,
        hidden=options.hidden,
        seeds=options.seeds,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        momentum=options.momentum,
    )
    return report(settings, plot=options.plot)


def _reproduce(options: argparse.Namespace) -> str:
    seeds = options.seed or (range(options.seeds) if options.seeds else None)
    part = Part(options.rule, seeds, options.epochs, options.again)
    return reproduce(options.name, part, data=options.data, page=options.page)


def _suite(options: argparse.Namespace) -> str:
    return suite(
        options.tier,
        tasks=options.task or (),
        rules=options.rule or (),
        folder=options.out,
        page=options.page,
        figures=options.figures,
        workers=options.workers,
    )


def _info(_: argparse.Namespace) -> str:
    facts = {key: str(value) for key, value in build_info().items()}
    width = max(map(len, facts))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items())


def _words(options: argparse.Namespace) -> str:
    """The options for a C compiler, as in fastfa.pc."""
    asked = [cflags()] * options.cflags + [libs(options.static)] * options.libs
    return " ".join(asked)


# ---- arguments ----


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastfa",
        description="Train neural networks by feedback alignment, its relatives, and backprop.",
    )
    parser.add_argument("--version", action="version", version=f"fastfa {__version__}")
    for flag, meaning in (
        ("--cflags", "print the options of a C compiler that find fastfa.h"),
        ("--libs", "print the options that link a C program with libfastfa"),
        ("--static", "with --libs: with libfastfa.a, which becomes part of the program"),
    ):
        parser.add_argument(flag, action="store_true", help=meaning)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    _add_demo(commands.add_parser("demo", help="compare the learning rules on handwritten digits"))
    _add_reproduce(
        commands.add_parser("reproduce", help="run published experiments and compare the numbers")
    )
    _add_suite(
        commands.add_parser(
            "suite", help="compare rules on tasks in space and time, as for a paper"
        )
    )
    info = commands.add_parser("info", help="print how this copy was built and what it runs on")
    info.set_defaults(command=_info)
    return parser


def _add_demo(demo: argparse.ArgumentParser) -> None:
    default = Settings()
    widths = ",".join(map(str, default.hidden))
    demo.description = (
        "Train one tanh network by several learning rules, from the same first weights for each "
        "seed, and print test accuracy, speed and the angle to the true gradient."
    )
    demo.set_defaults(command=_demo)

    def add(flag: str, meaning: str, **options: Any) -> None:
        demo.add_argument(flag, help=meaning, **options)

    add(
        "--rule",
        f"a rule to run; repeat it for more (default: {', '.join(DEFAULT_RULES)})",
        action="append",
        choices=list(RULES),
    )
    add(
        "--data",
        "'digits' (shipped), or MNIST as an .npz file or a directory of IDX files "
        "(default: %(default)s)",
        metavar="PATH",
        default=default.data,
    )
    add(
        "--hidden",
        "units of the hidden layers (default: %(default)s)",
        metavar="N,N,...",
        type=_widths,
        default=widths,
    )
    for flag, value in (
        ("--seeds", default.seeds),
        ("--epochs", default.epochs),
        ("--batch-size", default.batch_size),
    ):
        add(flag, "default: %(default)s", metavar="N", type=_positive, default=value)
    add("--lr", "of SGD (default: %(default)s)", metavar="X", type=float, default=default.lr)
    add("--momentum", "default: %(default)s", metavar="X", type=float, default=default.momentum)
    add(
        "--plot",
        "draw learning curves and angles into FILE (.png, .svg, .pdf, ...; needs matplotlib)",
        metavar="FILE",
    )


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run published experiments with the settings of their papers, print our values next to "
        "the published ones, and write both into a page. 'list' shows all experiments. Finished "
        "runs are stored next to the page and not repeated; 'page' writes the page from them."
    )
    parser.set_defaults(command=_reproduce)
    parser.add_argument("name", nargs="+", metavar="NAME", help="experiments, or 'list', or 'page'")
    parser.add_argument(
        "--rule", action="append", metavar="RULE", help="run this rule; may be repeated"
    )
    parser.add_argument(
        "--seed",
        action="append",
        type=_whole,
        metavar="N",
        help="run this seed; repeat it for more",
    )
    for flag in ("--seeds", "--epochs"):
        parser.add_argument(flag, metavar="N", type=_positive, help="default: the experiment's")
    parser.add_argument("--again", action="store_true", help="repeat runs that exist")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="MNIST as an .npz file or a directory of IDX files (default: FASTFA_MNIST)",
    )
    parser.add_argument(
        "--page",
        metavar="FILE",
        default="reproduction.md",
        help="page whose section is written; the others stay (default: %(default)s, here)",
    )


def _add_suite(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train networks by each rule on tasks in space and time: the same learning rates are tried "
        "for all, validation data choose, and the same seeds count. Writes results.csv, "
        "results.json and a page. Finished runs are kept: the same command goes on from them."
    )
    parser.set_defaults(command=_suite)
    parser.add_argument(
        "--tier",
        choices=list(TIERS),
        default="quick",
        help="how much: seconds, minutes, or up to two hours of two cores with MNIST "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help=f"a task: {', '.join(TASKS)}, or module:Class; repeat it for more "
        "(default: those of the tier)",
    )
    parser.add_argument(
        "--rule",
        action="append",
        metavar="RULE",
        help="a rule, time=NAME, RULE,time=NAME or module:Class; repeat it for more (default: all)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", default="suite", help="for runs and results (default: suite)"
    )
    parser.add_argument("--page", metavar="FILE", help="default: SUITE.md in the folder")
    parser.add_argument(
        "--figures", metavar="KIND", help="draw figures too: pdf, svg or png (needs matplotlib)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=_positive, help="networks at a time (default: all cores)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text!r}")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number >= 0, got {text!r}")
    return int(text)


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(part.strip()) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
