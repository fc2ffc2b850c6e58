/* base/process.c - asks /proc about processes.
 *
 * Owner: none, no state.  It signals nobody and waits for nobody. */
#include "base/process.h"

#include "base/mem.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ANCESTORS = 64,             /* that are asked */
    ENVIRONMENT_LIMIT = 1 << 22 /* bytes of one that are read */
};

/* Up to cap - 1 bytes of a file and a zero; -1 with errno. */
static ssize_t read_some(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t n = -1;

    if (fd < 0)
        return -1;
    while (have < cap - 1) {
        n = read(fd, out + have, cap - 1 - have);
        if (n > 0)
            have += (size_t)n;
        else if (n == 0 || errno != EINTR)
            break;
    }
    close(fd);
    out[have] = '\0';
    return n < 0 ? -1 : (ssize_t)have;
}

struct stat_line {
    char state;
    pid_t parent;
    uint64_t start;
};

/* Fields 3, 4 and 22 of /proc/PID/stat; the second is a name in parentheses that may hold anything. */
static bool read_stat(pid_t pid, struct stat_line *out)
{
    char path[64], line[1024], *at;
    long long parent;
    unsigned long long start;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (read_some(path, line, sizeof(line)) <= 0)
        return false;
    at = strrchr(line, ')');
    if (at == NULL ||
        sscanf(at + 1, " %c %lld %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &out->state,
               &parent, &start) != 3)
        return false;
    out->parent = (pid_t)parent;
    out->start = start;
    return true;
}

nexar_status nx_process_self(struct nx_process *out)
{
    static const char boot[] = "/proc/sys/kernel/random/boot_id", space[] = "/proc/self/ns/pid";
    char link[64] = {0};
    struct stat_line line;
    unsigned long long number;

    *out = (struct nx_process){.pid = getpid()};
    if (!read_stat(out->pid, &line))
        return nx_fail(NEXAR_ESYSTEM, "/proc/%d/stat cannot be read: is /proc there?", (int)out->pid);
    if (read_some(boot, out->boot, sizeof(out->boot)) < 0)
        return nx_fail(NEXAR_ESYSTEM, "%s: %s", boot, strerror(errno));
    out->boot[strcspn(out->boot, " \n")] = '\0';
    if (readlink(space, link, sizeof(link) - 1) < 0 || sscanf(link, "pid:[%llu]", &number) != 1)
        return nx_fail(NEXAR_ESYSTEM, "%s cannot be read", space);
    out->start = line.start;
    out->pid_space = number;
    return NEXAR_OK;
}

bool nx_process_lives(const struct nx_process *process)
{
    struct stat_line line;
    struct nx_process self;

    if (nx_process_self(&self) != NEXAR_OK)
        return true;
    if (strcmp(self.boot, process->boot) != 0)
        return false;
    if (self.pid_space != process->pid_space)
        return true;
    return read_stat(process->pid, &line) && line.start == process->start && line.state != 'Z' && line.state != 'X';
}

void nx_process_text(const struct nx_process *process, char out[NX_PROCESS_TEXT])
{
    snprintf(out, NX_PROCESS_TEXT, "%d %llu %llu %s", (int)process->pid, (unsigned long long)process->start,
             (unsigned long long)process->pid_space, process->boot);
}

bool nx_process_parse(const char *text, struct nx_process *out)
{
    unsigned long long start, space;
    int pid, end = 0;

    *out = (struct nx_process){0};
    if (sscanf(text, "%9d %19llu %19llu %39[0-9a-f-]%n", &pid, &start, &space, out->boot, &end) != 4)
        return false;
    out->pid = (pid_t)pid;
    out->start = start;
    out->pid_space = space;
    return pid > 0 && text[end] == '\0';
}

/* True if the first environment of a process has this variable with this value. */
static bool began_with(pid_t pid, const char *variable, const char *value)
{
    size_t name = strlen(variable), n = strlen(value);
    char path[64], *text = nx_alloc(ENVIRONMENT_LIMIT);
    ssize_t size;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    size = text == NULL ? -1 : read_some(path, text, ENVIRONMENT_LIMIT);
    for (ssize_t at = 0; at < size && !found; at += (ssize_t)strlen(text + at) + 1)
        found = strncmp(text + at, variable, name) == 0 && text[at + (ssize_t)name] == '=' &&
                strncmp(text + at + name + 1, value, n + 1) == 0;
    nx_free(text);
    return found;
}

void nx_process_starter(const char *variable, const char *value, char *out, size_t cap)
{
    pid_t pid = getppid();
    struct stat_line line;

    out[0] = '\0';
    for (int i = 0; i < ANCESTORS && pid > 0; i++) {
        if (!read_stat(pid, &line))
            return;
        if (variable == NULL || line.parent == 0 || !began_with(pid, variable, value)) {
            snprintf(out, cap, "%d.%llu", (int)pid, (unsigned long long)line.start);
            return;
        }
        pid = line.parent;
    }
}
