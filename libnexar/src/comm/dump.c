/* comm/dump.c - puts together a dump: what is in flight, what ended lately, and the communicators.
 *
 * Owner: any thread.  It looks at everything for a moment and changes nothing; when it is written is said elsewhere. */
#include "comm/dump.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/op.h"
#include "base/spool.h"
#include "coll/call.h"
#include "comm/comm.h"
#include "net/peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    RUNNING_MAX = 1024,
    COMMS_MAX = 1024,
};

struct view {
    struct nx_net *net;
    const char *reason;
    nx_time now;
    nx_time wall; /* since 1970 */
    char host[128];
    struct nexar_op *op[RUNNING_MAX]; /* held */
    uint32_t ops, all_ops;
    nexar_comm *comm[COMMS_MAX]; /* held */
    uint32_t comms;
    struct nx_record record[NX_RECORDS];
    uint32_t records;
    uint64_t before;
};

/* ---- one operation ---- */

static bool has_root(unsigned coll)
{
    switch (coll) {
    case NX_COLL_BROADCAST:
    case NX_COLL_REDUCE:
    case NX_COLL_GATHER:
    case NX_COLL_GATHER_V:
    case NX_COLL_SCATTER:
    case NX_COLL_SCATTER_V:
        return true;
    default:
        return false;
    }
}

static void write_collective(struct nx_json *j, const struct nx_record *r)
{
    const struct nx_algorithm *algorithm = nx_algorithm_at(r->call >> 24 & 0xff);
    unsigned coll = r->call & 0xff;
    char text[128];

    nx_call_text(r->call, r->count, false, text, sizeof(text));
    nx_json_text(j, "call", coll < NX_CALLS ? nx_coll_name((enum nx_coll)coll) : "?");
    nx_json_uint(j, "seq", r->id);
    nx_json_text(j, "what", text);
    nx_json_text(j, "dtype", nexar_dtype_name((nexar_dtype)(r->call >> 8 & 0xff)));
    nx_json_text(j, "op", nexar_reduce_op_name((nexar_reduce_op)(r->call >> 16 & 0xff)));
    nx_json_text(j, "algorithm", algorithm == NULL ? NULL : algorithm->name);
    if (has_root(coll))
        nx_json_uint(j, "root", r->call >> 32);
    nx_json_uint(j, "count", r->count);
}

static void write_rank(struct nx_json *j, const char *key, uint32_t rank)
{
    if (rank == NEXAR_NO_RANK) /* which is also any rank, and any tag */
        nx_json_null(j, key);
    else
        nx_json_uint(j, key, rank);
}

static void write_message(struct nx_json *j, const struct nx_record *r)
{
    nx_json_text(j, "call", r->kind == NX_RECORD_SEND ? "send" : "recv");
    write_rank(j, r->kind == NX_RECORD_SEND ? "dest" : "src", (uint32_t)r->call);
    write_rank(j, "tag", (uint32_t)r->id);
    nx_json_uint(j, "space", r->id >> 32);
    nx_json_uint(j, "nbytes", r->count);
}

static void write_record(struct nx_json *j, const struct nx_record *r, const char *state)
{
    nx_json_object(j, NULL);
    nx_json_uint(j, "comm", r->comm);
    if (r->kind == NX_RECORD_COLL)
        write_collective(j, r);
    else
        write_message(j, r);
    nx_json_seconds(j, "begun", r->begun);
    if (r->ended != 0) {
        nx_json_seconds(j, "ended", r->ended);
        nx_json_text(j, "status", nexar_status_name((nexar_status) - (int)r->status));
        write_rank(j, "peer", r->peer);
    } else {
        nx_json_text(j, "state", state);
    }
    nx_json_close(j);
}

static void write_running(struct nx_json *j, struct view *v)
{
    nx_json_list(j, "running");
    for (uint32_t i = 0; i < v->ops; i++) {
        struct nx_record r;
        char state[256];

        nx_op_told(v->op[i], &r);
        v->op[i]->class->describe(v->op[i], state, sizeof(state));
        write_record(j, &r, state);
    }
    nx_json_close(j);
    nx_json_uint(j, "running_left_out", v->all_ops - v->ops);
}

/* ---- communicators ---- */

static void write_comm(struct nx_json *j, nexar_comm *comm)
{
    uint64_t sequence;
    nexar_error error;
    bool broken;

    nx_lock(&comm->lock);
    sequence = comm->sequence;
    broken = comm->broken;
    error = comm->broken_error;
    nx_unlock(&comm->lock);
    nx_json_object(j, NULL);
    nx_json_uint(j, "id", comm->id);
    nx_json_uint(j, "rank", comm->rank);
    nx_json_uint(j, "size", comm->size);
    nx_json_list(j, "world");
    for (uint32_t rank = 0; rank < comm->size; rank++)
        nx_json_uint(j, NULL, nx_comm_world(comm, rank));
    nx_json_close(j);
    nx_json_uint(j, "seq", sequence);
    nx_json_text(j, "broken", broken ? error.text : NULL);
    nx_json_close(j);
}

static void write_gone(struct nx_json *j, struct nx_net *net)
{
    nx_json_list(j, "gone");
    for (uint32_t rank = 0; rank < net->config.size; rank++) {
        if (rank == net->config.rank || nx_lane_peer_status(&net->lanes, rank) == NEXAR_OK)
            continue;
        nx_peer_fail(net->peer[rank]);
        nx_json_object(j, NULL);
        nx_json_uint(j, "rank", rank);
        nx_json_text(j, "why", nexar_last_error());
        nx_json_close(j);
    }
    nx_json_close(j);
}

/* ---- all of it ---- */

static size_t write_view(struct view *v, char *text, size_t cap)
{
    struct nx_json j;

    nx_json_begin_text(&j, text, cap);
    nx_json_object(&j, NULL);
    nx_json_text(&j, "format", "nexar-dump/1");
    nx_json_text(&j, "version", nexar_version());
    nx_json_text(&j, "reason", v->reason);
    nx_json_uint(&j, "rank", v->net->config.rank);
    nx_json_uint(&j, "size", v->net->config.size);
    nx_json_text(&j, "host", v->host);
    nx_json_uint(&j, "pid", (uint64_t)getpid());
    nx_json_seconds(&j, "unix_time", v->wall);
    nx_json_seconds(&j, "now", v->now);
    nx_json_list(&j, "communicators");
    for (uint32_t i = 0; i < v->comms; i++)
        write_comm(&j, v->comm[i]);
    nx_json_close(&j);
    write_gone(&j, v->net);
    write_running(&j, v);
    nx_json_uint(&j, "forgotten", v->before);
    nx_json_list(&j, "ended");
    for (uint32_t i = 0; i < v->records; i++)
        write_record(&j, &v->record[i], NULL);
    nx_json_close(&j);
    nx_json_close(&j);
    return nx_json_end_text(&j);
}

static void look(struct view *v)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    v->wall = (nx_time)t.tv_sec * NX_S + t.tv_nsec;
    v->now = nx_now();
    if (gethostname(v->host, sizeof(v->host) - 1) != 0)
        v->host[0] = '\0';
    v->all_ops = nx_net_list_ops(v->net, v->op, RUNNING_MAX);
    v->ops = v->all_ops < RUNNING_MAX ? v->all_ops : RUNNING_MAX;
    v->comms = nx_scope_list(&v->net->lanes, (void **)v->comm, COMMS_MAX);
    v->records = nx_record_list(v->net->recorder, v->record, &v->before);
}

nexar_status nx_dump_text(struct nx_net *net, const char *reason, char **text, size_t *n)
{
    nexar_error before = *nx_last_error(); /* it may be the one that this is about */
    struct view *v = nx_calloc(1, sizeof(*v));
    size_t need;

    *text = NULL;
    *n = 0;
    if (v != NULL) {
        v->net = net;
        v->reason = reason;
        look(v);
        /* What runs may change between the two, and its words with it. */
        need = write_view(v, NULL, 0) + 4096;
        *text = nx_alloc(need);
        if (*text != NULL)
            *n = write_view(v, *text, need) - 1;
        if (*n >= need) {
            nx_free(*text);
            *text = NULL;
        }
        for (uint32_t i = 0; i < v->ops; i++)
            nx_op_drop(v->op[i]);
        for (uint32_t i = 0; i < v->comms; i++)
            nx_comm_drop(v->comm[i]);
        nx_free(v);
    }
    nx_fail_with(&before);
    return *text != NULL ? NEXAR_OK : nx_fail(NEXAR_ENOMEM, "no memory for a dump of the flight recorder");
}

/* FOLDER/nexar-RANK.json; NULL if it is too long. */
static const char *name_in(const char *folder, uint32_t rank, char *path, size_t cap)
{
    int n = snprintf(path, cap, "%s/nexar-%u.json", folder, rank);

    return n > 0 && (size_t)n < cap ? path : NULL;
}

nexar_status nexar_comm_dump(nexar_comm *comm, const char *path)
{
    nexar_status st = nx_comm_check(comm, "dump", true);
    char inside[4096], *text;
    struct stat is;
    size_t n;

    if (st == NEXAR_OK && (path == NULL || path[0] == '\0'))
        st = nx_fail(NEXAR_EINVAL, "dump: there is no path");
    if (st != NEXAR_OK)
        return st;
    if (stat(path, &is) == 0 && S_ISDIR(is.st_mode))
        path = name_in(path, comm->net->config.rank, inside, sizeof(inside));
    if (path == NULL)
        return nx_fail(NEXAR_EINVAL, "dump: the path is too long");
    st = nx_dump_text(comm->net, "the program asked for it", &text, &n);
    if (st == NEXAR_OK)
        st = nx_spool_write(path, text, n);
    nx_free(text);
    return st;
}

/* ---- by itself ---- */

static void post(struct nx_net *net, const char *reason)
{
    char path[4096], *text;
    nexar_error before = *nx_last_error();
    size_t n;

    if (name_in(net->dump_folder, net->config.rank, path, sizeof(path)) == NULL)
        nx_warn("the path of the dumps is too long");
    else if (nx_dump_text(net, reason, &text, &n) != NEXAR_OK)
        nx_warn("%s", nexar_last_error());
    else
        nx_spool_post(path, text, n);
    nx_fail_with(&before);
}

void nx_dump_on_error(struct nx_net *net, const nexar_error *error)
{
    nx_time last, now;

    if (net->dump_folder == NULL ||
        (error->status != NEXAR_ETIMEDOUT && error->status != NEXAR_EMISMATCH && error->status != NEXAR_EPEER))
        return;
    now = nx_now();
    last = atomic_load(&net->dumped_at);
    if ((last != 0 && now - last < NX_S) || !atomic_compare_exchange_strong(&net->dumped_at, &last, now))
        return; /* what fails now, failed for the same reason */
    post(net, error->text);
}

void nx_dump_on_signal(struct nx_net *net)
{
    post(net, "SIGUSR1");
}
