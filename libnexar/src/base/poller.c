/* base/poller.c - sources of events that no descriptor tells of.
 *
 * Owner: the engine.  It knows neither what they look at nor how long anybody sleeps. */
#include "base/turn.h"

static struct nx_list pollers = {&pollers, &pollers};
static _Atomic bool exist;          /* or did once */
static struct nx_list *next_poller; /* of the walk that goes on, so that a poller may remove any of them */

void nx_poller_add(struct nx_poller *poller)
{
    nx_list_push_back(&pollers, &poller->link);
    atomic_store(&exist, true);
}

bool nx_pollers_exist(void)
{
    return atomic_load_explicit(&exist, memory_order_relaxed);
}

bool nx_pollers_leave(void)
{
    return atomic_load(&nx_engine.in_flight) == 0 || nx_pollers_doze();
}

void nx_poller_remove(struct nx_poller *poller)
{
    if (next_poller == &poller->link)
        next_poller = poller->link.next;
    nx_list_remove(&poller->link);
}

bool nx_pollers_poll(void)
{
    bool did = false;

    for (struct nx_list *pos = pollers.next; pos != &pollers; pos = next_poller) {
        struct nx_poller *poller = nx_container_of(pos, struct nx_poller, link);

        next_poller = pos->next;
        did = poller->poll(poller) || did;
    }
    return did;
}

bool nx_pollers_doze(void)
{
    bool may = true;

    for (struct nx_list *pos = pollers.next; pos != &pollers; pos = pos->next) {
        struct nx_poller *poller = nx_container_of(pos, struct nx_poller, link);

        may = (poller->doze == NULL || poller->doze(poller)) && may;
    }
    return may;
}

void nx_pollers_awake(void)
{
    for (struct nx_list *pos = pollers.next; pos != &pollers; pos = pos->next) {
        struct nx_poller *poller = nx_container_of(pos, struct nx_poller, link);

        if (poller->awake != NULL)
            poller->awake(poller);
    }
}
