/* identity/private_file.h - reading a file that holds a secret. */
#ifndef NX_IDENTITY_PRIVATE_FILE_H
#define NX_IDENTITY_PRIVATE_FILE_H

#include "nexar/base.h"

/* The whole of a regular file that belongs to this user and that nobody else may read (mode 0600 or 0400); the path
 * may be a symbolic link to it.  *out is zero-terminated beyond *size, free with nx_free_secret.  NEXAR_ECONFIG with
 * a sentence that names the path if it is missing, somebody else's, readable by others or larger than `limit`;
 * NEXAR_ESYSTEM, NEXAR_ENOMEM. */
nexar_status nx_private_file_read(const char *path, size_t limit, char **out, size_t *size);

/* The same of a file that is open; `path` is for texts.  The descriptor stays the caller's. */
nexar_status nx_private_file_read_fd(int fd, const char *path, size_t limit, char **out, size_t *size);

#endif
