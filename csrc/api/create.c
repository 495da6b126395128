/* Creating, cloning and resetting a network. */
#include "api/api.h"

#include <string.h>

/* A scale within the range of the dtype may draw values beyond it. */
static fa_status check_drawn(const fa_net *net)
{
    for (int i = 0; i < net->n_params; i++) {
        const fa_param *p = &net->params[i];
        if (!net->k->all_finite(p->value, p->cols, p->rows, p->cols))
            return fa_fail(FA_E_VALUE,
                           "%s: expected first values in the range of the dtype, got larger ones; "
                           "give a smaller scale",
                           p->key);
    }
    return FA_OK;
}

fa_status fa_net_create(fa_net **net, const fa_net_desc *desc)
{
    FA_FIXED_FP(false);
    FA_REQUIRE(net);
    FA_REQUIRE(desc);
    fa_net *made = NULL;
    FA_TRY(fa_net_new(&made, desc, NULL, NULL, true));
    fa_status status = fa_header_fits(made);
    if (status == FA_OK) {
        fa_draw_state(made);
        status = check_drawn(made);
    }
    if (status)
        fa_net_free(made);
    else
        *net = made;
    return status;
}

fa_status fa_net_clone(fa_net **net, const fa_net *from)
{
    FA_FIXED_FP(false);
    FA_REQUIRE(net);
    FA_REQUIRE(from);
    fa_call_lock held; /* planning may log */
    FA_TRY(fa_lock_call(&held, fa_lock_of(from), false));
    fa_net_desc desc = from->desc;
    desc.n_threads = from->n_threads;
    fa_net *made = NULL;
    fa_status status = fa_net_new(&made, &desc, NULL, NULL, false);
    if (status == FA_OK) status = fa_header_fits(made);
    if (status == FA_OK) status = fa_copy_note(&made->note, from->note);
    if (status == FA_OK) {
        memcpy(made->state, from->state, made->state_size);
        made->own_loss = from->own_loss;
        made->own_loss_user = from->own_loss_user;
    }
    fa_unlock_call(&held);
    if (status)
        fa_net_free(made);
    else
        *net = made;
    return status;
}

fa_status fa_net_reset(fa_net *net)
{
    FA_FIXED_FP(false);
    FA_TRY(fa_lock_write(fa_lock_of(net)));
    fa_draw_state(net);
    fa_unlock_write(fa_lock_of(net));
    return FA_OK;
}
