/* Runs CUDA kernels on the host, for tests without a GPU. shim.py puts this in front of the text.
 *
 * Every thread of a block is a fiber: it runs until its next __syncthreads() or its end, then the
 * next thread runs. Threads take turns in a chosen order (forward, reverse, random), so a result
 * that depends on the order shows a missing barrier. Blocks run one after the other, in the same
 * kind of order. __shared__ variables are static; their bytes are set to 0xff before each block,
 * which makes NaN of floating-point numbers that a kernel reads before it has written them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utility>
#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#define SHIM_UCONTEXT
#endif
#ifdef SHIM_UCONTEXT
#include <ucontext.h>
#endif

/* ---- the words of CUDA ---- */

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#ifdef SHIM_SANITIZE /* the sanitizer guards plain variables only */
#define __shared__ static
#else
#define __shared__ static __attribute__((section("cuda_shared")))
#endif
#define __syncthreads() shim::barrier(__LINE__)

/* Declared here, because <math.h> takes longer to compile than a kernel does */
extern "C" {
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
float sqrtf(float) noexcept;
double sqrt(double) noexcept;
double log(double) noexcept;
}
static inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
static inline float sqrt(float a) { return sqrtf(a); }
static inline unsigned __float_as_uint(float a)
{
    unsigned bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits)
{
    float a;
    memcpy(&a, &bits, sizeof a);
    return a;
}
static inline long long __double_as_longlong(double a)
{
    long long bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}
static inline double __longlong_as_double(long long bits)
{
    double a;
    memcpy(&a, &bits, sizeof a);
    return a;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{ return (unsigned)((unsigned long long)a * b >> 32); }

extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace shim
{

struct index {
    unsigned x, y, z;
};

} // namespace shim

static shim::index threadIdx, blockIdx, blockDim, gridDim;

namespace shim
{

/* ---- fibers ---- */

enum { STACK_BYTES = 256 << 10, MAX_THREADS = 1024 };
enum state { READY, WAITS, ENDED };
static const uint64_t GUARD = 0x5afe5afe5afe5afe; /* the last word of a stack */

#ifdef SHIM_UCONTEXT
typedef ucontext_t context;
static void change(context *from, context *to) { swapcontext(from, to); }
#else
typedef void *context; /* the stack pointer; registers that a call keeps lie on the stack */
extern "C" __attribute__((visibility("hidden"))) void shim_change(void **from, void *to);
__asm__(R"(
    .text
    .globl shim_change
    .hidden shim_change
    .type shim_change, @function
shim_change:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size shim_change, . - shim_change
)");
static void change(context *from, context *to) { shim_change(from, *to); }
#endif

struct fiber {
    context at;
    state is;
    int line; /* of the barrier at which it waits */
    index thread;
    char *stack;
};

static fiber fibers[MAX_THREADS];
static context scheduler;
static int current;
static void (*body)(void *const *arguments);
static void *const *body_arguments;
static unsigned char *dynamic_shared; /* extern __shared__: shim.py makes pointers of it */
static char message[256];

static void run_body()
{
    body(body_arguments);
    fibers[current].is = ENDED;
    change(&fibers[current].at, &scheduler);
    abort(); /* nobody continues a thread that has ended */
}

static void barrier(int line)
{
    fiber *self = &fibers[current];
    self->is = WAITS;
    self->line = line;
    change(&self->at, &scheduler);
}

static void prepare(fiber *f, index thread)
{
    if (!f->stack) f->stack = (char *)malloc(STACK_BYTES);
    f->is = READY;
    f->thread = thread;
    memcpy(f->stack, &GUARD, sizeof GUARD);
#ifdef SHIM_UCONTEXT
    getcontext(&f->at);
    f->at.uc_stack.ss_sp = f->stack;
    f->at.uc_stack.ss_size = STACK_BYTES;
    f->at.uc_link = NULL;
    makecontext(&f->at, run_body, 0);
#else
    void (*start)() = run_body;
    uintptr_t top = (uintptr_t)(f->stack + STACK_BYTES) & ~(uintptr_t)15;
    void **sp = (void **)(top - 64); /* six registers, the address to return to, one word more */
    memset(sp, 0, 64);
    memcpy(sp + 6, &start, sizeof start);
    f->at = sp;
#endif
}

/* ---- order ---- */

enum order { FORWARD, REVERSE, RANDOM };

struct launch_config {
    unsigned grid[3], block[3];
    uint64_t shared_bytes, seed;
    int order;
};

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static void fill_order(int *turn, int n, int order)
{
    for (int i = 0; i < n; i++) turn[i] = order == REVERSE ? n - 1 - i : i;
    if (order != RANDOM) return;
    for (int i = n - 1; i > 0; i--) std::swap(turn[i], turn[random_below((uint64_t)i + 1)]);
}

static index index_of(unsigned i, const unsigned *size)
{ return {i % size[0], i / size[0] % size[1], i / size[0] / size[1]}; }

/* ---- a block, a launch ---- */

static const char *say(const char *what, int thread, int line, int other, int other_line)
{
    snprintf(message, sizeof message, "block (%u, %u, %u): %s: thread %d %s %d, thread %d %s %d",
             blockIdx.x, blockIdx.y, blockIdx.z, what, thread, line ? "waits in line" : "ended",
             line, other, other_line ? "waits in line" : "ended", other_line);
    return message;
}

/* All threads that have not ended must wait at one barrier, and none may have ended. */
static const char *check_barrier(int n)
{
    const int line = fibers[0].is == WAITS ? fibers[0].line : 0;
    for (int i = 1; i < n; i++) {
        const int other = fibers[i].is == WAITS ? fibers[i].line : 0;
        if (line != other)
            return say("__syncthreads() that not every thread reaches", 0, line, i, other);
    }
    return NULL;
}

static const char *run_block(int n, const launch_config *config, int *turn)
{
    if (__start_cuda_shared)
        memset(__start_cuda_shared, 0xff, (size_t)(__stop_cuda_shared - __start_cuda_shared));
    if (config->shared_bytes) memset(dynamic_shared, 0xff, config->shared_bytes);
    for (int i = 0; i < n; i++) prepare(&fibers[i], index_of((unsigned)i, config->block));
    do {
        fill_order(turn, n, config->order);
        for (int i = 0; i < n; i++) {
            current = turn[i];
            threadIdx = fibers[current].thread;
            fibers[current].is = READY;
            change(&scheduler, &fibers[current].at);
            if (memcmp(fibers[current].stack, &GUARD, sizeof GUARD))
                return "a thread has used more stack than the shim gives it";
        }
        if (const char *error = check_barrier(n)) return error;
    } while (fibers[0].is == WAITS);
    return NULL;
}

static const char *run_blocks(const launch_config *config)
{
    const int n = (int)(config->block[0] * config->block[1] * config->block[2]);
    const unsigned n_blocks = config->grid[0] * config->grid[1] * config->grid[2];
    if (n < 1 || n > MAX_THREADS) return "a block: expected 1 to 1024 threads";
    if (n_blocks < 1) return "a grid: expected at least 1 block";
    static int turn[MAX_THREADS];
    int *block = (int *)malloc(n_blocks * sizeof *block);
    const char *error = NULL;
    random_state = config->seed * 2654435761u + 88172645463325252u;
    blockDim = {config->block[0], config->block[1], config->block[2]};
    gridDim = {config->grid[0], config->grid[1], config->grid[2]};
    fill_order(block, (int)n_blocks, config->order);
    for (unsigned i = 0; i < n_blocks && !error; i++) {
        blockIdx = index_of((unsigned)block[i], config->grid);
        error = run_block(n, config, turn);
    }
    free(block);
    return error;
}

/* Denormals count as zero, as in the engine's calls. */
static const char *launch(const launch_config *config, void (*call)(void *const *),
                          void *const *arguments)
{
    body = call;
    body_arguments = arguments;
    dynamic_shared =
        (unsigned char *)(config->shared_bytes
                              ? aligned_alloc(128, (config->shared_bytes + 127) / 128 * 128)
                              : NULL);
#if defined(__x86_64__)
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(0x9fc0);
#endif
    const char *error = run_blocks(config);
#if defined(__x86_64__)
    _mm_setcsr(mode);
#endif
    free(dynamic_shared);
    return error;
}

/* A kernel reads its parameters from raw bytes, as in a launch through the driver. */
template <auto kernel> struct entry;
template <class... P, void (*kernel)(P...)> struct entry<kernel> {
    template <class V> static V read(const void *bytes)
    {
        V value;
        memcpy(&value, bytes, sizeof value);
        return value;
    }
    template <size_t... i> static void spread(void *const *arguments, std::index_sequence<i...>)
    { kernel(read<P>(arguments[i])...); }
    static void call(void *const *arguments) { spread(arguments, std::index_sequence_for<P...>()); }
    static int sizes(size_t *size)
    {
        const size_t all[] = {sizeof(P)..., 0};
        memcpy(size, all, sizeof all - sizeof all[0]);
        return (int)sizeof...(P);
    }
};

} // namespace shim

#define SHIM_KERNEL(name)                                                                          \
    extern "C" __attribute__((visibility("default"))) const char *shim_launch_##name(              \
        const shim::launch_config *config, void *const *arguments)                                 \
    { return shim::launch(config, shim::entry<name>::call, arguments); }                           \
    extern "C" __attribute__((visibility("default"))) int shim_sizes_##name(size_t *size)          \
    { return shim::entry<name>::sizes(size); }
