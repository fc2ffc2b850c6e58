/* Shared secrets: which are strong enough, which files are taken, and no secret in any error. */
#include "identity/secret.h"

#include "identity/kit.h"
#include "identity/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX64 "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static nexar_status take(const char *text, struct nx_proof_key *out)
{
    return nx_secret_from_bytes("NEXAR_SECRET", text, strlen(text), out);
}

static void test_strong_ones(void **state)
{
    static const char *const strong[] = {
        HEX64,
        "9f86d081884c7d659a2feaa0c55ad015", /* 32 hexadecimal digits */
        "9F86D081884C7D659A2FEAA0C55AD015",
        "314159265358979323846264338327950288419", /* 39 digits */
        "qmwnebrvtcyxuzilokpjahgsfdqw",            /* 28 letters of one case */
        "q7w9e2r4t6y8u1i3o5pza0sxd",               /* 25, with digits */
        "QmWnEbRvTcYxUzIlOkPjAhG",                 /* 23 letters */
        "Qm7nEb9vTc2xUz4lOk6jA1",                  /* 22 letters and digits */
        "Qm7nEb9vTc+xUz4lOk/jA1==",                /* 24 of base64 */
        "Qm7n!b9vT#2xU%4l(k6j",                    /* 20 printable */
        "correct horse battery staple",
    };
    struct nx_proof_key keys[sizeof(strong) / sizeof(strong[0])];

    (void)state;
    for (size_t i = 0; i < sizeof(strong) / sizeof(strong[0]); i++) {
        assert_ok(take(strong[i], &keys[i]));
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(&keys[i], &keys[k], sizeof(keys[i]));
    }
}

/* The same without their last character are just too short, and some are hopeless. */
static void test_weak_ones(void **state)
{
    static const struct {
        const char *text, *words;
    } weak[] = {
        {"", "is empty"},
        {"\n", "is empty"},
        {"9f86d081884c7d659a2feaa0c55ad01", "31 characters of its kind are at most 124 bits, 128 are needed"},
        {"31415926535897932384626433832795028841", "38 characters of its kind are at most 126 bits"},
        {"qmwnebrvtcyxuzilokpjahgsfdq", "27 characters"},
        {"q7w9e2r4t6y8u1i3o5pza0sx", "24 characters"},
        {"QmWnEbRvTcYxUzIlOkPjAh", "22 characters"},
        {"Qm7nEb9vTc2xUz4lOk6jA", "21 characters"},
        {"Qm7n!b9vT#2xU%4l(k6", "19 characters"},
        {"secret", "6 characters of its kind are at most 28 bits"},
        {"0123456789abcde", "15 characters"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "only 1 different"},
        {"abcdeabcdeabcdeabcdeabcdeabcdeabcdeabcdeabcde", "only 5 different"},
    };
    struct nx_proof_key key, zeros = {{0}};

    (void)state;
    for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
        assert_refused(take(weak[i].text, &key), NEXAR_ECONFIG, weak[i].words);
        assert_memory_equal(&key, &zeros, sizeof(key));
        assert_non_null(strstr(nexar_last_error(), "NEXAR_SECRET"));
        if (strlen(weak[i].text) > 1)
            assert_null(strstr(nexar_last_error(), weak[i].text));
    }
}

static void test_raw_bytes(void **state)
{
    uint8_t bytes[NX_SECRET_LIMIT + 1];
    struct nx_proof_key key;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(128 + i % 100);
    assert_ok(nx_secret_from_bytes("it", bytes, 16, &key));
    assert_refused(nx_secret_from_bytes("it", bytes, 15, &key), NEXAR_ECONFIG, "at most 120 bits");
    assert_ok(nx_secret_from_bytes("it", bytes, NX_SECRET_LIMIT, &key));
    assert_refused(nx_secret_from_bytes("it", bytes, NX_SECRET_LIMIT + 1, &key), NEXAR_ECONFIG, "more than 4096 bytes");
}

static void test_line_end_is_not_part_of_it(void **state)
{
    struct nx_proof_key plain, lf, crlf, two, space;

    (void)state;
    assert_ok(take(HEX64, &plain));
    assert_ok(take(HEX64 "\n", &lf));
    assert_ok(take(HEX64 "\r\n", &crlf));
    assert_ok(take(HEX64 "\n\n", &two));
    assert_ok(take(HEX64 " ", &space));
    assert_memory_equal(&plain, &lf, sizeof(plain));
    assert_memory_equal(&plain, &crlf, sizeof(plain));
    assert_memory_not_equal(&plain, &two, sizeof(plain));
    assert_memory_not_equal(&plain, &space, sizeof(plain));
}

static char folder[64];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, P_tmpdir "/nexar-test-XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *in_folder(const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    return path;
}

static const char *write_file(const char *bytes, size_t size, mode_t mode)
{
    const char *path = in_folder("secret");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void test_file_of_right_mode(void **state)
{
    struct nx_proof_key from_file, from_text;
    const char *path;

    (void)state;
    assert_ok(take(HEX64, &from_text));
    path = write_file(HEX64 "\n", 65, 0600);
    assert_ok(nx_secret_from_file(path, &from_file));
    assert_memory_equal(&from_file, &from_text, sizeof(from_file));
    unlink(path);
    path = write_file(HEX64, 64, 0400);
    assert_ok(nx_secret_from_file(path, &from_file));
    assert_memory_equal(&from_file, &from_text, sizeof(from_file));
    unlink(path);
}

static void test_file_of_wrong_mode(void **state)
{
    static const mode_t modes[] = {0604, 0640, 0644, 0660, 0666, 0700,  0440,
                                   0404, 0602, 0620, 0200, 0000, 04600, 01600};
    struct nx_proof_key key, zeros = {{0}};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        const char *path = write_file(HEX64, 64, modes[i]);
        bool readable = geteuid() == 0 || (modes[i] & 0400) != 0;

        assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG,
                       readable ? "a secret needs 0600 or 0400" : "Permission denied");
        assert_non_null(strstr(nexar_last_error(), path));
        assert_memory_equal(&key, &zeros, sizeof(key));
        unlink(path);
    }
}

static void test_file_of_another_user(void **state)
{
    const char *path = write_file(HEX64, 64, 0600);
    struct nx_proof_key key;

    (void)state;
    if (geteuid() == 0)
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    else
        path = "/etc/passwd";
    if (geteuid() == 0)
        assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "belongs to user 12345");
    else
        assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "belongs to user 0");
    unlink(in_folder("secret"));
}

static void test_things_that_are_no_files(void **state)
{
    struct nx_proof_key key;
    const char *path = in_folder("pipe");

    (void)state;
    assert_refused(nx_secret_from_file(in_folder("nothing"), &key), NEXAR_ECONFIG, "No such file");
    assert_refused(nx_secret_from_file(folder, &key), NEXAR_ECONFIG, "is not a file");
    path = in_folder("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "is not a file"); /* and does not hang */
    unlink(path);
}

static void test_link_to_a_file(void **state)
{
    struct nx_proof_key key;
    char file[128];

    (void)state;
    strcpy(file, write_file(HEX64, 64, 0600));
    assert_int_equal(symlink("secret", in_folder("link")), 0);
    assert_ok(nx_secret_from_file(in_folder("link"), &key));
    assert_int_equal(chmod(file, 0644), 0);
    assert_refused(nx_secret_from_file(in_folder("link"), &key), NEXAR_ECONFIG, "mode 0644");
    unlink(in_folder("link"));
    unlink(file);
}

static void test_files_of_any_size(void **state)
{
    static char bytes[NX_SECRET_LIMIT + 3];
    struct nx_proof_key key;
    const char *path;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = "0123456789abcdef"[i % 16];
    path = write_file(bytes, 0, 0600);
    assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "is empty");
    path = write_file(bytes, NX_SECRET_LIMIT, 0600);
    assert_ok(nx_secret_from_file(path, &key));
    path = write_file(bytes, NX_SECRET_LIMIT + 1, 0600);
    assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "more than 4096 bytes");
    path = write_file(bytes, NX_SECRET_LIMIT + 3, 0600);
    assert_refused(nx_secret_from_file(path, &key), NEXAR_ECONFIG, "more than 4098 bytes");
    unlink(path);
}

static void test_private_file_is_read_whole(void **state)
{
    const char *path = write_file("nexar://\0x", 10, 0600);
    size_t size;
    char *text;

    (void)state;
    assert_ok(nx_private_file_read(path, 10, &text, &size));
    assert_int_equal(size, 10);
    assert_memory_equal(text, "nexar://\0x", 11);
    nx_free_secret(text);
    assert_refused(nx_private_file_read(path, 9, &text, &size), NEXAR_ECONFIG, "more than 9 bytes");
    assert_null(text);
    unlink(path);
}

static nexar_status read_secret(void *arg)
{
    struct nx_proof_key key;

    return nx_secret_from_file(arg, &key);
}

static void test_allocations_fail(void **state)
{
    const char *path = write_file(HEX64, 64, 0600);

    (void)state;
    torture(read_secret, (void *)(uintptr_t)path);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strong_ones),
        cmocka_unit_test(test_weak_ones),
        cmocka_unit_test(test_raw_bytes),
        cmocka_unit_test(test_line_end_is_not_part_of_it),
        cmocka_unit_test(test_file_of_right_mode),
        cmocka_unit_test(test_file_of_wrong_mode),
        cmocka_unit_test(test_file_of_another_user),
        cmocka_unit_test(test_things_that_are_no_files),
        cmocka_unit_test(test_link_to_a_file),
        cmocka_unit_test(test_files_of_any_size),
        cmocka_unit_test(test_private_file_is_read_whole),
        cmocka_unit_test(test_allocations_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
