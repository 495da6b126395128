/* Reads a network in the safetensors format. It trusts nothing in a file: it allocates memory in
 * proportion to the bytes that the file has, not to numbers in it. */
#include "io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the header ---- */

enum {
    MAX_RANK = 8,
    SHORTEST_ENTRY = sizeof "\"\":{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,0]}"
};

typedef struct fa_entry {
    const char *key;
    fa_dtype dtype;
    int rank;
    int64_t dims[MAX_RANK];
    uint64_t begin, end;
} fa_entry;

typedef struct fa_file {
    const fa_source *source;
    const char *data;
    char *read; /* data, if this reader allocated it */
    size_t data_size;
    char *header; /* a copy, decoded in place */
    fa_entry *entries;
    int64_t n, capacity;
    /* of the metadata; NULL if missing */
    const char *format, *version, *network, *state, *note, *checksum;
    uint32_t texts; /* the sum of those that the checksum covers */
    fa_description description;
    fa_state numbers;
    fa_custom *custom;
    void *user;
} fa_file;

static fa_status read_dtype(fa_entry *e, fa_json *j)
{
    const char *name;
    FA_TRY(fa_json_text(&name, j));
    for (int i = FA_F32; i <= FA_F64; i++) {
        if (strcmp(name, fa_file_dtypes[i])) continue;
        e->dtype = (fa_dtype)i;
        return FA_OK;
    }
    return fa_fail(FA_E_FORMAT, "tensor '%.64s': dtype: expected F32 or F64, got '%.64s'", e->key,
                   name);
}

static fa_status read_shape(fa_entry *e, fa_json *j)
{
    FA_TRY(fa_json_expect(j, '['));
    for (bool more;;) {
        FA_TRY(fa_json_more(&more, j, ']', e->rank));
        if (!more) return FA_OK;
        if (e->rank == MAX_RANK) return fa_json_fail(j, "at most 8 dimensions");
        FA_TRY(fa_json_i64(&e->dims[e->rank], j));
        if (e->dims[e->rank++] < 1) return fa_json_fail(j, "a dimension of at least 1 before this");
    }
}

static fa_status read_offsets(fa_entry *e, fa_json *j)
{
    FA_TRY(fa_json_expect(j, '['));
    FA_TRY(fa_json_u64(&e->begin, j));
    FA_TRY(fa_json_expect(j, ','));
    FA_TRY(fa_json_u64(&e->end, j));
    return fa_json_expect(j, ']');
}

static fa_status check_size(const fa_entry *e)
{
    uint64_t size = e->dtype == FA_F64 ? 8 : 4;
    for (int i = 0; i < e->rank; i++)
        if (__builtin_mul_overflow(size, (uint64_t)e->dims[i], &size))
            return fa_fail(FA_E_FORMAT, "tensor '%.64s': its shape is too large", e->key);
    if (e->begin > e->end || e->end - e->begin != size)
        return fa_fail(
            FA_E_FORMAT,
            "tensor '%.64s': expected offsets %llu bytes apart by its shape, got %llu and %llu",
            e->key, (unsigned long long)size, (unsigned long long)e->begin,
            (unsigned long long)e->end);
    return FA_OK;
}

static fa_status read_entry(fa_entry *e, fa_json *j)
{
    static const char *const names[] = {"dtype", "shape", "data_offsets"};
    static fa_status (*const read[])(fa_entry *, fa_json *) = {read_dtype, read_shape,
                                                               read_offsets};
    unsigned seen = 0;
    FA_TRY(fa_json_expect(j, '{'));
    for (int n = 0; n < 3; n++) {
        const char *name;
        if (n) FA_TRY(fa_json_expect(j, ','));
        FA_TRY(fa_json_key(&name, j));
        int k = 0;
        while (k < 3 && strcmp(name, names[k])) k++;
        if (k == 3 || seen & 1u << k)
            return fa_json_fail(j, "dtype, shape and data_offsets, each once, before this");
        seen |= 1u << k;
        FA_TRY(read[k](e, j));
    }
    FA_TRY(fa_json_expect(j, '}'));
    return check_size(e);
}

/* Checked first: the rest of this code may not understand a newer format. */
static fa_status check_format(const fa_file *f)
{
    if (!f->format)
        return fa_fail(FA_E_FORMAT, "not a fastfa network: its metadata has no fastfa.format");
    if (!strcmp(f->format, "1") || !strcmp(f->format, FA_FILE_FORMAT)) return FA_OK;
    return fa_fail(FA_E_FORMAT,
                   "expected format 1 or " FA_FILE_FORMAT
                   ", got '%.32s', written by fastfa %.32s: read it with that version "
                   "or a later one, this is fastfa " FASTFA_VERSION,
                   f->format, f->version ? f->version : "of unknown version");
}

static bool is_summed(const char *key)
{ return !strncmp(key, "fastfa.", 7) && strcmp(key, fa_checksum_key) != 0; }

static fa_status read_metadata(fa_file *f, fa_json *j)
{
    const struct {
        const char *key, **to;
    } items[] = {{"fastfa.format", &f->format},   {"fastfa.version", &f->version},
                 {"fastfa.network", &f->network}, {"fastfa.state", &f->state},
                 {"fastfa.note", &f->note},       {fa_checksum_key, &f->checksum}};
    FA_TRY(fa_json_expect(j, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *key, *value;
        FA_TRY(fa_json_more(&more, j, '}', n));
        if (!more) return check_format(f);
        FA_TRY(fa_json_key(&key, j));
        FA_TRY(fa_json_text(&value, j)); /* entries of other programs are ignored */
        if (is_summed(key)) f->texts += fa_sum_of_text(key, value);
        for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
            if (strcmp(key, items[i].key)) continue;
            if (*items[i].to) return fa_fail(FA_E_FORMAT, "metadata: '%s' stands twice", key);
            *items[i].to = value;
        }
    }
}

static fa_status read_members(fa_file *f, fa_json *j)
{
    bool metadata = false;
    FA_TRY(fa_json_expect(j, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *key;
        FA_TRY(fa_json_more(&more, j, '}', n));
        if (!more) break;
        FA_TRY(fa_json_key(&key, j));
        if (!strcmp(key, "__metadata__")) {
            if (metadata) return fa_fail(FA_E_FORMAT, "header: '__metadata__' stands twice");
            metadata = true;
            FA_TRY(read_metadata(f, j));
            continue;
        }
        if (f->n == f->capacity) return fa_json_fail(j, "no more tensors");
        f->entries[f->n].key = key;
        FA_TRY(read_entry(&f->entries[f->n++], j));
    }
    FA_TRY(fa_json_end(j));
    return metadata ? FA_OK : check_format(f);
}

/* ---- the list of tensors ---- */

static int by_begin(const void *a, const void *b)
{
    const fa_entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}
static int by_key(const void *a, const void *b)
{ return strcmp(((const fa_entry *)a)->key, ((const fa_entry *)b)->key); }

/* Checks that every byte of the data belongs to exactly one tensor and that names differ; sorts the
 * entries by name. */
static fa_status check_entries(fa_file *f)
{
    uint64_t end = 0;
    if (f->n) qsort(f->entries, (size_t)f->n, sizeof *f->entries, by_begin);
    for (int64_t i = 0; i < f->n; end = f->entries[i++].end)
        if (f->entries[i].begin != end)
            return fa_fail(FA_E_FORMAT,
                           "tensor '%.64s': expected to begin at byte %llu of the data, got "
                           "%llu: a hole or an overlap",
                           f->entries[i].key, (unsigned long long)end,
                           (unsigned long long)f->entries[i].begin);
    if (f->source->size == SIZE_MAX && end <= SIZE_MAX) f->data_size = (size_t)end;
    if (end != f->data_size)
        return fa_fail(FA_E_FORMAT, "expected %llu bytes of tensors, got %zu",
                       (unsigned long long)end, f->data_size);
    if (f->n) qsort(f->entries, (size_t)f->n, sizeof *f->entries, by_key);
    for (int64_t i = 1; i < f->n; i++)
        if (!by_key(&f->entries[i - 1], &f->entries[i]))
            return fa_fail(FA_E_FORMAT, "tensor '%.64s' stands twice", f->entries[i].key);
    return FA_OK;
}

/* Finds the entry of a tensor, and checks its shape and type. */
static fa_status find(const fa_entry **found, const fa_file *f, fa_dtype dtype, const fa_stored *t)
{
    const fa_entry wanted = {.key = t->key};
    const fa_entry *e =
        f->n ? bsearch(&wanted, f->entries, (size_t)f->n, sizeof wanted, by_key) : NULL;
    if (!e) return fa_fail(FA_E_FORMAT, "tensor '%s' is missing", t->key);
    if (e->dtype != dtype)
        return fa_fail(FA_E_FORMAT, "tensor '%s': expected dtype %s, got %s", t->key,
                       fa_file_dtypes[dtype], fa_file_dtypes[e->dtype]);
    const bool fits = t->flat ? e->rank == 1 && e->dims[0] == t->cols
                              : e->rank == 2 && e->dims[0] == t->rows && e->dims[1] == t->cols;
    if (!fits)
        return fa_fail(FA_E_FORMAT, "tensor '%s': expected shape (%lld, %lld) by the description",
                       t->key, (long long)t->rows, (long long)t->cols);
    *found = e;
    return FA_OK;
}

typedef struct fa_match { /* of a file with a network */
    const fa_file *file;
    const fa_net *net;
    int64_t found;
} fa_match;

static fa_status count_fitting(void *context, const fa_stored *t)
{
    fa_match *c = context;
    const fa_entry *e;
    c->found++;
    return find(&e, c->file, c->net->dtype, t);
}

static fa_status file_fits(const void *context, const fa_net *net)
{
    const fa_file *file = context;
    fa_match c = {file, net, 0};
    FA_TRY(fa_each_tensor(net, count_fitting, &c));
    if (c.found == file->n) return FA_OK;
    return fa_fail(FA_E_FORMAT, "expected %lld tensors by the description, got %lld",
                   (long long)c.found, (long long)file->n);
}

static fa_status fill(void *context, const fa_stored *t)
{
    const fa_match *c = context;
    const fa_entry *e;
    FA_TRY(find(&e, c->file, c->net->dtype, t));
    memcpy(t->data, c->file->data + e->begin, fa_stored_bytes(c->net, t));
    return FA_OK;
}

/* ---- the description ---- */

static fa_status locate_values(void *context, const char *key, fa_init *init)
{
    const fa_file *f = context;
    const fa_stored tensor = {key, NULL, init->rows, init->cols, false};
    const fa_entry *e;
    FA_TRY(find(&e, f, f->description.desc.dtype, &tensor));
    init->values = f->data + e->begin;
    return FA_OK;
}

static fa_status resolve_custom(const fa_file *f, fa_rule_desc *rule, int64_t layer)
{
    if (!f->custom || !rule || !rule->name || strcmp(rule->name, "custom")) return FA_OK;
    const unsigned ours = fa_fp_pause();
    const int stopped = f->custom(f->user, rule, layer, f->note);
    fa_fp_resume(ours);
    if (!stopped) return FA_OK;
    return fa_fail(FA_E_STOPPED, "the function that was asked for custom rules has stopped (%d)",
                   stopped);
}

static fa_status resolve_customs(fa_file *f)
{
    const fa_description *d = &f->description;
    FA_TRY(resolve_custom(f, (fa_rule_desc *)d->desc.rule, -1));
    for (int64_t i = 0; i < d->n_layers; i++)
        FA_TRY(resolve_custom(f, (fa_rule_desc *)d->layers[i].rule, i));
    return FA_OK;
}

static fa_status read_texts(fa_file *f)
{
    if (!f->network || !f->state)
        return fa_fail(FA_E_FORMAT, "metadata: expected fastfa.network and fastfa.state");
    if (f->note && strlen(f->note) > FA_MAX_NOTE)
        return fa_fail(FA_E_FORMAT, "metadata: fastfa.note: expected at most %d bytes",
                       FA_MAX_NOTE);
    FA_TRY(fa_read_fields(&fa_state_fields, &f->numbers, (char *)f->state));
    if (fa_check_state(&f->numbers)) return fa_fail_in(FA_E_FORMAT, "metadata");
    FA_TRY(fa_read_description(&f->description, (char *)f->network));
    if (!strcmp(f->format, "1")) fa_name_former_defaults(&f->description);
    return fa_walk_values(&f->description.desc, locate_values, f);
}

/* ---- the file ---- */

/* Whether a file of this size can begin with these bytes. If not, it has another format, and no
 * more of it is read. */
static fa_status check_beginning(const unsigned char first[9], size_t size)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | first[i];
    if (n < 2 || n > FA_MAX_HEADER || n > size - 8 || first[8] != '{')
        return fa_fail(FA_E_FORMAT, "not a fastfa network: expected a safetensors header");
    return FA_OK;
}

static fa_status take(const fa_file *f, void *to, size_t size)
{ return f->source->read(f->source->user, to, size); }

static fa_status read_header(fa_file *f)
{
    const size_t size = f->source->size;
    unsigned char first[9];
    if (size < 10) return fa_fail(FA_E_FORMAT, "not a fastfa network: got %zu bytes", size);
    FA_TRY(take(f, first, sizeof first));
    FA_TRY(check_beginning(first, size));
    uint64_t n;
    memcpy(&n, first, sizeof n);
    f->data_size = size - 8 - n;
    f->capacity = (int64_t)n / SHORTEST_ENTRY + 1;
    f->header = fa_alloc(n + 1);
    f->entries = fa_alloc((size_t)f->capacity * sizeof *f->entries);
    if (!f->header || !f->entries) return fa_fail(FA_E_MEMORY, "out of memory for a header");
    f->header[0] = (char)first[8];
    FA_TRY(take(f, f->header + 1, n - 1));
    fa_json j = {f->header, f->header, f->header + n, "header"};
    FA_TRY(read_members(f, &j));
    return check_entries(f);
}

/* If the size is unknown, allocates memory as bytes arrive, not by the number in the header. */
static fa_status read_data(fa_file *f)
{
    enum { FIRST = 1 << 20 };
    const size_t size = f->data_size;
    size_t done = 0, capacity = f->source->size == SIZE_MAX && size > FIRST ? FIRST : size;
    for (;;) {
        char *more = fa_alloc(capacity ? capacity : 1);
        if (!more) return fa_fail(FA_E_MEMORY, "out of memory for %zu bytes", capacity);
        if (f->read) memcpy(more, f->read, done);
        fa_free(f->read);
        f->data = f->read = more;
        FA_TRY(take(f, more + done, capacity - done));
        if (capacity == size) return FA_OK;
        done = capacity;
        capacity = size - capacity < capacity ? size : 2 * capacity;
    }
}

static fa_status check_sum(const fa_file *f)
{
    if (!f->checksum) return FA_OK; /* written by a version or program without checksums */
    uint32_t sum = f->texts;
    for (int64_t i = 0; i < f->n; i++) {
        const fa_entry *e = &f->entries[i];
        sum += fa_crc32c(fa_sum_of_head(e->key, e->dtype, e->dims, e->rank), f->data + e->begin,
                         (size_t)(e->end - e->begin));
    }
    fa_digits digits;
    snprintf(digits, sizeof digits, "%08x", (unsigned)sum);
    if (!strcmp(f->checksum, digits)) return FA_OK;
    return fa_fail(
        FA_E_FORMAT,
        "damaged: its checksum is '%.16s', expected '%s' for its bytes (a program that changes a "
        "file on purpose leaves %s out)",
        f->checksum, digits, fa_checksum_key);
}

static fa_status open_file(fa_file *f)
{
    FA_TRY(fa_check_byte_order());
    FA_TRY(read_header(f));
    if (f->source->memory)
        f->data = f->source->memory + (f->source->size - f->data_size);
    else
        FA_TRY(read_data(f));
    FA_TRY(check_sum(f));
    return read_texts(f);
}

static void close_file(fa_file *f)
{
    fa_free(f->description.layers);
    fa_free(f->entries);
    fa_free(f->header);
    fa_free(f->read);
}

/* If the planner refuses a description from a file, the file is at fault; a different version may
 * explain it. */
static fa_status fail_with_name(const fa_file *f, fa_status status)
{
    if (status != FA_E_VALUE) return status;
    char where[96] = "description";
    if (f->version && strcmp(f->version, FASTFA_VERSION))
        snprintf(where, sizeof where,
                 "description, written by fastfa %.32s (this is " FASTFA_VERSION ")", f->version);
    return fa_fail_in(FA_E_FORMAT, where);
}

static fa_status build(fa_net **out, fa_file *f)
{
    fa_net *net = NULL;
    FA_TRY(resolve_customs(f));
    fa_status status = fa_net_new(&net, &f->description.desc, file_fits, f, false);
    if (status == FA_OK) status = fa_copy_note(&net->note, f->note);
    if (status == FA_OK) status = fa_header_fits(net);
    fa_match c = {f, net, 0};
    if (status == FA_OK) status = fa_each_of_state(net, fill, &c);
    if (status) {
        fa_net_free(net);
        return fail_with_name(f, status);
    }
    *fa_state_of(net) = f->numbers;
    *out = net;
    return FA_OK;
}

/* If net is NULL, only checks the file. */
static fa_status use_file(fa_net **net, int *has_checksum, fa_file *f)
{
    FA_FIXED_FP(false);
    const int cancel = fa_cancel_off();
    fa_status status = open_file(f);
    if (status == FA_OK && has_checksum) *has_checksum = f->checksum != NULL;
    if (status == FA_OK && net) status = build(net, f);
    close_file(f);
    fa_cancel_back(cancel);
    return status;
}

fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user)
{ return use_file(net, NULL, &(fa_file){.source = source, .custom = custom, .user = user}); }

fa_status fa_check_source(int *has_checksum, const fa_source *source)
{ return use_file(NULL, has_checksum, &(fa_file){.source = source}); }
