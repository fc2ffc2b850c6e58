/* node/meet_kit.h - what the tests of meeting by file share: folders of their own, and what is in them. */
#ifndef NX_TESTS_NODE_MEET_KIT_H
#define NX_TESTS_NODE_MEET_KIT_H

#include "node/meet.h"

#include "identity/kit.h"
#include "node/meet_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOON (5 * NX_S)      /* more than anything here takes */
#define AT_ONCE (20 * NX_MS) /* for what is not to be found */

static char scratch[64];
static struct nx_meet_folders folders, one;

KIT const char *in(const char *folder, const char *name)
{
    static char path[4][1024];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
    return path[next];
}

KIT void empty(const char *folder)
{
    DIR *dir = opendir(folder);

    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlink(in(folder, e->d_name));
    if (dir != NULL)
        closedir(dir);
    rmdir(folder);
}

KIT int setup(void **state)
{
    (void)state;
    strcpy(scratch, P_tmpdir "/nexar-test-XXXXXX");
    if (mkdtemp(scratch) == NULL)
        return -1;
    folders.count = 2;
    snprintf(folders.path[0], sizeof(folders.path[0]), "%s/first", scratch);
    snprintf(folders.path[1], sizeof(folders.path[1]), "%s/second", scratch);
    one = folders;
    one.count = 1;
    return 0;
}

KIT int clean(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        if (unlink(folders.path[i]) != 0)
            empty(folders.path[i]);
    }
    return 0;
}

KIT int teardown(void **state)
{
    clean(state);
    return rmdir(scratch);
}

KIT size_t files(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t n = 0;

    for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    if (dir != NULL)
        closedir(dir);
    return n;
}

KIT const char *file_of(const char *job)
{
    char name[NX_MEET_NAME];

    assert_ok(nx_meet_name(job, name));
    return in(folders.path[0], name);
}

KIT nexar_status find(const char *job, const char *refused, nx_time span, struct nx_meet_found *out)
{
    return nx_meet_find(&folders, job, refused, nx_after(nx_now(), span), out);
}

KIT void assert_found(const char *job, const char *join)
{
    struct nx_meet_found found;

    assert_ok(find(job, NULL, SOON, &found));
    assert_string_equal(found.join, join);
    nx_free_secret(found.join);
}

KIT void assert_nothing(const char *job, const char *words)
{
    struct nx_meet_found found;

    assert_refused(find(job, NULL, AT_ONCE, &found), NEXAR_ETIMEDOUT, words);
    assert_null(found.join);
}

KIT struct nx_meet *publish(const char *job, const char *join)
{
    struct nx_meet *meet;

    assert_ok(nx_meet_publish(&folders, job, join, &meet));
    return meet;
}

#endif
