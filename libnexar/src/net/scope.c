/* net/scope.c - communicators in the lane table: which collectives run, and order between two ranks.
 *
 * Owner: the table's lock.  A scope may exist before its communicator does here, since a faster rank may send first; it
 * knows nothing of members. */
#include "net/match.h"

#include "wire/tag.h"

enum { ORPHANS_MAX = 256 }; /* of one peer */

struct nx_scope *nx_scope_find(struct nx_lanes *lanes, uint64_t id)
{
    for (struct nx_hash_node *n = nx_hash_first(&lanes->scopes, nx_hash_mix(0, id)); n != NULL; n = nx_hash_next(n)) {
        struct nx_scope *scope = nx_container_of(n, struct nx_scope, node);

        if (scope->id == id)
            return scope;
    }
    return NULL;
}

static struct nx_scope *make(struct nx_lanes *lanes, uint64_t id)
{
    struct nx_scope *scope = nx_calloc(1, sizeof(*scope) + lanes->size * sizeof(scope->peer[0]));

    if (scope == NULL)
        return NULL;
    scope->id = id;
    nx_list_init(&scope->wildcards);
    nx_list_init(&scope->unread);
    nx_list_init(&scope->coll_unread);
    nx_list_init(&scope->running);
    nx_list_init(&scope->dropped);
    nx_list_init(&scope->probes);
    nx_hash_insert(&lanes->scopes, &scope->node, nx_hash_mix(0, id));
    return scope;
}

static bool was_closed(const struct nx_lanes *lanes, uint64_t id)
{
    uint32_t n = lanes->closed_count < NX_CLOSED_SCOPES ? lanes->closed_count : NX_CLOSED_SCOPES;

    for (uint32_t i = 0; i < n; i++) {
        if (lanes->closed[i] == id)
            return true;
    }
    return false;
}

struct nx_scope *nx_scope_for_arrival(struct nx_lanes *lanes, uint32_t peer, uint64_t id, nexar_status *st)
{
    struct nx_scope *scope = nx_scope_find(lanes, id);

    *st = NEXAR_OK;
    if (scope != NULL && scope->peer[peer].stranger)
        *st = nx_fail(NEXAR_EPROTO, "it sent a message of a communicator of which it is no member");
    if (scope != NULL)
        return scope;
    if (was_closed(lanes, id)) {
        *st = NEXAR_ECLOSED;
    } else if (lanes->peer[peer].orphans >= ORPHANS_MAX) {
        *st = nx_fail(NEXAR_EPROTO, "it sent messages of more than %d communicators that are not known here",
                      ORPHANS_MAX);
    } else {
        scope = make(lanes, id);
        if (scope == NULL)
            *st = nx_fail(NEXAR_ENOMEM, "no memory for a communicator");
    }
    if (scope != NULL) {
        scope->maker = peer;
        lanes->peer[peer].orphans++;
    }
    return scope;
}

nexar_status nx_scope_open(struct nx_lanes *lanes, uint64_t id, void *owner, const struct nx_scope_events *events,
                           struct nx_scope **out)
{
    struct nx_scope *scope;
    nexar_status st = NEXAR_OK;

    *out = NULL;
    nx_lock(&lanes->lock);
    scope = nx_scope_find(lanes, id);
    if (scope != NULL && scope->claimed)
        st = nx_fail(NEXAR_EINVAL, "there is a communicator with the id %016llx already", (unsigned long long)id);
    else if (scope != NULL)
        lanes->peer[scope->maker].orphans--;
    else
        scope = make(lanes, id);
    if (st == NEXAR_OK && scope == NULL)
        st = nx_fail(NEXAR_ENOMEM, "no memory for a communicator");
    if (st == NEXAR_OK) {
        scope->claimed = true;
        for (uint32_t i = 0; i < NX_CLOSED_SCOPES; i++) {
            if (lanes->closed[i] == id)
                lanes->closed[i] = 0; /* open again; 0 is no communicator's */
        }
        scope->owner = owner;
        scope->events = events;
        *out = scope;
    }
    nx_unlock(&lanes->lock);
    return st;
}

void nx_scope_members(struct nx_lanes *lanes, struct nx_scope *scope, const uint32_t *world, uint32_t size)
{
    if (world == NULL)
        return;
    nx_lock(&lanes->lock);
    for (uint32_t i = 0; i < lanes->size; i++)
        scope->peer[i].stranger = true;
    for (uint32_t i = 0; i < size; i++)
        scope->peer[world[i]].stranger = false;
    nx_unlock(&lanes->lock);
}

static void drop_unread(struct nx_lanes *lanes, struct nx_list *head, struct nx_todo *todo)
{
    nx_list_for_each_safe(pos, tmp, head) nx_msg_discard(lanes, nx_container_of(pos, struct nx_msg, scope_link), todo);
}

void *nx_scope_owner(struct nx_lanes *lanes, uint64_t id)
{
    struct nx_scope *scope;
    void *owner = NULL;

    nx_lock(&lanes->lock);
    scope = nx_scope_find(lanes, id);
    if (scope != NULL && scope->claimed && scope->events != NULL) {
        owner = scope->owner;
        scope->events->hold(owner);
    }
    nx_unlock(&lanes->lock);
    return owner;
}

uint32_t nx_scope_list(struct nx_lanes *lanes, void **owners, uint32_t max)
{
    uint32_t n = 0;

    nx_lock(&lanes->lock);
    for (struct nx_hash_node *node = nx_hash_walk(&lanes->scopes, NULL); node != NULL && n < max;
         node = nx_hash_walk(&lanes->scopes, node)) {
        struct nx_scope *scope = nx_container_of(node, struct nx_scope, node);

        if (!scope->claimed || scope->events == NULL)
            continue;
        scope->events->hold(scope->owner);
        owners[n++] = scope->owner;
    }
    nx_unlock(&lanes->lock);
    return n;
}

void nx_scope_stop(struct nx_lanes *lanes, struct nx_scope *scope)
{
    nx_lock(&lanes->lock);
    scope->stopped = true;
    nx_list_for_each_safe(pos, tmp, &scope->probes)
        nx_waiter_wake(&nx_container_of(pos, struct nx_probe, link)->waiter);
    nx_unlock(&lanes->lock);
}

void nx_scope_close(struct nx_lanes *lanes, struct nx_scope *scope)
{
    struct nx_list *pos;
    struct nx_todo todo;

    if (scope == NULL)
        return;
    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    drop_unread(lanes, &scope->unread, &todo);
    drop_unread(lanes, &scope->coll_unread, &todo);
    nx_order_drop(lanes, scope, &todo);
    nx_hash_remove(&lanes->scopes, &scope->node);
    if (scope->claimed)
        lanes->closed[lanes->closed_count++ % NX_CLOSED_SCOPES] = scope->id;
    else
        lanes->peer[scope->maker].orphans--;
    while ((pos = nx_list_pop(&scope->probes)) != NULL)
        nx_waiter_wake(&nx_container_of(pos, struct nx_probe, link)->waiter);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
    nx_free(scope);
}

/* ---- collectives ---- */

static void remember_call(struct nx_scope *scope, const struct nx_coll_call *call)
{
    const struct nx_coll_run *last = &scope->runs[(scope->run_count - 1) % NX_COLL_RUNS];

    if (scope->run_count == 0 || last->call != call->call || last->count != call->count)
        scope->runs[scope->run_count++ % NX_COLL_RUNS] =
            (struct nx_coll_run){.from = call->sequence, .call = call->call, .count = call->count};
}

bool nx_scope_begin(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call, uint32_t *peer,
                    uint64_t *their_call, uint64_t *their_count)
{
    bool fits = true;

    nx_lock(&lanes->lock);
    nx_list_push_back(&scope->running, &call->link);
    if (call->sequence > scope->started)
        scope->started = call->sequence;
    remember_call(scope, call);
    nx_list_for_each_safe(pos, tmp, &scope->coll_unread)
    {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, scope_link);

        if (nx_tag_sequence(msg->key.id) == call->sequence && (msg->call != call->call || msg->count != call->count)) {
            *peer = msg->key.peer;
            *their_call = msg->call;
            *their_count = msg->count;
            fits = false;
            break;
        }
    }
    nx_unlock(&lanes->lock);
    return fits;
}

static void drop_sequence(struct nx_lanes *lanes, struct nx_scope *scope, uint64_t sequence, struct nx_todo *todo)
{
    nx_list_for_each_safe(pos, tmp, &scope->coll_unread)
    {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, scope_link);

        if (nx_tag_sequence(msg->key.id) != sequence)
            continue;
        atomic_fetch_add_explicit(&lanes->stats.stale, 1, memory_order_relaxed);
        nx_msg_discard(lanes, msg, todo);
    }
}

void nx_scope_drop(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call)
{
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    nx_list_push_back(&scope->dropped, &call->link);
    drop_sequence(lanes, scope, call->sequence, &todo);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

void nx_scope_undrop(struct nx_lanes *lanes, struct nx_coll_call *call)
{
    nx_lock(&lanes->lock);
    nx_list_remove(&call->link);
    nx_unlock(&lanes->lock);
}

void nx_scope_break(struct nx_lanes *lanes, struct nx_scope *scope, uint64_t last)
{
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    if (scope->last == 0 || last < scope->last)
        scope->last = last == 0 ? 1 : last; /* there is no collective 0 */
    nx_list_for_each_safe(pos, tmp, &scope->coll_unread)
    {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, scope_link);

        if (nx_tag_sequence(msg->key.id) > scope->last)
            nx_msg_discard(lanes, msg, &todo);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

static void remember_failed(struct nx_scope *scope, uint64_t sequence)
{
    uint64_t *place = &scope->failed[scope->failed_count++ % NX_COLL_FAILED];

    if (*place > scope->forgotten)
        scope->forgotten = *place;
    *place = sequence;
}

void nx_scope_end(struct nx_lanes *lanes, struct nx_scope *scope, struct nx_coll_call *call, bool well)
{
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    nx_list_remove(&call->link);
    if (!well)
        remember_failed(scope, call->sequence);
    drop_sequence(lanes, scope, call->sequence, &todo);
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

/* Of one that began here and does not run. */
static bool ended_well(const struct nx_scope *scope, uint64_t sequence)
{
    for (uint32_t i = 0; i < NX_COLL_FAILED; i++) {
        if (scope->failed[i] == sequence)
            return false;
    }
    return sequence > scope->forgotten;
}

/* What was called; NULL if that was too long ago. */
static const struct nx_coll_run *find_run(const struct nx_scope *scope, uint64_t sequence)
{
    uint32_t n = scope->run_count < NX_COLL_RUNS ? scope->run_count : NX_COLL_RUNS;

    for (uint32_t i = 1; i <= n; i++) {
        const struct nx_coll_run *run = &scope->runs[(scope->run_count - i) % NX_COLL_RUNS];

        if (run->from <= sequence)
            return run;
    }
    return NULL;
}

static struct nx_coll_call *find_running(struct nx_scope *scope, uint64_t sequence)
{
    nx_list_for_each_safe(pos, tmp, &scope->running)
    {
        struct nx_coll_call *call = nx_container_of(pos, struct nx_coll_call, link);

        if (call->sequence == sequence)
            return call;
    }
    return NULL;
}

bool nx_scope_ended_well(struct nx_lanes *lanes, uint64_t id, uint64_t sequence)
{
    struct nx_scope *scope;
    bool well;

    nx_lock(&lanes->lock);
    scope = nx_scope_find(lanes, id);
    well = scope != NULL && sequence <= scope->started && find_running(scope, sequence) == NULL &&
           ended_well(scope, sequence);
    nx_unlock(&lanes->lock);
    return well;
}

static bool is_dropped(const struct nx_scope *scope, uint64_t sequence)
{
    for (const struct nx_list *pos = scope->dropped.next; pos != &scope->dropped; pos = pos->next) {
        if (nx_container_of(pos, struct nx_coll_call, link)->sequence == sequence)
            return true;
    }
    return false;
}

static void misfit(struct nx_scope *scope, const struct nx_msg *msg, struct nx_misfit m, struct nx_todo *todo)
{
    if (scope->events == NULL || todo->misfit_to != NULL)
        return;
    m.peer = msg->key.peer;
    m.sequence = nx_tag_sequence(msg->key.id);
    m.call = msg->call;
    m.count = msg->count;
    todo->misfit_to = scope->events;
    todo->misfit_owner = scope->owner;
    todo->misfit = m;
    scope->events->hold(scope->owner);
}

void nx_scope_passed(struct nx_lanes *lanes, struct nx_scope *scope, const struct nx_coll_call *call)
{
    struct nx_todo todo;

    nx_todo_init(&todo);
    nx_lock(&lanes->lock);
    if (call->sequence > scope->started)
        scope->started = call->sequence;
    remember_call(scope, call);
    nx_list_for_each_safe(pos, tmp, &scope->coll_unread)
    {
        struct nx_msg *msg = nx_container_of(pos, struct nx_msg, scope_link);

        if (nx_tag_sequence(msg->key.id) == call->sequence && nx_scope_unwanted(lanes, msg, scope, &todo))
            nx_msg_discard(lanes, msg, &todo);
    }
    nx_unlock(&lanes->lock);
    nx_todo_run(lanes, &todo);
}

bool nx_scope_unwanted(struct nx_lanes *lanes, struct nx_msg *msg, struct nx_scope *scope, struct nx_todo *todo)
{
    uint64_t sequence = nx_tag_sequence(msg->key.id);
    const struct nx_coll_run *run;
    struct nx_coll_call *call;
    bool fits;

    if (scope->last != 0 && sequence > scope->last) {
        atomic_fetch_add_explicit(&lanes->stats.stale, 1, memory_order_relaxed);
        return true;
    }
    if (!scope->claimed || (sequence > scope->started && !is_dropped(scope, sequence)))
        return false;
    call = find_running(scope, sequence);
    if (call != NULL) {
        fits = call->call == msg->call && call->count == msg->count;
        if (!fits)
            misfit(scope, msg, (struct nx_misfit){.known = true, .our_call = call->call, .our_count = call->count},
                   todo);
        return !fits;
    }
    if (sequence <= scope->started && ended_well(scope, sequence)) {
        run = find_run(scope, sequence);
        /* A note (the last step) of somebody who waits for others too has the same call, and is no news. */
        if (run == NULL && nx_tag_step(msg->key.id) != NX_TAG_STEP_MAX)
            misfit(scope, msg, (struct nx_misfit){.known = false}, todo);
        else if (run != NULL && (run->call != msg->call || run->count != msg->count))
            misfit(scope, msg, (struct nx_misfit){.known = true, .our_call = run->call, .our_count = run->count}, todo);
    }
    atomic_fetch_add_explicit(&lanes->stats.stale, 1, memory_order_relaxed);
    return true;
}
