/* Networks as bytes, in the safetensors format: docs/FILES.md.
 *
 *   u64 N | header: N bytes of JSON, padded with spaces | tensors, one after the other
 *
 * All that is not a tensor stands in the header's "__metadata__", text by text. Reading trusts nothing: memory
 * is asked for in proportion to the bytes that are there, never to the numbers that stand in them. */
#include "file.h"
#include "checksum.h"
#include "description.h"
#include "internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const dtypes[] = {"F32", "F64"}; /* by fa_dtype */

static fa_status check_machine(void)
{
    const uint16_t one = 1;
    if (*(const unsigned char *)&one == 1) return FA_OK;
    return fa_fail(FA_E_STATE, "files: expected a little-endian machine");
}

/* ---- what is stored ---- */

typedef struct fa_stored {
    const char *key;
    void *data; /* NULL before memory was asked for */
    int64_t rows, cols;
    bool flat; /* a bias: its shape is (cols) */
} fa_stored;
typedef fa_status fa_each_stored(void *context, const fa_stored *tensor);

static size_t bytes_of(const fa_net *net, const fa_stored *t)
{ return (size_t)(t->rows * t->cols) * net->esize; }

/* Parameters and feedback, each followed by its optimizer slots. */
static fa_status each_of_state(const fa_net *net, fa_each_stored *each, void *context)
{
    const int slots = net->optim.n_slots;
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        const bool flat = p->kind == FA_BIAS;
        FA_TRY(each(context, &(fa_stored){p->key, p->value, p->rows, p->cols, flat}));
        for (int s = 0; s < (p->trainable ? slots : 0); s++) {
            char key[sizeof p->key + 16];
            snprintf(key, sizeof key, "%s.slot%d", p->key, s);
            FA_TRY(each(context, &(fa_stored){key, p->slot[s], p->rows, p->cols, flat}));
        }
    }
    return FA_OK;
}

typedef struct fa_given {
    fa_each_stored *each;
    void *context;
} fa_given;

static fa_status given_values(void *context, const char *key, fa_init *init)
{
    const fa_given *g = context;
    const fa_stored tensor = {key, (void *)init->values, init->rows, init->cols, false};
    return g->each(g->context, &tensor);
}

/* And the values that the description gave for the start, which reset goes back to. */
static fa_status each_stored(const fa_net *net, fa_each_stored *each, void *context)
{
    FA_TRY(each_of_state(net, each, context));
    fa_net_desc desc = net->desc;
    fa_given given = {each, context};
    return fa_walk_values(&desc, given_values, &given);
}

/* ---- the checksum ---- */

/* The checksum covers the contents of a file, in any order of its parts: another program may reorder them. It is the
 * sum, modulo 2^32, of the CRC-32C of each tensor and of each text of the metadata whose key begins with "fastfa.",
 * except the checksum itself. */
static const char checksum_key[] = "fastfa.crc32c";
typedef char fa_digits[9]; /* a sum as the metadata has it */

static uint32_t sum_of_text(const char *key, const char *text)
{ return fa_crc32c(fa_crc32c(0, key, strlen(key) + 1), text, strlen(text)); }

/* Name, type and shape of a tensor; its bytes follow. */
static uint32_t sum_of_head(const char *key, fa_dtype dtype, const int64_t *dims, int rank)
{
    uint32_t sum = fa_crc32c(0, key, strlen(key) + 1);
    sum = fa_crc32c(sum, dtypes[dtype], strlen(dtypes[dtype]) + 1);
    return fa_crc32c(sum, dims, (size_t)rank * sizeof *dims);
}

static uint32_t sum_of_stored_head(const fa_net *net, const fa_stored *t)
{
    const int64_t dims[2] = {t->rows, t->cols};
    return sum_of_head(t->key, net->dtype, dims + t->flat, 2 - t->flat);
}

/* ---- writing ---- */

typedef struct fa_heading {
    fa_text text;
    const fa_net *net;
    uint64_t offset;
    uint32_t texts, tensors; /* their sums; of the tensors known before */
    bool begun;
} fa_heading;

static fa_status sum_tensor(void *context, const fa_stored *t)
{
    fa_heading *h = context;
    h->tensors += fa_crc32c(sum_of_stored_head(h->net, t), t->data, bytes_of(h->net, t));
    return FA_OK;
}

static fa_status write_entry(void *context, const fa_stored *t)
{
    fa_heading *h = context;
    fa_text *text = &h->text;
    fa_text_add(text, ",");
    fa_text_string(text, t->key);
    fa_text_add(text, ":{\"dtype\":\"");
    fa_text_add(text, dtypes[h->net->dtype]);
    fa_text_add(text, "\",\"shape\":[");
    if (!t->flat) fa_text_i64(text, t->rows);
    if (!t->flat) fa_text_add(text, ",");
    fa_text_i64(text, t->cols);
    fa_text_add(text, "],\"data_offsets\":[");
    fa_text_u64(text, h->offset);
    fa_text_add(text, ",");
    fa_text_u64(text, h->offset += bytes_of(h->net, t));
    fa_text_add(text, "]}");
    return text->status;
}

static void write_item(fa_heading *h, const char *key, const char *value)
{
    fa_text *to = &h->text;
    if (h->begun) fa_text_add(to, ",");
    h->begun = true;
    fa_text_string(to, key);
    fa_text_add(to, ":");
    fa_text_string(to, value);
    h->texts += sum_of_text(key, value);
}

/* An object of its own, as one string of the metadata. */
static void write_fields_item(fa_heading *h, const char *key, const fa_table *table,
                              const void *base)
{
    fa_text inner = {0};
    fa_write_fields(&inner, table, base);
    if (inner.status == FA_OK)
        write_item(h, key, inner.data);
    else if (h->text.status == FA_OK)
        h->text.status = fa_fail_in(inner.status, table->name);
    fa_free(inner.data);
}

static void write_checksum(fa_heading *h)
{
    fa_digits digits;
    snprintf(digits, sizeof digits, "%08x", (unsigned)(h->texts + h->tensors));
    write_item(h, checksum_key, digits);
}

static fa_status write_header(fa_heading *h)
{
    const fa_net *net = h->net;
    fa_net_desc desc = net->desc;
    desc.n_threads = net->n_threads; /* as it is now */
    fa_text *t = &h->text;
    fa_text_add(t, "{\"__metadata__\":{");
    write_item(h, "fastfa.format", "1");
    write_item(h, "fastfa.version", FASTFA_VERSION);
    write_fields_item(h, "fastfa.network", &fa_net_fields, &desc);
    write_fields_item(h, "fastfa.state", &fa_state_fields, net->state);
    if (net->note) write_item(h, "fastfa.note", net->note);
    write_checksum(h);
    fa_text_add(t, "}");
    if (t->status) return t->status;
    FA_TRY(each_stored(net, write_entry, h));
    fa_text_add(t, "}");
    while (t->status == FA_OK && t->size % 8) fa_text_add(t, " ");
    return t->status;
}

/* FEW_LAYERS take less than 4 MiB with the longest names and numbers, a note less than 7: most networks need not
 * be looked at. DIGITS: what counters and the learning rate may still grow by. */
fa_status fa_header_fits(const fa_net *net)
{
    enum { FEW_LAYERS = 512, DIGITS = 256 };
    if (net->n_layers <= FEW_LAYERS) return FA_OK;
    fa_heading h = {.net = net};
    fa_status status = write_header(&h);
    if (status == FA_OK && h.text.size > FA_MAX_HEADER - DIGITS)
        status =
            fa_fail(FA_E_VALUE,
                    "network: the header of its file would take %zu bytes, expected at most %d; "
                    "use fewer layers or a shorter note",
                    h.text.size, FA_MAX_HEADER - DIGITS);
    fa_free(h.text.data);
    return status;
}

typedef struct fa_sink {
    const fa_net *net;
    int (*write)(void *user, const void *data, size_t size);
    void *user;
    char *piece; /* of piece_size bytes */
    size_t piece_size;
    uint32_t tensors; /* the sum of what was written */
} fa_sink;

static fa_status put(const fa_sink *sink, const void *data, size_t size)
{
    const unsigned ours = fa_fp_pause();
    const int stopped = sink->write(sink->user, data, size);
    fa_fp_resume(ours);
    if (!stopped) return FA_OK;
    return fa_fail(FA_E_IO, "write: expected 0 from your function, got %d; saving stopped",
                   stopped);
}

/* Sums the bytes that are written: the network's memory may change a moment later. */
static fa_status write_tensor(void *context, const fa_stored *t)
{
    fa_sink *sink = context;
    const size_t size = bytes_of(sink->net, t);
    uint32_t sum = sum_of_stored_head(sink->net, t);
    for (size_t done = 0, n; done < size; done += n) {
        n = size - done < sink->piece_size ? size - done : sink->piece_size;
        memcpy(sink->piece, (const char *)t->data + done, n);
        sum = fa_crc32c(sum, sink->piece, n);
        FA_TRY(put(sink, sink->piece, n));
    }
    sink->tensors += sum;
    return FA_OK;
}

static fa_status write_tensors(fa_sink *sink, uint32_t promised)
{
    const fa_status status = each_stored(sink->net, write_tensor, sink);
    if (status || sink->tensors == promised) return status;
    return fa_fail(FA_E_STATE, "network: its memory was changed without a call while it was saved "
                               "(by a live view?); the saved bytes are not valid: save it again");
}

/* All memory is there before the first byte is written: that may go over a file that is good. */
static fa_status write_all(fa_sink *sink)
{
    enum { PIECE = 256 * 1024 };
    sink->piece_size = sink->net->state_size < PIECE ? sink->net->state_size : PIECE;
    sink->piece = fa_alloc(sink->piece_size);
    if (!sink->piece) return fa_fail(FA_E_MEMORY, "out of memory for writing a network");
    fa_heading h = {.net = sink->net};
    fa_status status = each_stored(sink->net, sum_tensor, &h);
    if (status == FA_OK) status = write_header(&h);
    const uint64_t size = h.text.size;
    if (status == FA_OK) status = put(sink, &size, sizeof size);
    if (status == FA_OK) status = put(sink, h.text.data, h.text.size);
    fa_free(h.text.data);
    if (status == FA_OK) status = write_tensors(sink, h.tensors);
    fa_free(sink->piece);
    return status;
}

fa_status fa_save_to(const fa_net *net, int (*write)(void *user, const void *data, size_t size),
                     void *user)
{
    FA_FIXED_FP(false);
    FA_REQUIRE(net);
    FA_REQUIRE(write);
    FA_TRY(check_machine());
    fa_call_lock held;
    FA_TRY(fa_lock_call(&held, net, false));
    fa_sink sink = {.net = net, .write = write, .user = user};
    fa_status status =
        fa_check_tensors(net); /* a network that is not finite must not replace a good file */
    if (status == FA_OK) status = write_all(&sink);
    fa_unlock_call(&held);
    return status;
}

/* ---- reading: the header ---- */

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

struct fa_file {
    const fa_source *source;
    const char *data;
    char *read; /* data, where it is ours */
    size_t data_size;
    char *header; /* ours, decoded in place */
    fa_entry *entries;
    int64_t n, capacity;
    /* of the metadata; NULL where it does not stand there */
    const char *format, *version, *network, *state, *note, *checksum;
    uint32_t texts; /* the sum of ours */
    fa_description description;
    fa_state numbers;
    fa_custom *custom;
    void *user;
};

static fa_status read_dtype(fa_entry *e, fa_json *j)
{
    const char *name;
    FA_TRY(fa_json_text(&name, j));
    for (int i = FA_F32; i <= FA_F64; i++) {
        if (strcmp(name, dtypes[i])) continue;
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

/* As soon as it is known: a newer format may have what the rest of this file does not expect. */
static fa_status check_format(const fa_file *f)
{
    if (!f->format)
        return fa_fail(FA_E_FORMAT, "not a fastfa network: its metadata has no fastfa.format");
    if (!strcmp(f->format, "1")) return FA_OK;
    return fa_fail(
        FA_E_FORMAT,
        "expected format 1, got '%.32s', written by fastfa %.32s: read it with that version "
        "or a later one, this is fastfa " FASTFA_VERSION,
        f->format, f->version ? f->version : "of unknown version");
}

static bool is_summed(const char *key)
{ return !strncmp(key, "fastfa.", 7) && strcmp(key, checksum_key) != 0; }

static fa_status read_metadata(fa_file *f, fa_json *j)
{
    const struct {
        const char *key, **to;
    } items[] = {{"fastfa.format", &f->format},   {"fastfa.version", &f->version},
                 {"fastfa.network", &f->network}, {"fastfa.state", &f->state},
                 {"fastfa.note", &f->note},       {checksum_key, &f->checksum}};
    FA_TRY(fa_json_expect(j, '{'));
    for (int64_t n = 0;; n++) {
        bool more;
        const char *key, *value;
        FA_TRY(fa_json_more(&more, j, '}', n));
        if (!more) return check_format(f);
        FA_TRY(fa_json_key(&key, j));
        FA_TRY(fa_json_text(&value, j)); /* what others wrote beside ours is passed over */
        if (is_summed(key)) f->texts += sum_of_text(key, value);
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

/* ---- reading: the tensors as a whole ---- */

static int by_begin(const void *a, const void *b)
{
    const fa_entry *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}
static int by_key(const void *a, const void *b)
{ return strcmp(((const fa_entry *)a)->key, ((const fa_entry *)b)->key); }

/* Every byte of the data belongs to one tensor, and every name to one; sorts the entries by name. */
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

/* The tensor's entry, of the shape and type that it must have. */
static fa_status find(const fa_entry **found, const fa_file *f, fa_dtype dtype, const fa_stored *t)
{
    const fa_entry wanted = {.key = t->key};
    const fa_entry *e =
        f->n ? bsearch(&wanted, f->entries, (size_t)f->n, sizeof wanted, by_key) : NULL;
    if (!e) return fa_fail(FA_E_FORMAT, "tensor '%s' is missing", t->key);
    if (e->dtype != dtype)
        return fa_fail(FA_E_FORMAT, "tensor '%s': expected dtype %s, got %s", t->key, dtypes[dtype],
                       dtypes[e->dtype]);
    const bool fits = t->flat ? e->rank == 1 && e->dims[0] == t->cols
                              : e->rank == 2 && e->dims[0] == t->rows && e->dims[1] == t->cols;
    if (!fits)
        return fa_fail(FA_E_FORMAT, "tensor '%s': expected shape (%lld, %lld) by the description",
                       t->key, (long long)t->rows, (long long)t->cols);
    *found = e;
    return FA_OK;
}

typedef struct fa_fitting {
    const fa_file *file;
    fa_dtype dtype;
    int64_t found;
} fa_fitting;

static fa_status count_fitting(void *context, const fa_stored *t)
{
    fa_fitting *c = context;
    const fa_entry *e;
    c->found++;
    return find(&e, c->file, c->dtype, t);
}

fa_status fa_file_fits(const fa_file *file, const fa_net *net)
{
    fa_fitting c = {file, net->dtype, 0};
    FA_TRY(each_stored(net, count_fitting, &c));
    if (c.found == file->n) return FA_OK;
    return fa_fail(FA_E_FORMAT, "expected %lld tensors by the description, got %lld",
                   (long long)c.found, (long long)file->n);
}

typedef struct fa_filling {
    const fa_file *file;
    const fa_net *net;
} fa_filling;

static fa_status fill(void *context, const fa_stored *t)
{
    const fa_filling *c = context;
    const fa_entry *e;
    FA_TRY(find(&e, c->file, c->net->dtype, t));
    memcpy(t->data, c->file->data + e->begin, bytes_of(c->net, t));
    return FA_OK;
}

/* ---- reading: the description ---- */

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
    return fa_walk_values(&f->description.desc, locate_values, f);
}

/* ---- reading: the whole ---- */

/* Whether a file of this size can begin with these bytes: so no more is read of a file of another format. */
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

/* Where the size is unknown, allocates as the bytes come, and not by the number in the header. */
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
    if (!f->checksum) return FA_OK; /* of a version or a program that writes none */
    uint32_t sum = f->texts;
    for (int64_t i = 0; i < f->n; i++) {
        const fa_entry *e = &f->entries[i];
        sum += fa_crc32c(sum_of_head(e->key, e->dtype, e->dims, e->rank), f->data + e->begin,
                         (size_t)(e->end - e->begin));
    }
    fa_digits digits;
    snprintf(digits, sizeof digits, "%08x", (unsigned)sum);
    if (!strcmp(f->checksum, digits)) return FA_OK;
    return fa_fail(
        FA_E_FORMAT,
        "damaged: its checksum is '%.16s', expected '%s' for its bytes (a program that changes a "
        "file on purpose leaves %s out)",
        f->checksum, digits, checksum_key);
}

static fa_status open_file(fa_file *f)
{
    FA_TRY(check_machine());
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

/* What the planner refuses in a file is the file's fault; a version other than ours may explain it. */
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
    const fa_status planned = fa_net_new(&net, &f->description.desc, f, false);
    if (planned) return fail_with_name(f, planned);
    *(fa_state *)net->state = f->numbers;
    fa_filling c = {f, net};
    fa_status status = each_of_state(net, fill, &c);
    if (status == FA_OK) status = fa_net_set_note(net, f->note);
    if (status)
        fa_net_free(net);
    else
        *out = net;
    return status;
}

fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user)
{
    FA_FIXED_FP(false);
    fa_file f = {.source = source, .custom = custom, .user = user};
    const int cancel = fa_cancel_off();
    fa_status status = open_file(&f);
    if (status == FA_OK) status = build(net, &f);
    close_file(&f);
    fa_cancel_back(cancel);
    return status;
}

fa_status fa_check_source(int *has_checksum, const fa_source *source)
{
    FA_FIXED_FP(false);
    fa_file f = {.source = source};
    const int cancel = fa_cancel_off();
    const fa_status status = open_file(&f);
    if (status == FA_OK && has_checksum) *has_checksum = f.checksum != NULL;
    close_file(&f);
    fa_cancel_back(cancel);
    return status;
}

typedef struct fa_caller { /* the caller gives memory or a function */
    const char *at;
    int (*read)(void *user, void *data, size_t size);
    void *user;
} fa_caller;

static fa_status read_memory(void *user, void *data, size_t size)
{
    fa_caller *c = user;
    memcpy(data, c->at, size);
    c->at += size;
    return FA_OK;
}

static fa_status read_by_function(void *user, void *data, size_t size)
{
    const fa_caller *c = user;
    const int stopped = c->read(c->user, data, size);
    if (!stopped) return FA_OK;
    return fa_fail(FA_E_IO, "read: expected 0 from your function, got %d; loading stopped",
                   stopped);
}

fa_status fa_load_memory(fa_net **net, const void *data, size_t size, fa_custom *custom, void *user)
{
    FA_REQUIRE(net);
    FA_REQUIRE(data);
    fa_caller c = {.at = data};
    const fa_source source = {read_memory, &c, size, data};
    return fa_load_source(net, &source, custom, user);
}

fa_status fa_load_from(fa_net **net, int (*read)(void *user, void *data, size_t size),
                       void *read_user, fa_custom *custom, void *user)
{
    FA_REQUIRE(net);
    FA_REQUIRE(read);
    fa_caller c = {.read = read, .user = read_user};
    const fa_source source = {read_by_function, &c, SIZE_MAX, NULL};
    return fa_load_source(net, &source, custom, user);
}
