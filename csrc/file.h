/* A file: the tensors it lists, checked against its size and, by name, against a network. */
#ifndef FA_FILE_H
#define FA_FILE_H

#include "fastfa.h"

enum { FA_MAX_HEADER = 16 << 20, FA_FORMAT = 1 };

typedef struct fa_file fa_file;

/* Where the bytes of a file come from. */
typedef struct fa_source {
    fa_status (*read)(void *user, void *data, size_t size); /* fills data, or fails */
    void *user;
    size_t
        size; /* of the whole file; SIZE_MAX: unknown, and only the bytes of the network are read */
    const char *memory; /* or NULL: the whole file in memory */
} fa_source;
typedef int fa_custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note);

fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user);
fa_status fa_check_source(int *has_checksum, const fa_source *source);

/* The tensors are those of a network planned so far, each of its shape and type, no more and no fewer. Called
 * before memory for them is asked for. */
fa_status fa_file_fits(const fa_file *file, const fa_net *net);
/* FA_E_VALUE if the header of the network's file would be too large to be read again. */
fa_status fa_header_fits(const fa_net *net);

#endif
