/* node/meet.h - how ranks of one host and one user find rank 0 without a secret: it leaves its join string in a file
 * that only this user can read.
 *
 * The folder is $XDG_RUNTIME_DIR/nexar, and /tmp/nexar-UID where there is none; a folder that somebody else could write
 * to or read is not used.  The file is named after the job, and says which process wrote it: what a process that has
 * ended has left is passed over, and swept away by the next one that publishes.
 *
 * Rank 0 withdraws its file as soon as all ranks have joined, before it lets them go on: a later job of the same
 * processes has the same name. */
#ifndef NX_NODE_MEET_H
#define NX_NODE_MEET_H

#include "base/clock.h"
#include "base/status.h"

#include <stddef.h>

#define NX_MEET_ID 33
#define NX_MEET_FOLDERS 2

struct nx_meet_folders {
    char path[NX_MEET_FOLDERS][512]; /* best first */
    size_t count;
};

/* The folders of this user; `runtime` is the value of XDG_RUNTIME_DIR, or NULL. */
void nx_meet_folders(const char *runtime, struct nx_meet_folders *out);

struct nx_meet;

/* Leaves the join string in the first folder that is safe, in the place of what was there.  `job` is any text
 * (nx_env.here).  NEXAR_ECONFIG: no folder is safe, with the reasons; NEXAR_ESYSTEM, NEXAR_ENOMEM. */
nexar_status nx_meet_publish(const struct nx_meet_folders *folders, const char *job, const char *join,
                             struct nx_meet **out);

/* Takes the file away, unless somebody has replaced it, and frees the handle; in a forked child only the latter.  NULL
 * is legal. */
void nx_meet_withdraw(struct nx_meet *meet);

struct nx_meet_found {
    char id[NX_MEET_ID]; /* of this file's contents: another one for each that is published */
    char *join;          /* free with nx_free_secret */
};

/* Waits for the join string of a process that lives.  `refused`: the id of one that was found before and led nowhere,
 * which is passed over; or NULL.  Blocks; not on the engine.
 * NEXAR_ETIMEDOUT; NEXAR_EINTR (call again); NEXAR_ECONFIG: a file or every folder is not safe to use, with the reason;
 * NEXAR_EPROTO: the file is none of ours; NEXAR_ESYSTEM, NEXAR_ENOMEM. */
nexar_status nx_meet_find(const struct nx_meet_folders *folders, const char *job, const char *refused, nx_time deadline,
                          struct nx_meet_found *out);

#endif
