/* test_tcp_tls.c - who is let in: wrong certificates, no certificate, tokens that are unknown, used or void, strangers
 * that say nothing or nonsense, and settings that differ. */
#include "bulk/tcp_frame.h"
#include "tcp_kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    struct tcp_kit kit; /* first: identity functions take it */
    struct nx_tcp_words offer;
    size_t offer_size;
    uint8_t bytes[NX_TCP_WORDS_MAX];
    bool keep; /* the offer does not reach the dialler */
    bool spoil_secret;
    _Atomic bool offered;
} it;

static int setup(void **state)
{
    (void)state;
    memset(&it, 0, sizeof(it));
    kit_init(&it.kit);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_free(&it.kit);
    return 0;
}

/* Sees the offer, which only the two ranks know. */
static bool words(void *arg, uint32_t from, void *bytes, size_t n)
{
    struct nx_tcp_words w;

    (void)arg;
    (void)from;
    if (!nx_tcp_words_read(bytes, n, &w) || w.word != NX_TCP_OFFER)
        return true;
    it.offer = w;
    it.offer_size = n;
    memcpy(it.bytes, bytes, n);
    if (it.spoil_secret) {
        w.secret[3] ^= 1;
        nx_tcp_words_write(bytes, &w);
    }
    atomic_store(&it.offered, true);
    return !it.keep;
}

static struct fake_options options(uint64_t seed)
{
    struct fake_options o = kit_options(&it.kit, seed);

    o.words = words;
    return o;
}

/* ---- strangers ---- */

static int dial_at(const char *text)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    const char *colon = strrchr(text, ':');
    char host[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static int dial(void)
{
    return dial_at(it.offer.address[0]);
}

static void say(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static void name_token(int fd, uint64_t token, uint8_t stream)
{
    uint8_t bytes[NX_TCP_PREAMBLE];

    nx_tcp_preamble_write(bytes, token, stream);
    say(fd, bytes, sizeof(bytes));
}

/* Whatever is still said, it ends. */
static bool hung_up(int fd)
{
    uint8_t waste[512];
    ssize_t n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

/* ---- certificates ---- */

static void never_ready(const char *reason)
{
    struct fake_options o = options(1);
    struct fake_pair *pair = fake_open(&o);

    assert_driven(fake_state(pair, 1) == FAKE_UNUSABLE); /* it dials */
    if (reason != NULL && strstr(pair->node[1].link.why, reason) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", pair->node[1].link.why, reason);
    assert_non_null(strstr(pair->node[1].link.why, "rank 1 and rank 0"));
    assert_int_not_equal(fake_state(pair, 0), FAKE_READY);
    fake_close(pair);
}

static void test_t8_a_dialler_of_another_authority_is_refused(void **state)
{
    (void)state;
    it.kit.show[1] = &it.kit.stranger;
    never_ready(NULL);
}

static void test_t8_one_who_is_dialled_of_another_authority_is_refused(void **state)
{
    (void)state;
    it.kit.show[0] = &it.kit.stranger;
    never_ready("certificate");
}

static void test_t8_another_member_of_the_cluster_is_refused_by_the_dialler(void **state)
{
    (void)state;
    it.kit.expect[1] = it.kit.name[1];
    never_ready("another member");
}

static void test_t8_another_member_of_the_cluster_is_refused_by_the_one_dialled(void **state)
{
    (void)state;
    it.kit.expect[0] = it.kit.name[0];
    never_ready(NULL);
}

static void test_t8_a_name_that_begins_like_the_right_one_is_refused(void **state)
{
    char name[NX_NAME_SIZE];

    (void)state;
    snprintf(name, sizeof(name), "%.*s", (int)strlen(it.kit.name[0]) - 1, it.kit.name[0]);
    it.kit.expect[1] = name;
    never_ready("another member");
}

static void test_t8_without_a_certificate_nobody_comes_in(void **state)
{
    struct fake_options o = options(2);
    struct fake_pair *pair;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    uint8_t byte;
    int fd;

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(atomic_load(&it.offered));
    fd = dial();
    name_token(fd, it.offer.token, 0);
    SSL_set_fd(ssl, fd);
    (void)SSL_connect(ssl); /* in TLS 1.3 it succeeds before it is judged */
    assert_int_equal(SSL_read(ssl, &byte, 1) <= 0, 1);
    assert_driven(hung_up(fd));
    assert_int_equal(fake_state(pair, 0), FAKE_ATTACHED);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    fake_close(pair);
}

static void test_a_member_that_does_not_know_the_secret_is_refused(void **state)
{
    (void)state;
    it.spoil_secret = true;
    never_ready(NULL);
}

/* ---- tokens and strangers ---- */

static void test_an_unknown_token_is_sent_away_before_tls(void **state)
{
    struct fake_options o = options(3);
    struct fake_pair *pair;
    int fd;

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(atomic_load(&it.offered));
    fd = dial();
    name_token(fd, it.offer.token + 1, 0);
    assert_driven(hung_up(fd));
    close(fd);
    fd = dial();
    name_token(fd, it.offer.token, 1); /* there is one stream */
    assert_driven(hung_up(fd));
    close(fd);
    fake_close(pair);
}

static void test_a_token_is_good_once(void **state)
{
    struct fake_options o = options(4);
    struct fake_pair *pair = kit_open(&o);
    int fd = dial();

    (void)state;
    name_token(fd, it.offer.token, 0);
    assert_driven(hung_up(fd));
    assert_true(fake_ready(pair));
    close(fd);
    fake_close(pair);
}

static void test_a_token_is_void_when_its_link_has_gone(void **state)
{
    struct fake_options o = options(5);
    struct fake_pair *pair;
    int fd;

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(atomic_load(&it.offered));
    fake_detach(pair, 0, false);
    fd = dial();
    name_token(fd, it.offer.token, 0);
    assert_driven(hung_up(fd));
    close(fd);
    fake_close(pair);
}

static void test_a_token_expires_and_so_does_the_offer(void **state)
{
    struct fake_options o = options(6);
    struct fake_pair *pair;

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
    assert_non_null(strstr(pair->node[0].link.why, "not dialled in time"));
    fake_close(pair);
}

static void test_nonsense_and_silence_are_sent_away(void **state)
{
    struct fake_options o = options(7);
    struct fake_pair *pair;
    struct rng rng = {.state = 7};
    uint8_t junk[4096];
    int fd[3];

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(atomic_load(&it.offered));
    rng_fill(&rng, junk, sizeof(junk));
    fd[0] = dial();
    say(fd[0], junk, sizeof(junk));
    fd[1] = dial(); /* says nothing */
    fd[2] = dial(); /* knows the token, and then nothing more than nonsense */
    name_token(fd[2], it.offer.token, 0);
    say(fd[2], junk, sizeof(junk));
    for (int i = 0; i < 3; i++) {
        assert_driven(hung_up(fd[i]));
        close(fd[i]);
    }
    assert_int_equal(fake_state(pair, 0), FAKE_ATTACHED); /* it is no matter of the link */
    fake_close(pair);
}

static void tell_offer(void *arg)
{
    struct fake_pair *pair = arg;

    nx_tcp_module.told(pair->node[1].link.half, it.bytes, it.offer_size);
}

static void test_a_crowd_of_strangers_does_not_keep_the_right_one_out(void **state)
{
    enum { CROWD = 150 };
    struct fake_options o = options(8);
    struct fake_pair *pair;
    int fd[CROWD];

    (void)state;
    it.keep = true;
    pair = fake_open(&o);
    assert_driven(atomic_load(&it.offered));
    for (int i = 0; i < CROWD; i++)
        fd[i] = dial();
    assert_driven(hung_up(fd[0])); /* the first goes when there are too many */
    fake_run(tell_offer, pair);
    assert_driven(fake_ready(pair));
    for (int i = 0; i < CROWD; i++)
        close(fd[i]);
    fake_close(pair);
}

/* ---- settings ---- */

static void test_plain_text_needs_both_sides_to_say_so(void **state)
{
    (void)state;
    for (int who = 0; who < 2; who++) {
        struct fake_options o = options(9);
        struct fake_pair *pair;
        char text[64];

        o.setting[who][0] = "NEXAR_TCP_TLS=off";
        pair = fake_open(&o);
        assert_driven(fake_state(pair, 0) == FAKE_UNUSABLE && fake_state(pair, 1) == FAKE_UNUSABLE);
        snprintf(text, sizeof(text), "rank %d has NEXAR_TCP_TLS=off and rank %d has not", who, 1 - who);
        assert_non_null(strstr(pair->node[0].link.why, text));
        assert_non_null(strstr(pair->node[1].link.why, text));
        fake_close(pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_t8_a_dialler_of_another_authority_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_t8_one_who_is_dialled_of_another_authority_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_t8_another_member_of_the_cluster_is_refused_by_the_dialler, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_t8_another_member_of_the_cluster_is_refused_by_the_one_dialled, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_t8_a_name_that_begins_like_the_right_one_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_t8_without_a_certificate_nobody_comes_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_member_that_does_not_know_the_secret_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_unknown_token_is_sent_away_before_tls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_token_is_good_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_token_is_void_when_its_link_has_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_token_expires_and_so_does_the_offer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_and_silence_are_sent_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_crowd_of_strangers_does_not_keep_the_right_one_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plain_text_needs_both_sides_to_say_so, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
