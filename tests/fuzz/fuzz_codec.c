/* fuzz_codec.c - the codec of archives on any bytes.
 *
 * Input: an archive.  What is accepted must be encodable, and must then decode to the same fields and encode to the
 * same bytes. */
#include "wire_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void need(bool so)
{
    if (!so)
        abort();
}

static uint8_t *encode(const struct nx_message *m, size_t *n)
{
    uint8_t *out;

    need(nx_message_size(m, n) == NEXAR_OK);
    out = malloc(*n);
    need(out != NULL && nx_message_encode(m, out, *n) == NEXAR_OK);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct nx_message m;
    struct nx_message back;
    struct text fields = {0};
    struct text fields2 = {0};
    uint8_t *archive;
    uint8_t *archive2;
    size_t size;
    size_t size2;

    if (nx_message_decode(data, n, &m) != NEXAR_OK)
        return 0;
    archive = encode(&m, &size);
    need(nx_message_decode(archive, size, &back) == NEXAR_OK);
    message_text(&m, &fields);
    message_text(&back, &fields2);
    need(fields.len == fields2.len && memcmp(fields.data, fields2.data, fields.len) == 0);
    archive2 = encode(&back, &size2);
    need(size == size2 && memcmp(archive, archive2, size) == 0);
    need(size <= n); /* no other archive of the same fields is shorter */
    free(archive);
    free(archive2);
    text_free(&fields);
    text_free(&fields2);
    return 0;
}
