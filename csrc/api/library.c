/* fa_build_info: the version, instruction set, BLAS, threads and compiler. */
#include "api/api.h"

#include <stdio.h>

/* Makes text of other origin safe for a JSON string. */
static void plain(char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20 || *text & 0x80)
            *text = '?';
}

const char *fa_build_info(void)
{
    static _Thread_local char text[1024]; /* a reason of blas.c has up to 512 */
    const fa_blas *blas = fa_blas_get();
    const char *requested = fa_environment("FASTFA_GEMM");
    char gemm[17], why[512];
    snprintf(gemm, sizeof gemm, "%s", requested && *requested ? requested : "auto");
    snprintf(why, sizeof why, "%s", blas ? blas->config : fa_blas_reason());
    plain(gemm);
    plain(why);
    snprintf(text, sizeof text,
             "{\"version\": \"%s\", \"isa\": \"%s\", \"bfloat16\": \"%s\", \"blas\": \"%s\", "
             "\"gemm\": \"%s\", \"threads\": %d, \"compiler\": \"%s\"}",
             FASTFA_VERSION, fa_isa_name(), fa_bf16_get()->name, why, gemm, fa_get_num_threads(),
             __VERSION__);
    return text;
}
