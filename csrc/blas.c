/* Opens the vendored OpenBLAS next to this library. It is never linked: RTLD_LOCAL and
 * RTLD_DEEPBIND keep it apart from any other BLAS in the process, and a missing file only means
 * that own kernels run. */
#include "blas.h"

#ifdef FASTFA_NO_BLAS

const fa_blas *fa_blas_get(void) { return NULL; }
const char *fa_blas_reason(void) { return "built without BLAS (FASTFA_NO_BLAS)"; }

#else

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "_vendor/libscipy_openblas-fastfa.so"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(RTLD_DEEPBIND)
#define NO_DEEPBIND /* sanitizers refuse it */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define NO_DEEPBIND
#endif
#endif
#ifdef NO_DEEPBIND
#define DEEPBIND 0
#else
#define DEEPBIND RTLD_DEEPBIND
#endif

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 }; /* as CBLAS numbers them */

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);
typedef void dgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                      const double *a, int lda, const double *b, int ldb, double beta, double *c,
                      int ldc);

/* What the library exports */
static struct {
    sgemm_fn *sgemm;
    dgemm_fn *dgemm;
    void (*set_num_threads)(int);
    char *(*get_config)(void);
    char *(*get_corename)(void);
} openblas;

static fa_blas table;
static char reason[512];
static pthread_once_t opened = PTHREAD_ONCE_INIT;

static bool fits(int64_t m, int64_t n, int64_t k, ptrdiff_t lda, ptrdiff_t ldb, ptrdiff_t ldc)
{
    return m <= INT_MAX && n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX &&
           ldc <= INT_MAX;
}

static bool sgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float beta,
                  float *c, ptrdiff_t ldc)
{
    if (!fits(m, n, k, lda, ldb, ldc)) return false;
    openblas.sgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m,
                   (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}

static bool dgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                  const double *a, ptrdiff_t lda, const double *b, ptrdiff_t ldb, double beta,
                  double *c, ptrdiff_t ldc)
{
    if (!fits(m, n, k, lda, ldb, ldc)) return false;
    openblas.dgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m,
                   (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}

/* The path of LIBRARY in the folder of the shared object (or program) that contains this
 * function. */
static bool find_library(char *path, size_t size)
{
    Dl_info self;
    if (!dladdr(&table, &self) || !self.dli_fname) return false;
    const char *slash = strrchr(self.dli_fname, '/');
    const int folder = slash ? (int)(slash - self.dli_fname) : 1;
    const int length =
        snprintf(path, size, "%.*s/%s", folder, slash ? self.dli_fname : ".", LIBRARY);
    return length > 0 && (size_t)length < size;
}

static bool find_symbol(void *library, const char *name, void *pointer)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        snprintf(reason, sizeof reason, "%s has no symbol %s", LIBRARY, name);
        return false;
    }
    memcpy(pointer, &symbol, sizeof symbol); /* ISO C has no cast from void * to a function */
    return true;
}

static void open_library(void)
{
    char path[4096];
    if (!find_library(path, sizeof path)) {
        snprintf(reason, sizeof reason, "the folder of this library is not known");
        return;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | DEEPBIND);
    if (!library) {
        snprintf(reason, sizeof reason, "%s", dlerror());
        return;
    }
    if (!find_symbol(library, "scipy_cblas_sgemm", &openblas.sgemm) ||
        !find_symbol(library, "scipy_cblas_dgemm", &openblas.dgemm) ||
        !find_symbol(library, "scipy_openblas_set_num_threads", &openblas.set_num_threads) ||
        !find_symbol(library, "scipy_openblas_get_config", &openblas.get_config) ||
        !find_symbol(library, "scipy_openblas_get_corename", &openblas.get_corename)) {
        dlclose(library);
        return;
    }
    openblas.set_num_threads(1); /* parallelism is ours */
    table = (fa_blas){sgemm, dgemm, openblas.get_config(), openblas.get_corename(), true};
}

const fa_blas *fa_blas_get(void)
{
    pthread_once(&opened, open_library);
    return table.loaded ? &table : NULL;
}

const char *fa_blas_reason(void)
{
    fa_blas_get();
    return reason;
}

#endif
