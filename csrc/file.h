/* A file: the tensors it lists, checked against its size and, by name, against a network. */
#ifndef FA_FILE_H
#define FA_FILE_H

#include "fastfa.h"

enum { FA_MAX_HEADER = 16 << 20, FA_FORMAT = 1 };

typedef struct fa_file fa_file;

/* Where the bytes of a file come from. */
typedef struct fa_source {
    fa_status (*read)(void *user, void *data, size_t size); /* all of it, or a failure */
    void *user;
    size_t size;        /* of all; or SIZE_MAX, unknown: no more is read than the network has */
    const char *memory; /* or NULL: where they all lie */
} fa_source;
typedef int fa_custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note);

fa_status fa_load_source(fa_net **net, const fa_source *source, fa_custom *custom, void *user);
fa_status fa_check_source(int *has_checksum, const fa_source *source);

/* The tensors are those of a network planned so far, each of its shape and type, no more and no fewer. Called
 * before memory for them is asked for. */
fa_status fa_file_fits(const fa_file *file, const fa_net *net);
/* The header of the network's own file is one that can be read again: FA_E_VALUE before anyone tries to save it. */
fa_status fa_header_fits(const fa_net *net);

#endif
