/* test_tcp_frame.c - frames, hellos and words of TCP as bytes: what is written is read, and nothing else is. */
#include "bulk/tcp_frame.h"

#include "check.h"
#include "rng.h"

static struct nx_tcp_frame some_frame(struct rng *rng, const uint8_t *head)
{
    struct nx_tcp_frame f = {.kind = (enum nx_tcp_kind)(1 + rng_below(rng, 4)), .head = head};

    if (f.kind == NX_TCP_HELLO) {
        f.head_nbytes = NEXAR_BULK_HEAD_MAX;
        return f;
    }
    f.seq = (uint32_t)rng_next(rng);
    if (f.kind == NX_TCP_CLOSE)
        return f;
    f.head_nbytes = 1 + (uint32_t)rng_below(rng, NEXAR_BULK_HEAD_MAX);
    f.total = rng_next(rng) >> (2 + rng_below(rng, 62));
    if (f.kind == NX_TCP_PART) {
        f.total += f.total > NX_TCP_PIECE ? 0 : NX_TCP_PIECE + 1;
        f.offset = rng_next(rng) % f.total / NX_TCP_PIECE * NX_TCP_PIECE;
        f.head_nbytes = f.offset == 0 ? f.head_nbytes : 0;
    }
    return f;
}

static void test_what_is_written_is_read_and_every_beginning_is_short(void **state)
{
    struct rng rng = {.state = 1};
    uint8_t head[NEXAR_BULK_HEAD_MAX], bytes[NX_TCP_FRAME_MAX];

    (void)state;
    rng_fill(&rng, head, sizeof(head));
    for (int i = 0; i < 20000; i++) {
        struct nx_tcp_frame f = some_frame(&rng, head), back;
        size_t n = nx_tcp_frame_write(bytes, &f), used = 0;

        assert_int_equal(nx_tcp_frame_read(bytes, n, &back, &used), NX_TCP_OK);
        assert_int_equal(used, n);
        assert_int_equal(back.kind, f.kind);
        assert_int_equal(back.seq, f.seq);
        assert_true(back.total == f.total && back.offset == f.offset && back.head_nbytes == f.head_nbytes);
        assert_memory_equal(back.head, head, f.head_nbytes);
        assert_true(back.len <= back.total - back.offset);
        assert_true(back.kind != NX_TCP_PART || (back.len > 0 && back.len <= NX_TCP_PIECE));
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *part = malloc(cut + 1);

            assert_non_null(part);
            memcpy(part, bytes, cut);
            assert_int_equal(nx_tcp_frame_read(part, cut, &back, &used), NX_TCP_SHORT);
            free(part);
        }
    }
}

static void refused(struct nx_tcp_frame f)
{
    uint8_t bytes[NX_TCP_FRAME_MAX] = {0}, head[256] = {0};
    struct nx_tcp_frame back;
    size_t used;

    f.head = head;
    bytes[0] = (uint8_t)f.kind;
    nx_tcp_frame_write(bytes,
                       &(struct nx_tcp_frame){.kind = f.kind, .seq = f.seq, .total = f.total, .offset = f.offset});
    bytes[1] = (uint8_t)f.head_nbytes;
    assert_int_equal(nx_tcp_frame_read(bytes, sizeof(bytes), &back, &used), NX_TCP_BAD);
}

static void test_hostile_lengths_are_refused(void **state)
{
    uint8_t bytes[NX_TCP_FRAME_MAX] = {NX_TCP_CLOSE, 0, 1};
    struct nx_tcp_frame back;
    size_t used;

    (void)state;
    refused((struct nx_tcp_frame){.kind = (enum nx_tcp_kind)0, .head_nbytes = 1});
    refused((struct nx_tcp_frame){.kind = (enum nx_tcp_kind)5, .head_nbytes = 1});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = 0, .total = 8});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = NEXAR_BULK_HEAD_MAX + 1, .total = 8});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = 255, .total = 8});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = 8, .total = NX_TCP_TOTAL_MAX + 1});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = 8, .total = UINT64_MAX});
    refused((struct nx_tcp_frame){.kind = NX_TCP_MESSAGE, .head_nbytes = 8, .total = 8, .offset = NX_TCP_PIECE});
    refused((struct nx_tcp_frame){.kind = NX_TCP_PART, .head_nbytes = 8, .total = NX_TCP_PIECE});
    refused((struct nx_tcp_frame){.kind = NX_TCP_PART, .head_nbytes = 8, .total = UINT64_MAX});
    refused((struct nx_tcp_frame){.kind = NX_TCP_PART, .total = 2 * NX_TCP_PIECE});
    refused((struct nx_tcp_frame){.kind = NX_TCP_PART, .total = 2 * NX_TCP_PIECE, .offset = 2 * NX_TCP_PIECE});
    refused((struct nx_tcp_frame){.kind = NX_TCP_PART, .total = 2 * NX_TCP_PIECE, .offset = 5});
    refused((struct nx_tcp_frame){
        .kind = NX_TCP_PART, .head_nbytes = 8, .total = 2 * NX_TCP_PIECE, .offset = NX_TCP_PIECE});
    refused((struct nx_tcp_frame){.kind = NX_TCP_HELLO, .head_nbytes = 63});
    refused((struct nx_tcp_frame){.kind = NX_TCP_HELLO, .head_nbytes = 64, .total = 1});
    refused((struct nx_tcp_frame){.kind = NX_TCP_CLOSE, .head_nbytes = 1});
    refused((struct nx_tcp_frame){.kind = NX_TCP_CLOSE, .total = 1});
    assert_int_equal(nx_tcp_frame_read(bytes, sizeof(bytes), &back, &used), NX_TCP_BAD); /* what must be zero is not */
}

/* Frames of several connections, each in its own order, in any mixture: what is taken is the one order of all. */
static void test_the_order_of_several_connections_is_found_again(void **state)
{
    enum { STREAMS = 4, FRAMES = 400 };
    static struct nx_tcp_frame queue[STREAMS][FRAMES];
    struct rng rng = {.state = 3};

    (void)state;
    for (int round = 0; round < 50; round++) {
        size_t end[STREAMS] = {0}, at[STREAMS] = {0}, left = 0;
        struct nx_tcp_flow flow = {.seq = UINT32_MAX - 20};
        uint32_t seq = flow.seq;

        while (left < FRAMES - 10) {
            struct nx_tcp_frame f = {
                .seq = seq++, .kind = NX_TCP_MESSAGE, .total = rng_below(&rng, 5), .head_nbytes = 1};

            f.len = f.total;
            if (rng_below(&rng, 3) == 0) {
                f.kind = NX_TCP_PART;
                f.total = NX_TCP_PIECE * (1 + rng_below(&rng, 5)) + 1 + rng_below(&rng, 100);
            }
            do {
                size_t k = rng_below(&rng, STREAMS);

                if (f.kind == NX_TCP_PART)
                    f.len = f.total - f.offset < NX_TCP_PIECE ? f.total - f.offset : NX_TCP_PIECE;
                queue[k][end[k]++] = f;
                f.offset += f.len;
                left++;
            } while (f.offset < f.total);
        }
        while (left > 0) {
            size_t k = rng_below(&rng, STREAMS);
            enum nx_tcp_turn turn;

            if (at[k] == end[k])
                continue;
            turn = nx_tcp_flow_turn(&flow, &queue[k][at[k]], false);
            assert_int_not_equal(turn, NX_TCP_NEVER);
            if (turn == NX_TCP_LATER) {
                assert_int_equal(nx_tcp_flow_turn(&flow, &queue[k][at[k]], true), NX_TCP_NEVER);
                continue;
            }
            nx_tcp_flow_done(&flow, &queue[k][at[k]++]);
            left--;
        }
        assert_int_equal(flow.seq, seq);
    }
}

static void test_what_comes_again_or_changes_its_length_is_never_taken(void **state)
{
    struct nx_tcp_flow flow = {.seq = 7, .offset = NX_TCP_PIECE, .total = 3 * NX_TCP_PIECE};
    struct nx_tcp_frame f = {.kind = NX_TCP_PART, .seq = 7, .total = 3 * NX_TCP_PIECE, .offset = NX_TCP_PIECE};

    (void)state;
    assert_int_equal(nx_tcp_flow_turn(&flow, &f, false), NX_TCP_NOW);
    f.total++;
    assert_int_equal(nx_tcp_flow_turn(&flow, &f, false), NX_TCP_NEVER);
    f.offset = 0;
    assert_int_equal(nx_tcp_flow_turn(&flow, &f, false), NX_TCP_NEVER);
    f.seq = 6;
    assert_int_equal(nx_tcp_flow_turn(&flow, &f, false), NX_TCP_NEVER);
}

static void test_words_are_read_whole_or_not_at_all(void **state)
{
    struct rng rng = {.state = 9};
    uint8_t bytes[NX_TCP_WORDS_MAX + 1];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        struct nx_tcp_words w = {.word = (enum nx_tcp_word)(1 + i % 2), .tls = i % 3 == 0}, back;
        size_t n;

        w.streams = (uint8_t)(1 + rng_below(&rng, NX_TCP_STREAMS_MAX));
        if (w.word == NX_TCP_OFFER) {
            w.addresses = (uint8_t)(1 + rng_below(&rng, NX_TCP_ADDRESSES));
            w.token = rng_next(&rng);
            rng_fill(&rng, w.secret, sizeof(w.secret));
            for (uint8_t k = 0; k < w.addresses; k++)
                memset(w.address[k], 'a' + k, 1 + rng_below(&rng, NX_TCP_ADDRESS - 1));
        }
        n = nx_tcp_words_write(bytes, &w);
        assert_true(n <= NX_TCP_WORDS_MAX);
        assert_true(nx_tcp_words_read(bytes, n, &back));
        assert_true(back.word == w.word && back.tls == w.tls && back.streams == w.streams && back.token == w.token);
        assert_int_equal(back.addresses, w.addresses);
        assert_memory_equal(back.secret, w.secret, sizeof(w.secret));
        assert_memory_equal(back.address, w.address, sizeof(w.address));
        for (size_t cut = 0; cut < n; cut++)
            assert_false(nx_tcp_words_read(bytes, cut, &back));
        bytes[n] = 0;
        assert_false(nx_tcp_words_read(bytes, n + 1, &back));
    }
    nx_tcp_words_write(bytes, &(struct nx_tcp_words){.word = NX_TCP_WISH, .streams = NX_TCP_STREAMS_MAX + 1});
    assert_false(nx_tcp_words_read(bytes, 8, &(struct nx_tcp_words){0}));
    nx_tcp_words_write(bytes, &(struct nx_tcp_words){.word = NX_TCP_WISH, .streams = 0});
    assert_false(nx_tcp_words_read(bytes, 8, &(struct nx_tcp_words){0}));
}

static void test_preamble_and_hello(void **state)
{
    uint8_t bytes[NEXAR_BULK_HEAD_MAX];
    struct nx_tcp_hello hello = {.from = 3, .to = 70000, .stream = 2, .token = 0x1234567890abcdef}, back;
    uint64_t token;
    uint8_t stream;

    (void)state;
    memset(hello.mac, 0x5a, sizeof(hello.mac));
    nx_tcp_hello_write(bytes, &hello);
    assert_true(nx_tcp_hello_read(bytes, &back));
    assert_true(back.from == 3 && back.to == 70000 && back.stream == 2 && back.token == hello.token);
    assert_memory_equal(back.mac, hello.mac, sizeof(hello.mac));
    for (int i = 24; i < NEXAR_BULK_HEAD_MAX; i = i == 31 ? 64 : i + 1) { /* what is not used is zero */
        bytes[i] = 1;
        assert_false(nx_tcp_hello_read(bytes, &back));
        bytes[i] = 0;
    }
    assert_true(nx_tcp_hello_read(bytes, &back));
    nx_tcp_preamble_write(bytes, 77, 5);
    assert_true(nx_tcp_preamble_read(bytes, &token, &stream));
    assert_int_equal(token, 77);
    assert_int_equal(stream, 5);
    for (int i = 0; i < 8; i++) {
        bytes[i] ^= 0x80;
        assert_true(nx_tcp_preamble_read(bytes, &token, &stream) == (i == 4));
        bytes[i] ^= 0x80;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read_and_every_beginning_is_short),
        cmocka_unit_test(test_hostile_lengths_are_refused),
        cmocka_unit_test(test_the_order_of_several_connections_is_found_again),
        cmocka_unit_test(test_what_comes_again_or_changes_its_length_is_never_taken),
        cmocka_unit_test(test_words_are_read_whole_or_not_at_all),
        cmocka_unit_test(test_preamble_and_hello),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
