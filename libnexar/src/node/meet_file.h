/* node/meet_file.h - one folder of node/meet.h and the files in it. */
#ifndef NX_NODE_MEET_FILE_H
#define NX_NODE_MEET_FILE_H

#include "base/process.h"
#include "node/meet.h"

#define NX_MEET_NAME 48 /* of a file, with its zero */

/* Opens a folder, and makes it if it is missing.  NEXAR_ECONFIG: somebody else could use it; NEXAR_ESYSTEM. */
nexar_status nx_meet_open_folder(const char *path, int *fd);

/* The name of a job's file. */
nexar_status nx_meet_name(const char *job, char out[NX_MEET_NAME]);

/* Writes a file that others see whole or not at all; *fd is open on it, and tells it from any that comes after it. */
nexar_status nx_meet_write(int folder, const char *path, const char *name, const char *id, const char *join, int *fd);

/* Takes a file away if it is still the one that is open as `fd`. */
void nx_meet_remove(int folder, const char *name, int fd);

struct nx_meet_file {
    int fd;
    char id[NX_MEET_ID];
    struct nx_process writer;
    char *join; /* owned */
};

/* Free with nx_meet_file_free, whatever it returns.  NEXAR_EAGAIN, without a text: there is none.  Else as
 * nx_meet_find. */
nexar_status nx_meet_read(int folder, const char *path, const char *name, struct nx_meet_file *out);
void nx_meet_file_free(struct nx_meet_file *file);

/* Takes away what processes have left that have ended. */
void nx_meet_sweep(int folder, const char *path);

#endif
