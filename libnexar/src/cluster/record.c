/* cluster/record.c - writes and reads an acceptor's record.
 *
 * Owner: nobody; several processes may come at once.  The bytes are those of two messages of the membership, so that
 * what is read is checked like what comes from outside; they are copied before they are looked at. */
#include "cluster/record.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "cluster/member_wire.h"
#include "identity/digest.h"
#include "wire/codec.h"

#include <stdatomic.h>

enum { SLOT_HEAD = 16, MESSAGE_MAX = 64 * 1024 };

struct nx_record {
    _Atomic uint32_t lock;   /* writer + 1; 0: free */
    _Atomic uint32_t number; /* of the last write; the slot is its lowest bit */
    /* two slots: checksum u64, length u32, 0 u32, and the bytes, in words that are written one by one */
    _Atomic uint64_t words[];
};

/* A list in whole, 15 changes and a value, each of which takes out or in a member. */
size_t nx_record_bytes(uint32_t members)
{
    size_t slot = SLOT_HEAD + 512 + 17 * 160 + 2 * (size_t)members * sizeof(struct nx_uid);

    slot = slot > MESSAGE_MAX ? MESSAGE_MAX : (slot + 7) & ~(size_t)7;
    return sizeof(struct nx_record) + 2 * slot;
}

static size_t slot_bytes(size_t nbytes)
{
    return ((nbytes - sizeof(struct nx_record)) / 2) & ~(size_t)7;
}

static uint64_t checksum(const uint8_t *bytes, size_t n, uint32_t number)
{
    const struct nx_span spans[] = {{&number, sizeof(number)}, {bytes, n}};
    uint8_t digest[NX_SHA256_SIZE];

    return nx_sha256_spans(spans, 2, digest) == NEXAR_OK ? nx_load64(digest) : 0;
}

/* ---- to bytes ---- */

/* The length, and the message.  0: it does not fit, or no memory. */
static size_t put(uint8_t *to, size_t room, const struct nx_member_msg *m)
{
    struct nx_member_wire wire;
    size_t n;
    bool fits;

    if (m == NULL || nx_member_to_wire(m, &wire) != NEXAR_OK)
        return 0;
    fits = nx_message_size(&wire.message, &n) == NEXAR_OK && n + 4 <= room &&
           nx_message_encode(&wire.message, to + 4, n) == NEXAR_OK;
    nx_free(wire.memory);
    if (!fits)
        return 0;
    nx_store32(to, (uint32_t)n);
    return n + 4;
}

static struct nx_member_msg *history_of(const struct nx_acceptor *a, uint32_t from)
{
    struct nx_member_msg *m = nx_member_msg_new(NX_MEMBER_CHAIN, a->n);

    for (uint32_t i = from; m != NULL && i < a->n; i++)
        m->chain[m->n++] = nx_entry_hold(a->history[i]);
    if (m != NULL)
        m->whole = true;
    return m;
}

static struct nx_member_msg *votes_of(const struct nx_acceptor *a)
{
    struct nx_member_msg *m = nx_member_msg_new(NX_MEMBER_PROMISE, 0);

    if (m == NULL)
        return NULL;
    m->epoch = nx_acceptor_entry(a)->epoch;
    m->ballot = a->promised;
    m->other = a->accepted;
    m->value = a->value == NULL ? NULL : nx_entry_hold(a->value);
    return m;
}

/* As much of the history as fits, the entry in force in any case. */
static size_t encode(uint8_t *to, size_t room, const struct nx_acceptor *a)
{
    struct nx_member_msg *votes = votes_of(a);
    size_t first = put(to, room, votes), second = 0;

    nx_member_msg_drop(votes);
    for (uint32_t from = 0; first != 0 && second == 0 && from < a->n; from++) {
        struct nx_member_msg *history = history_of(a, from);

        second = put(to + first, room - first, history);
        nx_member_msg_drop(history);
    }
    return second == 0 ? 0 : first + second;
}

static bool take_lock(struct nx_record *record, const struct nx_record_writer *writer)
{
    uint32_t holder = 0;

    if (atomic_compare_exchange_strong(&record->lock, &holder, writer->self + 1))
        return true;
    return writer->dead(writer->arg, holder - 1) &&
           atomic_compare_exchange_strong(&record->lock, &holder, writer->self + 1);
}

static void write_slot(struct nx_record *record, size_t slot, uint32_t number, const uint8_t *bytes, size_t n)
{
    _Atomic uint64_t *to = record->words + (number & 1) * (slot / 8);
    uint64_t word;

    atomic_thread_fence(memory_order_release); /* who sees a word of this sees the number before it, too */
    atomic_store_explicit(&to[0], checksum(bytes, n, number), memory_order_relaxed);
    atomic_store_explicit(&to[1], n, memory_order_relaxed);
    for (size_t i = 0; i < n; i += 8) {
        word = 0;
        memcpy(&word, bytes + i, n - i < 8 ? n - i : 8);
        atomic_store_explicit(&to[2 + i / 8], word, memory_order_relaxed);
    }
}

bool nx_record_write(struct nx_record *record, size_t nbytes, const struct nx_record_writer *writer, uint32_t *number,
                     const struct nx_acceptor *a)
{
    size_t slot = slot_bytes(nbytes), n;
    uint8_t *bytes = nx_alloc(slot);
    bool kept;

    n = bytes == NULL ? 0 : encode(bytes, slot - SLOT_HEAD, a);
    if (n == 0 || !take_lock(record, writer)) {
        nx_free(bytes);
        return false;
    }
    kept = atomic_load(&record->number) == *number;
    if (kept) {
        write_slot(record, slot, *number + 1, bytes, n);
        atomic_store_explicit(&record->number, ++*number, memory_order_release);
    }
    atomic_store(&record->lock, 0);
    nx_free(bytes);
    return kept;
}

/* ---- from bytes ---- */

/* The next message.  NULL: there is none. */
static struct nx_member_msg *next(struct nx_reader *in, const struct nx_acceptor *own, enum nx_member_kind kind)
{
    const uint8_t *head = nx_read(in, 4), *bytes = head == NULL ? NULL : nx_read(in, nx_load32(head));
    struct nx_member_msg *m = NULL;
    struct nx_message message;

    if (bytes == NULL || nx_message_decode(bytes, nx_load32(head), &message) != NEXAR_OK ||
        nx_member_from_wire(own, &message, &m) != NEXAR_OK)
        return NULL;
    if (m->kind == kind)
        return m;
    nx_member_msg_drop(m);
    return NULL;
}

/* The votes come first, and are read with the history, which comes second. */
static bool decode(const uint8_t *bytes, size_t n, struct nx_acceptor *out)
{
    struct nx_reader in = nx_reader(bytes, n), again = in;
    const uint8_t *head = nx_read(&in, 4);
    struct nx_member_msg *history = NULL, *votes = NULL;

    *out = (struct nx_acceptor){0};
    if (head != NULL && nx_read(&in, nx_load32(head)) != NULL)
        history = next(&in, out, NX_MEMBER_CHAIN);
    for (uint32_t i = 0; history != NULL && i < history->n; i++)
        nx_acceptor_advance(out, history->chain[i]);
    if (history != NULL && history->whole && out->n != 0 && in.at == in.end)
        votes = next(&again, out, NX_MEMBER_PROMISE);
    nx_member_msg_drop(history);
    if (votes == NULL || (int64_t)votes->epoch != nx_acceptor_epoch(out) ||
        (votes->value == NULL) != (votes->other.round == 0)) {
        nx_member_msg_drop(votes);
        nx_acceptor_fini(out);
        return false;
    }
    out->promised = votes->ballot;
    out->accepted = votes->other;
    out->value = votes->value == NULL ? NULL : nx_entry_hold(votes->value);
    nx_member_msg_drop(votes);
    return true;
}

void nx_record_forget(struct nx_record *r)
{
    atomic_store(&r->number, 0);
}

bool nx_record_read(const struct nx_record *record, size_t nbytes, uint32_t *number, struct nx_acceptor *out)
{
    struct nx_record *r = (struct nx_record *)(uintptr_t)record;
    size_t slot = slot_bytes(nbytes);
    uint64_t *copy = nx_alloc(slot);
    bool good = false;

    *number = atomic_load_explicit(&r->number, memory_order_acquire);
    if (copy != NULL && *number != 0) {
        const _Atomic uint64_t *from = r->words + (*number & 1) * (slot / 8);

        for (size_t i = 0; i < slot / 8; i++)
            copy[i] = atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)&from[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        good = atomic_load(&r->number) == *number && copy[1] <= slot - SLOT_HEAD &&
               checksum((const uint8_t *)&copy[2], (size_t)copy[1], *number) == copy[0] &&
               decode((const uint8_t *)&copy[2], (size_t)copy[1], out);
    }
    nx_free(copy);
    return good;
}
