"""Streams, events and graphs."""

import itertools

from fake_cupy.errors import CUDARuntimeError, refused_in_capture
from fake_cupy.machine import MACHINE

_numbers = itertools.count(16)  # handles of streams


class Event:
    """A place in the queue of a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        MACHINE.require()
        self.stream, self.position = None, 0

    def record(self, stream=None):
        stream = get_current_stream() if stream is None else stream
        self.stream, self.position = stream, stream.queued

    def synchronize(self):
        if MACHINE.current.capturing is not None:
            raise refused_in_capture("synchronize")
        self._wait()

    def _wait(self):
        """Run what the event stands for."""
        if self.stream is not None:
            self.stream._run(self.position)

    @property
    def done(self):
        return self.stream is None or self.stream.done_until >= self.position


class BaseStream:
    """A queue of work for one device."""

    def __init__(self, ptr, device_id):
        self.ptr, self.device_id = ptr, device_id
        self.is_non_blocking = False
        self.work = []
        self.queued = self.done_until = 0
        self.nodes = None  # of the graph that this stream records
        self.invalid = False

    def _queue(self, work):
        """Let `work()` run in its turn, with this stream's device current."""
        with MACHINE.lock:
            self.work.append(work)
            self.queued += 1
        if MACHINE.eager:
            self._run()

    def _run(self, until=None):
        """Do the work up to a position; all of it by default."""
        until = self.queued if until is None else until
        before, MACHINE.current.device = MACHINE.current.device, self.device_id
        try:
            with MACHINE.lock:
                while self.done_until < until:
                    self.done_until += 1
                    self.work.pop(0)()
        finally:
            MACHINE.current.device = before

    def _add(self, work, check=None):
        """Queue work, or record it while a graph is captured; a graph calls `check()` each time."""
        MACHINE.require()
        if self.device_id != MACHINE.current.device:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle", "invalid resource handle")
        if self.nodes is not None:
            self.nodes.append((work, check))
        else:
            self._queue(work)

    def _refuse_capture(self, what):
        """Refuse what a capturing stream cannot do; the capture is lost, as on a GPU."""
        if self.nodes is not None:
            self.invalid = True
            raise refused_in_capture(what)

    def synchronize(self):
        MACHINE.require()
        self._refuse_capture("synchronize")
        self._run()

    @property
    def done(self):
        return not self.work

    def record(self, event=None):
        event = Event() if event is None else event
        self._refuse_capture("events, in this fake")
        event.record(self)
        return event

    def wait_event(self, event):
        MACHINE.require()
        self._refuse_capture("events, in this fake")
        place = Event()
        place.stream, place.position = event.stream, event.position  # as recorded now
        self._queue(place._wait)

    def begin_capture(self, mode=None):
        MACHINE.require()
        if self.ptr in (0, 1, 2):
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if not self.is_non_blocking:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureImplicit",
                "operation would make the legacy stream depend on a capturing blocking stream",
            )
        if MACHINE.current.capturing is not None:
            raise CUDARuntimeError("cudaErrorIllegalState", "already capturing")
        self.nodes, self.invalid, MACHINE.current.capturing = [], False, self

    def end_capture(self):
        if self.nodes is None:
            raise CUDARuntimeError("cudaErrorIllegalState", "the stream is not capturing")
        nodes, invalid = self.nodes, self.invalid
        self.nodes, self.invalid, MACHINE.current.capturing = None, False, None
        if invalid:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureInvalidated",
                "operation failed due to a previous error during capture",
            )
        return Graph(nodes, self.device_id)

    def is_capturing(self):
        return self.nodes is not None

    def use(self):
        if self.device_id not in (-1, MACHINE.current.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with "
                f"the current device ({MACHINE.current.device})"
            )
        MACHINE.current.streams[MACHINE.current.device] = self
        return self

    def __enter__(self):
        MACHINE.current.stack.append(get_current_stream())
        return self.use()

    def __exit__(self, *error):
        MACHINE.current.streams[self.device_id] = MACHINE.current.stack.pop()

    def __eq__(self, other):
        return isinstance(other, BaseStream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr


class Stream(BaseStream):
    """A stream of the current device."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        MACHINE.require()
        super().__init__(0 if null else next(_numbers), MACHINE.current.device)
        self.is_non_blocking = non_blocking
        MACHINE.streams[self.device_id, self.ptr] = self


def ExternalStream(ptr, device_id=-1):
    """The stream with that handle, made by another library."""
    device = MACHINE.current.device if device_id == -1 else device_id
    return stream_of(ptr, device)


def stream_of(ptr, device):
    """The stream of a handle; 1 is the legacy default stream."""
    if ptr in (0, 1):
        return default_stream(device)
    return MACHINE.streams[device, ptr]


def default_stream(device):
    if (device, 0) not in MACHINE.streams:
        MACHINE.streams[device, 0] = BaseStream(0, device)
    return MACHINE.streams[device, 0]


def get_current_stream(device_id=-1):
    MACHINE.require()
    device = MACHINE.current.device if device_id == -1 else device_id
    return MACHINE.current.streams.get(device) or default_stream(device)


class Graph:
    """Recorded work, which `launch` does again."""

    def __init__(self, nodes, device):
        self.nodes, self.device = nodes, device

    def launch(self, stream=None):
        stream = get_current_stream() if stream is None else stream
        if stream.nodes is not None:
            stream._refuse_capture("a graph in a graph, in this fake")
        for work, check in self.nodes:
            check()
            stream._add(work)

    def upload(self, stream=None):
        """Nothing to do here."""
