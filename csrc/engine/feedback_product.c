/* Feedback in a step: the per-step matrix of a rule, and the product with feedback. */
#include "engine/step.h"

void fa_make_step_feedback(const fa_run *run, int block, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_param *b = rule->feedback;
    struct fa_step_feedback *made = &run->work->step_feedback[block];
    if (rule->nnz)
        made->overflow = net->k->gather_sparse(made->matrix.p, made->row_index, b->value, b->cols,
                                               b->rows, b->cols, rule->nnz);
    else
        rule->ops->step_feedback(rule, net, block, run->step, rows,
                                 fa_rows_of(made->matrix, rows, net->esize));
}

fa_epilogue fa_signal_epilogue(const fa_run *run, int block, fa_part part)
{
    const fa_block *b = &run->net->blocks[block];
    if (!b->rule.fuses_relu_backward) return (fa_epilogue){0};
    return (fa_epilogue){.h = fa_get_part(run, b->layer->out, part).p};
}

/* Whether training changes the feedback: by its own gradient, or coupled to the weights above. */
static bool learns(const fa_net *net, int block)
{
    const fa_param *b = net->blocks[block].rule.feedback;
    return b && (b->trainable || net->blocks[block + 1].layer->weight->coupled == b);
}

fa_mat fa_feedback_of(const fa_run *run, int block)
{
    const fa_rule *rule = &run->net->blocks[block].rule;
    return rule->step_rows ? run->work->step_feedback[block].matrix
                           : fa_param_matrix(rule->feedback);
}

void fa_feedback_product(const fa_run *run, int block, fa_part part, fa_mat source, fa_mat s,
                         int worker)
{
    const fa_net *net = run->net;
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_param *stored = rule->feedback;
    if (rule->nnz && !run->work->step_feedback[block].overflow) {
        net->k->product_sparse(
            s.p, s.ld, source.p, source.ld, run->work->step_feedback[block].matrix.p,
            run->work->step_feedback[block].row_index, s.rows, s.cols, rule->nnz, stored->rows);
        return;
    }
    const fa_mat b = fa_feedback_of(run, block);
    fa_epilogue epilogue = fa_signal_epilogue(run, block, part);
    if (learns(net, block)) epilogue.nonfinite = fa_nonfinite_flag(run);
    fa_packed_b packed_b = fa_packing_buffer(run, worker);
    fa_matmul(rule->step_rows ? fa_linalg_of_made(net, block) : stored->linalg, s, source,
              fa_columns_of(b, part.c0, part.c1, net->esize), &epilogue, &packed_b);
    fa_count(run, &net->count_feedback, fa_is_first(part));
}

/* Makes per-step feedback, once a step, before the tasks of rows that read it. */
void fa_step_feedback_task(void *context, int64_t task, int worker)
{
    (void)worker;
    const fa_run *run = context;
    const fa_feedback_task *work = &run->net->feedback_tasks[task];
    fa_make_step_feedback(run, work->block, work->rows);
}
