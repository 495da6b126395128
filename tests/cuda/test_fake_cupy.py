"""The fake `cupy` refuses what a GPU and CuPy refuse, and shows what they would hide."""

import gc
import threading

import fake_cupy
import numpy as np
import pytest

TEXT = """
struct pair { const float *at; int n; };
extern "C" __global__ void twice(float *x, int n)
{ if (threadIdx.x < n) x[threadIdx.x] *= 2; }
extern "C" __global__ void add(float *x, const float *y, long long n, double by)
{ if (threadIdx.x < n) x[threadIdx.x] += y[threadIdx.x] * (float)by; }
extern "C" __global__ void first(float *to, pair of)
{ to[0] = of.at[of.n]; }
extern "C" __global__ void past(float *x, int i)
{ x[i] = 1; }
"""


@pytest.fixture(params=[False, True], ids=("late", "eager"))
def machine(request):
    with fake_cupy.install(eager=request.param) as machine:
        yield machine


@pytest.fixture
def cupy(machine):
    import cupy

    return cupy


@pytest.fixture
def kernel(cupy):
    return cupy.RawModule(code=TEXT, options=("--fmad=false",)).get_function


def ones(cupy, n=8):
    return cupy.asarray(np.ones(n, np.float32))


ILLEGAL = pytest.raises(RuntimeError, match="cudaErrorIllegalAddress")


def test_it_stands_for_cupy_and_goes_away(cupy):
    import sys

    assert sys.modules["cupy"] is cupy is fake_cupy
    assert cupy.cuda.is_available()
    assert cupy.cuda.runtime.getDeviceCount() == 2


def test_a_kernel_runs_on_arrays_of_the_device(cupy, kernel):
    x = ones(cupy)
    kernel("twice")((1,), (8,), (x, np.int32(6)))
    assert x.get().tolist() == [2, 2, 2, 2, 2, 2, 1, 1]
    kernel("add")((1,), (8,), (x, x, 8, 0.5))
    assert x.get().tolist() == [3, 3, 3, 3, 3, 3, 1.5, 1.5]


def test_a_record_of_size_one_goes_by_value(cupy, kernel):
    x = cupy.asarray(np.arange(8, dtype=np.float32))
    record = np.zeros(1, np.dtype([("at", "u8"), ("n", "i4")], align=True))
    record["at"], record["n"] = x.data.ptr, 5
    to = cupy.empty(1, np.float32)
    kernel("first")((1,), (1,), (to, record))
    assert to.get() == 5


def test_numpy_cannot_read_an_array(cupy):
    x = ones(cupy)
    for use in (np.asarray, np.add.reduce, np.isfinite, np.concatenate, lambda a: a + a, list):
        with pytest.raises(TypeError):
            use(x)


def test_a_pointer_of_the_host_is_refused(cupy, kernel):
    x = np.ones(8, np.float32)
    with pytest.raises(TypeError, match="Unsupported type"):
        kernel("twice")((1,), (8,), (x, np.int32(8)))
    with ILLEGAL:
        kernel("twice")((1,), (8,), (x.ctypes.data, np.int32(8)))


@pytest.mark.parametrize("wrong", [8, np.int64(8), np.int16(8), 8.0, np.float64(8)])
def test_an_argument_of_the_wrong_width_is_refused(cupy, kernel, wrong):
    x = ones(cupy)
    with pytest.raises(AssertionError, match=r"\(8, 4\) bytes"):
        kernel("twice")((1,), (8,), (x, wrong))
    with pytest.raises(AssertionError, match=r"\(8, 4\) bytes"):
        kernel("twice")((1,), (8,), (x,))
    assert (x.get() == 1).all()


def test_fresh_memory_is_poisoned(cupy):
    assert np.isnan(cupy.empty(4, np.float32).get()).all()
    assert (cupy.empty(4, np.int64).get() == -1).all()
    assert (cupy.zeros(4).get() == 0).all()


def test_freed_memory_is_refused_and_poisoned(cupy, kernel):
    x, to = ones(cupy), cupy.empty(1, np.float32)
    address = x.data.ptr
    record = np.zeros(1, np.dtype([("at", "u8"), ("n", "i4")], align=True))
    record["at"] = address
    kernel("first")((1,), (1,), (to, record))
    del x
    gc.collect()
    assert to.get() == 1  # the stream did it before the memory was freed
    with ILLEGAL:
        kernel("twice")((1,), (8,), (address, np.int32(8)))
    with ILLEGAL:
        kernel("first")((1,), (1,), (to, record))


def test_writing_behind_an_array_is_found(machine, cupy, kernel):
    x = ones(cupy)
    kernel("past")((1,), (1,), (x, np.int32(8)))
    cupy.cuda.Device().synchronize()
    with pytest.raises(AssertionError, match="behind a block of 32 bytes"):
        machine.check_guards()
    x.data.mem.bytes[32:] = 0xFF


def test_a_pointer_in_a_record_is_looked_at(cupy, kernel):
    record = np.zeros(1, np.dtype([("at", "u8"), ("n", "i4")], align=True))
    record["at"] = np.ones(4).ctypes.data
    with pytest.raises(RuntimeError, match=r"first: \.at: 0x.* is no address of a device"):
        kernel("first")((1,), (1,), (cupy.empty(1, np.float32), record))


def test_what_is_current_is_so_in_one_thread(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    seen = []

    def look():
        seen.extend((cupy.cuda.get_current_stream().ptr, cupy.cuda.Device().id))

    with stream, cupy.cuda.Device(1):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert cupy.cuda.Device().id == 1
    assert seen == [0, 0]


def test_a_limit_of_the_pool_is_kept(cupy):
    pool = cupy.get_default_memory_pool()
    pool.set_limit(1000)
    kept = cupy.empty(600, np.uint8)
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="Out of memory allocating 600"):
        cupy.empty(600, np.uint8)
    del kept
    assert cupy.empty(600, np.uint8).nbytes == pool.used_bytes() + 0 == 600


def test_a_stream_that_does_not_wait_for_another_reads_poison():
    with fake_cupy.install():
        import cupy

        a, b = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True)
        x, y = cupy.empty(4, np.float32), cupy.empty(4, np.float32)
        with a:
            x.set(np.ones(4, np.float32))
        with b:
            y.data.copy_from_device_async(x.data, 16)
            assert np.isnan(y.get()).all()
            b.wait_event(a.record())
            y.data.copy_from_device_async(x.data, 16)
            assert (y.get() == 1).all()


def test_host_memory_must_stay_until_an_asynchronous_copy_is_done():
    with fake_cupy.install():
        import cupy

        pinned = cupy.cuda.alloc_pinned_memory(16)
        values = np.frombuffer(pinned, np.float32, 4)
        values[:] = 1
        x = cupy.empty(4, np.float32)
        x.data.copy_from_host_async(pinned.ptr, 16)
        values[:] = 2
        assert (x.get() == 2).all()  # the copy saw the later numbers


@pytest.fixture
def stream(cupy):
    return cupy.cuda.Stream(non_blocking=True)


def test_a_graph_does_again_what_was_captured(machine, cupy, kernel, stream):
    x, y = ones(cupy), cupy.empty(8, np.float32)
    twice = kernel("twice")
    with stream:
        stream.begin_capture()
        twice((1,), (8,), (x, np.int32(8)))
        y.data.copy_from_device_async(x.data, 32)
        x[4:].data.memset_async(0, 16)
        graph = stream.end_capture()
    assert machine.log == []
    assert (x.get() == 1).all()
    for _ in range(3):
        graph.launch(stream)
    stream.synchronize()
    assert machine.log == ["twice"] * 3
    assert x.get().tolist() == [8] * 4 + [0] * 4
    assert y.get().tolist() == [8] * 4 + [0] * 4


@pytest.mark.parametrize(
    "call",
    [
        lambda cupy, x: cupy.empty(4),
        lambda cupy, x: cupy.cuda.alloc_pinned_memory(4),
        lambda cupy, x: x.get(),
        lambda cupy, x: x.set(np.ones(8, np.float32)),
        lambda cupy, x: x.data.copy_to_host_async(np.ones(8).ctypes.data, 32),
        lambda cupy, x: x.data.copy_from_host_async(np.ones(8).ctypes.data, 32),
        lambda cupy, x: cupy.cuda.get_current_stream().synchronize(),
        lambda cupy, x: cupy.asarray(np.ones(3)),
    ],
    ids=("alloc", "pinned", "get", "set", "to host", "from host", "synchronize", "asarray"),
)
def test_a_capture_refuses_what_cannot_be_captured(cupy, stream, call):
    x = ones(cupy)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="capturing"):
            call(cupy, x)
        try:
            stream.end_capture()
        except RuntimeError as error:
            assert "cudaErrorStreamCaptureInvalidated" in str(error)  # noqa: PT017
    assert not stream.is_capturing()


def test_only_a_stream_that_does_not_block_captures(cupy):
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.get_current_stream().begin_capture()
    with pytest.raises(RuntimeError, match="Implicit"):
        cupy.cuda.Stream().begin_capture()


def test_a_graph_whose_memory_is_gone_is_found(cupy, kernel, stream):
    x = ones(cupy)
    with stream:
        stream.begin_capture()
        kernel("twice")((1,), (8,), (x, np.int32(8)))
        graph = stream.end_capture()
    del x
    gc.collect()
    with ILLEGAL:
        graph.launch(stream)
        stream.synchronize()


def test_arrays_and_streams_belong_to_a_device(cupy, kernel):
    x = ones(cupy)
    with cupy.cuda.Device(1):
        y = ones(cupy)
        with ILLEGAL:
            kernel("twice")((1,), (8,), (x, np.int32(8)))
        other = cupy.cuda.Stream(non_blocking=True)
    assert (x.device.id, y.device.id) == (0, 1)
    with pytest.raises(RuntimeError, match="does not match with the current device"), other:
        pass
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"):
        cupy.cuda.Device(2).use()


def test_other_libraries_hand_over_their_arrays(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    x = cupy.empty(6, np.float32)
    with stream:
        x.set(np.arange(6, dtype=np.float32))

        class Tensor:
            def __dlpack_device__(self):
                return x.__dlpack_device__()

            def __dlpack__(self, **given):
                with stream:
                    return x.__dlpack__(**given)

    y = cupy.from_dlpack(Tensor())
    assert y.data.ptr == x.data.ptr
    assert (y.get() == np.arange(6)).all()  # the default stream waits for that of the tensor

    class Interface:
        __cuda_array_interface__ = x.reshape(2, 3).__cuda_array_interface__ | {"stream": stream.ptr}

    z = cupy.asarray(Interface())
    assert (z.shape, z.data.ptr) == ((2, 3), x.data.ptr)
    assert x.__cuda_array_interface__["stream"] == 1


def test_without_a_driver_everything_but_the_import_fails():
    with fake_cupy.install(devices=0):
        import cupy

        assert not cupy.cuda.is_available()
        for call in (
            cupy.cuda.runtime.getDeviceCount,
            cupy.cuda.Stream,
            cupy.cuda.get_current_stream,
            lambda: cupy.empty(3),
            lambda: cupy.cuda.Device().id,
        ):
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InsufficientDriver"):
                call()


def test_views_share_memory(cupy):
    x = cupy.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    host = x.get()
    for view in (
        lambda a: a[1],
        lambda a: a[1:],
        lambda a: a[:, 1:3],
        lambda a: a[None],
        lambda a: a.T,
        lambda a: a.reshape(4, 3),
        lambda a: a.reshape(-1),
        lambda a: a[2, 1:],
        lambda a: a.view(np.uint8),
    ):
        got, expected = view(x), view(host)
        assert got.flags.c_contiguous == expected.flags.c_contiguous
        assert got.data.mem is x.data.mem
        np.testing.assert_array_equal(got.get(), expected)


@pytest.mark.gpu
def test_it_has_no_name_that_cupy_lacks():
    import cupy

    assert cupy is not fake_cupy
    pairs = [
        (fake_cupy, cupy, fake_cupy.__all__),
        (fake_cupy.cuda, cupy.cuda, fake_cupy.cuda.__all__),
    ]
    pairs += [
        (ours, theirs, [name for name in dir(ours) if not name.startswith("_")])
        for ours, theirs in (
            (fake_cupy.ndarray, cupy.ndarray),
            (fake_cupy.RawModule, cupy.RawModule),
            (fake_cupy.MemoryPointer, cupy.cuda.MemoryPointer),
            (fake_cupy.cuda.Device, cupy.cuda.Device),
            (fake_cupy.cuda.Event, cupy.cuda.Event),
            (fake_cupy.cuda.Graph, cupy.cuda.Graph),
            (fake_cupy.cuda.Stream, cupy.cuda.Stream),
            (fake_cupy.cuda.memory, cupy.cuda.memory),
            (fake_cupy.cuda.runtime, cupy.cuda.runtime),
        )
    ]
    lacking = [f"{theirs}.{name}" for _, theirs, names in pairs for name in names
               if not hasattr(theirs, name)]  # fmt: skip
    assert lacking == []
