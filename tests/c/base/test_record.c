/* The flight recorder: what went in last is there, whole, in order, whoever writes at the same time; files that are
 * written beside what runs. */
#include "check.h"

#include "base/mem.h"
#include "base/record.h"
#include "base/spool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct nx_record record_of(uint64_t i)
{
    return (struct nx_record){.comm = i,
                              .id = ~i,
                              .call = i << 7,
                              .count = i * i,
                              .begun = (nx_time)i,
                              .ended = (nx_time)(i + 1),
                              .peer = (uint32_t)(i * 2654435761u),
                              .status = (uint8_t)(i % 18),
                              .kind = (uint8_t)(1 + i % 3)};
}

static bool is_record_of(const struct nx_record *r, uint64_t i)
{
    struct nx_record w = record_of(i);

    return r->comm == w.comm && r->id == w.id && r->call == w.call && r->count == w.count && r->begun == w.begun &&
           r->ended == w.ended && r->peer == w.peer && r->status == w.status && r->kind == w.kind;
}

static void test_ring(void **state)
{
    static struct nx_record list[NX_RECORDS];
    struct nx_recorder *recorder = calloc(1, sizeof(*recorder));
    struct nx_record r;
    uint64_t before;

    (void)state;
    assert_non_null(recorder);
    assert_int_equal(nx_record_list(recorder, list, &before), 0);
    assert_int_equal(before, 0);
    assert_false(nx_record_get(recorder, 0, &r));
    for (uint64_t i = 0; i < 2 * NX_RECORDS + 77; i++) {
        uint64_t n = i < NX_RECORDS ? i + 1 : NX_RECORDS;

        r = record_of(i);
        nx_record_put(recorder, &r);
        assert_true(nx_record_get(recorder, i, &r) && is_record_of(&r, i));
        assert_false(nx_record_get(recorder, i + 1, &r));
        if (i >= NX_RECORDS)
            assert_false(nx_record_get(recorder, i - NX_RECORDS, &r));
        assert_int_equal(nx_record_list(recorder, list, &before), n);
        assert_int_equal(before, i + 1 - n);
        assert_true(is_record_of(&list[0], i + 1 - n) && is_record_of(&list[n - 1], i));
    }
    free(recorder);
}

/* ---- several writers, and one who reads ---- */

enum { WRITERS = 3, EACH = 40000 };

struct shared {
    struct nx_recorder *recorder;
    _Atomic uint64_t next;
    _Atomic uint32_t writing;
};

static void *write_many(void *arg)
{
    struct shared *s = arg;

    for (int k = 0; k < EACH; k++) {
        struct nx_record r = record_of(atomic_fetch_add(&s->next, 1));

        nx_record_put(s->recorder, &r);
    }
    atomic_fetch_sub(&s->writing, 1);
    return NULL;
}

static void test_records_are_whole_while_others_write(void **state)
{
    static struct nx_record list[NX_RECORDS];
    struct shared s = {.recorder = calloc(1, sizeof(*s.recorder)), .writing = WRITERS};
    pthread_t thread[WRITERS];
    uint64_t before, read = 0;
    uint32_t n;

    (void)state;
    assert_non_null(s.recorder);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_many, &s), 0);
    do {
        n = nx_record_list(s.recorder, list, &before);
        for (uint32_t i = 0; i < n; i++)
            assert_true(is_record_of(&list[i], list[i].comm));
        read += n;
    } while (atomic_load(&s.writing) != 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(thread[i], NULL);
    n = nx_record_list(s.recorder, list, &before);
    /* A writer that was a whole ring behind may have written over another's, once each. */
    assert_in_range(n, NX_RECORDS - WRITERS, NX_RECORDS);
    assert_int_equal(before, WRITERS * EACH - NX_RECORDS);
    assert_true(read + n > 0);
    free(s.recorder);
}

/* ---- files ---- */

static char folder[] = "/tmp/nexar-record-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void check_file(const char *path, const char *text)
{
    char got[256] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    got[fread(got, 1, sizeof(got) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(got, text);
}

static char *copy(const char *text)
{
    char *to = nx_alloc(strlen(text) + 1);

    assert_non_null(to);
    return strcpy(to, text);
}

static void test_a_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    assert_ok(nx_spool_write(in_folder("one"), "first", 5));
    check_file(in_folder("one"), "first");
    assert_ok(nx_spool_write(in_folder("one"), "the second", 10));
    check_file(in_folder("one"), "the second");
    assert_ok(nx_spool_write(in_folder("one"), "", 0));
    check_file(in_folder("one"), "");
    assert_int_equal(unlink(in_folder("one")), 0);
}

static void test_what_cannot_be_written_is_said(void **state)
{
    (void)state;
    assert_status(nx_spool_write(in_folder("no/such/file"), "text", 4), NEXAR_ESYSTEM);
    assert_int_equal(mkdir(in_folder("folder"), 0700), 0);
    assert_status(nx_spool_write(in_folder("folder"), "text", 4), NEXAR_ESYSTEM); /* nothing is left */
    assert_non_null(strstr(nexar_last_error(), "cannot write "));
    assert_int_equal(rmdir(in_folder("folder")), 0);
    assert_int_equal(nx_spool_write("/dev/full/x", "text", 4), NEXAR_ESYSTEM);
}

static void test_files_are_written_beside(void **state)
{
    char name[16];

    (void)state;
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "%d", i);
        nx_spool_post(in_folder(name), copy(name), strlen(name));
    }
    nx_spool_post(in_folder("no/such/file"), copy("text"), 4); /* a warning, and no more */
    nx_spool_wait(CHECK_PATIENCE);
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "%d", i);
        check_file(in_folder(name), name);
        assert_int_equal(unlink(in_folder(name)), 0);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

/* Which also shows that no test has left anything there. */
static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_records_are_whole_while_others_write),
        cmocka_unit_test(test_a_file_is_replaced_as_a_whole),
        cmocka_unit_test(test_what_cannot_be_written_is_said),
        cmocka_unit_test(test_files_are_written_beside),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
