/* bench_members.c - what it costs jobs of up to 10 000 members to form, and to go on after a death: messages, bytes and
 * time, as the table of docs/MEMBERSHIP.md.
 *
 * "machine" runs the library's own machine for every member, in virtual time, with the sizes of its own codec.  "tree"
 * and "star" are models: waves of messages of these sizes.  In all of them a process takes 8 us to post or to handle a
 * message, and 1 ns for each byte, one message after the other; links have the latency, and room for everything. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cluster/member.h"
#include "cluster/member_wire.h"
#include "wire/codec.h"

enum { PER_HOST = 8, FAN = 32, CPU = 8000, FRAME = 9 + 8 };

struct item {
    nx_time at;
    uint64_t seq;
    uint32_t from, to, wave;
    size_t bytes;
    struct nx_member_msg *msg;
};

struct run {
    uint32_t n;
    nx_time latency, last; /* of the last member that is done */
    nx_time *busy;
    uint64_t *sent, *bytes, seq;
    struct item *queue;
    uint32_t queued, room;
    size_t size[NX_MEMBER_KINDS]; /* of the last message of each kind */
    /* the machine */
    struct nx_member *member;
    struct nx_acceptor *record; /* of the dead one */
    uint32_t done;
    const struct nx_member_msg *sized;
    size_t sized_bytes;
    nx_time now;
};

static void *need(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

static bool sooner(const struct item *a, const struct item *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void enqueue(struct run *r, struct item item)
{
    uint32_t i;

    if (r->queued == r->room) {
        r->room = r->room == 0 ? 1024 : 2 * r->room;
        r->queue = need(realloc(r->queue, r->room * sizeof(*r->queue)));
    }
    for (i = r->queued++; i > 0 && sooner(&item, &r->queue[(i - 1) / 2]); i = (i - 1) / 2)
        r->queue[i] = r->queue[(i - 1) / 2];
    r->queue[i] = item;
}

static struct item dequeue(struct run *r)
{
    struct item top = r->queue[0], last = r->queue[--r->queued];
    uint32_t i = 0, child;

    while ((child = 2 * i + 1) < r->queued) {
        child += child + 1 < r->queued && sooner(&r->queue[child + 1], &r->queue[child]);
        if (sooner(&last, &r->queue[child]))
            break;
        r->queue[i] = r->queue[child];
        i = child;
    }
    if (r->queued > 0)
        r->queue[i] = last;
    return top;
}

static nx_time work(struct run *r, uint32_t who, nx_time now, size_t bytes)
{
    nx_time from = r->busy[who] > now ? r->busy[who] : now;

    r->busy[who] = from + CPU + (nx_time)bytes;
    return r->busy[who];
}

static void post(struct run *r, nx_time now, uint32_t from, uint32_t to, uint32_t wave, size_t bytes,
                 struct nx_member_msg *msg)
{
    nx_time at = work(r, from, now, bytes) + r->latency;

    r->sent[from]++;
    r->bytes[from] += bytes;
    enqueue(r,
            (struct item){.at = at, .seq = ++r->seq, .from = from, .to = to, .wave = wave, .bytes = bytes, .msg = msg});
}

static struct item handle(struct run *r)
{
    struct item item = dequeue(r);

    r->now = work(r, item.to, item.at, item.bytes);
    r->bytes[item.to] += item.bytes;
    return item;
}

static void begin(struct run *r, uint32_t n, nx_time latency)
{
    size_t size[NX_MEMBER_KINDS];

    memcpy(size, r->size, sizeof(size));
    *r = (struct run){.n = n, .latency = latency};
    memcpy(r->size, size, sizeof(size));
    r->busy = need(calloc(n, sizeof(*r->busy)));
    r->sent = need(calloc(n, sizeof(*r->sent)));
    r->bytes = need(calloc(n, sizeof(*r->bytes)));
}

static void end(struct run *r)
{
    free(r->busy);
    free(r->sent);
    free(r->bytes);
    free(r->queue);
}

static size_t framed(const struct nx_message *m)
{
    size_t n;

    if (nx_message_size(m, &n) != NEXAR_OK) {
        fprintf(stderr, "a message that cannot be sent: %s\n", nexar_last_error());
        exit(1);
    }
    return FRAME + n;
}

/* ---- the machine ---- */

static struct run *running;

static uint32_t number(const struct nx_uid *uid)
{
    return (uint32_t)uid->bytes[14] << 8 | uid->bytes[15];
}

static void send_msg(void *arg, const struct nx_uid *to, struct nx_member_msg *msg)
{
    struct run *r = running;
    struct nx_member_wire wire;

    if (msg != r->sized) { /* one message often goes to all */
        if (nx_member_to_wire(msg, &wire) != NEXAR_OK)
            need(NULL);
        r->sized_bytes = r->size[msg->kind] = framed(&wire.message);
        r->sized = msg;
        nx_free(wire.memory);
    }
    post(r, r->now, (uint32_t)((struct nx_member *)arg - r->member), number(to), 0, r->sized_bytes,
         nx_member_msg_hold(msg));
}

static struct nx_acceptor *record_of(void *arg, const struct nx_uid *dead)
{
    (void)arg;
    (void)dead;
    return running->record;
}

static bool commit(void *arg, const struct nx_uid *who, const struct nx_acceptor *record)
{
    (void)arg;
    (void)who;
    (void)record;
    return true;
}

static void told(void *arg, const struct nx_member_event *event)
{
    (void)arg;
    if (event->kind == NX_MEMBER_INSTALLED) {
        running->done++;
        running->last = running->now;
    }
}

/* The last rank dies; the others of its host are told at once.  The sizes of all kinds are left in r->size. */
static void run_machine(struct run *r, uint32_t n, nx_time latency)
{
    static const struct nx_member_ops ops = {.send = send_msg, .record = record_of, .commit = commit, .event = told};
    struct nx_member_config config = nx_member_defaults();
    struct nx_uid *uids = need(calloc(n, sizeof(*uids)));
    struct nx_acceptor record = {0};
    struct nx_entry *first;

    begin(r, n, latency);
    running = r;
    for (uint32_t i = 0; i < n; i++) {
        uids[i].bytes[14] = (uint8_t)(i >> 8);
        uids[i].bytes[15] = (uint8_t)i;
    }
    first = need(nx_entry_first(uids, n));
    nx_acceptor_advance(&record, first);
    r->record = &record;
    r->member = need(calloc(n, sizeof(*r->member)));
    for (uint32_t i = 0; i < n; i++) {
        if (nx_member_init(&r->member[i], &uids[i], &config, first, 0, &ops, &r->member[i]) != NEXAR_OK)
            need(NULL);
    }
    for (uint32_t i = n - PER_HOST; i < n - 1; i++)
        nx_member_died(&r->member[i], &uids[n - 1], 0);
    while (r->done < n - 1 && r->queued > 0) {
        struct item item = handle(r);

        if (item.to != n - 1)
            nx_member_said(&r->member[item.to], &uids[item.from], item.msg, r->now);
        r->sized = NULL; /* its memory may be another message's now */
        nx_member_msg_drop(item.msg);
    }
    if (r->done < n - 1) {
        fprintf(stderr, "%u members: %u have the new list\n", n, r->done);
        exit(1);
    }
    for (uint32_t i = 0; i < r->queued; i++)
        nx_member_msg_drop(r->queue[i].msg);
    for (uint32_t i = 0; i < n; i++)
        nx_member_fini(&r->member[i]);
    nx_acceptor_fini(&record);
    nx_entry_drop(first);
    free(r->member);
    free(uids);
}

/* ---- waves along a tree: PREPARE, PROMISE, PROPOSE, ACCEPT, CHAIN ---- */

static size_t wave_size(const struct run *r, uint32_t wave, bool inner)
{
    static const enum nx_member_kind kinds[] = {NX_MEMBER_PREPARE, NX_MEMBER_PROMISE, NX_MEMBER_PROPOSE,
                                                NX_MEMBER_ACCEPT, NX_MEMBER_CHAIN};

    /* An inner node answers for its subtree: one bit for each. */
    return r->size[kinds[wave]] + (inner && wave % 2 == 1 ? r->n / (8 * FAN) + 1 : 0);
}

static uint32_t children(const struct run *r, uint32_t i)
{
    uint32_t first = i * FAN + 1;

    return first >= r->n ? 0 : r->n - first < FAN ? r->n - first : FAN;
}

static void down(struct run *r, uint32_t *wait, nx_time now, uint32_t i, uint32_t wave)
{
    wait[i] = children(r, i);
    for (uint32_t c = 0; c < wait[i]; c++)
        post(r, now, i, i * FAN + 1 + c, wave, wave_size(r, wave, false), NULL);
    if (wait[i] == 0 && wave < 4 && i != 0)
        post(r, now, i, (i - 1) / FAN, wave + 1, wave_size(r, wave + 1, false), NULL);
}

static void run_tree(struct run *r, uint32_t n, nx_time latency)
{
    uint32_t *wait = need(calloc(n, sizeof(*wait)));

    begin(r, n, latency);
    down(r, wait, 0, 0, 0);
    while (r->queued > 0) {
        struct item item = handle(r);

        if (item.wave % 2 == 0) {
            r->last = r->now > r->last ? r->now : r->last;
            down(r, wait, r->now, item.to, item.wave);
        } else if (--wait[item.to] == 0) {
            if (item.to == 0)
                down(r, wait, r->now, 0, item.wave + 1);
            else
                post(r, r->now, item.to, (item.to - 1) / FAN, item.wave, wave_size(r, item.wave, true), NULL);
        }
    }
    free(wait);
}

/* ---- formation: all workers and the seed, eight waves ---- */

static void join_sizes(uint32_t n, size_t size[8])
{
    static const uint8_t zeros[1 << 20];
    struct nx_pair *pairs = need(calloc(n, sizeof(*pairs)));
    struct nx_pair *address = &(struct nx_pair){.text = nx_text("192.168.100.101:40001")};
    struct nx_pairs one = {.count = 1, .items = address}, all = {.count = n, .items = pairs};
    struct nx_bytes all_ids = nx_bytes(zeros, (size_t)n * 16);

    for (uint32_t i = 0; i < n; i++)
        pairs[i] = *address;
    const struct nx_message messages[8] = {
        {.kind = NX_KIND_JOIN_HELLO,
         .join_hello = {.nonce = nx_bytes(zeros, 32), .group = nx_bytes(zeros, 16), .software = nx_text("nexar 0.1")}},
        {.kind = NX_KIND_JOIN_CHALLENGE,
         .join_challenge = {.nonce = nx_bytes(zeros, 32), .proof = nx_bytes(zeros, 32)}},
        {.kind = NX_KIND_JOIN_PROOF, .join_proof = {.proof = nx_bytes(zeros, 32), .csr = nx_bytes(zeros, 250)}},
        {.kind = NX_KIND_JOIN_WELCOME,
         .join_welcome = {.cluster = nx_bytes(zeros, 16),
                          .certificate = nx_bytes(zeros, 520),
                          .ca = nx_bytes(zeros, 430)}},
        {.kind = NX_KIND_JOIN_LISTEN, .join_listen = {.addresses = one}},
        {.kind = NX_KIND_ROSTER, .roster = {.addresses = all, .nodes = all_ids, .groups = all_ids}},
        {.kind = NX_KIND_JOIN_READY},
        {.kind = NX_KIND_JOIN_GO},
    };
    for (uint32_t i = 0; i < 8; i++)
        size[i] = framed(&messages[i]);
    free(pairs);
}

/* Process 0 is the seed; it answers the waves 3, 5 and 7 when all have come so far. */
static void run_star(struct run *r, uint32_t n, nx_time latency)
{
    size_t size[8];
    uint32_t come = 0;

    join_sizes(n, size);
    begin(r, n, latency);
    for (uint32_t i = 1; i < n; i++)
        post(r, 0, i, 0, 0, size[0], NULL);
    while (r->queued > 0) {
        struct item item = handle(r);
        uint32_t next = item.wave + 1;

        r->last = r->now > r->last ? r->now : r->last;
        if (item.to != 0 && next < 8)
            post(r, r->now, item.to, 0, next, size[next], NULL);
        else if (item.to == 0 && next == 1)
            post(r, r->now, 0, item.from, next, size[next], NULL);
        else if (item.to == 0 && ++come == n - 1) {
            come = 0;
            for (uint32_t i = 1; i < n; i++)
                post(r, r->now, 0, i, next, size[next], NULL);
        }
    }
}

/* ---- the table ---- */

static void row(const char *what, const char *shape, void (*run)(struct run *, uint32_t, nx_time), struct run *r,
                uint32_t n)
{
    uint64_t sent = 0, bytes = 0, most = 0;
    nx_time slow;

    run(r, n, 50 * NX_MS);
    slow = r->last;
    end(r);
    run(r, n, 1 * NX_MS);
    for (uint32_t i = 0; i < n; i++) {
        sent += r->sent[i];
        bytes += r->bytes[i];
        most = r->bytes[i] > most ? r->bytes[i] : most;
    }
    printf("| %s | %u | %s | %.1f | %llu | %.1f kB | %.1f kB | %.1f ms | %.0f ms |\n", what, n, shape, (double)sent / n,
           (unsigned long long)r->sent[0], (double)bytes / n / 1e3, (double)most / 1e3, (double)r->last / 1e6,
           (double)slow / 1e6);
    fflush(stdout);
    end(r);
}

int main(void)
{
    static const uint32_t members[] = {8, 64, 1000, 10000};
    static struct run r;

    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* large tables that are hardly written take no memory */
    printf("| | members | how | messages sent by one | by the busiest | bytes of one | of the busiest | at 1 ms | at "
           "50 ms |\n|---|---|---|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < 4; i++)
        row("formation", "star", run_star, &r, members[i]);
    for (uint32_t i = 0; i < 4; i++) {
        row("one dies", "machine", run_machine, &r, members[i]);
        if (members[i] > FAN)
            row("one dies", "tree", run_tree, &r, members[i]);
    }
    return 0;
}
