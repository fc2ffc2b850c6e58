/* coll/late.c - a collective whose time is over finds out who never came.
 *
 * Owner: any thread; the answers come on the engine.  The rank for which a schedule happens to wait may be there and
 * wait for another itself, so all are asked. */
#include "comm/inquiry.h"

#include "coll/op.h"

#include <stdio.h>
#include <string.h>

enum { NAMED_MAX = 8 };

static bool not_called(const struct nx_answer *a)
{
    return a->came && !a->gone && a->state == NX_TELL_NOT_CALLED;
}

static bool silent(const struct nx_answer *a)
{
    return !a->came || a->gone;
}

/* The one that this rank waits for, if it fits, else the first that does. */
static const struct nx_answer *culprit(const struct nx_inquiry *q, uint32_t waits_for,
                                       bool (*fits)(const struct nx_answer *a), uint32_t *count)
{
    const struct nx_answer *found = NULL;

    *count = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        if (!fits(&q->answer[i]))
            continue;
        (*count)++;
        if (found == NULL || q->answer[i].rank == waits_for)
            found = &q->answer[i];
    }
    return found;
}

/* "; so has not rank 5", "; so have not ranks 5, 6 and 2 more" */
static void list_others(const struct nx_inquiry *q, const struct nx_answer *but,
                        bool (*fits)(const struct nx_answer *a), uint32_t count, char *text, size_t cap)
{
    uint32_t named = 0;
    size_t at;

    text[0] = '\0';
    if (count < 2)
        return;
    at = (size_t)snprintf(text, cap, "; the same is true of rank%s", count > 2 ? "s" : "");
    for (uint32_t i = 0; i < q->count && named < NAMED_MAX && at < cap; i++) {
        if (&q->answer[i] != but && fits(&q->answer[i]))
            at += (size_t)snprintf(text + at, cap - at, "%s %u", named++ == 0 ? "" : ",", q->answer[i].rank);
    }
    if (count - 1 > named && at < cap)
        snprintf(text + at, cap - at, " and %u more", count - 1 - named);
}

static void word(struct nx_inquiry *q, nexar_error *error)
{
    struct nx_coll_op *op = nx_container_of(q->op, struct nx_coll_op, op);
    const char *what;
    uint32_t waits_for = nx_coll_waits_for(op, &what), absent, mute;
    const struct nx_answer *never = NULL, *dumb = NULL;
    double elapsed = (double)(nx_now() - op->op.begun) / 1e9;
    char title[64], who[96], others[160] = "";

    nx_coll_title(op, title, sizeof(title));
    never = culprit(q, waits_for, not_called, &absent);
    dumb = culprit(q, waits_for, silent, &mute);
    if (never == NULL && dumb == NULL) {
        nx_coll_word_end(op, NEXAR_ETIMEDOUT, error);
        snprintf(error->text + strlen(error->text), sizeof(error->text) - strlen(error->text),
                 "; all ranks have called it");
        nx_error_hint(error, "give it more time");
        return;
    }
    if (never != NULL) {
        list_others(q, never, not_called, absent, others, sizeof(others));
        nx_coll_rank_text(op->comm, nx_comm_world(op->comm, never->rank), who, sizeof(who));
        nx_error_set(error, NEXAR_ETIMEDOUT, never->rank,
                     "%s: timed out after %.3g s, waiting for %s%s, which has not called it: it %s%s", title, elapsed,
                     who, never->rank == waits_for ? what : "", nx_answer_text(never), others);
    } else {
        list_others(q, dumb, silent, mute, others, sizeof(others));
        nx_coll_rank_text(op->comm, nx_comm_world(op->comm, dumb->rank), who, sizeof(who));
        nx_error_set(error, NEXAR_ETIMEDOUT, dumb->rank, "%s: timed out after %.3g s, waiting for %s%s, which %s%s",
                     title, elapsed, who, dumb->rank == waits_for ? what : "", nx_answer_text(dumb), others);
    }
    nx_error_hint(error, "see whether all ranks make this call; if they do, give it more time");
}

bool nx_coll_late(struct nx_coll_op *op)
{
    return nx_inquiry_start(op->comm, &op->op, NEXAR_ANY, op->announced.sequence, word);
}
