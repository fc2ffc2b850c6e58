/* cluster/seed_text.c - what the seed tells people: how far the job is, who is missing, what was heard of others.
 *
 * Owner: the machine's.  Those that say or do the same are counted, so that a flood of them does not drive out what one
 * rank did wrong. */
#include "cluster/seed.h"

#include "base/log.h"
#include "base/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text that is being put together; cut at its end. */
struct writer {
    char *text;
    size_t cap, at;
};

static void put(struct writer *w, const char *format, ...) NX_PRINTF(2, 3);

static void put(struct writer *w, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(w->text + w->at, w->cap - w->at, format, args);
    va_end(args);
    if (n > 0)
        w->at = w->at + (size_t)n < w->cap ? w->at + (size_t)n : w->cap - 1;
}

void nx_seed_note(struct nx_seed_machine *m, const struct nx_seed_client *client, const char *what)
{
    uint32_t kept = m->notes < NX_SEED_NOTES ? m->notes : NX_SEED_NOTES;
    struct nx_seed_note *note = NULL;
    char plain[sizeof(note->what)];

    nx_plain(plain, sizeof(plain), what, strlen(what));
    for (uint32_t i = 0; i < kept; i++) {
        if (strcmp(m->note[i].what, plain) == 0)
            note = &m->note[i];
    }
    if (note == NULL) {
        note = &m->note[m->notes++ % NX_SEED_NOTES];
        *note = (struct nx_seed_note){.count = 0};
        memcpy(note->what, plain, sizeof(plain));
    }
    note->count++;
    snprintf(note->from, sizeof(note->from), "%s", client->from);
    if (note->count == 1)
        nx_info("the seed, of %s: %s", client->from, plain);
}

/* Of a later formation. */
static void put_absent(struct writer *w, const struct nx_seed_machine *m)
{
    uint32_t listed = 0;

    put(w, "of %u ranks that come back, these are missing:", m->kept);
    for (uint32_t rank = 0; rank < m->kept; rank++) {
        if (nx_seed_holder(m, rank) == NULL && ++listed <= 16)
            put(w, "%s %u", listed == 1 ? "" : ",", rank);
    }
    put(w, "%s", listed > 16 ? ", ..." : listed == 0 ? " none" : "");
}

/* ", 3 are missing: ranks 1, 2, 5", or without the list when those that are there have no wishes. */
static void put_missing(struct writer *w, const struct nx_seed_machine *m)
{
    uint32_t wishes = 0, listed = 0, missing = m->size - m->proven;

    for (uint32_t rank = 0; rank < m->size; rank++)
        wishes += nx_seed_holder(m, rank) != NULL;
    put(w, "%u of %u ranks %s joined", m->proven, m->size, m->proven == 1 ? "has" : "have");
    if (wishes != m->proven || m->proven == 0)
        return;
    put(w, ", missing: rank%s", missing == 1 ? "" : "s");
    for (uint32_t rank = 0; rank < m->size; rank++) {
        if (nx_seed_holder(m, rank) != NULL)
            continue;
        if (++listed > 16) {
            put(w, ", ...");
            return;
        }
        put(w, "%s %u", listed == 1 ? "" : ",", rank);
    }
}

static void put_stage(struct writer *w, const struct nx_seed_machine *m)
{
    bool listen = m->listening < m->size;
    enum nx_seed_stage least = listen ? NX_SEED_LISTENING : NX_SEED_READY;
    uint32_t listed = 0, missing = m->size - (listen ? m->listening : m->ready);

    put(w, "all %u ranks have joined, but rank%s", m->size, missing == 1 ? "" : "s");
    for (uint32_t rank = 0; rank < m->size; rank++) {
        if (m->by_rank[rank] == NULL || m->by_rank[rank]->stage >= least)
            continue;
        if (++listed > 16) {
            put(w, ", ...");
            break;
        }
        put(w, "%s %u", listed == 1 ? "" : ",", rank);
    }
    if (listen)
        put(w, " %s not listen yet", missing == 1 ? "does" : "do");
    else
        put(w, " %s not connected with all others", missing == 1 ? "is" : "are");
}

static void put_notes(struct writer *w, const struct nx_seed_machine *m)
{
    uint32_t kept = m->notes < NX_SEED_NOTES ? m->notes : NX_SEED_NOTES;

    for (uint32_t i = 0; i < kept; i++) {
        /* The newest first. */
        const struct nx_seed_note *note = &m->note[(m->notes - 1 - i) % NX_SEED_NOTES];

        put(w, "%s", i == 0 ? "; heard of others: " : "; ");
        if (note->count > 1)
            put(w, "%u times, last from ", note->count);
        put(w, "%s: %s", note->from, note->what);
    }
}

void nx_seed_progress(const struct nx_seed_machine *m, char *text, size_t cap)
{
    struct writer w = {.text = text, .cap = cap};

    text[0] = '\0';
    if (m->state == NX_SEED_GATHERING && m->formation > 1) {
        put_absent(&w, m);
    } else if (m->state == NX_SEED_GATHERING) {
        put_missing(&w, m);
        put_notes(&w, m);
    } else if (m->state == NX_SEED_MESHING) {
        put_stage(&w, m);
    }
}
