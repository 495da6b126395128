/* A file in memory: the tensors it lists, checked against its size and, by name, against a network. */
#ifndef FA_FILE_H
#define FA_FILE_H

#include "fastfa.h"

enum { FA_MAX_HEADER = 16 << 20, FA_FORMAT = 1 };

typedef struct fa_file fa_file;

/* The tensors are those of a network planned so far, each of its shape and type, no more and no fewer. Called
 * before memory for them is asked for. */
fa_status fa_file_fits(const fa_file *file, const fa_net *net);
/* The first bytes can be those of a file of this size: spares reading a large one that is something else. */
fa_status fa_file_begins(const unsigned char first[9], size_t size);

#endif
