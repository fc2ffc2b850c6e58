/* fuzz_tcp_frame.c - what a TCP connection and its agreement bring, on any bytes.
 *
 * Input: a byte that says what the rest is: frames back to back, whose payload is skipped, words, or a hello.  What is
 * accepted must be written to the same bytes again. */
#include "bulk/tcp_frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(bool so)
{
    if (!so)
        abort();
}

static void frames(const uint8_t *data, size_t n, bool alone)
{
    struct nx_tcp_flow flow = {0};
    struct nx_tcp_frame f;
    uint8_t again[NX_TCP_FRAME_MAX];
    size_t used;

    while (nx_tcp_frame_read(data, n, &f, &used) == NX_TCP_OK) {
        need(used <= n && f.len <= f.total && f.total <= NX_TCP_TOTAL_MAX);
        need(nx_tcp_frame_write(again, &f) == used && memcmp(again, data, used) == 0);
        if (f.len > n - used || f.kind == NX_TCP_HELLO || f.kind == NX_TCP_CLOSE)
            return;
        data += used + f.len;
        n -= used + (size_t)f.len;
        if (nx_tcp_flow_turn(&flow, &f, alone) == NX_TCP_NOW) {
            uint32_t seq = flow.seq;

            need(nx_tcp_flow_done(&flow, &f) == (flow.seq == seq + 1));
            need(flow.offset <= flow.total);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t again[NX_TCP_WORDS_MAX];
    struct nx_tcp_words words;
    struct nx_tcp_hello hello;

    if (n == 0)
        return 0;
    switch (data[0] & 3) {
    case 0:
    case 1:
        frames(data + 1, n - 1, data[0] & 1);
        break;
    case 2:
        if (nx_tcp_words_read(data + 1, n - 1, &words))
            need(nx_tcp_words_write(again, &words) == n - 1 && memcmp(again, data + 1, n - 1) == 0);
        break;
    default:
        if (n - 1 == NEXAR_BULK_HEAD_MAX && nx_tcp_hello_read(data + 1, &hello)) {
            nx_tcp_hello_write(again, &hello);
            need(memcmp(again, data + 1, NEXAR_BULK_HEAD_MAX) == 0);
        }
    }
    return 0;
}
