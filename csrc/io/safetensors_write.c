/* Writes a network in the safetensors format: docs/FILES.md.
 *
 *   u64 N | header: N bytes of JSON, padded with spaces | tensors, one after the other
 *
 * Everything that is not a tensor is in the header's "__metadata__", text by text. */
#include "io/io.h"

#include <stdio.h>
#include <string.h>

typedef struct fa_heading {
    fa_text text;
    const fa_net *net;
    uint64_t offset;
    uint32_t texts, tensors; /* the sums of the texts; those of the tensors are computed before */
    bool begun;
} fa_heading;

static fa_status sum_tensor(void *context, const fa_stored *t)
{
    fa_heading *h = context;
    h->tensors += fa_crc32c(fa_sum_of_stored_head(h->net, t), t->data, fa_stored_bytes(h->net, t));
    return FA_OK;
}

static fa_status write_entry(void *context, const fa_stored *t)
{
    fa_heading *h = context;
    fa_text *text = &h->text;
    fa_text_add(text, ",");
    fa_text_string(text, t->key);
    fa_text_add(text, ":{\"dtype\":\"");
    fa_text_add(text, fa_file_dtypes[h->net->dtype]);
    fa_text_add(text, "\",\"shape\":[");
    if (!t->flat) fa_text_i64(text, t->rows);
    if (!t->flat) fa_text_add(text, ",");
    fa_text_i64(text, t->cols);
    fa_text_add(text, "],\"data_offsets\":[");
    fa_text_u64(text, h->offset);
    fa_text_add(text, ",");
    fa_text_u64(text, h->offset += fa_stored_bytes(h->net, t));
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
    h->texts += fa_sum_of_text(key, value);
}

/* Writes a struct as a JSON object in one string of the metadata. */
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
    write_item(h, fa_checksum_key, digits);
}

static fa_status write_header(fa_heading *h)
{
    const fa_net *net = h->net;
    fa_net_desc desc = net->desc;
    desc.n_threads = net->n_threads; /* as it is now */
    fa_text *t = &h->text;
    fa_text_add(t, "{\"__metadata__\":{");
    write_item(h, "fastfa.format", FA_FILE_FORMAT);
    write_item(h, "fastfa.version", FASTFA_VERSION);
    write_fields_item(h, "fastfa.network", &fa_net_fields, &desc);
    write_fields_item(h, "fastfa.state", &fa_state_fields, net->state);
    if (net->note) write_item(h, "fastfa.note", net->note);
    write_checksum(h);
    fa_text_add(t, "}");
    if (t->status) return t->status;
    FA_TRY(fa_each_tensor(net, write_entry, h));
    fa_text_add(t, "}");
    while (t->status == FA_OK && t->size % 8) fa_text_add(t, " ");
    return t->status;
}

/* With FEW_LAYERS or fewer, the description takes less than 4 MiB even with the longest names and
 * numbers, and the note less than 7, so most networks need no further check. DIGITS: counters and
 * the learning rate may become this much longer. */
fa_status fa_header_fits(const fa_net *net)
{
    enum { FEW_LAYERS = 512, DIGITS = 256 };
    if (net->n_layers <= FEW_LAYERS) return FA_OK;
    fa_heading h = {.net = net};
    fa_status status = write_header(&h);
    if (status == FA_OK && h.text.size > FA_MAX_HEADER - DIGITS)
        status = fa_fail(
            FA_E_VALUE,
            "network: expected a header of at most %d bytes in its file, got %zu; use fewer "
            "layers or a shorter note",
            FA_MAX_HEADER - DIGITS, h.text.size);
    fa_free(h.text.data);
    return status;
}

typedef struct fa_sink {
    const fa_net *net;
    int (*write)(void *user, const void *data, size_t size);
    void *user;
    char *piece; /* of piece_size bytes */
    size_t piece_size;
    uint32_t tensors; /* the sum of the bytes written so far */
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

/* Sums the bytes that it writes: the memory of the network may change right after. */
static fa_status write_tensor(void *context, const fa_stored *t)
{
    fa_sink *sink = context;
    const size_t size = fa_stored_bytes(sink->net, t);
    uint32_t sum = fa_sum_of_stored_head(sink->net, t);
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
    const fa_status status = fa_each_tensor(sink->net, write_tensor, sink);
    if (status || sink->tensors == promised) return status;
    return fa_fail(FA_E_STATE, "network: its memory was changed without a call while it was saved "
                               "(by a live view?); the saved bytes are not valid: save it again");
}

/* Allocates all memory before it writes the first byte, which may overwrite a good file. */
static fa_status write_all(fa_sink *sink)
{
    enum { PIECE = 256 * 1024 };
    sink->piece_size = sink->net->state_size < PIECE ? sink->net->state_size : PIECE;
    sink->piece = fa_alloc(sink->piece_size);
    if (!sink->piece) return fa_fail(FA_E_MEMORY, "out of memory for writing a network");
    fa_heading h = {.net = sink->net};
    fa_status status = fa_each_tensor(sink->net, sum_tensor, &h);
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
    FA_TRY(fa_check_byte_order());
    fa_call_lock held;
    FA_TRY(fa_lock_call(&held, fa_lock_of(net), false));
    fa_sink sink = {.net = net, .write = write, .user = user};
    fa_status status =
        fa_check_tensors(net); /* a network that is not finite must not replace a good file */
    if (status == FA_OK) status = write_all(&sink);
    fa_unlock_call(&held);
    return status;
}
