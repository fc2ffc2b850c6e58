/* net/way.c - the modules of a node: found, opened, agreed upon with each peer, closed.
 *
 * Owner: the engine, but for opening and closing, which are the node's.  What a single link does is in link.c. */
#include "net/way.h"

#include "base/log.h"
#include "base/mem.h"
#include "net/module.h"
#include "wire/codec.h"

#include <stdio.h>
#include <string.h>

enum { PATIENCE_S = 20, LIST_MAX = NX_WAYS_MAX * NX_WAY_NAME };

/* ---- which ---- */

/* Whether a list "a,b,c" has this name. */
static bool has_name(const char *list, size_t length, const char *name)
{
    const char *end = list + length;

    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t n = (size_t)((comma == NULL ? end : comma) - list);

        if (n == strlen(name) && memcmp(list, name, n) == 0)
            return true;
        list += n + 1;
    }
    return false;
}

static nexar_status open_way(struct nexar_node *node, const struct nx_module_found *found, bool named)
{
    const nexar_module *module = found->module;
    struct nx_way *way = &node->way[node->count];
    nexar_status st;

    if (node->count == NX_WAYS_MAX)
        return nx_fail(NEXAR_ECONFIG, "there are more than %d transports", NX_WAYS_MAX);
    *way = (struct nx_way){
        .module = module, .library = found->library, .node = node, .named = named, .foreign = found->foreign};
    (void)nx_fail(NEXAR_ENOTSUP, "the log says why"); /* for those which cannot tell it here */
    st = module->open(&nx_host, node, &way->self);
    if (st == NEXAR_OK) {
        node->count++;
        return NEXAR_OK;
    }
    if (named)
        return nx_fail(st, "the transport %s, which NEXAR_TRANSPORTS names, cannot be used: %s", module->name,
                       nexar_last_error());
    nx_info("no %s: %s", module->name, nexar_last_error());
    nx_module_unload(found->library);
    return NEXAR_OK;
}

/* In the order of the list. */
static nexar_status open_named(struct nexar_node *node, const char *list, const struct nx_modules *found)
{
    nexar_status st = NEXAR_OK;

    node->strict = !has_name(list, strlen(list), "quic");
    for (const char *p = list; st == NEXAR_OK; p++) {
        size_t n = strcspn(p, ",");
        char name[NX_WAY_NAME];
        struct nx_module_found *f;

        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        f = nx_modules_find(found, name);
        if (f != NULL)
            st = open_way(node, f, true);
        else if (strcmp(name, "quic") != 0)
            st = nx_fail(NEXAR_ECONFIG, "NEXAR_TRANSPORTS names %s, which is not there%s", name,
                         strcmp(name, "rdma") == 0 ? ": libnexar_rdma.so was not found beside libnexar" : "");
        if (f != NULL)
            f->library = NULL; /* the way's */
        p += n;
        if (*p == '\0')
            break;
    }
    return st;
}

static nexar_status open_all(struct nexar_node *node, const struct nx_modules *found)
{
    nexar_status st = NEXAR_OK;

    for (uint32_t i = 0; i < found->count && st == NEXAR_OK; i++) {
        st = open_way(node, &found->found[i], false);
        found->found[i].library = NULL;
    }
    return st;
}

nexar_status nx_ways_open(struct nx_net *net, const struct nx_way_options *o)
{
    struct nexar_node *node = nx_calloc(1, sizeof(*node));
    struct nx_module_found places[NX_WAYS_MAX];
    struct nx_modules found = {.found = places};
    nexar_status st;

    if (node == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the transports");
    node->net = net;
    nx_list_init(&node->watches);
    net->ways = node;
    if (o->transports == NULL || strcmp(o->transports, "quic") == 0)
        return NEXAR_OK;
    st = nx_modules_look(&found, o->own, o->modules, NX_WAYS_MAX);
    if (st == NEXAR_OK && strcmp(o->transports, "auto") == 0)
        st = open_all(node, &found);
    else if (st == NEXAR_OK)
        st = open_named(node, o->transports, &found);
    for (uint32_t i = 0; i < found.count; i++)
        nx_module_unload(found.found[i].library);
    return st;
}

void nx_ways_close(struct nx_net *net)
{
    struct nexar_node *node = net->ways;

    if (node == NULL)
        return;
    for (uint32_t i = node->count; i-- > 0;) {
        node->way[i].module->close(node->way[i].self);
        nx_module_unload(node->way[i].library);
    }
    net->ways = NULL;
    nx_free(node);
}

void *nx_way_self(struct nx_net *net, const char *name)
{
    for (uint32_t i = 0; net->ways != NULL && i < net->ways->count; i++) {
        if (strcmp(net->ways->way[i].module->name, name) == 0)
            return net->ways->way[i].self;
    }
    return NULL;
}

struct nx_way_stats *nx_way_stats_of(struct nx_net *net, const char *name)
{
    for (uint32_t i = 0; net->ways != NULL && i < net->ways->count; i++) {
        if (strcmp(net->ways->way[i].module->name, name) == 0)
            return &net->ways->way[i].stats;
    }
    return NULL;
}

/* ---- agreeing ---- */

static bool is_near(const struct nexar_node *node, uint32_t rank)
{
    return node->events.near(node->arg, rank);
}

/* Whether this end offers it to this peer.  By itself, shared memory within a host, other ways between hosts. */
static bool offers(const nexar_link *link)
{
    const struct nx_way *way = link->way;
    bool near = is_near(way->node, atomic_load(&link->conn->peer)->rank);

    return near == ((way->module->flags & NEXAR_MODULE_NEAR) != 0) ||
           ((way->named || way->foreign) && (way->module->flags & NEXAR_MODULE_NEAR) == 0);
}

static void say_ways(nexar_conn *conn)
{
    struct nx_message m = {.kind = NX_KIND_WAYS};
    char list[LIST_MAX] = "";
    size_t at = 0;

    for (uint32_t i = 0; i < conn->link_count; i++) {
        if (offers(&conn->links[i]))
            at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at == 0 ? "" : ",",
                                   conn->links[i].way->module->name);
    }
    m.ways.names = nx_text(list);
    if (nx_conn_control(conn, &m, false) != NEXAR_OK)
        nx_conn_shutdown(conn, NX_CLOSE_ABORTED);
}

/* Both ends have said what they offer. */
static void agree(nexar_conn *conn)
{
    for (uint32_t i = 0; i < conn->link_count; i++) {
        nexar_link *link = &conn->links[i];

        if (link->offered && offers(link) && !link->refused) {
            nx_link_attach(link, 1);
            continue;
        }
        link->generation = 1; /* of nothing */
        if (link->refused) {
            link->state = NX_LINK_USELESS;
            nx_link_settle(link);
            continue;
        }
        snprintf(link->why, sizeof(link->why), "%s",
                 offers(link)                                          ? "that rank does not offer it"
                 : (link->way->module->flags & NEXAR_MODULE_NEAR) != 0 ? "it runs on another host"
                                                                       : "it is not for ranks of one host");
        nx_link_settle(link);
    }
    if (conn->link_count == 0)
        nx_ways_settled_one(conn->net->ways);
}

/* The connection with a rank that speaks of ways, with a reference, or NULL. */
static nexar_conn *conn_of(struct nx_net *net, uint32_t rank)
{
    nexar_status st;
    nexar_conn *conn = net->peer[rank] == NULL ? NULL : nx_peer_conn(net->peer[rank], &st);

    if (conn == NULL || atomic_load(&conn->own))
        return conn;
    nx_conn_drop(conn);
    return NULL;
}

/* When all have said what they offer: some modules need to know who takes part before the first link is attached. */
static void agree_with_all(struct nexar_node *node)
{
    struct nx_net *net = node->net;
    bool all = node->begun && !node->agreed;

    for (uint32_t i = 0; all && i < net->config.size; i++) {
        nexar_conn *conn = conn_of(net, i);

        all = conn == NULL || conn->ways_heard;
        nx_conn_drop(conn);
    }
    if (!all)
        return;
    node->agreed = true;
    for (uint32_t i = 0; i < net->config.size; i++) {
        nexar_conn *conn = conn_of(net, i);

        if (conn != NULL)
            agree(conn);
        nx_conn_drop(conn);
    }
}

static bool on_ways(nexar_conn *conn, const struct nx_msg_ways *ways)
{
    struct nexar_node *node = conn->net->ways;

    if (conn->ways_heard)
        return false;
    conn->ways_heard = true;
    for (uint32_t i = 0; i < conn->link_count; i++)
        conn->links[i].offered = has_name(ways->names.data, ways->names.len, conn->links[i].way->module->name);
    agree_with_all(node);
    return true;
}

/* ---- settling ---- */

/* A link of this peer that is ready, if those that were named are all that may be used. */
static bool is_served(const nexar_conn *conn, const char **why)
{
    for (uint32_t i = 0; i < conn->link_count; i++) {
        if (conn->links[i].state == NX_LINK_READY)
            return true;
        *why = conn->links[i].why;
    }
    return false;
}

static void finish(struct nexar_node *node)
{
    struct nx_net *net = node->net;
    nexar_error error = {.status = NEXAR_OK};
    const char *why = "it speaks nexar/1, which has no other ways";

    nx_timer_cancel(&node->patience);
    node->done = true;
    for (uint32_t i = 0; node->strict && i < net->config.size && error.status == NEXAR_OK; i++) {
        nexar_status st;
        nexar_conn *conn = net->peer[i] == NULL ? NULL : nx_peer_conn(net->peer[i], &st);

        if (conn != NULL && !is_served(conn, &why))
            nx_error_set(&error, NEXAR_ECONFIG, i,
                         "none of the transports that NEXAR_TRANSPORTS names can be had with rank %u: %s", i, why);
        nx_conn_drop(conn);
    }
    node->events.settled(node->arg, error.status == NEXAR_OK ? NULL : &error);
}

void nx_ways_settled_one(struct nexar_node *node)
{
    if (node->unsettled > 0 && --node->unsettled == 0 && !node->done)
        finish(node);
}

static void patience_ends(struct nx_timer *timer)
{
    struct nexar_node *node = nx_container_of(timer, struct nexar_node, patience);

    for (uint32_t i = 0; !node->done && i < node->net->config.size; i++) {
        nexar_status st;
        nexar_conn *conn = node->net->peer[i] == NULL ? NULL : nx_peer_conn(node->net->peer[i], &st);

        for (uint32_t k = 0; conn != NULL && k < conn->link_count; k++) {
            if (!conn->links[k].settled)
                nx_link_break(&conn->links[k], true, "its two ends did not agree in time");
        }
        nx_conn_drop(conn);
    }
    if (!node->done)
        finish(node);
}

void nx_ways_begin(struct nx_net *net, const struct nx_way_events *events, void *arg)
{
    struct nexar_node *node = net->ways;

    node->events = *events;
    node->arg = arg;
    node->begun = true;
    node->unsettled = 1; /* this call */
    nx_timer_init(&node->patience, patience_ends);
    nx_timer_set(&node->patience, nx_now() + PATIENCE_S * NX_S);
    for (uint32_t i = 0; i < net->config.size; i++) {
        nexar_conn *conn = conn_of(net, i);

        if (conn != NULL) {
            node->unsettled += conn->link_count == 0 ? 1 : conn->link_count;
            say_ways(conn);
        }
        nx_conn_drop(conn);
    }
    agree_with_all(node);
    nx_ways_settled_one(node);
}

/* ---- connections ---- */

nexar_status nx_links_init(nexar_conn *conn)
{
    struct nexar_node *node = conn->net->ways;
    nexar_status st = NEXAR_OK;

    if (node == NULL || node->count == 0 || !atomic_load(&conn->own))
        return NEXAR_OK;
    conn->links = nx_calloc(node->count, sizeof(*conn->links));
    if (conn->links == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for the links of a connection");
    for (; st == NEXAR_OK && conn->link_count < node->count; conn->link_count++)
        st = nx_link_init(&conn->links[conn->link_count], &node->way[conn->link_count], conn);
    return st;
}

void nx_links_end(nexar_conn *conn, bool left)
{
    struct nexar_node *node = conn->net->ways;
    bool missing = node != NULL && node->begun && !conn->ways_heard && conn->link_count == 0;

    for (uint32_t i = 0; i < conn->link_count; i++)
        nx_link_end(&conn->links[i], left);
    if (missing && atomic_load(&conn->own) && atomic_load(&conn->peer) != NULL)
        nx_ways_settled_one(node);
}

void nx_links_free(nexar_conn *conn)
{
    for (uint32_t i = 0; i < conn->link_count; i++)
        nx_link_fini(&conn->links[i]);
    nx_free(conn->links);
}

bool nx_links_handle(nexar_conn *conn, const struct nx_message *m)
{
    struct nx_text name = m->kind == NX_KIND_WAY_OPEN   ? m->way_open.way
                          : m->kind == NX_KIND_WAY_TELL ? m->way_tell.way
                                                        : m->way_lost.way;

    if (m->kind == NX_KIND_WAYS)
        return on_ways(conn, &m->ways);
    for (uint32_t i = 0; i < conn->link_count; i++) {
        const char *own = conn->links[i].way->module->name;

        if (name.len == strlen(own) && memcmp(name.data, own, name.len) == 0)
            return nx_link_handle(&conn->links[i], m);
    }
    return false;
}
