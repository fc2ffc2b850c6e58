/* comm/dump.h - the flight recorder as JSON: what a node did last, and what it is in (docs/ERRORS.md). */
#ifndef NX_COMM_DUMP_H
#define NX_COMM_DUMP_H

#include "net/net.h"

/* The whole text; *text is to be freed.  `reason`: why it is written.  NEXAR_ENOMEM. */
nexar_status nx_dump_text(struct nx_net *net, const char *reason, char **text, size_t *n);

/* Dumps go to this folder by themselves: on errors, and on SIGUSR1 where the program leaves that signal alone.  Copied;
 * NULL: none do.  NEXAR_ENOMEM. */
nexar_status nx_dump_open(struct nx_net *net, const char *folder);
/* Accepts what was never opened. */
void nx_dump_close(struct nx_net *net);

/* Any thread.  A collective has ended with this error: a dump, if there is a folder, and the last one was not just now.
 * It does not wait for the disk. */
void nx_dump_on_error(struct nx_net *net, const nexar_error *error);

/* Engine.  SIGUSR1 has come. */
void nx_dump_on_signal(struct nx_net *net);

#endif
