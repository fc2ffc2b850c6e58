/* node/stats.c - a node's counters as JSON.
 *
 * Owner: any thread; every counter is atomic, so the figures of one answer may be some events apart.  It counts nothing
 * itself. */
#include "nexar/stats.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pool.h"
#include "comm/comm.h"
#include "net/way.h"

static void write_transports(struct nx_json *json, struct nx_net *net)
{
    nx_json_object(json, "transports");
    nx_json_object(json, "quic");
    nx_json_uint(json, "bytes_sent", atomic_load(&net->stats.bytes_sent));
    nx_json_uint(json, "bytes_received", atomic_load(&net->stats.bytes_received));
    nx_json_uint(json, "messages_sent", atomic_load(&net->stats.messages_sent));
    nx_json_uint(json, "messages_received", atomic_load(&net->stats.messages_received));
    nx_json_uint(json, "streams_received", atomic_load(&net->stats.streams));
    nx_json_close(json);
    for (uint32_t i = 0; net->ways != NULL && i < net->ways->count; i++) {
        struct nx_way *way = &net->ways->way[i];

        nx_json_object(json, way->module->name);
        nx_json_uint(json, "bytes_sent", atomic_load(&way->stats.bytes_sent));
        nx_json_uint(json, "bytes_received", atomic_load(&way->stats.bytes_received));
        nx_json_uint(json, "messages_sent", atomic_load(&way->stats.messages_sent));
        nx_json_uint(json, "messages_received", atomic_load(&way->stats.messages_received));
        nx_json_uint(json, "links", atomic_load(&way->stats.links));
        nx_json_uint(json, "lost", atomic_load(&way->stats.lost));
        nx_json_uint(json, "resent", atomic_load(&way->stats.resent));
        nx_json_close(json);
    }
    nx_json_close(json);
}

static void write_lanes(struct nx_json *json, struct nx_net *net)
{
    struct nx_lane_stats *s = &net->lanes.stats;

    nx_json_object(json, "copies");
    nx_json_uint(json, "sent_bytes", atomic_load(&net->stats.copies));
    nx_json_uint(json, "received_bytes", atomic_load(&s->copies));
    nx_json_close(json);
    nx_json_object(json, "lanes");
    nx_json_uint(json, "unexpected", atomic_load(&s->unexpected));
    nx_json_uint(json, "unread_bytes", atomic_load(&s->unread_bytes));
    nx_json_uint(json, "held_back", atomic_load(&s->held));
    nx_json_uint(json, "paused", atomic_load(&s->parked));
    nx_json_uint(json, "stale", atomic_load(&s->stale));
    nx_json_uint(json, "waited", atomic_load(&net->stats.waited));
    nx_json_close(json);
}

static void write_memory(struct nx_json *json)
{
    struct nx_pool_stats pool;
    struct nx_mem_stats mem;

    nx_pool_stats(&pool);
    nx_mem_stats(&mem);
    nx_json_object(json, "pool");
    nx_json_uint(json, "taken", pool.taken);
    nx_json_uint(json, "reused", pool.reused);
    nx_json_uint(json, "live_bytes", pool.live_bytes);
    nx_json_uint(json, "cached_bytes", pool.cached_bytes);
    nx_json_close(json);
    nx_json_object(json, "memory");
    nx_json_uint(json, "allocations", mem.allocations);
    nx_json_uint(json, "blocks", mem.blocks);
    nx_json_uint(json, "bytes", mem.bytes);
    nx_json_close(json);
}

nexar_status nexar_comm_stats(nexar_comm *comm, char *json, size_t cap, size_t *need)
{
    nexar_status st = nx_comm_check(comm, "stats", false);
    struct nx_json j;
    size_t length;

    if (need != NULL)
        *need = 0;
    if (st != NEXAR_OK)
        return st;
    if (json == NULL && cap != 0)
        return nx_fail(NEXAR_EINVAL, "stats: there is no place for the text");
    nx_json_begin_text(&j, json, cap);
    nx_json_object(&j, NULL);
    nx_json_uint(&j, "rank", comm->rank);
    nx_json_uint(&j, "size", comm->size);
    nx_json_object(&j, "ops");
    for (int coll = 0; coll < NX_COLLS; coll++)
        nx_json_uint(&j, nx_coll_name((enum nx_coll)coll), atomic_load(&comm->stats.finished[coll]));
    nx_json_close(&j);
    nx_json_uint(&j, "failed", atomic_load(&comm->stats.failed));
    write_transports(&j, comm->net);
    write_lanes(&j, comm->net);
    write_memory(&j);
    nx_json_close(&j);
    length = nx_json_end_text(&j);
    if (need != NULL)
        *need = length;
    return NEXAR_OK;
}
