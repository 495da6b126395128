/* The checksum of files. */
#ifndef FA_CHECKSUM_H
#define FA_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C of what came before and these bytes; 0 before the first. */
uint32_t fa_crc32c(uint32_t before, const void *data, size_t size);
/* The same on any processor, for tests. */
uint32_t fa_crc32c_by_table(uint32_t before, const void *data, size_t size);

#endif
