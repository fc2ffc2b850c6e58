/* wire_text.h - messages and streams as the lines of tests/vectors/, so that a test compares text with text. */
#ifndef NX_TEST_WIRE_TEXT_H
#define NX_TEST_WIRE_TEXT_H

#include "text.h"
#include "vectors.h"
#include "wire/codec.h"
#include "wire/stream.h"

/* The fields of a message: lines "name = value". */
void message_text(const struct nx_message *m, struct text *out);

/* Memory for the items of lists; emptied by setting `used` to 0. */
struct arena {
    _Alignas(16) uint8_t bytes[1 << 20];
    size_t used;
};
void *arena_take(struct arena *a, size_t n);

/* The message of a case; ends the program if the case does not say all its fields.  Texts point into the case. */
void message_from_vector(const struct vector *v, struct arena *a, struct nx_message *out);

/* Feeds a parser and writes what it reports: lines "head = ...", "payload = ...", "error = ...", "finish = ...".  Ends
 * the program if the parser consumes anything that it does not report, or copies. */
struct stream_text {
    struct nx_parser parser;
    struct text text;
    uint64_t got; /* payload of the message that is open */
    bool open, dead;
};
void stream_text_init(struct stream_text *s, enum nx_dialect dialect, uint64_t limit);
/* At most `steps` events; returns the bytes consumed. */
size_t stream_text_feed(struct stream_text *s, const uint8_t *bytes, size_t n, size_t steps);
void stream_text_finish(struct stream_text *s);

#endif
