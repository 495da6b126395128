"""The shim that runs CUDA text on the host: threads, barriers, shared memory, arguments, errors."""

import subprocess
import sys

import numpy as np
import pytest
import shim

HEAD = 'extern "C" __global__ void '

SWITCHES = pytest.mark.parametrize("options", [(), ("-DSHIM_UCONTEXT",)], ids=("own", "ucontext"))


def pointer(array):
    return np.uintp(array.ctypes.data).tobytes()


def run(code, *arguments, grid=(1, 1, 1), block=(32, 1, 1), shared=0, options=(), **order):
    """Run the one kernel of a text; arrays are passed as pointers."""
    module = shim.build(code, options)
    data = [pointer(a) if np.ndim(a) else np.asarray(a).tobytes() for a in arguments]
    module.launch(module.names[0], grid, block, shared, data, **order)


REVERSED = (
    HEAD
    + """reverse_in_place(float *x, int n)
{
    __shared__ float kept[32];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = kept[n - 1 - threadIdx.x];
}"""
)


@SWITCHES
@pytest.mark.parametrize("order", shim.ORDERS)
def test_threads_meet_at_a_barrier_in_every_order(order, options):
    x = np.arange(32, dtype=np.float32)
    run(REVERSED, x, np.int32(32), order=order, options=options)
    assert (x == np.arange(32)[::-1]).all()


def test_without_its_barrier_the_kernel_reads_what_nobody_has_written():
    wrong = []
    for order in shim.ORDERS:
        x = np.arange(32, dtype=np.float32)
        run(REVERSED.replace("__syncthreads();", ""), x, np.int32(32), order=order)
        wrong.append((x != np.arange(32)[::-1]).any())
        assert np.isnan(x).any()
    assert all(wrong)


def test_a_kernel_may_have_many_barriers_and_local_variables_that_outlive_them():
    code = (
        HEAD
        + """sums(long long *x, int steps)
{
    __shared__ long long all[64];
    long long mine = x[threadIdx.x];
    for (int i = 0; i < steps; i++) {
        all[threadIdx.x] = mine;
        __syncthreads();
        const long long next = all[(threadIdx.x + 1) % blockDim.x];
        __syncthreads();
        mine += next;
    }
    x[threadIdx.x] = mine;
}"""
    )
    expected = np.arange(64)
    for _ in range(50):
        expected = expected + np.roll(expected, -1)
    for seed in range(3):
        x = np.arange(64)
        run(code, x, np.int32(50), block=(64, 1, 1), order="random", seed=seed)
        assert (x == expected).all()


@SWITCHES
@pytest.mark.parametrize("order", shim.ORDERS)
@pytest.mark.parametrize(
    "skipped",
    [
        "if (threadIdx.x < 3) __syncthreads();",
        "if (threadIdx.x == 31) return; __syncthreads();",
        "if (threadIdx.x % 2) __syncthreads();\nelse __syncthreads();",
        "for (unsigned i = 0; i < 2 + (threadIdx.x == 5); i++) __syncthreads();",
    ],
    ids=("some", "early return", "two places", "once more"),
)
def test_a_barrier_that_some_threads_skip_is_an_error(skipped, order, options):
    code = f"{HEAD}skips(int *x)\n{{\n{skipped}\nx[0] = 1;\n}}"
    with pytest.raises(shim.LaunchError, match=r"skips: block \(0, 0, 0\).*not every thread"):
        run(code, np.zeros(1, np.int32), order=order, options=options)
    run(code, np.zeros(1, np.int32), block=(1, 1, 1))  # the next launch is none the worse


def test_the_error_names_both_places():
    code = f"{HEAD}two(int *x)\n{{\nif (threadIdx.x) __syncthreads();\nelse\n__syncthreads();\n}}"
    with pytest.raises(shim.LaunchError, match="thread 0 waits in line 5, thread 1 waits in line"):
        run(code, np.zeros(1, np.int32))


@pytest.mark.parametrize("order", shim.ORDERS)
def test_indices_have_three_dimensions_and_blocks_an_order(order):
    code = (
        HEAD
        + """where(int *thread, int *turn, int *next)
{
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    thread[block * threads + t] = (int)(block * threads + t);
    if (t == 0) turn[block] = (*next)++;
}"""
    )
    thread, turn, following = (np.full(n, -1, np.int32) for n in (24 * 30, 24, 1))
    following[:] = 0
    run(code, thread, turn, following, grid=(2, 3, 4), block=(5, 3, 2), order=order, seed=1)
    assert (thread == np.arange(24 * 30)).all()
    assert sorted(turn) == list(range(24))
    expected = {"forward": range(24), "reverse": range(23, -1, -1)}
    if order == "random":
        assert list(turn) not in map(list, expected.values())
    else:
        assert list(turn) == list(expected[order])


def test_shared_memory_of_a_launch_is_new_in_each_block():
    code = (
        HEAD
        + """mark(unsigned *seen)
{
    extern __shared__ unsigned own[];
    __shared__ unsigned kept;
    if (threadIdx.x == 0) seen[2 * blockIdx.x] = own[7], seen[2 * blockIdx.x + 1] = kept;
    __syncthreads();
    own[7] = kept = 5;
}"""
    )
    seen = np.zeros(6, np.uint32)
    run(code, seen, grid=(3, 1, 1), shared=32)
    assert (seen == 0xFFFFFFFF).all()


def test_arguments_are_bytes_of_the_declared_width():
    code = (
        HEAD
        + """store(double *out, char a, float b, struct pair { int x; double y; } c, long long d)
{
    out[0] = a, out[1] = b, out[2] = c.x, out[3] = c.y, out[4] = (double)d;
}"""
    ).replace("struct pair { int x; double y; }", "pair")
    code = "struct pair { int x; double y; };\n" + code
    pair = np.zeros((), np.dtype([("x", "i4"), ("y", "f8")], align=True))
    pair["x"], pair["y"] = 3, 4.5
    out = np.zeros(5)
    given = [out, np.int8(-1), np.float32(2.5), pair, np.int64(2**40)]
    assert shim.build(code).parameter_sizes("store") == (8, 1, 4, 16, 8)
    run(code, *given, block=(1, 1, 1))
    assert out.tolist() == [-1, 2.5, 3, 4.5, 2**40]
    with pytest.raises(shim.LaunchError, match=r"expected arguments of \(8, 1, 4, 16, 8\) bytes"):
        run(code, *given[:2], np.float64(2.5), *given[3:])
    with pytest.raises(shim.LaunchError, match="expected arguments"):
        run(code, *given[:-1])


def test_a_launch_that_a_gpu_refuses_is_refused():
    code = f"{HEAD}nothing(int *x) {{}}"
    with pytest.raises(shim.LaunchError, match="1 to 1024 threads"):
        run(code, np.zeros(1), block=(1025, 1, 1))
    with pytest.raises(shim.LaunchError, match="sizes from 1"):
        run(code, np.zeros(1), grid=(0, 1, 1))
    with pytest.raises(shim.LaunchError, match="expected one of nothing, got other"):
        shim.build(code).launch("other", (1, 1, 1), (1, 1, 1), 0, [])


def test_text_without_kernels_and_wrong_text_do_not_compile():
    with pytest.raises(shim.CompileError, match="got none"):
        shim.build("static int f() { return 0; }")
    with pytest.raises(shim.CompileError, match=r"kernel\.cu:2"):
        shim.build(f"{HEAD}f(int *x)\n{{ return y; }}")


def test_denormals_are_zero_during_a_launch_and_the_mode_is_given_back():
    code = f"{HEAD}halve(float *x) {{ x[threadIdx.x] *= 0.5f; }}"
    x = np.full(4, 1.5e-38, np.float32)
    run(code, x, block=(4, 1, 1))
    assert (x == 0).all()
    assert np.float32(1.5e-38) * np.float32(0.5) > 0


def test_products_are_fused_only_where_the_text_says_so():
    code = (
        HEAD
        + """both(float *x)
{
    x[2] = x[0] * x[0] - x[1];
    x[3] = fma(x[0], x[0], -x[1]);
}"""
    )
    a = np.float32(1 + 2**-12)
    x = np.array([a, a * a, 9, 9], np.float32)
    run(code, x, block=(1, 1, 1))
    assert x[2] == 0
    assert x[3] == np.float32(np.float64(a) ** 2 - np.float64(a * a)) != 0


def test_macros_of_the_options_reach_the_text():
    x = np.zeros(1, np.int32)
    run(f"{HEAD}f(int *x) {{ *x = SIZE; }}", x, options=("-DSIZE=7", "--fmad=false", "-ftz=true"))
    assert x[0] == 7


SANITIZED = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import shim
code = '''extern "C" __global__ void copy(float *to, const float *from, int past)
{
    __shared__ float kept[32];
    kept[threadIdx.x] = from[threadIdx.x];
    __syncthreads();
    to[threadIdx.x] = kept[threadIdx.x + past];
}'''
module = shim.build(code, sanitize=True)
x, y = np.ones(32, np.float32), np.zeros(int(sys.argv[2]), np.float32)
arguments = [np.uintp(a.ctypes.data).tobytes() for a in (y, x)]
for order in shim.ORDERS:
    block = (32, 1, 1)
    module.launch("copy", (2, 1, 1), block, 0, [*arguments, np.int32(sys.argv[3]).tobytes()], order)
print("done", y.sum())
"""


@pytest.mark.parametrize(
    ("length", "past", "said"),
    [(32, 0, "done 32.0"), (31, 0, "heap-buffer-overflow"), (32, 1, "out of bounds")],
    ids=("clean", "beyond an array", "beyond shared memory"),
)
def test_the_sanitizers_see_an_index_out_of_range_and_nothing_else(length, past, said):
    command = [sys.executable, "-c", SANITIZED, str(shim.HEADER.parent), str(length), str(past)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=shim.sanitizer_environment()
    )
    assert said in done.stdout + done.stderr
    assert (done.returncode == 0) == said.startswith("done")
    if said.startswith("done"):
        assert done.stderr == ""
