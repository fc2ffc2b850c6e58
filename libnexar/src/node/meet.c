/* node/meet.c - rank 0 leaves its join string, the others wait for it.
 *
 * Owner: a handle belongs to the thread that published; waiting happens on the caller's thread, in inotify.  It checks
 * no join string, and connects to nobody. */
#include "node/meet.h"

#include "base/log.h"
#include "base/mem.h"
#include "identity/digest.h"
#include "identity/encode.h"
#include "node/meet_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often one looks where the system has no inotify to give: by default it has 128 for all processes of a user. */
#define WITHOUT_NOTICES (20 * NX_MS)

struct nx_meet {
    int folder, file;
    char name[NX_MEET_NAME];
    pid_t pid;
};

void nx_meet_folders(const char *runtime, struct nx_meet_folders *out)
{
    struct stat st;

    *out = (struct nx_meet_folders){.count = 0};
    /* Jobs that are started elsewhere have a variable of that host. */
    if (runtime != NULL && runtime[0] == '/' && strlen(runtime) < sizeof(out->path[0]) - 8 && stat(runtime, &st) == 0 &&
        st.st_uid == geteuid())
        snprintf(out->path[out->count++], sizeof(out->path[0]), "%s/nexar", runtime);
    snprintf(out->path[out->count++], sizeof(out->path[0]), P_tmpdir "/nexar-%u", (unsigned)geteuid());
}

/* ---- rank 0 ---- */

static nexar_status open_first(const struct nx_meet_folders *folders, int *fd, const char **path)
{
    char reasons[400] = "";
    nexar_status status = NEXAR_ECONFIG;

    for (size_t i = 0; i < folders->count; i++) {
        size_t n = strlen(reasons);

        status = nx_meet_open_folder(folders->path[i], fd);
        *path = folders->path[i];
        if (status == NEXAR_OK)
            return status;
        snprintf(reasons + n, sizeof(reasons) - n, "%s%.190s", n == 0 ? "" : "; ", nexar_last_error());
    }
    return nx_fail(status, "ranks of this host have no safe place to meet: %s", reasons);
}

nexar_status nx_meet_publish(const struct nx_meet_folders *folders, const char *job, const char *join,
                             struct nx_meet **out)
{
    struct nx_meet *meet = nx_calloc(1, sizeof(*meet));
    uint8_t random[(NX_MEET_ID - 1) / 2];
    const char *path = "";
    char id[NX_MEET_ID];
    nexar_status status;

    *out = NULL;
    if (meet == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory to publish a join string");
    meet->folder = meet->file = -1;
    meet->pid = getpid();
    status = nx_meet_name(job, meet->name);
    if (status == NEXAR_OK)
        status = nx_random(random, sizeof(random));
    if (status == NEXAR_OK)
        status = open_first(folders, &meet->folder, &path);
    if (status != NEXAR_OK)
        goto fail;
    nx_hex(random, sizeof(random), id);
    nx_meet_sweep(meet->folder, path);
    status = nx_meet_write(meet->folder, path, meet->name, id, join, &meet->file);
    if (status != NEXAR_OK)
        goto fail;
    nx_debug("ranks of this host meet at %s/%s", path, meet->name);
    *out = meet;
    return NEXAR_OK;

fail:
    if (meet->folder >= 0)
        close(meet->folder);
    nx_free(meet);
    return status;
}

void nx_meet_withdraw(struct nx_meet *meet)
{
    if (meet == NULL)
        return;
    if (meet->pid == getpid())
        nx_meet_remove(meet->folder, meet->name, meet->file);
    close(meet->file);
    close(meet->folder);
    nx_free(meet);
}

/* ---- the others ---- */

/* No folder stays open while one waits: the notice that it is gone would not come. */
struct search {
    const struct nx_meet_folders *folders;
    char name[NX_MEET_NAME];
    const char *refused;
    int notices; /* inotify; -1 if the system has none to give */
    bool usable[NX_MEET_FOLDERS];
    char passed_over[200]; /* why the last file was */
};

static void unwatch(struct search *s)
{
    if (s->notices >= 0)
        close(s->notices);
    s->notices = -1;
}

/* Asks for notices of what is put into the folders.  Rank 0 may come later and use any that it can. */
static nexar_status watch(struct search *s)
{
    char path[64], reasons[400] = "";
    nexar_status status = NEXAR_ECONFIG;
    bool usable = false;

    unwatch(s);
    s->notices = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (size_t i = 0; i < s->folders->count; i++) {
        size_t n = strlen(reasons);
        int folder;

        status = nx_meet_open_folder(s->folders->path[i], &folder);
        s->usable[i] = status == NEXAR_OK;
        usable = usable || s->usable[i];
        if (status != NEXAR_OK) {
            snprintf(reasons + n, sizeof(reasons) - n, "%s%.190s", n == 0 ? "" : "; ", nexar_last_error());
            continue;
        }
        /* The folder that was checked, whatever its path leads to now. */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", folder);
        if (s->notices >= 0 && inotify_add_watch(s->notices, path, IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
            unwatch(s);
        close(folder);
    }
    return usable ? NEXAR_OK : nx_fail(status, "ranks of this host have no safe place to meet: %s", reasons);
}

/* NEXAR_EAGAIN: nothing that counts, yet. */
static nexar_status look_into(struct search *s, const char *path, struct nx_meet_found *out)
{
    struct nx_meet_file file;
    nexar_status status;
    int folder;

    status = nx_meet_open_folder(path, &folder);
    if (status != NEXAR_OK)
        return status;
    status = nx_meet_read(folder, path, s->name, &file);
    close(folder);
    if (status == NEXAR_OK && s->refused != NULL && strcmp(file.id, s->refused) == 0) {
        snprintf(s->passed_over, sizeof(s->passed_over), "; one of process %d led nowhere", (int)file.writer.pid);
        status = NEXAR_EAGAIN;
    } else if (status == NEXAR_OK && !nx_process_lives(&file.writer)) {
        snprintf(s->passed_over, sizeof(s->passed_over), "; one was left by process %d, which has ended",
                 (int)file.writer.pid);
        status = NEXAR_EAGAIN;
    } else if (status == NEXAR_OK) {
        memcpy(out->id, file.id, sizeof(out->id));
        out->join = file.join;
        file.join = NULL;
    }
    nx_meet_file_free(&file);
    return status;
}

static nexar_status look(struct search *s, struct nx_meet_found *out)
{
    nexar_status status = NEXAR_EAGAIN;

    for (size_t i = 0; i < s->folders->count && status == NEXAR_EAGAIN; i++) {
        if (s->usable[i])
            status = look_into(s, s->folders->path[i], out);
    }
    return status;
}

/* True if a folder itself has gone. */
static bool drain(int notices)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool gone = false;
    ssize_t n;

    while ((n = read(notices, buffer, sizeof(buffer))) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)(buffer + at);

            gone = gone || (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_Q_OVERFLOW)) != 0;
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
    return gone;
}

/* NEXAR_OK: something may have changed. */
static nexar_status wait_for_change(struct search *s, nx_time deadline)
{
    struct pollfd notices = {.fd = s->notices, .events = POLLIN};
    nx_time now = nx_now(), end = deadline;
    struct timespec span;
    int n;

    if (now >= deadline)
        return NEXAR_ETIMEDOUT;
    if (s->notices < 0 && now + WITHOUT_NOTICES < deadline)
        end = now + WITHOUT_NOTICES;
    span = (struct timespec){.tv_sec = (end - now) / NX_S, .tv_nsec = (end - now) % NX_S};
    n = ppoll(&notices, s->notices < 0 ? 0 : 1, end == NX_NEVER ? NULL : &span, NULL);
    if (n < 0)
        return errno == EINTR ? nx_fail(NEXAR_EINTR, "interrupted while waiting for rank 0 on this host")
                              : nx_fail(NEXAR_ESYSTEM, "poll: %s", strerror(errno));
    return n > 0 && drain(s->notices) ? watch(s) : NEXAR_OK;
}

static nexar_status too_late(const struct search *s)
{
    nexar_status status =
        nx_fail(NEXAR_ETIMEDOUT, "rank 0 has left no join string for this job in %s%s%s%s", s->folders->path[0],
                s->folders->count > 1 ? " or " : "", s->folders->count > 1 ? s->folders->path[1] : "", s->passed_over);

    nx_error_hint(nx_last_error(),
                  "Is rank 0 running, on this host and as this user?  If the ranks were started from different places, "
                  "give all the same NEXAR_JOB_ID; if they are on several hosts, the same NEXAR_SECRET and "
                  "NEXAR_MASTER_ADDR.");
    return status;
}

nexar_status nx_meet_find(const struct nx_meet_folders *folders, const char *job, const char *refused, nx_time deadline,
                          struct nx_meet_found *out)
{
    struct search s = {.folders = folders, .refused = refused, .notices = -1};
    nexar_status status = nx_meet_name(job, s.name);

    *out = (struct nx_meet_found){.join = NULL};
    if (status == NEXAR_OK)
        status = watch(&s);
    while (status == NEXAR_OK) {
        status = look(&s, out);
        if (status != NEXAR_EAGAIN)
            break;
        status = wait_for_change(&s, deadline);
    }
    unwatch(&s);
    return status == NEXAR_ETIMEDOUT ? too_late(&s) : status;
}
