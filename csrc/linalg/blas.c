/* The BLAS, if any. Three builds:
 *
 *   (default)        opens the vendored OpenBLAS in the folder of the shared library that contains
 *                    the engine. It is never linked: RTLD_LOCAL and RTLD_DEEPBIND separate it from
 *                    any other BLAS in the process. If the file is missing, own kernels run.
 *   FASTFA_CBLAS     calls cblas_sgemm and cblas_dgemm, with 32-bit int, of the library that the
 *                    program is linked with. That library decides its threads and its bits.
 *   FASTFA_NO_BLAS   none. */
#include "linalg/linalg.h"

#ifdef FASTFA_NO_BLAS

const fa_blas *fa_blas_get(void) { return NULL; }
const char *fa_blas_reason(void) { return "built without BLAS (FASTFA_NO_BLAS)"; }

#else

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef FASTFA_CBLAS
#include <dlfcn.h>
#include <link.h>
#endif

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 }; /* as CBLAS numbers them */

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);
typedef void dgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                      const double *a, int lda, const double *b, int ldb, double beta, double *c,
                      int ldc);

static struct {
    sgemm_fn *sgemm;
    dgemm_fn *dgemm;
} cblas;

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
    cblas.sgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}

static bool dgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                  const double *a, ptrdiff_t lda, const double *b, ptrdiff_t ldb, double beta,
                  double *c, ptrdiff_t ldc)
{
    if (!fits(m, n, k, lda, ldb, ldc)) return false;
    cblas.dgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m, (int)n,
                (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}

#ifdef FASTFA_CBLAS

__attribute__((visibility("default"))) sgemm_fn cblas_sgemm;
__attribute__((visibility("default"))) dgemm_fn cblas_dgemm;

static void open_library(void)
{
    cblas.sgemm = cblas_sgemm;
    cblas.dgemm = cblas_dgemm;
    table = (fa_blas){sgemm, dgemm, "CBLAS", "unknown", true};
}

#else

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

static bool refuse(const char *why)
{
    snprintf(reason, sizeof reason, "%s", why);
    return false;
}

#ifdef FASTFA_VENDORED /* the folder of LIBRARY, if the build sets it: C tests */

static bool find_library(char path[PATH_MAX])
{ return snprintf(path, PATH_MAX, "%s", FASTFA_VENDORED "/" LIBRARY) < PATH_MAX; }

#else

typedef struct fa_self {
    const char *file; /* the object with this code was loaded from it; NULL: not found yet */
    bool is_program;  /* the program is the first object */
} fa_self;

static int find_self(struct dl_phdr_info *object, size_t size, void *context)
{
    (void)size;
    fa_self *self = context;
    const uintptr_t here = (uintptr_t)&table;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && here - object->dlpi_addr - p->p_vaddr < p->p_memsz)
            self->file = object->dlpi_name ? object->dlpi_name : "";
    }
    if (self->file) return 1;
    self->is_program = false;
    return 0;
}

/* Finds LIBRARY: in the folder of the shared object that contains this file, or for
 * fastfa/lib/libfastfa.so in fastfa/. The user who starts a program can choose the path and the
 * folder that the program believes to be its own. So nothing is opened if the engine is part of the
 * program, or if the shared object was loaded by a relative path. */
static bool find_library(char path[PATH_MAX])
{
    static const char package[] = "/fastfa/lib/libfastfa.so";
    enum { INNER = sizeof "/fastfa/lib" - 1, LAST = sizeof "/lib" - 1 };
    fa_self self = {NULL, true};
    if (fa_privileged())
        return refuse("a program with more rights than the user who started it opens none");
    dl_iterate_phdr(find_self, &self);
    if (!self.file || self.is_program)
        return refuse("the engine is a part of the program: only a shared library opens one");
    if (self.file[0] != '/')
        return refuse("the shared library with the engine was loaded by a relative path: expected "
                      "an absolute one");
    if (!realpath(self.file, path))
        return refuse("the shared library with the engine is not where it was loaded from");
    char *end = strrchr(path, '/');
    if (end - path >= INNER && !strncmp(end - INNER, package, sizeof package - 1)) end -= LAST;
    const int left = PATH_MAX - (int)(end - path);
    return snprintf(end, (size_t)left, "/%s", LIBRARY) < left ||
           refuse("the path of the shared library with the engine is too long");
}

#endif

/* Opens LIBRARY, or says why not. */
static void *open_vendored(void)
{
    char path[PATH_MAX];
    if (!find_library(path)) return NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | DEEPBIND);
    if (!library) refuse(dlerror());
    return library;
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
    void (*set_num_threads)(int);
    char *(*get_config)(void), *(*get_corename)(void);
    void *library = open_vendored();
    if (!library) return;
    if (!find_symbol(library, "scipy_cblas_sgemm", &cblas.sgemm) ||
        !find_symbol(library, "scipy_cblas_dgemm", &cblas.dgemm) ||
        !find_symbol(library, "scipy_openblas_set_num_threads", &set_num_threads) ||
        !find_symbol(library, "scipy_openblas_get_config", &get_config) ||
        !find_symbol(library, "scipy_openblas_get_corename", &get_corename)) {
        dlclose(library);
        return;
    }
    set_num_threads(1); /* the engine's own threads call it */
    table = (fa_blas){sgemm, dgemm, get_config(), get_corename(), true};
}

#endif

const fa_blas *fa_blas_get(void)
{
    const int cancel = fa_cancel_off(); /* the loader reads files */
    pthread_once(&opened, open_library);
    fa_cancel_back(cancel);
    return table.loaded ? &table : NULL;
}

const char *fa_blas_reason(void) { return fa_blas_get() ? "" : reason; }

#endif
