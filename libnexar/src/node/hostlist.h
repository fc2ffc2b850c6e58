/* node/hostlist.h - Slurm's short forms: "node[003-010,12],x1" for hosts, "2(x3),1" for tasks on each of them. */
#ifndef NX_NODE_HOSTLIST_H
#define NX_NODE_HOSTLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first host.  False if the text is none, or the name does not fit. */
bool nx_hostlist_first(const char *text, char *out, size_t cap);

/* Tasks on the node with this index.  False if the text is none, or has fewer nodes. */
bool nx_tasks_on_node(const char *text, uint32_t node, uint32_t *out);

#endif
