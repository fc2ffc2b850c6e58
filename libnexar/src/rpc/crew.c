/* rpc/crew.c - the threads of the library that run functions in C: started, waited for, left behind.
 *
 * Owner: each thread has a reference to its desk, which has one to the rest: whoever returns late finds all that it
 * touches.  What a function does, and for how long, is the program's: closing waits for it no longer than it is told.
 */
#include "rpc/desk.h"

#include "base/mem.h"

/* The desk whose function runs on this thread; NULL elsewhere. */
static _Thread_local const struct nexar_desk *own;

static void *run(void *arg)
{
    struct nexar_desk *desk = arg;
    struct nx_desk_queue *queue = &desk->queue[NX_DESK_OURS];
    struct nexar_request *request;
    nexar_status st;

    own = desk;
    do {
        st = nx_desk_take(desk, queue, NX_NEVER, &request);
        if (st == NEXAR_OK) {
            nx_time begun = nx_now();

            request->fn(request, request->bytes, (size_t)request->len, request->arg);
            nx_desk_handled(desk, queue, nx_now() - begun);
        }
    } while (st != NEXAR_ECLOSED);
    nx_lock(&desk->rpc->lock);
    desk->threads_alive--;
    atomic_fetch_add(&desk->threads_word, 1);
    nx_unlock(&desk->rpc->lock);
    nx_futex_wake(&desk->threads_word);
    nx_desk_drop(desk);
    return NULL;
}

bool nx_crew_is_here(const struct nexar_desk *desk)
{
    return own == desk;
}

nexar_status nx_crew_start(struct nexar_desk *desk)
{
    uint32_t want = desk->rpc->threads;
    nexar_status st = NEXAR_OK;

    if (desk->threads == NULL)
        desk->threads = nx_calloc(want, sizeof(*desk->threads));
    if (desk->threads == NULL)
        return nx_fail(NEXAR_ENOMEM, "register: no memory for %u threads", want);
    while (desk->thread_count < want && st == NEXAR_OK) {
        atomic_fetch_add(&desk->refs, 1);
        st = nx_thread_start(&desk->threads[desk->thread_count], run, desk, "nexar rpc");
        if (st == NEXAR_OK) {
            desk->thread_count++;
            desk->threads_alive++;
        } else {
            atomic_fetch_sub(&desk->refs, 1); /* never the last: the caller has one */
        }
    }
    return desk->thread_count != 0 ? NEXAR_OK : st;
}

/* True once none of them is left but, if it is this one, the thread that asks. */
static bool wait_gone(struct nexar_desk *desk, uint32_t itself, nx_time deadline)
{
    uint32_t seen;
    bool gone;

    for (;;) {
        nx_lock(&desk->rpc->lock);
        seen = atomic_load(&desk->threads_word);
        gone = desk->threads_alive == itself;
        nx_unlock(&desk->rpc->lock);
        if (gone || nx_now() >= deadline)
            return gone;
        (void)nx_futex_wait(&desk->threads_word, seen, deadline); /* whatever woke it: looks again */
    }
}

uint32_t nx_crew_end(struct nexar_desk *desk, nx_time deadline)
{
    uint32_t itself = own == desk ? 1 : 0, left;
    bool gone = wait_gone(desk, itself, deadline) && itself == 0;

    for (uint32_t i = 0; i < desk->thread_count; i++) {
        if (gone)
            pthread_join(desk->threads[i], NULL);
        else
            pthread_detach(desk->threads[i]); /* also of those that are through */
    }
    nx_lock(&desk->rpc->lock);
    left = desk->threads_alive;
    nx_unlock(&desk->rpc->lock);
    return left < itself ? 0 : left - itself;
}
