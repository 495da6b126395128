/* CRC-32C (Castagnoli): polynomial 0x1edc6f41, bits reflected, as in iSCSI and ext4. */
#include "io/io.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* table[k][b]: the change that byte b makes to the sum if k more bytes follow it. */
static uint32_t table[8][256];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t sum = b;
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
        table[0][b] = sum;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

static uint32_t by_table(uint32_t sum, const unsigned char *at, size_t size)
{
    pthread_once(&made, make_table);
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low, high;
        memcpy(&low, at, 4); /* files are for little-endian machines */
        memcpy(&high, at + 4, 4);
        low ^= sum;
        sum = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
              table[4][low >> 24] ^ table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^
              table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; size; at++, size--) sum = sum >> 8 ^ table[0][(sum ^ *at) & 0xff];
    return sum;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t sum,
                                                                 const unsigned char *at,
                                                                 size_t size)
{
    uint64_t wide = sum;
    for (; size >= 8; at += 8, size -= 8) {
        unsigned long long word;
        memcpy(&word, at, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    sum = (uint32_t)wide;
    for (; size; at++, size--) sum = __builtin_ia32_crc32qi(sum, *at);
    return sum;
}
static bool has_instruction(void) { return __builtin_cpu_supports("sse4.2"); }
#else
#define by_instruction by_table
static bool has_instruction(void) { return false; }
#endif

uint32_t fa_crc32c(uint32_t before, const void *data, size_t size)
{ return ~(has_instruction() ? by_instruction : by_table)(~before, data, size); }

uint32_t fa_crc32c_by_table(uint32_t before, const void *data, size_t size)
{ return ~by_table(~before, data, size); }
