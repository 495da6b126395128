/* Loads a network from memory, or through a function of the program. */
#include "io/io.h"

#include <string.h>

typedef struct fa_caller { /* the program passes memory, or a function */
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
