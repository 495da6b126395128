"""What the examples share: their arguments and the lines of a table."""

import argparse


def arguments(description, epochs):
    """The command line of an example: --epochs, --plot."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=epochs, help="default: %(default)s")
    parser.add_argument("--plot", metavar="FILE", help="draw into FILE (.png, .svg, .pdf, ...)")
    options = parser.parse_args()
    if options.plot:
        from fastfa import plot

        plot.check(options.plot)  # before the work, not after
    return options


def row(*cells, width=11):
    """Print cells as one line of a table: text to the left, numbers to the right."""
    texts = [c.ljust(width) if isinstance(c, str) else f"{c:{width}.5g}" for c in cells]
    print("  ".join(texts).rstrip(), flush=True)
