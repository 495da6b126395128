"""The exceptions of CuPy, with its names, bases and words."""


class CUDARuntimeError(RuntimeError):
    """A call of the CUDA runtime failed."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name = name


class OutOfMemoryError(MemoryError):
    """The device, or the limit of the pool, has too little memory."""

    def __init__(self, size, total, limit=0):
        limits = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limits})."
        )


def refused_in_capture(what):
    """What CUDA or CuPy refuses while a stream captures, and what the trap of its pool is."""
    return CUDARuntimeError(
        "cudaErrorStreamCaptureUnsupported",
        f"operation not permitted when stream is capturing ({what})",
    )


def illegal_address(what):
    return CUDARuntimeError(
        "cudaErrorIllegalAddress", f"an illegal memory access was encountered ({what})"
    )
