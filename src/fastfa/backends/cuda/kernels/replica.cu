/* Steps of many networks at a time, each by one block: it does the work of all blocks of all
 * launches of a step, one after the other. one_block.py makes the text: functions of the same
 * kernels, and `run_launch`, which calls them.
 *
 * The tensors of a network lie in shared memory meanwhile, where they fit. The arguments of its
 * launches have their addresses: these are changed at the begin, and again at the end. */

enum { REPLICA_threads = 128 }; /* of every kernel that is called */

struct replica_launch {
    int kernel; /* its number in run_launch */
    int blocks;
    int64_t at; /* where its argument is, in bytes from `arguments` */
};

struct replica {
    control_block *control;
    const replica_launch *launches; /* of a step */
    const unsigned char *arguments;
    unsigned long long *tensors;        /* of the network */
    const unsigned long long *pointers; /* addresses of all pointers to tensors */
    int64_t words;                      /* of 8 bytes, of tensors in shared memory; or 0 */
    int64_t workspace;                  /* words of shared memory before them */
    int n_launches;
    int n_pointers;
    int steps;
    int unused;
};

struct replica_arguments {
    const replica *networks;
};

/* Copies words, and adds to all pointers what the tensors have moved by. All threads
 * call it; a barrier must follow. */
FA_INLINE void move_tensors(const replica &r, unsigned long long *to,
                            const unsigned long long *from)
{
    for (int64_t i = threadIdx.x; i < r.words; i += REPLICA_threads) to[i] = from[i];
    for (int i = (int)threadIdx.x; i < r.n_pointers; i += REPLICA_threads)
        *(unsigned long long *)r.pointers[i] += (unsigned long long)to - (unsigned long long)from;
}

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(REPLICA_threads, 2) KERNEL(replica_arguments a)
{
    const replica r = a.networks[blockIdx.x];
    unsigned long long *const moved = (unsigned long long *)shared_of_launch() + r.workspace;
    if (r.words) move_tensors(r, moved, r.tensors);
    for (int t = 0; t < r.steps; t++) {
        const bool over = stops(r.control, t);
        __syncthreads(); /* tensors are there, and no launch has set a flag yet */
        if (over) break;
        for (int i = 0; i < r.n_launches; i++) {
            const replica_launch one = r.launches[i];
            for (int block = 0; block < one.blocks; block++) {
                run_launch(one.kernel, r.arguments + one.at, t, block);
                __syncthreads(); /* the next one reads what this one has written */
            }
        }
    }
    if (r.words) move_tensors(r, r.tensors, moved);
}
