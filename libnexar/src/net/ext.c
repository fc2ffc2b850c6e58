/* net/ext.c - extension slots: objects that others hang on a connection, found by the address of a key.
 *
 * Owner: the connection's lock; an object is freed without it, exactly once.  What the objects are is nobody's business
 * here. */
#include "base/slab.h"
#include "net/conn.h"

struct slot {
    struct nx_list link;
    const nexar_ext_key *key;
    void *object;
    nexar_ext_free free_fn;
};

static struct slot *find(nexar_conn *conn, const nexar_ext_key *key)
{
    nx_list_for_each_safe(pos, tmp, &conn->slots)
    {
        struct slot *slot = nx_container_of(pos, struct slot, link);

        if (slot->key == key)
            return slot;
    }
    return NULL;
}

static void release(struct slot *slot)
{
    if (slot == NULL)
        return;
    if (slot->free_fn != NULL)
        slot->free_fn(slot->object);
    nx_free(slot);
}

nexar_status nexar_conn_ext_set(nexar_conn *conn, const nexar_ext_key *key, void *object, nexar_ext_free free_fn)
{
    struct slot *slot = NULL, *old;

    if (conn == NULL || key == NULL)
        return nx_fail(NEXAR_EINVAL, "ext_set: the connection or the key is NULL");
    if (object != NULL) {
        slot = nx_calloc(1, sizeof(*slot));
        if (slot == NULL)
            return nx_fail(NEXAR_ENOMEM, "ext_set: no memory for a slot");
        slot->key = key;
        slot->object = object;
        slot->free_fn = free_fn;
    }
    nx_lock(&conn->lock);
    old = find(conn, key);
    if (old != NULL)
        nx_list_remove(&old->link);
    if (slot != NULL)
        nx_list_push_back(&conn->slots, &slot->link);
    nx_unlock(&conn->lock);
    release(old);
    return NEXAR_OK;
}

void *nexar_conn_ext_get(nexar_conn *conn, const nexar_ext_key *key)
{
    struct slot *slot;
    void *object;

    if (conn == NULL || key == NULL)
        return NULL;
    nx_lock(&conn->lock);
    slot = find(conn, key);
    object = slot == NULL ? NULL : slot->object;
    nx_unlock(&conn->lock);
    return object;
}

void nx_ext_free_all(nexar_conn *conn)
{
    struct nx_list *pos;

    while ((pos = nx_list_pop(&conn->slots)) != NULL)
        release(nx_container_of(pos, struct slot, link));
}
