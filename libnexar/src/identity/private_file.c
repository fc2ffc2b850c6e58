/* identity/private_file.c - reading a file that holds a secret.
 *
 * Owner: none, no state.  The checks are made on the open file, not on its path, so that it cannot be exchanged in
 * between. */
#include "identity/private_file.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static nexar_status check(int fd, const char *path)
{
    struct stat st;
    unsigned mode;

    if (fstat(fd, &st) != 0)
        return nx_fail(NEXAR_ESYSTEM, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return nx_fail(NEXAR_ECONFIG, "%s is not a file", path);
    if (st.st_uid != geteuid())
        return nx_fail(NEXAR_ECONFIG, "%s belongs to user %u, this process runs as user %u", path, (unsigned)st.st_uid,
                       (unsigned)geteuid());
    mode = (unsigned)st.st_mode & 07777;
    if (mode != 0600 && mode != 0400)
        return nx_fail(NEXAR_ECONFIG, "%s has mode %04o; a secret needs 0600 or 0400 (chmod 600)", path, mode);
    return NEXAR_OK;
}

/* Up to `room` bytes, -1 with errno. */
static ssize_t read_all(int fd, char *to, size_t room)
{
    size_t have = 0;

    while (have < room) {
        ssize_t n = read(fd, to + have, room - have);

        if (n == 0)
            break;
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)have;
}

nexar_status nx_private_file_read_fd(int fd, const char *path, size_t limit, char **out, size_t *size)
{
    nexar_status status = check(fd, path);
    char *data = NULL;
    ssize_t n;

    *out = NULL;
    *size = 0;
    if (status != NEXAR_OK)
        return status;
    data = nx_alloc(limit + 1);
    if (data == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to read %s", path);
    n = read_all(fd, data, limit + 1);
    if (n >= 0 && (size_t)n <= limit) {
        data[n] = '\0';
        *out = data;
        *size = (size_t)n;
        return NEXAR_OK;
    }
    status = n < 0 ? nx_fail(NEXAR_ESYSTEM, "%s: %s", path, strerror(errno))
                   : nx_fail(NEXAR_ECONFIG, "%s has more than %zu bytes", path, limit);
    nx_free_secret(data);
    return status;
}

nexar_status nx_private_file_read(const char *path, size_t limit, char **out, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a pipe must not hold us here */
    nexar_status status;

    *out = NULL;
    *size = 0;
    if (fd < 0)
        return nx_fail(NEXAR_ECONFIG, "%s: %s", path, strerror(errno));
    status = nx_private_file_read_fd(fd, path, limit, out, size);
    close(fd);
    return status;
}
