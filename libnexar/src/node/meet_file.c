/* node/meet_file.c - writing, reading and sweeping the files by which ranks of one host meet.
 *
 * Owner: none, no state; several processes use a folder at the same time, and none holds a lock.  A file is made under
 * another name and renamed, so that nobody sees a part of it; it is taken away by being renamed first, so that nobody's
 * newer one is lost.  Which file counts is decided in node/meet.c. */
#include "node/meet_file.h"

#include "base/mem.h"
#include "identity/digest.h"
#include "identity/encode.h"
#include "identity/join_string.h"
#include "identity/private_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "nexar-meet 1\n"
#define SUFFIX ".join"
#define TEMPORARY ".making-"
#define FILE_LIMIT (NX_JOIN_STRING_LIMIT + 512)

enum {
    SWEEP_LIMIT = 1000,  /* entries that are looked at */
    ABANDONED_AFTER = 60 /* seconds, for a file that was being made */
};

nexar_status nx_meet_open_folder(const char *path, int *fd)
{
    struct stat st;
    nexar_status status = NEXAR_OK;
    unsigned mode;

    *fd = -1;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return nx_fail(NEXAR_ESYSTEM, "%s: %s", path, strerror(errno));
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*fd < 0)
        return nx_fail(errno == ENOTDIR || errno == ELOOP ? NEXAR_ECONFIG : NEXAR_ESYSTEM, "%s: %s", path,
                       errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    if (fstat(*fd, &st) != 0)
        status = nx_fail(NEXAR_ESYSTEM, "%s: %s", path, strerror(errno));
    mode = status == NEXAR_OK ? (unsigned)st.st_mode & 07777 : 0;
    if (status == NEXAR_OK && st.st_uid != geteuid())
        status = nx_fail(NEXAR_ECONFIG, "%s belongs to user %u, this process runs as user %u", path,
                         (unsigned)st.st_uid, (unsigned)geteuid());
    else if (status == NEXAR_OK && mode != 0700)
        status = nx_fail(NEXAR_ECONFIG, "%s has mode %04o; it needs 0700 (chmod 700)", path, mode);
    if (status != NEXAR_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

nexar_status nx_meet_name(const char *job, char out[NX_MEET_NAME])
{
    uint8_t digest[NX_SHA256_SIZE];
    nexar_status status = nx_sha256(job, strlen(job), digest);

    if (status != NEXAR_OK)
        return status;
    nx_hex(digest, 16, out);
    strcat(out, SUFFIX);
    return NEXAR_OK;
}

/* ---- writing ---- */

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);

        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            bytes += written;
            n -= (size_t)written;
        }
    }
    return true;
}

static nexar_status write_contents(int fd, const char *path, const char *id, const char *join)
{
    char writer[NX_PROCESS_TEXT], *text;
    struct nx_process self;
    nexar_status status = nx_process_self(&self);
    int n;

    if (status != NEXAR_OK)
        return status;
    text = nx_alloc(FILE_LIMIT);
    if (text == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a join string");
    nx_process_text(&self, writer);
    n = snprintf(text, FILE_LIMIT, HEAD "id %s\nwriter %s\njoin %s\n", id, writer, join);
    if (n >= FILE_LIMIT)
        status = nx_fail(NEXAR_EINVAL, "a join string has at most %d characters", NX_JOIN_STRING_LIMIT);
    else if (fchmod(fd, 0600) != 0 || !write_all(fd, text, (size_t)n))
        status = nx_fail(NEXAR_ESYSTEM, "cannot write in %s: %s", path, strerror(errno));
    nx_free_secret(text);
    return status;
}

nexar_status nx_meet_write(int folder, const char *path, const char *name, const char *id, const char *join, int *fd)
{
    char temporary[sizeof(TEMPORARY) + NX_MEET_ID];
    nexar_status status;

    snprintf(temporary, sizeof(temporary), TEMPORARY "%s", id);
    *fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*fd < 0)
        return nx_fail(NEXAR_ESYSTEM, "cannot make a file in %s: %s", path, strerror(errno));
    status = write_contents(*fd, path, id, join);
    if (status == NEXAR_OK && renameat(folder, temporary, folder, name) != 0)
        status = nx_fail(NEXAR_ESYSTEM, "cannot rename a file in %s: %s", path, strerror(errno));
    if (status != NEXAR_OK) {
        unlinkat(folder, temporary, 0);
        close(*fd);
        *fd = -1;
    }
    return status;
}

/* While it is open, no other file gets its number. */
static bool is_same(int folder, const char *name, int fd)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && fstatat(folder, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino &&
           a.st_dev == b.st_dev;
}

void nx_meet_remove(int folder, const char *name, int fd)
{
    char aside[sizeof(TEMPORARY) + 32];
    uint8_t random[8];

    if (!is_same(folder, name, fd) || nx_random(random, sizeof(random)) != NEXAR_OK)
        return;
    strcpy(aside, TEMPORARY);
    nx_hex(random, sizeof(random), aside + strlen(TEMPORARY));
    if (renameat(folder, name, folder, aside) != 0)
        return;
    /* Somebody may have put a newer one there in between: it goes back, unless there is one newer still. */
    if (!is_same(folder, aside, fd))
        (void)renameat2(folder, aside, folder, name, RENAME_NOREPLACE);
    unlinkat(folder, aside, 0);
}

/* ---- reading ---- */

/* The rest of the line after `key` and a space, cut off *text; NULL if the line has another key. */
static char *line_of(char **text, const char *key)
{
    size_t n = strlen(key);
    char *value = *text, *end = strchr(*text, '\n');

    if (end == NULL || strncmp(value, key, n) != 0 || value[n] != ' ')
        return NULL;
    *end = '\0';
    *text = end + 1;
    return value + n + 1;
}

static bool parse(char *text, size_t size, struct nx_meet_file *out)
{
    char *rest = text + strlen(HEAD);
    char *id = line_of(&rest, "id"), *writer = id == NULL ? NULL : line_of(&rest, "writer");
    char *join = writer == NULL ? NULL : line_of(&rest, "join");

    if (join == NULL || rest != text + size || strlen(id) != NX_MEET_ID - 1 || !nx_process_parse(writer, &out->writer))
        return false;
    memcpy(out->id, id, NX_MEET_ID);
    out->join = join;
    return true;
}

nexar_status nx_meet_read(int folder, const char *path, const char *name, struct nx_meet_file *out)
{
    char full[640], *text = NULL;
    nexar_status status;
    size_t size;

    *out = (struct nx_meet_file){.fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (out->fd < 0 && errno == ENOENT)
        return NEXAR_EAGAIN;
    snprintf(full, sizeof(full), "%s/%s", path, name);
    if (out->fd < 0)
        return nx_fail(NEXAR_ECONFIG, "%s: %s", full, errno == ELOOP ? "it is a symbolic link" : strerror(errno));
    status = nx_private_file_read_fd(out->fd, full, FILE_LIMIT, &text, &size);
    if (status == NEXAR_OK && (strncmp(text, HEAD, strlen(HEAD)) != 0 || !parse(text, size, out)))
        status = nx_fail(NEXAR_EPROTO, "%s is no file of this version of nexar (%s)", full, nexar_version());
    if (status == NEXAR_OK) {
        out->join = nx_strdup(out->join);
        if (out->join == NULL)
            status = nx_fail(NEXAR_ENOMEM, "no memory for a join string");
    } else {
        out->join = NULL;
    }
    nx_free_secret(text);
    return status;
}

void nx_meet_file_free(struct nx_meet_file *file)
{
    nx_free_secret(file->join);
    file->join = NULL;
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* ---- sweeping ---- */

static void sweep_one(int folder, const char *path, const char *name)
{
    size_t n = strlen(name), suffix = strlen(SUFFIX);
    struct timespec now;
    struct stat st;

    if (n > suffix && n < NX_MEET_NAME && strcmp(name + n - suffix, SUFFIX) == 0) {
        struct nx_meet_file file;

        if (nx_meet_read(folder, path, name, &file) == NEXAR_OK && !nx_process_lives(&file.writer))
            nx_meet_remove(folder, name, file.fd);
        nx_meet_file_free(&file);
    } else if (strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0) {
        clock_gettime(CLOCK_REALTIME, &now);
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && now.tv_sec - st.st_mtime > ABANDONED_AFTER)
            unlinkat(folder, name, 0);
    }
}

void nx_meet_sweep(int folder, const char *path)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (int i = 0; i < SWEEP_LIMIT && (entry = readdir(dir)) != NULL; i++)
        sweep_one(folder, path, entry->d_name);
    closedir(dir);
}
