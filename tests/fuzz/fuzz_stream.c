/* fuzz_stream.c - the parser of streams on any bytes.
 *
 * Input: a byte of settings (bit 0: dialect, bits 2-7: how small the limit is), a byte that seeds the cutting, then the
 * stream.  It is parsed whole and in pieces, which must give the same events; stream_text checks the rest. */
#include "rng.h"
#include "wire_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void run(struct stream_text *s, const uint8_t *data, size_t n, struct rng *rng)
{
    for (size_t at = 0; at < n && !s->dead;) {
        size_t piece = rng == NULL ? n : 1 + rng_below(rng, 1 + rng_below(rng, 40));
        uint8_t *copy;

        if (piece > n - at)
            piece = n - at;
        copy = malloc(piece);
        if (copy == NULL)
            abort();
        memcpy(copy, data + at, piece);
        /* A piece that is not consumed at once is given again, as the transport does. */
        at += stream_text_feed(s, copy, piece, rng == NULL ? SIZE_MAX : 1 + rng_below(rng, 3));
        free(copy);
    }
    stream_text_feed(s, data, 0, SIZE_MAX); /* the end of a message that is complete */
    stream_text_finish(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct stream_text whole;
    struct stream_text pieces;
    struct rng rng;

    if (n < 2)
        return 0;
    rng.state = data[1];
    stream_text_init(&whole, (enum nx_dialect)(data[0] & 1), UINT64_MAX >> (data[0] >> 2));
    stream_text_init(&pieces, (enum nx_dialect)(data[0] & 1), UINT64_MAX >> (data[0] >> 2));
    run(&whole, data + 2, n - 2, NULL);
    run(&pieces, data + 2, n - 2, &rng);
    if (strcmp(whole.text.data, pieces.text.data) != 0)
        abort();
    text_free(&whole.text);
    text_free(&pieces.text);
    return 0;
}
