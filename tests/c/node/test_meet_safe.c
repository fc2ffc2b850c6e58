/* Meeting by file: files and folders that are not safe, and contents that are none of ours. */
#include "node/meet.h"

#include "node/meet_kit.h"

/* ---- not safe ---- */

/* Puts a file there that is right but for one thing. */
static void leave(const char *job, mode_t mode, const char *contents)
{
    struct nx_meet *meet = publish(job, "nexar://a");
    char copy[2048];
    int fd;

    fd = open(file_of(job), O_RDONLY);
    copy[read(fd, copy, sizeof(copy) - 1)] = '\0';
    close(fd);
    nx_meet_withdraw(meet);
    fd = open(file_of(job), O_WRONLY | O_CREAT | O_EXCL, 0600);
    contents = contents == NULL ? copy : contents;
    assert_int_equal(write(fd, contents, strlen(contents)), strlen(contents));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void test_files_that_are_not_safe(void **state)
{
    struct nx_meet_found found;

    (void)state;
    leave("a", 0600, NULL);
    assert_found("a", "nexar://a");
    leave("mode", 0640, NULL);
    assert_refused(find("mode", NULL, SOON, &found), NEXAR_ECONFIG, "has mode 0640");
    assert_null(found.join);
    assert_int_equal(symlink(file_of("a"), file_of("link")), 0);
    assert_refused(find("link", NULL, SOON, &found), NEXAR_ECONFIG, "it is a symbolic link");
    assert_int_equal(mkfifo(file_of("pipe"), 0600), 0);
    assert_refused(find("pipe", NULL, SOON, &found), NEXAR_ECONFIG, "is not a file");
    if (geteuid() == 0) {
        leave("owner", 0600, NULL);
        assert_int_equal(chown(file_of("owner"), 12345, (gid_t)-1), 0);
        assert_refused(find("owner", NULL, SOON, &found), NEXAR_ECONFIG, "belongs to user 12345");
    }
}

static void test_files_that_are_none_of_ours(void **state)
{
    static const char *const contents[] = {
        "",
        "nexar-meet 1",
        "nexar-meet 2\nid 0123456789abcdef0123456789abcdef\nwriter 1 2 3 a\njoin nexar://a\n",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcde\nwriter 1 2 3 a\njoin nexar://a\n",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcdef\nwriter 1 2 3\njoin nexar://a\n",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcdef\nwriter 1 2 3 a\njoin nexar://a",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcdef\nwriter 1 2 3 a\njoin nexar://a\n\n",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcdef\njoin nexar://a\nwriter 1 2 3 a\n",
        "nexar-meet 1\nid 0123456789abcdef0123456789abcdef\nwriter 1 2 3 a\n",
    };
    struct nx_meet_found found;
    struct nx_meet *meet;
    char *large;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        leave("a", 0600, contents[i]);
        assert_refused(find("a", NULL, SOON, &found), NEXAR_EPROTO, "is no file of this version of nexar");
        unlink(file_of("a"));
    }
    /* a sparse terabyte is not read */
    fd = open(file_of("a"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    close(fd);
    assert_refused(find("a", NULL, SOON, &found), NEXAR_ECONFIG, "has more than");
    /* rank 0 puts things right */
    meet = publish("a", "nexar://a");
    assert_found("a", "nexar://a");
    nx_meet_withdraw(meet);
    large = malloc(5000);
    memset(large, 'x', 5000);
    large[4999] = '\0';
    assert_refused(nx_meet_publish(&folders, "a", large, &meet), NEXAR_EINVAL, "at most 4096 characters");
    assert_null(meet);
    assert_int_equal(files(folders.path[0]), 0);
    free(large);
}

static void test_folders_that_are_not_safe(void **state)
{
    struct nx_meet_found found;
    struct nx_meet *meet;

    (void)state;
    /* one is enough; the other is passed over by rank 0 and by those who wait */
    assert_int_equal(mkdir(folders.path[0], 0755), 0);
    assert_int_equal(chmod(folders.path[0], 0755), 0);
    meet = publish("a", "nexar://a");
    assert_int_equal(files(folders.path[0]), 0);
    assert_int_equal(files(folders.path[1]), 1);
    assert_found("a", "nexar://a");
    nx_meet_withdraw(meet);

    assert_refused(nx_meet_publish(&one, "a", "nexar://a", &meet), NEXAR_ECONFIG, "has mode 0755; it needs 0700");
    assert_refused(nx_meet_find(&one, "a", NULL, NX_NEVER, &found), NEXAR_ECONFIG, "no safe place to meet");
    rmdir(folders.path[0]);
    /* a link to a folder that would be right */
    assert_int_equal(symlink(folders.path[1], folders.path[0]), 0);
    assert_refused(nx_meet_publish(&one, "a", "nexar://a", &meet), NEXAR_ECONFIG, folders.path[0]);
    assert_refused(nx_meet_find(&one, "a", NULL, NX_NEVER, &found), NEXAR_ECONFIG, folders.path[0]);
    unlink(folders.path[0]);
    close(open(folders.path[0], O_CREAT | O_WRONLY, 0600));
    assert_refused(nx_meet_publish(&one, "a", "nexar://a", &meet), NEXAR_ECONFIG, "Not a directory");
    unlink(folders.path[0]);
    if (geteuid() == 0) {
        assert_int_equal(mkdir(folders.path[0], 0700), 0);
        assert_int_equal(chown(folders.path[0], 12345, (gid_t)-1), 0);
        assert_refused(nx_meet_publish(&one, "a", "nexar://a", &meet), NEXAR_ECONFIG, "belongs to user 12345");
        assert_refused(nx_meet_find(&one, "a", NULL, NX_NEVER, &found), NEXAR_ECONFIG, "belongs to user 12345");
    }
}

static void test_folders_of_a_user(void **state)
{
    struct nx_meet_folders out;
    char last[64];

    (void)state;
    snprintf(last, sizeof(last), P_tmpdir "/nexar-%u", (unsigned)geteuid());
    nx_meet_folders(NULL, &out);
    assert_int_equal(out.count, 1);
    assert_string_equal(out.path[0], last);
    nx_meet_folders(scratch, &out);
    assert_int_equal(out.count, 2);
    assert_string_equal(out.path[0], in(scratch, "nexar"));
    assert_string_equal(out.path[1], last);
    nx_meet_folders("relative", &out);
    assert_int_equal(out.count, 1);
    nx_meet_folders(in(scratch, "nothing"), &out); /* exported from another host */
    assert_int_equal(out.count, 1);
    if (geteuid() == 0) {
        assert_int_equal(mkdir(folders.path[0], 0700), 0);
        assert_int_equal(chown(folders.path[0], 12345, (gid_t)-1), 0);
    }
    nx_meet_folders(geteuid() == 0 ? folders.path[0] : "/", &out); /* somebody else's */
    assert_int_equal(out.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_files_that_are_not_safe, clean),
        cmocka_unit_test_teardown(test_files_that_are_none_of_ours, clean),
        cmocka_unit_test_teardown(test_folders_that_are_not_safe, clean),
        cmocka_unit_test_teardown(test_folders_of_a_user, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
