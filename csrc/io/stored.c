/* The tensors of a network in the order of its file, and the checksum of a file. */
#include "io/io.h"

#include <stdio.h>
#include <string.h>

const char *const fa_file_dtypes[] = {"F32", "F64"}; /* by fa_dtype */

fa_status fa_check_byte_order(void)
{
    const uint16_t one = 1;
    if (*(const unsigned char *)&one == 1) return FA_OK;
    return fa_fail(FA_E_STATE, "files: expected a little-endian machine");
}

/* ---- stored tensors ---- */

size_t fa_stored_bytes(const fa_net *net, const fa_stored *t)
{ return (size_t)(t->rows * t->cols) * net->esize; }

/* Parameters and feedback, each followed by its optimizer slots. */
fa_status fa_each_of_state(const fa_net *net, fa_visit_stored *each, void *context)
{
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        const bool flat = p->kind == FA_BIAS;
        FA_TRY(each(context, &(fa_stored){p->key, p->value, p->rows, p->cols, flat}));
        for (int s = 0; s < p->n_slots; s++) {
            char key[sizeof p->key + 16];
            snprintf(key, sizeof key, "%s.slot%d", p->key, s);
            FA_TRY(each(context, &(fa_stored){key, p->slot[s], p->rows, p->cols, flat}));
        }
    }
    return FA_OK;
}

typedef struct fa_given {
    fa_visit_stored *each;
    void *context;
} fa_given;

static fa_status given_values(void *context, const char *key, fa_init *init)
{
    const fa_given *g = context;
    const fa_stored tensor = {key, (void *)init->values, init->rows, init->cols, false};
    return g->each(g->context, &tensor);
}

/* The same, and then the given values of the description, which fa_net_reset uses. */
fa_status fa_each_tensor(const fa_net *net, fa_visit_stored *each, void *context)
{
    FA_TRY(fa_each_of_state(net, each, context));
    fa_net_desc desc = net->desc;
    fa_given given = {each, context};
    return fa_walk_values(&desc, given_values, &given);
}

/* ---- the checksum ---- */

/* The checksum covers the contents of a file, in any order of its parts: another program may
 * reorder them. It is the sum, modulo 2^32, of the CRC-32C of each tensor and of each text of the
 * metadata whose key begins with "fastfa.", except the checksum itself. */
const char fa_checksum_key[] = "fastfa.crc32c";

uint32_t fa_sum_of_text(const char *key, const char *text)
{ return fa_crc32c(fa_crc32c(0, key, strlen(key) + 1), text, strlen(text)); }

/* Name, type and shape of a tensor; its bytes follow. */
uint32_t fa_sum_of_head(const char *key, fa_dtype dtype, const int64_t *dims, int rank)
{
    uint32_t sum = fa_crc32c(0, key, strlen(key) + 1);
    sum = fa_crc32c(sum, fa_file_dtypes[dtype], strlen(fa_file_dtypes[dtype]) + 1);
    return fa_crc32c(sum, dims, (size_t)rank * sizeof *dims);
}

uint32_t fa_sum_of_stored_head(const fa_net *net, const fa_stored *t)
{
    const int64_t dims[2] = {t->rows, t->cols};
    return fa_sum_of_head(t->key, net->dtype, dims + t->flat, 2 - t->flat);
}
